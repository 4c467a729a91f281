//! What the kernel tells of our table, to typed values.
//!
//! Nothing is passed over: what a value here cannot express is named in [`Ruleset::unknown`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_core::Family;

use super::attributes::{Attribute, Attributes};
use super::data::{highest, key_bytes, key_type, predecessor, read_value, read_verdict, value};
use super::expressions::{COUNTER, Expression};
use super::message;
use super::numbers as n;
use super::statements;
use crate::ruleset::{
    Chain, Comment, Dynamic, Elements, Hook, Key, Lookup, Name, Ruleset, Set, SetDefinition, Table, Value, ValueType,
    Verdict,
};

/// What tells one state of the table from another without reading it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableState {
    /// The kernel's number for the table; a table that is deleted and made again has another.
    pub(crate) handle: u64,
    /// How many chains, sets and other objects the kernel counts in it.
    pub(crate) objects: u32,
}

/// The table as it is read, message by message.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    ruleset: Ruleset,
    literals: BTreeMap<Name, Set>,
    rules: Vec<(Name, Vec<Expression>)>,
}

impl Reader {
    /// Nothing read yet of a table.
    pub(crate) fn of(table: Table) -> Reader {
        Reader { ruleset: Ruleset::nothing(table), ..Reader::default() }
    }

    pub(crate) fn table(&mut self, attributes: Attributes<'_>) {
        if attributes.find_number(n::NFTA_TABLE_FLAGS).unwrap_or(0) != 0 {
            self.unknown("table flags");
        }
        self.ruleset.comment = comment(attributes, n::NFTA_TABLE_USERDATA, n::NFTNL_UDATA_TABLE_COMMENT);
    }

    pub(crate) fn chain(&mut self, attributes: Attributes<'_>) {
        if attributes.find_string(n::NFTA_CHAIN_TABLE) != Some(self.ruleset.table.name()) {
            return;
        }
        let Some(name) = attributes.find_string(n::NFTA_CHAIN_NAME) else { return };
        let hook = match attributes.find_number(n::NFTA_CHAIN_FLAGS).unwrap_or(0) {
            0 => None,
            n::NFT_CHAIN_BASE if hook(attributes).is_some() => hook(attributes),
            _ => {
                self.unknown(&format!("hook or flags of chain {name}"));
                None
            }
        };
        let comment = comment(attributes, n::NFTA_CHAIN_USERDATA, n::NFTNL_UDATA_CHAIN_COMMENT);
        self.ruleset.chains.insert(name.into(), Chain { comment, hook, rules: Vec::new() });
    }

    pub(crate) fn rule(&mut self, attributes: Attributes<'_>) {
        if attributes.find_string(n::NFTA_RULE_TABLE) != Some(self.ruleset.table.name()) {
            return;
        }
        let Some(chain) = attributes.find_string(n::NFTA_RULE_CHAIN) else { return };
        let list = attributes.find_nested(n::NFTA_RULE_EXPRESSIONS).unwrap_or(Attributes(&[]));
        self.rules.push((chain.into(), list.into_iter().map(|element| Expression::read(element.nested())).collect()));
    }

    /// Takes the head of a set; the result is its name, if its elements are wanted.
    pub(crate) fn set(&mut self, attributes: Attributes<'_>) -> Option<Name> {
        if attributes.find_string(n::NFTA_SET_TABLE) != Some(self.ruleset.table.name()) {
            return None;
        }
        let name: Name = attributes.find_string(n::NFTA_SET_NAME)?.into();
        let flags = attributes.find_number(n::NFTA_SET_FLAGS).unwrap_or(0);
        let Some(definition) = definition(attributes, flags) else {
            self.unknown(&format!("set {name}"));
            return None;
        };
        let wanted = definition.dynamic.is_none();
        let set = Set::new(definition);
        if flags & n::NFT_SET_ANONYMOUS != 0 {
            self.literals.insert(name.clone(), set);
        } else {
            self.ruleset.sets.insert(name.clone(), set);
        }
        wanted.then_some(name)
    }

    /// Takes all elements of a set whose head was taken before.
    pub(crate) fn elements(&mut self, name: &Name, raw: Vec<RawElement>) {
        let set = match self.literals.get_mut(name) {
            Some(set) => set,
            None => match self.ruleset.sets.get_mut(name) {
                Some(set) => set,
                None => return,
            },
        };
        match elements(&set.definition, raw) {
            Some(elements) => set.elements = elements,
            None => self.unknown(&format!("elements of set {name}")),
        }
    }

