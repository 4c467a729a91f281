use super::*;

const ONE: [&str; 2] = ["10.1.0.1", "fd01::1"];
const TWO: [&str; 2] = ["10.1.0.2", "fd01::2"];

fn addresses<const N: usize>(addresses: [&str; N]) -> Vec<IpAddr> {
    addresses.map(|address| address.parse().unwrap()).into()
}

/// An interface that leads into the namespace with this number.
fn link<const N: usize>(name: &str, namespace: u32, master: Master, behind: [&str; N]) -> PodLink {
    // Any number will do that others do not have.
    let index = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    PodLink { name: name.into(), index, namespace, master, addresses: addresses(behind), link_local: Vec::new() }
}

fn bridge() -> Master {
    Master::Bridge("cni0".into())
}

/// What follows from these interfaces, if the pods with these addresses are known by these names.
fn sources(found: &Interfaces, pods: &[(&str, [&str; 2])], unknown_may_send: bool) -> Sources {
    let pods: Vec<(PodName, Pod)> = pods
        .iter()
        .map(|(name, own)| (PodName::new("shop", *name), Pod { addresses: addresses(*own), ..Pod::default() }))
        .collect();
    let pods: Vec<(&PodName, &Pod)> = pods.iter().map(|(name, pod)| (name, pod)).collect();
    let ranges = ["10.1.0.0/24".parse().unwrap(), "fd01::/64".parse().unwrap()];
    let known = Known { pods: &pods, ranges: &ranges, unknown_may_send };
    let mut binding = Binding::open().unwrap();
    binding.bind(&found.pods, known);
    binding.sources(found, known)
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

fn set<const N: usize>(of: [&str; N]) -> BTreeSet<IpAddr> {
    addresses(of).into_iter().collect()
}

#[test]
fn what_is_bound_is_taken_and_what_else_is_in_range_is_silent() {
    let found = Interfaces {
        pods: vec![
            link("new", 2, bridge(), ["10.1.0.9"]),
            link("other", 3, Master::None, ["192.0.2.1"]),
            link("veth1", 1, bridge(), ONE),
        ],
        passages: vec!["joint".into()],
        bridges: [("cni0".to_string(), addresses(["10.1.0.254"])), ("br0".to_string(), addresses(["192.0.2.254"]))]
            .into(),
    };
    let mut wanted = Sources {
        interfaces: [(interface("veth1"), set(ONE)), (interface("new"), set([]))].into(),
        besides: BTreeMap::new(),
        passages: [interface("joint")].into(),
        // The other bridge has no pods.
        taken: set(["10.1.0.1", "fd01::1", "10.1.0.254"]),
    };
    assert_eq!(sources(&found, &[("one", ONE)], false), wanted);
    // What an unknown pod says of itself takes nothing from others.
    wanted.interfaces.insert(interface("new"), set(["10.1.0.9"]));
    assert_eq!(sources(&found, &[("one", ONE)], true), wanted);
}

#[test]
fn a_pod_sends_by_each_of_its_interfaces() {
    let pods = vec![
        link("in_range", 1, bridge(), ["10.1.0.9"]),
        link("second", 1, Master::None, ["192.0.2.1"]),
        link("veth1", 1, bridge(), ONE),
        link("veth2", 2, bridge(), TWO),
        link("without", 2, bridge(), []),
    ];
    let found = Interfaces { pods, ..Interfaces::default() };
    let wanted = Sources {
        interfaces: [(interface("veth1"), set(ONE)), (interface("veth2"), set(TWO)), (interface("in_range"), set(ONE))]
            .into(),
        besides: [(interface("second"), set(ONE)), (interface("without"), set(TWO))].into(),
        passages: BTreeSet::new(),
        taken: &set(ONE) | &set(TWO),
    };
    assert_eq!(sources(&found, &[("one", ONE), ("two", TWO)], false), wanted);
}

/// The name of the one that is going comes first.
#[test]
fn a_reused_address_is_the_pods_that_has_the_other_one_too() {
    let found = Interfaces { pods: vec![link("veth1", 1, bridge(), ["10.1.0.1", "fd01::2"])], ..Interfaces::default() };
    let heir = ["10.1.0.1", "fd01::2"];
    let sources = sources(&found, &[("going", ONE), ("heir", heir)], false);
    assert_eq!(sources.interfaces, [(interface("veth1"), set(heir))].into());
    assert_eq!(sources.taken, set(heir));
}
