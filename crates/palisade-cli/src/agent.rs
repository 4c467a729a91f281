//! `palisade agent`: enforces on a node what the API server says.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use palisade_agent::{BootRestore, ELEMENTS_PER_NODE, Enforce, Settings, cleanup};
use palisade_compile::UnknownPods;
use palisade_core::NodeName;
use palisade_nft::{Denied, Established};
use palisade_sources::{Limits, restrict_ip};

use crate::logging::LogArguments;
use crate::output::{Exit, Hinted, note};

/// Arguments of `agent`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Args, Debug)]
pub struct AgentArguments {
    /// The API server; inside a pod the service account is used
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// A config file of kube-restrict-ip, followed as it changes; may be given several times, each is a group of its own
    #[arg(long = "config", value_name = "FILE")]
    configs: Vec<PathBuf>,

    /// The directory of files that ban lists name as their source; without an API server, of the lists themselves, too
    #[arg(long, value_name = "DIR", default_value = palisade_agent::BAN_FILES)]
    ban_files: PathBuf,

    /// Without an API server: nothing but config files and ban lists in files [default outside a pod, if there is a --config and no --kubeconfig;
    /// default of --config: /etc/kube-restrict-ip/config.yaml]
    #[arg(long, conflicts_with = "kubeconfig")]
    standalone: bool,

    /// The Node whose pods are enforced [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Where the state and the socket are [default: /var/lib/palisade/NODE]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// What to enforce, separated by commas
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',', default_values_t = [Enforced::NetworkPolicy, Enforced::Host, Enforced::Bans])]
    enforce: Vec<Enforced>,

    /// What becomes of packets from or to addresses in the node's pod ranges that no known pod has
    #[arg(long, value_name = "VERDICT", value_enum, default_value_t = UnknownPodsArgument::Drop)]
    unknown_pods: UnknownPodsArgument,

    /// A pod range of this node, besides spec.podCIDRs of its Node; may be given several times
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Vec<IpNet>,

    /// Who reaches guarded ports of this node whatever host policies say, and is never banned; may be given several times
    #[arg(long, value_name = "CIDR")]
    failsafe_source: Vec<IpNet>,

    /// What no list bans on this node, besides nodes, pods, the API server, resolvers and failsafe sources; may be given several times
    #[arg(long, value_name = "CIDR")]
    protect: Vec<IpNet>,

    /// What becomes of packets that pods send under addresses that are not theirs
    #[arg(long, value_name = "VERDICT", value_enum, default_value_t = ForgedArgument::Drop)]
    forged_sources: ForgedArgument,

    /// What the sender of a denied packet notices
    #[arg(long, value_name = "VERDICT", value_enum, default_value_t = VerdictArgument::Drop)]
    verdict: VerdictArgument,

    /// What becomes of live connections that a change forbids
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = EstablishedArgument::Cut)]
    established: EstablishedArgument,

    /// The NFLOG group to which the kernel logs denied packets
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    log_group: u16,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9469")]
    listen: SocketAddr,

    /// What to do about the unit on the host that lets no pod be open after a boot, before the agent runs
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = BootRestoreArgument::Off)]
    boot_restore: BootRestoreArgument,

    /// Where /etc/systemd/system and /proc/sys/net of the host are mounted
    #[arg(long, value_name = "DIR", default_value = "/")]
    host_root: PathBuf,

    /// Take everything out of the kernel and keep it out, until --resume
    #[arg(long, conflicts_with_all = ["resume", "emergency_stop"])]
    cleanup: bool,

    /// Take every rule out of the kernel at once, even if the agent does not answer, until --resume
    #[arg(long, conflicts_with = "resume")]
    emergency_stop: bool,

    /// Enforce again after --cleanup or --emergency-stop
    #[arg(long)]
    resume: bool,

    /// The log.
    #[command(flatten)]
    log: LogArguments,

    /// How many policies of one namespace are read; those past it isolate and allow nothing
    #[arg(long, value_name = "N", default_value_t = Limits::default().policies_per_namespace, help_heading = LIMITS)]
    policies_per_namespace: usize,

    /// How many peers a policy may list; one with more isolates and allows nothing
    #[arg(long, value_name = "N", default_value_t = Limits::default().peers_per_policy, help_heading = LIMITS)]
    peers_per_policy: usize,

    /// How many elements the policies of one namespace may come to; those past it isolate and allow nothing
    #[arg(long, value_name = "N", default_value_t = Limits::default().elements_per_namespace, help_heading = LIMITS)]
    elements_per_namespace: usize,

    /// How many elements the tables of the node may come to; namespaces that find no room are closed, the largest first
    #[arg(long, value_name = "N", default_value_t = ELEMENTS_PER_NODE, help_heading = LIMITS)]
    elements_per_node: usize,
}

const LIMITS: &str = "Limits";

/// What an agent may enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Enforced {
    /// networking.k8s.io/v1 NetworkPolicy, for pods
    #[value(name = Enforce::NETWORK_POLICY)]
    NetworkPolicy,
    /// palisade.dev/v1alpha1 HostPolicy, for ports of nodes
    #[value(name = Enforce::HOST)]
    Host,
    /// palisade.dev/v1alpha1 BanList, for addresses with which nobody may speak
    #[value(name = Enforce::BANS)]
    Bans,
}

/// What becomes of unknown pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnknownPodsArgument {
    /// no packet before a pod's policies are in force
    Drop,
    /// open until a pod's policies are in force
    Allow,
}

/// What becomes of packets under addresses of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ForgedArgument {
    /// dropped, where the interface of the pod is known
    Drop,
    /// judged as if they came from whoever has the address
    Allow,
}

