//! Who reaches whom: what the rules of a snapshot come to between any two ends.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_compile::selects;
use palisade_core::{
    AddressRange, Dialect, Direction, Family, NamespaceName, NetworkPolicy, Peer, PerDirection, PolicyName, PortMatch,
    PortRange, Ports, Rule, Selector, Snapshot, Transport,
};

use crate::bits::Bits;
use crate::class::{Class, Place, classes, index};
use crate::space::{Block, Space};
use crate::traffic_set::TrafficSet;

/// A value for each family that both ends have.
pub type Families<T> = [Option<T>; 2];

/// Exact sets of traffic between pods of a cluster, and between them and addresses that nobody in it has.
///
/// NetworkPolicies alone have a say, without audited ones. Nodes, with their hostNetwork pods, Services and servers outside are no ends
/// of it.
#[derive(Debug)]
pub struct Reach<'a> {
    dialect: Dialect,
    classes: Vec<Class<'a>>,
    spaces: [Space<'a>; 2],
    rules: Vec<JudgedRule<'a>>,
    /// For each class the rules of the policies that isolate it; `None` where none does.
    isolated: PerDirection<Vec<Option<Isolated>>>,
    all: Arc<TrafficSet>,
}

/// What the policies that isolate a class let through.
#[derive(Clone, Debug)]
struct Isolated {
    /// Their rules.
    rules: Vec<usize>,
    /// The peers of any of them, as in a rule: nearly all others are told by one look.
    peers: [Bits; 2],
}

/// A rule, with the ends that its peers match.
#[derive(Debug)]
struct JudgedRule<'a> {
    /// By family: the numbers of classes, and after them those of zones.
    peers: [Bits; 2],
    /// What it allows whoever the destination is.
    fixed: Arc<TrafficSet>,
    /// The names of ports, for the destination to say which they are.
    named: Vec<(Transport, &'a str)>,
}

