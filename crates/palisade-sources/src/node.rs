//! v1 `Node`.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::{AddressType, Node};

use crate::metadata::Metadata;
use crate::reading::{At, Reading};

/// Reads a node.
pub fn read(root: &At<'_>, metadata: Metadata, reading: &mut Reading) -> Node {
    let mut node = Node { labels: metadata.labels, ..Node::default() };
    if let Some(spec) = root.field("spec") {
        if let Some(at) = spec.field("podCIDR") {
            pod_cidr(&at, &mut node, reading);
        }
        if let Some(at) = spec.field("podCIDRs") {
            for item in at.items(reading).into_iter().flatten() {
                pod_cidr(&item, &mut node, reading);
            }
        }
    }
    let status = root.field("status");
    if let Some(at) = status.as_ref().and_then(|status| status.field("addresses")) {
        for item in at.items(reading).into_iter().flatten() {
            address(&item, &mut node, reading);
        }
    }
    node.other_types.retain(|_, types| *types != [AddressType::InternalIP]);
    node
}

fn pod_cidr(at: &At<'_>, node: &mut Node, reading: &mut Reading) {
    let Some(text) = at.text(reading) else { return };
    match text.parse::<IpNet>() {
        Ok(net) if !node.pod_cidrs.contains(&net.trunc()) => node.pod_cidrs.push(net.trunc()),
        Ok(_) => {}
        Err(_) => reading.error(at, format!("expected a block of addresses, found '{text}'")),
    }
}

/// One `NodeAddress`. Host and DNS names are no addresses; a host name may be written as one.
fn address(at: &At<'_>, node: &mut Node, reading: &mut Reading) {
    let (Some(kind), Some(text)) = (at.node.get_text("type"), at.node.get_text("address")) else {
        reading.error(at, "expected a type and an address");
        return;
    };
    match text.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            if !node.addresses.contains(&address) {
                node.addresses.push(address);
            }
            let types = node.other_types.entry(address).or_default();
            let found = AddressType::DEFAULT.into_iter().find(|known| known.name() == kind);
            types.extend(found.filter(|found| !types.contains(found)));
        }
        Err(_) => {
            if matches!(kind, "InternalIP" | "ExternalIP") {
                reading.error(at, format!("address: expected an IP address, found '{text}'"));
            }
        }
    }
}
