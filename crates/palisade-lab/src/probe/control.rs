//! The control flows that give silence a meaning.

use std::net::IpAddr;

use palisade_core::Traffic;

use super::Shot;
use crate::topology::{Place, Topology};

/// The flows that must be answered before the silence of a packet counts.
pub(crate) fn controls(topology: &Topology, shot: &Shot) -> Vec<Shot> {
    let family = shot.family();
    let from_machine = topology.machine_of(&shot.from);
    let to_machine = topology.machine_of(&shot.to);
    let address = |place: &Place| topology.control_address(place, family);
    let echo = |from: &Place, source: IpAddr, to: &Place| {
        Some(Shot {
            from: from.clone(),
            source,
            to: to.clone(),
            destination: address(to)?,
            traffic: Traffic::Icmp,
            dial: None,
        })
    };

    let mut controls = Vec::new();
    // The server answers: its node asks, since nobody forbids it to; outside, where an address may be banned, the server's own place.
    let asker = to_machine.clone().unwrap_or(Place::Outside);
    if let Some(source) = address(&asker) {
        controls.push(Shot {
            from: asker,
            source,
            to: shot.to.clone(),
            destination: shot.destination,
            traffic: shot.traffic,
            dial: None,
        });
    }
    // Who asks itself proves nothing about the core. All external addresses are at the end of one route.
    let ends = [(&shot.from, &from_machine), (&shot.to, &to_machine)];
    for machine in ends.into_iter().filter_map(|(_, machine)| machine.as_ref()) {
        if ends.iter().any(|(place, _)| **place == Place::Outside) || shot.to == *machine {
            controls.extend(address(&Place::Outside).and_then(|source| echo(&Place::Outside, source, machine)));
        }
    }
    // The source can send: to its node, or across the core if it is a machine itself. An external one may be banned.
    let listener = match (&shot.from, &from_machine) {
        (Place::Pod(_), Some(node)) => Some(node.clone()),
        (Place::Node(_) | Place::Server(_), _) => Some(Place::Outside),
        _ => None,
    };
    controls.extend(listener.and_then(|listener| echo(&shot.from, shot.source, &listener)));
    // The machines reach one another.
    if let (Some(from), Some(to)) = (&from_machine, &to_machine)
        && from != to
    {
        controls.extend(address(from).and_then(|source| echo(from, source, to)));
    }
    controls
}
