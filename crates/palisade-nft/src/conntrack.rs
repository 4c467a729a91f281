//! The kernel's table of connections (ctnetlink): how many there are, and whose marks are out of date.
//!
//! Numbers are those of `linux/netfilter/nfnetlink_conntrack.h`.

use rustix::io::Errno;

use crate::dialogue::Dialogue;
use crate::kernel::KernelError;
use crate::lower::{GENERATION_MASK, Generation};
use crate::socket::Socket;
use crate::wire::attributes::Writer;
use crate::wire::message::{self, Message, Messages};
use crate::wire::numbers as n;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK << 8;
const IPCTNL_MSG_CT_GET: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 1;
const IPCTNL_MSG_CT_GET_STATS: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 5;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_MARK: u16 = 8;
const CTA_ZONE: u16 = 18;
const CTA_MARK_MASK: u16 = 21;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_STATS_GLOBAL_MAX_ENTRIES: u16 = 2;

/// How many bytes of changes are gathered before they are sent. A change has about 100 bytes, so that this is no
/// more than 2 ms of work for the kernel, and fits into the smallest of socket buffers.
const BATCH_BYTES: usize = 64 << 10;
/// The most that the kernel answers at once.
const RECEIVE_BYTES: usize = 64 << 10;

/// The table of connections of the network namespace in which this was opened.
#[derive(Debug)]
pub struct Conntrack {
    list: Dialogue,
    changes: Changes,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The connections that were looked at.
    pub looked: u64,
    /// Those whose generation was cleared.
    pub cleared: u64,
}

/// How full the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The connections in the namespace, in both families.
    pub entries: u32,
    /// How many there may be; more are refused, and their packets dropped.
    pub limit: u32,
}

impl Conntrack {
    /// Opens the table of the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel has no ctnetlink, or the process may not use it.
    pub fn open() -> Result<Conntrack, KernelError> {
        let failed = |errno| KernelError::of("open a netlink socket", errno);
        let list = Dialogue::open().map_err(failed)?;
        let changes = Changes::new(Socket::open(0).map_err(failed)?);
        let mut conntrack = Conntrack { list, changes };
        conntrack.occupancy()?;
        Ok(conntrack)
    }

    /// How full the table is; costs the same whatever is in it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn occupancy(&mut self) -> Result<Occupancy, KernelError> {
        let mut occupancy = None;
        let asked = self.list.ask(
            |sequence| request(IPCTNL_MSG_CT_GET_STATS, 0, sequence),
            |message| occupancy = read_occupancy(message),
        );
        asked.map_err(|errno| error("count the connections", errno))?;
        occupancy.ok_or(KernelError::NoAnswer)
    }

    /// Takes the generation out of the mark of every connection that has another than `keep`; all other bits of
    /// the marks stay. A connection without generation is judged by its next packet.
    ///
    /// So a generation can be used again. Connections that come or are judged meanwhile are not waited for: they have
    /// the generation of the rules in force.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; connections that were reached before are cleared.
    pub fn sweep(&mut self, keep: Generation) -> Result<Swept, KernelError> {
        let mut swept = Swept::default();
        let Conntrack { list, changes } = self;
        let mut refused = Ok(());
        let asked = list.ask(
            |sequence| request(IPCTNL_MSG_CT_GET, n::NLM_F_DUMP, sequence),
            |message| {
                swept.looked += 1;
                let mark = message.attributes().find_number(CTA_MARK).unwrap_or(0);
                if mark & GENERATION_MASK != 0 && mark & GENERATION_MASK != keep.mark() && refused.is_ok() {
                    refused = changes.add(message);
                }
            },
        );
        asked.map_err(|errno| error("list the connections", errno))?;
        refused.and_then(|()| changes.send()).map_err(|errno| error("clear the mark of a connection", errno))?;
        swept.cleared = changes.take_count();
        Ok(swept)
    }
}

/// Changes of marks that are gathered and sent together.
#[derive(Debug)]
struct Changes {
    socket: Socket,
    bytes: Vec<u8>,
    /// How many are gathered.
    gathered: u64,
    /// How many the kernel made.
    made: u64,
    buffer: Vec<u8>,
}

impl Changes {
    fn new(socket: Socket) -> Changes {
        Changes { socket, bytes: Vec::with_capacity(BATCH_BYTES), gathered: 0, made: 0, buffer: vec![0; RECEIVE_BYTES] }
    }

    /// Clears the generation of a connection that was listed.
    fn add(&mut self, listed: Message<'_>) -> Result<(), Errno> {
        let family = listed.family().unwrap_or(n::NFPROTO_UNSPEC);
        let start = message::begin(&mut self.bytes, IPCTNL_MSG_CT_NEW, 0, 0, family, 0);
        let mut writer = Writer(&mut self.bytes);
        // The same address pair may be there in several zones; a zone that holds for one direction alone
        // stands within the tuple.
        for kind in [CTA_TUPLE_ORIG, CTA_ZONE] {
            if let Some(attribute) = listed.attributes().find(kind) {
                let kind = if kind == CTA_TUPLE_ORIG { kind | n::NLA_F_NESTED } else { kind };
                writer.bytes(kind, attribute.value);
            }
        }
        writer.number(CTA_MARK, 0);
        writer.number(CTA_MARK_MASK, GENERATION_MASK);
        message::end(&mut self.bytes, start);
        self.gathered += 1;
        if self.bytes.len() >= BATCH_BYTES { self.send() } else { Ok(()) }
    }

    /// Sends what is gathered. Only what is refused is answered.
    fn send(&mut self) -> Result<(), Errno> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.socket.send(&self.bytes)?;
        self.bytes.clear();
        self.made += std::mem::take(&mut self.gathered);
        let mut refused = Ok(());
        while let Some(bytes) = self.socket.receive(&mut self.buffer)? {
            for answer in Messages(bytes).filter_map(Message::answer).filter(|answer| answer.errno != 0) {
                self.made = self.made.saturating_sub(1);
                match Errno::from_raw_os_error(answer.errno) {
                    // It has ended since it was listed.
                    Errno::NOENT => {}
                    errno => refused = Err(errno),
                }
            }
        }
        refused
    }

    fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.made)
    }
}

fn request(kind: u16, flags: u16, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    let start = message::begin(&mut bytes, kind, flags, sequence, n::NFPROTO_UNSPEC, 0);
    message::end(&mut bytes, start);
    bytes
}

fn read_occupancy(message: Message<'_>) -> Option<Occupancy> {
    let attributes = message.attributes();
    Some(Occupancy {
        entries: attributes.find_number(CTA_STATS_GLOBAL_ENTRIES)?,
        limit: attributes.find_number(CTA_STATS_GLOBAL_MAX_ENTRIES)?,
    })
}

fn error(operation: &'static str, errno: Errno) -> KernelError {
    match errno {
        Errno::PERM | Errno::ACCESS => KernelError::NotPermitted,
        // nfnetlink has nobody who takes such messages.
        Errno::INVAL | Errno::OPNOTSUPP => KernelError::Absent {
            part: "ctnetlink",
            hint: "load the module with 'modprobe nf_conntrack_netlink', or use a kernel with CONFIG_NF_CT_NETLINK",
        },
        errno => KernelError::Io { operation, errno },
    }
}

#[cfg(test)]
mod tests;
