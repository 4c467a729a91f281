//! The program as a process inside the namespace of the server.
//!
//! The API server listens in the namespace of the test: connections to the server's loopback are carried there.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use palisade_host::{Ended, Settings};
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::{ExportFormat, NodeAllowlist};
use palisade_testapi::{carry, kubeconfig};

/// The clusters that there may be; a unix socket of that name leads to the API server of each that is there, by a kubeconfig of that name.
pub const CLUSTERS: [&str; 2] = ["c", "d"];
/// The list.
pub const LIST: &str = "list.yaml";
/// What a kubeconfig says of the user, if it says more than nothing.
pub const USER: &str = "user";
/// The state directory.
pub const STATE: &str = "state";
/// How the process ends if nobody confirmed.
pub const WENT_BACK: u8 = 3;

/// The process; the list stands in the directory, and what else is to be done in these words: `once`, `confirm=SECONDS`, `listen=ADDRESS`.
pub fn run(directory: &str, words: &[&str]) -> ExitCode {
    let directory = Path::new(directory);
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let settings = Settings {
        list: list(directory),
        state_dir: directory.join(STATE),
        once: words.contains(&"once"),
        confirm: value("confirm").map(|seconds| Duration::from_secs(seconds.parse().unwrap())),
        listen: value("listen").map(|address| address.parse().unwrap()),
    };
    match palisade_host::run(settings) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Unwell) => ExitCode::from(1),
        Ok(Ended::WentBack) => ExitCode::from(WENT_BACK),
        Err(error) => panic!("{error:?}"),
    }
}

/// Prints the addresses.
pub fn export(directory: &str) -> ExitCode {
    let directory = Path::new(directory);
    match palisade_host::export(&list(directory), &directory.join(STATE)) {
        Ok(exported) => {
            print!("{}", exported.addresses.text(&ExportFormat::List).unwrap());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The list, and the way to its API servers.
fn list(directory: &Path) -> NodeAllowlist {
    for cluster in CLUSTERS {
        let api = directory.join(format!("{cluster}.sock"));
        if !api.exists() {
            continue;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let user = std::fs::read_to_string(directory.join(USER)).unwrap_or("{}".to_string());
        let config = kubeconfig(listener.local_addr().unwrap(), None).replace("user: {}", &format!("user: {user}"));
        std::thread::spawn(move || carry(&listener, &api));
        std::fs::write(directory.join(cluster), config).unwrap();
    }
    let text = std::fs::read_to_string(directory.join(LIST)).unwrap();
    let (list, found) = NodeAllowlist::parse(&SourceText { file: LIST.into(), text });
    assert!(found.is_empty(), "{found:?}");
    list.unwrap()
}

/// Runs a command inside a node.
pub fn exec(path: &str, end: &str, command: &[&str]) -> ExitCode {
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    match palisade_lab::exec::exec(&[PathBuf::from(path)], end, &command) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        // A process of a test that is over.
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
