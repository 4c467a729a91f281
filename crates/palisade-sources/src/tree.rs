//! A document as a plain tree whose values know where they stand. Text is borrowed from the source.

use std::borrow::Cow;
use std::fmt;

/// Where a value or key stands in its file. The default is nowhere: what comes from an API server stands in no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The line, from 1; 0 is nowhere.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Characters up to the end of the value; 0 if it does not end on its first line.
    pub width: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    pub span: Span,
    pub value: Value<'a>,
}

/// What YAML and JSON share: the model of JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the order written, duplicates included, so that they can be reported.
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// The key of an entry and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Key<'a> {
    pub span: Span,
    pub text: Cow<'a, str>,
}

impl<'a> Node<'a> {
    pub fn new(span: Span, value: Value<'a>) -> Node<'a> {
        Node { span, value }
    }

    /// The value of a key, `None` if absent or null. Of duplicates the last wins, as for the API server.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        let Value::Map(entries) = &self.value else { return None };
        let (_, node) = entries.iter().rev().find(|(name, _)| name.text == key)?;
        (node.value != Value::Null).then_some(node)
    }

    /// The text of a key, if it is text.
    pub fn get_text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Keys that occur twice in one mapping, anywhere in the tree.
    pub fn duplicate_keys(&self) -> Vec<&Key<'a>> {
        let mut found = Vec::new();
        self.find_duplicate_keys(&mut found);
        found
    }

    fn find_duplicate_keys<'n>(&'n self, found: &mut Vec<&'n Key<'a>>) {
        match &self.value {
            Value::List(items) => {
                for item in items {
                    item.find_duplicate_keys(found);
                }
            }
            Value::Map(entries) => {
                found.extend(duplicates(entries));
                for (_, node) in entries {
                    node.find_duplicate_keys(found);
                }
            }
            _ => {}
        }
    }
}

/// The keys of one mapping that stood there before.
pub fn duplicates<'n, 'a>(entries: &'n [(Key<'a>, Node<'a>)]) -> Vec<&'n Key<'a>> {
    // Mappings are nearly always small, and then comparing is cheaper than hashing.
    if entries.len() <= 16 {
        let seen_before = |index: usize| entries[..index].iter().any(|(key, _)| key.text == entries[index].0.text);
        return (1..entries.len()).filter(|&index| seen_before(index)).map(|index| &entries[index].0).collect();
    }
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    entries.iter().map(|(key, _)| key).filter(|key| !seen.insert(&*key.text)).collect()
}

impl fmt::Display for Value<'_> {
    /// As a message names it: scalars as written, collections by what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "the boolean {value}"),
            Value::Int(value) => write!(f, "the number {value}"),
            Value::Float(value) => write!(f, "the number {value}"),
            Value::Text(text) => write!(f, "'{}'", shortened(text)),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a mapping"),
        }
    }
}

/// Text cut to what a message can carry.
pub fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
