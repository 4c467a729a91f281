//! The page: markup, style and script of its own, and the data as JSON. Nothing else is loaded, and a policy of the page forbids it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

const MARKUP: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("page/sets.js"),
    include_str!("page/filter.js"),
    include_str!("page/table.js"),
    include_str!("page/graph.js"),
    include_str!("page/page.js"),
);

/// The page with its data.
pub(crate) fn page(data: &impl Serialize) -> serde_json::Result<String> {
    // In a script element `<` could end it, or begin a comment; within a string of JSON it may be written so.
    let data = serde_json::to_string(data)?.replace('<', "\\u003c");
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        source(SCRIPT),
        source(STYLE)
    );
    let head = MARKUP.replace("{policy}", &policy).replace("{style}", STYLE).replace("{script}", SCRIPT);
    // Last, so that nothing in it is taken for one of these.
    Ok(head.replacen("{data}", &data, 1))
}

/// What a Content-Security-Policy calls an element with this content (CSP Level 3, hash-source).
fn source(content: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_end_its_element() {
        let page = page(&["</script><script>alert(1)</script><!--", "{style}", "\u{2028}"]).unwrap();
        assert!(!page.contains("alert(1)</script>"));
        assert_eq!(page.matches("<script").count(), 2);
        let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: Vec<String> = serde_json::from_str(data).unwrap();
        assert_eq!(data, ["</script><script>alert(1)</script><!--", "{style}", "\u{2028}"]);
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page(&"").unwrap();
        for outside in ["http:", "https:", "src=", "url(", "@import", "fetch(", "import("] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
