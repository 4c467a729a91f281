//! The control flows that give silence a meaning.

use std::net::IpAddr;

use palisade_core::Traffic;

use super::Shot;
use crate::topology::{Place, Topology};

/// The flows that must be answered before the silence of a packet counts.
pub(crate) fn controls(topology: &Topology, shot: &Shot) -> Vec<Shot> {
    let family = shot.family();
    let from_node = topology.node_of(&shot.from).map(Place::Node);
    let to_node = topology.node_of(&shot.to).map(Place::Node);
    let address = |place: &Place| topology.control_address(place, family);
    let echo = |from: &Place, source: IpAddr, to: &Place| {
        Some(Shot { from: from.clone(), source, to: to.clone(), destination: address(to)?, traffic: Traffic::Icmp })
    };

    let mut controls = Vec::new();
    // The server answers: its node asks, since nobody forbids it to; somebody across the core if the server is outside.
    let asker = match &shot.to {
        Place::Pod(_) | Place::Node(_) => to_node.clone(),
        Place::Outside => from_node.clone(),
    };
    let asker = asker.unwrap_or(Place::Outside);
    if let Some(source) = address(&asker) {
        controls.push(Shot {
            from: asker,
            source,
            to: shot.to.clone(),
            destination: shot.destination,
            traffic: shot.traffic,
        });
    }
    // A node that asks itself proves nothing about the core.
    if let Place::Node(_) = &shot.to {
        controls.extend(address(&Place::Outside).and_then(|source| echo(&Place::Outside, source, &shot.to)));
    }
    // The source can send: to its node, or across the core if it is a node or outside.
    let listener = match (&shot.from, &from_node) {
        (Place::Pod(_), Some(node)) => Some(node.clone()),
        (Place::Node(_), _) => Some(Place::Outside),
        _ => to_node.clone(),
    };
    controls.extend(listener.and_then(|listener| echo(&shot.from, shot.source, &listener)));
    // The nodes reach one another.
    if let (Some(from), Some(to)) = (&from_node, &to_node)
        && from != to
    {
        controls.extend(address(from).and_then(|source| echo(from, source, to)));
    }
    controls
}
