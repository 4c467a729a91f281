//! What is chosen for a node, and the number of the rules in force.

use std::num::NonZeroU8;

use super::GENERATION_MASK;

/// How packets are treated, whatever the tables say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the sender of a denied packet gets to know.
    pub denied: Denied,
    /// The NFLOG group that denied packets are reported to, a few of each subject; `None` reports none.
    pub log_group: Option<u16>,
    /// What becomes of a live connection that a change forbids.
    pub established: Established,
}

/// What the sender of a denied packet gets to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denied {
    /// Nothing: the packet is dropped.
    #[default]
    Drop,
    /// A TCP reset, or an ICMP error `administratively prohibited` (RFC 1812, section 5.2.7.1; RFC 4443, section 3.1).
    Reject,
}

/// What becomes of a live connection that a change forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Established {
    /// It is cut: its next packet is judged by the rules then in force.
    #[default]
    Cut,
    /// It goes on: whatever passed once passes until it ends.
    Keep,
}

/// The number of the rules in force, 1 to 255; 0 is the mark of a connection that nobody judged.
///
/// It must change with every change that may deny something. Before a number is used again, no connection
/// may carry it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU8);

impl Generation {
    /// The first.
    pub const FIRST: Generation = Generation(NonZeroU8::MIN);

    /// A generation by its number; `None` for 0.
    pub fn new(number: u8) -> Option<Generation> {
        NonZeroU8::new(number).map(Generation)
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0.get()
    }

    /// The one after this; after 255 comes 1.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.checked_add(1).unwrap_or(NonZeroU8::MIN))
    }

    pub(crate) fn mark(self) -> u32 {
        u32::from(self.number()) << 16
    }

    /// The generation in a connection mark; `None` if there is none.
    pub(crate) fn of_mark(mark: u32) -> Option<Generation> {
        u8::try_from((mark & GENERATION_MASK) >> 16).ok().and_then(Generation::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_go_round_and_leave_zero_out() {
        let mut generation = Generation::FIRST;
        for number in 1..=255 {
            assert_eq!(generation.number(), number);
            assert_eq!(generation.mark() & !GENERATION_MASK, 0);
            generation = generation.next();
        }
        assert_eq!(generation, Generation::FIRST);
        assert_eq!(Generation::new(0), None);
    }
}
