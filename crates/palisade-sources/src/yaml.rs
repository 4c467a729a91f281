//! YAML to trees, from the events of the parser: places kept, anchors and merge keys resolved, within a budget.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Range, Tag};

use crate::budget::Budget;
use crate::scalar;
use crate::tree::{Key, Node, Span, Value};

/// How deep values may nest, as for JSON.
const DEPTH_MAX: usize = 120;
/// How many values all aliases of one text may expand to; few legitimate manifests use any.
const ALIASED_MAX: usize = 100_000;
/// As much text as takes the memory of a value.
const VALUE_BYTES: usize = 64;

/// Why a text is not YAML, and where it stops being so.
#[derive(Debug)]
pub struct YamlError {
    pub span: Span,
    pub message: String,
}

/// Where a piece of text starts in its file.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; it holds for the first line only.
    pub column: u32,
}

/// The documents of a text. Those without content are `Null`. What they hold is taken from `budget`.
pub fn load<'a>(text: &'a str, start: Start, budget: &mut Budget) -> Result<Vec<Node<'a>>, YamlError> {
    let mut loader = Loader {
        start,
        documents: Vec::new(),
        open: Vec::new(),
        anchors: BTreeMap::new(),
        aliased: ALIASED_MAX,
        budget,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, range)) => loader.event(event, range)?,
            Err(error) => return Err(loader.scan_error(&error)),
        }
    }
    Ok(loader.documents)
}

struct Loader<'a, 'b> {
    start: Start,
    documents: Vec<Node<'a>>,
    /// The collections that are not yet closed, outermost first.
    open: Vec<Open<'a>>,
    anchors: BTreeMap<usize, Anchor<'a>>,
    /// How many more values aliases may expand to.
    aliased: usize,
    budget: &'b mut Budget,
}

struct Open<'a> {
    span: Span,
    anchor: usize,
    content: Content<'a>,
}

enum Content<'a> {
    List(Vec<Node<'a>>),
    Map(Mapping<'a>),
}

#[derive(Default)]
struct Mapping<'a> {
    entries: Vec<(Key<'a>, Node<'a>)>,
    /// What the next value belongs to.
    pending: Option<Pending<'a>>,
    /// The mappings under `<<`.
    merges: Vec<Node<'a>>,
}

enum Pending<'a> {
    Key(Key<'a>),
    Merge,
}

struct Anchor<'a> {
    node: Node<'a>,
    size: usize,
    depth: usize,
}

