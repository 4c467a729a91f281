//! Pods, nodes and the world outside, as network namespaces.
//!
//! ```text
//!   web/front ──┐
//!   web/api ────┤ node/n1 ──┐
//!               └───────────┤
//!                           core ── outside (every external address)
//!   db/pg ────── node/n2 ───┤
//!                           └────── host/prod-to-postgres
//! ```
//!
//! Everything is routed, with one route per address. A pod knows its node and nothing else; a node knows its pods,
//! and leads the rest to the core; the core knows which node every pod and node address is at, and leads the rest
//! outside. Only nodes filter, and servers outside of the cluster what comes to themselves. Every node and server, and `outside`, has one more address of each family that no snapshot
//! knows: control flows use it (see `probe`), so that they work whatever the input leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{Family, NodeName, PodName, ServerName, Snapshot};
use palisade_sim::{Endpoint, Owner};

use crate::error::LabError;
use crate::link::{LOOPBACK, LinkEnd, RouteSocket, Wire};
use crate::netns::Netns;
use crate::probe::unsendable;

/// The link of a pod, and that of a node to the core: the first after `lo` in its namespace.
pub(crate) const UPLINK: u32 = 2;

/// Who has a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A pod with its own network.
    Pod(PodName),
    /// A node, and every hostNetwork pod on it.
    Node(NodeName),
    /// A server outside of the cluster.
    Server(ServerName),
    /// All external addresses.
    Outside,
}

impl Place {
    /// The place of one end of a packet; `None` for a node that the snapshot does not name.
    pub(crate) fn of(end: &Endpoint) -> Option<Place> {
        match (&end.owner, &end.node) {
            (Owner::Pod(name), _) => Some(Place::Pod(name.clone())),
            (Owner::Node, node) => node.clone().map(Place::Node),
            (Owner::Server(name), _) => Some(Place::Server(name.clone())),
            (Owner::Outside, _) => Some(Place::Outside),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Pod(name) => write!(f, "{name}"),
            Place::Node(name) => write!(f, "node/{name}"),
            Place::Server(name) => write!(f, "host/{name}"),
            Place::Outside => f.write_str("outside"),
        }
    }
}

/// What a snapshot wants to exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    nodes: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    pods: BTreeMap<PodName, (NodeName, BTreeSet<IpAddr>)>,
    servers: BTreeMap<ServerName, BTreeSet<IpAddr>>,
    /// Addresses that several claim, and a sentence about each.
    pub(crate) contested: BTreeMap<IpAddr, String>,
}

impl Wanted {
    /// Reads off a snapshot which namespaces there are. Finished pods and pods without node or address have none;
    /// an address that no packet can carry, such as a loopback one, is nobody's.
    pub(crate) fn of(snapshot: &Snapshot, families: &[Family]) -> Wanted {
        let usable = |address: &&IpAddr| families.contains(&Family::of(**address)) && unsendable(**address).is_none();
        let mut wanted = Wanted::default();
        for (name, node) in &snapshot.nodes {
            wanted.nodes.insert(name.clone(), node.addresses.iter().filter(usable).copied().collect());
        }
        for (name, pod) in &snapshot.pods {
            let Some(node) = pod.node.as_ref().filter(|_| !pod.finished) else { continue };
            let addresses: BTreeSet<IpAddr> = pod.addresses.iter().filter(usable).copied().collect();
            let of_node = wanted.nodes.entry(node.clone()).or_default();
            if pod.host_network {
                of_node.extend(addresses);
            } else if !addresses.is_empty() {
                wanted.pods.insert(name.clone(), (node.clone(), addresses));
            }
        }
        for (name, server) in &snapshot.servers {
            wanted.servers.insert(name.clone(), server.addresses.iter().filter(usable).copied().collect());
        }
        wanted.leave_out_contested();
        wanted
    }

    /// Takes addresses that several claim from all of them: nobody could tell whose packets are meant.
    fn leave_out_contested(&mut self) {
        let mut owners: BTreeMap<IpAddr, Place> = BTreeMap::new();
        let nodes = self.nodes.iter().map(|(name, addresses)| (Place::Node(name.clone()), addresses));
        let pods = self.pods.iter().map(|(name, (_, addresses))| (Place::Pod(name.clone()), addresses));
        let servers = self.servers.iter().map(|(name, addresses)| (Place::Server(name.clone()), addresses));
        for (place, addresses) in nodes.chain(pods).chain(servers) {
            for address in addresses {
                if let Some(first) = owners.insert(*address, place.clone()) {
                    self.contested.insert(*address, format!("belongs to both {first} and {place}"));
                }
            }
        }
        let contested = &self.contested;
        let routed = self.nodes.values_mut().chain(self.servers.values_mut());
        routed.for_each(|addresses| addresses.retain(|address| !contested.contains_key(address)));
        self.pods.values_mut().for_each(|(_, addresses)| addresses.retain(|address| !contested.contains_key(address)));
        self.pods.retain(|_, (_, addresses)| !addresses.is_empty());
    }
}

