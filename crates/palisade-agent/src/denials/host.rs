//! Packets to guarded ports of nodes, and replies from them, by name.

use k8s_openapi::jiff::Timestamp;
use palisade_core::{Audit, Direction, Family, Snapshot};
use palisade_nft::{Guarded, Headers};
use palisade_sim::{Decision, HostDecision, Owner, Packet, decide};

use super::{Addresses, DeniedPacket, endpoint, protocol, traffic};

/// Names a packet that a guard denied, or would, by the cluster as it is now.
pub fn name(snapshot: &Snapshot, guarded: Guarded, headers: &Headers, time: Timestamp) -> DeniedPacket {
    let seen = seen(snapshot, guarded, headers);
    let denied = seen.denied(guarded);
    let policies = denied.map(|denied| denied.guarded_by.iter().map(|guarding| guarding.policy.to_string()).collect());
    let audit = match guarded {
        Guarded::WouldDeny => Some(Audit::WouldDeny),
        Guarded::Denied => seen.decision.as_ref().and_then(Decision::audit).filter(|audit| *audit == Audit::WouldAllow),
    };
    let node = seen.packet.destination.node.as_ref().filter(|_| seen.goes_to_node()).map(ToString::to_string);
    let no_more = || "it was so when the packet came; by the policies of now the port is open to it".to_string();
    DeniedPacket {
        time,
        source: seen.packet.source.to_string(),
        destination: seen.packet.destination.to_string(),
        protocol: protocol(headers.protocol),
        port: seen.port,
        direction: Direction::Ingress.name().to_string(),
        pod: None,
        node,
        policies: policies.unwrap_or_default(),
        audit: audit.map(|audit| audit.name().to_string()),
        reason: denied.map_or_else(no_more, ToString::to_string),
        addresses: Addresses { source: seen.packet.source.address, destination: seen.packet.destination.address },
    }
}

/// The log does not say whether the packet is a reply: it is what the policies of now deny, or else what goes to a node.
fn seen(snapshot: &Snapshot, guarded: Guarded, headers: &Headers) -> Seen {
    let sent = Seen::of(snapshot, headers, false);
    if sent.denied(guarded).is_some() {
        return sent;
    }
    let answered = Seen::of(snapshot, headers, true);
    let is_reply = answered.denied(guarded).is_some() || answered.goes_to_node() && !sent.goes_to_node();
    if is_reply { answered } else { sent }
}

/// A logged packet, read as one that goes to a port of a node, or as the reply to one.
struct Seen {
    packet: Packet,
    port: Option<u16>,
    decision: Option<Decision>,
}

impl Seen {
    fn of(snapshot: &Snapshot, headers: &Headers, is_reply: bool) -> Seen {
        let (source, destination, port) = if is_reply {
            (headers.destination, headers.source, headers.source_port)
        } else {
            (headers.source, headers.destination, headers.destination_port)
        };
        let traffic = traffic(headers.protocol, port);
        let packet = Packet {
            family: Family::of(source),
            source: endpoint(snapshot, source),
            destination: endpoint(snapshot, destination),
            traffic: traffic.unwrap_or(palisade_core::Traffic::Icmp),
            via: None,
        };
        let decision = traffic.map(|_| decide(snapshot, &packet));
        Seen { packet, port, decision }
    }

    fn goes_to_node(&self) -> bool {
        self.packet.destination.owner == Owner::Node
    }

    /// Why it is denied, or would be.
    fn denied(&self, guarded: Guarded) -> Option<&HostDecision> {
        let decision = self.decision.as_ref()?;
        let host = match guarded {
            Guarded::Denied => &decision.host,
            Guarded::WouldDeny => &decision.shadow.as_ref()?.host,
        };
        host.iter().find(|host| !host.outcome.admits())
    }
}
