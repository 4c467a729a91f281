//! The oracle judges the exact sets: on random clusters, with flows just inside and just outside of every edge of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use palisade_core::{
    AddressRange, Dialect, Direction, End, Family, Flow, Peer, PodName, Port, PortMatch, PortRange, Ports, Snapshot,
    Traffic, Transport, Verdict, WorkloadKind, WorkloadName,
};
use palisade_reach::{Reach, TrafficSet};
use palisade_sim::{Owner, decide_as, owners, resolve};
use palisade_testkit::random;
use palisade_testkit::rng::Rng;

/// What became of the flows.
#[derive(Debug, Default)]
struct Count {
    allowed: usize,
    denied: usize,
    /// Several pods share the address, or the verdict rests on one that was invented.
    left_out: usize,
    /// Between pods of one class.
    within: usize,
    /// With an address that nobody in the cluster has.
    outside: usize,
}

#[test]
fn oracle_and_exact_sets_agree_on_random_clusters() {
    let mut count = Count::default();
    for seed in 0..150 {
        check(seed, Dialect::Palisade, &mut count);
    }
    println!("{count:?}");
    let judged = count.allowed + count.denied;
    assert!(count.allowed >= 50_000 && count.denied >= 50_000, "{count:?}");
    assert!(count.within >= 200 && count.outside >= 30_000, "{count:?}");
    assert!(count.left_out * 3 < judged, "{count:?}");
}

/// np-guard's, which the corpus judges, says nothing of families but IPv4.
#[test]
fn oracle_and_exact_sets_agree_in_every_dialect() {
    for (dialect, name) in Dialect::NAMES.into_iter().filter(|(dialect, _)| *dialect != Dialect::NpGuard) {
        let mut count = Count::default();
        for seed in 0..25 {
            check(seed, dialect, &mut count);
        }
        assert!(count.allowed >= 5_000 && count.denied >= 5_000, "{name}: {count:?}");
    }
}

fn check(seed: u64, dialect: Dialect, count: &mut Count) {
    let mut rng = Rng::new(seed);
    let snapshot = cluster(&mut rng);
    let reach = Reach::new(&snapshot, dialect);
    let asked = Asked { snapshot: &snapshot, dialect, ports: ports(&snapshot), seed };
    for (from, sender) in reach.classes().iter().enumerate() {
        for (to, receiver) in reach.classes().iter().enumerate() {
            let source = rng.pick(&sender.pods);
            let others: Vec<_> = receiver.pods.iter().copied().filter(|pod| *pod != source).collect();
            if others.is_empty() {
                assert_eq!(reach.between(from, to), [None, None], "seed {seed}: {sender} has an edge to itself");
                continue;
            }
            let destination = rng.pick(&others);
            count.within += usize::from(from == to);
            for (family, allowed) in Family::ALL.into_iter().zip(reach.between(from, to)) {
                let Some(allowed) = allowed else { continue };
                let ends = (End::Pod(source.clone()), End::Pod(destination.clone()));
                asked.check(&ends, family, &allowed, &mut rng, count);
            }
        }
    }
    let addresses = addresses(&snapshot);
    for (number, class) in reach.classes().iter().enumerate() {
        for (direction, family) in Direction::ALL.into_iter().flat_map(|one| Family::ALL.map(|family| (one, family))) {
            let found = reach.outside(number, direction, family);
            if snapshot.pods[class.pods[0]].address(family).is_none() {
                assert!(found.is_empty(), "seed {seed}: {class} has no {family}");
                continue;
            }
            assert!(found.is_sorted_by(|(one, _), (next, _)| one.last < next.first), "seed {seed}: {found:?}");
            let edges = found.iter().flat_map(|(range, _)| around(*range));
            let near: BTreeSet<IpAddr> = edges.chain(addresses.iter().copied()).collect();
            for address in near.into_iter().filter(|address| Family::of(*address) == family) {
                let nobody = Owner::Outside;
                if owners(&snapshot, address).iter().any(|end| end.owner != nobody) {
                    continue;
                }
                count.outside += 1;
                let holds = |range: &AddressRange| range.first <= address && address <= range.last;
                let allowed = found.iter().find(|(range, _)| holds(range)).map(|(_, traffic)| &**traffic);
                let (inside, outside) = (End::Pod(rng.pick(&class.pods).clone()), End::Address(address));
                let ends = match direction {
                    Direction::Egress => (inside, outside),
                    Direction::Ingress => (outside, inside),
                };
                asked.check(&ends, family, allowed.unwrap_or(&TrafficSet::default()), &mut rng, count);
            }
        }
    }
}

