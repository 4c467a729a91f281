//! What a packet that concerns no banned address costs where very many are banned, against the same where few are.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use palisade_core::{AddressRange, AddressSet, BanTables};
use palisade_nft::ruleset::CtState;
use palisade_testkit::blocks::disjoint_blocks;
use palisade_testkit::rng::Rng;

use crate::cluster::Flow;
use crate::frame::Traffic;
use crate::router::Router;
use crate::sampling::{Lane, Samples};
use crate::{LIVE_FLOWS, Result, accept};

/// How many blocks are banned where few are, and where many.
pub(crate) const FEW: usize = 1_000;
pub(crate) const MANY: usize = 1_000_000;
/// How many sources there are where each packet has another; together they ask for far more of a set than caches hold.
const SOURCES: u32 = 100_000;
const PORT: u16 = 9;

/// Where packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Always the same address.
    One,
    /// Another random one each.
    Anywhere,
}

impl From {
    pub(crate) const ALL: [From; 2] = [From::One, From::Anywhere];

    pub(crate) fn name(self) -> &'static str {
        match self {
            From::One => "from one source",
            From::Anywhere => "from a fresh random source each",
        }
    }

    /// The most that a packet may cost with many, as a multiple of one with few.
    pub(crate) fn target(self) -> f64 {
        match self {
            From::One => 1.3,
            From::Anywhere => 1.6,
        }
    }
}

pub(crate) fn measure(time: Duration) -> Result<Vec<(From, Samples)>> {
    let banned: AddressSet = disjoint_blocks(MANY).iter().collect();
    let mut few = lane(disjoint_blocks(FEW).iter().collect())?;
    let mut many = lane(banned.clone())?;
    let mut measured = Vec::new();
    for from in From::ALL {
        let sources = if from == From::One { 1 } else { SOURCES };
        let flows = flows(&banned, sources)?;
        for lane in [&mut few, &mut many] {
            lane.traffic = Traffic::same_flows(&flows, LIVE_FLOWS.max(u64::from(sources)));
        }
        let mut samples = Samples::default();
        let start = Instant::now();
        while start.elapsed() < time {
            samples.take(&mut few, &mut many)?;
            // Else the table of connection tracking would fill.
            few.router.forget_flows()?;
            many.router.forget_flows()?;
        }
        measured.push((from, samples));
    }
    for (lane, blocks) in [(&few, FEW), (&many, MANY)] {
        let (lost, sent) = lane.lost()?;
        if lost > 0 {
            return Err(format!("with {blocks} bans {lost} of {sent} packets did not arrive").into());
        }
        check(lane, &banned)?;
    }
    Ok(measured)
}

/// A router on which these are banned.
fn lane(banned: AddressSet) -> Result<Lane> {
    let mut router = Router::new()?;
    router.enforce(&accept(CtState::New))?;
    router.ban(&BanTables { banned, ..BanTables::default() })?;
    Lane::new(router, Traffic::new_flows(&[]))
}

/// Packets of sources that are not banned, to one destination that is not.
fn flows(banned: &AddressSet, sources: u32) -> Result<Vec<Flow>> {
    let free = |address: &Ipv4Addr| !banned.contains(IpAddr::V4(*address));
    let destination = (0..u32::MAX >> 8).map(|number| Ipv4Addr::from((10 << 24) + number)).find(free);
    let destination = destination.ok_or("all of 10.0.0.0/8 is banned")?.into();
    let mut rng = Rng::new(2);
    let mut random = || Ipv4Addr::from(u32::try_from(rng.number() >> 32).unwrap_or(0));
    let is_plain = |address: &Ipv4Addr| (1..224).contains(&address.octets()[0]) && address.octets()[0] != 127;
    let plain = std::iter::repeat_with(&mut random).filter(is_plain).filter(free);
    let flow = |source: Ipv4Addr| Flow { source: source.into(), destination, port: PORT };
    Ok(plain.take(usize::try_from(sources)?).map(flow).collect())
}

/// Packets of the first blocks do not pass: what is measured is in force.
fn check(lane: &Lane, banned: &AddressSet) -> Result<()> {
    let destination = flows(banned, 1)?[0].destination;
    let flow = |range: AddressRange| Flow { source: range.first, destination, port: PORT };
    // The first block is banned in both.
    let flows: Vec<Flow> = disjoint_blocks(FEW).iter().take(1).map(|block| flow(block.into())).collect();
    let before = lane.router.arrived()?;
    lane.router.send(Traffic::new_flows(&flows).advance())?;
    if lane.router.arrived()? > before {
        return Err("a packet of a banned address passed".into());
    }
    Ok(())
}
