//! What is tried. Each takes bytes, of which it makes its input, and panics where something does not hold.
#![expect(clippy::missing_panics_doc, reason = "to panic is how they answer")]

mod files;
mod lines;
mod manifests;

pub use files::{configs, flow_tests, node_allowlists};
pub use lines::{feeds, flows, traffic};
pub use manifests::{manifests, text};

use palisade_core::Diagnostic;
use palisade_sources::SourceText;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, with their names.
pub const ALL: [(&str, Target); 8] = [
    ("manifests", manifests),
    ("text", text),
    ("configs", configs),
    ("node_allowlists", node_allowlists),
    ("flow_tests", flow_tests),
    ("feeds", feeds),
    ("flows", flows),
    ("traffic", traffic),
];

fn source(text: String) -> SourceText {
    SourceText { file: "a".into(), text }
}

/// Every diagnostic shows a line of the text, and points into it.
fn assert_places(text: &str, found: &[Diagnostic]) {
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    for place in found.iter().filter_map(|found| found.place.as_ref()) {
        let line = lines[place.line - 1].strip_suffix('\r').unwrap_or(lines[place.line - 1]);
        let length = line.chars().count();
        let shown: String = line.chars().skip(place.text_column - 1).take(place.text.chars().count()).collect();
        assert!(*place.text == *shown && place.text_column <= place.column, "{place:?}");
        assert!(place.width >= 1 && place.column >= 1, "{place:?}");
        assert!(place.column + place.width <= length + 1 || place.width == 1, "{place:?}");
    }
}
