//! The names of chains and sets.

use palisade_core::{Family, GroupId, GuardId, HostScope, Layer, Transport};

use super::{End, View};
use crate::lower::{Orientation, prefix};
use crate::ruleset::Name;

pub fn end_name(end: End) -> &'static str {
    match end {
        End::Dropped => "dropped",
        End::Rejected => "rejected",
        End::WouldDeny => "would_deny",
    }
}

/// The chain that packets come to first.
pub fn look_up(view: View) -> String {
    let chain = match (view.layer, view.way) {
        (Layer::Shadow, _) => "audit_sent",
        (Layer::InForce, Orientation::Sent) => "sent",
        (Layer::InForce, Orientation::Reply) => "reply",
    };
    format!("{chain}{}", suffix(view.scope))
}

pub fn guard_name(id: &GuardId, view: View) -> String {
    format!("{}guard_{id}{}", prefix(view.layer), ending(view))
}

pub fn ports_map(id: &GuardId, transport: Transport, view: View) -> Name {
    format!("{}ports_{id}_{transport}{}", prefix(view.layer), ending(view)).into()
}

pub fn nodes_map(family: Family, view: View) -> Name {
    format!("{}nodes{}{}", prefix(view.layer), family.digit(), ending(view)).into()
}

/// A group is one set of addresses, whatever it is admitted to.
pub fn group_name(id: &GroupId, end: End, way: Orientation) -> Name {
    let to_or_from = match way {
        Orientation::Sent => "from",
        Orientation::Reply => "to",
    };
    format!("{to_or_from}_{id}_{}", end_name(end)).into()
}

pub fn guarded_set(transport: Transport, scope: HostScope) -> Name {
    format!("guarded_{transport}{}", suffix(scope)).into()
}

pub fn logged_set(family: Family) -> Name {
    format!("logged{}", family.digit()).into()
}

fn ending(view: View) -> String {
    format!("{}{}", view.way.suffix(), suffix(view.scope))
}

fn suffix(scope: HostScope) -> &'static str {
    match scope {
        HostScope::Everything => "",
        HostScope::HostSockets => "_sockets",
    }
}
