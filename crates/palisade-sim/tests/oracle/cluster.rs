//! Clusters in few words.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{
    ContainerPort, Direction, Family, Flow, Labels, Namespace, NetworkPolicy, Node, ObjectName, Operator, Peer,
    PerDirection, Pod, PortMatch, PortRange, Ports, Requirement, Rule, Selector, Snapshot, Transport, WorkloadKind,
    WorkloadName,
};
use palisade_sim::{Explanation, explain};

/// A snapshot in the making.
#[derive(Clone)]
pub struct Cluster(pub Snapshot);

impl Cluster {
    /// Two nodes and three namespaces, each with both families and a label `team`, and no pods.
    pub fn new() -> Cluster {
        let mut snapshot = Snapshot::default();
        for (name, addresses) in [("n1", ["10.99.0.1", "fd99::1"]), ("n2", ["10.99.0.2", "fd99::2"])] {
            let addresses = addresses.map(address).to_vec();
            snapshot.nodes.insert(name.into(), Arc::new(Node { addresses, ..Node::default() }));
        }
        let cluster = Cluster(snapshot);
        cluster.namespace("web", "team=front").namespace("db", "team=data").namespace("ops", "team=ops")
    }

    pub fn namespace(mut self, name: &str, text: &str) -> Cluster {
        let mut labels = labels(text);
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
        self.0.namespaces.insert(name.into(), Arc::new(Namespace { labels }));
        self
    }

    /// A pod, first on `n1` with `10.244.0.1` and `fd44::1`, then on `n2` with `10.244.0.2` and `fd44::2`, and so on.
    pub fn pod(self, pod: &str, text: &str) -> Cluster {
        self.pod_with(pod, text, |_| ())
    }

    /// A pod that is changed further.
    pub fn pod_with(mut self, pod: &str, text: &str, change: impl FnOnce(&mut Pod)) -> Cluster {
        let number = self.0.pods.len() + 1;
        let mut made = Pod {
            labels: labels(text).into(),
            node: Some(if number % 2 == 1 { "n1".into() } else { "n2".into() }),
            addresses: vec![address(&format!("10.244.0.{number}")), address(&format!("fd44::{number:x}"))],
            ..Pod::default()
        };
        change(&mut made);
        self.0.pods.insert(name(pod), Arc::new(made));
        self
    }

    pub fn workload(mut self, namespace: &str, kind: WorkloadKind, workload: &str, pods: &[&str]) -> Cluster {
        let key = WorkloadName { namespace: namespace.into(), kind, name: workload.into() };
        self.0.workloads.insert(key, pods.iter().map(|pod| name(pod)).collect());
        self
    }

    pub fn policy(mut self, policy: NetworkPolicy) -> Cluster {
        self.0.policies.insert(policy.name.clone(), Arc::new(policy));
        self
    }

    pub fn explain(&self, flow: &str) -> Explanation {
        let flow: Flow = flow.parse().unwrap();
        explain(&self.0, &flow, &Family::ALL).unwrap_or_else(|error| panic!("{flow}: {error}"))
    }

    /// The flow comes to `allow`, `deny`, `allow (assumed)` … in every family that both ends have, or, where
    /// families differ, to `IPv4 allow, IPv6 deny`.
    #[track_caller]
    pub fn check(&self, flow: &str, expected: &str) {
        let explanation = self.explain(flow);
        let families = explanation.families();
        let answer = explanation.answer();
        let found = if families.values().all(|family| *family == answer) {
            answer.to_string()
        } else {
            let each: Vec<String> = families.iter().map(|(family, answer)| format!("{family} {answer}")).collect();
            each.join(", ")
        };
        assert_eq!(found, expected, "\n{explanation}");
    }
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

/// `app=web;tier=a`.
pub fn labels(text: &str) -> Labels {
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(key, value)| (key.into(), value.into())).collect()
}

