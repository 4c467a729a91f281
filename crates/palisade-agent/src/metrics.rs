//! What Prometheus sees. Every metric is named and explained here, and nowhere else.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use palisade_core::{Direction, PolicyName};
use palisade_nft::Attached;
use palisade_sources::live::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The metrics of one agent. The engine counts; a scrape reads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    programming: Histogram,
    last_programming: Gauge<f64, std::sync::atomic::AtomicU64>,
    transactions: Counter,
    operations: Counter,
    refusals: Counter,
    repairs: Counter,
    rollbacks: Counter,
    cut_flows: Counter,
    in_force: Gauge,
    elements: Family<ElementLabel, Gauge>,
    pods: Family<PodLabel, Gauge>,
    unreadable: Gauge,
    config_files: Family<ConditionLabel, Gauge>,
    ban_sources: Family<ConditionLabel, Gauge>,
    boot_gap_open: Gauge,
    obstacles: Gauge,
    denied_packets: Family<DeniedLabel, Counter>,
    denied_bytes: Family<DeniedLabel, Counter>,
    /// The labels of those, so that they can be taken away again.
    denied_labels: Mutex<BTreeSet<DeniedLabel>>,
    would_deny_packets: Family<DeniedLabel, Counter>,
    would_deny_labels: Mutex<BTreeSet<DeniedLabel>>,
    not_named: Counter,
    forged: Family<AttachedLabel, Counter>,
    host_denied: Counter,
    host_would_deny: Counter,
    banned: Counter,
    would_ban: Counter,
    events: Family<KindLabel, Counter>,
    last_event: Family<KindLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    watch_failures: Family<KindLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabel {
    condition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ElementLabel {
    of: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttachedLabel {
    attached: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PodLabel {
    in_force: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct DeniedLabel {
    direction: &'static str,
    namespace: String,
    policy: String,
}

/// How many elements the tables of the node have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elements {
    /// Addresses of isolated pods, by direction.
    pub subjects: usize,
    /// Single ports of isolated pods.
    pub ports: usize,
    /// Addresses and blocks of peers.
    pub peers: usize,
    /// Ranges that are banned for every pod and node.
    pub banned: usize,
}

impl DeniedLabel {
    fn of(direction: Direction, policy: Option<&PolicyName>) -> DeniedLabel {
        DeniedLabel {
            direction: direction.name(),
            namespace: policy.map(|policy| policy.namespace.to_string()).unwrap_or_default(),
            policy: policy.map(|policy| policy.name.to_string()).unwrap_or_default(),
        }
    }

    /// The policy; `None` if it is none.
    fn policy(&self) -> Option<(Direction, PolicyName)> {
        let direction = Direction::ALL.into_iter().find(|direction| direction.name() == self.direction)?;
        (!self.policy.is_empty()).then(|| (direction, PolicyName::new(&*self.namespace, &*self.policy)))
    }
}

impl KindLabel {
    fn of(kind: Kind) -> KindLabel {
        KindLabel { kind: kind.name() }
    }
}

/// Upper bounds in seconds.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("palisade"),
            programming: Histogram::new(LATENCY_BUCKETS),
            last_programming: Gauge::default(),
            transactions: Counter::default(),
            operations: Counter::default(),
            refusals: Counter::default(),
            repairs: Counter::default(),
            rollbacks: Counter::default(),
            cut_flows: Counter::default(),
            in_force: Gauge::default(),
            elements: Family::default(),
            pods: Family::default(),
            unreadable: Gauge::default(),
            config_files: Family::default(),
            ban_sources: Family::default(),
            boot_gap_open: Gauge::default(),
            obstacles: Gauge::default(),
            denied_packets: Family::default(),
            denied_bytes: Family::default(),
            denied_labels: Mutex::default(),
            would_deny_packets: Family::default(),
            would_deny_labels: Mutex::default(),
            not_named: Counter::default(),
            forged: Family::default(),
            host_denied: Counter::default(),
            host_would_deny: Counter::default(),
            banned: Counter::default(),
            would_ban: Counter::default(),
            events: Family::default(),
            last_event: Family::default(),
            watch_failures: Family::default(),
        };
        metrics.register_kernel();
        metrics.register_cluster();
        metrics
    }
}

