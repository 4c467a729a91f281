//! A seed with mistakes in it. The mistakes know what words, lines and blocks are, so that most of what comes out is read far.

use std::ops::Range;

use arbitrary::{Arbitrary, Unstructured};

use crate::text::{block, boundary, indentation, lines, words};

/// Longer texts are cut: mistakes multiply.
const LENGTH_MAX: usize = 1 << 16;
/// With more mistakes little is read.
const EDITS_MAX: u8 = 8;

/// A seed, by its number, and what is done to it, in this order.
#[derive(Clone, Debug)]
pub struct Mutation {
    seed: u16,
    edits: Vec<Edit>,
}

impl<'a> Arbitrary<'a> for Mutation {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Mutation> {
        let (seed, count) = (bytes.arbitrary()?, bytes.int_in_range(0..=EDITS_MAX)?);
        let edits = (0..count).map(|_| bytes.arbitrary()).collect::<arbitrary::Result<_>>()?;
        Ok(Mutation { seed, edits })
    }
}

/// One mistake. Places are numbers, taken round if there are fewer words or lines.
#[derive(Clone, Debug, Arbitrary)]
enum Edit {
    /// A word becomes one that is trouble somewhere.
    Trouble { word: u16, with: u8 },
    /// A word becomes another of the same text.
    Swap { word: u16, other: u16 },
    /// A word becomes an anchor, and another one its alias.
    Alias { word: u16, other: u16 },
    /// A block gets an anchor, and another line a merge of it.
    Merge { line: u16, other: u16 },
    /// A word is written so often that it is long.
    Long { word: u16, times: u8 },
    /// A block is indented otherwise.
    Indent { line: u16, by: i8 },
    /// A block is left out.
    Drop { line: u16 },
    /// A block is written once more, elsewhere, indented as what is there.
    Copy { line: u16, to: u16 },
    /// A block of another seed.
    Splice { seed: u16, line: u16, to: u16 },
    /// A line is written many times.
    Repeat { line: u16, times: u8 },
    /// A word is wrapped in a list or a mapping.
    Wrap { word: u16, with: u8 },
    /// The text ends early.
    Cut { at: u16 },
    /// Anything at all.
    Noise { at: u16, noise: Noise },
}

#[derive(Clone, Debug, Arbitrary)]
enum Noise {
    Marks([u8; 4]),
    Character(char),
}

/// What YAML, kubectl or a number takes otherwise than it looks.
const TROUBLE: [&str; 48] = [
    "",
    "null",
    "~",
    "true",
    "no",
    "on",
    "0",
    "-1",
    "65535",
    "65536",
    "007",
    "0x10",
    "1e3",
    "1e400",
    "-1e400",
    ".nan",
    ".inf",
    "1_0",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999999",
    "0.0.0.0/0",
    "::/0",
    "0.0.0.0",
    "::",
    "10.0.0.0/33",
    "::ffff:10.0.0.0/104",
    "255.255.255.255/32",
    "{}",
    "[]",
    "[[]]",
    "{a: {}}",
    "''",
    "\"\\u0000\"",
    "é\u{301}",
    "\u{feff}",
    "\u{1f600}",
    "a: b",
    "<<",
    "? x",
    "!!str 5",
    "!!int x",
    "!!binary YQ==",
    "*a",
    "&a b",
    "|",
    "NetworkPolicy",
];

const MARKS: [&str; 24] = [
    "\n",
    "\r\n",
    "---\n",
    "...\n",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: *a\n",
    "! ",
    "|\n",
    ">-\n",
    "#",
    "%YAML 1.1\n",
    "\t",
    "\0",
    "->",
];

/// The text that bytes come to: a seed with mistakes.
pub fn text(bytes: &[u8], seeds: &[String]) -> String {
    // The few bytes that are missing count as zeros.
    let mutation = Mutation::arbitrary_take_rest(Unstructured::new(bytes));
    mutation.map(|mutation| mutation.text(seeds)).unwrap_or_default()
}

impl Mutation {
    /// The text. `seeds` is not empty.
    pub fn text(&self, seeds: &[String]) -> String {
        let mut text = pick(seeds, self.seed).cloned().unwrap_or_default();
        for edit in &self.edits {
            text = edit.apply(&text, seeds).unwrap_or(text);
            text.truncate(boundary(&text, LENGTH_MAX));
        }
        text
    }
}