impl<'a> Loader<'a, '_> {
    fn event(&mut self, event: Event<'a>, range: Range) -> Result<(), YamlError> {
        let span = self.span(range);
        match event {
            Event::SequenceStart(anchor, _) => self.open(span, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(span, anchor, Content::Map(Mapping::default())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { span, anchor, content: Content::List(items) }) => {
                    self.close(Node::new(span, Value::List(items)), anchor)
                }
                Some(Open { span, anchor, content: Content::Map(mapping) }) => {
                    self.close(Node::new(span, Value::Map(mapping.merged())), anchor)
                }
                None => Ok(()),
            },
            Event::Scalar(text, style, anchor, tag) => self.scalar(span, text, style, anchor, tag.as_deref()),
            Event::Alias(anchor) => self.alias(span, anchor),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content<'a>) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(error(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        // Where a collection ends on the page is of no use to a reader: its first line is pointed at.
        self.open.push(Open { span: Span { width: 0, ..span }, anchor, content });
        Ok(())
    }

    fn scalar(
        &mut self,
        span: Span,
        text: Cow<'a, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), YamlError> {
        let core = |name: &str| tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == name);
        let plain = match style {
            ScalarStyle::Plain => !(core("str") || core("binary")),
            _ => core("int") || core("float") || core("bool") || core("null"),
        };
        if let Some(Open { content: Content::Map(Mapping { pending: pending @ None, .. }), .. }) = self.open.last_mut()
        {
            let merge = plain && text == "<<";
            *pending =
                Some(if merge { Pending::Merge } else { Pending::Key(Key { span, text: key_text(text, plain) }) });
            return Ok(());
        }
        let value = if plain { scalar::plain(text) } else { Value::Text(text) };
        self.close(Node::new(span, value), anchor)
    }

    fn alias(&mut self, span: Span, anchor: usize) -> Result<(), YamlError> {
        let depth = self.open.len();
        let Some(known) = self.anchors.get(&anchor) else {
            return Err(error(span, "the alias names no anchor before it".to_string()));
        };
        if depth + known.depth > DEPTH_MAX {
            return Err(error(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.aliased = match self.aliased.checked_sub(known.size) {
            Some(left) => left,
            None => return Err(error(span, format!("aliases expand to more than {ALIASED_MAX} values"))),
        };
        self.budget.take(known.size).map_err(|message| error(span, message))?;
        let node = Node { span, value: known.node.value.clone() };
        self.close(node, 0)
    }

    /// Puts a complete value where it belongs.
    fn close(&mut self, node: Node<'a>, anchor: usize) -> Result<(), YamlError> {
        self.budget.take(1).map_err(|message| error(node.span, message))?;
        if anchor > 0 {
            let (size, depth) = measure(&node);
            self.aliased = match self.aliased.checked_sub(size) {
                Some(left) => left,
                None => return Err(error(node.span, format!("anchors hold more than {ALIASED_MAX} values"))),
            };
            self.budget.take(size).map_err(|message| error(node.span, message))?;
            self.anchors.insert(anchor, Anchor { node: node.clone(), size, depth });
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(mapping)) => mapping.push(node)?,
        }
        Ok(())
    }

    fn span(&self, range: Range) -> Span {
        let Start { line, column } = self.start;
        let first = range.start.line() <= 1;
        Span {
            line: line + number(range.start.line().saturating_sub(1)),
            column: number(range.start.col()) + if first { column } else { 1 },
            width: if range.start.line() == range.end.line() {
                number(range.end.col().saturating_sub(range.start.col()))
            } else {
                0
            },
        }
    }

    fn scan_error(&self, scan: &ScanError) -> YamlError {
        let span = Span { width: 1, ..self.span(Range::empty(*scan.marker())) };
        YamlError { span, message: scan.info().to_string() }
    }
}

impl<'a> Mapping<'a> {
    fn push(&mut self, node: Node<'a>) -> Result<(), YamlError> {
        match (self.pending.take(), node.value) {
            (Some(Pending::Key(key)), value) => self.entries.push((key, Node { span: node.span, value })),
            (Some(Pending::Merge), Value::List(maps)) if maps.iter().all(|map| matches!(map.value, Value::Map(_))) => {
                self.merges.extend(maps);
            }
            (Some(Pending::Merge), value @ Value::Map(_)) => self.merges.push(Node { span: node.span, value }),
            (Some(Pending::Merge), value) => {
                return Err(error(node.span, format!("'<<' merges a mapping or a list of them, found {value}")));
            }
            (None, Value::Text(text)) => self.pending = Some(Pending::Key(Key { span: node.span, text })),
            (None, value) => return Err(error(node.span, format!("a key must be text, found {value}"))),
        }
        Ok(())
    }

    /// The entries with those of `<<` added; what is written here wins, then the first of the merged.
    fn merged(self) -> Vec<(Key<'a>, Node<'a>)> {
        let mut entries = self.entries;
        if self.merges.is_empty() {
            return entries;
        }
        let mut known: HashSet<Cow<'a, str>> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        for map in self.merges {
            let Value::Map(more) = map.value else { continue };
            for (key, value) in more {
                if known.insert(key.text.clone()) {
                    entries.push((key, value));
                }
            }
        }
        entries
    }
}

fn error(span: Span, message: String) -> YamlError {
    YamlError { span, message }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX / 2)
}

/// Keys are text in JSON, whatever they look like: kubectl makes `true` of `yes` and `10` of `012`.
fn key_text(text: Cow<'_, str>, plain: bool) -> Cow<'_, str> {
    if !plain {
        return text;
    }
    match scalar::plain(Cow::Borrowed(&*text)) {
        Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Value::Int(value) => Cow::Owned(value.to_string()),
        _ => text,
    }
}

/// The number of values in a tree, and how deep they nest. Text that a copy has of its own counts as several.
fn measure(node: &Node<'_>) -> (usize, usize) {
    let own = |text: &Cow<'_, str>| if let Cow::Owned(text) = text { text.len() / VALUE_BYTES } else { 0 };
    let add = |(size, depth): (usize, usize), child: &Node<'_>| {
        let (more, deeper) = measure(child);
        (size + more, depth.max(deeper + 1))
    };
    match &node.value {
        Value::List(items) => items.iter().fold((1, 0), add),
        Value::Map(entries) => {
            let keys = entries.iter().map(|(key, _)| own(&key.text)).sum::<usize>();
            entries.iter().map(|(_, child)| child).fold((1 + keys, 0), add)
        }
        Value::Text(text) => (1 + own(text), 0),
        _ => (1, 0),
    }
}