    /// Takes a named counter, or another object that is neither a chain nor a set.
    pub(crate) fn object(&mut self, attributes: Attributes<'_>) {
        if attributes.find_string(n::NFTA_OBJ_TABLE) != Some(self.ruleset.table.name()) {
            return;
        }
        let name = attributes.find_string(n::NFTA_OBJ_NAME).unwrap_or("?");
        if attributes.find_number(n::NFTA_OBJ_TYPE) == Some(n::NFT_OBJECT_COUNTER) {
            let comment = comment(attributes, n::NFTA_OBJ_USERDATA, n::NFTNL_UDATA_OBJ_COMMENT);
            self.ruleset.counters.insert(name.into(), comment);
        } else {
            self.unknown(&format!("object {name}"));
        }
    }

    /// Takes a flowtable.
    pub(crate) fn flowtable(&mut self, attributes: Attributes<'_>) {
        if attributes.find_string(n::NFTA_TABLE_NAME) == Some(self.ruleset.table.name()) {
            self.unknown(&format!("flowtable {}", attributes.find_string(n::NFTA_FLOWTABLE_NAME).unwrap_or("?")));
        }
    }

    /// The whole table.
    pub(crate) fn finish(mut self) -> Ruleset {
        let table = self.ruleset.table;
        for (chain, mut expressions) in std::mem::take(&mut self.rules) {
            for expression in &mut expressions {
                if let Expression::Lookup { set: Lookup::Named(name), verdict } = expression
                    && let Some(set) = self.literals.get(name)
                    && set.definition.verdicts == *verdict
                {
                    let set = Lookup::Literal(set.elements.clone());
                    *expression = Expression::Lookup { set, verdict: *verdict };
                }
            }
            match self.ruleset.chains.get_mut(&chain) {
                Some(chain) => chain.rules.push(statements::rule(table, &expressions)),
                None => self.ruleset.unknown.push(format!("rule of chain {chain}")),
            }
        }
        self.ruleset
    }

    fn unknown(&mut self, what: &str) {
        self.ruleset.unknown.push(what.to_string());
    }
}

/// The state of our table, from a message about it.
pub(crate) fn table_state(attributes: Attributes<'_>) -> Option<TableState> {
    let handle = attributes.find(n::NFTA_TABLE_HANDLE)?.long_number()?;
    Some(TableState { handle, objects: attributes.find_number(n::NFTA_TABLE_USE)? })
}

/// Where a base chain is hooked in, if it is one that we could have written.
fn hook(attributes: Attributes<'_>) -> Option<Hook> {
    let hook = attributes.find_nested(n::NFTA_CHAIN_HOOK)?;
    let place = (hook.find_number(n::NFTA_HOOK_HOOKNUM)?, hook.find_number(n::NFTA_HOOK_PRIORITY)?);
    let plain = attributes.find_number(n::NFTA_CHAIN_POLICY) == Some(n::NF_ACCEPT.cast_unsigned())
        && attributes.find_string(n::NFTA_CHAIN_TYPE) == Some("filter");
    Hook::ALL.into_iter().find(|hook| plain && message::hook(*hook) == place)
}

/// The head of a set, if a value here can express it.
pub(crate) fn definition(attributes: Attributes<'_>, flags: u32) -> Option<SetDefinition> {
    let anonymous = n::NFT_SET_ANONYMOUS | n::NFT_SET_CONSTANT;
    let ours = n::NFT_SET_INTERVAL | n::NFT_SET_MAP;
    let extras = [n::NFTA_SET_OBJ_TYPE, n::NFTA_SET_EXPR, n::NFTA_SET_EXPRESSIONS];
    if extras.into_iter().any(|extra| attributes.find(extra).is_some()) {
        return None;
    }
    let timeout = attributes.find_long_number(n::NFTA_SET_TIMEOUT);
    let dynamic = if flags == n::NFT_SET_EVAL | n::NFT_SET_TIMEOUT {
        let size = attributes.find_nested(n::NFTA_SET_DESC)?.find_number(n::NFTA_SET_DESC_SIZE)?;
        Some(Dynamic {
            size,
            timeout_seconds: u32::try_from(timeout?).ok().filter(|milliseconds| milliseconds % 1000 == 0)? / 1000,
        })
    } else if timeout.is_none() && [0, anonymous].contains(&(flags & !ours)) {
        None
    } else {
        return None;
    };
    let key = key_type(attributes.find_number(n::NFTA_SET_KEY_TYPE)?)?;
    if attributes.find_number(n::NFTA_SET_KEY_LEN)? as usize != key_bytes(&key) {
        return None;
    }
    let verdicts = flags & n::NFT_SET_MAP != 0;
    if verdicts && attributes.find_number(n::NFTA_SET_DATA_TYPE)? != n::NFT_DATA_VERDICT {
        return None;
    }
    let interval = flags & n::NFT_SET_INTERVAL != 0;
    let comment = comment(attributes, n::NFTA_SET_USERDATA, n::NFTNL_UDATA_SET_COMMENT);
    (!interval || key.len() == 1).then_some(SetDefinition { comment, key, verdicts, interval, dynamic })
}

