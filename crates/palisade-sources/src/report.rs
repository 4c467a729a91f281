//! From problems to diagnostics: the place with its line, the object, what it means.

use std::sync::Arc;

use palisade_core::{Diagnostic, Place};

use crate::SourceText;
use crate::reading::Problem;
use crate::tree::Span;

/// Where an object stands.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The number of its source.
    pub source: usize,
    /// Where in that source.
    pub span: Span,
    /// The line its document starts on, which is shown where the span is nowhere.
    pub line: u32,
}

/// The diagnostics so far.
pub struct Report<'a> {
    sources: &'a [SourceText],
    /// The lines of each source, split when first needed.
    lines: Vec<Option<Vec<Line<'a>>>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub fn new(sources: &'a [SourceText]) -> Report<'a> {
        let lines = sources.iter().map(|_| None).collect();
        Report { sources, lines, diagnostics: Vec::new() }
    }

    /// Adds the problems of one object, and what they mean for it if they are errors.
    pub fn problems(&mut self, problems: Vec<Problem>, origin: Origin, object: Option<&str>, effect: Option<&str>) {
        for problem in problems {
            let place = self.place(Origin { span: problem.span, ..origin });
            self.diagnostics.push(Diagnostic { place: Some(place), ..problem.diagnostic(object, effect) });
        }
    }

    /// Adds a diagnostic about an object.
    pub fn add(&mut self, origin: Origin, diagnostic: Diagnostic) {
        let place = Some(self.place(origin));
        self.diagnostics.push(Diagnostic { place, ..diagnostic });
    }

    /// `file:line` of an object, for messages about another one.
    pub fn reference(&mut self, origin: Origin) -> String {
        let place = self.place(origin);
        format!("{}:{}", place.file, place.line)
    }

    /// The place of a span, its width cut to the line.
    pub fn place(&mut self, origin: Origin) -> Place {
        let source = &self.sources[origin.source];
        let lines = self.lines[origin.source].get_or_insert_with(|| lines(&source.text));
        let mut span = origin.span;
        if span.line == 0 {
            span = Span { line: origin.line.max(1), column: 1, width: 0 };
        }
        let last = lines.len();
        let wanted = span.line as usize;
        let line = &mut lines[wanted.clamp(1, last) - 1];
        // What stands beyond the end of its line, such as the end of the text, is shown at the end.
        let column = if wanted > last { line.length } else { (span.column as usize).min(line.length) }.max(1);
        let rest = (line.length + 1).saturating_sub(column).max(1);
        let (before, text) = line.around(column);
        // The parser counts what follows a quoted value as part of it.
        let width = match quoted_width(line.from(column).chars()) {
            Some(width) if span.width != 1 => width,
            _ if span.width == 0 => rest,
            _ => (span.width as usize).min(rest),
        };
        Place { file: Arc::clone(&source.file), line: wanted.clamp(1, last), column, width, text, before }
    }
}

/// The longest line, in characters, that is kept whole: all of a cluster may stand on one, with a diagnostic for each object in it.
const LINE_MAX: usize = 400;
/// How many characters of a longer one are kept before a place, and how many from there on.
const AROUND: (usize, usize) = (80, 160);
/// A line of more than one byte a character has a mark at each of so many characters.
const MARKED: usize = 1024;

/// A line of a source.
struct Line<'a> {
    text: &'a str,
    /// Its length in characters.
    length: usize,
    /// Where every [`MARKED`]th character starts, from the first; none if each is a byte.
    marks: Vec<usize>,
    shared: Option<Arc<str>>,
}

/// The lines of a text, at least one.
fn lines(text: &str) -> Vec<Line<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.map(Line::new).collect()
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Line<'a> {
        let length = text.chars().count();
        let is_plain = length == text.len();
        let marks = if is_plain { Vec::new() } else { text.char_indices().step_by(MARKED).map(|(at, _)| at).collect() };
        Line { text, length, marks, shared: None }
    }

    /// What stands from a column on.
    fn from(&self, column: usize) -> &'a str {
        let skipped = column - 1;
        let start = match self.marks.get(skipped / MARKED) {
            Some(mark) => {
                let mut rest = self.text[*mark..].char_indices();
                rest.nth(skipped % MARKED).map_or(self.text.len(), |(start, _)| mark + start)
            }
            None if self.marks.is_empty() => skipped,
            None => self.text.len(),
        };
        self.text.get(start..).unwrap_or_default()
    }

    /// The line, or of a long one what is around a column, with how many characters stand before that.
    fn around(&mut self, column: usize) -> (usize, Arc<str>) {
        if self.length <= LINE_MAX {
            return (0, Arc::clone(self.shared.get_or_insert_with(|| self.text.into())));
        }
        let before = (column - 1).saturating_sub(AROUND.0);
        let kept = column - 1 - before + AROUND.1;
        (before, self.from(before + 1).chars().take(kept).collect::<String>().into())
    }
}

/// How many characters a quoted value takes, its quotes included; `None` if it is not quoted or ends on another line.
fn quoted_width(mut text: impl Iterator<Item = char>) -> Option<usize> {
    let quote = text.next().filter(|first| matches!(first, '"' | '\''))?;
    let mut width = 1;
    let mut escaped = false;
    for next in text {
        width += 1;
        match next {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if next == quote => return Some(width),
            _ => {}
        }
    }
    None
}
