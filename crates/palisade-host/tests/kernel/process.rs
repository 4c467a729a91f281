//! The program as a process inside the namespace of the server.
//!
//! The API server listens in the namespace of the test. Unix sockets know no network namespaces: connections to the server's loopback
//! are carried through one.

use std::ffi::OsString;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palisade_host::Settings;
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::NodeAllowlist;

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
    std::thread::spawn(move || carry(listener.incoming(), move || UnixStream::connect(&api)));
    std::fs::write(directory.join(KUBECONFIG), kubeconfig_of(server)).unwrap();
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

/// Leads a unix socket to the API server, for as long as the test runs.
pub fn lead(socket: &Path, server: SocketAddr) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(client), Ok(server)) = (stream, TcpStream::connect(server)) else { continue };
            join(client, server);
        }
    });
}

fn carry(connections: impl Iterator<Item = io::Result<TcpStream>>, connect: impl Fn() -> io::Result<UnixStream>) {
    for stream in connections {
        let (Ok(client), Ok(server)) = (stream, connect()) else { continue };
        join(server, client);
    }
}

/// Carries both ways between the two, until one of them ends.
fn join(unix: UnixStream, tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let (mut unix_reader, mut tcp_reader) = (unix.try_clone().unwrap(), tcp.try_clone().unwrap());
    let (mut unix_writer, mut tcp_writer) = (unix, tcp);
    std::thread::spawn(move || {
        let _ = io::copy(&mut unix_reader, &mut tcp_writer);
        let _ = tcp_writer.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = io::copy(&mut tcp_reader, &mut unix_writer);
        let _ = unix_writer.shutdown(Shutdown::Both);
    });
}

fn kubeconfig_of(server: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: \"http://{server}\"}}}}]
users: [{{name: test, user: {{}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"
    )
}
