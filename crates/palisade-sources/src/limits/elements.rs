//! How many elements the policies of a namespace come to together, for one pod: a bound that their text alone tells.
//!
//! The tables have an entry of a pod for each exact port that its policies list, for each stretch of ports that their
//! ranges tell apart, and for all other traffic, and each entry admits the peers of all rules that cover it. So rules
//! with ranges and rules without ports count again at every port that another policy lists, and a few dozen policies
//! with staggered ranges come to more than all of them by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_core::{Direction, NetworkPolicy, Operator, Peer, PortMatch, Ports, Rule, Transport};

/// What a policy comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Its elements if it were alone.
    pub own: usize,
    /// At how many ports it may begin an entry.
    points: usize,
    /// What it may add at most to an entry of another policy.
    spread: usize,
}

impl Size {
    /// The size of one policy.
    pub fn of(policy: &NetworkPolicy) -> Size {
        let mut size = Size { own: Union::of(&[policy]).elements(1), ..Size::default() };
        for rule in Direction::ALL.into_iter().flat_map(|direction| policy.rules[direction].iter().flatten()) {
            let peers = peers_size(rule);
            match &rule.ports {
                Ports::All => size.spread += 1 + peers,
                Ports::Listed(ports) => {
                    for port in ports {
                        let is_range = span(port).is_some_and(|(first, end)| end - first > 1);
                        size.points += if is_range { 2 } else { 1 };
                        size.spread += if is_range { 1 + peers } else { 0 };
                    }
                }
            }
        }
        size
    }

    /// The elements of policies of these sizes together, at most. Where no rule spreads it is what each has alone.
    pub fn bound(sizes: impl IntoIterator<Item = Size>) -> usize {
        let total = sizes.into_iter().fold(Size::default(), |total, size| Size {
            own: total.own.saturating_add(size.own),
            points: total.points.saturating_add(size.points),
            spread: total.spread.saturating_add(size.spread),
        });
        total.own.saturating_add(total.points.saturating_mul(total.spread))
    }
}

/// The rules of some policies of a namespace, by the ports they cover.
pub struct Union {
    directions: Vec<Rules>,
}

/// The rules of one direction.
#[derive(Default)]
struct Rules {
    /// The first policy that isolates.
    isolated_by: Option<usize>,
    everywhere: Vec<Part>,
    transports: Vec<Listed>,
}

/// What the rules of one transport list.
#[derive(Default)]
struct Listed {
    /// Where ranges begin (`true`) and end, sorted by port.
    ends: Vec<(u32, bool, Part)>,
    /// Sorted by port and class.
    exact: Vec<(u32, Part)>,
    /// At numbers that pods declare.
    named: Vec<Part>,
}

/// What one rule admits.
#[derive(Clone, Copy)]
struct Part {
    /// The place of its policy among the policies.
    policy: usize,
    class: Class,
    peers: usize,
}

/// Of the policies of different classes none select the same pod; `None` is a policy that may select any.
type Class = Option<usize>;

impl Union {
    /// The policies, in the order in which they are counted.
    pub fn of(policies: &[&NetworkPolicy]) -> Union {
        let classes = classes(policies);
        let directions = Direction::ALL.into_iter().map(|direction| {
            let mut rules = Rules { transports: Transport::ALL.map(|_| Listed::default()).into(), ..Rules::default() };
            for (policy, class) in classes.iter().enumerate() {
                if let Some(of_policy) = &policies[policy].rules[direction] {
                    rules.isolated_by.get_or_insert(policy);
                    for rule in of_policy {
                        rules.add(rule, policy, *class);
                    }
                }
            }
            for listed in &mut rules.transports {
                listed.ends.sort_unstable_by_key(|(port, ..)| *port);
                listed.exact.sort_unstable_by_key(|(port, part)| (*port, part.class));
            }
            rules
        });
        Union { directions: directions.collect() }
    }

    /// The elements of the first so many policies, for a pod that as many of them select as can.
    pub fn elements(&self, policies: usize) -> usize {
        self.directions.iter().map(|rules| rules.elements(policies)).fold(0, usize::saturating_add)
    }
}

/// Sets policies apart that require different values of one label: of that which they require most values of.
fn classes(policies: &[&NetworkPolicy]) -> Vec<Class> {
    let required = |policy: &NetworkPolicy| -> Vec<(Arc<str>, Arc<str>)> {
        let labels = policy.subjects.requirements().iter().filter_map(|requirement| match &requirement.operator {
            Operator::In(values) if values.len() == 1 => Some((Arc::clone(&requirement.key), Arc::clone(&values[0]))),
            _ => None,
        });
        labels.collect()
    };
    let mut by_key: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
    for (key, value) in policies.iter().flat_map(|policy| required(policy)) {
        by_key.entry(key).or_default().insert(value);
    }
    // Of several the first in the order of names.
    let most = by_key.iter().rev().max_by_key(|(_, values)| values.len()).map(|(key, _)| Arc::clone(key));
    let mut by_value: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut class = |policy: &NetworkPolicy| {
        let (_, value) = required(policy).into_iter().find(|(key, _)| most.as_ref() == Some(key))?;
        let next = by_value.len();
        Some(*by_value.entry(value).or_insert(next))
    };
    policies.iter().map(|policy| class(policy)).collect()
}

