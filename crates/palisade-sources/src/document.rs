//! From the text of a file to its documents, so that a broken one takes no other with it.

use crate::budget::Budget;
use crate::json::{self, Position};
use crate::tree::{Key, Node, Span, Value};
use crate::yaml::{self, Start};

/// One document.
#[derive(Debug)]
pub struct Document<'a> {
    /// Its content; of a broken document the top-level keys that can still be read.
    pub tree: Node<'a>,
    /// The line it starts on, from 1.
    pub line: u32,
    /// Where and why it is not YAML or JSON.
    pub broken: Option<Broken>,
}

/// What is wrong with a document.
#[derive(Debug)]
pub struct Broken {
    pub span: Span,
    pub message: String,
}

/// The documents of a text; empty ones are left out. Those behind what is too much are not read: the last one is broken, and nobody
/// can tell what it was.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Found { documents: Vec::new(), budget: Budget::of(text) };
    for (line, chunk) in chunks(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        if chunk.trim_start().starts_with(['{', '[']) {
            json_documents(chunk, line, &mut found);
        } else {
            yaml_documents(chunk, line, &mut found);
        }
        if found.budget.is_spent() {
            break;
        }
    }
    found.documents
}

/// What has been read of a text, and how much more may be.
struct Found<'a> {
    documents: Vec<Document<'a>>,
    budget: Budget,
}

impl<'a> Found<'a> {
    /// Adds a document that is broken; `tree` has what is left of it.
    fn broken(&mut self, tree: Node<'a>, line: u32, span: Span, message: String) {
        let (tree, message) = match self.budget.take_broken() {
            Ok(()) => (tree, message),
            Err(message) => (Node::new(span, Value::Null), message),
        };
        self.documents.push(Document { tree, line, broken: Some(Broken { span, message }) });
    }
}

/// Splits at the lines that start with `---`, each of which opens the chunk it starts.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    let mut only_directives = true;
    for (line, content) in (1..).zip(text.split_inclusive('\n')) {
        let is_marker = content
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        // Directives (`%YAML`) and comments before a marker belong to the document it opens.
        if is_marker && !only_directives {
            chunks.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, line);
        }
        only_directives = !is_marker
            && only_directives
            && matches!(content.trim_start().as_bytes().first(), None | Some(b'#' | b'%'));
        offset += content.len();
    }
    chunks.push((start_line, &text[start..]));
    chunks
}

fn yaml_documents<'a>(chunk: &'a str, line: u32, found: &mut Found<'a>) {
    match yaml::load(chunk, Start { line, column: 1 }, &mut found.budget) {
        Ok(trees) => found.documents.extend(trees.into_iter().filter(|tree| tree.value != Value::Null).map(|tree| {
            let line = tree.span.line;
            Document { tree, line, broken: None }
        })),
        Err(error) => {
            let tree = salvage(chunk, line, &mut found.budget);
            found.broken(tree, line, error.span, format!("not valid YAML: {}", error.message));
        }
    }
}

/// Reads each top-level key of a broken document on its own; those that cannot be read are left out.
fn salvage<'a>(chunk: &'a str, first_line: u32, budget: &mut Budget) -> Node<'a> {
    let mut entries: Vec<(Key<'_>, Node<'_>)> = Vec::new();
    for (line, section) in sections(chunk) {
        let start = Start { line: first_line + line, column: 1 };
        let content = yaml::load(section, start, budget).ok().and_then(|trees| trees.into_iter().next());
        if let Some(Node { value: Value::Map(more), .. }) = content {
            entries.extend(more);
        }
    }
    Node::new(Span { line: first_line, column: 1, width: 0 }, Value::Map(entries))
}

/// The pieces of a document that start with a key in the first column, each with the number of lines before it.
fn sections(chunk: &str) -> Vec<(u32, &str)> {
    let mut sections = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let mut offset = 0;
    for (line, content) in (0..).zip(chunk.split_inclusive('\n')) {
        let is_key =
            content.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '"' | '\'')) && content.contains(':');
        if is_key && offset > start {
            sections.push((start_line, &chunk[start..offset]));
            (start, start_line) = (offset, line);
        }
        offset += content.len();
    }
    sections.push((start_line, &chunk[start..]));
    sections
}

/// One JSON value, several one after the other, or one a line.
fn json_documents<'a>(chunk: &'a str, line: u32, found: &mut Found<'a>) {
    let mut position = Position::new(chunk, Start { line, column: 1 });
    if let Err(message) = found.budget.take_json(chunk) {
        let span = Span { line, column: 1, width: 1 };
        return found.broken(Node::new(span, Value::Null), line, span, message);
    }
    let mut rest = chunk;
    loop {
        let next = rest.trim_start();
        position.advance(rest.len() - next.len());
        if next.is_empty() || found.budget.is_spent() {
            return;
        }
        let start = position.start();
        let mut values = serde_json::Deserializer::from_str(next).into_iter::<Node<'a>>();
        match values.next() {
            Some(Ok(mut tree)) => {
                json::place(&mut tree, &mut position);
                found.documents.push(Document { tree, line: start.line, broken: None });
                rest = &next[values.byte_offset()..];
            }
            Some(Err(error)) => {
                // A mapping in the flow style of YAML opens like JSON.
                let is_first = next.len() == chunk.trim_start().len();
                if let (true, Ok(trees)) = (is_first, yaml::load(next, start, &mut found.budget)) {
                    found.documents.extend(trees.into_iter().map(|tree| Document { tree, line, broken: None }));
                    return;
                }
                let (span, message) = broken_json(next, start, &error);
                found.broken(Node::new(span, Value::Null), start.line, span, message);
                // The next value can only be told by its place on the page.
                let Some(end) = next.find("\n{") else { return };
                position.advance(end + 1);
                rest = &next[end + 1..];
            }
            None => return,
        }
    }
}

/// Where JSON is broken, and why.
fn broken_json(rest: &str, start: Start, error: &serde_json::Error) -> (Span, String) {
    let line = error.line().max(1) - 1;
    let before = rest.lines().nth(line).and_then(|text| text.get(..error.column().saturating_sub(1)));
    let column = 1 + before.map_or(0, |before| before.chars().count());
    let (line, column) = (u32::try_from(line).unwrap_or(0), u32::try_from(column).unwrap_or(1));
    let span =
        Span { line: start.line + line, column: if line == 0 { start.column - 1 + column } else { column }, width: 1 };
    let message = error.to_string();
    // The message ends in the place, which is shown anyway, relative to what was parsed.
    let message = message.split(" at line ").next().unwrap_or(&message);
    (span, format!("not valid JSON: {message}"))
}
