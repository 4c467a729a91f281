//! What `palisade render` prints is taken by the real `nft`, in a network namespace of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn nft_takes_what_is_rendered() {
    if let Err(message) = nft_check("table inet empty {}\n") {
        assert!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none(), "nft cannot be asked: {message}");
        println!("SKIPPED: nft cannot be asked: {message}");
        return;
    }
    // nft is asked, and can say no.
    assert!(nft_check("table inet broken { chain a { no such rule } }\n").is_err());
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let outside = shop.with_file_name("outside-host");
    for (input, node) in [(&shop, "n1"), (&shop, "n2"), (&outside, "host/prod-to-postgres")] {
        let arguments = ["render", "--node", node, "-f"];
        let output = Command::new(env!("CARGO_BIN_EXE_palisade")).args(arguments).arg(input).output().unwrap();
        assert!(output.status.success());
        let ruleset = String::from_utf8(output.stdout).unwrap();
        assert!(ruleset.contains("table inet palisade"), "{ruleset}");
        nft_check(&ruleset).unwrap_or_else(|message| panic!("nft refuses the rules of {node}: {message}"));
    }
}

/// What `nft -c -f -` says about a ruleset; it changes nothing, and in a namespace of its own could not.
fn nft_check(ruleset: &str) -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(if rustix::process::geteuid().is_root() { &["-n"][..] } else { &["-r", "-n"] });
    command.args(["nft", "-c", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nft = command.spawn().map_err(|error| format!("cannot run unshare: {error}"))?;
    // It may end without reading, if there is no nft; its words say so.
    let _ = nft.stdin.take().unwrap().write_all(ruleset.as_bytes());
    let output = nft.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
