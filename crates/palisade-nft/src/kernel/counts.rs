//! What packets have written into our table: counters.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_core::{Direction, Family, Layer};
use rustix::io::Errno;

use super::{Kernel, KernelError, TRIES};
use crate::lower::{CUT_FLOWS, counts_set};
use crate::sources::FORGED;

use crate::wire::attributes::Writer;
use crate::wire::decode::{counted, counts};
use crate::wire::numbers as n;

/// What was denied of one subject in one direction, or would be, from its first packet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denials {
    /// The direction in which the subject was judged.
    pub direction: Direction,
    /// The address that was judged: of a pod of this node, or in its pod ranges.
    pub subject: IpAddr,
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// Packets that guards of ports of nodes, or bans, do not let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardedCounts {
    /// That were denied.
    pub denied: u64,
    /// That passed, and would be denied with audited policies or lists in force; at guards, of those that opened connections.
    pub would_deny: u64,
}

impl Kernel {
    /// What was denied so far, by direction and subject. A subject of which nothing was denied for an hour is not among them, and
    /// begins at zero when it comes back; so do all when the table is made anew. At most 65,536 subjects a family are told apart.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn denials(&mut self) -> Result<Vec<Denials>, KernelError> {
        self.denials_of(Layer::InForce)
    }

    /// What passed so far of packets that open connections, and would be denied with audited policies in force: by direction and
    /// subject, which are remembered as those of [`Kernel::denials`].
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn would_deny(&mut self) -> Result<Vec<Denials>, KernelError> {
        self.denials_of(Layer::Shadow)
    }

    fn denials_of(&mut self, layer: Layer) -> Result<Vec<Denials>, KernelError> {
        let mut before = None;
        let mut denials = Vec::new();
        // While a set grows, a dump misses elements: it is read until the same subjects are found twice.
        for _ in 0..TRIES {
            denials = self.read_denials(layer)?;
            let subjects: Vec<_> = denials.iter().map(|denials| (denials.direction, denials.subject)).collect();
            if before.as_ref() == Some(&subjects) {
                break;
            }
            before = Some(subjects);
        }
        Ok(denials)
    }

    /// How many connections passed and were denied later, since the table was made.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn cut_flows(&mut self) -> Result<u64, KernelError> {
        self.counter(CUT_FLOWS)
    }

    /// How many packets of pods were dropped for their source, since the table was made; in a table of sources.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn forged(&mut self) -> Result<u64, KernelError> {
        self.counter(FORGED)
    }

    /// What guards of ports denied, and would deny, since the table was made; in the table of host policies.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn guarded(&mut self) -> Result<GuardedCounts, KernelError> {
        Ok(GuardedCounts {
            denied: self.counter(crate::host::DENIED)?,
            would_deny: self.counter(crate::host::WOULD_DENY)?,
        })
    }

    /// What bans denied, and would deny, since the table was made; in the table of bans.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn banned(&mut self) -> Result<GuardedCounts, KernelError> {
        Ok(GuardedCounts {
            denied: self.counter(crate::bans::BANNED)?,
            would_deny: self.counter(crate::bans::WOULD_BAN)?,
        })
    }

    /// The packets that a named counter has counted.
    fn counter(&mut self, name: &str) -> Result<u64, KernelError> {
        let mut packets_counted = 0;
        let table = self.of.name();
        let write = |writer: &mut Writer<'_>| {
            writer.string(n::NFTA_OBJ_TABLE, table);
            writer.string(n::NFTA_OBJ_NAME, name);
            writer.number(n::NFTA_OBJ_TYPE, n::NFT_OBJECT_COUNTER);
        };
        let asked = self.ask("read a counter", n::NFT_MSG_GETOBJ, 0, write, |message| {
            let counter = message.attributes().find_nested(n::NFTA_OBJ_DATA);
            packets_counted = counter.and_then(counts).map_or(0, |(packets, _)| packets);
        });
        match asked {
            // There is no table, so nothing was counted.
            Err(KernelError::Io { errno: Errno::NOENT, .. }) => Ok(0),
            asked => asked.map(|_| packets_counted),
        }
    }

    fn read_denials(&mut self, layer: Layer) -> Result<Vec<Denials>, KernelError> {
        let mut denials = BTreeMap::new();
        let table = self.of.name();
        for direction in Direction::ALL {
            for family in Family::ALL {
                let write = |writer: &mut Writer<'_>| {
                    writer.string(n::NFTA_SET_ELEM_LIST_TABLE, table);
                    writer.string(n::NFTA_SET_ELEM_LIST_SET, &counts_set(layer, direction, family));
                };
                self.ask("read who was denied", n::NFT_MSG_GETSETELEM, n::NLM_F_DUMP, write, |message| {
                    let list = message.attributes().find_nested(n::NFTA_SET_ELEM_LIST_ELEMENTS);
                    let counted = list.into_iter().flatten().filter_map(|element| counted(family, element.nested()));
                    denials.extend(counted.map(|(subject, counts)| ((direction, subject), counts)));
                })?;
            }
        }
        let denials = denials.into_iter();
        Ok(denials
            .map(|((direction, subject), (packets, bytes))| Denials { direction, subject, packets, bytes })
            .collect())
    }
}
