//! A cluster in a lab: an API server, pods and nodes as namespaces, an agent on each node, and the oracle.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use palisade_agent::node_state::NodeState;
use palisade_agent::{ban_list_definition, host_policy_definition};
use palisade_compile::{Compiler, UnknownPods};
use palisade_core::{Family, Flow, NodeName, Snapshot};
use palisade_lab::{Lab, Outcome};
use palisade_nft::{Established, Kernel, Ruleset, Table, lower, lower_bans, lower_host};
use palisade_sim::{Packet, decide, resolve};
use palisade_testapi::TestApi;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, Told};
use crate::objects::{Step, objects, steps};

/// How long the agents may take until the kernel holds what is wanted; a bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct World {
    pub api: TestApi,
    pub lab: Lab,
    pub snapshot: Snapshot,
    pub agents: BTreeMap<NodeName, Agent>,
    pub unknown_pods: UnknownPods,
    pub elements_per_node: usize,
    directory: TempDir,
    _door: Box<dyn std::any::Any>,
}

impl World {
    /// The cluster of a snapshot, with an agent on each node; returns as soon as all agents enforce.
    pub fn start(snapshot: &Snapshot, unknown_pods: UnknownPods) -> World {
        let mut world = World::without_agents(snapshot, unknown_pods);
        for node in snapshot.nodes.keys() {
            world.start_agent(node);
        }
        world.settle();
        world
    }

    pub fn without_agents(snapshot: &Snapshot, unknown_pods: UnknownPods) -> World {
        let directory = tempfile::tempdir().unwrap();
        let api = TestApi::start();
        api.put(definition(host_policy_definition().unwrap()));
        api.put(definition(ban_list_definition().unwrap()));
        for object in objects(snapshot) {
            api.put(object);
        }
        api.lead(&directory.path().join("api.sock"));
        let lab = Lab::start_without_rules(snapshot, &Family::ALL).unwrap();
        let door = Box::new(lab.open_for_exec(&[directory.path().to_owned()]).unwrap());
        let snapshot = snapshot.clone();
        let elements_per_node = palisade_agent::ELEMENTS_PER_NODE;
        World { api, lab, snapshot, agents: BTreeMap::new(), unknown_pods, elements_per_node, directory, _door: door }
    }

    /// Has the API server know the kind `NodeState`.
    pub fn define_node_states(&self) {
        self.api.put(definition(NodeState::definition().unwrap()));
    }

    pub fn told(&self, node: &str) -> Told {
        Told {
            node: node.to_owned(),
            state_dir: self.state_dir(node),
            api: self.directory.path().join("api.sock"),
            unknown_pods: self.unknown_pods == UnknownPods::Drop,
            keep: false,
            bind_sources: true,
            elements_per_node: self.elements_per_node,
            enforce: [true; 3],
            failsafe_sources: Vec::new(),
            protected: palisade_lab::CONTROL_NETWORKS.into(),
            namespace: None,
            configs: Vec::new(),
            standalone: false,
            ban_files: palisade_agent::BAN_FILES.into(),
            server: None,
        }
    }

