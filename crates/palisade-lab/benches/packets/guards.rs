//! What it costs a packet that ports of nodes are guarded: the table of host policies, beside one accept.

use std::net::{IpAddr, Ipv4Addr};

use palisade_core::{
    GroupId, Guard, GuardId, GuardedPorts, HostScope, HostTables, Otherwise, PeerGroup, Port, PortRange, Transport,
};
use palisade_nft::ruleset::CtState;
use palisade_nft::{Settings, lower_host};

use crate::beside::Kind;
use crate::cluster::Flow;
use crate::frame::Traffic;
use crate::router::Router;
use crate::sampling::Lane;
use crate::{LIVE_FLOWS, Result, accept, open_flows};

/// How many nodes have guarded ports.
const NODES: u8 = 100;
/// The port that is guarded where that of the flows is not.
const OTHER_PORT: u16 = 9000;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// To a port that no node guards.
    Unguarded,
    /// To a port that nodes guard, of what is no node.
    NoNode,
    /// To a guarded port of a node, by a client that is admitted.
    Guarded,
}

impl Kind for To {
    const ALL: &[To] = &[To::Unguarded, To::NoNode, To::Guarded];

    fn name(self) -> &'static str {
        match self {
            To::Unguarded => "to a port that nobody guards",
            To::NoNode => "to a guarded port, of what is no node",
            To::Guarded => "to a guarded port of a node, admitted",
        }
    }

    fn lookups(self) -> usize {
        match self {
            To::Unguarded => 1,
            To::NoNode => 2,
            To::Guarded => 4,
        }
    }

    fn lane(to: Option<To>, flows: &[Flow]) -> Result<Lane> {
        let mut router = Router::new()?;
        router.enforce(&accept(CtState::Established))?;
        if let Some(to) = to {
            router.guard(&lower_host(&tables(to, flows)?, &Settings::default()))?;
        }
        let mut lane = Lane::new(router, Traffic::same_flows(flows, LIVE_FLOWS))?;
        open_flows(&mut lane, flows)?;
        Ok(lane)
    }
}

/// Every node admits every node, and the clients of the flows.
fn tables(to: To, flows: &[Flow]) -> Result<HostTables> {
    let (guard, group) = (GuardId("guard".into()), GroupId("nodes".into()));
    let mut nodes: Vec<IpAddr> = (0..NODES).map(|number| Ipv4Addr::new(10, 251, 0, number).into()).collect();
    if to == To::Guarded {
        nodes.extend(flows.iter().map(|flow| flow.destination));
    }
    let number = if to == To::Unguarded { OTHER_PORT } else { flows.first().ok_or("there are no flows")?.port };
    let range = PortRange::single(Port::new(number).ok_or("0 is no port")?);
    let ports = GuardedPorts {
        transport: Transport::Udp,
        range,
        scope: HostScope::Everything,
        admitted: Some(group.clone()),
        otherwise: Otherwise::Drop,
    };
    let members = nodes.iter().copied().chain(flows.iter().map(|flow| flow.source));
    let mut tables = HostTables::default();
    tables.groups.insert(group, PeerGroup { addresses: members.collect(), ..PeerGroup::default() });
    tables.definitions.insert(guard.clone(), Guard { ports: vec![ports], ..Guard::default() });
    tables.guards.nodes = nodes.into_iter().map(|node| (node, guard.clone())).collect();
    Ok(tables)
}
