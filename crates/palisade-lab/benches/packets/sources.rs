//! What it costs a packet that nobody may send under the address of another: the table of routed pods, beside one accept.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use palisade_nft::ruleset::{CtState, Ruleset, Statement, Verdict};
use palisade_nft::{Attached, InterfaceName, Sources, lower_sources};

use crate::beside::Kind;
use crate::cluster::Flow;
use crate::frame::Traffic;
use crate::router::{FIRST_LINK_NAME, Router};
use crate::sampling::Lane;
use crate::{LIVE_FLOWS, Result, accept, open_flows};

/// How many other pods the node has.
const OTHER_PODS: u8 = 100;

/// By what kind of interface a packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// One that is bound to its address.
    Pod,
    /// A veth pair of which nothing is known.
    UnknownVeth,
    /// No veth pair.
    OtherKind,
}

impl Kind for By {
    const ALL: &[By] = &[By::Pod, By::UnknownVeth, By::OtherKind];

    fn name(self) -> &'static str {
        match self {
            By::Pod => "by the interface of a pod",
            By::UnknownVeth => "by a veth pair of which nothing is known",
            By::OtherKind => "by another kind of interface",
        }
    }

    fn lookups(self) -> usize {
        match self {
            By::OtherKind => 0,
            By::Pod => 1,
            By::UnknownVeth => 3,
        }
    }

    fn lane(by: Option<By>, flows: &[Flow]) -> Result<Lane> {
        let mut router = Router::new()?;
        router.enforce(&accept(CtState::Established))?;
        let mut lane = Lane::new(router, Traffic::same_flows(flows, LIVE_FLOWS))?;
        open_flows(&mut lane, flows)?;
        // Answers come by the same link, and would be forged.
        if let Some(by) = by {
            lane.router.hold(&ruleset(by, flows)?)?;
        }
        Ok(lane)
    }
}

fn ruleset(by: By, flows: &[Flow]) -> Result<Ruleset> {
    let name = |text: &str| InterfaceName::new(text).ok_or("no name of an interface");
    let mut sources = Sources::default();
    for number in 0..OTHER_PODS {
        let address = IpAddr::V4(Ipv4Addr::new(10, 250, 0, number));
        sources.interfaces.insert(name(&format!("veth{number:08x}"))?, [address].into());
        sources.taken.insert(address);
    }
    if by == By::Pod {
        let own: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.source).collect();
        sources.taken.extend(&own);
        sources.interfaces.insert(name(FIRST_LINK_NAME)?, own);
    }
    let mut ruleset = lower_sources(Attached::Routed, &sources);
    if by == By::OtherKind {
        // The links are veth pairs: to be done at the first comparison costs as much if it holds as if it does not.
        for rule in ruleset.chains.get_mut("prerouting").into_iter().flat_map(|chain| &mut chain.rules) {
            rule.pop();
            rule.push(Statement::Verdict(Verdict::Accept));
        }
    }
    Ok(ruleset)
}
