//! What stands in the way of enforcement on this node, looked for at the start and again and again: some of it comes later.
//!
//! `bridge` puts right what the agent may put right itself; `beside` knows what other programs do to packets.

mod beside;
mod bridge;

use std::sync::Arc;
use std::time::Duration;

use palisade_core::Labels;
use palisade_nft::{Conntrack, Log};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::host_unit::{self, HostUnit};
use crate::message::Message;
use crate::node_state::BootGap;
use crate::report::Obstacle;
use crate::settings::{BootRestore, Settings};
use crate::state::{Pause, StateDirectory};
use crate::watch::chain;
pub use beside::PAST_HOOKS;
use bridge::Bridges;

/// How often the bridges are looked at, and whether enforcement is paused: both must not wait.
const TICK: Duration = Duration::from_secs(5);
/// Everything is looked at again after so many of these.
const TICKS: u32 = 12;
/// The oldest kernel on which the rules are meant to work.
const KERNEL_MIN: (u32, u32) = (5, 10);
/// An NFLOG group that nobody uses, to see whether there are any.
const LOG_GROUP_TRIED: u16 = u16::MAX;
/// The label by which an engine tells its own pods, and the engine.
const ENGINES: [(&str, &str, &str); 6] = [
    ("k8s-app", "calico-node", "Calico"),
    ("k8s-app", "canal", "Canal"),
    ("k8s-app", "cilium", "Cilium"),
    ("k8s-app", "kube-router", "kube-router"),
    ("app", "antrea", "Antrea"),
    ("app", "kube-network-policies", "kube-network-policies"),
];

/// What the engine knows that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether the API server has told everything.
    pub listed: bool,
    /// Whether the pod ranges of the node are known.
    pub pod_ranges: bool,
    /// Whether unknown pods are let through because it is wanted so.
    pub unknown_pods_allowed: bool,
    /// Other engines that run on this node.
    pub engines: Vec<&'static str>,
}

/// The engine of `NetworkPolicies` that a pod with these labels belongs to.
pub fn engine_of(labels: &Labels) -> Option<&'static str> {
    let is_of = |(key, value, _): &&(&str, &str, &str)| labels.get(*key).is_some_and(|found| **found == **value);
    ENGINES.iter().find(is_of).map(|(_, _, engine)| *engine)
}

/// Looks for as long as the engine listens.
pub async fn watch(settings: Arc<Settings>, directory: StateDirectory, engine: mpsc::Sender<Message>) {
    let mut looker = Looker::new(&settings, directory.clone());
    for tick in (0..TICKS).cycle() {
        let (sender, answer) = oneshot::channel();
        if engine.send(Message::Surroundings(sender)).await.is_err() {
            return;
        }
        let Ok(surroundings) = answer.await else { return };
        let looked = tokio::task::spawn_blocking(move || {
            let news = looker.look(tick == 0, &surroundings);
            (looker, news)
        });
        // A panic there was printed, and is no reason to end.
        let (next, news) = looked.await.unwrap_or_else(|_| (Looker::new(&settings, directory.clone()), None));
        looker = next;
        if let Some((obstacles, boot_gap)) = news {
            let told = engine.send(Message::Obstacles { of: "preflight", obstacles }).await;
            if told.is_err() || engine.send(Message::BootGap(boot_gap)).await.is_err() {
                return;
            }
        }
        sleep(TICK).await;
    }
}

/// Who looks.
struct Looker {
    /// `None` where policies of pods are not enforced.
    bridges: Option<Bridges>,
    unit: HostUnit,
    /// Whether the unit is the agent's to install; otherwise it is only looked at.
    looks_after_unit: bool,
    directory: StateDirectory,
    pause: Option<Pause>,
    /// Of everything but the bridges, as of the last full look.
    rest: Vec<Obstacle>,
    boot_gap: BootGap,
    told: Option<(Vec<Obstacle>, BootGap)>,
    surroundings: Surroundings,
}

impl Looker {
    fn new(settings: &Settings, directory: StateDirectory) -> Looker {
        Looker {
            bridges: settings.enforce.network_policy.then(|| Bridges::new(&settings.host_root)),
            unit: HostUnit::new(&settings.host_root, &settings.state_dir),
            looks_after_unit: settings.boot_restore == BootRestore::Install,
            directory,
            pause: None,
            rest: Vec::new(),
            boot_gap: BootGap::Open,
            told: None,
            surroundings: Surroundings::default(),
        }
    }