impl Rules {
    fn add(&mut self, rule: &Rule, policy: usize, class: Class) {
        let part = Part { policy, class, peers: peers_size(rule) };
        let Ports::Listed(ports) = &rule.ports else { return self.everywhere.push(part) };
        for port in ports {
            let Some(place) = Transport::ALL.iter().position(|transport| *transport == port.transport()) else {
                continue;
            };
            let listed = &mut self.transports[place];
            match span(port) {
                None => listed.named.push(part),
                Some((first, end)) if end - first == 1 => listed.exact.push((first, part)),
                Some((first, end)) => listed.ends.extend([(first, true, part), (end, false, part)]),
            }
        }
    }

    fn elements(&self, policies: usize) -> usize {
        if self.isolated_by.is_none_or(|first| first >= policies) {
            return 0;
        }
        let mut everywhere = Covering::default();
        for part in self.everywhere.iter().filter(|part| part.policy < policies) {
            everywhere.add(*part);
        }
        let listed = self.transports.iter().map(|listed| listed.elements(policies, &everywhere));
        listed.fold(1 + everywhere.most(), usize::saturating_add)
    }
}

impl Listed {
    fn elements(&self, policies: usize, everywhere: &Covering) -> usize {
        let mut ends = self.ends.iter().filter(|(.., part)| part.policy < policies).peekable();
        let mut exact = self.exact.iter().filter(|(_, part)| part.policy < policies).peekable();
        let mut covering = everywhere.clone();
        let (mut total, mut ranges, mut most) = (0_usize, 0_usize, covering.most());
        while let Some(port) =
            ends.peek().map(|(port, ..)| *port).into_iter().chain(exact.peek().map(|(port, _)| *port)).min()
        {
            let mut is_stretch = false;
            while let Some((_, begins, part)) = ends.next_if(|(other, ..)| *other == port) {
                is_stretch = true;
                if *begins {
                    ranges += 1;
                    covering.add(*part);
                } else {
                    ranges -= 1;
                    covering.remove(*part);
                }
            }
            if is_stretch && ranges > 0 {
                most = most.max(covering.most());
                total = total.saturating_add(1 + covering.most());
            }
            let here = std::iter::from_fn(|| exact.next_if(|(other, _)| *other == port)).map(|(_, part)| *part);
            total = total.saturating_add(covering.entry_with(here).unwrap_or(0));
        }
        let named = self.named.iter().filter(|part| part.policy < policies);
        named.map(|part| 1 + part.peers + most).fold(total, usize::saturating_add)
    }
}

/// How many peers are admitted on some ports, to a pod that the policies of any one class select.
#[derive(Clone, Default)]
struct Covering {
    of_any_class: usize,
    by_class: BTreeMap<usize, usize>,
    /// How many classes admit so many.
    sizes: BTreeMap<usize, usize>,
}

impl Covering {
    fn add(&mut self, part: Part) {
        match part.class {
            None => self.of_any_class += part.peers,
            Some(class) => self.set(class, self.of_class(class) + part.peers),
        }
    }

    fn remove(&mut self, part: Part) {
        match part.class {
            None => self.of_any_class -= part.peers,
            Some(class) => self.set(class, self.of_class(class) - part.peers),
        }
    }

    fn of_class(&self, class: usize) -> usize {
        self.by_class.get(&class).copied().unwrap_or(0)
    }

    fn set(&mut self, class: usize, size: usize) {
        let before = self.by_class.insert(class, size).unwrap_or(0);
        if let Some(classes) = self.sizes.get_mut(&before) {
            *classes -= 1;
            if *classes == 0 {
                self.sizes.remove(&before);
            }
        }
        if size > 0 {
            *self.sizes.entry(size).or_default() += 1;
        }
    }

    fn most_of_a_class(&self) -> usize {
        self.sizes.last_key_value().map_or(0, |(size, _)| *size)
    }

    fn most(&self) -> usize {
        self.of_any_class + self.most_of_a_class()
    }

    /// The elements of a port at which these are admitted besides, sorted by class; `None` if there are none.
    fn entry_with(&self, parts: impl Iterator<Item = Part>) -> Option<usize> {
        let mut parts = parts.peekable();
        parts.peek()?;
        let (mut of_any_class, mut most) = (self.of_any_class, self.most_of_a_class());
        let mut of_class = (0, 0);
        for part in parts {
            let Some(class) = part.class else {
                of_any_class += part.peers;
                continue;
            };
            if of_class.0 != class || of_class.1 == 0 {
                of_class = (class, self.of_class(class));
            }
            of_class.1 += part.peers;
            most = most.max(of_class.1);
        }
        Some(1 + of_any_class + most)
    }
}

/// The first port, and the one after the last; `None` for a name.
fn span(port: &PortMatch) -> Option<(u32, u32)> {
    match port {
        PortMatch::Every(_) => Some((1, 0x1_0000)),
        PortMatch::Range(_, range) => Some((range.first().get().into(), u32::from(range.last().get()) + 1)),
        PortMatch::Named(..) => None,
    }
}

/// The peers of a rule, its blocks and their exceptions; everybody takes no room.
fn peers_size(rule: &Rule) -> usize {
    let size = |peer: &Peer| match peer {
        Peer::Pods { .. } => 1,
        Peer::Block { except, .. } => 1 + except.len(),
    };
    rule.peers.iter().flatten().map(size).sum()
}
