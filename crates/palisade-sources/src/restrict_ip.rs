//! The config file of kube-restrict-ip: restricted ports of the nodes, and the networks that reach them.
//!
//! What that program reads is read as it reads it, but for what it would apply to IPv4 alone: keys in any case, YAML or JSON, ports
//! as numbers or text, networks as blocks or single addresses. Keys that it would pass over are a warning here, but for `scope`.
//!
//! A file with anything in it that cannot be read admits nobody to the ports that can be, as a `HostPolicy` does.

mod duration;
mod gaps;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_core::{
    Diagnostic, HostPeer, HostPolicy, HostPolicyName, HostPort, HostScope, Level, Otherwise, Place, Port, PortRange,
    Transport,
};

use crate::document::{self, Document};
use crate::reading::{At, Reading};
use crate::report::{Origin, Report};
use crate::tree::{Node, Span, Value, shortened};
use crate::{Parsed, SourceText, host_policy};

/// Where the image of kube-restrict-ip looks for its file.
pub const DEFAULT_PATH: &str = "/etc/kube-restrict-ip/config.yaml";
/// `ipChain`, if the file has none.
pub const DEFAULT_CHAIN: &str = "KUBE-RESTRICT-IP";
/// `checkInterval`, if the file has none.
pub const DEFAULT_CHECK_INTERVAL: Duration = Duration::from_mins(1);

const RESTRICTED_PORTS: &str = "restrictedPorts";
const ALLOWED_NETWORKS: &str = "allowedNetworks";
const CHECK_INTERVAL: &str = "checkInterval";
const IP_CHAIN: &str = "ipChain";
/// A key of ours: what kube-restrict-ip restricts, in `INPUT`, are sockets of the host.
const SCOPE: &str = "scope";
const KEYS: [&str; 5] = [RESTRICTED_PORTS, ALLOWED_NETWORKS, CHECK_INTERVAL, IP_CHAIN, SCOPE];

/// As long as the name of a chain of iptables may be, in bytes.
const CHAIN_MAX: usize = 28;

/// What a config file of kube-restrict-ip says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestrictIp {
    /// The policy that it comes to, of a group of its own, on every node.
    pub policy: HostPolicy,
    /// `checkInterval`: how often the file is looked at, even if nothing says that it changed.
    pub check_interval: Duration,
    /// What is wrong with it, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Where `allowedNetworks` stands, if it does.
    allowed: Option<Place>,
}

impl RestrictIp {
    /// Reads the text of a file. Total: a file that cannot be read guards what can be.
    pub fn parse(source: &SourceText) -> RestrictIp {
        let mut reading = Reading::default();
        let mut documents = document::documents(&source.text);
        let mut tree = match documents.len() {
            0 => Node::new(Span { line: 1, column: 1, width: 0 }, Value::Map(Vec::new())),
            _ => take(&mut documents, &mut reading),
        };
        name_as_known(&mut tree);
        let root = At::root(&tree);
        let mut read = Read {
            chain: DEFAULT_CHAIN.into(),
            ports: Vec::new(),
            networks: Vec::new(),
            interval: DEFAULT_CHECK_INTERVAL,
            scope: HostScope::HostSockets,
        };
        read.file(&root, &mut reading);
        let allowed = root.field(ALLOWED_NETWORKS).map(|at| at.node.span);
        read.into_config(source, allowed, reading)
    }

    /// Why the file cannot be read, if so.
    pub fn unreadable(&self) -> Option<&str> {
        self.policy.unreadable.as_deref()
    }
}

/// Adds what config files say to a cluster, as groups of host policies.
pub fn add(parsed: &mut Parsed, files: &[SourceText]) {
    let mut configs: Vec<RestrictIp> = files.iter().map(RestrictIp::parse).collect();
    name_apart(&mut configs);
    for config in configs {
        let gaps = config.gaps(&parsed.snapshot);
        parsed.diagnostics.extend(config.diagnostics.into_iter().chain(gaps));
        parsed.snapshot.host_policies.insert(config.policy.name.clone(), Arc::new(config.policy));
    }
}

