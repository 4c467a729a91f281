//! The sources of ban lists: followed as they change, and never forgotten by accident.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use palisade_agent::bans::{Entry, LocalBanLists, MANUAL};
use palisade_agent::control::{self, Answer, Request};
use palisade_agent::report::Report;
use palisade_compile::UnknownPods;
use palisade_core::NodeName;
use palisade_nft::{Kernel, Table};
use palisade_testapi::{Fault, Obstacle};
use serde_json::{Value, json};

use crate::agent::Told;
use crate::asking::{get, samples, status, until};
use crate::bans::{FLOWS, list, put};
use crate::hosts::guarded;
use crate::statuses::{NAMESPACE, define_lease};
use crate::world::World;

/// What [`FLOWS`] are about.
const BANNED: &str = "# the whole of it\n203.0.113.0/24 ; scans\n2001:db8::/64\n";
const HALF: &str = "203.0.113.0/25\n";
/// What a server says instead of a feed.
const PAGE: &str = "<!DOCTYPE html>\n<html>\n<body>503 Service Unavailable</body>\n</html>\n";

/// What a file of the node says is banned, and goes on to be while it is broken and after it is gone.
pub fn a_file_is_a_source() {
    let mut world = world(&json!({ "file": { "path": "feeds/drop.txt" } }), &["n1", "n2"]);
    is(&world, "missing");
    holds(&mut world, &[]);
    let file = directory(&world).join("feeds/drop.txt");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, BANNED).unwrap();
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    is(&world, "fetched");
    std::fs::write(&file, HALF).unwrap();
    holds(&mut world, &["203.0.113.0/25"]);
    for broken in [PAGE, "", "# nothing\n"] {
        std::fs::write(&file, broken).unwrap();
        is(&world, "stale");
        holds(&mut world, &["203.0.113.0/25"]);
        std::fs::write(&file, HALF).unwrap();
        is(&world, "fetched");
    }
    std::fs::remove_file(&file).unwrap();
    is(&world, "stale");
    let found = status(&world).preflight.into_iter().find(|found| found.name == "ban-source").unwrap();
    assert!(found.found.contains("BanList feed: cannot read ") && found.found.contains("drop.txt"), "{found:?}");
    // The next agent knows it, also where the kernel and the state file do not.
    world.agents.remove(&NodeName::from("n1")).unwrap().terminate();
    let remove = || assert!(Kernel::open_table(Table::Bans).unwrap().remove_table().unwrap());
    world.lab.inside(&"n1".into(), remove).unwrap();
    std::fs::remove_file(world.state_dir("n1").join("state.json")).unwrap();
    start(&mut world, "n1");
    holds(&mut world, &["203.0.113.0/25"]);
    is(&world, "stale");
    // A list of the same name is another one, and takes from the source what that holds.
    std::fs::write(&file, HALF).unwrap();
    is(&world, "fetched");
    assert!(world.api.delete("banlists", "", "feed"));
    world.api.put(ban_list(&json!({ "file": { "path": "feeds/drop.txt" } }), &json!({})));
    holds(&mut world, &["203.0.113.0/25"]);
    // Nobody needs a copy of what no list names any more.
    assert!(world.api.delete("banlists", "", "feed"));
    world.snapshot.ban_lists.clear();
    world.settle();
    let copies = || std::fs::read_dir(world.state_dir("n1")).unwrap().flatten().map(|entry| entry.file_name());
    until(
        || !copies().any(|name| name.to_string_lossy().starts_with("feed-")),
        || format!("{:?}", copies().collect::<Vec<_>>()),
    );
}

