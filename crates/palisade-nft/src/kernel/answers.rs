//! What became of a batch.

use rustix::io::Errno;

use super::{Kernel, KernelError};
use crate::wire::message::{Answer, Messages};

/// What the kernel did with a batch.
pub(super) enum Outcome {
    /// All of it is in force.
    Committed,
    /// Nothing, as somebody committed since we looked.
    Stale,
    /// Nothing, because of this message, counted from the begin message on.
    Refused {
        /// 0 is the begin message: the batch as a whole.
        message: u32,
        /// Why.
        answer: Answer,
    },
}

impl Kernel {
    /// Reads the answers to a batch. They are all there once it is sent: errors for the messages that failed, and
    /// then for the last message an acknowledgement, also when others failed. A batch that fails as
    /// a whole is answered for its begin message, perhaps alone.
    pub(super) fn outcome(&mut self, first: u32, last: u32) -> Result<Outcome, KernelError> {
        let mut acknowledged = false;
        let mut refused: Option<(u32, Answer)> = None;
        loop {
            let bytes = match self.socket.receive(&mut self.buffer) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                // So many operations failed that not all answers had room; the first ones are there.
                Err(Errno::NOBUFS) => continue,
                Err(errno) => return Err(KernelError::of("read the answer to a batch", errno)),
            };
            for message in Messages(bytes) {
                let distance = message.sequence.wrapping_sub(first);
                if distance > last.wrapping_sub(first) {
                    continue;
                }
                match message.answer() {
                    Some(answer) if answer.errno != 0 => {
                        refused.get_or_insert((distance, answer));
                    }
                    Some(_) if message.sequence == last => acknowledged = true,
                    _ => {}
                }
            }
        }
        match refused {
            Some((0, answer)) if answer.errno == Errno::RESTART.raw_os_error() => Ok(Outcome::Stale),
            Some((message, answer)) => Ok(Outcome::Refused { message, answer }),
            None if acknowledged => Ok(Outcome::Committed),
            None => Err(KernelError::NoAnswer),
        }
    }
}
