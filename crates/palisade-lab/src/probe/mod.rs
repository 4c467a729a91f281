//! Real packets, and what became of them.
//!
//! Silence is the answer of a rule that drops, but also of a busy machine. So a packet that nobody answered is sent
//! again, and counts as denied only if *control flows* sent after it were answered: from the destination's node to
//! the same port of the destination (the server is there), from the source to its own node, and between the nodes
//! (the path works). No policy concerns these, because none of them is forwarded by a node that has rules.
//!
//! One thread sends, serves and listens, and takes what has arrived before it sends more, so that no queue overflows.

mod client;
mod control;
mod datagram;
mod engine;
mod outcome;
mod sctp;
mod server;

pub(crate) use engine::Prober;
pub(crate) use outcome::unsendable;
pub use outcome::{Outcome, Progress};

use std::fmt;
use std::net::IpAddr;

use palisade_core::{Family, Traffic};
use palisade_nft::Share;

use crate::topology::Place;

/// A packet to be sent: out of one namespace, and who should answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shot {
    pub(crate) from: Place,
    pub(crate) source: IpAddr,
    pub(crate) to: Place,
    pub(crate) destination: IpAddr,
    pub(crate) traffic: Traffic,
    /// Where the packet is sent, if something is to lead it to that destination.
    pub(crate) dial: Option<Dial>,
}

/// An address and a port that lead elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dial {
    pub(crate) address: IpAddr,
    pub(crate) traffic: Traffic,
    /// The source ports that lead to the destination.
    pub(crate) share: Share,
}

impl fmt::Display for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ({}) {}", self.from, self.to, self.destination, self.traffic)?;
        match &self.dial {
            Some(dial) => write!(f, " by {} {}", dial.address, dial.traffic),
            None => Ok(()),
        }
    }
}

impl Shot {
    /// The source ports that it may be sent from.
    fn share(&self) -> Share {
        self.dial.as_ref().map_or(Share::ALL, |dial| dial.share)
    }

    /// Where the client sends the packet.
    fn sent_to(&self) -> (IpAddr, Traffic) {
        self.dial.as_ref().map_or((self.destination, self.traffic), |dial| (dial.address, dial.traffic))
    }

    fn family(&self) -> Family {
        Family::of(self.destination)
    }
}
