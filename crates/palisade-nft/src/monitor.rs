//! News of changes to `nf_tables`, ours and those of others.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::kernel::{Kernel, KernelError};
use crate::ruleset::TABLE;
use crate::socket::Socket;
use crate::wire::message::{Message, Messages, nf_tables};
use crate::wire::numbers as n;

/// The longest message that the kernel sends.
const RECEIVE_BYTES: usize = 256 << 10;

/// Listens to the commits of the network namespace in which it was opened, from then on.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    ours: u32,
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
        /// Whether it came through the [`Kernel`] that the monitor belongs to.
        ours: bool,
        /// Whether our table was concerned. If so and it was not us, read it back and repair it.
        touched: bool,
    },
    /// More happened than the socket could keep. Read the table back: nobody knows what was missed.
    Lost,
}

impl Monitor {
    /// Listens; commits made through `kernel` will be told as ours.
    ///
    /// # Errors
    ///
    /// As [`Kernel::open`].
    pub fn open(kernel: &Kernel) -> Result<Monitor, KernelError> {
        let group = 1 << (n::NFNLGRP_NFTABLES - 1);
        let socket = Socket::open(group).map_err(|errno| KernelError::of("listen to nf_tables", errno))?;
        Ok(Monitor {
            socket,
            ours: kernel.port(),
            touched: false,
            events: std::collections::VecDeque::new(),
            buffer: vec![0; RECEIVE_BYTES],
        })
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
            if !self.receive()? {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                self.wait(left)?;
            }
        }
    }

    fn wait(&self, patience: Duration) -> Result<(), KernelError> {
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(KernelError::Io { operation: "wait for news of nf_tables", errno }),
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
                self.events.push_back(commit(message, self.ours, self.touched));
                self.touched = false;
            } else {
                self.touched |= is_about_our_table(message);
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

fn commit(message: Message<'_>, ours: u32, touched: bool) -> Event {
    let attributes = message.attributes();
    Event::Commit {
        generation: attributes.find_number(n::NFTA_GEN_ID).unwrap_or(0),
        thread: attributes.find_number(n::NFTA_GEN_PROC_PID).unwrap_or(0),
        program: attributes.find_string(n::NFTA_GEN_PROC_NAME).unwrap_or("?").to_string(),
        ours: message.port == ours,
        touched,
    }
}

fn is_about_our_table(message: Message<'_>) -> bool {
    message.family() == Some(n::NFPROTO_INET) && message.attributes().find_string(n::NFTA_TABLE_NAME) == Some(TABLE)
}
