//! What other programs do with packets on this node, as far as names give it away.
#![expect(clippy::disallowed_methods, reason = "reads what the kernel says under /proc/net")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use palisade_nft::{ForeignName, ForeignTable, default_drops, foreign_tables};

use crate::report::Obstacle;

const EBPF_DATAPATH: &str = "ebpf-datapath";
const FLOWTABLE: &str = "flowtable";
/// The obstacles by which packets to ports of nodes, or of banned addresses, meet no rule. Not IPVS: it takes packets later than they are asked.
pub const PAST_HOOKS: [&str; 2] = [EBPF_DATAPATH, FLOWTABLE];

/// How the names of the chains of other engines begin, and the engine.
const CHAINS: [(&str, &str); 7] = [
    ("KUBE-NWPLCY-", "kube-router"),
    ("KUBE-POD-FW-", "kube-router"),
    ("KUBE-ROUTER-", "kube-router"),
    ("KUBE-RESTRICT-IP", "kube-restrict-ip"),
    ("cali-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("WEAVE-NPC", "Weave Net"),
];
/// How the names of tables of other engines begin.
const TABLES: [(&str, &str); 2] = [("kube-network-policies", "kube-network-policies"), ("calico", "Calico")];
/// How interfaces are called of datapaths that pass by netfilter.
const INTERFACES: [(&str, &str); 3] = [("cilium_", "Cilium"), ("bpfin.cali", "Calico"), ("bpfout.cali", "Calico")];
/// The interface of kube-proxy's IPVS mode.
const IPVS_INTERFACE: &str = "kube-ipvs0";
/// The lines of `/proc/net/ip_vs` before the first service.
const IPVS_HEAD_LINES: usize = 3;

/// What is found.
pub(super) fn look() -> Vec<Obstacle> {
    // What is not there cannot be read.
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let tables = foreign_tables().unwrap_or_default();
    let mut obstacles: Vec<Obstacle> = [
        datapath(&read("/proc/net/dev")),
        ipvs(&read("/proc/net/dev"), &read("/proc/net/ip_vs")),
        flowtables(&tables),
        rules(&tables),
        default_drop(&tables),
    ]
    .into_iter()
    .flatten()
    .collect();
    obstacles.extend(legacy(&read("/proc/net/ip_tables_names"), &read("/proc/net/ip6_tables_names")));
    obstacles
}

/// The interfaces in `/proc/net/dev`.
fn interfaces(dev: &str) -> impl Iterator<Item = &str> {
    dev.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim())
}

fn datapath(dev: &str) -> Option<Obstacle> {
    let found = interfaces(dev).find_map(|name| {
        let (_, engine) = INTERFACES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
        Some((name, engine))
    });
    let (interface, engine) = found?;
    Some(Obstacle {
        name: EBPF_DATAPATH.to_string(),
        found: format!("interface {interface} belongs to the eBPF datapath of {engine}"),
        means: "packets may pass by netfilter: policies do not hold for those".to_string(),
        hint: Some(format!("let {engine} enforce the policies, or run it without its eBPF datapath")),
    })
}

fn ipvs(dev: &str, services: &str) -> Option<Obstacle> {
    let count = services.lines().count().saturating_sub(IPVS_HEAD_LINES);
    let found = match interfaces(dev).any(|name| name == IPVS_INTERFACE) {
        true => format!("there is interface {IPVS_INTERFACE}: kube-proxy is in IPVS mode"),
        false if count > 0 => format!("the kernel's IPVS has {count} services"),
        false => return None,
    };
    Some(Obstacle {
        name: "ipvs".to_string(),
        found,
        means: "what goes to pods through Services may pass by the forward hook: policies do not hold for it"
            .to_string(),
        hint: Some("kube-proxy in nftables or iptables mode".to_string()),
    })
}

fn flowtables(tables: &BTreeMap<ForeignName, ForeignTable>) -> Option<Obstacle> {
    let named: Vec<String> = tables
        .iter()
        .flat_map(|(name, table)| table.flowtables.iter().map(move |flowtable| format!("{name} {flowtable}")))
        .collect();
    (!named.is_empty()).then(|| Obstacle {
        name: FLOWTABLE.to_string(),
        found: format!("there are flowtables: {}", named.join(", ")),
        means: "packets of flows in a flowtable meet no rule: such a flow is not cut when a policy changes".to_string(),
        hint: None,
    })
}

