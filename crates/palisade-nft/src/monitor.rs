//! News of changes to `nf_tables`, ours and those of others.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::kernel::{Kernel, KernelError};
use crate::ruleset::Table;
use crate::socket::Socket;
use crate::wire::message::{Message, Messages, family, nf_tables};
use crate::wire::numbers as n;

/// The longest message that the kernel sends.
const RECEIVE_BYTES: usize = 256 << 10;

/// Listens to the commits of the network namespace in which it was opened, from then on.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    ours: Vec<u32>,
    touched: bool,
    events: std::collections::VecDeque<Event>,
    buffer: Vec<u8>,
}

/// Something that happened to `nf_tables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody committed a transaction.
    Commit {
        /// The generation of all of `nf_tables` after it.
        generation: u32,
        /// The thread that did it, in the initial process namespace.
        thread: u32,
        /// The name of its program, at most 15 bytes.
        program: String,
        /// Whether it came through a [`Kernel`] that the monitor belongs to.
        ours: bool,
        /// Whether one of our tables was concerned. If so and it was not us, read them back and repair them.
        touched: bool,
    },
    /// More happened than the socket could keep. Read the table back: nobody knows what was missed.
    Lost,
}

impl Monitor {
    /// Listens; commits made through these will be told as ours.
    ///
    /// # Errors
    ///
    /// As [`Kernel::open`].
    pub fn open<'a>(kernels: impl IntoIterator<Item = &'a Kernel>) -> Result<Monitor, KernelError> {
        Ok(Monitor {
            socket: socket()?,
            ours: kernels.into_iter().map(Kernel::port).collect(),
            touched: false,
            events: std::collections::VecDeque::new(),
            buffer: vec![0; RECEIVE_BYTES],
        })
    }

    /// Listens anew, in the network namespace of the calling thread, after the socket failed. The next event is [`Event::Lost`].
    ///
    /// # Errors
    ///
    /// As [`Kernel::open`]; it is as before then.
    pub fn reopen(&mut self) -> Result<(), KernelError> {
        self.socket = socket()?;
        self.touched = false;
        self.events.clear();
        self.events.push_back(Event::Lost);
        Ok(())
    }

    /// The next event; waits at most so long, and `None` if nothing happened.
    ///
    /// # Errors
    ///
    /// If the socket fails.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Event>, KernelError> {
        let end = Instant::now() + patience;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.receive()? && !self.socket.wait_until(end, "wait for news of nf_tables")? {
                return Ok(None);
            }
        }
    }

    /// Takes in what is there; `false` if there is nothing.
    fn receive(&mut self) -> Result<bool, KernelError> {
        let bytes = match self.socket.receive(&mut self.buffer) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(false),
            Err(Errno::NOBUFS | Errno::MSGSIZE) => {
                self.touched = false;
                self.events.push_back(Event::Lost);
                return Ok(true);
            }
            Err(errno) => return Err(KernelError::Io { operation: "read news of nf_tables", errno }),
        };
        for message in Messages(bytes) {
            if message.kind == nf_tables(n::NFT_MSG_NEWGEN) {
                self.events.push_back(commit(message, &self.ours, self.touched));
                self.touched = false;
            } else {
                self.touched |= our_table(message).is_some();
            }
        }
        Ok(true)
    }
}

impl AsFd for Monitor {
    /// Readable when [`Monitor::next`] may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socket() -> Result<Socket, KernelError> {
    let group = 1 << (n::NFNLGRP_NFTABLES - 1);
    Socket::open(group).map_err(|errno| KernelError::of("listen to nf_tables", errno))
}

fn commit(message: Message<'_>, ours: &[u32], touched: bool) -> Event {
    let attributes = message.attributes();
    Event::Commit {
        generation: attributes.find_number(n::NFTA_GEN_ID).unwrap_or(0),
        thread: attributes.find_number(n::NFTA_GEN_PROC_PID).unwrap_or(0),
        program: attributes.find_string(n::NFTA_GEN_PROC_NAME).unwrap_or("?").to_string(),
        ours: ours.contains(&message.port),
        touched,
    }
}

/// The table of ours that the message is about, if it is about one.
fn our_table(message: Message<'_>) -> Option<Table> {
    let name = message.attributes().find_string(n::NFTA_TABLE_NAME)?;
    Table::ALL.into_iter().find(|table| message.family() == Some(family(*table)) && name == table.name())
}
