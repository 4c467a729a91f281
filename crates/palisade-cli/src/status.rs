//! `palisade status`: what is in force on this node.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use palisade_agent::cleanup::left_behind;
use palisade_agent::control::{self, Answer, ControlError, Request};
use palisade_agent::node_state::BootGap;
use palisade_agent::report::{BanSourceReport, BansReport, ConfigFileReport, HostReport, Phase, Report};
use palisade_agent::{Timestamp, state_directory};

use crate::args::OutputFormat;
use crate::output::{Exit, note};

/// Which agent is meant.
#[derive(Args, Debug)]
pub struct AgentOfArguments {
    /// The node of the agent [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,

    /// The state directory of the agent [default: /var/lib/palisade/NODE]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArguments {
    /// Which agent.
    #[command(flatten)]
    pub agent: AgentOfArguments,

    /// text, or json: one object
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    pub output: OutputFormat,
}

impl AgentOfArguments {
    /// The state directory.
    pub fn state_directory(&self) -> PathBuf {
        let of_node = || match &self.node {
            Some(node) => state_directory(node),
            None => state_directory(&rustix::system::uname().nodename().to_string_lossy()),
        };
        self.state_dir.clone().unwrap_or_else(of_node)
    }
}

/// Runs the command.
pub fn run(arguments: &StatusArguments) -> anyhow::Result<Exit> {
    let directory = arguments.agent.state_directory();
    let mut answers = match control::ask(&control::socket(&directory), Request::Status {}) {
        Err(error @ ControlError::NoAgent { .. }) => {
            let left = left_behind(&directory);
            if let Some(saved) = left.saved {
                note(&format!("the last state was written {} ago; what the kernel holds stays in force", age(saved)));
            }
            if left.paused {
                note("paused: nothing is enforced until 'palisade agent --resume'");
            }
            return Err(error.into());
        }
        asked => asked?,
    };
    let Some(Answer::Status(report)) = answers.next().transpose()? else {
        anyhow::bail!("the agent ended before it answered");
    };
    let text = match arguments.output {
        OutputFormat::Text => text(&report, age),
        OutputFormat::Json => serde_json::to_string(&report).context("cannot print the status")? + "\n",
    };
    io::stdout().write_all(text.as_bytes()).context("cannot print the status")?;
    Ok(if report.phase == Phase::InForce { Exit::Clean } else { Exit::Found })
}

fn text(report: &Report, age: impl Fn(Timestamp) -> String) -> String {
    let mut text = headline(report);
    text.push_str(&columns(&facts(report)));
    if !report.pods.is_empty() {
        text.push('\n');
        text.push_str(&columns(&pods(report, &age)));
    }
    if !report.findings.is_empty() {
        text.push_str("\nobjects with something wrong in them:\n");
    }
    for finding in &report.findings {
        let _ = writeln!(text, "  {}", finding.object);
        for line in &finding.findings {
            let _ = writeln!(text, "    {line}");
        }
    }
    if !report.preflight.is_empty() {
        text.push_str("\nin the way of enforcement:\n");
    }
    for obstacle in &report.preflight {
        let _ = write!(text, "  {}: {}\n    {}\n", obstacle.name, obstacle.found, obstacle.means);
        if let Some(hint) = &obstacle.hint {
            let _ = writeln!(text, "    hint: {hint}");
        }
    }
    if !report.repairs.is_empty() {
        text.push_str("\nrepaired after changes by other programs:\n");
    }
    for repair in &report.repairs {
        let _ = writeln!(text, "  {} ago, after {}: {} operations", age(repair.at), repair.by, repair.operations);
    }
    text
}

fn headline(report: &Report) -> String {
    let phase = match report.phase {
        Phase::InForce => "in force",
        Phase::Listing => "listing: the API server has not told everything yet; what was in force before still is",
        Phase::Failing => "failing: the kernel refuses; what was in force before still is",
        Phase::Paused => "paused: nothing is enforced until 'palisade agent --resume'",
    };
    let error = report.error.as_ref().map(|error| format!("error: {error}\n")).unwrap_or_default();
    format!("node {}: {phase} (palisade {}, generation {})\n{error}\n", report.node, report.version, report.generation)
}

/// One line each, what it is about and how it is.
fn facts(report: &Report) -> Vec<Vec<String>> {
    let mut facts = if report.watches.is_empty() {
        vec![("API server", "none: standalone".to_string())]
    } else {
        of_cluster(report)
    };
    if let Some(host) = &report.host {
        facts.push(("host policies", host_policies(host)));
        facts.extend(host.config_files.iter().map(|file| ("config file", config_file(file))));
    }
    if let Some(bans) = &report.bans {
        facts.push(("bans", bans_line(bans)));
        let source = |source: &BanSourceReport| ("ban source", format!("{}: {}", source.list, source.condition));
        facts.extend(bans.sources.iter().map(source));
    }
    let boot_gap = match (report.boot_gap, report.watches.is_empty()) {
        (BootGap::Open, false) => "open: pods are open from a reboot until the agent has its lists",
        (BootGap::Open, true) => "open: ports are open from a reboot until the agent starts",
        (BootGap::Closed, _) => "closed: the last state is loaded before the kubelet starts",
    };
    facts.push(("boot gap", boot_gap.to_string()));
    facts.into_iter().map(|(what, how)| vec![what.to_string(), how]).collect()
}