/// As kubectl writes selectors, but with `;` between the requirements: `app=web;tier notin (a,b);!legacy;x`.
pub fn selector(text: &str) -> Selector {
    let requirement = |text: &str| {
        let values = |text: &str| text.trim_matches(['(', ')']).split(',').map(Into::into).collect();
        let (key, operator) = if let Some((key, list)) = text.split_once(" notin ") {
            (key, Operator::NotIn(values(list)))
        } else if let Some((key, list)) = text.split_once(" in ") {
            (key, Operator::In(values(list)))
        } else if let Some((key, value)) = text.split_once('=') {
            (key, Operator::In(vec![value.into()]))
        } else if let Some(key) = text.strip_prefix('!') {
            (key, Operator::DoesNotExist)
        } else {
            (text, Operator::Exists)
        };
        Requirement { key: key.into(), operator }
    };
    Selector::new(text.split(';').filter(|text| !text.is_empty()).map(requirement).collect())
}

/// A policy on these pods that isolates in no direction yet.
pub fn policy(policy: &str, subjects: &str) -> NetworkPolicy {
    NetworkPolicy {
        name: name(policy),
        subjects: selector(subjects),
        rules: PerDirection::default(),
        unreadable: None,
        audit: false,
    }
}

/// A policy that isolates these pods for ingress.
pub fn ingress(named: &str, subjects: &str, rules: &[Rule]) -> NetworkPolicy {
    both(named, subjects, Some(rules), None)
}

/// A policy that isolates these pods for egress.
pub fn egress(named: &str, subjects: &str, rules: &[Rule]) -> NetworkPolicy {
    both(named, subjects, None, Some(rules))
}

/// A policy with the rules for ingress and for egress; `None` where it does not isolate.
pub fn both(named: &str, subjects: &str, ingress: Option<&[Rule]>, egress: Option<&[Rule]>) -> NetworkPolicy {
    let mut policy = policy(named, subjects);
    policy.rules[Direction::Ingress] = ingress.map(<[Rule]>::to_vec);
    policy.rules[Direction::Egress] = egress.map(<[Rule]>::to_vec);
    policy
}

/// A rule; no peers or no ports means that the field is absent.
pub fn rule(peers: &[Peer], ports: &[&str]) -> Rule {
    Rule {
        peers: (!peers.is_empty()).then(|| peers.to_vec()),
        ports: if ports.is_empty() { Ports::All } else { Ports::Listed(ports.iter().map(|text| port(text)).collect()) },
    }
}

/// `podSelector` alone.
pub fn pods(text: &str) -> Peer {
    Peer::Pods { namespaces: None, pods: selector(text) }
}

/// `namespaceSelector`, with a `podSelector` that may be everything.
pub fn pods_in(namespaces: &str, pods: &str) -> Peer {
    Peer::Pods { namespaces: Some(selector(namespaces)), pods: selector(pods) }
}

/// `ipBlock`.
pub fn block(cidr: &str, except: &[&str]) -> Peer {
    let net = |text: &str| text.parse::<IpNet>().unwrap().trunc();
    Peer::Block { cidr: net(cidr), except: except.iter().map(|text| net(text)).collect() }
}

/// `tcp`, `tcp 80`, `tcp 80-90` or `tcp http`.
pub fn port(text: &str) -> PortMatch {
    let (transport, port) = text.split_once(' ').unwrap_or((text, ""));
    let transport: Transport = transport.parse().unwrap();
    let (first, last) = port.split_once('-').unwrap_or((port, port));
    match (port, first.parse(), last.parse()) {
        ("", ..) => PortMatch::Every(transport),
        (_, Ok(first), Ok(last)) => PortMatch::Range(transport, PortRange::new(first, last).unwrap()),
        _ => PortMatch::Named(transport, port.into()),
    }
}

/// A container port: `http` and `tcp 8080`.
pub fn declared(name: &str, text: &str) -> ContainerPort {
    let PortMatch::Range(transport, range) = port(text) else { panic!("'{text}' is no number") };
    ContainerPort { name: Some(name.into()), transport, port: range.first(), host_port: None, host_address: None }
}
