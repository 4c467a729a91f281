//! The shop that users see first is readable without a complaint, small, and shows one of each kind of rule.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use palisade_core::{
    Direction, NetworkPolicy, Operator, Peer, PortMatch, Ports, Requirement, Rule, Selector, Snapshot, Transport,
    WorkloadKind,
};

fn shop() -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let texts = palisade_sources::read(&[path]).expect("the shop is there");
    let parsed = palisade_sources::parse(&texts, &palisade_sources::Options::default());
    assert!(parsed.diagnostics.is_empty(), "{:#?}", parsed.diagnostics);
    parsed.snapshot
}

#[test]
fn the_shop_is_small() {
    let shop = shop();
    assert!(shop.pods.len() <= 12, "{} pods", shop.pods.len());
    let namespaces: BTreeSet<_> = shop.pods.keys().map(|name| &name.namespace).collect();
    assert!((3..=4).contains(&namespaces.len()), "{namespaces:?}");
    let kinds: Vec<WorkloadKind> = shop.workloads.keys().map(|name| name.kind).collect();
    assert!((8..=12).contains(&kinds.len()), "{kinds:?}");
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::CronJob] {
        assert!(kinds.contains(&kind), "no {kind}");
    }
}

#[test]
fn every_namespace_of_the_shop_denies_by_default() {
    let shop = shop();
    for namespace in ["shop", "data", "monitoring"] {
        let everything = |policy: &&Arc<NetworkPolicy>| {
            &*policy.name.namespace == namespace
                && policy.subjects == Selector::everything()
                && Direction::ALL.iter().all(|direction| policy.rules[*direction].as_deref() == Some(&[]))
        };
        assert!(shop.policies.values().any(|policy| everything(&policy)), "{namespace} has no default deny");
    }
}

#[test]
fn one_of_each_kind_of_rule_is_shown() {
    let shop = shop();
    let rules: Vec<&Rule> = shop
        .policies
        .values()
        .flat_map(|policy| Direction::ALL.map(|direction| policy.rules[direction].iter().flatten()))
        .flatten()
        .collect();
    let peers: Vec<&Peer> = rules.iter().flat_map(|rule| rule.peers.iter().flatten()).collect();
    let any_peer = |test: &dyn Fn(&Peer) -> bool| peers.iter().any(|peer| test(peer));
    assert!(any_peer(&|peer| matches!(peer, Peer::Pods { namespaces: None, .. })), "podSelector alone");
    let everyone = Selector::everything();
    assert!(
        any_peer(&|peer| matches!(peer, Peer::Pods { namespaces: Some(_), pods } if *pods == everyone)),
        "namespaceSelector alone"
    );
    assert!(
        any_peer(&|peer| matches!(peer, Peer::Pods { namespaces: Some(_), pods } if *pods != everyone)),
        "both selectors"
    );
    assert!(any_peer(&|peer| matches!(peer, Peer::Block { except, .. } if !except.is_empty())), "ipBlock with except");

    let any_port = |test: &dyn Fn(&PortMatch) -> bool| {
        rules.iter().any(|rule| matches!(&rule.ports, Ports::Listed(ports) if ports.iter().any(test)))
    };
    assert!(any_port(&|port| matches!(port, PortMatch::Named(..))), "named port");
    assert!(any_port(&|port| matches!(port, PortMatch::Every(_))), "protocol alone");
    assert!(any_port(&|port| matches!(port, PortMatch::Range(_, range) if range.first() < range.last())), "endPort");
    for transport in Transport::ALL {
        assert!(any_port(&|port| matches!(port, PortMatch::Range(one, _) if *one == transport)), "{transport}");
    }
    assert!(rules.iter().any(|rule| rule.peers.is_none() && rule.ports != Ports::All), "rule without peers");
    assert!(rules.iter().any(|rule| rule.peers.is_some() && rule.ports == Ports::All), "rule without ports");
    assert!(rules.iter().any(|rule| rule.peers.is_none() && rule.ports == Ports::All), "rule without anything");
}

#[test]
fn every_operator_is_shown() {
    let shop = shop();
    let mut selectors: Vec<&Selector> = shop.policies.values().map(|policy| &policy.subjects).collect();
    for policy in shop.policies.values() {
        for rule in Direction::ALL.iter().flat_map(|direction| policy.rules[*direction].iter().flatten()) {
            for peer in rule.peers.iter().flatten() {
                if let Peer::Pods { namespaces, pods } = peer {
                    selectors.extend(namespaces.iter().chain([pods]));
                }
            }
        }
    }
    let any =
        |test: &dyn Fn(&Requirement) -> bool| selectors.iter().any(|selector| selector.requirements().iter().any(test));
    assert!(any(&|one| matches!(&one.operator, Operator::In(values) if values.len() > 1)), "In");
    assert!(any(&|one| matches!(one.operator, Operator::NotIn(_))), "NotIn");
    assert!(any(&|one| one.operator == Operator::Exists), "Exists");
    assert!(any(&|one| one.operator == Operator::DoesNotExist), "DoesNotExist");
}
