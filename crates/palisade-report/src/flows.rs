//! Every flow there could be, in lines as `palisade matrix` has them, and besides those of which nothing passes.

use std::collections::HashMap;
use std::sync::Arc;

use palisade_core::{AddressRange, AddressSet, Direction, End, Family, Flow, Snapshot};
use palisade_reach::{Families, Party, Reach, TrafficSet, united};
use serde::Serialize;
use serde_json::{Value, json};

use crate::example::{Place, Sample, beyond, explained, parts};
use crate::json::{party, traffic};
use crate::texts::Distinct;

/// What the page is to know of flows. Numbers are places in the other lists.
#[derive(Debug, Serialize)]
pub(crate) struct Flows {
    /// The ends: the fields of `palisade matrix -o json`, `namespace`, and for up to two examples of it what stands for them in texts.
    ends: Vec<Value>,
    /// Sets of traffic.
    sets: Vec<Value>,
    /// Lines: from, to, family (0 is both that there are), set, reasons.
    rows: Vec<[u32; 5]>,
    /// Reasons of a line.
    reasons: Distinct<Vec<Example>>,
    /// Texts. In those of reasons a mark, see [`marked`], stands for each end.
    texts: Distinct<String>,
}

/// The numbers of texts: what a flow stands for, the flow, its verdict, and the pieces of each line of its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
struct Example(u32, u32, u32, Vec<Vec<u32>>);

impl Flows {
    /// The flows of a snapshot.
    pub(crate) fn new(snapshot: &Snapshot, reach: &Reach<'_>) -> Flows {
        let samples: Vec<[Option<Sample<'_>>; 2]> = (reach.classes().iter())
            .map(|class| [0, 1].map(|number| Sample::new(snapshot, class.pods.get(number)?)))
            .collect();
        let mut lines = Lines::new(reach, &samples);
        for from in 0..samples.len() {
            lines.add_between(from);
            lines.add_outside(from, Direction::Egress);
        }
        for to in 0..samples.len() {
            lines.add_outside(to, Direction::Ingress);
        }
        lines.flows()
    }
}

struct Lines<'r, 'a> {
    reach: &'r Reach<'a>,
    /// For each class two of its pods, if it has two.
    samples: &'r [[Option<Sample<'a>>; 2]],
    ranges: HashMap<AddressRange, u32>,
    ends: Vec<Value>,
    sets: Distinct<Arc<TrafficSet>>,
    rows: Vec<[u32; 5]>,
    reasons: Distinct<Vec<Example>>,
    /// The reasons where no policy isolates anybody, by families: they are the same for all.
    open: HashMap<Vec<Family>, u32>,
    texts: Distinct<String>,
}

