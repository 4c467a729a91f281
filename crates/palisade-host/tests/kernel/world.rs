//! The server, the nodes, and the API server of their cluster.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palisade_core::Family;
use palisade_host::store::Store;
use palisade_lab::Lab;
use palisade_nft::{Kernel, Table};
use palisade_sources::{Options, SourceText, parse};
use palisade_testapi::TestApi;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::process::{LIST, STATE};

/// A bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);
/// A packet that is not answered within this was dropped.
const SILENCE: Duration = Duration::from_millis(200);
pub const PORT: u16 = 5432;
/// One that nobody guards.
pub const OTHER_PORT: u16 = 5433;
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
    /// A server that admits the nodes of a cluster without nodes yet, with this safety; nothing runs on it.
    pub fn new(safety: &str) -> World {
        World::with(&format!("  allow: [{{port: {PORT}}}]\n  safety: {{{safety}}}\n"), "")
    }

    /// The same with these fields in `spec`, and in the cluster.
    pub fn with(spec: &str, cluster: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let api = TestApi::start();
        api.lead(&directory.path().join("c.sock"));
        let text: Vec<String> = ["n1", "n2", "n3"].map(|name| node(name).to_string()).into();
        let source = SourceText { file: "nodes".into(), text: text.join("\n---\n") };
        let snapshot = parse(&[source], &Options::default()).snapshot;
        let lab = Lab::start_without_rules(&snapshot, &Family::ALL).unwrap();
        let door = Box::new(lab.open_for_exec(&[directory.path().to_owned()]).unwrap());
        let listen =
            || [PORT, OTHER_PORT].map(|port| SERVER.map(|address| TcpListener::bind((address, port)).unwrap()));
        for listener in lab.inside(&"n1".into(), listen).unwrap().into_iter().flatten() {
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        let world = World { api, lab, directory, process: None, _door: door };
        world.list(spec, cluster, "");
        world
    }

    /// Writes the list: with these fields in `spec`, in its cluster `c`, and with these clusters besides.
    pub fn list(&self, spec: &str, cluster: &str, clusters: &str) {
        let spec = spec.replace("DIR", &self.path("").display().to_string());
        let kubeconfig = |name: &str| self.path(name).display().to_string();
        let cluster = format!("{{name: c, kubeconfig: {}{cluster}}}", kubeconfig("c"));
        let clusters = clusters.replace("KUBECONFIG", &kubeconfig("d"));
        let list = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: NodeAllowlist\nmetadata: {{name: test}}\nspec:\n  clusters: [{cluster}{clusters}]\n{spec}"
        );
        self.write(LIST, &list);
    }

    /// A file in the directory of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// What a file holds; nothing if it is not there.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs a tool on the server.
    pub fn tool(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let mut command = self.on_server();
        // An ordinary user may not have the usual one.
        command.env("XTABLES_LOCKFILE", self.path("xtables.lock"));
        command.arg(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What somebody is answered on the loopback of the server.
    pub fn asked(&self, address: &'static str, path: &'static str) -> String {
        let ask = move || {
            let mut stream = TcpStream::connect(address).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: server\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        };
        self.lab.inside(&"n1".into(), ask).unwrap().unwrap_or_default()
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
        self.start_with(&[], &[]);
    }

    /// The same with these words, and this environment.
    pub fn start_with(&mut self, words: &[&str], environment: &[(&str, &str)]) {
        let mut command = self.inside(&["host"], words);
        self.process = Some(command.envs(environment.iter().copied()).spawn().unwrap());
    }

    /// Starts the program for whoever waits for it.
    pub fn spawn(&self, words: &[&str]) -> Child {
        self.inside(&["host"], words).spawn().unwrap()
    }

    /// Runs the program once; whether all was well.
    pub fn once(&self) -> bool {
        self.inside(&["host"], &["once"]).status().unwrap().success()
    }

    /// Waits until the program ends; how it does.
    pub fn ends(&mut self) -> Option<i32> {
        self.process.take().unwrap().wait().unwrap().code()
    }

    /// The addresses as they are printed; `None` if they are not.
    pub fn exported(&self) -> Option<Vec<String>> {
        let output = self.inside(&["export"], &[]).stdout(Stdio::piped()).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        output.status.success().then_some(lines)
    }

    /// This program once more, on the server, with the directory between these words.
    fn inside(&self, before: &[&str], after: &[&str]) -> Command {
        let mut command = self.on_server();
        let program = std::env::current_exe().unwrap();
        command.arg(program).args(before).arg(self.directory.path()).args(after).stdin(Stdio::null());
        command
    }

    /// A program on the server, whose name is the next argument.
    fn on_server(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("exec").arg(self.directory.path()).arg("node/n1");
        command
    }

    /// What is known, for those who ask.
    pub fn store(&self) -> Store {
        Store::at(&self.path(STATE))
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

    /// Whether our table is there.
    pub fn has_table(&self) -> bool {
        self.lab
            .inside(&"n1".into(), || Kernel::open_table(Table::Host).unwrap().read_back().unwrap().is_some())
            .unwrap()
    }

    /// Whether connections from a node come about.
    pub fn reaches(&self, name: &str) -> Seen {
        self.reaches_port(name, PORT)
    }

    /// The same to a port.
    pub fn reaches_port(&self, name: &str, port: u16) -> Seen {
        let own = name.trim_start_matches('n').to_owned();
        let connect = move || {
            SERVER.map(|server| {
                let own = SocketAddr::new(format!("{}{own}", server.trim_end_matches('1')).parse().unwrap(), 0);
                let server = SocketAddr::new(server.parse().unwrap(), port);
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

    pub fn state(&self) -> String {
        self.read("state/nodes.json")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A node of that name with addresses.
pub fn node_with(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<Value> =
        addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}})
}

/// A node with an address of each family, of which the last number is that in its name.
pub fn node(name: &str) -> Value {
    let number = name.trim_start_matches('n');
    node_with(name, &[&format!("10.99.0.{number}"), &format!("fd99::{number}")])
}

pub fn until(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}
