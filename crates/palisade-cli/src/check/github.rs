//! Workflow commands of GitHub Actions, which it shows beside the lines of a pull request.

use palisade_check::checks;
use palisade_core::{Diagnostic, Level};

use super::in_words;

/// `::warning file=a.yaml,line=3,col=5,title=NP023 empty-rule-allows-all::…`
pub fn line(finding: &Diagnostic) -> String {
    let command = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "notice",
    };
    let place = finding.place.as_ref().map(|place| {
        let (line, column) = (place.line, place.column);
        format!("file={},line={line},col={column}", property(&place.file))
    });
    let check = finding.id.and_then(checks::find);
    let title = check.map(|check| format!("title={} {}", check.id, check.name()));
    let properties: Vec<String> = place.into_iter().chain(title).collect();
    format!("::{command} {}::{}", properties.join(","), data(&in_words(finding)))
}

/// Text of which no line ends the command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text that ends no property, either.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_the_command() {
        assert_eq!(property("a,b:c%\n"), "a%2Cb%3Ac%25%0A");
        assert_eq!(data("a,b:c%\r\n"), "a,b:c%25%0D%0A");
    }
}