/// Two files with one `ipChain` would be one group, and one of them lost: a later one goes by another name.
pub fn name_apart<'a>(configs: impl IntoIterator<Item = &'a mut RestrictIp>) {
    let mut names: Vec<HostPolicyName> = Vec::new();
    for config in configs {
        let chain = config.policy.name.to_string();
        let mut number = 1;
        while names.contains(&config.policy.name) {
            number += 1;
            config.policy.name = HostPolicyName::File(format!("{chain}-{number}").into());
        }
        if number > 1 {
            let message = format!("{IP_CHAIN}: another file has {chain}, too: this one goes by {}", config.policy.name);
            config.diagnostics.push(Diagnostic {
                object: Some(object(&config.policy.name)),
                hint: Some(format!("give it an {IP_CHAIN} of its own")),
                ..Diagnostic::new(Level::Warning, message)
            });
        }
        names.push(config.policy.name.clone());
    }
}

/// Whether a document that is no object looks like such a file.
pub(crate) fn is_config(tree: &Node<'_>) -> bool {
    tree.get(RESTRICTED_PORTS).is_some()
}

/// The one document of a file, with what is wrong with it as a whole.
pub(crate) fn take<'a>(documents: &mut Vec<Document<'a>>, reading: &mut Reading) -> Node<'a> {
    if let Some(second) = documents.get(1) {
        reading.problem(Level::Error, second.tree.span, "expected one document, found another".to_string());
    }
    let Document { tree, broken, .. } = documents.swap_remove(0);
    if let Some(broken) = broken {
        reading.problem(Level::Error, broken.span, broken.message);
    }
    tree
}

/// kube-restrict-ip knows its keys in any case.
fn name_as_known(tree: &mut Node<'_>) {
    let Value::Map(entries) = &mut tree.value else { return };
    for (key, _) in entries {
        if let Some(known) = KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key.text)) {
            key.text = Cow::Borrowed(known);
        }
    }
}

/// What has been read of a file.
struct Read {
    chain: Arc<str>,
    ports: Vec<HostPort>,
    networks: Vec<HostPeer>,
    interval: Duration,
    scope: HostScope,
}

impl Read {
    fn file(&mut self, root: &At<'_>, reading: &mut Reading) {
        if root.entries(reading).is_none() {
            reading.hint(format!("write at least {RESTRICTED_PORTS} and {ALLOWED_NETWORKS}"));
            return;
        }
        // A key that is written twice is an error there.
        let _ = root.known_fields(&KEYS, Level::Warning, reading);
        if let Some(chain) = root.field(IP_CHAIN).and_then(|at| chain(&at, reading)) {
            self.chain = chain;
        }
        if let Some(at) = root.field(CHECK_INTERVAL) {
            self.interval = interval(&at, reading);
        }
        if let Some(scope) = root.field(SCOPE).and_then(|at| host_policy::scope(&at, reading)) {
            self.scope = scope;
        }
        let items = required(root, RESTRICTED_PORTS, "9100", reading);
        for item in items.as_ref().and_then(|at| at.items(reading)).into_iter().flatten() {
            self.ports.extend(port(&item, reading));
        }
        let items = required(root, ALLOWED_NETWORKS, "10.244.0.0/16", reading);
        for item in items.as_ref().and_then(|at| at.items(reading)).into_iter().flatten() {
            self.networks.extend(network(&item, reading));
        }
    }

