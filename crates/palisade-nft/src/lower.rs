//! How packets are judged: the layout of the table, here and nowhere else.
//!
//! ```text
//! forward (hook)         the connection's mark says "judged under the rules in force": accept
//!    |
//!    |--not new-------------------> judge_again
//!    |-- egress                   each of the four is the same: two lookups, of which the first that hits decides
//!    |-- ingress                     1. subject . transport . port  ->  to_GROUP / from_GROUP
//!    |                               2. subject                     ->  rest_REST, or return for a known pod
//!    |                               3. subject in a pod range      ->  unknown_SIDE
//!    |                               else it passes: the subject is no pod of this node that anything isolates
//!    |--mid-stream TCP, SCTP------> judge_reply
//!    writes the generation into the mark
//!    |-- audit_egress             where an audited policy selects a pod of the node, and as the two above, but nobody is denied:
//!    |-- audit_ingress            what would be denied is counted and logged
//!    accepts
//!
//! judge_again
//!    |--invalid, untracked--------> unknown_direction: pass neighbour discovery, else judge both ways
//!    |--related-------------------> related: pass ICMP errors of a connection so marked, else go on
//!    |--reply---------------------> judge_reply: egress_reply, ingress_reply
//!    |-- egress, ingress
//! passed                 writes the generation into the mark, accepts
//! denied_SIDE            where packets end that are not admitted, see the module `denied`
//! ```
//!
//! **Orientation.** Policies speak of who opens a connection. In a packet *as sent* by the opener the subject of
//! egress is the source, that of ingress is the destination, and the port is the destination port; in a
//! *reply* all of it is swapped. Each map therefore exists twice; the chains of a group exist once
//! for each side that the peer can be on (`to_…`, `from_…`). `forward` sees pod addresses and
//! ports in both orientations, since DNAT came before and masquerading comes after.
//!
//! **Generation.** A connection is marked with the number of the rules that let it pass, in eight bits of its mark
//! (the others belong to others, and are kept). When the number changes, every connection is judged again at
//! its next packet, in whichever direction that goes; one that is denied now stays cut until it is allowed again. Where
//! live connections are to be kept, any number will do ([`Established::Keep`]).
//!
//! **Unknown direction.** Without a conntrack entry, or for a TCP or SCTP packet that enters mid-stream, nobody
//! knows which end opened the connection: such a packet must be allowed in both orientations. Otherwise a
//! cut connection would come back through its other end.
//!
//! **Related.** An ICMP error has the mark of the connection it is about, and passes with it. A connection that a
//! conntrack helper expects starts with the mark of its master: it is judged like any other.

mod changes;
mod denied;
mod fixed;
mod groups;
mod settings;
mod view;

use palisade_core::{Layer, Tables};

use crate::ruleset::{Comment, Ruleset, Set};
use fixed::Audited;
pub(crate) use fixed::neighbour_discovery;
use groups::{group_chains, rest_chains, rest_maps};
use view::{Pod, View};

pub use changes::Held;
pub use denied::Denial;
pub(crate) use denied::{CUT_FLOWS, counts_set, limits, log, rejection};
pub(crate) use groups::{group_peer_rules, group_sets, peers_set, range_key, ranges_definition};
pub use settings::{Denied, Established, Generation, Settings};
pub(crate) use view::{Orientation, address_key, address_type, prefix};

/// The bits of the connection mark that hold the generation; kube-proxy uses 0x4000 and 0x8000 of packet marks,
/// and some tools copy one mark to the other.
pub const GENERATION_MASK: u32 = 0x00ff_0000;

