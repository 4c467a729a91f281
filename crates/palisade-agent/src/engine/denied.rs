//! What the engine keeps of denied packets, and the figures that are only looked up when somebody asks for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_core::{Direction, PerDirection, PodName, PolicyName};
use palisade_nft::{Attached, Denials, GuardedCounts, Kernel, KernelError, Logged};
use tokio::sync::{broadcast, oneshot};

use super::Engine;
use crate::binding::Binding;
use crate::denials::{self, DeniedPacket};
use crate::metrics::Elements;
use crate::node_state::BootGap;
use crate::report::DeniedReport;

/// How many denied packets are remembered, and how many a follower may be behind.
const KEPT: usize = 256;
/// The kernel is asked for its counters at most so often.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);

/// Denied packets, and how far the kernel's counters were taken over.
pub struct Seen {
    packets: VecDeque<DeniedPacket>,
    followers: broadcast::Sender<Followed>,
    counted: BTreeMap<(Direction, IpAddr), (u64, u64)>,
    would_deny: BTreeMap<(Direction, IpAddr), u64>,
    of_pods: BTreeMap<PodName, PerDirection<u64>>,
    cut_flows: u64,
    /// Packets that were dropped for their source.
    forged: BTreeMap<Attached, Counted>,
    /// Packets that guards denied.
    pub(super) guarded: Counted,
    /// Packets that they would have denied with audited policies in force.
    pub(super) would_guard: Counted,
    /// Packets that bans denied.
    pub(super) banned: Counted,
    /// Packets that they would have denied with audited lists in force.
    pub(super) would_ban: Counted,
    asked: Option<Instant>,
}

/// Packets that a counter of the kernel has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// What it stood at.
    counted: u64,
    /// All since the agent runs, and before in the same table.
    pub(super) packets: u64,
}

impl Counted {
    /// Takes over what the counter stands at now; how many are new.
    fn take(&mut self, now: u64) -> u64 {
        let more = since(now, self.counted);
        *self = Counted { counted: now, packets: self.packets + more };
        more
    }
}

/// What those who follow are told.
#[derive(Clone, Debug)]
pub enum Followed {
    /// A packet.
    Packet(Box<DeniedPacket>),
    /// So many are missing here.
    NotNamed(u64),
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            packets: VecDeque::new(),
            followers: broadcast::Sender::new(KEPT),
            counted: BTreeMap::new(),
            would_deny: BTreeMap::new(),
            of_pods: BTreeMap::new(),
            cut_flows: 0,
            forged: BTreeMap::new(),
            guarded: Counted::default(),
            would_guard: Counted::default(),
            banned: Counted::default(),
            would_ban: Counted::default(),
            asked: None,
        }
    }
}

impl Seen {
    /// A table that is new counts from zero.
    pub(super) fn table_is_new(&mut self, is_new: bool) {
        if is_new {
            self.counted.clear();
            self.would_deny.clear();
            self.cut_flows = 0;
        }
    }

    /// How many packets of a pod were denied.
    pub(super) fn of_pod(&self, pod: &PodName) -> DeniedReport {
        let of_pod = self.of_pods.get(pod).cloned().unwrap_or_default();
        DeniedReport { ingress: of_pod.ingress, egress: of_pod.egress }
    }

    /// How many packets were dropped for their source.
    pub(super) fn forged(&self) -> u64 {
        self.forged.values().map(|forged| forged.packets).sum()
    }
}

/// The latest denied packets, and where those to come are told.
pub type DeniedPackets = (Vec<DeniedPacket>, broadcast::Receiver<Followed>);

impl Engine {
    /// Names a denied packet and tells those who follow.
    pub(super) fn take_denied(&mut self, logged: Logged) {
        // Nobody knows how many are missing in a gap.
        let Logged::Packet(packet) = logged else { return self.not_named(1) };
        if packet.headers.is_none() {
            return self.not_named(1);
        }
        let Some(mut named) = denials::name(self.snapshot(), &packet) else { return };
        if let Some(reason) = named.pod.as_deref().and_then(|pod| self.closed_because(pod)) {
            named.reason = reason;
        }
        if self.seen.packets.len() == KEPT {
            self.seen.packets.pop_front();
        }
        self.seen.packets.push_back(named.clone());
        // Nobody may follow.
        let _ = self.seen.followers.send(Followed::Packet(Box::new(named)));
    }

