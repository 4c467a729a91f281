//! What policies name, held against what the oracle bans.

use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{BanEntry, BanList, NetworkPolicy, Node, ObjectName, PerDirection, Pod, Selector};
use palisade_sim::standings;
use serde_json::json;

use super::*;

fn list(name: &str, entries: &[&str], except: &[&str]) -> BanList {
    let entry = |cidr: &&str| BanEntry { cidr: cidr.parse().unwrap(), expires: None, reason: None, from_source: false };
    BanList {
        name: name.into(),
        entries: entries.iter().map(entry).collect(),
        except: except.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        ..BanList::default()
    }
}

fn for_web(list: BanList) -> BanList {
    let target =
        BanTarget { namespaces: Selector::labels([("team", "web")]), pods: Selector::labels([("app", "shop")]) };
    BanList { target: Some(target), ..list }
}

fn cluster(lists: Vec<BanList>) -> Snapshot {
    let node = Node {
        addresses: vec!["192.0.2.77".parse().unwrap(), "2001:db8::77".parse().unwrap()],
        pod_cidrs: vec!["10.244.3.0/24".parse().unwrap()],
        ..Node::default()
    };
    let pod = Pod { addresses: vec!["203.0.113.130".parse().unwrap()], ..Pod::default() };
    let mut snapshot = Snapshot {
        nodes: [("n1".into(), Arc::new(node))].into(),
        pods: [(ObjectName::new("web", "shop"), Arc::new(pod))].into(),
        ban_lists: lists.into_iter().map(|list| (list.name.clone(), Arc::new(list))).collect(),
        ..Snapshot::default()
    };
    for (name, team) in [("web", "web"), ("db", "data")] {
        let labels = [("team".into(), team.into())].into();
        snapshot.namespaces.insert(name.into(), Arc::new(palisade_core::Namespace { labels }));
    }
    snapshot
}

/// Overlapping entries, holes at their edges and inside, both families.
fn overlapping() -> Vec<BanList> {
    vec![
        list(
            "abuse",
            &["203.0.113.0/24", "203.0.113.9/32", "198.51.100.0/25", "2001:db8::/32"],
            &["203.0.113.8/29", "2001:db8:1::/48"],
        ),
        list("more", &["203.0.113.12/32", "198.51.100.128/25", "192.0.2.0/24", "10.0.0.0/8"], &["192.0.2.255/32"]),
        list("all", &["0.0.0.0/1", "8000::/1"], &["0.0.0.0/5", "64.0.0.0/2", "10.0.0.0/7", "16.0.0.0/4", "32.0.0.0/3"]),
        BanList { audit: true, ..list("trial", &["203.0.113.8/32"], &[]) },
        for_web(list("web", &["100.64.0.0/10", "203.0.113.8/31"], &["100.100.0.0/24"])),
    ]
}

fn next(address: IpAddr, forward: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let number = u32::from(address);
            let number = if forward { number.checked_add(1) } else { number.checked_sub(1) };
            number.map(|number| IpAddr::V4(number.into()))
        }
        IpAddr::V6(address) => {
            let number = u128::from(address);
            let number = if forward { number.checked_add(1) } else { number.checked_sub(1) };
            number.map(|number| IpAddr::V6(number.into()))
        }
    }
}

#[test]
fn blocks_are_what_the_oracle_bans() {
    let snapshot = cluster(overlapping());
    let bans = bans(&snapshot);
    assert_eq!(bans.iter().map(|ban| &*ban.name).collect::<Vec<_>>(), ["everybody", "web"]);
    let named = snapshot
        .ban_lists
        .values()
        .flat_map(|list| list.entries.iter().map(|entry| entry.cidr).chain(list.except.clone()));
    let blocks: Vec<IpNet> = named.chain(bans.iter().flat_map(|ban| ban.blocks.clone())).collect();
    let edges = blocks.iter().flat_map(|block| [block.network(), block.broadcast()]);
    let samples: Vec<IpAddr> =
        edges.flat_map(|edge| [Some(edge), next(edge, true), next(edge, false)]).flatten().collect();
    assert!(samples.len() > 300, "{}", samples.len());
    for ban in &bans {
        for address in &samples {
            let judged =
                standings(&snapshot, *address).iter().any(|standing| standing.bans() && standing.target == ban.target);
            assert_eq!(ban.blocks.iter().any(|block| block.contains(address)), judged, "{address} for {}", ban.name);
        }
        // No two of them are one.
        assert_eq!(IpNet::aggregate(&ban.blocks).len(), ban.blocks.len());
    }
}