/// A ConfigMap of the agents' namespace is banned, and goes on to be after it is gone; one without rights to it is told.
pub fn a_config_map_is_a_source() {
    let mut world = world(&json!({ "configMapRef": { "name": "drop" } }), &["n1", "n2"]);
    is(&world, "missing");
    world.api.put(config_map("drop", "elsewhere", BANNED));
    world.api.put(config_map("drop", NAMESPACE, HALF));
    holds(&mut world, &["203.0.113.0/25"]);
    world.api.put(config_map("drop", NAMESPACE, BANNED));
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    is(&world, "fetched");
    world.api.put(config_map("drop", NAMESPACE, PAGE));
    is(&world, "stale");
    assert!(world.api.delete("configmaps", NAMESPACE, "drop"));
    let is_gone = |found: &palisade_agent::report::Obstacle| found.found.contains("there is no ConfigMap drop");
    until(|| status(&world).preflight.iter().any(is_gone), || format!("{:?}", status(&world).preflight));
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    world.agents.remove(&NodeName::from("n1")).unwrap().terminate();
    world.api.faults().add(Fault::request("configmaps", Obstacle::Forbidden).always());
    start(&mut world, "n1");
    let refused =
        |world: &World| status(world).preflight.iter().any(|found| found.found.contains("ConfigMaps cannot be listed"));
    until(|| refused(&world), || format!("{:?}", status(&world).preflight));
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    world.api.faults().clear();
    world.api.put(config_map("drop", NAMESPACE, HALF));
    holds(&mut world, &["203.0.113.0/25"]);
}

/// One agent fetches a feed for all, only if it has changed; what is no feed, or too different, is not taken.
pub fn one_agent_fetches_a_feed_for_all() {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    let server = Server::start(&world, &["n1", "n2"]);
    let source = |seconds: u32| json!({ "http": { "url": server.url(), "intervalSeconds": seconds } });
    server.says(200, BANNED);
    world.api.put(ban_list(&source(60), &json!({ "maxChangePercent": 60 })));
    define_lease(&world);
    for node in ["n1", "n2"] {
        start(&mut world, node);
    }
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    is(&world, "fetched");
    assert_eq!(server.asked(), (1, 0));
    let parts = world.api.list("configmaps");
    assert_eq!(parts.len(), 1, "{parts:?}");
    assert_eq!(parts[0]["data"]["feed"], BANNED);
    // Another interval has it fetched anew, by who fetched it before.
    let refetch = |world: &World, seconds: u32, limits: &Value| world.api.put(ban_list(&source(seconds), limits));
    refetch(&world, 61, &json!({ "maxChangePercent": 60 }));
    until(|| server.asked() == (1, 1), || format!("{:?}", server.asked()));
    server.says(200, PAGE);
    refetch(&world, 62, &json!({ "maxChangePercent": 60 }));
    let stale = |world: &World| ["n1", "n2"].iter().any(|node| tells(world, node, "stale"));
    until(|| stale(&world), || "stale".to_owned());
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    server.says(200, "198.51.100.0/24\n192.0.2.0/24\n");
    refetch(&world, 63, &json!({ "maxChangePercent": 60 }));
    let is_refused = |world: &World| {
        let said =
            |node| report(world, node).preflight.iter().any(|found| found.found.contains("percent of its entries"));
        said("n1") || said("n2")
    };
    until(|| is_refused(&world), || format!("{:?}", server.asked()));
    holds(&mut world, &["203.0.113.0/24", "2001:db8::/64"]);
    world.api.put(ban_list(&source(63), &json!({ "maxChangePercent": 200 })));
    holds(&mut world, &["198.51.100.0/24", "192.0.2.0/24"]);
    until(|| !stale(&world), || "fetched".to_owned());
    // Who takes its part away has it published anew; a list that is gone has none.
    let name = world.api.list("configmaps")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(world.api.delete("configmaps", NAMESPACE, &name));
    until(|| world.api.list("configmaps").len() == 1, || "the part".to_owned());
    holds(&mut world, &["198.51.100.0/24", "192.0.2.0/24"]);
    assert!(world.api.delete("banlists", "", "feed"));
    world.snapshot.ban_lists.clear();
    world.settle();
    until(|| world.api.list("configmaps").is_empty(), || format!("{:?}", world.api.list("configmaps")));
}