/// What is known of the cluster, and how its pods are let.
fn of_cluster(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = vec![("cluster", format!("{} pods, {} policies", report.cluster_pods, report.policies))];
    if !report.audited.is_empty() {
        facts.push(("audited", format!("{}: counted, not enforced", report.audited.join(", "))));
    }
    let (followed, rest): (Vec<_>, Vec<_>) =
        report.watches.iter().partition(|(_, watch)| watch.complete && watch.error.is_none());
    if !followed.is_empty() {
        let versions = followed.iter().map(|(kind, watch)| format!("{kind} {}", watch.resource_version));
        facts.push(("API server", format!("followed up to {}", versions.collect::<Vec<_>>().join(", "))));
    }
    for (kind, watch) in rest {
        let state = match &watch.error {
            Some(error) => format!("{kind} fails, trying again: {error}"),
            None => format!("{kind} is being listed"),
        };
        facts.push(("API server", state));
    }
    let ranges = list(&report.unknown_pods.pod_ranges);
    let unknown_pods = match (report.unknown_pods.dropped, ranges.is_empty()) {
        (true, _) => format!("dropped, in {ranges}"),
        (false, true) => "pass, since no pod range of the node is known".to_string(),
        (false, false) => format!("pass, in {ranges}"),
    };
    facts.push(("unknown pods", unknown_pods));
    let forged = match (report.forged_sources.dropped, report.forged_sources.packets) {
        (false, _) => "pass".to_string(),
        (true, 0) => "dropped, none so far".to_string(),
        (true, packets) => format!("dropped, {packets} packets so far"),
    };
    facts.push(("forged sources", forged));
    facts
}

/// `/etc/kube-restrict-ip/config.yaml: in force, as ipChain KUBE-RESTRICT-IP`.
fn config_file(file: &ConfigFileReport) -> String {
    let condition = file.condition.replace('-', " ");
    let holds = match (&file.ip_chain, &*file.condition) {
        (None, _) => String::new(),
        (Some(chain), "in-force") => format!(", as ipChain {chain}"),
        (Some(chain), _) => format!("; in force is what holds of ipChain {chain}"),
    };
    format!("{}: {condition}{holds}", file.path.display())
}

/// `2 policies guard tcp 9000-9022, udp 53; 4 packets denied so far`.
fn host_policies(host: &HostReport) -> String {
    let mut parts = vec![match (host.policies, host.guarded.is_empty()) {
        (0, true) => "none".to_string(),
        (policies, true) => format!("{}, no port of this node is guarded", counted(policies, "policy", "policies")),
        (policies, false) => format!(
            "{} guard{} {}",
            counted(policies, "policy", "policies"),
            if policies == 1 { "s" } else { "" },
            host.guarded.join(", ")
        ),
    }];
    if !host.audited.is_empty() {
        parts.push(format!("audited: {}", host.audited.join(", ")));
    }
    if host.denied > 0 {
        parts.push(format!("{} packets denied so far", host.denied));
    }
    if host.would_deny > 0 {
        parts.push(format!("{} packets would be denied", host.would_deny));
    }
    parts.join("; ")
}