    fn into_config(self, source: &SourceText, allowed: Option<Span>, reading: Reading) -> RestrictIp {
        let mut policy = HostPolicy {
            ports: self.ports,
            scope: self.scope,
            from: self.networks,
            otherwise: Otherwise::Reject,
            ..host_policy::guarding_nothing(HostPolicyName::File(self.chain))
        };
        if let Some(problem) = reading.problems.iter().find(|problem| problem.level == Level::Error) {
            host_policy::close(&mut policy, problem.message.clone());
        }
        let sources = std::slice::from_ref(source);
        let mut report = Report::new(sources);
        let origin = Origin { source: 0, span: Span::default(), line: 1 };
        let name = object(&policy.name);
        report.problems(reading.problems, origin, Some(&name), Some(host_policy::effect(&policy)));
        let allowed = allowed.and_then(|span| report.place(Origin { span, ..origin }));
        RestrictIp { policy, check_interval: self.interval, diagnostics: report.diagnostics, allowed }
    }
}

/// How diagnostics name the file.
fn object(name: &HostPolicyName) -> String {
    format!("{} {name}", name.kind())
}

/// A list without which the file means nothing.
fn required<'p>(root: &'p At<'p>, name: &'static str, example: &str, reading: &mut Reading) -> Option<At<'p>> {
    let found = root.field(name);
    let is_empty = |at: &At<'_>| matches!(&at.node.value, Value::List(items) if items.is_empty());
    if found.as_ref().is_none_or(is_empty) {
        let span = found.as_ref().map_or(root.node.span, |at| at.node.span);
        reading.problem(Level::Error, span, format!("{name}: expected a list with at least one item, found none"));
        reading.hint(format!("write '{name}: [{example}]'"));
    }
    found
}

/// A TCP port, as a number or as text.
fn port(at: &At<'_>, reading: &mut Reading) -> Option<HostPort> {
    let number = match &at.node.value {
        Value::Int(number) => u16::try_from(*number).ok(),
        Value::Text(text) => text.parse::<u16>().ok(),
        _ => None,
    };
    let Some(port) = number.and_then(Port::new) else {
        reading.error(at, format!("expected a port from 1 to 65535, found {}", at.node.value));
        return None;
    };
    Some(HostPort { transport: Transport::Tcp, range: PortRange::single(port) })
}

/// A block of addresses, host bits or not, or one address.
fn network(at: &At<'_>, reading: &mut Reading) -> Option<HostPeer> {
    let Value::Text(text) = &at.node.value else {
        reading.error(at, format!("expected an address or a block of addresses, found {}", at.node.value));
        return None;
    };
    let block = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(block) = block else {
        let message =
            format!("expected an address or a block such as 10.0.0.0/8 or fd00::/8, found '{}'", shortened(text));
        reading.error(at, message);
        return None;
    };
    if matches!(block.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        reading.error(at, format!("an IPv4 block within IPv6 is ambiguous, found '{text}'"));
        reading.hint("write the IPv4 block");
        return None;
    }
    Some(HostPeer::Block { cidr: block.trunc(), except: Vec::new() })
}

/// The name of a chain, as iptables takes them.
fn chain(at: &At<'_>, reading: &mut Reading) -> Option<Arc<str>> {
    let text = at.text(reading)?;
    let is_name = !text.is_empty()
        && text.len() <= CHAIN_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.starts_with(['-', '!']);
    if !is_name {
        let found = shortened(text);
        reading.error(at, format!("expected a name of at most {CHAIN_MAX} letters without spaces, found '{found}'"));
        return None;
    }
    Some(text.into())
}

/// A mistake in it makes the file no less safe, so that it is no error.
fn interval(at: &At<'_>, reading: &mut Reading) -> Duration {
    let found = match &at.node.value {
        Value::Text(text) => duration::parse(text).filter(|duration| !duration.is_zero()),
        _ => None,
    };
    found.unwrap_or_else(|| {
        let default = DEFAULT_CHECK_INTERVAL.as_secs();
        reading.warning(at, format!("expected a duration such as 60s or 1m30s, found {}", at.node.value));
        reading.hint(format!("the file is looked at every {default}s"));
        DEFAULT_CHECK_INTERVAL
    })
}