/// Without an API server, lists are files, and feeds are fetched by who needs them.
pub fn ban_lists_need_no_api_server() {
    let snapshot = palisade_core::Snapshot { policies: [].into(), host_policies: [].into(), ..guarded() };
    let mut world = World::without_agents(&snapshot, UnknownPods::Drop);
    let server = Server::start(&world, &["n1"]);
    server.says(200, HALF);
    std::fs::create_dir(directory(&world)).unwrap();
    let told = Told { enforce: [false, true, true], standalone: true, ..told(&world, "n1") };
    world.start_agent_told(&told);
    until(|| get(&world, "/healthz").is_some(), || "an answer".to_owned());
    let write = |name: &str, object: &Value| std::fs::write(directory(&world).join(name), object.to_string()).unwrap();
    write("feed.json", &ban_list(&json!({ "http": { "url": server.url() } }), &json!({})));
    stands_alone(&mut world, &["203.0.113.0/25"]);
    assert_eq!(server.asked(), (1, 0));
    let own = LocalBanLists::at(&world.state_dir("n1"));
    let cidr = "2001:db8::/64".parse().unwrap();
    own.ban(MANUAL, &Entry { cidr, expires_at: None, reason: Some("floods".to_owned()), force: false }).unwrap();
    stands_alone(&mut world, &["203.0.113.0/25", "2001:db8::/64"]);
    std::fs::write(directory(&world).join("feed.json"), "{").unwrap();
    let is_told = || status(&world).preflight.iter().any(|found| found.found.contains("feed.json:1:"));
    until(is_told, || format!("{:?}", status(&world).preflight));
    stands_alone(&mut world, &["203.0.113.0/25", "2001:db8::/64"]);
    // The next agent knows what it said, and what was fetched for it.
    world.agents.remove(&NodeName::from("n1")).unwrap().terminate();
    server.says(500, "");
    std::fs::remove_file(world.state_dir("n1").join("state.json")).unwrap();
    world.start_agent_told(&told);
    until(|| get(&world, "/healthz").is_some(), || "an answer".to_owned());
    stands_alone(&mut world, &["203.0.113.0/25", "2001:db8::/64"]);
    std::fs::remove_file(directory(&world).join("feed.json")).unwrap();
    stands_alone(&mut world, &["2001:db8::/64"]);
    // The agent says who bans an address and why, and what it spares itself.
    let said = |world: &World, address: &str| match ask(world, Request::Bans { of: Some(address.parse().unwrap()) })
        .remove(0)
    {
        Answer::Address(told) => {
            (told.banned, told.lists.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        answer => panic!("{answer:?}"),
    };
    assert_eq!(said(&world, "2001:db8::9"), (true, "BanList manual: 2001:db8::/64 (floods)".to_owned()));
    assert_eq!(said(&world, "203.0.113.9"), (false, String::new()));
    let entries = ask(&world, Request::Bans { of: None });
    assert!(matches!(&entries[..], [Answer::Ban(entry), Answer::Done {}] if entry.list == MANUAL), "{entries:?}");
    assert!(own.unban(MANUAL, cidr).unwrap());
    stands_alone(&mut world, &[]);
    let spared = palisade_lab::CONTROL_NETWORKS[0];
    own.ban(MANUAL, &Entry { cidr: spared, expires_at: None, reason: None, force: true }).unwrap();
    let address = spared.addr().to_string();
    let told = format!("BanList manual: spared, {spared} is protected on this node");
    until(|| said(&world, &address) == (false, told.clone()), || format!("{:?}", said(&world, &address)));
}

/// What the agent on n1 answers.
fn ask(world: &World, request: Request) -> Vec<Answer> {
    let socket = control::socket(&world.state_dir("n1"));
    control::ask(&socket, request).unwrap().map(|answer| answer.unwrap()).collect()
}

/// Waits until exactly this is banned on n1, of which alone the agent knows, and holds packets against the oracle.
fn stands_alone(world: &mut World, cidrs: &[&str]) {
    let ranges = |world: &World| status(world).bans.map_or(0, |bans| bans.ranges);
    until(|| ranges(world) == cidrs.len(), || format!("{cidrs:?}, but {} ranges", ranges(world)));
    world.snapshot.ban_lists.clear();
    put(&mut world.snapshot, list("all", cidrs));
    // What enters or leaves n1; of n2 nobody is told.
    world.agrees_on(&[
        "203.0.113.9 -> node/n1 udp 9001",
        "2001:db8::9 -> node/n1 udp 9001",
        "198.51.100.9 -> node/n1 udp 9001",
    ]);
}

/// A cluster with a list that has this source, and agents on these nodes.
fn world(source: &Value, nodes: &[&str]) -> World {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    world.api.put(ban_list(source, &json!({})));
    std::fs::create_dir(directory(&world)).unwrap();
    for node in nodes {
        start(&mut world, node);
    }
    world
}

fn start(world: &mut World, node: &str) {
    world.start_agent_told(&told(world, node));
    until(|| get(world, "/healthz").is_some(), || "an answer".to_owned());
}

fn told(world: &World, node: &str) -> Told {
    Told { namespace: Some(NAMESPACE.to_owned()), ban_files: directory(world), ..world.told(node) }
}

fn directory(world: &World) -> PathBuf {
    world.path().join("bans")
}

/// What is to hold: these blocks of the source, and nothing else.
fn holds(world: &mut World, cidrs: &[&str]) {
    world.snapshot.ban_lists.clear();
    put(&mut world.snapshot, list("feed", cidrs));
    world.settle();
    world.agrees_on(&FLOWS);
}

/// The source becomes so, as the agent on n1 tells.
fn is(world: &World, condition: &str) {
    let told = || status(world).bans.unwrap().sources.into_iter().map(|source| source.condition).collect::<Vec<_>>();
    until(|| told() == [condition], || format!("{condition}, but {:?}", told()));
    let label = format!("condition=\"{condition}\"");
    assert_eq!(samples(world, "palisade_ban_sources"), [(label, 1)].into());
}

fn tells(world: &World, node: &str, condition: &str) -> bool {
    report(world, node).bans.unwrap().sources.iter().any(|source| source.condition == condition)
}

fn report(world: &World, node: &str) -> Report {
    let socket = control::socket(&world.state_dir(node));
    let answer = control::ask(&socket, Request::Status {}).unwrap().next().unwrap().unwrap();
    let Answer::Status(report) = answer else { panic!("{answer:?}") };
    *report
}

fn ban_list(source: &Value, limits: &Value) -> Value {
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "BanList", "metadata": { "name": "feed" },
        "spec": { "source": source, "limits": limits },
    })
}

