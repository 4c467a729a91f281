//! A snapshot as YAML that the cluster's API would take: for failing cases that people should read.

use std::fmt::{self, Write};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{
    BanEntry, BanList, BanTarget, Direction, HostPeer, HostPolicy, HostScope, Labels, NetworkPolicy, Node, Operator,
    Peer, Pod, PodName, PortMatch, Ports, Requirement, Rule, Selector, Snapshot, WorkloadName,
};

/// The objects of a snapshot as YAML documents, without what [`to_configs`] prints. `palisade-sources` reads them as the same snapshot, but for the
/// reason why a policy cannot be read: such a policy gets a field that the API does not know.
pub fn to_yaml(snapshot: &Snapshot) -> String {
    let mut documents: Vec<String> = Vec::new();
    for (name, namespace) in &snapshot.namespaces {
        documents.push(format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}, labels: {}}}\n",
            quoted(name),
            labels(&namespace.labels)
        ));
    }
    documents.extend(snapshot.nodes.iter().map(|(name, object)| node(name, object)));
    documents.extend(snapshot.pods.iter().map(|(name, object)| pod(name, object)));
    documents.extend(snapshot.policies.values().map(|object| {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = policy(&mut text, object);
        text
    }));
    let objects = snapshot.host_policies.values().filter(|policy| policy.name.object().is_some());
    documents.extend(objects.map(|object| host_policy(object)));
    documents.extend(snapshot.ban_lists.values().map(|object| ban_list(object)));
    documents.join("---\n")
}

/// The config files of kube-restrict-ip of a snapshot, which no API holds. `palisade-sources` reads them as the same policies.
pub fn to_configs(snapshot: &Snapshot) -> Vec<String> {
    let files = snapshot.host_policies.values().filter(|policy| policy.name.object().is_none());
    let file = |policy: &Arc<HostPolicy>| {
        let ports = policy.ports.iter().map(|port| port.range.first());
        let networks = policy.from.iter().filter_map(|peer| match peer {
            HostPeer::Block { cidr, .. } => Some(quoted(cidr)),
            HostPeer::Nodes(_) | HostPeer::Pods { .. } => None,
        });
        let chain = quoted(&policy.name);
        let (ports, networks, scope) = (list(ports), list(networks), scope(policy));
        format!("ipChain: {chain}\nrestrictedPorts: {ports}\nallowedNetworks: {networks}\nscope: {scope}\n")
    };
    files.map(file).collect()
}

/// A scalar between quotes; labels and addresses hold nothing that YAML and Rust would escape differently.
fn quoted(text: impl fmt::Display) -> String {
    format!("{:?}", text.to_string())
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", "))
}

fn labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn node(name: &str, node: &Node) -> String {
    let addresses = node.addresses.iter().map(|address| format!("{{type: InternalIP, address: {}}}", quoted(address)));
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {}, labels: {}}}\nspec: {{podCIDRs: {}}}\nstatus: {{addresses: {}}}\n",
        quoted(name),
        labels(&node.labels),
        list(node.pod_cidrs.iter().map(quoted)),
        list(addresses),
    )
}

fn pod(name: &PodName, pod: &Pod) -> String {
    // One container a port: within a container the API wants names of ports to differ.
    let containers = pod.ports.iter().enumerate().map(|(index, port)| {
        let name = port.name.as_ref().map(|name| format!("name: {}, ", quoted(name))).unwrap_or_default();
        let protocol = port.transport.name().to_uppercase();
        format!("{{name: c{index}, ports: [{{{name}containerPort: {}, protocol: {protocol}}}]}}", port.port)
    });
    let containers =
        if pod.ports.is_empty() { "[{name: c}]".to_string() } else { list(containers.collect::<Vec<_>>()) };
    let node = pod.node.as_ref().map(|node| format!("nodeName: {}, ", quoted(node))).unwrap_or_default();
    let owner = pod.workload.as_ref().map(|WorkloadName { kind, name, .. }| {
        format!(
            ", ownerReferences: [{{apiVersion: apps/v1, kind: {kind:?}, name: {}, controller: true}}]",
            quoted(name)
        )
    });
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: {}, name: {}, labels: {}{}}}\nspec: {{{node}{}containers: {containers}}}\nstatus: {{phase: {}, podIPs: {}}}\n",
        quoted(&name.namespace),
        quoted(&name.name),
        labels(&pod.labels),
        owner.unwrap_or_default(),
        if pod.host_network { "hostNetwork: true, " } else { "" },
        if pod.finished { "Succeeded" } else { "Running" },
        list(pod.addresses.iter().map(|address| format!("{{ip: {}}}", quoted(address)))),
    )
}