impl<'r, 'a> Lines<'r, 'a> {
    fn new(reach: &'r Reach<'a>, samples: &'r [[Option<Sample<'a>>; 2]]) -> Lines<'r, 'a> {
        let ends = reach.classes().iter().zip(samples).map(|(class, samples)| {
            let words: Vec<_> = samples.iter().flatten().map(Sample::words).collect();
            end(Party::Pods(class), Some(class.namespace), &words)
        });
        let (ranges, open) = (HashMap::new(), HashMap::new());
        let (sets, reasons) = (Distinct::new(), Distinct::new());
        Lines {
            reach,
            samples,
            ranges,
            ends: ends.collect(),
            sets,
            rows: Vec::new(),
            reasons,
            open,
            texts: Distinct::new(),
        }
    }

    fn flows(self) -> Flows {
        let Lines { ends, sets, rows, reasons, texts, .. } = self;
        Flows { ends, sets: sets.values().iter().map(|set| traffic(set)).collect(), rows, reasons, texts }
    }

    /// The lines from a class to every class.
    fn add_between(&mut self, from: usize) {
        for to in 0..self.samples.len() {
            let samples = self.samples;
            let (Some(source), Some(destination)) = (&samples[from][0], &samples[to][usize::from(from == to)]) else {
                continue;
            };
            let (source, destination) = (Place::Pod(source), Place::Pod(destination));
            self.add([number(from), number(to)], [source, destination], &self.reach.between(from, to));
        }
    }

    /// The lines between a class and addresses outside, each address once.
    fn add_outside(&mut self, class: usize, direction: Direction) {
        let samples = self.samples;
        let Some(sample) = &samples[class][0] else { return };
        for family in Family::ALL {
            if sample.pod.address(family).is_none() {
                continue;
            }
            let mut lines = self.reach.outside(class, direction, family);
            let mut closed: AddressSet = [every(family)].into();
            for (range, _) in &lines {
                closed.remove(*range);
            }
            lines.extend(closed.iter().map(|range| (range, Arc::default())));
            for (range, set) in lines {
                let traffic = Family::ALL.map(|one| (one == family).then(|| Arc::clone(&set)));
                let (inside, outside) = ((number(class), Place::Pod(sample)), self.outside(range));
                let (from, to) = match direction {
                    Direction::Egress => (inside, outside),
                    Direction::Ingress => (outside, inside),
                };
                self.add([from.0, to.0], [from.1, to.1], &traffic);
            }
        }
    }

    fn outside(&mut self, range: AddressRange) -> (u32, Place<'r>) {
        let Lines { ranges, ends, .. } = self;
        let place = Place::Addresses(range);
        let number = *ranges.entry(range).or_insert_with(|| {
            ends.push(end(Party::Addresses(range), None, &[place.words()]));
            number(ends.len() - 1)
        });
        (number, place)
    }

    /// The lines of a pair of ends, one for each family if they differ.
    fn add(&mut self, ends: [u32; 2], places: [Place<'_>; 2], traffic: &Families<Arc<TrafficSet>>) {
        let shared = Family::ALL.into_iter().zip(traffic).filter(|(_, set)| set.is_some()).map(|(family, _)| family);
        let shared: Vec<Family> = shared.collect();
        for (family, set) in united(traffic) {
            let families = family.map_or(shared.clone(), |family| vec![family]);
            let reasons = self.reasons(places, set, families);
            let digit = family.map_or(0, |family| if family == Family::V4 { 4 } else { 6 });
            let set = self.sets.number(Arc::clone(set));
            self.rows.push([ends[0], ends[1], digit, set, reasons]);
        }
    }

    fn reasons(&mut self, places: [Place<'_>; 2], set: &TrafficSet, families: Vec<Family>) -> u32 {
        let isolated = |place: &Place<'_>, direction| matches!(place, Place::Pod(pod) if pod.is_isolated(direction));
        let is_open = matches!(places, [Place::Pod(_), Place::Pod(_)])
            && !isolated(&places[0], Direction::Egress)
            && !isolated(&places[1], Direction::Ingress);
        if let Some(known) = self.open.get(&families).filter(|_| is_open) {
            return *known;
        }
        let words = places.map(|place| place.words());
        let mut examples: Vec<(Vec<String>, Example)> = Vec::new();
        let rest = if set.is_empty() { "everything" } else { "everything else" };
        let beyond = beyond(set, &places[1]).map(|traffic| (rest.to_string(), traffic));
        for (part, traffic) in parts(set).into_iter().chain(beyond) {
            let Some(explanation) = explained(&places[0], &places[1], traffic, &families) else { continue };
            let verdict = self.texts.number(explanation.answer().to_string());
            let lines: Vec<Vec<u32>> = explanation.reasons().iter().map(|line| self.pieces(line, &words)).collect();
            let known = examples.iter_mut().find(|(_, before)| before.2 == verdict && before.3 == lines);
            if let Some((parts, _)) = known {
                parts.push(part);
            } else {
                let flow = self.texts.number(marked_flow(&explanation.flow, &words));
                examples.push((vec![part], Example(0, flow, verdict, lines)));
            }
        }
        let examples = examples.into_iter();
        let examples = examples.map(|(parts, Example(_, flow, verdict, lines))| {
            Example(self.texts.number(parts.join(", ")), flow, verdict, lines)
        });
        let examples = examples.collect();
        let reasons = self.reasons.number(examples);
        if is_open {
            self.open.insert(families, reasons);
        }
        reasons
    }

    /// A line in pieces, since who isolates belongs to one end, what a rule wants to a policy, and what was found instead to the other end: a
    /// piece is the same text for many lines.
    fn pieces(&mut self, line: &str, words: &[Vec<String>; 2]) -> Vec<u32> {
        let line = marked(line, words);
        let pieces = line.split_inclusive("; ").flat_map(|piece| piece.split_inclusive(", but "));
        pieces.map(|piece| self.texts.number(piece.to_string())).collect()
    }
}

/// The first of the marks that stand for words in texts, in the range of Unicode for private use; each end has as many as a pod has words.
const FIRST_MARK: u32 = 0xe000;
const MARKS_OF_AN_END: u32 = 3;

/// The mark of a word of an end: of the source (0) or of the destination (1).
fn mark(end: u32, word: u32) -> String {
    char::from_u32(FIRST_MARK + end * MARKS_OF_AN_END + word).map(String::from).unwrap_or_default()
}

/// A reason with marks for the words of both ends, so that it is the same text for many of them. The page puts the words back. A policy may
/// have the name of a pod: only where a pod is meant there is a mark, so that texts can be searched for policies.
fn marked(reason: &str, words: &[Vec<String>; 2]) -> String {
    let marks = FIRST_MARK..FIRST_MARK + 2 * MARKS_OF_AN_END;
    let mut text = reason.replace(|char| marks.contains(&u32::from(char)), "\u{fffd}");
    for (end, words) in (0..).zip(words) {
        let Some((name, addresses)) = words.split_first() else { continue };
        for (before, after) in [(" of ", ": "), ("pod ", " ")] {
            text = text.replace(&format!("{before}{name}{after}"), &format!("{before}{}{after}", mark(end, 0)));
        }
        for (place, address) in (1..MARKS_OF_AN_END).zip(addresses) {
            text = text.replace(address, &mark(end, place));
        }
    }
    text
}

/// The same of a flow.
fn marked_flow(flow: &Flow, words: &[Vec<String>; 2]) -> String {
    let end = |number, end: &End, words: &[String]| {
        let written = end.to_string();
        if words.first() == Some(&written) { mark(number, 0) } else { written }
    };
    format!("{} -> {} {}", end(0, &flow.source, &words[0]), end(1, &flow.destination, &words[1]), flow.traffic)
}

fn end(of: Party<'_>, namespace: Option<&Arc<str>>, words: &[Vec<String>]) -> Value {
    let mut end = party(of);
    end["namespace"] = json!(namespace.map(|name| &**name));
    end["words"] = json!(words);
    end
}

/// All addresses of a family.
fn every(family: Family) -> AddressRange {
    let (first, last) = match family {
        Family::V4 => ([0; 4].into(), [0xff; 4].into()),
        Family::V6 => ([0; 16].into(), [0xff; 16].into()),
    };
    AddressRange { first, last }
}

/// A place in a list, of which JSON knows only so many.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
