//! The lines of a source, for diagnostics. All of a cluster may stand on one line, with a diagnostic for each object in it: what a
//! diagnostic costs does not depend on how long its line is.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Longer lines are not shown whole, in characters.
const LONG: usize = 400;
/// How much of a long line is shown before what is meant.
const BEFORE: usize = 80;
/// A place in bytes is kept for every so many characters.
const STEP: usize = 256;

/// The lines of a text, at least one.
pub struct Lines<'a> {
    text: &'a str,
    /// Where each begins, in bytes: no file has four gigabytes.
    starts: Vec<u32>,
    /// Those that were looked at.
    known: BTreeMap<usize, Line<'a>>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let ends = text.match_indices('\n').map(|(offset, _)| offset + 1);
        let starts = [0].into_iter().chain(ends).map(|start| u32::try_from(start).unwrap_or(u32::MAX)).collect();
        Lines { text, starts, known: BTreeMap::new() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// The line of a number, from 1 to `count`.
    pub fn get(&mut self, number: usize) -> &mut Line<'a> {
        let start = |index: usize| self.starts.get(index).map_or(self.text.len(), |start| *start as usize);
        let text = self.text.get(start(number - 1)..start(number)).unwrap_or_default();
        let text = text.strip_suffix('\n').unwrap_or(text);
        self.known.entry(number).or_insert_with(|| Line::new(text.strip_suffix('\r').unwrap_or(text)))
    }
}

/// A line.
pub struct Line<'a> {
    text: &'a str,
    /// Its length in characters.
    pub length: usize,
    /// Where every 256th character begins.
    steps: Vec<u32>,
    /// What is shown of a line that is not long.
    whole: Option<Arc<str>>,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Line<'a> {
        let offsets = text.char_indices().map(|(offset, _)| u32::try_from(offset).unwrap_or(u32::MAX));
        let length = text.chars().count();
        Line { text, length, steps: offsets.step_by(STEP).collect(), whole: None }
    }

    /// What stands from a column on.
    pub fn from(&self, column: usize) -> &'a str {
        let step = self.steps.get((column - 1) / STEP).map_or(self.text.len(), |offset| *offset as usize);
        let rest = &self.text[step..];
        let within = rest.char_indices().nth((column - 1) % STEP).map_or(rest.len(), |(offset, _)| offset);
        &rest[within..]
    }

    /// What is shown of it around a column, and the column that this begins at.
    pub fn shown(&mut self, column: usize) -> (Arc<str>, usize) {
        if self.length <= LONG {
            return (Arc::clone(self.whole.get_or_insert_with(|| self.text.into())), 1);
        }
        let first = column.saturating_sub(BEFORE).max(1);
        let from = self.from(first);
        let end = from.char_indices().nth(LONG).map_or(from.len(), |(offset, _)| offset);
        (from[..end].into(), first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_an_editor() {
        let mut lines = Lines::new("\u{feff}a\r\n\né");
        assert_eq!(lines.count(), 3);
        assert_eq!([1, 2, 3].map(|number| lines.get(number).text), ["a", "", "é"]);
        assert_eq!(Lines::new("").get(1).text, "");
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text: String = (0..3_000).map(|number| if number % 3 == 0 { 'é' } else { 'a' }).collect();
        let mut lines = Lines::new(&text);
        for column in [1, 80, 81, 256, 257, 1_000, 2_999, 3_000] {
            let expected: String = text.chars().skip(column - 1).collect();
            assert_eq!(lines.get(1).from(column), expected);
            let (shown, first) = lines.get(1).shown(column);
            assert!(first <= column && column - first <= BEFORE && shown.chars().count() <= LONG);
            assert!(expected.starts_with(&shown.chars().skip(column - first).collect::<String>()));
        }
    }
}
