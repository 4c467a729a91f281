//! A text by its lines and by the words in it.

use std::ops::Range;

/// The words: keys, values and whatever stands between the marks of YAML and JSON.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (offset, character) in text.char_indices().chain([(text.len(), ' ')]) {
        let is_mark = character.is_whitespace() || "{}[],\"'".contains(character);
        match (start, is_mark) {
            (None, false) => start = Some(offset),
            (Some(first), true) => {
                words.push(first..offset);
                start = None;
            }
            _ => {}
        }
    }
    // A key ends before its colon, an address holds some.
    let trimmed = |word: Range<usize>| word.start..word.start + text[word.clone()].trim_end_matches(':').len();
    words.into_iter().map(trimmed).filter(|word| !word.is_empty()).collect()
}

/// The lines, each with its end.
pub fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// How many spaces a line begins with.
pub fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The line and all that is indented more, below it.
pub fn block(lines: &[&str], first: usize) -> Range<usize> {
    let own = indentation(lines[first]);
    let below = lines[first + 1..].iter().take_while(|line| indentation(line) > own).count();
    first..first + 1 + below
}

/// The place in a text that is nearest before an offset and between two characters.
pub fn boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|offset| text.is_char_boundary(*offset)).unwrap_or(0)
}
