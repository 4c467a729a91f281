//! From grants to the entries of one address in the tables.
//!
//! One sweep over the ports of a transport, at the cost of sorting what the rules list: what is granted changes only
//! where a range begins or ends, and at exact ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use palisade_core::{Port, PortRange, Transport};

use crate::atom::Atom;
use crate::grants::Grant;
use crate::peers::Peers;

/// What the tables say of one subject in one direction. Every value is complete (see `palisade_core::tables`), and
/// none repeats what the next step would say anyway.
#[derive(Debug, PartialEq, Eq)]
pub struct Entries {
    /// Exact ports.
    pub ports: BTreeMap<(Transport, Port), Arc<Peers>>,
    /// Disjoint ranges, sorted.
    pub ranges: Vec<(Transport, PortRange, Arc<Peers>)>,
    /// All other traffic.
    pub otherwise: Arc<Peers>,
}

impl Entries {
    /// Joins the grants of the pods that claim the address: a packet passes if it passes for each of them.
    /// `None` is a pod that nothing isolates.
    pub fn new(pods: &[Option<Vec<Grant>>]) -> Entries {
        let mut unions = Unions::default();
        let mut everywhere = Covering::new();
        let mut listed: Vec<(Transport, PortRange, Granted)> = Vec::new();
        for grants in pods.iter().flatten() {
            for grant in grants {
                let granted = unions.granted(grant);
                match grant.ports {
                    None => *everywhere.entry(granted).or_default() += 1,
                    Some((transport, range)) => listed.push((transport, range, granted)),
                }
            }
            unions.pods += 1;
        }
        let otherwise = unions.of(everywhere.keys());
        let mut entries = Entries { ports: BTreeMap::new(), ranges: Vec::new(), otherwise };
        for transport in Transport::ALL {
            let listed = listed.iter().filter(|(other, ..)| *other == transport);
            entries.sweep(transport, listed.map(|(_, range, granted)| (*range, *granted)), &everywhere, &mut unions);
        }
        entries
    }

    /// Nothing is admitted at all.
    pub fn closed() -> Entries {
        Entries { ports: BTreeMap::new(), ranges: Vec::new(), otherwise: Arc::new(Peers::any_of(BTreeSet::new())) }
    }

    /// Whether these are [`Entries::closed`].
    pub fn is_closed(&self) -> bool {
        self.ports.is_empty() && self.ranges.is_empty() && self.otherwise.is_nobody()
    }

    /// Whether nothing is restricted, so that no entry is needed.
    pub fn is_open(&self) -> bool {
        self.otherwise.is_everyone()
    }

    fn sweep(
        &mut self,
        transport: Transport,
        listed: impl Iterator<Item = (PortRange, Granted)>,
        everywhere: &Covering,
        unions: &mut Unions<'_>,
    ) {
        let mut exact: BTreeMap<Port, Vec<Granted>> = BTreeMap::new();
        // What begins (`true`) and ends where a stretch of ports begins; the stretches cover all ports.
        let mut stretches: BTreeMap<Port, Vec<(Granted, bool)>> = BTreeMap::from([(Port::MIN, Vec::new())]);
        for (range, granted) in listed {
            if range.first() == range.last() {
                exact.entry(range.first()).or_default().push(granted);
                continue;
            }
            stretches.entry(range.first()).or_default().push((granted, true));
            if let Some(next) = range.last().checked_add(1) {
                stretches.entry(next).or_default().push((granted, false));
            }
        }
        let mut covering = everywhere.clone();
        let mut stretches = stretches.into_iter().peekable();
        while let Some((first, changes)) = stretches.next() {
            for (granted, begins) in changes {
                let grants = covering.entry(granted).or_default();
                *grants = if begins { *grants + 1 } else { grants.saturating_sub(1) };
            }
            covering.retain(|_, grants| *grants > 0);
            let next = stretches.peek().map(|(next, _)| next.get());
            let last = next.map_or(Port::MAX, |next| Port::new(next - 1).unwrap_or(first));
            let peers = unions.of(covering.keys());
            for (port, granted) in exact.range(first..=last) {
                let here: BTreeSet<Granted> = covering.keys().chain(granted).copied().collect();
                let here = unions.of(&here);
                if here != peers {
                    self.ports.insert((transport, *port), here);
                }
            }
            self.add_stretch(transport, (first, last), peers);
        }
        // Where pods share an address nobody may come to mean many things. Whoever is granted all ports is granted these, so that a range
        // of nobody repeats what is said of all else.
        let otherwise = &self.otherwise;
        self.ranges.retain(|(_, _, peers)| peers != otherwise && !peers.is_nobody());
    }

    /// Adds a stretch of ports, to the one before it if the same peers are admitted there.
    fn add_stretch(&mut self, transport: Transport, (first, last): (Port, Port), peers: Arc<Peers>) {
        let start = match self.ranges.last() {
            Some((other, range, before))
                if *other == transport && *before == peers && range.last().checked_add(1) == Some(first) =>
            {
                let start = range.first();
                self.ranges.pop();
                start
            }
            _ => first,
        };
        self.ranges.extend(PortRange::new(start, last).map(|range| (transport, range, peers)));
    }
}

