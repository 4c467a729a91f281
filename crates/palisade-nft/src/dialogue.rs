//! Questions to the kernel, one at a time, and their answers.

use rustix::io::Errno;

use crate::socket::Socket;
use crate::wire::message::{Message, Messages};
use crate::wire::numbers as n;

/// The longest message that the kernel sends.
const RECEIVE_BYTES: usize = 256 << 10;

/// A socket that asks one thing after the other.
#[derive(Debug)]
pub(crate) struct Dialogue {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How a list was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of it is of one state.
    Steady,
    /// What is listed changed meanwhile: some may be missing, some twice.
    Interrupted,
}

impl Dialogue {
    /// With nfnetlink, in the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Dialogue, Errno> {
        Socket::open(0).map(Dialogue::with)
    }

    /// With rtnetlink, in the network namespace of the calling thread.
    pub(crate) fn open_route() -> Result<Dialogue, Errno> {
        Socket::open_route(0).map(Dialogue::with)
    }

    fn with(socket: Socket) -> Dialogue {
        Dialogue { socket, sequence: 0, buffer: vec![0; RECEIVE_BYTES] }
    }

    /// The socket, when all is said.
    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends the request that `request` makes with the given sequence number, and hands each message of the
    /// answer on.
    pub(crate) fn ask(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<Reading, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence))?;
        let mut reading = Reading::Steady;
        // The kernel answers while it takes the request, and goes on with a list while it is read: nothing
        // more to receive means the end.
        while let Some(bytes) = self.socket.receive(&mut self.buffer)? {
            for message in Messages(bytes).filter(|message| message.sequence == self.sequence) {
                if message.flags & n::NLM_F_DUMP_INTR != 0 {
                    reading = Reading::Interrupted;
                }
                match message.answer() {
                    Some(answer) if answer.errno != 0 => return Err(Errno::from_raw_os_error(answer.errno)),
                    Some(_) => {}
                    None if message.kind == n::NLMSG_DONE => return Ok(reading),
                    None => each(message),
                }
            }
        }
        Ok(reading)
    }
}