fn kinds(policies: &Policies) -> Vec<String> {
    let name = |object: &Value| {
        let namespace = object["metadata"]["namespace"].as_str().map(|name| format!("{name}/")).unwrap_or_default();
        format!("{} {namespace}{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
    };
    policies.objects.iter().map(name).collect()
}

#[test]
fn no_network_policy_opens_what_another_closes() {
    let mut snapshot = cluster(vec![list("abuse", &["203.0.113.0/25"], &[])]);
    let isolating = |name: &str, egress: bool| NetworkPolicy {
        name: ObjectName::new("db", name),
        subjects: Selector::everything(),
        rules: PerDirection { ingress: Some(Vec::new()), egress: egress.then(Vec::new) },
        unreadable: None,
        audit: false,
    };
    let written = |snapshot: &Snapshot| engines::network_policies(&bans(snapshot), snapshot);
    let types = |policies: &Policies| policies.objects[0]["spec"]["policyTypes"].clone();

    let policies = written(&snapshot);
    assert_eq!(kinds(&policies), ["NetworkPolicy db/palisade-bans", "NetworkPolicy web/palisade-bans"]);
    assert_eq!(types(&policies), json!(["Ingress", "Egress"]));
    let peers = json!([
        { "namespaceSelector": {} },
        { "ipBlock": { "cidr": "0.0.0.0/0", "except": ["203.0.113.0/25"] } },
        { "ipBlock": { "cidr": "::/0" } },
    ]);
    assert_eq!(policies.objects[0]["spec"]["egress"], json!([{ "to": peers }]));
    assert!(!policies.incomplete);

    let nowhere = Snapshot { namespaces: [].into(), ..snapshot.clone() };
    assert!(written(&nowhere).incomplete);

    for (name, egress) in [("palisade-bans", true), ("closed", false), ("out", true)] {
        let policy = isolating(name, egress);
        snapshot.policies.insert(policy.name.clone(), Arc::new(policy));
        let policies = written(&snapshot);
        assert_eq!(policies.incomplete, name != "palisade-bans");
        match name {
            // Our own of last time.
            "palisade-bans" => assert_eq!(types(&policies), json!(["Ingress", "Egress"])),
            "closed" => assert_eq!(types(&policies), json!(["Egress"])),
            _ => assert_eq!(kinds(&policies), ["NetworkPolicy web/palisade-bans"]),
        }
    }
}

#[test]
fn of_two_bans_network_policies_have_the_first() {
    let both = cluster(overlapping());
    let policies = engines::network_policies(&bans(&both), &both);
    assert_eq!(kinds(&policies), ["NetworkPolicy db/palisade-bans", "NetworkPolicy web/palisade-bans"]);
    assert!(
        policies.incomplete && policies.warnings.iter().any(|warning| warning.starts_with("BanList web: left out"))
    );

    let alone = cluster(vec![for_web(list("web", &["198.51.100.0/24"], &[]))]);
    let policies = engines::network_policies(&bans(&alone), &alone);
    assert_eq!(kinds(&policies), ["NetworkPolicy web/palisade-bans-for-web"]);
    assert!(!policies.incomplete);
}

#[test]
fn names_that_are_no_labels_are_said() {
    let long = "a".repeat(50);
    let snapshot = cluster(vec![for_web(list(&long, &["198.51.100.0/24"], &[]))]);
    let policies = engines::calico(&bans(&snapshot));
    assert_eq!(kinds(&policies), ["Tier palisade"]);
    assert!(policies.incomplete);
}
