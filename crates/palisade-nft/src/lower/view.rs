//! The ways to look at a packet: by direction, family and orientation; and the elements of the maps of each.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_core::tables::{SubjectPort, Subjects};
use palisade_core::{Admit, Direction, Family, Layer, RestId};

use super::groups::{admit_verdict, rest_chain};
use crate::ruleset::{Comment, Field, Key, Name, SetDefinition, Side, Value, ValueType, Verdict};

/// How a packet lies to the connection it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orientation {
    /// From the end that opened the connection.
    Sent,
    /// To the end that opened it.
    Reply,
}

impl Orientation {
    pub(crate) const ALL: [Orientation; 2] = [Orientation::Sent, Orientation::Reply];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Orientation::Sent => "",
            Orientation::Reply => "_reply",
        }
    }

    /// Where the subject is: egress is judged for the opener, ingress for the other end.
    pub(crate) fn subject(self, direction: Direction) -> Side {
        match (self, direction) {
            (Orientation::Sent, Direction::Egress) | (Orientation::Reply, Direction::Ingress) => Side::Source,
            (Orientation::Sent, Direction::Ingress) | (Orientation::Reply, Direction::Egress) => Side::Destination,
        }
    }

    /// Where the peer of the subject is.
    pub(crate) fn peer(self, direction: Direction) -> Side {
        self.subject(direction).other()
    }

    /// Where the port that policies speak of is: at the end that did not open the connection.
    pub(crate) fn port(self) -> Side {
        match self {
            Orientation::Sent => Side::Destination,
            Orientation::Reply => Side::Source,
        }
    }
}

/// What is known of an address of the node in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pod {
    /// It is isolated, and this holds beyond its exact ports.
    Isolated(RestId),
    /// It is a pod of the node that nothing isolates.
    Known,
}

impl Pod {
    /// `None` if nothing is known of the address: it passes, unless it is in the pod ranges.
    pub(super) fn at(address: IpAddr, subjects: &Subjects, known: &BTreeSet<IpAddr>) -> Option<Pod> {
        let isolated = Pod::isolated(address, subjects);
        isolated.or_else(|| known.contains(&address).then_some(Pod::Known))
    }

    /// `None` if it is not isolated.
    pub(super) fn isolated(address: IpAddr, subjects: &Subjects) -> Option<Pod> {
        subjects.isolated.get(&address).cloned().map(Pod::Isolated)
    }
}

/// What the names of the maps and chains of a layer begin with.
pub(crate) fn prefix(layer: Layer) -> &'static str {
    match layer {
        Layer::InForce => "",
        Layer::Shadow => "audit_",
    }
}

/// One way to look at a packet: the pair of maps for a direction, a family and an orientation.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) layer: Layer,
    pub(super) direction: Direction,
    pub(super) family: Family,
    pub(super) orientation: Orientation,
}

impl View {
    pub(super) fn all() -> impl Iterator<Item = View> {
        let layers = [Layer::InForce, Layer::Shadow].into_iter();
        layers.flat_map(|layer| Direction::ALL.into_iter().flat_map(move |direction| View::of(layer, direction)))
    }

    /// Those of a direction. The shadow is asked about packets that open a connection alone, and they are as sent.
    pub(super) fn of(layer: Layer, direction: Direction) -> impl Iterator<Item = View> {
        let orientations = match layer {
            Layer::InForce => Orientation::ALL.as_slice(),
            Layer::Shadow => &[Orientation::Sent],
        };
        orientations.iter().flat_map(move |orientation| {
            Family::ALL.into_iter().map(move |family| View { layer, direction, family, orientation: *orientation })
        })
    }

    pub(super) fn ports_map(self) -> Name {
        self.map("ports")
    }

    pub(super) fn pods_map(self) -> Name {
        self.map("pods")
    }

    fn map(self, of: &str) -> Name {
        let View { layer, direction, family, orientation } = self;
        format!("{}{direction}_{of}{}{}", prefix(layer), family.digit(), orientation.suffix()).into()
    }

    pub(super) fn subject(self) -> Field {
        Field::Address(self.family, self.orientation.subject(self.direction))
    }

    pub(super) fn ports_definition(self) -> SetDefinition {
        let text = match (self.layer, self.direction) {
            (Layer::InForce, Direction::Egress) => {
                "pod . transport . port of the peer : to whom the pod may open connections there"
            }
            (Layer::InForce, Direction::Ingress) => {
                "pod . transport . port of the pod : from whom the pod takes connections there"
            }
            (Layer::Shadow, Direction::Egress) => {
                "pod . transport . port of the peer : to whom it might open connections there, with audited policies"
            }
            (Layer::Shadow, Direction::Ingress) => {
                "pod . transport . port of the pod : from whom it would take connections there, with audited policies"
            }
        };
        SetDefinition {
            comment: Some(Comment::new(text)),
            key: vec![address_type(self.family), ValueType::Protocol, ValueType::Port],
            verdicts: true,
            interval: false,
            dynamic: None,
        }
    }

    pub(super) fn pods_definition(self) -> SetDefinition {
        let direction = self.direction;
        let text = match self.layer {
            Layer::InForce => {
                format!("pods isolated for {direction} : what holds on all other ports; other known pods : return")
            }
            Layer::Shadow => format!("pods audited for {direction} : what would hold on all other ports"),
        };
        SetDefinition {
            comment: Some(Comment::new(&text)),
            key: vec![address_type(self.family)],
            verdicts: true,
            interval: false,
            dynamic: None,
        }
    }

    /// The element for an exact port, if the subject is of this family.
    pub(super) fn port_element(self, key: &SubjectPort, admit: &Admit) -> Option<(Key, Option<Verdict>)> {
        (Family::of(key.address) == self.family).then(|| (port_key(key), Some(self.admit(admit))))
    }

    /// The element for a pod of the node, if it is of this family.
    pub(super) fn pod_element(self, address: IpAddr, pod: &Pod) -> Option<(Key, Option<Verdict>)> {
        let verdict = match pod {
            Pod::Isolated(rest) => Verdict::Goto(rest_chain(rest, self.orientation)),
            Pod::Known => Verdict::Return,
        };
        (Family::of(address) == self.family).then(|| (address_key(address), Some(verdict)))
    }

    pub(super) fn admit(self, admit: &Admit) -> Verdict {
        admit_verdict(admit, self.orientation.peer(self.direction))
    }
}

pub(super) fn port_key(key: &SubjectPort) -> Key {
    Key::Concat(Box::new([
        Value::from(key.address),
        Value::Protocol(key.transport.number()),
        Value::Port(key.port.get()),
    ]))
}

pub(crate) fn address_key(address: IpAddr) -> Key {
    Key::Single(Value::from(address))
}

pub(crate) fn address_type(family: Family) -> ValueType {
    match family {
        Family::V4 => ValueType::Ipv4,
        Family::V6 => ValueType::Ipv6,
    }
}
