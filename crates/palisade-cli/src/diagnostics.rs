//! Diagnostics on stderr, in the shape that rustc made familiar.

use std::io::{IsTerminal, Write};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Origin, Renderer, Snippet, Title};
use palisade_core::{Diagnostic, Level, Place};

use crate::output::note;

/// Prints diagnostics to stderr.
pub fn print(diagnostics: &[Diagnostic]) {
    let renderer = renderer(&std::io::stderr());
    for diagnostic in diagnostics {
        note(&format!("{}\n", render(diagnostic, &renderer)));
    }
}

/// Prints diagnostics to stdout, where they are the answer.
pub fn write(out: &mut impl Write, diagnostics: &[Diagnostic]) -> std::io::Result<()> {
    let renderer = renderer(&std::io::stdout());
    diagnostics.iter().try_for_each(|diagnostic| writeln!(out, "{}\n", render(diagnostic, &renderer)))
}

/// In colours, where a person reads.
fn renderer(to: &impl IsTerminal) -> Renderer {
    // https://no-color.org: any value but the empty one.
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if to.is_terminal() && !unwanted { Renderer::styled() } else { Renderer::plain() }
}

fn render(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.level {
        Level::Error => annotate_snippets::Level::ERROR,
        Level::Warning => annotate_snippets::Level::WARNING,
        Level::Note => annotate_snippets::Level::NOTE,
    };
    let title = match &diagnostic.object {
        Some(object) => format!("{object}: {}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let notes =
        [(&diagnostic.effect, annotate_snippets::Level::NOTE), (&diagnostic.hint, annotate_snippets::Level::HELP)]
            .into_iter()
            .filter_map(|(text, level)| text.as_ref().map(|text| level.message(text)));
    let title = level.primary_title(title);
    let report = match diagnostic.id {
        Some(id) => title.id(id),
        None => title,
    };
    let report = match &diagnostic.place {
        Some(place) => at(report, place).elements(notes),
        None => report.elements(notes),
    };
    renderer.render(&[report])
}

/// Adds the line of a place.
fn at<'d>(report: Title<'d>, place: &'d Place) -> Group<'d> {
    let line = Snippet::source(&*place.text).line_start(place.line);
    let line = line.annotation(AnnotationKind::Primary.span(span(place)));
    if place.text_column == 1 {
        return report.element(line.path(&*place.file));
    }
    // The columns of the line are not those of the part that is shown.
    report.element(Origin::path(&*place.file).line(place.line).char_column(place.column)).element(line)
}

/// The place as bytes of the text that is shown.
fn span(place: &Place) -> Range<usize> {
    let mut offsets = place.text.char_indices().map(|(offset, _)| offset).chain([place.text.len()]);
    let start = offsets.nth(place.column.saturating_sub(place.text_column)).unwrap_or(place.text.len());
    let end = offsets.nth(place.width.max(1) - 1).unwrap_or(place.text.len());
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_its_line() {
        let mut diagnostic = Diagnostic::new(Level::Error, "expected a port, found \"http!\"");
        diagnostic.object = Some("NetworkPolicy db/allow".to_string());
        diagnostic.place = Some(Place {
            file: "db.yaml".into(),
            line: 12,
            column: 9,
            width: 7,
            text: "  port: \"http!\"".into(),
            text_column: 1,
        });
        diagnostic.effect = Some("the policy isolates the pods it selects and allows nothing".to_string());
        let text = render(&diagnostic, &Renderer::plain());
        for expected in
            ["error: NetworkPolicy db/allow: expected a port", "db.yaml:12:9", "^^^^^^^", "isolates the pods"]
        {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_part_of_a_long_line_has_the_columns_of_the_line() {
        let mut diagnostic = Diagnostic::new(Level::Error, "x");
        let text = "{\"name\": 5}".into();
        diagnostic.place =
            Some(Place { file: "a.json".into(), line: 1, column: 709, width: 1, text, text_column: 700 });
        let text = render(&diagnostic, &Renderer::plain());
        assert!(text.contains("a.json:1:709\n") && text.ends_with("\n  |          ^"), "{text}");
    }

    #[test]
    fn a_place_beyond_its_line_is_no_panic() {
        let place = Place { file: "x".into(), line: 1, column: 40, width: 9, text: "é".into(), text_column: 1 };
        assert_eq!(span(&place), 2..2);
    }
}