/// `2 lists ban 1204 ranges; 4 packets dropped so far`.
fn bans_line(bans: &BansReport) -> String {
    let mut parts = vec![match bans.lists {
        0 => "none".to_string(),
        lists => format!(
            "{} ban{} {}",
            counted(lists, "list", "lists"),
            if lists == 1 { "s" } else { "" },
            counted(bans.ranges, "range of addresses", "ranges of addresses")
        ),
    }];
    if !bans.audited.is_empty() {
        parts.push(format!("audited: {}", bans.audited.join(", ")));
    }
    parts.extend(bans.next_expiry.map(|expiry| format!("the next entry expires {expiry}")));
    if bans.denied > 0 {
        parts.push(format!("{} packets dropped so far", bans.denied));
    }
    if bans.would_deny > 0 {
        parts.push(format!("{} packets would be dropped", bans.would_deny));
    }
    parts.join("; ")
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A pod takes as many lines as it has addresses or policies.
fn pods(report: &Report, age: impl Fn(Timestamp) -> String) -> Vec<Vec<String>> {
    let mut rows = vec![["POD", "ADDRESSES", "IN FORCE", "INGRESS", "EGRESS", "DENIED"].map(str::to_string).to_vec()];
    for pod in &report.pods {
        let isolators = |policies: &Option<Vec<String>>| match policies {
            Some(policies) => policies.iter().map(|policy| marked(report, policy)).collect(),
            None => vec!["open".to_string()],
        };
        let denied = [(pod.denied.ingress, "in"), (pod.denied.egress, "out")];
        let denied = denied.iter().filter(|(packets, _)| *packets > 0).map(|(packets, way)| format!("{packets} {way}"));
        let mut cells = [
            vec![pod.pod.clone()],
            pod.addresses.iter().map(ToString::to_string).collect(),
            vec![pod.since.map_or_else(|| "no".to_string(), &age)],
            isolators(&pod.ingress),
            isolators(&pod.egress),
            denied.collect(),
        ];
        for cell in cells.iter_mut().filter(|cell| cell.is_empty()) {
            cell.push("-".to_string());
        }
        let lines = cells.iter().map(Vec::len).max().unwrap_or_default();
        rows.extend(
            (0..lines).map(|line| cells.iter().map(|cell| cell.get(line).cloned().unwrap_or_default()).collect()),
        );
    }
    rows
}

/// The policy, and whether it cannot be read.
fn marked(report: &Report, policy: &str) -> String {
    let object = format!("NetworkPolicy {policy}");
    let is_wrong = |line: &String| line.starts_with("error: ");
    let unreadable = report.findings.iter().any(|found| found.object == object && found.findings.iter().any(is_wrong));
    if unreadable { format!("{policy} (unreadable)") } else { policy.to_string() }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Rows, one below the other, in aligned columns, three blanks apart; the last is as long as it is.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..count).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("   ").trim_end());
    }
    text
}

/// How long ago, as kubectl writes it.
fn age(since: Timestamp) -> String {
    length(since, Timestamp::now())
}

/// How long it is from one time to another, as kubectl writes it.
pub fn length(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILING: &str = r#"{"node":"n1","version":"0.1.0","phase":"failing","generation":7,
        "watches":{"Pod":{"resourceVersion":"812","complete":true,"error":null},
                   "NetworkPolicy":{"resourceVersion":"","complete":false,"error":"403 Forbidden"}},
        "pods":[{"pod":"web/front","addresses":[],"since":null,"ingress":null,"egress":[],
                 "interface":null,"denied":{"ingress":0,"egress":0}}],
        "clusterPods":40,"policies":12,"audited":["db/close","db/open"],"findings":[],
        "unknownPods":{"dropped":false,"podRanges":[]},"forgedSources":{"dropped":false,"packets":0},
        "preflight":[{"name":"ipvs","found":"kube-proxy uses IPVS","means":"not tested","hint":"use nftables"}],
        "bootGap":"open","error":"no memory",
        "repairs":[{"at":"2026-01-01T00:00:00Z","by":"nft","operations":9}]}"#;

    const FAILING_TEXT: &str = "\
node n1: failing: the kernel refuses; what was in force before still is (palisade 0.1.0, generation 7)
error: no memory

cluster          40 pods, 12 policies
audited          db/close, db/open: counted, not enforced
API server       followed up to Pod 812
API server       NetworkPolicy fails, trying again: 403 Forbidden
unknown pods     pass, since no pod range of the node is known
forged sources   pass
boot gap         open: pods are open from a reboot until the agent has its lists

POD         ADDRESSES   IN FORCE   INGRESS   EGRESS   DENIED
web/front   -           no         open      -        -

in the way of enforcement:
  ipvs: kube-proxy uses IPVS
    not tested
    hint: use nftables

repaired after changes by other programs:
  3m ago, after nft: 9 operations