/// A cluster with copies of pods, which form classes, and of which some addresses were invented. What is no NetworkPolicy has no say in
/// exact sets.
fn cluster(rng: &mut Rng) -> Snapshot {
    let mut snapshot = random::cluster(rng);
    snapshot.host_policies.clear();
    snapshot.ban_lists.clear();
    for (name, mut pod) in std::mem::take(&mut snapshot.pods) {
        let own = Arc::make_mut(&mut pod);
        own.assumed.addresses = !own.host_network && rng.percent(15);
        let workload =
            WorkloadName { namespace: name.namespace.clone(), kind: WorkloadKind::Deployment, name: "w".into() };
        own.workload = rng.percent(60).then_some(workload);
        if own.workload.is_some() && !own.host_network && rng.percent(60) {
            let mut copy = own.clone();
            let shifted = own.addresses.iter().map(|address| shifted(*address));
            copy.addresses = shifted.collect();
            snapshot.pods.insert(PodName::new(name.namespace.clone(), format!("{}-copy", name.name)), Arc::new(copy));
        }
        snapshot.pods.insert(name, pod);
    }
    snapshot
}

/// An address beside another, often in the same blocks.
fn shifted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) ^ 64).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) ^ 64).into(),
    }
}

struct Asked<'a> {
    snapshot: &'a Snapshot,
    dialect: Dialect,
    /// Ports at the edges of what rules and containers name.
    ports: Vec<Traffic>,
    seed: u64,
}

impl Asked<'_> {
    fn check(&self, ends: &(End, End), family: Family, allowed: &TrafficSet, rng: &mut Rng, count: &mut Count) {
        let mut traffic: BTreeSet<Traffic> = edges(allowed);
        traffic.extend((0..4).map(|_| rng.pick(&self.ports)));
        for traffic in traffic {
            let flow = Flow { source: ends.0.clone(), destination: ends.1.clone(), traffic };
            for packet in resolve(self.snapshot, &flow, &[family]).unwrap() {
                let is_shared = |address| owners(self.snapshot, address).len() > 1;
                let decision = decide_as(self.snapshot, &packet, self.dialect);
                let shared = is_shared(packet.source.address) || is_shared(packet.destination.address);
                if decision.assumed || shared {
                    count.left_out += 1;
                    continue;
                }
                let verdict = Verdict::allow_if(allowed.contains(traffic));
                assert_eq!(verdict, decision.verdict, "seed {}: {packet}: {allowed}: {decision:#?}", self.seed);
                let counted = if verdict == Verdict::Allow { &mut count.allowed } else { &mut count.denied };
                *counted += 1;
            }
        }
    }
}

/// The ends of every range of a set, with their neighbours; one port of each transport, and ICMP.
fn edges(set: &TrafficSet) -> BTreeSet<Traffic> {
    let mut edges = BTreeSet::from([Traffic::Icmp]);
    for transport in Transport::ALL {
        edges.insert(Traffic::Port(transport, Port::MIN));
        edges.extend(set.ports(transport).ranges().iter().flat_map(|range| around_ports(transport, *range)));
    }
    edges
}

fn around_ports(transport: Transport, range: PortRange) -> impl Iterator<Item = Traffic> {
    let (first, last) = (range.first().get(), range.last().get());
    let numbers = [first.checked_sub(1), Some(first), Some(last), last.checked_add(1)];
    numbers.into_iter().flatten().filter_map(Port::new).map(move |port| Traffic::Port(transport, port))
}

fn ports(snapshot: &Snapshot) -> Vec<Traffic> {
    let declared = snapshot.pods.values().flat_map(|pod| &pod.ports);
    let mut ports: BTreeSet<Traffic> = declared.map(|port| Traffic::Port(port.transport, port.port)).collect();
    for rule in rules(snapshot) {
        let Ports::Listed(listed) = &rule.ports else { continue };
        for port in listed {
            if let PortMatch::Range(transport, range) = port {
                ports.extend(around_ports(*transport, *range));
            }
        }
    }
    ports.insert(Traffic::Icmp);
    ports.into_iter().collect()
}

/// The ends of all blocks and of what they leave out, with their neighbours.
fn addresses(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let peers = rules(snapshot).flat_map(|rule| rule.peers.iter().flatten());
    let nets = peers.flat_map(|peer| match peer {
        Peer::Block { cidr, except } => std::iter::once(cidr).chain(except).collect(),
        Peer::Pods { .. } => Vec::new(),
    });
    nets.flat_map(|net| around(AddressRange::from(net))).collect()
}

fn rules(snapshot: &Snapshot) -> impl Iterator<Item = &palisade_core::Rule> {
    let policies = snapshot.policies.values();
    policies.flat_map(|policy| [&policy.rules.ingress, &policy.rules.egress]).flatten().flatten()
}

/// The ends of a range, with their neighbours.
fn around(range: AddressRange) -> Vec<IpAddr> {
    let step = |address: IpAddr, by: i8| match address {
        IpAddr::V4(address) => {
            let number = u32::from(address).checked_add_signed(by.into());
            number.map(|number| IpAddr::from(Ipv4Addr::from(number)))
        }
        IpAddr::V6(address) => {
            let number = u128::from(address).checked_add_signed(by.into());
            number.map(|number| IpAddr::from(Ipv6Addr::from(number)))
        }
    };
    let near = [step(range.first, -1), Some(range.first), Some(range.last), step(range.last, 1)];
    near.into_iter().flatten().collect()
}
