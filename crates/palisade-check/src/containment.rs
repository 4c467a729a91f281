//! Whether all that one rule allows another allows as well, in whatever cluster. Where this cannot be told it says no.

use palisade_core::{
    AddressSet, Labels, Operator, Peer, PortMatch, PortRange, Ports, Requirement, Rule, Selector, Transport,
};
use palisade_sim::selects;

/// Whether `outer` allows all that `inner` does. `own` are the labels of the policy's namespace, if they are known.
pub fn contains(outer: &Rule, inner: &Rule, own: Option<&Labels>) -> bool {
    holds_ports(&outer.ports, &inner.ports) && holds_peers(outer.peers.as_deref(), inner.peers.as_deref(), own)
}

/// Whether all that the inner selector selects is selected by the outer one.
pub fn implies(inner: &Selector, outer: &Selector) -> bool {
    outer.requirements().iter().all(|wanted| inner.requirements().iter().any(|given| grants(given, wanted)))
}

/// Whether every object that meets one requirement meets the other.
fn grants(given: &Requirement, wanted: &Requirement) -> bool {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    if given.key != wanted.key {
        return false;
    }
    match (&given.operator, &wanted.operator) {
        (In(given), In(wanted)) => given.iter().all(|value| wanted.contains(value)),
        (In(given), NotIn(refused)) => !given.iter().any(|value| refused.contains(value)),
        (NotIn(given), NotIn(wanted)) => wanted.iter().all(|value| given.contains(value)),
        (In(_) | Exists, Exists) | (DoesNotExist, DoesNotExist | NotIn(_)) => true,
        _ => false,
    }
}

fn holds_peers(outer: Option<&[Peer]>, inner: Option<&[Peer]>, own: Option<&Labels>) -> bool {
    let Some(outer) = outer else { return true };
    let Some(inner) = inner else { return false };
    let addresses: AddressSet = outer.iter().flat_map(ranges_of).collect();
    inner.iter().all(|peer| match peer {
        Peer::Block { .. } => ranges_of(peer).all(|range| addresses.within(range).collect::<Vec<_>>() == [range]),
        Peer::Pods { .. } => outer.iter().any(|outer| holds_pods(outer, peer, own)),
    })
}

/// The addresses of a block; of pods none, since theirs are not known.
pub fn ranges_of(peer: &Peer) -> impl Iterator<Item = palisade_core::AddressRange> {
    let mut set = AddressSet::new();
    if let Peer::Block { cidr, except } = peer {
        set.insert(cidr.into());
        for block in except {
            set.remove(block.into());
        }
    }
    set.iter().collect::<Vec<_>>().into_iter()
}

fn holds_pods(outer: &Peer, inner: &Peer, own: Option<&Labels>) -> bool {
    let (
        Peer::Pods { namespaces: outer_namespaces, pods: outer_pods },
        Peer::Pods { namespaces: inner_namespaces, pods: inner_pods },
    ) = (outer, inner)
    else {
        return false;
    };
    let namespaces = match (outer_namespaces, inner_namespaces) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(outer), None) => *outer == Selector::everything() || own.is_some_and(|labels| selects(outer, labels)),
        (Some(outer), Some(inner)) => implies(inner, outer),
    };
    namespaces && implies(inner_pods, outer_pods)
}

fn holds_ports(outer: &Ports, inner: &Ports) -> bool {
    match (outer, inner) {
        (Ports::All, _) => true,
        (Ports::Listed(_), Ports::All) => false,
        (Ports::Listed(outer), Ports::Listed(inner)) => inner.iter().all(|port| holds_port(outer, port)),
    }
}

fn holds_port(outer: &[PortMatch], inner: &PortMatch) -> bool {
    let transport = inner.transport();
    outer.contains(&PortMatch::Every(transport))
        || match inner {
            PortMatch::Every(_) => false,
            PortMatch::Named(..) => outer.contains(inner),
            PortMatch::Range(_, range) => holds_range(outer, transport, *range),
        }
}

/// Whether ranges of ports hold another one between them.
fn holds_range(outer: &[PortMatch], transport: Transport, inner: PortRange) -> bool {
    let mut ranges: Vec<PortRange> = outer
        .iter()
        .filter_map(|port| match port {
            PortMatch::Range(of, range) if *of == transport => Some(*range),
            _ => None,
        })
        .collect();
    ranges.sort();
    let mut next = inner.first().get();
    for range in ranges {
        if range.first().get() <= next && range.last().get() >= next {
            match range.last().get().checked_add(1) {
                Some(after) => next = after,
                None => return true,
            }
        }
    }
    next > inner.last().get()
}
