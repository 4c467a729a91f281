//! Messages that the kernel takes together, or not at all, for tables that are not those of the product.

use rustix::io::Errno;

use crate::dialogue::Dialogue;
use crate::wire::attributes::Writer;
use crate::wire::message;
use crate::wire::numbers as n;

/// Each message without its sequence number.
#[derive(Default)]
pub(crate) struct PlainBatch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl PlainBatch {
    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a message about a table of this family.
    pub(crate) fn message(&mut self, family: u8, kind: u16, flags: u16, write: impl FnOnce(&mut Writer<'_>)) {
        let start = message::begin(&mut self.bytes, message::nf_tables(kind), flags, 0, family, 0);
        self.starts.push(start);
        write(&mut Writer(&mut self.bytes));
        message::end(&mut self.bytes, start);
    }

    /// Has the kernel take all of it.
    pub(crate) fn commit(self, kernel: &mut Dialogue) -> Result<(), Errno> {
        kernel.ask(|sequence| self.complete(sequence), |_| {}).map(drop)
    }

    fn complete(mut self, sequence: u32) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes.len() + 64);
        let edge = |all: &mut Vec<u8>, kind| {
            let start = message::begin(all, kind, 0, sequence, n::NFPROTO_UNSPEC, n::NFNL_SUBSYS_NFTABLES);
            message::end(all, start);
        };
        for start in &self.starts {
            message::set_sequence(&mut self.bytes, *start, sequence);
        }
        if let Some(last) = self.starts.last() {
            message::add_flags(&mut self.bytes, *last, n::NLM_F_ACK);
        }
        edge(&mut all, n::NFNL_MSG_BATCH_BEGIN);
        all.extend_from_slice(&self.bytes);
        edge(&mut all, n::NFNL_MSG_BATCH_END);
        all
    }
}