/// A namespace with its links.
pub(crate) struct Member {
    pub(crate) netns: Netns,
    socket: RouteSocket,
    /// The addresses it answers at, the control addresses left out.
    addresses: BTreeSet<IpAddr>,
    /// The node a pod is on.
    node: Option<NodeName>,
    /// The other end of its uplink: an index in the namespace of its node, or of the core.
    upstream: u32,
    /// The next free index in this namespace.
    next_index: u32,
    /// Tells the control addresses of the members apart.
    number: u16,
}

impl Member {
    /// The addresses it answers at.
    pub(crate) fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    /// Whether it answers at this address.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }
}

/// All namespaces. Only the thread that made them uses them: it hops from one to the other.
pub(crate) struct Topology {
    wire: Wire,
    families: Vec<Family>,
    core: Member,
    members: BTreeMap<Place, Member>,
    /// The external addresses of Services, and the node to which a balancer sends what comes to them.
    balanced: BTreeMap<IpAddr, NodeName>,
    /// Gives each pair of links its hardware address.
    links_made: u32,
    /// Gives each node and server its number.
    nodes_made: u32,
}

impl Topology {
    /// The core and `outside`, without any node yet.
    pub(crate) fn new(families: &[Family]) -> Result<Topology, LabError> {
        let wire = Wire::new()?;
        let core = member(&wire, "the core", families, true, 0)?;
        let mut topology = Topology {
            wire,
            families: families.to_vec(),
            core,
            members: BTreeMap::new(),
            balanced: BTreeMap::new(),
            links_made: 0,
            nodes_made: 0,
        };
        let outside = member(&topology.wire, "outside", families, false, 0)?;
        topology.members.insert(Place::Outside, outside);
        let link = topology.connect_to_core(&Place::Outside)?;
        for family in families {
            topology.wire.add_default_route(&topology.core.socket, *family, link)?;
        }
        Ok(topology)
    }

    /// The namespace of a place, if it exists.
    pub(crate) fn member(&self, place: &Place) -> Option<&Member> {
        self.members.get(place)
    }

