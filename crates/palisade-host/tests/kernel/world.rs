//! The server, the nodes, and the API server of their cluster.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use palisade_core::Family;
use palisade_lab::Lab;
use palisade_nft::{Kernel, Table};
use palisade_sources::{Options, SourceText, parse};
use palisade_testapi::TestApi;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::process::{API, KUBECONFIG, LIST, STATE};

/// A bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);
/// A packet that is not answered within this was dropped.
const SILENCE: Duration = Duration::from_millis(200);
const PORT: u16 = 5432;
/// The server's addresses.
const SERVER: [&str; 2] = ["10.99.0.1", "fd99::1"];

/// Whether a node reaches the server, over IPv4 and over IPv6.
pub type Seen = [bool; 2];

pub struct World {
    pub api: TestApi,
    lab: Lab,
    directory: TempDir,
    process: Option<Child>,
    _door: Box<dyn std::any::Any>,
}

impl World {
    /// A server that admits the nodes of a cluster without nodes yet; nothing runs on it.
    pub fn new(safety: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let api = TestApi::start();
        api.lead(&directory.path().join(API));
        let text: Vec<String> = ["n1", "n2", "n3"].map(|name| node(name).to_string()).into();
        let source = SourceText { file: "nodes".into(), text: text.join("\n---\n") };
        let snapshot = parse(&[source], &Options::default()).snapshot;
        let lab = Lab::start_without_rules(&snapshot, &Family::ALL).unwrap();
        let door = Box::new(lab.open_for_exec(&[directory.path().to_owned()]).unwrap());
        let listen = || SERVER.map(|address| TcpListener::bind((address, PORT)).unwrap()).into();
        let listeners: Vec<TcpListener> = lab.inside(&"n1".into(), listen).unwrap();
        for listener in listeners {
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        let kubeconfig = directory.path().join(KUBECONFIG);
        let list = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: NodeAllowlist\nmetadata: {{name: test}}\nspec:\n  clusters: [{{name: c, kubeconfig: {}}}]\n  allow: [{{port: {PORT}}}]\n  safety: {{{safety}}}\n",
            kubeconfig.display()
        );
        std::fs::write(directory.path().join(LIST), list).unwrap();
        World { api, lab, directory, process: None, _door: door }
    }

    /// The cluster has this node.
    pub fn put(&self, name: &str) {
        self.api.put(node(name));
    }

    pub fn delete(&self, name: &str) {
        assert!(self.api.delete("nodes", "", name));
    }

    /// Starts the program.
    pub fn start(&mut self) {
        self.process = Some(self.spawn("on"));
    }

    /// Runs the program once; whether all was well.
    pub fn once(&self) -> bool {
        let status: ExitStatus = self.spawn("once").wait().unwrap();
        status.success()
    }

    /// The addresses as they are printed; `None` if they are not.
    pub fn exported(&self) -> Option<Vec<String>> {
        let output = self.inside(&["export"]).stdout(Stdio::piped()).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        output.status.success().then_some(lines)
    }

    fn spawn(&self, once: &str) -> Child {
        self.inside(&["host"]).arg(once).spawn().unwrap()
    }

    /// This program once more, on the server, with the directory as its last argument.
    fn inside(&self, words: &[&str]) -> Command {
        let program = std::env::current_exe().unwrap();
        let directory = self.directory.path();
        let mut command = Command::new(&program);
        command.arg("exec").arg(directory).arg("node/n1").arg(&program).args(words).arg(directory);
        command.stdin(Stdio::null());
        command
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Somebody flushes the ruleset of the server.
    pub fn lose_the_table(&self) {
        let remove = || assert!(Kernel::open_table(Table::Host).unwrap().remove_table().unwrap());
        self.lab.inside(&"n1".into(), remove).unwrap();
    }

    /// Whether connections from a node come about.
    pub fn reaches(&self, name: &str) -> Seen {
        let own = name.trim_start_matches('n').to_owned();
        let connect = move || {
            SERVER.map(|server| {
                let own = SocketAddr::new(format!("{}{own}", server.trim_end_matches('1')).parse().unwrap(), 0);
                let server = SocketAddr::new(server.parse().unwrap(), PORT);
                let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
                // The lab gives it other addresses, too.
                socket.bind(&own.into()).unwrap();
                socket.connect_timeout(&server.into(), SILENCE).is_ok()
            })
        };
        self.lab.inside(&name.into(), connect).unwrap()
    }

    pub fn becomes(&self, name: &str, expected: Seen) {
        until(|| self.reaches(name) == expected, || format!("{name} {expected:?}: {}", self.state()));
    }

    pub fn is_for_a_while(&self, name: &str, expected: Seen, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            assert_eq!(self.reaches(name), expected, "{name}: {}", self.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until people are told this.
    pub fn tells(&self, expected: &str) {
        until(|| self.state().contains(expected), || format!("{expected}: {}", self.state()));
    }

    fn state(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(STATE).join("nodes.json")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A node with an address of each family, of which the last number is that in its name.
fn node(name: &str) -> Value {
    let number = name.trim_start_matches('n');
    let address = |address: String| json!({"type": "InternalIP", "address": address});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"addresses": [address(format!("10.99.0.{number}")), address(format!("fd99::{number}"))]},
    })
}

fn until(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}
