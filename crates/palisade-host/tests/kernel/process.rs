//! The program as a process inside the namespace of the server.
//!
//! The API server listens in the namespace of the test: connections to the server's loopback are carried there.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palisade_host::Settings;
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::NodeAllowlist;
use palisade_testapi::{carry, kubeconfig};

/// The unix socket that leads to the API server.
pub const API: &str = "api.sock";
/// The list.
pub const LIST: &str = "list.yaml";
/// What the list names.
pub const KUBECONFIG: &str = "kubeconfig";
/// The state directory.
pub const STATE: &str = "state";

/// The process; what is to be done stands in the directory.
pub fn run(directory: &str, once: bool) -> ExitCode {
    let directory = Path::new(directory);
    let settings = Settings { list: list(directory), state_dir: directory.join(STATE), once };
    match palisade_host::run(settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => panic!("{error:?}"),
    }
}

/// Prints the addresses.
pub fn export(directory: &str) -> ExitCode {
    let Ok(exported) = palisade_host::export(&list(Path::new(directory))) else { return ExitCode::FAILURE };
    exported.addresses.iter().for_each(|net| println!("{}", palisade_host::cluster::shown(*net)));
    ExitCode::SUCCESS
}

/// The list, and the way to its API server.
fn list(directory: &Path) -> NodeAllowlist {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let api = directory.join(API);
    std::thread::spawn(move || carry(&listener, &api));
    std::fs::write(directory.join(KUBECONFIG), kubeconfig(server, None)).unwrap();
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
        Err(error) => panic!("{error}"),
    }
}
