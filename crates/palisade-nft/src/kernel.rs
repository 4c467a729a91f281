//! Our table in the kernel: write it, read it back.

mod answers;
mod counts;
mod error;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::ruleset::{Ruleset, Table};
use crate::socket::Socket;
use crate::transaction::{Operation, Transaction};
use crate::wire::attributes::Writer;
use crate::wire::batch::Batch;
use crate::wire::decode::{RawElement, Reader, TableState, table_state};
use crate::wire::message::{self, Message, Messages};
use crate::wire::numbers as n;

use answers::Outcome;
pub use counts::{Denials, GuardedCounts};
pub use error::{ApplyError, KernelError};

/// What is built beforehand is committed in pieces of about this size, each well below 50 ms: while the kernel
/// commits it holds the lock of `nf_tables`, and waits for packets under way.
const PIECE_BYTES: usize = 256 << 10;
/// A piece may be this much bigger than asked for: the last message of it.
const PIECE_OVERHANG_BYTES: usize = 32 << 10;
/// How often a batch or a reading is tried again because somebody else committed in between.
const TRIES: usize = 50;
/// The longest message that the kernel sends.
const RECEIVE_BYTES: usize = 256 << 10;

/// A connection to one of our tables in the `nf_tables` of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Kernel {
    of: Table,
    socket: Socket,
    sequence: u32,
    /// The generation of all of `nf_tables` that the next batch builds on.
    generation: u32,
    /// Our table, as of the last look or commit.
    table: Option<TableState>,
    buffer: Vec<u8>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The commits that it took; all but the last only built what no packet met yet.
    pub commits: usize,
    /// The bytes sent.
    pub bytes: usize,
    /// The longest commit, with what the kernel did for it before and after; its lock is held no longer.
    pub longest: Duration,
}

impl Kernel {
    /// Connects to the table of policies in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel has no `nf_tables`, or the process may not use it.
    pub fn open() -> Result<Kernel, KernelError> {
        Kernel::open_table(Table::Policies)
    }

    /// Connects to a table in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// As [`Kernel::open`].
    pub fn open_table(table: Table) -> Result<Kernel, KernelError> {
        let socket = Socket::open(0).map_err(|errno| KernelError::of("open a netlink socket", errno))?;
        let buffer = vec![0; RECEIVE_BYTES];
        let mut kernel = Kernel { of: table, socket, sequence: 0, generation: 0, table: None, buffer };
        kernel.look()?;
        Ok(kernel)
    }

