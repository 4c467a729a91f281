//! The cables of the bed: one segment for all hosts, and routes to the pods of each node.
//!
//! The host `outside` is the bridge of the segment, and everybody's default route.

use std::fmt::Write as _;

use super::host::Host;
use super::program::{program, run_with_input};

/// The control plane's place on the segment.
pub(super) const CONTROL: u8 = 10;
/// The place of the host outside the cluster.
const OUTSIDE: u8 = 1;
/// From here on there are places for hosts that tests add.
pub(super) const GUESTS: u8 = 30;

/// The addresses of a place on the segment.
pub(super) fn addresses(place: u8) -> [String; 2] {
    [format!("10.99.0.{place}"), format!("fd99::{place}")]
}

/// The place of a node; nodes count from 1.
pub(super) fn place(node: u8) -> u8 {
    CONTROL + node
}

/// Makes the segment.
pub(super) fn lay(outside: &Host) -> anyhow::Result<()> {
    let [v4, v6] = addresses(OUTSIDE);
    ip(
        outside,
        &format!(
            "link add segment type bridge
            link set segment up
            address add {v4}/24 dev segment
            address add {v6}/64 dev segment nodad"
        ),
    )
}

/// Connects a host to the segment. Its card is that of its place, so that neighbours find a host that booted.
pub(super) fn plug(outside: &Host, host: &Host, place: u8) -> anyhow::Result<()> {
    let name = host.name();
    ip(
        outside,
        &format!(
            "link add {name} type veth peer name eth0 address 02:99:00:00:00:{place:02x} netns {}
            link set {name} master segment up",
            host.namespace()
        ),
    )?;
    let ([v4, v6], [gateway_v4, gateway_v6]) = (addresses(place), addresses(OUTSIDE));
    ip(
        host,
        &format!(
            "link set eth0 up
            address add {v4}/24 dev eth0
            address add {v6}/64 dev eth0 nodad
            route add default via {gateway_v4}
            route add default via {gateway_v6}"
        ),
    )
}

/// Disconnects a host.
pub(super) fn unplug(outside: &Host, host: &Host) -> anyhow::Result<()> {
    ip(outside, &format!("link delete {}", host.name()))
}

/// Tells a host the way to the pods of nodes, each given by its place and its pod ranges.
pub(super) fn route<'a>(host: &Host, nodes: impl Iterator<Item = (u8, &'a [String])>) -> anyhow::Result<()> {
    let mut commands = String::new();
    for (place, ranges) in nodes {
        let [v4, v6] = addresses(place);
        for range in ranges {
            let via = if range.contains(':') { &v6 } else { &v4 };
            let _ = writeln!(commands, "route replace {range} via {via}");
        }
    }
    ip(host, &commands)
}

fn ip(host: &Host, commands: &str) -> anyhow::Result<()> {
    run_with_input(program("ip").args(["-n", &host.namespace(), "-batch", "-"]), commands)?;
    Ok(())
}