impl Edit {
    /// What the mistake makes of a text; `None` if there is no place for it.
    fn apply(&self, text: &str, seeds: &[String]) -> Option<String> {
        let word = |number: u16| pick(&words(text), number).cloned();
        let same = |number: u16| Some(&text[word(number)?]);
        let with = |number: u16, new: &str| Some(replaced(text, word(number)?, new));
        match self {
            Edit::Trouble { word, with: trouble } => with(*word, pick(&TROUBLE, u16::from(*trouble))?),
            Edit::Swap { word, other } => with(*word, same(*other)?),
            Edit::Alias { word: first, other } => {
                let (first, other) = (word(*first)?, word(*other)?);
                let (anchor, alias) = if first.start < other.start { (first, other) } else { (other, first) };
                Some(replaced(&replaced(text, alias, "*a"), anchor.start..anchor.start, "&a "))
            }
            Edit::Long { word, times } => with(*word, &same(*word)?.repeat(usize::from(*times) + 1)),
            Edit::Wrap { word, with: wrap } => {
                let same = same(*word)?;
                let wrapped =
                    [format!("[{same}]"), format!("{{{same}: {same}}}"), format!("\"{same}\""), format!("- {same}")];
                with(*word, pick(&wrapped, u16::from(*wrap))?)
            }
            Edit::Cut { at } => Some(text[..boundary(text, usize::from(*at))].to_string()),
            Edit::Noise { at, noise } => {
                let at = boundary(text, usize::from(*at) % (text.len() + 1));
                Some(replaced(text, at..at, &noise.text()))
            }
            _ => self.apply_to_lines(&lines(text), seeds),
        }
    }

    fn apply_to_lines(&self, lines: &[&str], seeds: &[String]) -> Option<String> {
        let index = |number: u16| (!lines.is_empty()).then(|| usize::from(number) % lines.len());
        let inserted = |at: usize, new: &str| format!("{}{new}{}", lines[..at].concat(), lines[at..].concat());
        match self {
            Edit::Indent { line, by } => {
                let block = block(lines, index(*line)?);
                let moved: String = lines[block.clone()].iter().map(|line| moved(line, isize::from(*by % 9))).collect();
                Some(lines[..block.start].concat() + &moved + &lines[block.end..].concat())
            }
            Edit::Drop { line } => {
                let block = block(lines, index(*line)?);
                Some(lines[..block.start].concat() + &lines[block.end..].concat())
            }
            Edit::Copy { line, to } => {
                let to = index(*to)?;
                Some(inserted(to, &fitted(&lines[block(lines, index(*line)?)], indentation(lines[to]))))
            }
            Edit::Splice { seed, line, to } => {
                let to = index(*to)?;
                let other = self::lines(pick(seeds, *seed)?);
                let first = usize::from(*line).checked_rem(other.len())?;
                Some(inserted(to, &fitted(&other[block(&other, first)], indentation(lines[to]))))
            }
            Edit::Merge { line, other } => {
                let (first, later) = (index(*line)?.min(index(*other)?), index(*line)?.max(index(*other)?));
                let anchor = lines[first].trim_end().to_string() + " &a\n";
                let merge = fitted(&["<<: *a\n"], indentation(lines[later]));
                Some(
                    lines[..first].concat()
                        + &anchor
                        + &lines[first + 1..].concat().replacen(lines[later], &(merge + lines[later]), 1),
                )
            }
            Edit::Repeat { line, times } => {
                let line = index(*line)?;
                Some(inserted(line, &lines[line].repeat(usize::from(*times))))
            }
            _ => None,
        }
    }
}

impl Noise {
    fn text(&self) -> String {
        match self {
            Noise::Marks(numbers) => {
                numbers.iter().filter_map(|number| pick(&MARKS, u16::from(*number))).copied().collect()
            }
            Noise::Character(character) => character.to_string(),
        }
    }
}

/// The item of a number, taken round.
fn pick<T>(items: &[T], number: u16) -> Option<&T> {
    items.get(usize::from(number).checked_rem(items.len())?)
}

fn replaced(text: &str, range: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..range.start], &text[range.end..])
}

/// A line with more or fewer spaces before it.
fn moved(line: &str, by: isize) -> String {
    let wanted = indentation(line).saturating_add_signed(by);
    " ".repeat(wanted) + line.trim_start_matches(' ')
}

/// A block, its first line indented so far.
fn fitted(lines: &[&str], wanted: usize) -> String {
    let own = lines.first().map_or(0, |line| indentation(line));
    let by = wanted.cast_signed() - own.cast_signed();
    lines.iter().map(|line| moved(line, by)).collect()
}
