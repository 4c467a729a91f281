//! Packets with a banned end, by name.

use k8s_openapi::jiff::Timestamp;
use palisade_core::{Audit, Direction, Family, Snapshot, Traffic};
use palisade_nft::{Ban, Headers};
use palisade_sim::{Banned, Packet, decide};

use super::{Addresses, DeniedPacket, endpoint, pod, protocol, traffic};

/// Names a packet that a list bans, or would, by the cluster as it is now. It is told as it was sent: whether it is a reply makes no
/// difference to a ban.
pub fn name(snapshot: &Snapshot, ban: Ban, headers: &Headers, time: Timestamp) -> DeniedPacket {
    let (source, destination) = (headers.source, headers.destination);
    let packet = Packet {
        family: Family::of(source),
        source: endpoint(snapshot, source),
        destination: endpoint(snapshot, destination),
        traffic: traffic(headers.protocol, headers.destination_port).unwrap_or(Traffic::Icmp),
        via: None,
    };
    let decision = decide(snapshot, &packet);
    let bans: &[Banned] = match ban {
        Ban::Denied => &decision.bans,
        Ban::WouldDeny => decision.audit_bans(),
    };
    let comes = bans.iter().all(|ban| ban.address == source);
    let reasons: Vec<String> = bans.iter().map(ToString::to_string).collect();
    let no_more = "it was banned when the packet came, and is not now".to_string();
    DeniedPacket {
        time,
        source: packet.source.to_string(),
        destination: packet.destination.to_string(),
        protocol: protocol(headers.protocol),
        port: headers.destination_port,
        direction: if comes { Direction::Ingress } else { Direction::Egress }.name().to_string(),
        pod: pod(snapshot, if comes { destination } else { source }),
        node: None,
        policies: bans.iter().map(|ban| ban.list.to_string()).collect(),
        audit: (ban == Ban::WouldDeny).then(|| Audit::WouldDeny.name().to_string()),
        reason: if reasons.is_empty() { no_more } else { reasons.join("; ") },
        addresses: Addresses { source, destination },
    }
}
