//! The sets and chains of groups and rests.

use std::collections::BTreeMap;

use palisade_core::{Admit, Family, GroupId, PeerGroup, PortRange, Rest, RestId, Transport};

use super::denied::deny;
use super::view::{Orientation, address_key, address_type};
use crate::ruleset::{
    Chain, Comment, Elements, Field, Key, Lookup, Name, Rule, Set, SetDefinition, Side, Statement, Value, ValueType,
    Verdict,
};

pub(super) fn admit_verdict(admit: &Admit, peer: Side) -> Verdict {
    match admit {
        Admit::Everyone => Verdict::Return,
        Admit::Group(id) => Verdict::Goto(group_chain(id, peer)),
    }
}

pub(super) fn group_chain(id: &GroupId, peer: Side) -> Name {
    match peer {
        Side::Destination => format!("to_{id}").into(),
        Side::Source => format!("from_{id}").into(),
    }
}

/// The set of a group's pods; it is there in both families for every group, so that members can come and go.
pub(crate) fn peers_set(id: &GroupId, family: Family) -> Name {
    format!("peers{}_{id}", family.digit()).into()
}

/// The set of a group's address blocks; it is there only for a group that has blocks of the family.
pub(super) fn blocks_set(id: &GroupId, family: Family) -> Name {
    format!("blocks{}_{id}", family.digit()).into()
}

pub(super) fn rest_chain(id: &RestId, orientation: Orientation) -> Name {
    format!("rest_{id}{}", orientation.suffix()).into()
}

/// The map of a rest's port ranges; it is there only for a transport that has some.
pub(super) fn ranges_map(id: &RestId, transport: Transport, orientation: Orientation) -> Name {
    format!("ranges_{id}_{transport}{}", orientation.suffix()).into()
}

pub(crate) fn group_sets(id: &GroupId, group: &PeerGroup) -> Vec<(Name, Set)> {
    let comment = Comment::new(&group.description);
    let definition = |family, interval| SetDefinition {
        comment: Some(comment.clone()),
        key: vec![address_type(family)],
        verdicts: false,
        interval,
        dynamic: None,
    };
    let mut sets = Vec::new();
    for family in Family::ALL {
        let peers = group.addresses.iter().filter(|address| Family::of(**address) == family);
        let elements = peers.map(|address| (address_key(*address), None)).collect();
        sets.push((peers_set(id, family), Set { definition: definition(family, false), elements }));
    }
    let blocks4: Elements =
        group.blocks4.iter().map(|(first, last)| (Key::Range(Value::Ipv4(*first), Value::Ipv4(*last)), None)).collect();
    let blocks6: Elements =
        group.blocks6.iter().map(|(first, last)| (Key::Range(Value::Ipv6(*first), Value::Ipv6(*last)), None)).collect();
    for (family, elements) in [(Family::V4, blocks4), (Family::V6, blocks6)] {
        if !elements.is_empty() {
            sets.push((blocks_set(id, family), Set { definition: definition(family, true), elements }));
        }
    }
    sets
}

pub(super) fn group_chains(id: &GroupId, group: &PeerGroup) -> [(Name, Chain); 2] {
    [Side::Destination, Side::Source].map(|side| {
        let mut rules = group_peer_rules(id, group, side);
        rules.push(deny(side.other()));
        (group_chain(id, side), Chain { comment: Some(Comment::new(&group.description)), hook: None, rules })
    })
}

/// Returns if a member of the group is at this side.
pub(crate) fn group_peer_rules(id: &GroupId, group: &PeerGroup, side: Side) -> Vec<Rule> {
    let mut sets: Vec<(Family, Name)> = Family::ALL.into_iter().map(|family| (family, peers_set(id, family))).collect();
    if !group.blocks4.is_empty() {
        sets.push((Family::V4, blocks_set(id, Family::V4)));
    }
    if !group.blocks6.is_empty() {
        sets.push((Family::V6, blocks_set(id, Family::V6)));
    }
    let rule = |(family, set)| {
        let member = Statement::In(vec![Field::Address(family, side)], Lookup::Named(set));
        vec![member, Statement::Verdict(Verdict::Return)]
    };
    sets.into_iter().map(rule).collect()
}

pub(super) fn rest_maps(id: &RestId, rest: &Rest) -> Vec<(Name, Set)> {
    let mut maps = Vec::new();
    for orientation in Orientation::ALL {
        let peer = orientation.peer(rest.direction);
        let mut by_transport: BTreeMap<Transport, Elements> = BTreeMap::new();
        for (transport, range, admit) in &rest.ranges {
            by_transport.entry(*transport).or_default().insert(range_key(*range), Some(admit_verdict(admit, peer)));
        }
        for (transport, elements) in by_transport {
            let definition = ranges_definition(&rest.description, true);
            maps.push((ranges_map(id, transport, orientation), Set { definition, elements }));
        }
    }
    maps
}

/// A set of ranges of ports, or a map of them to verdicts.
pub(crate) fn ranges_definition(comment: &str, verdicts: bool) -> SetDefinition {
    let comment = Some(Comment::new(comment));
    SetDefinition { comment, key: vec![ValueType::Port], verdicts, interval: true, dynamic: None }
}

pub(crate) fn range_key(range: PortRange) -> Key {
    Key::Range(Value::Port(range.first().get()), Value::Port(range.last().get()))
}

pub(super) fn rest_chains(id: &RestId, rest: &Rest) -> [(Name, Chain); 2] {
    Orientation::ALL.map(|orientation| {
        let mut rules: Vec<Rule> = ranged_transports(rest)
            .into_iter()
            .map(|transport| {
                let field = Field::TransportPort(transport, orientation.port());
                let map = ranges_map(id, transport, orientation);
                vec![Statement::VerdictMap(vec![field], Lookup::Named(map))]
            })
            .collect();
        rules.push(match &rest.otherwise {
            Some(admit) => vec![Statement::Verdict(admit_verdict(admit, orientation.peer(rest.direction)))],
            None => deny(orientation.subject(rest.direction)),
        });
        (rest_chain(id, orientation), Chain { comment: Some(Comment::new(&rest.description)), hook: None, rules })
    })
}

pub(super) fn ranged_transports(rest: &Rest) -> Vec<Transport> {
    Transport::ALL.into_iter().filter(|transport| rest.ranges.iter().any(|(other, ..)| other == transport)).collect()
}