    /// Every place there is.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&Place, &Member)> {
        self.members.iter()
    }

    /// The machine that a place is on, or that it is; `None` for `outside`, which is many.
    pub(crate) fn machine_of(&self, place: &Place) -> Option<Place> {
        match place {
            Place::Server(_) => Some(place.clone()),
            _ => self.node_of(place).map(Place::Node),
        }
    }

    /// The node that a place is on, or that it is.
    pub(crate) fn node_of(&self, place: &Place) -> Option<NodeName> {
        match place {
            Place::Node(name) => Some(name.clone()),
            Place::Pod(_) => self.members.get(place)?.node.clone(),
            Place::Server(_) | Place::Outside => None,
        }
    }

    /// Takes away what is not wanted any more, or not in this form; returns what went.
    pub(crate) fn remove_unwanted(&mut self, wanted: &Wanted) -> Result<Vec<Place>, LabError> {
        let keep_node = |name: &NodeName, member: &Member| wanted.nodes.get(name) == Some(&member.addresses);
        let kept_nodes: BTreeSet<NodeName> = self
            .members
            .iter()
            .filter_map(|(place, member)| match place {
                Place::Node(name) if keep_node(name, member) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let keep = |place: &Place, member: &Member| match place {
            Place::Outside => true,
            Place::Node(name) => kept_nodes.contains(name),
            Place::Server(name) => wanted.servers.get(name) == Some(&member.addresses),
            Place::Pod(name) => wanted.pods.get(name).is_some_and(|(node, addresses)| {
                *addresses == member.addresses && member.node.as_ref() == Some(node) && kept_nodes.contains(node)
            }),
        };
        // Pods sort before nodes, so that a node still exists when its pods are unplugged.
        let gone: Vec<Place> = self
            .members
            .iter()
            .filter(|(place, member)| !keep(place, member))
            .map(|(place, _)| place.clone())
            .collect();
        for place in &gone {
            self.remove(place)?;
        }
        Ok(gone)
    }

    /// Adds the nodes that are missing; returns them.
    pub(crate) fn add_nodes(&mut self, wanted: &Wanted) -> Result<Vec<NodeName>, LabError> {
        let mut added = Vec::new();
        for (name, addresses) in &wanted.nodes {
            if self.add_machine(&Place::Node(name.clone()), addresses, true)? {
                added.push(name.clone());
            }
        }
        Ok(added)
    }

    /// Adds the servers that are missing.
    pub(crate) fn add_servers(&mut self, wanted: &Wanted) -> Result<(), LabError> {
        for (name, addresses) in &wanted.servers {
            self.add_machine(&Place::Server(name.clone()), addresses, false)?;
        }
        Ok(())
    }

    /// Adds a machine at the core; whether it was missing.
    fn add_machine(&mut self, place: &Place, addresses: &BTreeSet<IpAddr>, forwards: bool) -> Result<bool, LabError> {
        if self.members.contains_key(place) {
            return Ok(false);
        }
        self.nodes_made += 1;
        let number = u16::try_from(self.nodes_made).unwrap_or(u16::MAX);
        let mut machine = member(&self.wire, &place.to_string(), &self.families, forwards, number)?;
        machine.addresses.clone_from(addresses);
        self.members.insert(place.clone(), machine);
        let link = self.connect_to_core(place)?;
        for address in addresses {
            self.own(place, UPLINK, *address)?;
            self.wire.add_route(&self.core.socket, *address, link)?;
        }
        Ok(true)
    }

    /// Adds the pods that are missing. Their nodes must be there.
    pub(crate) fn add_pods(&mut self, wanted: &Wanted) -> Result<(), LabError> {
        for (name, (node, addresses)) in &wanted.pods {
            let place = Place::Pod(name.clone());
            if !self.members.contains_key(&place) {
                self.add_pod(place, node, addresses)?;
            }
        }
        Ok(())
    }

    /// Makes `outside` own these addresses.
    pub(crate) fn own_externals(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), LabError> {
        for address in addresses {
            let Some(outside) = self.members.get_mut(&Place::Outside) else { continue };
            if outside.addresses.insert(address) {
                self.wire.add_address(&outside.socket, LOOPBACK, address)?;
            }
        }
        Ok(())
    }

    /// Has the core lead these addresses to nodes, and no others any more that it led there.
    pub(crate) fn balance(&mut self, wanted: &BTreeMap<IpAddr, NodeName>) -> Result<(), LabError> {
        let gone: Vec<IpAddr> = self.balanced.keys().filter(|address| !wanted.contains_key(address)).copied().collect();
        for (address, node) in gone.iter().filter_map(|address| self.balanced.remove_entry(address)) {
            if let Some(member) = self.members.get(&Place::Node(node)) {
                self.wire.remove_route(&self.core.socket, address, member.upstream)?;
            }
        }
        for (address, node) in wanted {
            self.lead(*address, node)?;
        }
        Ok(())
    }

    /// Whether the core leads the address to a node, and not outside.
    pub(crate) fn is_balanced(&self, address: IpAddr) -> bool {
        self.balanced.contains_key(&address)
    }

    /// Has the core lead an address to this node.
    pub(crate) fn lead(&mut self, address: IpAddr, node: &NodeName) -> Result<(), LabError> {
        self.take_from_outside(address)?;
        let Some(member) = self.members.get(&Place::Node(node.clone())) else { return Ok(()) };
        self.wire.add_route(&self.core.socket, address, member.upstream)?;
        self.balanced.insert(address, node.clone());
        Ok(())
    }

    /// The address of a node or server, or of `outside`, that only control flows use.
    pub(crate) fn control_address(&self, place: &Place, family: Family) -> Option<IpAddr> {
        self.members.get(place).map(|member| control_address(member.number, family))
    }

    fn add_pod(&mut self, place: Place, node: &NodeName, addresses: &BTreeSet<IpAddr>) -> Result<(), LabError> {
        let mut pod = member(&self.wire, &place.to_string(), &self.families, false, 0)?;
        let hardware_address = self.next_hardware_address();
        let Some(host) = self.members.get_mut(&Place::Node(node.clone())) else { return Ok(()) };
        let index = host.next_index;
        host.next_index += 1;
        let near = format!("pod{index}");
        self.wire.connect(
            &host.socket,
            &LinkEnd { name: &near, index },
            &LinkEnd { name: "eth0", index: UPLINK },
            pod.netns.as_fd(),
            hardware_address,
        )?;
        self.wire.up(&pod.socket, UPLINK)?;
        for family in &self.families {
            self.wire.add_default_route(&pod.socket, *family, UPLINK)?;
        }
        let node_link = host.upstream;
        for address in addresses {
            // An address that was external until now is the pod's from here on.
            self.take_from_outside(*address)?;
            self.wire.add_address(&pod.socket, UPLINK, *address)?;
            self.wire.add_route(&self.core.socket, *address, node_link)?;
            if let Some(host) = self.members.get(&Place::Node(node.clone())) {
                self.wire.add_route(&host.socket, *address, index)?;
            }
        }
        pod.addresses.clone_from(addresses);
        pod.node = Some(node.clone());
        pod.upstream = index;
        self.members.insert(place, pod);
        Ok(())
    }

    fn remove(&mut self, place: &Place) -> Result<(), LabError> {
        let Some(member) = self.members.remove(place) else { return Ok(()) };
        // With the link of a node its routes go.
        self.balanced.retain(|_, node| *place != Place::Node(node.clone()));
        match &member.node {
            None => self.wire.disconnect(&self.core.socket, member.upstream),
            Some(node) => {
                let Some(host) = self.members.get(&Place::Node(node.clone())) else { return Ok(()) };
                for address in &member.addresses {
                    self.wire.remove_route(&self.core.socket, *address, host.upstream)?;
                }
                self.wire.disconnect(&host.socket, member.upstream)
            }
        }
    }

    /// Links a node, a server or `outside` with the core; returns the index of the core's end.
    fn connect_to_core(&mut self, place: &Place) -> Result<u32, LabError> {
        let hardware_address = self.next_hardware_address();
        let index = self.core.next_index;
        self.core.next_index += 1;
        let Some(member) = self.members.get_mut(place) else { return Ok(index) };
        let near = format!("link{index}");
        self.wire.connect(
            &self.core.socket,
            &LinkEnd { name: &near, index },
            &LinkEnd { name: "eth0", index: UPLINK },
            member.netns.as_fd(),
            hardware_address,
        )?;
        self.wire.up(&member.socket, UPLINK)?;
        member.upstream = index;
        for family in &self.families {
            self.wire.add_default_route(&member.socket, *family, UPLINK)?;
            let control = control_address(member.number, *family);
            self.wire.add_address(&member.socket, UPLINK, control)?;
            // What is outside is at the end of the default route, all of it.
            if *place != Place::Outside {
                self.wire.add_route(&self.core.socket, control, index)?;
            }
        }
        Ok(index)
    }

    /// Gives a machine an address, which `outside` loses if it had it.
    fn own(&mut self, place: &Place, link: u32, address: IpAddr) -> Result<(), LabError> {
        self.take_from_outside(address)?;
        let Some(member) = self.members.get(place) else { return Ok(()) };
        self.wire.add_address(&member.socket, link, address)
    }

    fn take_from_outside(&mut self, address: IpAddr) -> Result<(), LabError> {
        let Some(outside) = self.members.get_mut(&Place::Outside) else { return Ok(()) };
        if outside.addresses.remove(&address) {
            self.wire.remove_address(&outside.socket, LOOPBACK, address)?;
        }
        Ok(())
    }

    /// A hardware address for a pair of links: locally administered, never given twice.
    fn next_hardware_address(&mut self) -> [u8; 6] {
        self.links_made += 1;
        let [high, b, c, d] = self.links_made.to_be_bytes();
        [0x02, 0x50, high, b, c, d]
    }
}

/// A namespace with `lo` up, and forwarding if it routes for others.
fn member(wire: &Wire, name: &str, families: &[Family], forwards: bool, number: u16) -> Result<Member, LabError> {
    let netns = Netns::create(name)?;
    let socket = wire.open()?;
    // The source of a packet is nobody's business but that of the rules under test.
    netns.set("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
    netns.set("/proc/sys/net/ipv4/conf/default/rp_filter", "0")?;
    if forwards {
        netns.set("/proc/sys/net/ipv4/ip_forward", "1")?;
    }
    // Echo sockets are open to the group that root is in, so that probes need no raw socket.
    netns.set("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
    if families.contains(&Family::V6) {
        for scope in ["all", "default"] {
            netns.set(&format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "0")?;
            if forwards {
                netns.set(&format!("/proc/sys/net/ipv6/conf/{scope}/forwarding"), "1")?;
            }
        }
        // Both ends of a link have one hardware address: link-local addresses made of it would be equal too.
        netns.set("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1")?;
    }
    wire.up(&socket, LOOPBACK)?;
    Ok(Member { netns, socket, addresses: BTreeSet::new(), node: None, upstream: 0, next_index: UPLINK + 1, number })
}

/// Where control flows come from and go to: 255.254.0.0/16 (reserved, RFC 1112 section 4) and `100::/64` (discard-only, RFC 6666), where no
/// cluster has its addresses. No list may ban them: rules that the lab is to try with real packets have to protect them.
pub const CONTROL_NETWORKS: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(255, 254, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64)),
];

/// From [`CONTROL_NETWORKS`].
fn control_address(number: u16, family: Family) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(255, 254, high, low).into(),
        Family::V6 => Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 1, number).into(),
    }
}
