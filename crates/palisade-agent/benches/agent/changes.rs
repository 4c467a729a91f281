//! Changes of the cluster, one at a time and many, and how long each takes until it is in force.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_core::{
    ContainerPort, NamespaceName, NetworkPolicy, Peer, PerDirection, Pod, PodName, PolicyName, Port, Ports, Rule,
    Selector, Transport,
};
use palisade_testapi::TestApi;

use crate::agent::{Agent, InForce};
use crate::objects;

const LIST_CHANGES: usize = 40;

/// What comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A policy that isolates the pods of a workload, some of them on the node.
    Policy,
    /// A pod of another node that a local pod admits.
    RemotePod,
    /// A pod of the node.
    LocalPod,
}

impl Subject {
    pub const ALL: [Subject; 3] = [Subject::Policy, Subject::RemotePod, Subject::LocalPod];

    pub fn name(self) -> &'static str {
        match self {
            Subject::Policy => "a policy comes or goes",
            Subject::RemotePod => "a remote pod comes or goes",
            Subject::LocalPod => "a local pod comes or goes",
        }
    }
}

/// How long changes took.
#[derive(Default)]
pub struct Times {
    /// From the change at the API server until the agent says that it is in force.
    pub whole: Vec<Duration>,
    /// Of that, from the arrival at the agent.
    pub inside: Vec<Duration>,
    pub longest_commit: Duration,
    /// How many changes meant nothing on this node; their times are left out.
    pub idle: usize,
}

impl Times {
    fn add(&mut self, whole: Option<Duration>, said: InForce) {
        if said.operations == 0 {
            self.idle += 1;
            return;
        }
        self.whole.extend(whole);
        self.inside.push(said.latency());
        self.longest_commit = self.longest_commit.max(said.longest_commit());
    }
}

/// What the agent costs while pods come and go.
pub struct Churn {
    pub times: Times,
    pub processor: Duration,
}

/// Creates and deletes a subject so many times, in these namespaces in turn; each step waits for the one before.
pub fn change(api: &TestApi, agent: &mut Agent, subject: Subject, namespaces: &[NamespaceName], pairs: usize) -> Times {
    while agent.next(Duration::from_millis(500)).is_some() {}
    let mut times = Times::default();
    for number in 0..pairs {
        for create in [true, false] {
            let start = Instant::now();
            step(api, subject, &namespaces[number % namespaces.len()], number, create);
            let (at, said) = agent.wait();
            times.add(Some(at - start), said);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    times
}

/// The first list of bans loses its last block and gets it back, so many times.
pub fn change_list(api: &TestApi, agent: &mut Agent, blocks: &[IpNet]) -> Times {
    while agent.next(Duration::from_millis(500)).is_some() {}
    let mut times = Times::default();
    for number in 0..LIST_CHANGES {
        let object = objects::ban_list(0, &blocks[..blocks.len() - (number + 1) % 2]);
        let start = Instant::now();
        api.put(object);
        let (at, said) = agent.wait();
        times.add(Some(at - start), said);
    }
    times
}

fn step(api: &TestApi, subject: Subject, namespace: &str, number: usize, create: bool) {
    match (subject, create) {
        (Subject::Policy, true) => drop(api.put(objects::policy(&policy(namespace)))),
        (Subject::Policy, false) => assert!(api.delete("networkpolicies", namespace, "benchmark")),
        (_, true) => drop(api.put(objects::pod(&PodName::new(namespace, "benchmark"), &pod(subject, number)))),
        (_, false) => assert!(api.delete("pods", namespace, "benchmark")),
    }
}

fn policy(namespace: &str) -> NetworkPolicy {
    let peers = Some(vec![Peer::Pods { namespaces: None, pods: Selector::labels([("tier", "front")]) }]);
    NetworkPolicy {
        name: PolicyName::new(namespace, "benchmark"),
        subjects: Selector::everything(),
        rules: PerDirection { ingress: Some(vec![Rule { peers, ports: Ports::All }]), egress: None },
        unreadable: None,
        audit: false,
    }
}

/// A pod of the workload that most policies admit, with addresses that nobody else has.
fn pod(subject: Subject, number: usize) -> Pod {
    let node = if subject == Subject::LocalPod { 1 } else { 2 };
    let host = u16::try_from(3_000 + number % 1_000).unwrap();
    Pod {
        labels: Arc::new([("app".into(), "w0".into()), ("tier".into(), "front".into())].into()),
        node: Some(format!("n{node}").into()),
        addresses: vec![
            IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 | (node << 12) | u32::from(host))),
            Ipv6Addr::new(0xfd44, 0, 0, u16::try_from(node).unwrap(), 0, 0, 0, host).into(),
        ],
        ports: vec![ContainerPort {
            name: Some("http".into()),
            transport: Transport::Tcp,
            port: Port::new(8080).unwrap(),
            host_port: None,
            host_address: None,
        }],
        ..Pod::default()
    }
}

/// How many pods come and go each second.
const PODS_PER_SECOND: u32 = 100;
/// So many pods live at a time, and every twentieth is on the node.
const ALIVE: usize = 50;

/// A hundred pods come and a hundred go each second, each with the five events of its life: pending, on its node,
/// running, finished, deleted.
pub fn churn(api: &TestApi, agent: &mut Agent, length: Duration) -> Churn {
    while agent.next(Duration::from_millis(500)).is_some() {}
    let (start, processor) = (Instant::now(), agent.processor());
    let mut times = Times::default();
    let mut number = 0;
    while start.elapsed() < length {
        let due = start + Duration::from_secs(1) / PODS_PER_SECOND * u32::try_from(number).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        come(api, number);
        if let Some(gone) = number.checked_sub(ALIVE) {
            go(api, gone);
        }
        number += 1;
        while let Some((_, said)) = agent.next(Duration::ZERO) {
            times.add(None, said);
        }
    }
    let processor = agent.processor().saturating_sub(processor);
    (number.saturating_sub(ALIVE)..number).for_each(|left| go(api, left));
    while agent.next(Duration::from_millis(500)).is_some() {}
    Churn { times, processor }
}

fn named(number: usize) -> (PodName, Pod) {
    let subject = if number.is_multiple_of(20) { Subject::LocalPod } else { Subject::RemotePod };
    (PodName::new(format!("ns-{}", number % 200), format!("churn-{number}")), pod(subject, number))
}

fn come(api: &TestApi, number: usize) {
    let (name, running) = named(number);
    let scheduled = Pod { addresses: Vec::new(), ..running.clone() };
    let pending = Pod { node: None, ..scheduled.clone() };
    for state in [pending, scheduled, running] {
        api.put(objects::pod(&name, &state));
    }
}

fn go(api: &TestApi, number: usize) {
    let (name, running) = named(number);
    api.put(objects::pod(&name, &Pod { finished: true, ..running }));
    api.delete("pods", &name.namespace, &name.name);
}