fn policy(text: &mut String, policy: &NetworkPolicy) -> fmt::Result {
    let name = &policy.name;
    writeln!(text, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy")?;
    let audit = if policy.audit { ", annotations: {palisade.dev/audit: \"true\"}" } else { "" };
    writeln!(text, "metadata: {{namespace: {}, name: {}{audit}}}", quoted(&name.namespace), quoted(&name.name))?;
    writeln!(text, "spec:\n  podSelector: {}", selector(&policy.subjects))?;
    let types = Direction::ALL.into_iter().filter(|direction| policy.rules[*direction].is_some());
    writeln!(text, "  policyTypes: {}", list(types.map(type_name)))?;
    if policy.unreadable.is_some() {
        writeln!(text, "  unreadable: true")?;
    }
    for direction in Direction::ALL {
        match policy.rules[direction].as_deref() {
            Some([]) => writeln!(text, "  {direction}: []")?,
            Some(rules) => {
                writeln!(text, "  {direction}:")?;
                for one in rules {
                    rule(text, direction, one)?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn host_policy(policy: &HostPolicy) -> String {
    let peer = |peer: &HostPeer| match peer {
        HostPeer::Nodes(nodes) => format!("{{nodes: {{nodeSelector: {}}}}}", selector(nodes)),
        HostPeer::Pods { namespaces, pods } => {
            format!("{{pods: {{namespaceSelector: {}, podSelector: {}}}}}", selector(namespaces), selector(pods))
        }
        HostPeer::Block { cidr, except } => block(cidr, except),
    };
    let ports = policy.ports.iter().map(|one| port(&PortMatch::Range(one.transport, one.range)));
    format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: HostPolicy\nmetadata: {{name: {}}}\nspec:\n  nodeSelector: {}\n  enforcement: {}\n  otherwise: {:?}\n  ports: {}\n  scope: {}\n  from: {}\n{}",
        quoted(&policy.name),
        selector(&policy.nodes),
        if policy.audit { "Audit" } else { "Enforce" },
        policy.otherwise,
        list(ports),
        scope(policy),
        list(policy.from.iter().map(peer)),
        if policy.unreadable.is_some() { "  unreadable: true\n" } else { "" },
    )
}

fn ban_list(bans: &BanList) -> String {
    let entry = |entry: &BanEntry| format!("{{cidr: {}, force: true}}", quoted(entry.cidr));
    let target = bans.target.as_ref().map(|BanTarget { namespaces, pods }| {
        format!("  target: {{namespaceSelector: {}, podSelector: {}}}\n", selector(namespaces), selector(pods))
    });
    format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: BanList\nmetadata: {{name: {}}}\nspec:\n  enforcement: {}\n  entries: {}\n  exceptCIDRs: {}\n{}",
        quoted(&bans.name),
        if bans.audit { "Audit" } else { "Enforce" },
        list(bans.all_entries().map(entry)),
        list(bans.except.iter().map(quoted)),
        target.unwrap_or_default(),
    )
}

fn scope(policy: &HostPolicy) -> &'static str {
    match policy.scope {
        HostScope::Everything => "[HostSockets, NodePorts, HostPorts]",
        HostScope::HostSockets => "[HostSockets]",
    }
}

fn block(cidr: &IpNet, except: &[IpNet]) -> String {
    format!("{{ipBlock: {{cidr: {}, except: {}}}}}", quoted(cidr), list(except.iter().map(quoted)))
}

fn type_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    }
}

fn rule(text: &mut String, direction: Direction, rule: &Rule) -> fmt::Result {
    let mut fields = Vec::new();
    if let Some(peers) = &rule.peers {
        let mut field = if direction == Direction::Ingress { "from:".to_string() } else { "to:".to_string() };
        for one in peers {
            write!(field, "\n    - {}", peer(one))?;
        }
        fields.push(field);
    }
    if let Ports::Listed(ports) = &rule.ports {
        fields.push(ports.iter().fold("ports:".to_string(), |field, one| format!("{field}\n    - {}", port(one))));
    }
    if fields.is_empty() { writeln!(text, "  - {{}}") } else { writeln!(text, "  - {}", fields.join("\n    ")) }
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Pods { namespaces: None, pods } => format!("{{podSelector: {}}}", selector(pods)),
        Peer::Pods { namespaces: Some(namespaces), pods } => {
            format!("{{namespaceSelector: {}, podSelector: {}}}", selector(namespaces), selector(pods))
        }
        Peer::Block { cidr, except } => block(cidr, except),
    }
}

fn port(port: &PortMatch) -> String {
    let protocol = |transport: palisade_core::Transport| transport.name().to_uppercase();
    match port {
        PortMatch::Every(transport) => format!("{{protocol: {}}}", protocol(*transport)),
        PortMatch::Range(transport, range) if range.first() == range.last() => {
            format!("{{protocol: {}, port: {}}}", protocol(*transport), range.first())
        }
        PortMatch::Range(transport, range) => {
            format!("{{protocol: {}, port: {}, endPort: {}}}", protocol(*transport), range.first(), range.last())
        }
        PortMatch::Named(transport, name) => format!("{{protocol: {}, port: {}}}", protocol(*transport), quoted(name)),
    }
}

fn selector(selector: &Selector) -> String {
    let expression = |requirement: &Requirement| {
        let key = quoted(&requirement.key);
        match &requirement.operator {
            Operator::In(values) => {
                format!("{{key: {key}, operator: In, values: {}}}", list(values.iter().map(quoted)))
            }
            Operator::NotIn(values) => {
                format!("{{key: {key}, operator: NotIn, values: {}}}", list(values.iter().map(quoted)))
            }
            Operator::Exists => format!("{{key: {key}, operator: Exists}}"),
            Operator::DoesNotExist => format!("{{key: {key}, operator: DoesNotExist}}"),
        }
    };
    match selector.requirements() {
        [] => "{}".to_string(),
        requirements => format!("{{matchExpressions: {}}}", list(requirements.iter().map(expression))),
    }
}