    /// Takes note of denied packets that nobody will see by name.
    pub(super) fn not_named(&mut self, packets: u64) {
        self.metrics.not_named(packets);
        let _ = self.seen.followers.send(Followed::NotNamed(packets));
    }

    pub(super) fn asked_for_denied(&self, answer: oneshot::Sender<DeniedPackets>) {
        let kept = self.seen.packets.iter().cloned().collect();
        let _ = answer.send((kept, self.seen.followers.subscribe()));
    }

    /// Brings the figures up to date that are not counted as they happen.
    pub(super) fn refresh_metrics(&mut self, now: Instant) {
        let tables = self.programming.tables();
        self.metrics.elements(Elements {
            subjects: Direction::ALL.iter().map(|direction| tables.subjects[*direction].isolated.len()).sum(),
            ports: Direction::ALL.iter().map(|direction| tables.subjects[*direction].ports.len()).sum(),
            banned: self.programming.ban_tables().banned.len(),
            peers: tables
                .groups
                .values()
                .map(|group| group.addresses.len() + group.blocks4.len() + group.blocks6.len())
                .sum(),
        });
        let (in_force, waiting): (Vec<_>, Vec<_>) =
            self.local_pods().map(|(name, _)| name).partition(|name| self.in_force_since.contains_key(*name));
        self.metrics.pods(in_force.len(), waiting.len());
        let snapshot = self.snapshot();
        let unreadable = snapshot.policies.values().filter(|policy| policy.unreadable.is_some()).count();
        let host_unreadable = snapshot.host_policies.values().filter(|policy| policy.unreadable.is_some()).count();
        let lists_unreadable = snapshot.ban_lists.values().filter(|list| list.unreadable.is_some()).count();
        self.metrics.unreadable(unreadable + host_unreadable + lists_unreadable);
        self.count_configs();
        self.count_ban_sources();
        self.metrics.in_force(self.is_in_force());
        self.metrics.preflight(self.boot_gap() == BootGap::Open, self.obstacles().count());
        self.refresh_counts(now);
    }

    /// Takes over the kernel's counters, if that was not done just now.
    pub(super) fn refresh_counts(&mut self, now: Instant) {
        if self.seen.asked.is_some_and(|asked| now < asked + COUNTS_INTERVAL) {
            return;
        }
        self.seen.asked = Some(now);
        if let Err(error) = self.take_over_counts()
            && self.repeated.may_write("counters that cannot be read", now)
        {
            tracing::warn!("the kernel's counters cannot be read: {}", crate::watch::chain(&error));
        }
    }

    /// Takes over the counters of tables that are about to be removed.
    pub(super) fn take_over_last_counts(&mut self, now: Instant) {
        self.seen.asked = None;
        self.refresh_counts(now);
        self.seen.table_is_new(true);
        let seen = &mut self.seen;
        let others = [&mut seen.guarded, &mut seen.would_guard, &mut seen.banned, &mut seen.would_ban];
        seen.forged.values_mut().chain(others).for_each(|counted| counted.counted = 0);
    }

    fn take_over_counts(&mut self) -> Result<(), KernelError> {
        self.take_over_guarded()?;
        self.take_over_banned()?;
        let cut_flows = self.of_policies(Kernel::cut_flows)?;
        self.metrics.cut_flows(since(cut_flows, self.seen.cut_flows));
        self.seen.cut_flows = cut_flows;
        for (attached, counted) in self.sources.binding_mut().map_or(Ok(Vec::new()), Binding::forged)? {
            let more = self.seen.forged.entry(attached).or_default().take(counted);
            self.metrics.forged(attached, more);
        }
        let denials = self.of_policies(Kernel::denials)?;
        self.count_denials(denials);
        let would_deny = self.of_policies(Kernel::would_deny)?;
        self.count_would_deny(would_deny);
        let isolating = self.isolating(&self.metrics.denied_for());
        self.metrics.forget_policies(&isolating);
        Ok(())
    }

    /// Asks for counters of the table of policies; there is nothing in one that is not there.
    fn of_policies<T: Default>(
        &mut self,
        ask: impl FnOnce(&mut Kernel) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        self.programming.policies_kernel().map_or(Ok(T::default()), ask)
    }

