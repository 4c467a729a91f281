//! The shop does what the comments in its manifests promise.

use std::fs;
use std::path::Path;
use std::process::Command;

const FLOWS: &str = "tests/cli/shop-flows.txt";

/// The file has lines such as `shop/front -> shop/cart tcp 8080: allow`.
#[test]
fn the_shop_keeps_its_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(FLOWS)).unwrap();
    let promises: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.rsplit_once(": ").unwrap_or_else(|| panic!("'{line}' has no verdict")))
        .collect();
    assert!(promises.len() > 40);
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["explain", "--output", "json", "-f"])
        .arg(root.join("../../examples/shop"))
        .args(promises.iter().map(|(flow, _)| flow))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let answers: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), promises.len());
    for ((flow, verdict), answer) in promises.iter().zip(&answers) {
        assert_eq!(answer["flow"], *flow);
        assert_eq!(answer["verdict"], *verdict, "{flow}: {answer:#}");
    }
}
