//! With whom nobody may speak: a table of its own.
//!
//! ```text
//! prerouting (hook)      before connection tracking: where does it come from?
//!    |-- banned4_wide, from4, …
//! postrouting (hook)     after addresses are translated, before the sender is: where does it really go?
//!    |-- banned4_wide, to4, …
//! forward (hook)         between a banned address and a pod of the target of a list?
//!
//! discovery              passes in both: what is dropped here takes the node's own routers off its link
//! from4                  first byte of the address -> from4_BYTE: is the address in banned4_BYTE? banned
//! banned                 counts, logs, drops
//! would_ban              counts, logs, and returns, for audited lists
//! ```
//!
//! No state: each packet is held against the lists, in both directions, so that live connections end with their next packet. The way out is
//! asked after translation alone, for what matters is with whom somebody speaks in the end, whatever Service leads there.
//!
//! **Parts.** The kernel's interval sets take the longer for a change the more they hold, so that the ranges are parted by their first
//! byte. A range that no part holds whole is in the wide set of its family; of such ranges there are at
//! most as many as there are borders between parts.
//!
//! A table that bans nothing is no table.

mod held;
mod parts;

use palisade_core::{AddressRange, BanId, BanTables, Family, Layer, TargetedBan};

use crate::lower::{Settings, address_key, address_type, limits, log, neighbour_discovery, prefix};
use crate::ruleset::{
    Chain, Comment, Elements, Field, Hook, Key, Lookup, Loopback, Name, Rule, Ruleset, Set, SetDefinition, Side,
    Statement, Table, Value, Verdict,
};
pub use held::BanHeld;
use parts::{Part, Parts, Place};

/// The counter of packets that were dropped.
pub(crate) const BANNED: &str = "banned";
/// The counter of packets that audited lists would have dropped.
pub(crate) const WOULD_BAN: &str = "would_ban";

/// What a ban did with a packet, as the prefix of its log message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ban {
    /// It was dropped.
    Denied,
    /// It passed; with audited lists in force it would be dropped.
    WouldDeny,
}

impl Ban {
    /// The prefix of log messages.
    pub fn prefix(self) -> &'static str {
        match self {
            Ban::Denied => "ban",
            Ban::WouldDeny => "would deny ban",
        }
    }

    /// What this prefix means.
    pub fn of_prefix(prefix: &str) -> Option<Ban> {
        [Ban::Denied, Ban::WouldDeny].into_iter().find(|ban| ban.prefix() == prefix)
    }
}

/// The ruleset that drops what is banned.
pub fn lower_bans(tables: &BanTables, settings: &Settings) -> Ruleset {
    let mut ruleset = skeleton(&Parts::of(tables), tables, |_| true, *settings);
    for layer in [Layer::InForce, Layer::Shadow] {
        let mut ranges = tables.everywhere(layer).iter().peekable();
        while let Some(first) = ranges.next() {
            let place = Place::of(&first);
            let next = std::iter::from_fn(|| ranges.next_if(|range| Place::of(range) == place));
            // A map that is made of all its elements is full; one to which they are added one by one is half empty.
            let mut elements: Elements =
                std::iter::once(first).chain(next).map(|range| (range_key(&range), None)).collect();
            if let Some(set) = ruleset.sets.get_mut(&set_of(layer, place)) {
                set.elements.append(&mut elements);
            }
        }
    }
    ruleset
}

/// The same without the ranges that are banned for everybody, and with what belongs to these lists alone.
fn skeleton(parts: &Parts, tables: &BanTables, lists: impl Fn(&BanId) -> bool, settings: Settings) -> Ruleset {
    let mut ruleset = Ruleset::nothing(Table::Bans);
    if parts.is_empty() && tables.targeted.is_empty() {
        return ruleset;
    }
    let comment = "BanList of this node, written by palisade; changes by others are undone";
    ruleset.comment = Some(Comment::new(comment));
    ruleset.counters.insert(BANNED.into(), Some(Comment::new("packets from or to banned addresses")));
    ruleset.counters.insert(WOULD_BAN.into(), Some(Comment::new("packets that audited lists would have dropped")));
    ruleset.chains.extend([Layer::InForce, Layer::Shadow].map(|layer| end(layer, settings)));
    if settings.log_group.is_some() {
        let set = |family| (logged_set(family), limits(family, "whose banned packets were logged just now"));
        ruleset.sets.extend(Family::ALL.map(set));
    }
    ruleset.chains.extend(hooks(parts, tables));
    for (layer, place) in parts.places() {
        let set = Set::new(ranges(place.family(), "banned for everybody"));
        ruleset.sets.insert(set_of(layer, place), set);
        if let Place::Part(part) = place {
            ruleset.chains.extend(WAYS.map(|way| part_chain(layer, way, part)));
        }
    }
    for (layer, family) in parts.parted() {
        for way in WAYS {
            let elements = parts.of_family(layer, family).map(|part| way_to(layer, way, part)).collect();
            ruleset.sets.insert(parts_map(layer, way, family), Set { definition: to_parts(family), elements });
        }
    }
    for (id, ban) in tables.targeted.iter().filter(|(id, _)| lists(id)) {
        ruleset.sets.extend(targeted_sets(id, ban));
        ruleset.chains.extend(targeted_chains(id, ban));
    }
    ruleset
}