fn config_map(name: &str, namespace: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": namespace },
        "data": { "drop.txt": text },
    })
}

/// A server of feeds, at the same address of the loopback of several nodes.
struct Server {
    page: Arc<Mutex<Page>>,
    port: u16,
}

#[derive(Default)]
struct Page {
    status: u16,
    text: String,
    /// How many texts were sent, and how often nothing had changed.
    asked: (usize, usize),
}

impl Server {
    fn start(world: &World, nodes: &[&str]) -> Server {
        let page: Arc<Mutex<Page>> = Arc::default();
        let port = 8099;
        for node in nodes {
            let bind = move || TcpListener::bind(("127.0.0.1", port)).unwrap();
            let listener = world.lab.inside(&(*node).into(), bind).unwrap();
            let page = Arc::clone(&page);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                    let _ = stream.write_all(page.lock().unwrap().answer(&request).as_bytes());
                }
            });
        }
        Server { page, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/drop.txt", self.port)
    }

    fn says(&self, status: u16, text: &str) {
        let mut page = self.page.lock().unwrap();
        (page.status, page.text) = (status, text.to_owned());
    }

    fn asked(&self) -> (usize, usize) {
        self.page.lock().unwrap().asked
    }
}

impl Page {
    fn answer(&mut self, request: &[String]) -> String {
        let etag = format!("\"{}\"", self.text.len());
        let known = request.iter().any(|line| line.eq_ignore_ascii_case(&format!("if-none-match: {etag}")));
        if known {
            self.asked.1 += 1;
            return "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned();
        }
        self.asked.0 += 1;
        let (status, text, length) = (self.status, &self.text, self.text.len());
        format!("HTTP/1.1 {status} X\r\nETag: {etag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
    }
}