impl<'a> Reach<'a> {
    /// What the policies of a snapshot come to.
    pub fn new(snapshot: &'a Snapshot, dialect: Dialect) -> Reach<'a> {
        let spaces = Family::ALL.map(|family| Space::new(family, blocks(snapshot)));
        let classes = classes(snapshot, &spaces, dialect);
        let open = || vec![None; classes.len()];
        let mut isolated = PerDirection { ingress: open(), egress: open() };
        let matcher = Matcher::new(snapshot, &classes, &spaces);
        let mut rules = Vec::new();
        for (name, policy) in in_force(snapshot) {
            for direction in Direction::ALL {
                let Some(of_direction) = &policy.rules[direction] else { continue };
                let first = rules.len();
                rules.extend(of_direction.iter().map(|rule| matcher.judged(name, rule)));
                for class in matcher.classes_in(&name.namespace) {
                    if selects(&policy.subjects, classes[*class].labels()) {
                        let of_class = isolated[direction][*class].get_or_insert_with(|| matcher.isolated());
                        of_class.rules.extend(first..rules.len());
                        for rule in &rules[first..] {
                            of_class
                                .peers
                                .iter_mut()
                                .zip(&rule.peers)
                                .for_each(|(peers, of_rule)| peers.unite(of_rule));
                        }
                    }
                }
            }
        }
        Reach { dialect, classes, spaces, rules, isolated, all: Arc::new(TrafficSet::all()) }
    }

    /// The classes of pods, by their first pods. Elsewhere they go by their places here.
    pub fn classes(&self) -> &[Class<'a>] {
        &self.classes
    }

    /// What a class may send to another, or the pods of one to each other; nothing for a pod that is alone, which no policy forbids to reach
    /// itself. `None` in a family that one of them has not.
    pub fn between(&self, from: usize, to: usize) -> Families<Arc<TrafficSet>> {
        let is_alone = from == to && self.classes[from].pods.len() == 1;
        if is_alone { [None, None] } else { self.between_pods(from, to) }
    }

    /// What a pod of a class may send to another pod, of another class or of the same.
    pub(crate) fn between_pods(&self, from: usize, to: usize) -> Families<Arc<TrafficSet>> {
        if from == to && self.dialect == Dialect::NpGuard {
            return [None, None];
        }
        Family::ALL.map(|family| {
            let is_shared = self.has(from, family) && self.has(to, family);
            is_shared.then(|| self.passes(family, from, to).unwrap_or_default())
        })
    }

    /// Whose reading it is.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What passes between a class and addresses that nobody in the cluster has: the class is the source for egress, the destination for
    /// ingress. The ranges are by address, as few as there can be, and without those of which nothing passes.
    pub fn outside(&self, class: usize, direction: Direction, family: Family) -> Vec<(AddressRange, Arc<TrafficSet>)> {
        if !self.has(class, family) {
            return Vec::new();
        }
        let space = &self.spaces[index(family)];
        let destination = (direction == Direction::Ingress).then_some(class);
        let zones: Vec<Option<Arc<TrafficSet>>> = (0..space.zones())
            .map(|zone| self.side(direction, family, class, self.classes.len() + zone, destination))
            .collect();
        let mut found: Vec<(AddressRange, Arc<TrafficSet>)> = Vec::new();
        let mut is_next = false;
        for (range, zone) in space.ranges() {
            let traffic = zones[zone].as_ref().filter(|traffic| !traffic.is_empty());
            match (traffic, found.last_mut()) {
                (Some(traffic), Some((last, before))) if is_next && traffic == before => last.last = range.last,
                (Some(traffic), _) => found.push((range, Arc::clone(traffic))),
                (None, _) => {}
            }
            is_next = traffic.is_some();
        }
        found
    }

    fn has(&self, class: usize, family: Family) -> bool {
        self.classes[class].places[index(family)] != Place::Nowhere
    }

    /// What both sides allow; `None` is nothing.
    fn passes(&self, family: Family, from: usize, to: usize) -> Option<Arc<TrafficSet>> {
        let knows = |direction: Direction, subject: usize, peer| {
            let isolated = self.isolated[direction][subject].as_ref();
            isolated.is_none_or(|isolated| isolated.peers[index(family)].contains(peer))
        };
        if !(knows(Direction::Ingress, to, from) && knows(Direction::Egress, from, to)) {
            return None;
        }
        let out = self.side(Direction::Egress, family, from, to, Some(to))?;
        let into = self.side(Direction::Ingress, family, to, from, Some(to))?;
        if *out == *self.all {
            return Some(into);
        }
        Some(if *into == *self.all || out == into { out } else { Arc::new(out.intersection(&into)) })
    }

    /// What the policies of one class allow with a peer; `None` is nothing.
    fn side(
        &self,
        direction: Direction,
        family: Family,
        subject: usize,
        peer: usize,
        destination: Option<usize>,
    ) -> Option<Arc<TrafficSet>> {
        let Some(isolated) = &self.isolated[direction][subject] else { return Some(Arc::clone(&self.all)) };
        let mut sum: Option<Arc<TrafficSet>> = None;
        let rules = isolated.rules.iter().map(|rule| &self.rules[*rule]);
        for rule in rules.filter(|rule| rule.peers[index(family)].contains(peer)) {
            let allowed = rule.traffic(destination.map(|class| &self.classes[class]));
            sum = Some(match sum {
                None => allowed,
                Some(sum) => Arc::new(sum.union(&allowed)),
            });
        }
        sum
    }
}

impl JudgedRule<'_> {
    /// What it allows to a destination; what is no pod has no names for ports.
    fn traffic(&self, destination: Option<&Class<'_>>) -> Arc<TrafficSet> {
        if self.named.is_empty() {
            return Arc::clone(&self.fixed);
        }
        let named = self.named.iter().flat_map(|(transport, name)| {
            let ports = destination.into_iter().flat_map(move |class| class.ports_named(name, *transport));
            ports.map(|port| TrafficSet::of_ports(*transport, PortRange::single(port.port)))
        });
        Arc::new(named.fold(TrafficSet::clone(&self.fixed), |sum, port| sum.union(&port)))
    }
}

/// The policies that have a say.
pub(crate) fn in_force(snapshot: &Snapshot) -> impl Iterator<Item = (&PolicyName, &NetworkPolicy)> {
    snapshot.policies.iter().map(|(name, policy)| (name, &**policy)).filter(|(_, policy)| !policy.audit)
}

/// The rules of a policy, of both directions.
pub(crate) fn rules(policy: &NetworkPolicy) -> impl Iterator<Item = &Rule> {
    Direction::ALL.into_iter().filter_map(|direction| policy.rules[direction].as_ref()).flatten()
}

fn blocks(snapshot: &Snapshot) -> impl Iterator<Item = Block<'_>> {
    let peers = in_force(snapshot).flat_map(|(_, policy)| rules(policy)).flat_map(|rule| rule.peers.iter().flatten());
    peers.filter_map(|peer| match peer {
        Peer::Block { cidr, except } => Some((cidr, except.as_slice())),
        Peer::Pods { .. } => None,
    })
}