    /// By which commands are run in pods and nodes.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn state_dir(&self, node: &str) -> PathBuf {
        self.directory.path().join(node)
    }

    pub fn start_agent(&mut self, node: &NodeName) {
        self.start_agent_told(&self.told(node));
    }

    /// Starts the agents anew whose nodes the lab has made anew: a pod has, or had, an address of the node.
    pub fn start_agents_anew(&mut self) {
        let nodes: Vec<NodeName> = self.agents.keys().cloned().collect();
        for node in &nodes {
            if self.ruleset(node).is_none() {
                self.start_agent(node);
            }
        }
    }

    pub fn start_agent_told(&mut self, told: &Told) {
        let mut agent = Agent::start(self.directory.path(), told);
        agent.ready();
        self.agents.insert(told.node.as_str().into(), agent);
    }

    /// Changes the cluster: first its pods and nodes, then what the API server says.
    pub fn change(&mut self, snapshot: &Snapshot) {
        self.lab.enforce(snapshot).unwrap();
        self.say(snapshot);
    }

    /// Changes what the API server says, and leaves pods and nodes as they are.
    pub fn say(&mut self, snapshot: &Snapshot) {
        for step in steps(&self.snapshot, snapshot) {
            match step {
                Step::Put(object) => {
                    self.api.put(object);
                }
                Step::Delete(plural, namespace, name) => {
                    self.api.delete(plural, namespace.as_deref().unwrap_or_default(), &name);
                }
            }
        }
        self.snapshot = snapshot.clone();
    }

    /// Waits until the kernel of every node with an agent holds exactly what a fresh compile of the cluster gives.
    pub fn settle(&self) {
        self.settle_with(false);
    }

    /// The same for agents that keep established connections.
    pub fn settle_with(&self, keep: bool) {
        for node in self.agents.keys() {
            let start = Instant::now();
            while let Some(difference) = self.difference(node, keep) {
                assert!(start.elapsed() < PATIENCE, "{node} does not hold what is wanted: {difference}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// What is different in the kernel of a node, if anything.
    pub fn difference(&self, node: &NodeName, keep: bool) -> Option<String> {
        let mut compiler = Compiler::with(
            node.clone(),
            palisade_compile::Settings {
                unknown_pods: self.unknown_pods,
                elements_max: Some(self.elements_per_node),
                protected: protected(),
                ..palisade_compile::Settings::default()
            },
        );
        compiler.update(&Snapshot::default().changes_to(&self.snapshot));
        let established = if keep { Established::Keep } else { Established::Cut };
        let settings = palisade_nft::Settings { log_group: Some(5), established, ..palisade_nft::Settings::default() };
        let Some(have) = self.ruleset(node) else { return Some("there is no table".to_string()) };
        let Some(generation) = have.generation() else { return Some("there is no generation".to_string()) };
        let want = lower(compiler.tables(), &settings, generation);
        let transaction = palisade_nft::diff(&have, &want);
        let host = palisade_nft::diff(&self.host_ruleset(node), &lower_host(&compiler.tables().host, &settings));
        let bans = palisade_nft::diff(&self.bans_ruleset(node), &lower_bans(&compiler.tables().bans, &settings));
        [transaction, host, bans].iter().find(|differs| !differs.operations().is_empty()).map(ToString::to_string)
    }

    /// What the kernel of a node holds of host policies.
    pub fn host_ruleset(&self, node: &NodeName) -> Ruleset {
        self.ruleset_of(node, Table::Host)
    }

    /// What the kernel of a node holds of bans.
    pub fn bans_ruleset(&self, node: &NodeName) -> Ruleset {
        self.ruleset_of(node, Table::Bans)
    }

    fn ruleset_of(&self, node: &NodeName, table: Table) -> Ruleset {
        let read = move || Kernel::open_table(table).unwrap().read_back().unwrap();
        self.lab.inside(node, read).unwrap().unwrap_or_else(|| Ruleset::nothing(table))
    }

    /// What the kernel of a node holds.
    pub fn ruleset(&self, node: &NodeName) -> Option<Ruleset> {
        self.lab.inside(node, || Kernel::open().unwrap().read_back().unwrap()).unwrap()
    }

    /// Sends the packets of these flows and holds what becomes of each against the oracle; returns how many there were.
    pub fn agrees(&self, flows: impl IntoIterator<Item = Flow>) -> usize {
        let resolved = flows.into_iter().flat_map(|flow| resolve(&self.snapshot, &flow, &Family::ALL).unwrap());
        let packets: Vec<Packet> = resolved.collect();
        let outcomes = self.lab.probe(&packets, |_| {}).unwrap();
        let mut judged = 0;
        for (packet, outcome) in packets.iter().zip(&outcomes) {
            let oracle = decide(&self.snapshot, packet).verdict;
            match outcome {
                Outcome::Skipped(_) => {}
                outcome => {
                    judged += 1;
                    assert_eq!(
                        outcome.verdict(),
                        Some(oracle),
                        "{packet:?}: the oracle says {oracle}, but {outcome:?}; {:?}\n{:?}",
                        decide(&self.snapshot, packet),
                        self.agents.keys()
                    );
                }
            }
        }
        judged
    }

    /// The same for flows as written.
    pub fn agrees_on(&self, flows: &[&str]) {
        let judged = self.agrees(flows.iter().map(|flow| flow.parse().unwrap()));
        assert!(judged >= flows.len(), "only {judged} packets of {} flows were judged", flows.len());
    }
}

/// A definition of a kind, as the API server takes it.
fn definition(definition: CustomResourceDefinition) -> Value {
    let mut definition = serde_json::to_value(definition).unwrap();
    definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
    definition["kind"] = json!("CustomResourceDefinition");
    definition
}

/// What the agents protect from bans, beside what the cluster has: what they are told, and the resolvers of this machine.
fn protected() -> Vec<IpNet> {
    let resolvers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = resolvers.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    palisade_lab::CONTROL_NETWORKS.into_iter().chain(named.map(IpNet::from)).collect()
}
