//! `palisade bans --as`: the same bans as policies of another engine, for dataplanes that pass netfilter by.
//!
//! What is banned is what the agents would program, as the fewest blocks that hold it and nothing else.

mod engines;
mod selectors;

use std::fmt::Write as _;

use clap::ValueEnum;
use ipnet::IpNet;
use palisade_agent::Timestamp;
use palisade_compile::compile;
use palisade_core::{AddressRange, AddressSet, BanList, BanListName, BanTarget, Layer, NodeName, Snapshot};
use serde_json::Value;

use crate::output::note;
use crate::yaml::to_yaml;

/// Whose policies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// networking.k8s.io/v1 `NetworkPolicy`, of any engine
    #[value(name = "networkpolicy")]
    NetworkPolicy,
    /// `CiliumClusterwideNetworkPolicy`
    Cilium,
    /// `GlobalNetworkSet` and `GlobalNetworkPolicy`
    Calico,
}

/// What lists ban for the same pods.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ban {
    /// Part of the names of the objects: that of the list, or `everybody`.
    name: String,
    /// The pods; `None` is everybody.
    target: Option<BanTarget>,
    /// The fewest blocks that hold what is banned and nothing else.
    blocks: Vec<IpNet>,
}

/// Objects of an engine, and what they cannot do.
#[derive(Debug, Default)]
struct Policies {
    objects: Vec<Value>,
    warnings: Vec<String>,
    /// Whether somebody is left without a ban that the engine could not express.
    incomplete: bool,
}

/// The policies as YAML, warnings as comments at its head and on stderr; and whether they ban all that is banned, as far as the engine can.
pub fn write(engine: Engine, snapshot: &Snapshot) -> (String, bool) {
    let bans = bans(snapshot);
    let mut policies = match engine {
        Engine::NetworkPolicy => engines::network_policies(&bans, snapshot),
        Engine::Cilium => engines::cilium(&bans),
        Engine::Calico => engines::calico(&bans),
    };
    let mut warnings = common_warnings(snapshot);
    warnings.append(&mut policies.warnings);
    let mut text = "# Written by 'palisade bans --as'; apply it with 'kubectl apply --server-side -f -'.\n".to_string();
    for warning in &warnings {
        note(&format!("warning: {warning}"));
        let _ = writeln!(text, "# {warning}");
    }
    for object in &policies.objects {
        let _ = writeln!(text, "---\n{}", to_yaml(object));
    }
    (text, !policies.incomplete && snapshot.ban_lists.values().all(|list| !is_partly_known(list)))
}

/// Whether nobody here knows what the source of a list holds.
fn is_partly_known(list: &BanList) -> bool {
    !list.audit && list.source.is_some() && list.of_source.is_empty()
}

/// What is banned in force: for everybody, then list by list for some pods.
fn bans(snapshot: &Snapshot) -> Vec<Ban> {
    // Bans are the same on all nodes, but for the flags of their agents.
    let tables = compile(snapshot, &NodeName::from("")).bans;
    let everybody =
        Ban { name: "everybody".to_string(), target: None, blocks: blocks(tables.everywhere(Layer::InForce)) };
    let targeted = tables.targeted.values().filter(|ban| ban.layer == Layer::InForce).filter_map(|ban| {
        let list = snapshot.ban_lists.get(&ban.description)?;
        Some(Ban { name: list.name.to_string(), target: list.target.clone(), blocks: blocks(&ban.banned) })
    });
    let mut bans: Vec<Ban> = [everybody].into_iter().chain(targeted).filter(|ban| !ban.blocks.is_empty()).collect();
    bans.sort_by(|one, other| (one.target.is_some(), &one.name).cmp(&(other.target.is_some(), &other.name)));
    bans
}

fn blocks(addresses: &AddressSet) -> Vec<IpNet> {
    addresses.iter().flat_map(AddressRange::blocks).collect()
}

fn common_warnings(snapshot: &Snapshot) -> Vec<String> {
    let lists = || snapshot.ban_lists.values();
    let mut warnings = Vec::new();
    let mut about = |names: Vec<&BanListName>, what: &str| {
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().map(|name| &**name).collect();
            warnings.push(format!("BanList {}: {what}", names.join(", ")));
        }
    };
    about(lists().filter(|list| list.audit).map(|list| &list.name).collect(), "audited, and left out");
    let partly = lists().filter(|list| is_partly_known(list)).map(|list| &list.name);
    about(partly.collect(), "what its source holds is not known here, and left out");
    let ends = || {
        lists()
            .filter(|list| !list.audit)
            .flat_map(|list| list.all_entries().filter_map(move |entry| Some((entry.expires?, &list.name))))
    };
    let mut names: Vec<&BanListName> = ends().map(|(_, name)| name).collect();
    names.dedup();
    let first = ends().map(|(end, _)| end).min().and_then(|end| Timestamp::from_second(end).ok());
    let first = first.map(|first| first.to_string()).unwrap_or_default();
    about(names, &format!("entries expire, the first at {first}; these policies do not, write them anew by then"));
    if snapshot.nodes.values().all(|node| node.addresses.is_empty()) {
        warnings.push("no address of a node is known: none is spared".to_string());
    }
    warnings.push(
        "what flags of agents spare (--protect, resolvers, the API server) is not known here; exceptCIDRs spares it"
            .to_string(),
    );
    warnings
}

#[cfg(test)]
mod tests;