";

    const FIVE_PODS: &str = r#"{"node":"n1","version":"0.1.0","phase":"in-force","generation":7,
        "watches":{"Namespace":{"resourceVersion":"512","complete":true,"error":null},
                   "NetworkPolicy":{"resourceVersion":"811","complete":true,"error":null},
                   "Node":{"resourceVersion":"809","complete":true,"error":null},
                   "Pod":{"resourceVersion":"812","complete":true,"error":null}},
        "pods":[
            {"pod":"db/pg-0","addresses":["10.244.1.5","fd44:0:0:1::5"],"since":"2026-01-01T00:00:00Z",
             "ingress":["db/allow-web","db/default-deny"],"egress":["db/default-deny"],
             "interface":"veth1a2b","denied":{"ingress":31,"egress":0}},
            {"pod":"db/redis-0","addresses":["10.244.1.6","fd44:0:0:1::6"],"since":"2026-01-01T00:00:00Z",
             "ingress":["db/default-deny","db/redis"],"egress":["db/default-deny"],
             "interface":"veth1a2c","denied":{"ingress":4,"egress":2}},
            {"pod":"kube-system/coredns-674b8bbfcf-x7k2p","addresses":["10.244.1.2","fd44:0:0:1::2"],
             "since":"2026-01-01T00:00:00Z","ingress":null,"egress":null,
             "interface":"veth1a2d","denied":{"ingress":0,"egress":0}},
            {"pod":"web/front-5d9c","addresses":["10.244.1.7","fd44:0:0:1::7"],"since":"2026-01-01T00:00:00Z",
             "ingress":["web/from-ingress"],"egress":null,
             "interface":"veth1a2e","denied":{"ingress":0,"egress":0}},
            {"pod":"web/front-8xk4","addresses":[],"since":null,
             "ingress":["web/from-ingress"],"egress":null,
             "interface":null,"denied":{"ingress":0,"egress":0}}],
        "clusterPods":40,"policies":12,"audited":[],
        "findings":[{"object":"NetworkPolicy db/redis",
                     "findings":["error: spec.ingress[0]: unknown field 'port'"]}],
        "unknownPods":{"dropped":true,"podRanges":["10.244.1.0/24","fd44:0:0:1::/64"]},
        "forgedSources":{"dropped":true,"packets":12},
        "preflight":[],"bootGap":"closed","error":null,"repairs":[]}"#;

    /// As the documentation shows it.
    const FIVE_PODS_TEXT: &str = "\
node n1: in force (palisade 0.1.0, generation 7)

cluster          40 pods, 12 policies
API server       followed up to Namespace 512, NetworkPolicy 811, Node 809, Pod 812
unknown pods     dropped, in 10.244.1.0/24, fd44:0:0:1::/64
forged sources   dropped, 12 packets so far
boot gap         closed: the last state is loaded before the kubelet starts

POD                                    ADDRESSES       IN FORCE   INGRESS                 EGRESS            DENIED
db/pg-0                                10.244.1.5      3m         db/allow-web            db/default-deny   31 in
                                       fd44:0:0:1::5              db/default-deny
db/redis-0                             10.244.1.6      3m         db/default-deny         db/default-deny   4 in
                                       fd44:0:0:1::6              db/redis (unreadable)                     2 out
kube-system/coredns-674b8bbfcf-x7k2p   10.244.1.2      3m         open                    open              -
                                       fd44:0:0:1::2
web/front-5d9c                         10.244.1.7      3m         web/from-ingress        open              -
                                       fd44:0:0:1::7
web/front-8xk4                         -               no         web/from-ingress        open              -

objects with something wrong in them:
  NetworkPolicy db/redis
    error: spec.ingress[0]: unknown field 'port'
";

    #[test]
    fn host_policies_are_one_line() {
        let check = |report: &str, expected: &str| {
            assert_eq!(host_policies(&serde_json::from_str(report).unwrap()), expected);
        };
        check(r#"{"policies":0,"audited":[],"guarded":[],"denied":0,"wouldDeny":0}"#, "none");
        check(
            r#"{"policies":1,"audited":[],"guarded":["tcp 9000-9022","udp 53"],"denied":4,"wouldDeny":0}"#,
            "1 policy guards tcp 9000-9022, udp 53; 4 packets denied so far",
        );
        check(
            r#"{"policies":2,"audited":["trial"],"guarded":[],"denied":0,"wouldDeny":7}"#,
            "2 policies, no port of this node is guarded; audited: trial; 7 packets would be denied",
        );
    }

    #[test]
    fn bans_are_one_line() {
        let check = |report: &str, expected: &str| {
            assert_eq!(bans_line(&serde_json::from_str(report).unwrap()), expected);
        };
        let report = r#"{"lists":0,"audited":[],"entries":0,"ranges":0,"nextExpiry":null,"denied":0,"wouldDeny":0}"#;
        check(report, "none");
        let report = r#"{"lists":2,"audited":["trial"],"entries":9,"ranges":1,"nextExpiry":"2030-01-31T12:00:00Z","denied":4,"wouldDeny":7}"#;
        check(
            report,
            "2 lists ban 1 range of addresses; audited: trial; the next entry expires 2030-01-31T12:00:00Z; 4 packets dropped so far; \
             7 packets would be dropped",
        );
    }

    fn text_of(report: &str) -> String {
        text(&serde_json::from_str(report).unwrap(), |_| "3m".to_string())
    }

    #[test]
    fn a_failing_agent_says_why() {
        assert_eq!(text_of(FAILING), FAILING_TEXT);
    }

    #[test]
    fn pods_stand_in_columns() {
        assert_eq!(text_of(FIVE_PODS), FIVE_PODS_TEXT);
        assert!(include_str!("../../../docs/operations.md").contains(FIVE_PODS_TEXT));
    }
}
