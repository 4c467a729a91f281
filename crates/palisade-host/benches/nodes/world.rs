//! A lab of two machines: n1 is the server, on which the API servers are too, and n2 sends under the addresses of all nodes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_core::Family;
use palisade_lab::Lab;
use palisade_nft::{Kernel, Table};
use palisade_sources::{Options, SourceText, parse};
use palisade_testapi::TestApi;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::host::LIST;
use crate::objects::{self, CLUSTERS, NODES, NodeNumber};

/// The guarded port.
const PORT: u16 = 5432;
const SERVER: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// The machines of the lab.
const MACHINES: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 10.99.0.1}, {type: InternalIP, address: 'fd99::1'}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 10.99.0.2}, {type: InternalIP, address: 'fd99::2'}]}}
";
/// A datagram that has not arrived by then was dropped: between namespaces it takes microseconds.
const ARRIVAL: Duration = Duration::from_millis(1);
/// A bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct World {
    lab: Lab,
    apis: Arc<[TestApi]>,
    server: UdpSocket,
    directory: TempDir,
}

impl World {
    /// With all nodes, each at the API server of its cluster.
    pub fn start() -> World {
        let source = SourceText { file: "machines".into(), text: MACHINES.to_owned() };
        let snapshot = parse(&[source], &Options::default()).snapshot;
        let lab = Lab::start_without_rules(&snapshot, &Family::ALL).unwrap();
        let apis = || (0..CLUSTERS).map(|_| TestApi::start()).collect();
        let apis = lab.inside(&"n1".into(), apis).unwrap();
        let listen = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
        let server = lab.inside(&"n1".into(), listen).unwrap();
        server.set_read_timeout(Some(ARRIVAL)).unwrap();
        let world = World { lab, apis, server, directory: tempfile::tempdir().unwrap() };
        objects::all().for_each(|number| world.put(number));
        world.write_list();
        world
    }

    fn write_list(&self) {
        let mut clusters = String::new();
        for (number, api) in self.apis.iter().enumerate() {
            let kubeconfig = self.directory().join(format!("cluster-{number}.kubeconfig"));
            std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
            let _ = writeln!(clusters, "  - {{name: cluster-{number}, kubeconfig: {}}}", kubeconfig.display());
        }
        let list = format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: NodeAllowlist\nmetadata: {{name: bench}}\nspec:\n  clusters:\n{clusters}  allow: [{{protocol: UDP, port: {PORT}}}]\n"
        );
        std::fs::write(self.directory().join(LIST), list).unwrap();
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// This program once more, on the server, with the directory as its last argument.
    pub fn spawn(&self, words: &'static [&'static str]) -> Child {
        let directory = self.directory().to_owned();
        let spawn = move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            // As the unit of systemd has it.
            command.envs([("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "131072")]);
            command.args(words).arg(directory).spawn().unwrap()
        };
        self.lab.inside(&"n1".into(), spawn).unwrap()
    }

    /// A node is there.
    pub fn put(&self, number: NodeNumber) {
        self.put_at(number, 0);
    }

    /// Its kubelet has told of itself so many times.
    pub fn put_at(&self, number: NodeNumber, beats: usize) {
        self.apis[number.cluster].put(objects::node(number, beats));
    }

    pub fn stop_api_servers(&self) {
        self.apis.iter().for_each(TestApi::stop);
    }

    pub fn resume_api_servers(&self) {
        let apis = Arc::clone(&self.apis);
        self.lab.inside(&"n1".into(), move || apis.iter().for_each(TestApi::resume)).unwrap();
    }

    /// The server lets everybody in.
    pub fn lose_the_table(&self) {
        let remove = || Kernel::open_table(Table::Host).unwrap().remove_table().unwrap();
        self.lab.inside(&"n1".into(), remove).unwrap();
    }

    /// Waits until the last node of every list is admitted, and a stranger is not.
    pub fn in_force(&self) {
        let stranger = NodeNumber { cluster: CLUSTERS, node: 0 };
        let last = (0..CLUSTERS).map(|cluster| NodeNumber { cluster, node: NODES - 1 });
        let last: Vec<NodeNumber> = last.collect();
        until(|| !self.passes(stranger) && last.iter().all(|node| self.passes(*node)), "the lists are in force");
    }

    pub fn until_it_passes(&self, number: NodeNumber) {
        until(|| self.passes(number), "a node is admitted");
    }

    /// Whether a datagram under each address of a node arrives.
    pub fn passes(&self, number: NodeNumber) -> bool {
        let (v4, v6) = number.addresses();
        [IpAddr::from(v4), v6.into()].into_iter().zip(SERVER).all(|(own, server)| self.arrives(own, server))
    }

    fn arrives(&self, own: IpAddr, server: &'static str) -> bool {
        let send = move || {
            let server = SocketAddr::new(server.parse().unwrap(), PORT);
            let socket = Socket::new(Domain::for_address(server), Type::DGRAM, None).unwrap();
            // The machine has none of these addresses.
            match own {
                IpAddr::V4(_) => socket.set_ip_transparent_v4(true).unwrap(),
                IpAddr::V6(_) => socket.set_ip_transparent_v6(true).unwrap(),
            }
            socket.bind(&SocketAddr::new(own, 0).into()).unwrap();
            socket.send_to(&[], &server.into()).unwrap();
        };
        self.lab.inside(&"n2".into(), send).unwrap();
        // What comes late is of another.
        while let Ok((_, from)) = self.server.recv_from(&mut []) {
            if from.ip().to_canonical() == own {
                return true;
            }
        }
        false
    }
}

fn until(condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
    }
}