impl Metrics {
    fn register_kernel(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of palisade", build);
        registry.register(
            "in_force",
            "1 while the policies of the cluster are in force, else 0",
            self.in_force.clone(),
        );
        registry.register_with_unit(
            "programming_latency",
            "From the arrival of an event of the API server to the rules in force in the kernel",
            Unit::Seconds,
            self.programming.clone(),
        );
        registry.register_with_unit(
            "last_programming_timestamp",
            "When rules were last brought into force, since the epoch",
            Unit::Seconds,
            self.last_programming.clone(),
        );
        registry.register("transactions", "Transactions applied to the kernel", self.transactions.clone());
        registry.register("operations", "Operations in these transactions", self.operations.clone());
        registry.register("refusals", "Transactions that the kernel refused", self.refusals.clone());
        registry.register("repairs", "Repairs after another program changed the table", self.repairs.clone());
        registry.register(
            "rollbacks",
            "Changes of host policies or bans that were taken back, since the node lost the API server with them",
            self.rollbacks.clone(),
        );
        registry.register(
            "elements",
            "Elements of the node's tables: subjects (addresses of isolated pods, each direction), ports (of subjects), peers, banned (ranges)",
            self.elements.clone(),
        );
        registry.register("cut_flows", "Connections that passed and were denied later", self.cut_flows.clone());
        registry.register(
            "denied_packets",
            "Denied packets by the policies that isolate the pod, one that several isolate under each of them; \
             no policy: unknown pods, and pods that are gone",
            self.denied_packets.clone(),
        );
        registry.register_with_unit(
            "denied",
            "Bytes of these packets, IP headers included",
            Unit::Bytes,
            self.denied_bytes.clone(),
        );
        registry.register(
            "would_deny_packets",
            "Packets that opened connections, passed, and would be denied with all audited policies in force, by the audited policies that \
             would isolate the pod, one that several would under each of them; no policy: none does any more",
            self.would_deny_packets.clone(),
        );
        registry.register(
            "log_gaps",
            "Denied packets that the kernel logged and palisade denied does not show, since they came too fast or cannot be read; \
             what the kernel could not hand over counts as one; all are counted as denied",
            self.not_named.clone(),
        );
        registry.register(
            "forged_packets",
            "Packets that pods of this node sent under addresses that are not theirs, dropped; by how the pods are attached",
            self.forged.clone(),
        );
        registry.register(
            "host_denied_packets",
            "Packets to ports of nodes that host policies denied, and replies from such ports",
            self.host_denied.clone(),
        );
        registry.register(
            "host_would_deny_packets",
            "Packets to ports of nodes that opened connections, passed, and would be denied with all audited host policies in force",
            self.host_would_deny.clone(),
        );
        registry.register("banned_packets", "Packets from or to banned addresses, dropped", self.banned.clone());
        registry.register(
            "would_ban_packets",
            "Packets from or to addresses that audited lists would ban",
            self.would_ban.clone(),
        );
    }

    fn register_cluster(&mut self) {
        let registry = &mut self.registry;
        registry.register("pods", "Pods of this node, by whether their rules are in force", self.pods.clone());
        registry.register(
            "unreadable_policies",
            "Policies of the cluster that cannot be read, so that they isolate or guard and allow nothing, or ban nothing",
            self.unreadable.clone(),
        );
        registry.register(
            "config_files",
            "Config files of kube-restrict-ip, by whether they are in force, waited for, gone or unreadable; the last two hold as they were",
            self.config_files.clone(),
        );
        registry.register(
            "ban_sources",
            "Sources of ban lists, by whether they are fetched, stale (what they held last holds) or missing (they never held anything)",
            self.ban_sources.clone(),
        );
        registry.register(
            "boot_gap_open",
            "1 if pods are open between a reboot and the start of the agent, otherwise 0",
            self.boot_gap_open.clone(),
        );
        registry.register(
            "obstacles",
            "What stands in the way of enforcement, as palisade status tells it",
            self.obstacles.clone(),
        );
        registry.register("watch_events", "Events of the API server", self.events.clone());
        registry.register_with_unit(
            "watch_last_event_timestamp",
            "When the API server last sent an object or completed a list of the kind, since the epoch; \
             a quiet cluster sends nothing",
            Unit::Seconds,
            self.last_event.clone(),
        );
        registry.register("watch_failures", "Watches that failed and were begun again", self.watch_failures.clone());
    }

    /// An event was taken in.
    pub(crate) fn watched(&self, kind: Kind) {
        self.events.get_or_create(&KindLabel::of(kind)).inc();
        self.last_event.get_or_create(&KindLabel::of(kind)).set(now());
    }

    /// A watch failed.
    pub(crate) fn watch_failed(&self, kind: Kind) {
        self.watch_failures.get_or_create(&KindLabel::of(kind)).inc();
    }

    /// What an event asked for is in force, so long after it arrived.
    pub(crate) fn programmed(&self, latency: Duration) {
        self.programming.observe(latency.as_secs_f64());
    }

    /// A transaction was applied.
    pub(crate) fn applied(&self, operations: usize) {
        self.transactions.inc();
        self.operations.inc_by(operations as u64);
        self.last_programming.set(now());
    }

    /// The kernel refused.
    pub(crate) fn refused(&self) {
        self.refusals.inc();
    }

