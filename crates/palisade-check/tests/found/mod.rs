//! What is found in texts.

use palisade_check::{Selection, check};
use palisade_core::Diagnostic;
use palisade_sources::{Options, SourceText, parse_written};

/// What is found in a text.
pub fn in_text(text: &str, selection: &Selection) -> Vec<Diagnostic> {
    in_sources(&[SourceText { file: "p.yaml".into(), text: text.to_string() }], selection)
}

/// What is found in several.
pub fn in_sources(sources: &[SourceText], selection: &Selection) -> Vec<Diagnostic> {
    let (parsed, written) = parse_written(sources, &Options::default());
    check(&parsed, written, selection)
}