    /// What is found, if it is other than before.
    fn look(&mut self, whole: bool, surroundings: &Surroundings) -> Option<(Vec<Obstacle>, BootGap)> {
        if whole || self.told.is_none() || *surroundings != self.surroundings {
            self.surroundings = surroundings.clone();
            self.rest = beside::look();
            self.rest.extend(kernel());
            self.rest.extend(said_by_the_cluster(surroundings));
            self.look_after_unit();
        } else if self.pause != self.directory.pause() {
            self.rest.retain(|obstacle| obstacle.name != host_unit::OBSTACLE);
            self.look_after_unit();
        }
        let mut obstacles = self.bridges.as_mut().map(Bridges::look).unwrap_or_default();
        obstacles.extend(self.rest.iter().cloned());
        let found = (obstacles, self.boot_gap);
        if self.told.as_ref() == Some(&found) {
            return None;
        }
        for obstacle in found.0.iter().filter(|found| !self.told.iter().any(|(told, _)| told.contains(found))) {
            tracing::warn!(name = obstacle.name, "{}; {}", obstacle.found, obstacle.means);
        }
        self.told = Some(found.clone());
        Some(found)
    }

    fn look_after_unit(&mut self) {
        self.pause = self.directory.pause();
        if self.looks_after_unit {
            let unit = &self.unit;
            let done = if self.pause == Some(Pause::Cleanup) { unit.uninstall() } else { unit.install() };
            if let Err(error) = done {
                self.rest.push(host_unit::obstacle(chain(&error)));
            }
        }
        let (gap, obstacle) = self.unit.gap();
        self.boot_gap = gap;
        self.rest.extend(obstacle);
    }
}

/// What the kernel lacks.
fn kernel() -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if version(&release).is_none_or(|version| version < KERNEL_MIN) {
        obstacles.push(Obstacle {
            name: "kernel".to_string(),
            found: format!("the kernel is Linux {release}"),
            means: "the rules are made for Linux 5.10 or later; what an older one does with them is not known"
                .to_string(),
            hint: None,
        });
    }
    if let Err(error) = Conntrack::open().and_then(|mut conntrack| conntrack.occupancy()) {
        obstacles.push(Obstacle {
            name: "ctnetlink".to_string(),
            found: format!("connections cannot be listed: {}", chain(&error)),
            means: "marks of connections cannot be cleared: one that was cut may pass after many changes".to_string(),
            hint: Some("modprobe nf_conntrack_netlink".to_string()),
        });
    }
    if let Err(error) = Log::open(LOG_GROUP_TRIED) {
        obstacles.push(Obstacle {
            name: "nfnetlink-log".to_string(),
            found: format!("denied packets cannot be read: {}", chain(&error)),
            means: "'palisade denied' shows nothing; enforcement is as it should be".to_string(),
            hint: Some("modprobe nfnetlink_log".to_string()),
        });
    }
    obstacles
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn said_by_the_cluster(surroundings: &Surroundings) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    if !surroundings.engines.is_empty() {
        obstacles.push(Obstacle {
            name: "other-engine".to_string(),
            found: format!("{} runs on this node", surroundings.engines.join(", ")),
            means: "it may enforce the same policies: a packet then has to pass both".to_string(),
            hint: Some("let one of the two enforce NetworkPolicies".to_string()),
        });
    }
    if surroundings.unknown_pods_allowed {
        obstacles.push(Obstacle {
            name: "unknown-pods".to_string(),
            found: "unknown pods are let through (--unknown-pods=allow)".to_string(),
            means: "a new pod is open until its policies are in force".to_string(),
            hint: None,
        });
    } else if surroundings.listed && !surroundings.pod_ranges {
        obstacles.push(Obstacle {
            name: "pod-range".to_string(),
            found: "the pod range of this node is not known: its Node has no spec.podCIDRs".to_string(),
            means: "a new pod is open until its policies are in force, and after a reboot until the agent runs"
                .to_string(),
            hint: Some("--pod-cidr names the range".to_string()),
        });
    }
    obstacles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels() {
        let check = |release, expected| assert_eq!(version(release), expected, "{release}");
        check("6.18.0-rc1", Some((6, 18)));
        check("5.4.0-150-generic", Some((5, 4)));
        check("4.18-477", Some((4, 18)));
        check("custom", None);
        check("", None);
    }
}