    /// The port of the socket, by which the [`Monitor`](crate::Monitor) tells our changes from those of others.
    pub(crate) fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Applies a transaction: all of it, or nothing.
    ///
    /// What fits into one moderate batch is one commit. Of a bigger transaction the new chains and sets are
    /// built first, in several commits (no packet meets them, see [`Transaction::parts`]), and then all that puts
    /// them to use is one commit. If any of it fails, what was built is taken away again.
    ///
    /// Every commit demands that nobody committed to `nf_tables` since we looked. Others do so all the time,
    /// in their own tables: then it is tried again, unless our table is not the same any more.
    ///
    /// # Errors
    ///
    /// [`ApplyError`] says what was refused, and of which object.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<Applied, ApplyError> {
        let operations = transaction.operations();
        let mut applied = Applied::default();
        if operations.is_empty() {
            return Ok(applied);
        }
        if transaction.table() != self.of {
            return Err(ApplyError::OtherTable { transaction: transaction.table(), kernel: self.of });
        }
        let limit = self.batch_bytes_max()?;
        let piece_bytes = limit.saturating_sub(PIECE_OVERHANG_BYTES).clamp(1, PIECE_BYTES);
        if !transaction.fills_before_use() {
            let mut whole = Batch::whole(self.of, operations, 0)?;
            if whole.bytes().len() <= piece_bytes {
                self.commit(&mut whole, operations, &mut applied)?;
                return Ok(applied);
            }
        }
        let (preparation, switch) = transaction.parts();
        let mut switch = Batch::whole(self.of, switch, preparation.len())?;
        if switch.bytes().len() > limit {
            return Err(ApplyError::TooLarge { bytes: switch.bytes().len(), limit });
        }
        for mut piece in Batch::pieces(self.of, preparation, piece_bytes)? {
            self.commit(&mut piece, operations, &mut applied).inspect_err(|_| self.take_back(preparation))?;
        }
        self.commit(&mut switch, operations, &mut applied).inspect_err(|_| self.take_back(preparation))?;
        Ok(applied)
    }

    /// Deletes our table, if it is there; the result says whether it was.
    ///
    /// # Errors
    ///
    /// As [`Kernel::apply`].
    pub fn remove_table(&mut self) -> Result<bool, ApplyError> {
        self.look()?;
        if self.table.is_none() {
            return Ok(false);
        }
        self.apply(&Transaction::remove_table(self.of)).map(|_| true)
    }

    /// Reads our table; `None` if there is none.
    ///
    /// It is read until two readings are the same: while a hash set grows, which the kernel does on its own
    /// some time after a large load, a dump misses elements and does not say so.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or others commit so often that no reading is of one state.
    pub fn read_back(&mut self) -> Result<Option<Ruleset>, KernelError> {
        let mut before = None;
        for _ in 0..TRIES {
            self.look()?;
            if self.table.is_none() {
                return Ok(None);
            }
            let read = self.read_table()?;
            if read.is_some() && self.ask_generation()? == self.generation {
                // Two readings of a very large table at once would take twice the memory.
                let print = read.as_ref().map(fingerprint);
                if print == before {
                    return Ok(read);
                }
                before = print;
            }
        }
        Err(KernelError::Unsteady)
    }

    /// Takes note of the generation and of our table, as they are.
    fn look(&mut self) -> Result<(), KernelError> {
        // In this order: a commit in between makes the generation stale, and we look again.
        self.generation = self.ask_generation()?;
        self.table = self.ask_table()?;
        Ok(())
    }

    fn commit(&mut self, batch: &mut Batch, operations: &[Operation], applied: &mut Applied) -> Result<(), ApplyError> {
        for _ in 0..TRIES {
            let first = self.sequence.wrapping_add(1);
            let last = batch.prepare(first, self.generation);
            self.sequence = last;
            let start = Instant::now();
            self.socket.send(batch.bytes()).map_err(|errno| KernelError::of("send a batch", errno))?;
            match self.outcome(first, last)? {
                Outcome::Committed => {
                    applied.commits += 1;
                    applied.bytes += batch.bytes().len();
                    applied.longest = applied.longest.max(start.elapsed());
                    self.generation = next_generation(self.generation);
                    self.table = self.ask_table()?;
                    return Ok(());
                }
                Outcome::Stale => {
                    let before = self.table;
                    self.look()?;
                    if self.table != before {
                        return Err(ApplyError::Changed);
                    }
                }
                Outcome::Refused { message, answer } => {
                    return Err(ApplyError::refused(self.of, batch, operations, message, answer));
                }
            }
        }
        Err(KernelError::Unsteady.into())
    }

    /// The most bytes that a batch may have.
    fn batch_bytes_max(&self) -> Result<usize, KernelError> {
        self.socket.send_bytes_max().map_err(|errno| KernelError::of("ask for the size of the send buffer", errno))
    }

    /// Deletes what was built of a preparation. It is unreferenced and harmless, so that a failure here
    /// need not be told: whoever reads the table back sees what is left and removes it.
    fn take_back(&mut self, preparation: &[Operation]) {
        let Ok(Some(have)) = self.read_back() else { return };
        let mut left = Ruleset { unknown: Vec::new(), ..have.clone() };
        for operation in preparation {
            match operation {
                Operation::AddTable(_) => left = Ruleset::nothing(self.of),
                Operation::AddChain(name, ..) => drop(left.chains.remove(name)),
                Operation::AddSet(name, _) => drop(left.sets.remove(name)),
                Operation::AddCounter(name, _) => drop(left.counters.remove(name)),
                _ => {}
            }
        }
        let _ = self.apply(&crate::diff(&have, &left));
    }

    fn ask_generation(&mut self) -> Result<u32, KernelError> {
        let mut generation = None;
        self.ask(
            "ask for the generation of nf_tables",
            n::NFT_MSG_GETGEN,
            0,
            |_| {},
            |message| {
                generation = message.attributes().find_number(n::NFTA_GEN_ID);
            },
        )?;
        generation.ok_or(KernelError::Missing)
    }

    fn ask_table(&mut self) -> Result<Option<TableState>, KernelError> {
        let mut state = None;
        let table = self.of.name();
        let write = |writer: &mut Writer<'_>| writer.string(n::NFTA_TABLE_NAME, table);
        let asked = self.ask("look for the table", n::NFT_MSG_GETTABLE, 0, write, |message| {
            state = table_state(message.attributes());
        });
        match asked {
            Err(KernelError::Io { errno: Errno::NOENT, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(state),
        }
    }

    /// Reads the table with everything in it; `None` if it changed meanwhile, or went.
    fn read_table(&mut self) -> Result<Option<Ruleset>, KernelError> {
        match self.read_parts() {
            Err(KernelError::Io { errno: Errno::NOENT, .. }) => Ok(None),
            read => read,
        }
    }

    /// The same, where a table that went is an error.
    fn read_parts(&mut self) -> Result<Option<Ruleset>, KernelError> {
        let mut reader = Reader::of(self.of);
        let mut names = Vec::new();
        let table = self.of.name();
        let named = |writer: &mut Writer<'_>| writer.string(n::NFTA_TABLE_NAME, table);
        let mut steady = self.ask("read the table", n::NFT_MSG_GETTABLE, 0, named, |message| {
            reader.table(message.attributes());
        })?;
        steady &= self.ask("read the chains", n::NFT_MSG_GETCHAIN, n::NLM_F_DUMP, named, |message| {
            reader.chain(message.attributes());
        })?;
        steady &= self.ask("read the sets", n::NFT_MSG_GETSET, n::NLM_F_DUMP, named, |message| {
            names.extend(reader.set(message.attributes()));
        })?;
        steady &= self.ask("read the rules", n::NFT_MSG_GETRULE, n::NLM_F_DUMP, named, |message| {
            reader.rule(message.attributes());
        })?;
        steady &= self.ask("read the counters", n::NFT_MSG_GETOBJ, n::NLM_F_DUMP, named, |message| {
            reader.object(message.attributes());
        })?;
        steady &= self.ask("read the flowtables", n::NFT_MSG_GETFLOWTABLE, n::NLM_F_DUMP, named, |message| {
            reader.flowtable(message.attributes());
        })?;
        for name in names {
            let mut elements = Vec::new();
            let write = |writer: &mut Writer<'_>| {
                writer.string(n::NFTA_SET_ELEM_LIST_TABLE, table);
                writer.string(n::NFTA_SET_ELEM_LIST_SET, &name);
            };
            steady &=
                self.ask("read the elements of a set", n::NFT_MSG_GETSETELEM, n::NLM_F_DUMP, write, |message| {
                    let list = message.attributes().find_nested(n::NFTA_SET_ELEM_LIST_ELEMENTS);
                    elements.extend(list.into_iter().flatten().map(RawElement::read));
                })?;
            reader.elements(&name, elements);
        }
        Ok(steady.then(|| reader.finish()))
    }

    /// Sends a question and hands each message of the answer on; `false` if it is not of one state.
    fn ask(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        write: impl FnOnce(&mut Writer<'_>),
        mut each: impl FnMut(Message<'_>),
    ) -> Result<bool, KernelError> {
        self.sequence = self.sequence.wrapping_add(1);
        let failed = |errno| KernelError::of(what, errno);
        let request = message::request(self.of, kind, flags, self.sequence, write);
        self.socket.send(&request).map_err(failed)?;
        let mut steady = true;
        while let Some(bytes) = self.socket.receive(&mut self.buffer).map_err(failed)? {
            for message in Messages(bytes).filter(|message| message.sequence == self.sequence) {
                steady &= message.flags & n::NLM_F_DUMP_INTR == 0;
                match message.answer() {
                    Some(answer) if answer.errno != 0 => {
                        let errno = Errno::from_raw_os_error(answer.errno);
                        // The table, or the set, went away while it was read.
                        if errno == Errno::NOENT && flags == n::NLM_F_DUMP {
                            return Ok(false);
                        }
                        return Err(failed(errno));
                    }
                    Some(_) => {}
                    None if message.kind == n::NLMSG_DONE => return Ok(steady),
                    None => each(message),
                }
            }
        }
        Ok(steady)
    }
}

/// What tells one reading from another.
fn fingerprint(read: &Ruleset) -> u64 {
    let mut hasher = DefaultHasher::new();
    read.hash(&mut hasher);
    hasher.finish()
}

/// The generation after a commit; the kernel leaves 0 out.
fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).and_then(NonZeroU32::new).map_or(1, NonZeroU32::get)
}

#[cfg(test)]
mod tests;