/// The two ends at which a banned address may be, with the names of their chains.
const WAYS: [(Side, &str); 2] = [(Side::Source, "from"), (Side::Destination, "to")];
type Way = (Side, &'static str);

fn hooks(parts: &Parts, tables: &BanTables) -> Vec<(Name, Chain)> {
    let asked = |way: Way| -> Vec<Rule> {
        let mut rules = Vec::new();
        for layer in [Layer::InForce, Layer::Shadow] {
            for family in Family::ALL {
                let field = Field::Address(family, way.0);
                if parts.has(layer, Place::Wide(family)) {
                    let set = Lookup::Named(set_of(layer, Place::Wide(family)));
                    rules.push(vec![Statement::In(vec![field], set), goto_or_jump(layer)]);
                }
                if parts.is_parted(layer, family) {
                    let map = Lookup::Named(parts_map(layer, way, family));
                    rules.push(vec![Statement::VerdictMap(vec![field], map)]);
                }
            }
        }
        rules
    };
    let over = |loopback| vec![Statement::Over(loopback), Statement::Verdict(Verdict::Accept)];
    let ask = |loopback, way| [vec![over(loopback), neighbour_discovery()], asked(way)].concat();
    let hook = |name: &str, comment, hook, rules: Vec<Rule>| {
        (name.into(), Chain { comment: Some(Comment::new(comment)), hook: Some(hook), rules })
    };
    let [from, to] = WAYS;
    let mut hooks = vec![
        hook("prerouting", "where packets come from", Hook::BanSource, ask(Loopback::In, from)),
        hook("postrouting", "where packets really go", Hook::BanDestination, ask(Loopback::Out, to)),
    ];
    if !tables.targeted.is_empty() {
        let rules = tables.targeted.keys().flat_map(targeted_rules).collect();
        hooks.push(hook("forward", "packets of pods in the target of a list", Hook::GuardForward, rules));
    }
    hooks
}

/// An audited list has its say, and the next rule is asked.
fn goto_or_jump(layer: Layer) -> Statement {
    let chain = end_name(layer).into();
    Statement::Verdict(match layer {
        Layer::InForce => Verdict::Goto(chain),
        Layer::Shadow => Verdict::Jump(chain),
    })
}

fn end(layer: Layer, settings: Settings) -> (Name, Chain) {
    let (counter, ban, comment, last) = match layer {
        Layer::InForce => (BANNED, Ban::Denied, "an end of the packet is banned", Verdict::Drop),
        Layer::Shadow => (WOULD_BAN, Ban::WouldDeny, "an audited list would ban an end of the packet", Verdict::Return),
    };
    let mut rules = vec![vec![Statement::Count(counter.into())]];
    if let Some(group) = settings.log_group {
        let log = |family| log(ban.prefix(), group, (family, Side::Source), logged_set(family));
        rules.extend(Family::ALL.map(log));
    }
    rules.push(vec![Statement::Verdict(last)]);
    (end_name(layer).into(), Chain { comment: Some(Comment::new(comment)), hook: None, rules })
}

fn part_chain(layer: Layer, way: Way, part: Part) -> (Name, Chain) {
    let field = Field::Address(part.family(), way.0);
    let rule = vec![
        Statement::In(vec![field], Lookup::Named(set_of(layer, Place::Part(part)))),
        Statement::Verdict(Verdict::Goto(end_name(layer).into())),
    ];
    let comment = Some(Comment::new(&format!("addresses in {}", part.network())));
    (part_name(layer, way, part), Chain { comment, hook: None, rules: vec![rule] })
}

/// The entry of a part in the map of its family.
fn way_to(layer: Layer, way: Way, part: Part) -> (Key, Option<Verdict>) {
    let network = part.network();
    let range = AddressRange { first: network.network(), last: network.broadcast() };
    (range_key(&range), Some(Verdict::Jump(part_name(layer, way, part))))
}

fn targeted_sets(id: &BanId, ban: &TargetedBan) -> Vec<(Name, Set)> {
    let mut sets = Vec::new();
    for family in Family::ALL {
        let banned = ban.banned.iter().filter(|range| Family::of(range.first) == family);
        let elements: Elements = banned.map(|range| (range_key(&range), None)).collect();
        let pods = ban.pods.iter().filter(|address| Family::of(**address) == family);
        let definition = SetDefinition { interval: false, ..ranges(family, &format!("target of {}", ban.description)) };
        let pods = Set { definition, elements: pods.map(|address| (address_key(*address), None)).collect() };
        let comment = format!("banned by {}", ban.description);
        sets.push((targeted_banned(id, family), Set { definition: ranges(family, &comment), elements }));
        sets.push((targeted_pods(id, family), pods));
    }
    sets
}

/// The pod is known first, by one lookup: most packets are of other pods.
fn targeted_rules(id: &BanId) -> Vec<Rule> {
    let rule = |(family, way): (Family, Way)| {
        let field = Field::Address(family, way.0.other());
        let pod = Statement::In(vec![field], Lookup::Named(targeted_pods(id, family)));
        vec![pod, Statement::Verdict(Verdict::Jump(targeted_name(id, family, way)))]
    };
    ends().map(rule).collect()
}

fn targeted_chains<'a>(id: &'a BanId, ban: &'a TargetedBan) -> impl Iterator<Item = (Name, Chain)> + 'a {
    ends().map(move |(family, way)| {
        let set = Lookup::Named(targeted_banned(id, family));
        let goto = Statement::Verdict(Verdict::Goto(end_name(ban.layer).into()));
        let rules = vec![vec![Statement::In(vec![Field::Address(family, way.0)], set), goto]];
        let comment = Some(Comment::new(&format!("packets of the target of {}", ban.description)));
        (targeted_name(id, family, way), Chain { comment, hook: None, rules })
    })
}

/// Both ends in both families.
fn ends() -> impl Iterator<Item = (Family, Way)> {
    Family::ALL.into_iter().flat_map(|family| WAYS.map(|way| (family, way)))
}

/// A set of ranges of addresses.
fn ranges(family: Family, comment: &str) -> SetDefinition {
    SetDefinition {
        comment: Some(Comment::new(comment)),
        key: vec![address_type(family)],
        verdicts: false,
        interval: true,
        dynamic: None,
    }
}

fn to_parts(family: Family) -> SetDefinition {
    SetDefinition { verdicts: true, ..ranges(family, "part of all addresses : is the address banned?") }
}

fn range_key(range: &AddressRange) -> Key {
    Key::Range(Value::from(range.first), Value::from(range.last))
}

fn end_name(layer: Layer) -> &'static str {
    match layer {
        Layer::InForce => BANNED,
        Layer::Shadow => WOULD_BAN,
    }
}

fn set_of(layer: Layer, place: Place) -> Name {
    format!("{}{}_{place}", end_name(layer), place.family().digit()).into()
}

fn part_name(layer: Layer, (_, way): Way, part: Part) -> Name {
    format!("{}{way}{}_{part}", prefix(layer), part.family().digit()).into()
}

fn parts_map(layer: Layer, (_, way): Way, family: Family) -> Name {
    format!("{}{way}{}", prefix(layer), family.digit()).into()
}

fn targeted_name(id: &BanId, family: Family, (_, way): Way) -> Name {
    format!("{way}{}_{id}", family.digit()).into()
}

fn targeted_banned(id: &BanId, family: Family) -> Name {
    format!("list{}_{id}", family.digit()).into()
}

fn targeted_pods(id: &BanId, family: Family) -> Name {
    format!("target{}_{id}", family.digit()).into()
}

fn logged_set(family: Family) -> Name {
    format!("logged{}", family.digit()).into()
}

#[cfg(test)]
mod tests;
