//! Where values stand in JSON: the text is walked beside the tree that it was parsed to.

use crate::tree::{Node, Span, Value};
use crate::yaml::Start;

/// Says of every value and key of a tree where it stands in the text that it was parsed from, and goes on behind it.
pub fn place(tree: &mut Node<'_>, position: &mut Position<'_>) {
    position.skip(b" \t\r\n,:");
    let start = position.start;
    match &mut tree.value {
        Value::Map(entries) => {
            position.advance(1);
            for (key, value) in entries {
                position.skip(b" \t\r\n,");
                let start = position.start;
                position.string();
                key.span = position.span_from(start);
                place(value, position);
            }
            position.close();
            tree.span = begin(start);
        }
        Value::List(items) => {
            position.advance(1);
            for item in items {
                place(item, position);
            }
            position.close();
            tree.span = begin(start);
        }
        Value::Text(_) => {
            position.string();
            tree.span = position.span_from(start);
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            position.advance(position.rest.iter().take_while(|byte| is_part(byte)).count());
            tree.span = position.span_from(start);
        }
    }
}

/// A collection is shown by where it begins.
fn begin(Start { line, column }: Start) -> Span {
    Span { line, column, width: 0 }
}

/// A position in a text.
pub struct Position<'t> {
    rest: &'t [u8],
    start: Start,
}

impl<'t> Position<'t> {
    /// The beginning of a text, which starts here in its file.
    pub fn new(text: &'t str, start: Start) -> Position<'t> {
        Position { rest: text.as_bytes(), start }
    }

    /// Where it is in the file.
    pub fn start(&self) -> Start {
        self.start
    }

    /// Goes on by so many bytes, or to the end.
    pub fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        for byte in passed {
            match byte {
                b'\n' => self.start = Start { line: self.start.line + 1, column: 1 },
                // Only the first byte of a character counts.
                0x80..0xc0 => {}
                _ => self.start.column += 1,
            }
        }
        self.rest = rest;
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.advance(self.rest.iter().take_while(|byte| bytes.contains(byte)).count());
    }

    /// Goes on behind the bracket that closes a collection.
    fn close(&mut self) {
        self.skip(b" \t\r\n");
        self.advance(1);
    }

    /// Goes on behind a text in quotes.
    fn string(&mut self) {
        let mut length = 1;
        while let Some(byte) = self.rest.get(length) {
            length += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        self.advance(length);
    }

    fn span_from(&self, Start { line, column }: Start) -> Span {
        Span { line, column, width: self.start.column.saturating_sub(column) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "  {\"a\": [1, -2.5e+3 , null,true], \"é\\\\\\\"\\u00e9\\\\\": {},\r\n\t\"b\" :[ ] ,\"ü\":\n\"x\\\\\", \"c\":[{\"d\":\"ö\"},\"e\"]}";

    /// Every value with what stands at its place, as far as it is told.
    fn check(node: &Node<'_>, lines: &[&str], count: &mut usize) {
        *count += 1;
        let shown = |span: Span| -> String {
            lines[span.line as usize - 1]
                .chars()
                .skip(span.column as usize - 1)
                .take(span.width.max(1) as usize)
                .collect()
        };
        let is_shown = |text: &str, span| serde_json::from_str::<String>(&shown(span)).unwrap() == text;
        match &node.value {
            Value::Map(entries) => {
                assert_eq!(shown(node.span), "{");
                for (key, value) in entries {
                    assert!(is_shown(&key.text, key.span), "{key:?}");
                    check(value, lines, count);
                }
            }
            Value::List(items) => {
                assert_eq!(shown(node.span), "[");
                for item in items {
                    check(item, lines, count);
                }
            }
            Value::Text(text) => assert!(is_shown(text, node.span), "{node:?}"),
            scalar => {
                let shown = shown(node.span);
                let found: Node<'_> = serde_json::from_str(&shown).unwrap();
                assert_eq!(found.value, *scalar);
            }
        }
    }

    #[test]
    fn every_value_stands_at_its_place() {
        let mut tree: Node<'_> = serde_json::from_str(TEXT).unwrap();
        let mut position = Position::new(TEXT, Start { line: 1, column: 1 });
        place(&mut tree, &mut position);
        let mut count = 0;
        check(&tree, &TEXT.split('\n').collect::<Vec<_>>(), &mut count);
        assert_eq!(count, 13);
        assert!(position.rest.is_empty());
    }

    #[test]
    fn a_text_of_something_else_is_no_panic() {
        let mut tree: Node<'_> = serde_json::from_str(TEXT).unwrap();
        for text in ["", "\"", "{", "\"\\", "é"] {
            place(&mut tree, &mut Position::new(text, Start { line: 1, column: 1 }));
        }
    }
}