/// What it takes to find the ends that a peer matches.
struct Matcher<'r, 'a> {
    snapshot: &'a Snapshot,
    classes: &'r [Class<'a>],
    spaces: &'r [Space<'a>; 2],
    in_namespace: HashMap<&'a NamespaceName, Vec<usize>>,
    /// By family and zone: the classes whose addresses are in it.
    in_zone: [Vec<Vec<usize>>; 2],
    /// By family: the classes whose addresses were invented.
    invented: [Vec<usize>; 2],
}

impl<'r, 'a> Matcher<'r, 'a> {
    fn new(snapshot: &'a Snapshot, classes: &'r [Class<'a>], spaces: &'r [Space<'a>; 2]) -> Matcher<'r, 'a> {
        let mut in_namespace: HashMap<&NamespaceName, Vec<usize>> = HashMap::new();
        let mut in_zone = Family::ALL.map(|family| vec![Vec::new(); spaces[index(family)].zones()]);
        let mut invented = [Vec::new(), Vec::new()];
        for (number, class) in classes.iter().enumerate() {
            in_namespace.entry(class.namespace).or_default().push(number);
            for (family, place) in class.places.iter().enumerate() {
                match place {
                    Place::Zone(zone) => in_zone[family][*zone].push(number),
                    Place::Invented => invented[family].push(number),
                    Place::Nowhere | Place::Apart => {}
                }
            }
        }
        Matcher { snapshot, classes, spaces, in_namespace, in_zone, invented }
    }

    fn classes_in(&self, namespace: &NamespaceName) -> &[usize] {
        self.in_namespace.get(namespace).map_or(&[], Vec::as_slice)
    }

    fn judged(&self, policy: &PolicyName, rule: &'a Rule) -> JudgedRule<'a> {
        let (fixed, named) = ports(&rule.ports);
        JudgedRule { peers: self.peers(policy, rule.peers.as_deref()), fixed: Arc::new(fixed), named }
    }

    fn peers(&self, policy: &PolicyName, peers: Option<&'a [Peer]>) -> [Bits; 2] {
        let Some(peers) = peers else { return self.lengths().map(Bits::all) };
        let mut found = self.lengths().map(Bits::none);
        for peer in peers {
            match peer {
                Peer::Pods { namespaces: None, pods } => self.add_pods(&policy.namespace, pods, &mut found),
                Peer::Pods { namespaces: Some(namespaces), pods } => {
                    let all = self.snapshot.namespaces.iter();
                    for (name, _) in all.filter(|(_, namespace)| selects(namespaces, &namespace.labels)) {
                        self.add_pods(name, pods, &mut found);
                    }
                }
                Peer::Block { cidr, except } => self.add_block((cidr, except), &mut found),
            }
        }
        found
    }

    /// By family how many classes and zones there are.
    fn lengths(&self) -> [usize; 2] {
        Family::ALL.map(|family| self.classes.len() + self.spaces[index(family)].zones())
    }

    /// Isolated without any rule.
    fn isolated(&self) -> Isolated {
        Isolated { rules: Vec::new(), peers: self.lengths().map(Bits::none) }
    }

    fn add_pods(&self, namespace: &NamespaceName, pods: &Selector, found: &mut [Bits; 2]) {
        let classes = self.classes_in(namespace).iter().copied();
        let selected = classes.filter(|class| selects(pods, self.classes[*class].labels()));
        for found in found {
            found.extend(selected.clone());
        }
    }

    fn add_block(&self, block: Block<'a>, found: &mut [Bits; 2]) {
        for (family, found) in found.iter_mut().enumerate() {
            for zone in self.spaces[family].zones_of(block) {
                found.insert(self.classes.len() + zone);
                found.extend(self.in_zone[family][*zone].iter().copied());
            }
            if holds_all(block, family) {
                found.extend(self.invented[family].iter().copied());
            }
        }
    }
}

/// Whether a block holds every address of a family.
fn holds_all((cidr, except): Block<'_>, family: usize) -> bool {
    index(Family::of(cidr.addr())) == family && cidr.prefix_len() == 0 && except.is_empty()
}

/// What ports allow: "If this field is empty or missing, this rule matches all ports", and what has none, too. The names apart.
fn ports(ports: &Ports) -> (TrafficSet, Vec<(Transport, &str)>) {
    let Ports::Listed(listed) = ports else { return (TrafficSet::all(), Vec::new()) };
    let (mut fixed, mut named) = (TrafficSet::default(), Vec::new());
    for port in listed {
        match port {
            PortMatch::Every(transport) => {
                fixed = fixed.union(&TrafficSet::of_ports(*transport, PortRange::EVERY));
            }
            PortMatch::Range(transport, range) => fixed = fixed.union(&TrafficSet::of_ports(*transport, *range)),
            PortMatch::Named(transport, name) => named.push((*transport, &**name)),
        }
    }
    (fixed, named)
}