/// Rules of other engines, at work or left behind.
fn rules(tables: &BTreeMap<ForeignName, ForeignTable>) -> Option<Obstacle> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, table) in tables {
        let text = name.to_string();
        let own_name = text.split_once(' ').map_or("", |(_, name)| name);
        if let Some((_, engine)) = TABLES.iter().find(|(prefix, _)| own_name.starts_with(prefix)) {
            found.entry(engine).or_default().insert(format!("table {text}"));
        }
        for chain in &table.chains {
            if let Some((prefix, engine)) = CHAINS.iter().find(|(prefix, _)| chain.starts_with(prefix)) {
                found.entry(engine).or_default().insert(format!("chains {prefix}* in table {text}"));
            }
        }
    }
    let parts: Vec<String> = found
        .iter()
        .map(|(engine, places)| {
            format!("{engine} ({})", places.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        })
        .collect();
    (!parts.is_empty()).then(|| Obstacle {
        name: "foreign-rules".to_string(),
        found: format!("there are rules of {}", parts.join(" and ")),
        means: "they judge packets too, also if the program that made them is gone: a packet has to pass both"
            .to_string(),
        hint: Some("remove them if that program is not in use any more; a reboot does it too".to_string()),
    })
}

/// Firewalls of the node that drop what they do not name: what policies of ports admit has to be admitted there as well.
fn default_drop(tables: &BTreeMap<ForeignName, ForeignTable>) -> Option<Obstacle> {
    let named: Vec<String> =
        default_drops(tables).map(|(name, chain)| format!("chain {chain} in table {name}")).collect();
    let (name, chain) = default_drops(tables).next()?;
    Some(Obstacle {
        name: "default-drop".to_string(),
        found: format!("what arrives for the node is dropped unless it is named: {}", named.join(", ")),
        means: "whom a HostPolicy admits to a port, or what a pod sends to its node, may be dropped there all the same"
            .to_string(),
        hint: Some(format!("admit the ports there, too: nft add rule {name} {chain} tcp dport PORT accept")),
    })
}

/// The rules of iptables-legacy cannot be listed; that it is in use can.
fn legacy(names4: &str, names6: &str) -> Option<Obstacle> {
    let tables: BTreeSet<&str> = names4.lines().chain(names6.lines()).filter(|name| *name == "filter").collect();
    (!tables.is_empty()).then(|| Obstacle {
        name: "iptables-legacy".to_string(),
        found: "iptables-legacy has a filter table on this node".to_string(),
        means: "its rules judge packets too; whether another engine left some there is not looked at".to_string(),
        hint: Some("iptables-legacy-save shows them".to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n  eth0: 3 4\n";

    fn check(obstacle: Option<&Obstacle>, expected: &str) {
        assert_eq!(obstacle.map_or("", |obstacle| obstacle.found.as_str()), expected);
    }

    #[test]
    fn datapaths_are_known_by_their_interfaces() {
        check(datapath(DEV).as_ref(), "");
        let cilium = format!("{DEV}cilium_host: 5 6\n");
        check(datapath(&cilium).as_ref(), "interface cilium_host belongs to the eBPF datapath of Cilium");
    }

    #[test]
    fn ipvs_is_known_by_its_interface_or_its_services() {
        let head = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port\n  -> RemoteAddress:Port\n";
        check(ipvs(DEV, "").as_ref(), "");
        check(ipvs(DEV, head).as_ref(), "");
        check(ipvs(DEV, &format!("{head}TCP  0A600001:01BB rr\n")).as_ref(), "the kernel's IPVS has 1 services");
        let with = format!("{DEV}kube-ipvs0: 0 0\n");
        check(ipvs(&with, head).as_ref(), "there is interface kube-ipvs0: kube-proxy is in IPVS mode");
    }

    #[test]
    fn legacy_tables_count_if_they_filter() {
        check(legacy("nat\n", "").as_ref(), "");
        check(legacy("nat\nfilter\n", "").as_ref(), "iptables-legacy has a filter table on this node");
    }
}