/// The number of a pod and of a set of peers that it admits; `None` is everyone.
type Granted = (usize, Option<usize>);

/// What some ports are granted, each with the number of grants that say so.
type Covering = BTreeMap<Granted, usize>;

/// The sets of peers in the grants, and their unions so far. The ports of a rule share one set, which may be large, and
/// most ports have the same union.
#[derive(Default)]
struct Unions<'a> {
    /// How many pods are isolated.
    pods: usize,
    sets: Vec<&'a BTreeSet<Arc<Atom>>>,
    numbers: HashMap<*const BTreeSet<Arc<Atom>>, usize>,
    known: HashMap<Vec<Granted>, Arc<Peers>>,
}

impl<'a> Unions<'a> {
    /// What a grant of the pod that is read at present says.
    fn granted(&mut self, grant: &'a Grant) -> Granted {
        let set = grant.peers.as_ref().map(|peers| {
            *self.numbers.entry(Arc::as_ptr(peers)).or_insert_with(|| {
                self.sets.push(peers);
                self.sets.len() - 1
            })
        });
        (self.pods, set)
    }

    /// Who is admitted by each of the pods.
    fn of<'g>(&mut self, granted: impl IntoIterator<Item = &'g Granted>) -> Arc<Peers> {
        let granted: Vec<Granted> = granted.into_iter().copied().collect();
        if let Some(peers) = self.known.get(&granted) {
            return Arc::clone(peers);
        }
        let mut peers = Peers::everyone();
        for pod in 0..self.pods {
            let sets: Option<Vec<usize>> =
                granted.iter().filter(|(other, _)| *other == pod).map(|(_, set)| *set).collect();
            if let Some(sets) = sets {
                let atoms = sets.into_iter().flat_map(|set| self.sets[set]).cloned();
                peers = peers.and(Peers::any_of(atoms.collect()));
            }
        }
        let peers = Arc::new(peers);
        self.known.insert(granted, Arc::clone(&peers));
        peers
    }
}

#[cfg(test)]
mod tests {
    use palisade_core::Selector;

    use super::*;
    use crate::atom::Who;

    /// Ports as written (`80`, `90-99`, `*` is all traffic), each with the peers it admits, a letter each; `.` is everyone.
    fn check(granted: &[(&str, &str)], expected: &[(&str, &str)]) {
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            PortRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
        };
        let atom = |letter: char| {
            Arc::new(Atom { who: Who::PodsOf(letter.to_string().into(), Selector::everything()), declares: None })
        };
        let grants = granted.iter().map(|(ports, peers)| Grant {
            ports: (*ports != "*").then(|| (Transport::Tcp, range(ports))),
            peers: (*peers != ".").then(|| Arc::new(peers.chars().map(atom).collect())),
        });
        let entries = Entries::new(&[Some(grants.collect())]);
        let who = |peers: &Peers| -> String {
            if peers.is_everyone() {
                return ".".to_string();
            }
            let atoms = peers.clauses.iter().flatten();
            atoms.map(|atom| if let Who::PodsOf(name, _) = &atom.who { name.to_string() } else { "?".into() }).collect()
        };
        let mut found: Vec<(String, String)> =
            entries.ports.iter().map(|((_, port), peers)| (port.to_string(), who(peers))).collect();
        found.extend(entries.ranges.iter().map(|(_, range, peers)| (range.to_string(), who(peers))));
        found.push(("*".to_string(), who(&entries.otherwise)));
        let found: Vec<(&str, &str)> = found.iter().map(|(ports, who)| (ports.as_str(), who.as_str())).collect();
        assert_eq!(found, expected, "{granted:?}");
    }

    #[test]
    fn every_entry_is_complete_and_none_repeats_the_next() {
        check(&[], &[("*", "")]);
        check(&[("80", "a"), ("80", "b"), ("*", "c")], &[("80", "abc"), ("*", "c")]);
        check(&[("80", "a"), ("70-90", "ab")], &[("70-90", "ab"), ("*", "")]);
        check(&[("80", "c"), ("70-90", "a"), ("*", "b")], &[("80", "abc"), ("70-90", "ab"), ("*", "b")]);
        check(&[("80", "a"), ("*", "a")], &[("*", "a")]);
        check(&[("80", "a"), ("*", ".")], &[("*", ".")]);
        check(&[("80", ".")], &[("80", "."), ("*", "")]);
    }

    #[test]
    fn ranges_are_cut_where_others_begin_and_end() {
        check(&[("10-30", "a"), ("20-40", "b")], &[("10-19", "a"), ("20-30", "ab"), ("31-40", "b"), ("*", "")]);
        check(&[("10-19", "a"), ("20-30", "a")], &[("10-30", "a"), ("*", "")]);
        check(&[("10-19", "a"), ("21-30", "a")], &[("10-19", "a"), ("21-30", "a"), ("*", "")]);
        check(&[("1-65535", "a"), ("65535", "b")], &[("65535", "ab"), ("1-65535", "a"), ("*", "")]);
        check(&[("1-2", "a"), ("65534-65535", "b")], &[("1-2", "a"), ("65534-65535", "b"), ("*", "")]);
    }
}
