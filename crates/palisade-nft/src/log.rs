//! Packets that a `log group` statement hands to whoever listens to the group (NFLOG).
//!
//! Numbers are those of `linux/netfilter/nfnetlink_log.h`.

mod packet;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use crate::dialogue::Dialogue;
use crate::kernel::KernelError;
use crate::ruleset::Table;
use crate::socket::Socket;
use crate::wire::attributes::{Attributes, Writer};
use crate::wire::message::{self, Message, Messages};
use crate::wire::numbers as n;

pub use packet::Headers;

const NFNL_SUBSYS_ULOG: u16 = 4;
const NFULNL_MSG_PACKET: u16 = NFNL_SUBSYS_ULOG << 8;
const NFULNL_MSG_CONFIG: u16 = NFNL_SUBSYS_ULOG << 8 | 1;
const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULA_TIMESTAMP: u16 = 3;
const NFULA_IFINDEX_INDEV: u16 = 4;
const NFULA_IFINDEX_OUTDEV: u16 = 5;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_PREFIX: u16 = 10;

/// How much of each packet is asked for, unless the rule asks for less: the longest headers that are worth reading.
const COPY_BYTES: u32 = 256;
/// How long the kernel may gather packets before it hands them over, in hundredths of a second: a reader who watches
/// sees no delay, and many packets come at once.
const GATHER_CENTISECONDS: u32 = 10;
/// The most that the kernel gathers (`NFULNL_NLBUFSIZ_MAX`).
const RECEIVE_BYTES: usize = 128 << 10;

/// Listens to a log group of the network namespace in which it was opened, as the only listener.
#[derive(Debug)]
pub struct Log {
    socket: Socket,
    group: u16,
    logged: VecDeque<Logged>,
    buffer: Vec<u8>,
}

/// Something that came through a log group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// A packet met a log statement.
    Packet(LoggedPacket),
    /// More packets were logged than the socket could keep; nobody knows how many are missing.
    Lost,
}

/// What is known of a logged packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedPacket {
    /// What the rule says about it (`log prefix`); empty if it says nothing.
    pub prefix: String,
    /// Its headers; `None` if it is no whole IP packet that can be read, ARP for instance.
    pub headers: Option<Headers>,
    /// The index of the interface by which it came; `None` if it was made here.
    pub input: Option<u32>,
    /// The index of the interface by which it would leave; `None` if that is not decided, or it would stay here.
    pub output: Option<u32>,
    /// When it was seen, by the kernel's clock.
    pub time: Option<SystemTime>,
}

impl Log {
    /// Begins to listen to a group in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel has no NFLOG, the process may not use it, or another program listens to the group.
    pub fn open(group: u16) -> Result<Log, KernelError> {
        let mut dialogue = Dialogue::open().map_err(|errno| KernelError::of("open a netlink socket", errno))?;
        let configured = dialogue.ask(|sequence| configuration(group, sequence), |_| {});
        match configured {
            Ok(_) => Ok(Log {
                socket: dialogue.into_socket(),
                group,
                logged: VecDeque::new(),
                buffer: vec![0; RECEIVE_BYTES],
            }),
            Err(Errno::PERM) if may_administrate() => Err(KernelError::LogGroupTaken(group)),
            Err(Errno::PERM) => Err(KernelError::NotPermitted),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT) => Err(KernelError::Absent {
                part: "NFLOG",
                hint: "load the module with 'modprobe nfnetlink_log', or use a kernel with CONFIG_NETFILTER_NETLINK_LOG",
            }),
            Err(errno) => Err(KernelError::Io { operation: "listen to a log group", errno }),
        }
    }

    /// The group.
    pub fn group(&self) -> u16 {
        self.group
    }

    /// The next packet; waits at most so long, and `None` if there was none.
    ///
    /// # Errors
    ///
    /// If the socket fails.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Logged>, KernelError> {
        let end = Instant::now() + patience;
        loop {
            if let Some(logged) = self.logged.pop_front() {
                return Ok(Some(logged));
            }
            if !self.receive()? && !self.socket.wait_until(end, "wait for logged packets")? {
                return Ok(None);
            }
        }
    }

    /// Takes in what is there; `false` if there is nothing.
    fn receive(&mut self) -> Result<bool, KernelError> {
        match self.socket.receive(&mut self.buffer) {
            Ok(Some(bytes)) => {
                let packets = Messages(bytes).filter(|message| message.kind == NFULNL_MSG_PACKET);
                self.logged.extend(packets.map(|message| Logged::Packet(packet(message))));
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(Errno::NOBUFS | Errno::MSGSIZE) => {
                self.logged.push_back(Logged::Lost);
                Ok(true)
            }
            Err(errno) => Err(KernelError::Io { operation: "read logged packets", errno }),
        }
    }
}

impl AsFd for Log {
    /// Readable when [`Log::next`] may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds the group to the socket that sends this.
fn configuration(group: u16, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let start = message::begin(&mut bytes, NFULNL_MSG_CONFIG, n::NLM_F_ACK, sequence, n::NFPROTO_UNSPEC, group);
    let mut writer = Writer(&mut bytes);
    writer.bytes(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]);
    let [a, b, c, d] = COPY_BYTES.to_be_bytes();
    writer.bytes(NFULA_CFG_MODE, &[a, b, c, d, NFULNL_COPY_PACKET, 0]);
    writer.number(NFULA_CFG_TIMEOUT, GATHER_CENTISECONDS);
    message::end(&mut bytes, start);
    bytes
}

/// The kernel says EPERM both to those without rights and where another socket has the group; whether `nf_tables`
/// answers tells the two apart.
fn may_administrate() -> bool {
    let Ok(mut dialogue) = Dialogue::open() else { return false };
    dialogue.ask(|sequence| message::request(Table::Policies, n::NFT_MSG_GETGEN, 0, sequence, |_| {}), |_| {})
        != Err(Errno::PERM)
}

fn packet(message: Message<'_>) -> LoggedPacket {
    let attributes = message.attributes();
    LoggedPacket {
        prefix: attributes.find_string(NFULA_PREFIX).unwrap_or_default().to_string(),
        headers: attributes.find(NFULA_PAYLOAD).and_then(|payload| Headers::read(payload.value)),
        input: attributes.find_number(NFULA_IFINDEX_INDEV),
        output: attributes.find_number(NFULA_IFINDEX_OUTDEV),
        time: time(attributes),
    }
}

/// `struct nfulnl_msg_packet_timestamp`: seconds and microseconds of the epoch.
fn time(attributes: Attributes<'_>) -> Option<SystemTime> {
    let (seconds, microseconds) = attributes.find(NFULA_TIMESTAMP)?.value.split_first_chunk::<8>()?;
    let microseconds = u64::from_be_bytes(*microseconds.first_chunk::<8>()?);
    let since = Duration::from_secs(u64::from_be_bytes(*seconds)).checked_add(Duration::from_micros(microseconds))?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests;