/// The comment in the user data of an object.
fn comment(attributes: Attributes<'_>, attribute: u16, kind: u8) -> Option<Comment> {
    let mut data = attributes.find(attribute)?.value;
    while let [found, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *found == kind {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return str::from_utf8(text).ok().map(Comment::new);
        }
        data = &rest[value.len()..];
    }
    None
}

/// An element as the kernel tells it: in an interval set either the start of an interval or its end.
#[derive(Debug)]
pub(crate) struct RawElement {
    key: Vec<u8>,
    end: bool,
    verdict: Option<Verdict>,
    /// It has a timeout, a counter or the like.
    strange: bool,
}

impl RawElement {
    pub(crate) fn read(element: Attribute<'_>) -> RawElement {
        let attributes = element.nested();
        let known = [
            n::NFTA_SET_ELEM_KEY,
            n::NFTA_SET_ELEM_DATA,
            n::NFTA_SET_ELEM_FLAGS,
            n::NFTA_SET_ELEM_USERDATA,
            n::NFTA_SET_ELEM_PAD,
        ];
        let flags = attributes.find_number(n::NFTA_SET_ELEM_FLAGS).unwrap_or(0);
        let key = attributes.find_nested(n::NFTA_SET_ELEM_KEY).and_then(read_value);
        let data = attributes.find_nested(n::NFTA_SET_ELEM_DATA);
        let verdict = data.and_then(read_verdict);
        RawElement {
            strange: attributes.into_iter().any(|attribute| !known.contains(&attribute.kind))
                || flags & !n::NFT_SET_ELEM_INTERVAL_END != 0
                || key.is_none()
                || data.is_some() != verdict.is_some(),
            key: key.unwrap_or_default().to_vec(),
            end: flags & n::NFT_SET_ELEM_INTERVAL_END != 0,
            verdict,
        }
    }
}

/// What a counter stands at: packets, then bytes.
pub(crate) fn counts(counter: Attributes<'_>) -> Option<(u64, u64)> {
    Some((counter.find_long_number(n::NFTA_COUNTER_PACKETS)?, counter.find_long_number(n::NFTA_COUNTER_BYTES)?))
}

/// The address in an element of a dynamic set, and what its counter stands at.
pub(crate) fn counted(family: Family, element: Attributes<'_>) -> Option<(IpAddr, (u64, u64))> {
    let bytes = element.find_nested(n::NFTA_SET_ELEM_KEY).and_then(read_value)?;
    let address = match family {
        Family::V4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        Family::V6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    let expression = element.find_nested(n::NFTA_SET_ELEM_EXPR)?;
    (expression.find_string(n::NFTA_EXPR_NAME)? == COUNTER).then_some(())?;
    Some((address, counts(expression.find_nested(n::NFTA_EXPR_DATA)?)?))
}

/// The elements of a set; `None` if one of them is more than a key with a verdict.
pub(crate) fn elements(definition: &SetDefinition, raw: Vec<RawElement>) -> Option<Elements> {
    if raw.iter().any(|element| element.strange) {
        return None;
    }
    if definition.interval { intervals(definition.key[0], raw) } else { points(&definition.key, raw) }
}

fn points(key: &[ValueType], raw: Vec<RawElement>) -> Option<Elements> {
    raw.into_iter()
        .map(|element| {
            let key = match key {
                [single] => Key::Single(value(*single, &element.key)?),
                several => Key::Concat(concat(several, &element.key)?),
            };
            Some((key, element.verdict))
        })
        .collect()
}

fn concat(key: &[ValueType], mut bytes: &[u8]) -> Option<Box<[Value]>> {
    key.iter()
        .map(|part| {
            let value = value(*part, bytes)?;
            bytes = bytes.get(part.bytes().next_multiple_of(4)..)?;
            Some(value)
        })
        .collect()
}

/// Puts starts and ends together. An end without a start (nft puts one at zero) means nothing.
fn intervals(kind: ValueType, raw: Vec<RawElement>) -> Option<Elements> {
    let mut marks: Vec<(Value, bool, Option<Verdict>)> = raw
        .into_iter()
        .map(|element| Some((value(kind, &element.key)?, !element.end, element.verdict)))
        .collect::<Option<_>>()?;
    // Where one interval ends the next may start: the end comes first.
    marks.sort_by_key(|(value, is_start, _)| (*value, *is_start));
    let mut elements = Elements::new();
    let mut open: Option<(Value, Option<Verdict>)> = None;
    for (value, is_start, verdict) in marks {
        if let Some((first, verdict)) = open.take() {
            elements.insert(Key::Range(first, predecessor(value)?), verdict);
        }
        if is_start {
            open = Some((value, verdict));
        }
    }
    if let Some((first, verdict)) = open {
        elements.insert(Key::Range(first, highest(kind)?), verdict);
    }
    Some(elements)
}