/// What the sender of a denied packet notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerdictArgument {
    /// nothing
    Drop,
    /// a TCP reset, or an ICMP error
    Reject,
}

/// What becomes of live connections that a change forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EstablishedArgument {
    /// they end within a second
    Cut,
    /// they live on
    Keep,
}

/// What the agent does about the unit on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BootRestoreArgument {
    /// nothing
    Off,
    /// install palisade-restore.service, and take it away on --cleanup
    Install,
}

/// Runs the command.
pub fn run(arguments: &AgentArguments) -> anyhow::Result<Exit> {
    let settings = arguments.settings();
    if !settings.configs.is_empty() && !settings.enforce.host {
        let message = "config files are about ports of nodes, which are not to be enforced".to_string();
        return Err(Hinted { message, hint: "add host to --enforce, or leave out --config".to_string() }.into());
    }
    if arguments.cleanup {
        cleanup::cleanup(&settings.state_dir)?;
        note("nothing is enforced on this node until 'palisade agent --resume'");
    } else if arguments.emergency_stop {
        cleanup::emergency_stop(&settings.state_dir)?;
        note("nothing is enforced on this node until 'palisade agent --resume'");
    } else if arguments.resume {
        cleanup::resume(&settings.state_dir)?;
        note("the agent of this node enforces, now or as soon as it runs");
    } else {
        arguments.log.start();
        palisade_agent::run(settings)?;
    }
    Ok(Exit::Clean)
}

impl AgentArguments {
    /// Whether there is no API server to ask: whoever names a file and no server, and is in no pod, means this node alone.
    fn stands_alone(&self, in_pod: bool) -> bool {
        self.standalone || (!self.configs.is_empty() && self.kubeconfig.is_none() && !in_pod)
    }

    fn settings(&self) -> Settings {
        let node: NodeName = match &self.node {
            Some(node) => node.as_str().into(),
            None => rustix::system::uname().nodename().to_string_lossy().into(),
        };
        let standalone = self.stands_alone(std::env::var_os("KUBERNETES_SERVICE_HOST").is_some());
        let enforce = Enforce {
            network_policy: self.enforce.contains(&Enforced::NetworkPolicy) && !standalone,
            host: self.enforce.contains(&Enforced::Host),
            bans: self.enforce.contains(&Enforced::Bans),
        };
        Settings {
            enforce,
            kubeconfig: self.kubeconfig.clone(),
            configs: match &self.configs[..] {
                [] if standalone => vec![restrict_ip::DEFAULT_PATH.into()],
                configs => configs.to_vec(),
            },
            standalone,
            ban_files: self.ban_files.clone(),
            state_dir: self.state_dir.clone().unwrap_or_else(|| palisade_agent::state_directory(&node)),
            // Where policies of pods are not enforced, pods are let alone.
            unknown_pods: match self.unknown_pods {
                UnknownPodsArgument::Drop if enforce.network_policy => UnknownPods::Drop,
                UnknownPodsArgument::Drop | UnknownPodsArgument::Allow => UnknownPods::Allow,
            },
            pod_cidrs: self.pod_cidr.clone(),
            failsafe_sources: self.failsafe_source.clone(),
            protected: self.protect.clone(),
            bind_sources: enforce.network_policy && self.forged_sources == ForgedArgument::Drop,
            verdict: match self.verdict {
                VerdictArgument::Drop => Denied::Drop,
                VerdictArgument::Reject => Denied::Reject,
            },
            established: match self.established {
                EstablishedArgument::Cut => Established::Cut,
                EstablishedArgument::Keep => Established::Keep,
            },
            log_group: self.log_group,
            listen: Some(self.listen),
            boot_restore: match self.boot_restore {
                BootRestoreArgument::Off => BootRestore::Off,
                BootRestoreArgument::Install => BootRestore::Install,
            },
            host_root: self.host_root.clone(),
            limits: Limits {
                policies_per_namespace: self.policies_per_namespace,
                peers_per_policy: self.peers_per_policy,
                elements_per_namespace: self.elements_per_namespace,
            },
            elements_per_node: self.elements_per_node,
            node,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn told(flags: &[&str]) -> Box<AgentArguments> {
        let arguments = Arguments::try_parse_from(["palisade", "agent"].iter().chain(flags)).unwrap();
        let Command::Agent(arguments) = arguments.command else { panic!("{flags:?}") };
        Box::new(arguments)
    }

    #[test]
    fn who_names_a_file_and_no_server_stands_alone() {
        let check = |flags: &[&str], in_pod, expected| {
            assert_eq!(told(flags).stands_alone(in_pod), expected, "{flags:?}, in a pod: {in_pod}");
        };
        check(&[], false, false);
        check(&["--config", "a"], false, true);
        check(&["--config", "a"], true, false);
        check(&["--config", "a", "--kubeconfig", "k"], false, false);
        check(&["--standalone"], true, true);
        assert!(Arguments::try_parse_from(["palisade", "agent", "--standalone", "--kubeconfig", "k"]).is_err());
    }

    #[test]
    fn standalone_has_the_default_file_and_no_policies_of_pods() {
        let settings = told(&["--standalone"]).settings();
        assert_eq!(settings.configs, [PathBuf::from(restrict_ip::DEFAULT_PATH)]);
        assert!(
            settings.enforce == Enforce { network_policy: false, host: true, bans: true } && !settings.bind_sources
        );
        let files = told(&["--config", "a", "--config", "b", "--standalone"]).settings().configs;
        assert_eq!(files, ["a", "b"].map(PathBuf::from));
    }
}