    /// The table was repaired.
    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }

    /// Changes were taken back.
    pub(crate) fn rolled_back(&self) {
        self.rollbacks.inc();
    }

    /// So many more denied packets were logged and are not shown.
    pub(crate) fn not_named(&self, more: u64) {
        self.not_named.inc_by(more);
    }

    /// So many more packets were dropped for their source.
    pub(crate) fn forged(&self, attached: Attached, more: u64) {
        let attached = match attached {
            Attached::Bridged => "bridged",
            Attached::Routed => "routed",
        };
        self.forged.get_or_create(&AttachedLabel { attached }).inc_by(more);
    }

    /// So many more packets were denied by host policies, and would be.
    pub(crate) fn guarded(&self, denied: u64, would_deny: u64) {
        self.host_denied.inc_by(denied);
        self.host_would_deny.inc_by(would_deny);
    }

    /// So many more packets were dropped by bans, and would be.
    pub(crate) fn banned(&self, denied: u64, would_deny: u64) {
        self.banned.inc_by(denied);
        self.would_ban.inc_by(would_deny);
    }

    /// So many more connections were cut.
    pub(crate) fn cut_flows(&self, more: u64) {
        self.cut_flows.inc_by(more);
    }

    /// What the tables of the node hold.
    pub(crate) fn elements(&self, elements: Elements) {
        let counts = [
            ("subjects", elements.subjects),
            ("ports", elements.ports),
            ("peers", elements.peers),
            ("banned", elements.banned),
        ];
        for (of, count) in counts {
            self.elements.get_or_create(&ElementLabel { of }).set(gauge(count));
        }
    }

    /// How many pods of the node have their rules in force, and how many not.
    pub(crate) fn pods(&self, in_force: usize, waiting: usize) {
        for (label, count) in [("true", in_force), ("false", waiting)] {
            self.pods.get_or_create(&PodLabel { in_force: label }).set(gauge(count));
        }
    }

    /// How many config files are in each condition.
    pub(crate) fn config_files(&self, conditions: impl Iterator<Item = &'static str>) {
        self.config_files.clear();
        for condition in conditions {
            self.config_files.get_or_create(&ConditionLabel { condition }).inc();
        }
    }

    /// How many sources of ban lists are in each condition.
    pub(crate) fn ban_sources(&self, conditions: impl Iterator<Item = &'static str>) {
        self.ban_sources.clear();
        for condition in conditions {
            self.ban_sources.get_or_create(&ConditionLabel { condition }).inc();
        }
    }

    /// How many policies cannot be read.
    pub(crate) fn unreadable(&self, count: usize) {
        self.unreadable.set(gauge(count));
    }

    /// Whether pods are open after a reboot, and how much stands in the way of enforcement.
    pub(crate) fn preflight(&self, boot_gap_open: bool, obstacles: usize) {
        self.boot_gap_open.set(i64::from(boot_gap_open));
        self.obstacles.set(gauge(obstacles));
    }

    /// Whether the policies are in force.
    pub(crate) fn in_force(&self, in_force: bool) {
        self.in_force.set(i64::from(in_force));
    }

    /// So much more was denied, for the sake of a policy or of none.
    pub(crate) fn denied(&self, direction: Direction, policy: Option<&PolicyName>, packets: u64, bytes: u64) {
        let label = DeniedLabel::of(direction, policy);
        self.denied_packets.get_or_create(&label).inc_by(packets);
        self.denied_bytes.get_or_create(&label).inc_by(bytes);
        if let Ok(mut labels) = self.denied_labels.lock() {
            labels.insert(label);
        }
    }

    /// So many more packets would be denied, for the sake of an audited policy or of none.
    pub(crate) fn would_deny(&self, direction: Direction, policy: Option<&PolicyName>, packets: u64) {
        let label = DeniedLabel::of(direction, policy);
        self.would_deny_packets.get_or_create(&label).inc_by(packets);
        if let Ok(mut labels) = self.would_deny_labels.lock() {
            labels.insert(label);
        }
    }

    /// Takes away what was counted for audited policies other than those of which this holds.
    pub(crate) fn forget_audited(&self, is_audited: impl Fn(Direction, &PolicyName) -> bool) {
        let Ok(mut labels) = self.would_deny_labels.lock() else { return };
        labels.retain(|label| {
            let keep = label.policy().is_none_or(|(direction, policy)| is_audited(direction, &policy));
            if !keep {
                self.would_deny_packets.remove(label);
            }
            keep
        });
    }

    /// For which policies something was denied, by direction.
    pub(crate) fn denied_for(&self) -> BTreeSet<(Direction, PolicyName)> {
        let Ok(labels) = self.denied_labels.lock() else { return BTreeSet::new() };
        labels.iter().filter_map(DeniedLabel::policy).collect()
    }

    /// Takes away what was counted for policies other than these.
    pub(crate) fn forget_policies(&self, known: &BTreeSet<(Direction, PolicyName)>) {
        let Ok(mut labels) = self.denied_labels.lock() else { return };
        labels.retain(|label| {
            let keep = label.policy().is_none_or(|policy| known.contains(&policy));
            if !keep {
                self.denied_packets.remove(label);
                self.denied_bytes.remove(label);
            }
            keep
        });
    }

    /// The text of a scrape, in the `OpenMetrics` format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Seconds since the epoch, to the millisecond.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit")]
fn now() -> f64 {
    Timestamp::now().as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