/// The ruleset that enforces the tables.
pub fn lower(tables: &Tables, settings: &Settings, generation: Generation) -> Ruleset {
    let mut ruleset = Ruleset {
        comment: Some(Comment::new("NetworkPolicy of this node, written by palisade; changes by others are undone")),
        chains: fixed::chains(*settings, generation, &tables.pod_ranges, Audited::of(&tables.shadow)),
        sets: denied::sets(*settings).into_iter().collect(),
        counters: denied::counters().into_iter().collect(),
        ..Ruleset::default()
    };
    for view in View::all() {
        let subjects = match view.layer {
            Layer::InForce => &tables.subjects[view.direction],
            Layer::Shadow => &tables.shadow[view.direction],
        };
        let mut ports = Set::new(view.ports_definition());
        ports.elements = subjects.ports.iter().filter_map(|(key, admit)| view.port_element(key, admit)).collect();
        ruleset.sets.insert(view.ports_map(), ports);
        let mut pods = Set::new(view.pods_definition());
        // Nothing in the shadow tells known addresses from others.
        let known = (view.layer == Layer::InForce).then_some(&tables.known);
        let pod = |address| match known {
            Some(known) => Pod::at(address, subjects, known),
            None => Pod::isolated(address, subjects),
        };
        let addresses = subjects.isolated.keys().chain(known.into_iter().flatten());
        pods.elements = addresses.filter_map(|address| view.pod_element(*address, &pod(*address)?)).collect();
        ruleset.sets.insert(view.pods_map(), pods);
    }
    for (id, group) in &tables.groups {
        ruleset.sets.extend(group_sets(id, group));
        ruleset.chains.extend(group_chains(id, group));
    }
    for (id, rest) in &tables.rests {
        ruleset.sets.extend(rest_maps(id, rest));
        ruleset.chains.extend(rest_chains(id, rest));
    }
    ruleset
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use palisade_core::tables::SubjectPort;
    use palisade_core::{Admit, Direction, GroupId, PeerGroup, PortRange, Rest, RestId, Transport};

    use super::*;

    /// One pod: ingress on tcp 5432 from the web pods, on tcp 8000-9000 from a block; no egress but DNS. Its IPv6 address is known,
    /// and nothing isolates it. Unknown pods are denied, and denied packets logged.
    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let mut tables = Tables::default();
        let port = |number| palisade_core::Port::new(number).unwrap();
        let address: IpAddr = "10.244.1.7".parse().unwrap();
        let (web, block) = (GroupId("3f9a".into()), GroupId("77c0".into()));
        let (ingress, egress) = (RestId("b1e4".into()), RestId("0d52".into()));
        tables.groups.insert(
            web.clone(),
            PeerGroup {
                description: "pods app=web in namespace shop".into(),
                addresses: BTreeSet::from(["10.244.1.9".parse().unwrap(), "fd44::9".parse().unwrap()]),
                ..PeerGroup::default()
            },
        );
        tables.groups.insert(
            block.clone(),
            PeerGroup {
                description: "10.0.0.0/8 except 10.96.0.0/12".into(),
                blocks4: [
                    ("10.0.0.0".parse().unwrap(), "10.95.255.255".parse().unwrap()),
                    ("10.112.0.0".parse().unwrap(), "10.255.255.255".parse().unwrap()),
                ]
                .into(),
                ..PeerGroup::default()
            },
        );
        let ranges = vec![(Transport::Tcp, PortRange::new(port(8000), port(9000)).unwrap(), Admit::Group(block))];
        let rest = |direction, description: &str, ranges| Rest {
            direction,
            description: description.into(),
            ranges,
            otherwise: None,
        };
        tables.rests.insert(ingress.clone(), rest(Direction::Ingress, "db/pg", ranges));
        tables.rests.insert(egress.clone(), rest(Direction::Egress, "nothing", vec![]));
        let key = |transport, number| SubjectPort { address, transport, port: port(number) };
        tables.subjects.ingress.ports.insert(key(Transport::Tcp, 5432), Admit::Group(web));
        tables.subjects.egress.ports.insert(key(Transport::Udp, 53), Admit::Everyone);
        tables.subjects.ingress.isolated.insert(address, ingress);
        tables.subjects.egress.isolated.insert(address, egress);
        tables.pod_ranges = vec!["10.244.1.0/24".parse().unwrap(), "fd44:0:0:1::/64".parse().unwrap()];
        tables.known = BTreeSet::from([address, "fd44:0:0:1::7".parse().unwrap()]);
        let settings = Settings { log_group: Some(5), ..Settings::default() };
        let text = lower(&tables, &settings, Generation::FIRST).to_string();
        assert_eq!(
            text,
            include_str!("lower/example.nft"),
            "the layout changed; if that is meant, write it down:\n{text}"
        );
    }

    /// Nothing is asked for the shadow's sake while nobody is audited, and nothing changes then but what is written here.
    #[test]
    fn audited_subjects_change_three_chains_and_no_other() {
        let mut tables = Tables::default();
        let before = lower(&tables, &Settings::default(), Generation::FIRST);
        let rest = Rest { direction: Direction::Ingress, description: "x".into(), ranges: vec![], otherwise: None };
        tables.rests.insert(RestId("b1e4".into()), rest);
        tables.shadow.ingress.isolated.insert("10.244.1.7".parse().unwrap(), RestId("b1e4".into()));
        let mut after = lower(&tables, &Settings::default(), Generation::FIRST);
        after.chains.retain(|name, chain| before.chains.get(name).is_none_or(|other| other != chain));
        after.sets.retain(|name, set| before.sets.get(name).is_none_or(|other| other != set));
        after.counters.clear();
        assert_eq!(after.to_string(), include_str!("lower/audited.nft"), "{after}");
    }
}
