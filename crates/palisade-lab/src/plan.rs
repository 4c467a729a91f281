//! Which flows show what the policies of a snapshot do.
//!
//! Every pod with every pod and every external address that a policy draws a line at, in both directions, over every
//! port that somebody declares or names; and everybody with every server outside of the cluster.

mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use palisade_core::{
    Direction, End, Family, Flow, Peer, Pod, PodName, Port, PortMatch, PortRange, Ports, Rule, Snapshot, Traffic,
    Transport,
};

/// Addresses reserved for documentation (RFC 5737, RFC 3849): the world at large, which no policy means.
const WORLD4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const WORLD6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The flows to probe, in the order of their ends. External addresses do not talk to one another.
pub fn plan(snapshot: &Snapshot, families: &[Family]) -> Vec<Flow> {
    let pods = pods(snapshot, families);
    let externals = external_addresses(snapshot, families);
    let traffic = traffic(snapshot);
    let mut flows = Vec::new();
    let mut add = |source: &End, destination: &End| {
        for traffic in &traffic {
            flows.push(Flow { source: source.clone(), destination: destination.clone(), traffic: *traffic });
        }
    };
    for (source, source_pod) in &pods {
        let source = End::Pod((*source).clone());
        for (destination, destination_pod) in &pods {
            if families.iter().any(|family| both_have(source_pod, destination_pod, *family)) {
                add(&source, &End::Pod((*destination).clone()));
            }
        }
        for address in externals.iter().filter(|address| source_pod.address(Family::of(**address)).is_some()) {
            add(&source, &End::Address(*address));
        }
    }
    for address in &externals {
        for (pod, _) in pods.iter().filter(|(_, pod)| pod.address(Family::of(*address)).is_some()) {
            add(&End::Address(*address), &End::Pod((*pod).clone()));
        }
    }
    flows.extend(servers::flows(snapshot, families, &externals));
    flows
}

/// Pods that can send and receive, under an address of their own.
fn pods<'a>(snapshot: &'a Snapshot, families: &[Family]) -> BTreeMap<&'a PodName, &'a Pod> {
    let runs = |pod: &Pod| !pod.finished && !pod.host_network && pod.node.is_some();
    let has_address = |pod: &Pod| families.iter().any(|family| pod.address(*family).is_some());
    snapshot.pods.iter().map(|(name, pod)| (name, &**pod)).filter(|(_, pod)| runs(pod) && has_address(pod)).collect()
}

fn both_have(source: &Pod, destination: &Pod, family: Family) -> bool {
    source.address(family).is_some() && destination.address(family).is_some()
}

fn rules(snapshot: &Snapshot) -> impl Iterator<Item = &Rule> {
    let of_direction =
        |direction| snapshot.policies.values().filter_map(move |policy| policy.rules[direction].as_ref()).flatten();
    Direction::ALL.into_iter().flat_map(of_direction)
}

/// The first and last address of every block and except, and those just outside. What is a pod's is left out: the
/// pod is an end already.
fn external_addresses(snapshot: &Snapshot, families: &[Family]) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::from([WORLD4, WORLD6]);
    for peer in rules(snapshot).filter_map(|rule| rule.peers.as_ref()).flatten() {
        let Peer::Block { cidr, except } = peer else { continue };
        addresses.extend(std::iter::once(cidr).chain(except).flat_map(around));
    }
    addresses.extend(snapshot.servers.values().flat_map(|server| &server.static_cidrs).flat_map(around));
    let of_pods: BTreeSet<IpAddr> = snapshot
        .pods
        .values()
        .filter(|pod| !pod.finished && !pod.host_network)
        .flat_map(|pod| pod.addresses.iter().copied())
        .collect();
    addresses.retain(|address| families.contains(&Family::of(*address)) && !of_pods.contains(address));
    addresses
}

fn around(block: &IpNet) -> impl Iterator<Item = IpAddr> {
    let (first, last) = (block.network(), block.broadcast());
    [Some(first), Some(last), before(first), after(last)].into_iter().flatten()
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(Ipv4Addr::from_bits(address.to_bits().checked_sub(1)?).into()),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits().checked_sub(1)?).into()),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(Ipv4Addr::from_bits(address.to_bits().checked_add(1)?).into()),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits().checked_add(1)?).into()),
    }
}

/// Every port that matters, and for each transport one that nobody names; and an echo request. The name of a port
/// stands for the numbers that pods declare, which are here anyway.
fn traffic(snapshot: &Snapshot) -> Vec<Traffic> {
    let mut ports: BTreeMap<Transport, BTreeSet<Port>> = BTreeMap::new();
    let mut ranges: BTreeMap<Transport, Vec<PortRange>> = BTreeMap::new();
    for declared in snapshot.pods.values().filter(|pod| !pod.finished).flat_map(|pod| &pod.ports) {
        ports.entry(declared.transport).or_default().insert(declared.port);
    }
    for rule in rules(snapshot) {
        let Ports::Listed(listed) = &rule.ports else { continue };
        for port in listed {
            if let PortMatch::Range(transport, range) = port {
                ports.entry(*transport).or_default().extend(edges(*range));
                ranges.entry(*transport).or_default().push(*range);
            }
        }
    }
    with_unnamed(ports, ranges)
}

