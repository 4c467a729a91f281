//! Which flows of exact sets are shown, and what is said beside them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{End, PodName, Snapshot};
use palisade_reach::{Party, TrafficSet};
use palisade_sim::{Owner, endpoints};

use crate::args::WantedArguments;
use crate::output::{Hinted, note};

/// The flows that are wanted.
pub struct Wanted<'a> {
    from: Option<Ends>,
    to: Option<Ends>,
    traffic: Option<&'a TrafficSet>,
}

/// What an end means.
#[derive(Default)]
struct Ends {
    pods: BTreeSet<PodName>,
    addresses: Vec<IpAddr>,
}

impl<'a> Wanted<'a> {
    /// What the arguments mean in these clusters; an error if an end is in none of them.
    pub fn new(arguments: &'a WantedArguments, snapshots: &[&Snapshot]) -> Result<Wanted<'a>, Hinted> {
        let ends = |text: &Option<String>| text.as_deref().map(|text| Ends::new(text, snapshots)).transpose();
        Ok(Wanted { from: ends(&arguments.from)?, to: ends(&arguments.to)?, traffic: arguments.port.as_ref() })
    }

    /// Whether flows between these are wanted.
    pub fn is_between(&self, from: Party<'_>, to: Party<'_>) -> bool {
        let holds = |ends: &Option<Ends>, party| ends.as_ref().is_none_or(|ends| ends.holds(party));
        holds(&self.from, from) && holds(&self.to, to)
    }

    /// What of some traffic is wanted.
    pub fn of(&self, traffic: &Arc<TrafficSet>) -> Arc<TrafficSet> {
        self.traffic.map_or_else(|| Arc::clone(traffic), |wanted| Arc::new(traffic.intersection(wanted)))
    }
}

impl Ends {
    fn new(text: &str, snapshots: &[&Snapshot]) -> Result<Ends, Hinted> {
        let end: End = text.parse().map_err(|error: palisade_core::flow::FlowError| Hinted {
            message: error.message,
            hint: "write it as shop/web, shop/deployment/web or 203.0.113.7".to_string(),
        })?;
        let mut ends = Ends::default();
        let mut unknown = None;
        for snapshot in snapshots {
            match endpoints(snapshot, &end) {
                Ok(found) => {
                    for endpoint in found {
                        match endpoint.owner {
                            Owner::Pod(pod) => {
                                ends.pods.insert(pod);
                            }
                            Owner::Outside => ends.addresses.push(endpoint.address),
                            Owner::Node | Owner::Server(_) => return Err(no_end(text)),
                        }
                    }
                }
                Err(error) => unknown = Some(Hinted { message: error.message, hint: error.hint }),
            }
        }
        match unknown {
            Some(error) if ends.pods.is_empty() && ends.addresses.is_empty() => Err(error),
            _ => Ok(ends),
        }
    }

    fn holds(&self, party: Party<'_>) -> bool {
        match party {
            Party::Pods(class) => class.pods.iter().any(|pod| self.pods.contains(*pod)),
            Party::Addresses(range) => {
                self.addresses.iter().any(|address| range.first <= *address && *address <= range.last)
            }
        }
    }
}

fn no_end(text: &str) -> Hinted {
    let hint = "ends are pods with addresses of their own, workloads and addresses outside; 'palisade explain' judges flows of nodes";
    Hinted {
        message: format!("{text} is a node or a server, which exact sets do not have yet"),
        hint: hint.to_string(),
    }
}

/// Says on stderr what of the input has no say in exact sets.
pub fn tell_what_is_left_out(snapshots: &[&Snapshot]) {
    if let Some(left_out) = what_is_left_out(snapshots) {
        note(&format!("note: {left_out}"));
    }
}

/// What of the input has no say in exact sets, as a sentence; `None` if all has.
pub fn what_is_left_out(snapshots: &[&Snapshot]) -> Option<String> {
    let has = |is_in: fn(&Snapshot) -> bool| snapshots.iter().any(|snapshot| is_in(snapshot));
    let kinds = [
        ("HostPolicies", has(|snapshot| !snapshot.host_policies.is_empty())),
        ("BanLists", has(|snapshot| !snapshot.ban_lists.is_empty())),
        ("NodeAllowlists", has(|snapshot| !snapshot.servers.is_empty())),
    ];
    let kinds: Vec<&str> = kinds.into_iter().filter(|(_, is_in)| *is_in).map(|(kind, _)| kind).collect();
    (!kinds.is_empty()).then(|| format!("NetworkPolicies alone count here; left out are {}", kinds.join(", ")))
}
