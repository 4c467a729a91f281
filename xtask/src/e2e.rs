//! The NetworkPolicy tests of Kubernetes itself, run against a bed, or against another cluster.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::bed::program::program;
use crate::bed::{Bed, Binaries, Say};

/// What of the upstream suite is about NetworkPolicy.
pub const NETWORK_POLICY: &str = "Netpol";
/// A few of them: a default, peers of both kinds, ports, a change, the API.
pub const SMOKE: &str = "Netpol.* should (support a 'default-deny-ingress' policy\
    |enforce policy based on PodSelector and NamespaceSelector|enforce policy based on Ports\
    |enforce updated policy|support creating NetworkPolicy API operations)";
/// Most kernels have no SCTP sockets, which these need.
const SKIPPED: &str = "SCTP";

/// Runs the specs whose name matches `focus`, a regular expression, and tells whether all passed. What the suite
/// prints goes to the standard output.
///
/// # Errors
///
/// The suite cannot be built or started.
pub fn run(bed: &Bed, focus: &str, say: Say<'_>) -> anyhow::Result<bool> {
    let suite = bed.binaries().suite(say)?;
    passes(bed.on_control_network(&suite), &bed.kubeconfig(), focus)
}

/// The same on another cluster, whose API server this machine reaches.
///
/// # Errors
///
/// As [`run`].
pub fn run_elsewhere(kubeconfig: &Path, focus: &str, say: Say<'_>) -> anyhow::Result<bool> {
    let suite = Binaries::unbuilt()?.suite(say)?;
    passes(program(&suite), kubeconfig, focus)
}

fn passes(mut suite: Command, kubeconfig: &Path, focus: &str) -> anyhow::Result<bool> {
    let status = suite
        .args(["--provider=skeleton", "--ginkgo.no-color", "--ginkgo.silence-skips"])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--ginkgo.focus={focus}"))
        .arg(format!("--ginkgo.skip={SKIPPED}"))
        .status()
        .context("cannot run the test suite")?;
    Ok(status.success())
}