/// These ports, a port of each transport that is in none of these ranges either, and an echo request.
fn with_unnamed(
    mut ports: BTreeMap<Transport, BTreeSet<Port>>,
    mut ranges: BTreeMap<Transport, Vec<PortRange>>,
) -> Vec<Traffic> {
    let mut traffic = Vec::new();
    for transport in Transport::ALL {
        let mut of_transport = ports.remove(&transport).unwrap_or_default();
        let ranges = ranges.remove(&transport).unwrap_or_default();
        of_transport.extend(unnamed(&of_transport, &ranges));
        traffic.extend(of_transport.into_iter().map(|port| Traffic::Port(transport, port)));
    }
    traffic.push(Traffic::Icmp);
    traffic
}

/// A single port itself; of a range the first, the last, one inside, and the two just outside.
fn edges(range: PortRange) -> impl Iterator<Item = Port> {
    let (first, last) = (range.first().get(), range.last().get());
    let numbers = if first == last {
        vec![first]
    } else {
        vec![first - 1, first, first.midpoint(last), last, last.saturating_add(1)]
    };
    numbers.into_iter().filter_map(Port::new)
}

/// A port that nobody declares or names, even as part of a range, if there is one.
fn unnamed(ports: &BTreeSet<Port>, ranges: &[PortRange]) -> Option<Port> {
    let free = |port: &Port| !ports.contains(port) && !ranges.iter().any(|range| range.contains(*port));
    (4242..=u16::MAX).chain(1..4242).filter_map(Port::new).find(free)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_core::{ContainerPort, NetworkPolicy, PerDirection, PolicyName, Selector};

    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    /// One pod that declares tcp 80, and one policy with this rule for ingress.
    fn snapshot(peers: Option<Vec<Peer>>, ports: Ports) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let pod = Pod {
            node: Some("n1".into()),
            addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            ports: vec![ContainerPort {
                name: None,
                transport: Transport::Tcp,
                port: port(80),
                host_port: None,
                host_address: None,
            }],
            ..Pod::default()
        };
        snapshot.pods.insert(PodName::new("web", "front"), Arc::new(pod));
        let name = PolicyName::new("web", "policy");
        let rules = PerDirection { ingress: Some(vec![Rule { peers, ports }]), egress: None };
        let policy = NetworkPolicy {
            name: name.clone(),
            subjects: Selector::everything(),
            rules,
            unreadable: None,
            audit: false,
        };
        snapshot.policies.insert(name, Arc::new(policy));
        snapshot
    }

    fn check_addresses(cidr: &str, except: &[&str], expected: &[&str]) {
        let block = Peer::Block {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|block| block.parse().unwrap()).collect(),
        };
        let family = Family::of(cidr.parse::<ipnet::IpNet>().unwrap().network());
        let mut addresses = external_addresses(&snapshot(Some(vec![block]), Ports::All), &[family]);
        addresses.remove(&WORLD4);
        addresses.remove(&WORLD6);
        let expected: BTreeSet<IpAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(addresses, expected);
    }

    #[test]
    fn blocks_are_probed_at_their_edges() {
        check_addresses("10.1.0.0/16", &[], &["10.0.255.255", "10.1.0.0", "10.1.255.255", "10.2.0.0"]);
        check_addresses("0.0.0.0/0", &[], &["0.0.0.0", "255.255.255.255"]);
        check_addresses(
            "10.1.0.0/16",
            &["10.1.2.3/32"],
            &["10.0.255.255", "10.1.0.0", "10.1.255.255", "10.2.0.0", "10.1.2.2", "10.1.2.3", "10.1.2.4"],
        );
        check_addresses(
            "2001:db8:1::/127",
            &[],
            &["2001:db8:0:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::", "2001:db8:1::1", "2001:db8:1::2"],
        );
    }

    #[test]
    fn the_address_of_a_pod_is_no_external_one() {
        check_addresses("10.0.0.4/31", &[], &["10.0.0.3", "10.0.0.4", "10.0.0.6"]);
    }

    fn check_ports(listed: PortMatch, expected: &str) {
        let snapshot = snapshot(None, Ports::Listed(vec![listed]));
        let traffic: Vec<String> = traffic(&snapshot).iter().map(ToString::to_string).collect();
        assert_eq!(traffic.join(" "), expected);
    }

    #[test]
    fn ports_are_those_that_somebody_names() {
        let range = |first, last| PortRange::new(port(first), port(last)).unwrap();
        check_ports(PortMatch::Every(Transport::Sctp), "tcp 80 tcp 4242 udp 4242 sctp 4242 icmp");
        check_ports(PortMatch::Range(Transport::Udp, range(53, 53)), "tcp 80 tcp 4242 udp 53 udp 4242 sctp 4242 icmp");
        check_ports(
            PortMatch::Range(Transport::Tcp, range(8000, 8010)),
            "tcp 80 tcp 4242 tcp 7999 tcp 8000 tcp 8005 tcp 8010 tcp 8011 udp 4242 sctp 4242 icmp",
        );
        check_ports(
            PortMatch::Range(Transport::Tcp, range(1, 65535)),
            "tcp 1 tcp 80 tcp 32768 tcp 65535 udp 4242 sctp 4242 icmp",
        );
    }

    #[test]
    fn external_addresses_do_not_talk_to_one_another() {
        let flows = plan(&snapshot(None, Ports::All), &Family::ALL);
        let external = |end: &End| matches!(end, End::Address(_));
        assert!(flows.iter().any(|flow| external(&flow.source)));
        assert!(flows.iter().any(|flow| external(&flow.destination)));
        assert!(!flows.iter().any(|flow| external(&flow.source) && external(&flow.destination)));
    }
}