    /// Takes over the counters of guards. They begin at zero when the first port is guarded.
    fn take_over_guarded(&mut self) -> Result<(), KernelError> {
        let Some(kernel) = self.programming.host_kernel() else { return Ok(()) };
        let GuardedCounts { denied, would_deny } = kernel.guarded()?;
        self.metrics.guarded(self.seen.guarded.take(denied), self.seen.would_guard.take(would_deny));
        Ok(())
    }

    /// The same of bans.
    fn take_over_banned(&mut self) -> Result<(), KernelError> {
        let Some(kernel) = self.programming.bans_kernel() else { return Ok(()) };
        let GuardedCounts { denied, would_deny } = kernel.banned()?;
        self.metrics.banned(self.seen.banned.take(denied), self.seen.would_ban.take(would_deny));
        Ok(())
    }

    /// Attributes what was denied since the last time to pods and policies, as they are now.
    fn count_denials(&mut self, denials: Vec<Denials>) {
        let pods = self.pods_by_address();
        self.seen.of_pods.retain(|name, _| self.local.contains(name));
        let before = std::mem::take(&mut self.seen.counted);
        for Denials { direction, subject, packets, bytes } in denials {
            let (packets_before, bytes_before) = before.get(&(direction, subject)).copied().unwrap_or_default();
            self.seen.counted.insert((direction, subject), (packets, bytes));
            let (packets, bytes) = (since(packets, packets_before), since(bytes, bytes_before));
            if packets == 0 {
                continue;
            }
            let pod = pods.get(&subject);
            let policies = pod.map(|pod| palisade_sim::isolators(self.snapshot(), pod, direction)).unwrap_or_default();
            if let Some(pod) = pod {
                self.seen.of_pods.entry(pod.clone()).or_default()[direction] += packets;
            }
            if policies.is_empty() {
                self.metrics.denied(direction, None, packets, bytes);
            }
            for policy in &policies {
                self.metrics.denied(direction, Some(policy), packets, bytes);
            }
        }
    }

    /// Attributes what audited policies would have denied since the last time to them, as they are now.
    fn count_would_deny(&mut self, denials: Vec<Denials>) {
        let pods = self.pods_by_address();
        let before = std::mem::take(&mut self.seen.would_deny);
        for Denials { direction, subject, packets, .. } in denials {
            self.seen.would_deny.insert((direction, subject), packets);
            let packets = since(packets, before.get(&(direction, subject)).copied().unwrap_or_default());
            if packets == 0 {
                continue;
            }
            let pod = pods.get(&subject);
            let policies = pod.map(|pod| palisade_sim::audited(self.snapshot(), pod, direction)).unwrap_or_default();
            if policies.is_empty() {
                self.metrics.would_deny(direction, None, packets);
            }
            for policy in &policies {
                self.metrics.would_deny(direction, Some(policy), packets);
            }
        }
        self.metrics.forget_audited(|direction, name| {
            let policy = self.snapshot().policies.get(name);
            policy.is_some_and(|policy| policy.audit && policy.rules[direction].is_some())
        });
    }

    /// Which of these policies isolate a pod of this node in that direction.
    fn isolating(&self, policies: &BTreeSet<(Direction, PolicyName)>) -> BTreeSet<(Direction, PolicyName)> {
        let mut isolating = BTreeSet::new();
        for direction in Direction::ALL {
            let asked: Vec<&PolicyName> =
                policies.iter().filter(|(of, _)| *of == direction).map(|(_, policy)| policy).collect();
            for (pod, _) in self.local_pods() {
                if asked.iter().any(|policy| policy.namespace == pod.namespace) {
                    let found = palisade_sim::isolators(self.snapshot(), pod, direction);
                    isolating.extend(found.into_iter().map(|policy| (direction, policy)));
                }
            }
        }
        isolating
    }

    fn pods_by_address(&self) -> BTreeMap<IpAddr, PodName> {
        let pods = self.local_pods();
        pods.flat_map(|(name, pod)| pod.addresses.iter().map(move |address| (*address, name.clone()))).collect()
    }
}

/// What a counter of the kernel went on by; one that begins anew has forgotten what was before.
fn since(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}
