//! Bridged pods: their packets to one another meet our rules only with `bridge-nf-call-iptables` (and `-ip6tables`), which
//! each network namespace has for itself.
//!
//! The agent switches it on. In a container `/proc/sys` is read-only; there `/proc/sys/net` of the host, mounted under
//! `--host-root`, is written, which takes no right but `CAP_NET_ADMIN`: what is seen there is that of the writer's network
//! namespace.
#![expect(clippy::disallowed_methods, reason = "reads and writes two settings of the network namespace")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use palisade_nft::{Links, Master};

use crate::report::Obstacle;

const SETTINGS: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];
const DIRECTORY: &str = "proc/sys/net/bridge";

/// The settings, and what was done to them.
#[derive(Debug)]
pub(super) struct Bridges {
    /// Where they can be read, and where they may be writable, in the order in which that is tried.
    directories: [PathBuf; 2],
    /// What was switched on.
    switched: Vec<&'static str>,
}

impl Bridges {
    pub(super) fn new(host_root: &Path) -> Bridges {
        let directories = [Path::new("/"), host_root].map(|root| root.join(DIRECTORY));
        Bridges { directories, switched: Vec::new() }
    }

    /// What stands in the way. Switches on what is off.
    pub(super) fn look(&mut self) -> Vec<Obstacle> {
        let off: Vec<_> = SETTINGS.into_iter().filter_map(|name| Some((name, self.off(name)?))).collect();
        let mut obstacles: Vec<Obstacle> = self.switched.iter().map(|name| switched(name)).collect();
        if off.is_empty() {
            return obstacles;
        }
        let Some(bridge) = bridge_with_pods() else { return obstacles };
        for (name, off) in off {
            match off {
                Off::Absent => obstacles.push(absent(name, &bridge)),
                Off::Zero => match self.switch_on(name) {
                    Ok(()) => {
                        if !self.switched.contains(&name) {
                            self.switched.push(name);
                            obstacles.push(switched(name));
                        }
                    }
                    Err(error) => obstacles.push(not_writable(name, &bridge, &error)),
                },
            }
        }
        obstacles
    }

    fn off(&self, name: &str) -> Option<Off> {
        match fs::read_to_string(self.directories[0].join(name)) {
            Ok(value) if value.trim() == "0" => Some(Off::Zero),
            Ok(_) => None,
            Err(_) => Some(Off::Absent),
        }
    }

    fn switch_on(&self, name: &str) -> io::Result<()> {
        let [ours, hosts] = self.directories.each_ref().map(|directory| directory.join(name));
        fs::write(ours, "1").or_else(|_| fs::write(hosts, "1"))
    }
}

/// How a setting is off.
enum Off {
    /// The module is not loaded.
    Absent,
    /// It is 0.
    Zero,
}

/// A bridge that pods are on.
fn bridge_with_pods() -> Option<String> {
    let pods = Links::open().and_then(|mut links| links.pods()).ok()?;
    pods.into_iter().find_map(|link| match link.master {
        Master::Bridge(name) => Some(name),
        Master::None | Master::Other(_) => None,
    })
}

fn switched(name: &str) -> Obstacle {
    Obstacle {
        name: name.to_string(),
        found: format!("net.bridge.{name} was 0; the agent set it to 1 in the network namespace of the node"),
        means: "pods on one bridge are judged since then".to_string(),
        hint: Some(format!("let the node set it at boot: net.bridge.{name} = 1 in /etc/sysctl.d")),
    }
}

fn absent(name: &str, bridge: &str) -> Obstacle {
    Obstacle {
        name: name.to_string(),
        found: format!("pods are on bridge {bridge}, and there is no net.bridge.{name}"),
        means: NOT_JUDGED.to_string(),
        hint: Some("modprobe br_netfilter on the node; the agent then does the rest".to_string()),
    }
}

fn not_writable(name: &str, bridge: &str, error: &io::Error) -> Obstacle {
    Obstacle {
        name: name.to_string(),
        found: format!("pods are on bridge {bridge}, net.bridge.{name} is 0, and it cannot be set: {error}"),
        means: NOT_JUDGED.to_string(),
        hint: Some(format!(
            "sysctl -w net.bridge.{name}=1 on the node, or mount /proc/sys/net of the host under --host-root"
        )),
    }
}

const NOT_JUDGED: &str =
    "packets between pods on one bridge of this node are not judged: policies do not hold for them";
