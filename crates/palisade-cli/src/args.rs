//! The command line.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::{Ipv4Net, Ipv6Net};
use palisade_core::{Dialect, Family, Level};
use palisade_reach::TrafficSet;

/// Decides and enforces who may talk to whom in and around Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "palisade", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell whether flows are allowed, and by which policy, rule and field
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade explain -f examples/shop 'shop/orders -> data/postgres tcp 5432'
  palisade explain -f examples/outside-host 'node/n1 -> host/prod-to-postgres tcp 5432'
  kubectl get ns,no,po,svc,netpol -A -o yaml | palisade explain -f - --flows flows

Exit status: 0 every flow is allowed, 1 a flow is denied, 2 no answer."
    )]
    Explain(ExplainArguments),

    /// Find what is most likely not meant in manifests, with its line and what to write instead
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade check examples/shop
  helm template web | palisade check -
  palisade check manifests --output sarif > palisade.sarif
  palisade check --cluster --baseline known.json
  palisade check --explain NP020

The annotation 'palisade.dev/allow: NP023,NP045' silences checks about a policy.

Exit status: 0 nothing is found, 1 something at or above --fail-on is, 2 no answer."
    )]
    Check(CheckArguments),

    /// Check that flows come to what files say they should
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade test -f examples/shop examples/tests/shop.yaml
  palisade test -f manifests tests/*.yaml --lab --output junit

Exit status: 0 all expectations hold, 1 one does not, 2 no answer."
    )]
    Test(crate::test::TestArguments),

    /// Show who reaches whom, and with what: exact sets of flows
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade matrix -f examples/shop
  palisade matrix -f examples/shop --to data/postgres --port tcp/5432
  palisade matrix -f examples/shop -o dot | dot -Tsvg > shop.svg

Exit status: 0 it is shown, 2 no answer."
    )]
    Matrix(MatrixArguments),

    /// Write one HTML page: who reaches whom, why, and what checks find
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade report -f examples/shop --out report.html
  palisade report --cluster --out report.html

The page needs no network, and holds the names of everything it is about.

Exit status: 0 it is written, 2 it is not."
    )]
    Report(crate::report::ReportArguments),

    /// Show what a change of manifests changes: flows that come, go or differ
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade diff old/ new/
  palisade diff old.yaml new.yaml -o markdown
  palisade diff --cluster manifests/
  palisade diff -f manifests/ --dialect np-guard --dialect palisade

Exit status: 0 the same flows pass, 3 others do, 2 no answer."
    )]
    Diff(DiffArguments),

    /// Build the pods, enforce the policies, send real packets
    #[cfg(target_os = "linux")]
    #[command(
        arg_required_else_help = true,
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Examples:
  palisade lab -f examples/shop
  palisade lab -f examples/shop --flows flows.txt --output json
  palisade lab -f examples/shop --watch
  palisade lab exec -f examples/shop shop/front -- ip route

Exit status: 0 all witnesses agree, 1 a witness disagrees, 2 no answer."
    )]
    Lab(LabArguments),

    /// Print the nftables ruleset of a node, as text for 'nft -f -'
    #[cfg(target_os = "linux")]
    #[command(
        arg_required_else_help = true,
        after_help = "Example:
  palisade render -f examples/shop --node n1 | sudo nft -c -f -

Exit status: 0 it is printed, 2 no answer."
    )]
    Render(RenderArguments),

    /// Enforce on this node what the API server says
    #[cfg(target_os = "linux")]
    #[command(after_help = "Examples:
  palisade agent --kubeconfig /etc/palisade/kubeconfig --node n1
  palisade agent --config /etc/kube-restrict-ip/config.yaml

SIGTERM ends it; what is in force stays in force.")]
    Agent(crate::agent::AgentArguments),

    /// Show what is in force on this node
    #[cfg(target_os = "linux")]
    #[command(after_help = "Exit status: 0 in force, 1 not, 2 no agent answers.")]
    Status(crate::status::StatusArguments),

    /// Show packets that this node denied, with the policies that do not let them
    #[cfg(target_os = "linux")]
    #[command(after_help = "Examples:
  palisade denied
  palisade denied --follow --output json

A few packets of each pod are shown in a second; all are counted, see /metrics.

Exit status: 0 they are shown, 2 no agent answers, or it ended.")]
    Denied(crate::denied::DeniedArguments),

    /// Wait until a policy or a pod's rules are in force, as the agents say
    #[cfg(target_os = "linux")]
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade wait policy db/allow-web
  palisade wait policy db/allow-web --for=delete
  palisade wait pod shop/front-0 --timeout 2m --output json

Exit status: 0 in force, 1 not within the time, with who lags, 2 no answer."
    )]
    Wait(crate::wait::WaitArguments),

    /// Ban an address in the whole cluster, by an entry of a BanList
    #[cfg(target_os = "linux")]
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  palisade ban 203.0.113.9 --for 1h --reason 'scans ports'
  palisade ban 2001:db8::/32 --list abuse

'palisade wait ban-list manual' waits until it is in force on every node.

Exit status: 0 the API server has it, 2 it has not."
    )]
    Ban(crate::bans::BanArguments),

    /// End a ban
    #[cfg(target_os = "linux")]
    #[command(
        arg_required_else_help = true,
        after_help = "Exit status: 0 the entry is gone, 1 there was none, 2 no answer."
    )]
    Unban(crate::bans::UnbanArguments),

    /// Show what is banned in the cluster, or which lists ban an address
    #[cfg(target_os = "linux")]
    #[command(after_help = "Examples:
  palisade bans
  palisade bans --of 203.0.113.9
  palisade bans --as cilium | kubectl apply --server-side -f -
  palisade bans -f bans.yaml --as networkpolicy

Exit status: 0 it is shown, 1 with --of the address is banned, with --as not all could be written, 2 no answer.")]
    Bans(crate::bans::BansArguments),

    /// On a server outside of clusters: let their nodes, as they come and go, reach ports of it, and nobody else
    #[cfg(target_os = "linux")]
    #[command(
        arg_required_else_help = true,
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Examples:
  palisade host --check --config /etc/palisade/nodes.yaml
  palisade host --config /etc/palisade/nodes.yaml
  palisade host --kubeconfig /etc/palisade/prod.kubeconfig --allow tcp/5432
  palisade host --config /etc/palisade/nodes.yaml --export -
  palisade host status

SIGTERM ends it; what is in force stays in force.

Exit status: 0 all is well, 1 with --check the file has errors, with --once a cluster did not answer, 2 it cannot be done."
    )]
    Host(crate::host::HostArguments),

    /// Let no pod of this node be open before the agent runs: for the boot, before the kubelet
    #[cfg(target_os = "linux")]
    #[command(after_help = "'palisade agent --boot-restore=install' installs a unit that runs it.

Exit status: 0 it is done, or there is nothing to do, 2 it cannot be done.")]
    Restore(crate::restore::RestoreArguments),

    /// Print a completion script for a shell
    #[command(
        arg_required_else_help = true,
        after_help = "Examples:
  source <(palisade completion bash)
  palisade completion zsh > \"${fpath[1]}/_palisade\"
  palisade completion fish > ~/.config/fish/completions/palisade.fish

Exit status: 0 it is printed, 2 it is not."
    )]
    Completion(crate::shell::CompletionArguments),

    /// Write manual pages
    #[command(
        arg_required_else_help = true,
        after_help = "Example:
  palisade man /usr/local/share/man/man1

Exit status: 0 they are written, 2 they are not."
    )]
    Man(crate::shell::ManArguments),
}

/// What there may be instead of manifests.
const INSTEAD: &[&str] = if cfg!(target_os = "linux") { &["configs", "cluster"] } else { &["configs"] };
/// The same, of checks.
const INSTEAD_OF_CHECKED: &[&str] =
    if cfg!(target_os = "linux") { &["filenames", "explain", "cluster"] } else { &["filenames", "explain"] };
/// The same, of what is compared.
const INSTEAD_OF_COMPARED: &[&str] = if cfg!(target_os = "linux") { &["paths", "cluster"] } else { &["paths"] };
/// What conflicts with further manifests.
const CLUSTER: &[&str] = if cfg!(target_os = "linux") { &["cluster"] } else { &[] };

/// Where the objects come from, and what stands in for what they leave out.
#[derive(Args, Clone, Debug)]
pub struct InputArguments {
    /// Manifests: file, directory or - (stdin); repeatable
    #[arg(short = 'f', long = "filename", value_name = "PATH", required_unless_present_any = INSTEAD)]
    pub paths: Vec<PathBuf>,

    /// A config file of kube-restrict-ip; repeatable, each is a group of its own
    #[arg(long = "config", value_name = "FILE")]
    pub configs: Vec<PathBuf>,

    /// A cluster.
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub live: crate::live::ClusterArguments,

    /// What stands in.
    #[command(flatten)]
    pub left_out: LeftOutArguments,
}

/// What stands in for what the objects leave out.
#[derive(Args, Clone, Debug)]
pub struct LeftOutArguments {
    /// Nodes to make up
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    #[arg(help_heading = LEFT_OUT)]
    pub nodes: u16,

    /// IPv4 addresses of pods
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16", help_heading = LEFT_OUT)]
    pub pod_cidr: Ipv4Net,

    /// IPv6 addresses of pods
    #[arg(long, value_name = "CIDR", default_value = "fd44::/48", help_heading = LEFT_OUT)]
    pub pod_cidr6: Ipv6Net,

    /// IPv4 addresses of nodes
    #[arg(long, value_name = "CIDR", default_value = "10.99.0.0/24", help_heading = LEFT_OUT)]
    pub node_cidr: Ipv4Net,

    /// IPv6 addresses of nodes
    #[arg(long, value_name = "CIDR", default_value = "fd99::/64", help_heading = LEFT_OUT)]
    pub node_cidr6: Ipv6Net,
}

/// The heading of the options about nodes and addresses.
const LEFT_OUT: &str = "Where the input leaves it out";

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArguments {
    /// The input.
    #[command(flatten)]
    pub input: InputArguments,

    /// Flows, as in 'shop/orders -> data/postgres tcp 5432'
    #[arg(value_name = "FLOW", required_unless_present = "flows")]
    pub flow: Vec<String>,

    /// A file of flows, one a line; - is stdin
    #[arg(long, value_name = "FILE")]
    pub flows: Option<PathBuf>,

    /// Families to judge: 4, 6 or both
    #[arg(long, value_name = "FAMILY", value_enum, default_value_t = FamilyArgument::Both, hide_possible_values = true)]
    pub family: FamilyArgument,

    /// Whose reading, see docs/dialects.md
    #[arg(long, value_name = "NAME", value_parser = dialect(), default_value_t = Dialect::Palisade)]
    pub dialect: Dialect,

    /// text, or json: one object a flow
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    pub output: OutputFormat,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// Manifests: file, directory or - (stdin)
    #[arg(value_name = "PATH", required_unless_present_any = INSTEAD_OF_CHECKED)]
    pub paths: Vec<PathBuf>,

    /// The same, as other commands take it; repeatable
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = CLUSTER)]
    pub filenames: Vec<PathBuf>,

    /// A cluster.
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub live: crate::live::ClusterArguments,

    /// Only these: ids, beginnings of ids or letters of groups, separated by commas; repeatable
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub select: Vec<String>,

    /// Not these
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore: Vec<String>,

    /// Not what this file has, which --output json wrote: findings that are accepted for now
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Whose reading is checked for, too, see docs/dialects.md
    #[arg(long, value_name = "NAME", value_parser = dialect(), default_value_t = Dialect::Palisade)]
    pub dialect: Dialect,

    /// The least level that makes the exit status 1: error, warning or note
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LevelArgument::Warning, hide_possible_values = true)]
    pub fail_on: LevelArgument,

    /// text, json (one object a finding), sarif, or github (annotations of a workflow)
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = FindingsFormat::Text)]
    #[arg(hide_possible_values = true)]
    pub output: FindingsFormat,

    /// Print the page of a check
    #[arg(long, value_name = "ID", exclusive = true)]
    pub explain: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelArgument {
    /// what cannot be read
    Error,
    /// what is most likely not meant
    Warning,
    /// what is worth knowing
    Note,
}

impl LevelArgument {
    /// The level meant.
    pub fn level(self) -> Level {
        match self {
            LevelArgument::Error => Level::Error,
            LevelArgument::Warning => Level::Warning,
            LevelArgument::Note => Level::Note,
        }
    }
}

/// Arguments of `matrix`.
#[derive(Args, Debug)]
pub struct MatrixArguments {
    /// The input.
    #[command(flatten)]
    pub input: InputArguments,

    /// Which flows.
    #[command(flatten)]
    pub wanted: WantedArguments,

    /// Whose reading, see docs/dialects.md
    #[arg(long, value_name = "NAME", value_parser = dialect(), default_value_t = Dialect::Palisade)]
    pub dialect: Dialect,

    /// text, json: one object an edge, csv, or dot: a graph
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = MatrixFormat::Text)]
    #[arg(hide_possible_values = true)]
    pub output: MatrixFormat,
}

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct DiffArguments {
    /// Manifests as they were: file, directory or - (stdin); left out with --cluster
    #[arg(value_name = "OLD", required_unless_present_any = INSTEAD_OF_COMPARED)]
    pub old: Option<PathBuf>,

    /// Manifests as they are now; with --cluster, laid over what it has
    #[arg(value_name = "NEW", required_unless_present_any = INSTEAD_OF_COMPARED, conflicts_with_all = CLUSTER)]
    pub new: Option<PathBuf>,

    /// Manifests to compare two dialects on; repeatable
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with = "old")]
    pub paths: Vec<PathBuf>,

    /// Which flows.
    #[command(flatten)]
    pub wanted: WantedArguments,

    /// Whose reading, see docs/dialects.md; twice on one input, old and new
    #[arg(long = "dialect", value_name = "NAME", value_parser = dialect())]
    pub dialects: Vec<Dialect>,

    /// Say of each difference which policies decide, before and now
    #[arg(long)]
    pub why: bool,

    /// Differences that are meant, as this command prints them: they are not shown, and do not count
    #[arg(long, value_name = "FILE")]
    pub allow_listed: Option<PathBuf>,

    /// text, json: one object a difference, or markdown
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = DiffFormat::Text)]
    #[arg(hide_possible_values = true)]
    pub output: DiffFormat,

    /// A cluster.
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub live: crate::live::ClusterArguments,

    /// What stands in.
    #[command(flatten)]
    pub left_out: LeftOutArguments,
}

/// Which flows to show.
#[derive(Args, Debug)]
pub struct WantedArguments {
    /// Only flows from here: a pod, a workload or an address
    #[arg(long, value_name = "END")]
    pub from: Option<String>,

    /// Only flows to there
    #[arg(long, value_name = "END")]
    pub to: Option<String>,

    /// Only this traffic: tcp/80, udp/5000-5010, sctp or icmp
    #[arg(long, value_name = "PORT")]
    pub port: Option<TrafficSet>,
}

/// Reads the name of a dialect.
pub fn dialect() -> impl TypedValueParser<Value = Dialect> {
    let name_of = |name: String| Dialect::NAMES.into_iter().find(|(_, known)| *known == name);
    PossibleValuesParser::new(Dialect::NAMES.map(|(_, name)| name))
        .map(move |name| name_of(name).map_or(Dialect::Palisade, |(dialect, _)| dialect))
}

/// The form of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FindingsFormat {
    /// for people
    Text,
    /// for programs: one JSON object a line
    Json,
    /// for code scanning: SARIF 2.1.0
    Sarif,
    /// for a GitHub workflow: its annotations
    Github,
}

/// The form of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MatrixFormat {
    /// for people: an edge a line
    Text,
    /// for programs: one JSON object a line
    Json,
    /// for spreadsheets
    Csv,
    /// for Graphviz
    Dot,
}

/// The form of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// for people: a difference a line
    Text,
    /// for programs: one JSON object a line
    Json,
    /// for reviews: a table
    Markdown,
}

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArguments {
    /// The input.
    #[command(flatten)]
    pub input: InputArguments,

    /// The node, or host/NAME: a server outside, by the name of its NodeAllowlist
    #[arg(long, value_name = "NAME")]
    pub node: String,
}

/// Arguments of `lab`.
#[cfg(target_os = "linux")]
#[derive(Args, Debug)]
pub struct LabArguments {
    /// What to do with a lab that runs already.
    #[command(subcommand)]
    pub command: Option<LabCommand>,

    /// The lab itself.
    #[command(flatten)]
    pub run: LabRunArguments,
}

/// Subcommands of `lab`.
#[cfg(target_os = "linux")]
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Run a command inside a pod of a lab that runs with --watch
    Exec(LabExecArguments),
}

/// Arguments of a lab run.
#[cfg(target_os = "linux")]
#[derive(Args, Debug)]
pub struct LabRunArguments {
    /// The input.
    #[command(flatten)]
    pub input: InputArguments,

    /// Probe only these flows, one a line; - is stdin
    #[arg(long, value_name = "FILE")]
    pub flows: Option<PathBuf>,

    /// Families to probe: 4, 6 or both
    #[arg(long, value_name = "FAMILY", value_enum, default_value_t = FamilyArgument::Both, hide_possible_values = true)]
    pub family: FamilyArgument,

    /// text, or json: one object a flow
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    pub output: OutputFormat,

    /// Stay up, follow the files, show what changes
    #[arg(long, conflicts_with = "cluster")]
    pub watch: bool,
}

/// Arguments of `lab exec`.
#[cfg(target_os = "linux")]
#[derive(Args, Debug)]
pub struct LabExecArguments {
    /// The paths that the lab was started with
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The pod, or node/NAME, or host/NAME
    #[arg(value_name = "POD")]
    pub pod: String,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub argv: Vec<std::ffi::OsString>,
}

/// Which families to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FamilyArgument {
    /// IPv4 alone
    #[value(name = "4")]
    V4,
    /// IPv6 alone
    #[value(name = "6")]
    V6,
    /// both
    Both,
}

impl FamilyArgument {
    /// The families meant.
    pub fn families(self) -> &'static [Family] {
        match self {
            FamilyArgument::V4 => &[Family::V4],
            FamilyArgument::V6 => &[Family::V6],
            FamilyArgument::Both => &Family::ALL,
        }
    }
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// for people
    Text,
    /// for programs: one JSON object a line
    Json,
}
