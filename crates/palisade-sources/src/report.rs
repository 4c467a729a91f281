//! From problems to diagnostics: the place with its line, the object, what it means.

use std::sync::Arc;

use palisade_core::{Diagnostic, Place};

use crate::SourceText;
use crate::lines::Lines;
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
    lines: Vec<Option<Lines<'a>>>,
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
            self.diagnostics.push(Diagnostic { place, ..problem.diagnostic(object, effect) });
        }
    }

    /// Adds a diagnostic about an object.
    pub fn add(&mut self, origin: Origin, diagnostic: Diagnostic) {
        let place = self.place(origin);
        self.diagnostics.push(Diagnostic { place, ..diagnostic });
    }

    /// `file:line` of an object, for messages about another one; `None` if it stands in no file.
    pub fn reference(&mut self, origin: Origin) -> Option<String> {
        let place = self.place(origin)?;
        Some(format!("{}:{}", place.file, place.line))
    }

    /// The place of a span, its width cut to the line; `None` if it stands in no file.
    pub fn place(&mut self, origin: Origin) -> Option<Place> {
        let source = &self.sources[origin.source];
        let file = Arc::clone(source.file.name()?);
        let lines = self.lines[origin.source].get_or_insert_with(|| Lines::new(&source.text));
        let mut span = origin.span;
        if span.line == 0 {
            span = Span { line: origin.line.max(1), column: 1, width: 0 };
        }
        let last = lines.count();
        let wanted = span.line as usize;
        let line = lines.get(wanted.clamp(1, last));
        // What stands beyond the end of its line, such as the end of the text, is shown at the end.
        let column = if wanted > last { line.length } else { (span.column as usize).min(line.length) }.max(1);
        let rest = (line.length + 1).saturating_sub(column).max(1);
        // The parser counts what follows a quoted value as part of it.
        let width = match quoted_width(line.from(column).chars()) {
            Some(width) if span.width != 1 => width,
            _ if span.width == 0 => rest,
            _ => (span.width as usize).min(rest),
        };
        let (text, text_column) = line.shown(column);
        Some(Place { file, line: wanted.clamp(1, last), column, width, text, text_column })
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
