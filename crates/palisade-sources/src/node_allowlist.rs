//! `NodeAllowlist` (palisade.dev/v1alpha1): a file on a server outside of clusters, whose nodes are to reach ports of the server.
//!
//! Nothing is made of a file with anything in it that cannot be read: whom half of it admits nobody meant.

mod clusters;
mod mode;
mod safety;
pub(crate) mod server;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::host_policy::FAILSAFE_PORTS;
use palisade_core::{Diagnostic, HostPolicy, HostPolicyName, HostPort, Level};

use crate::document;
use crate::host_policy::{self, host_port};
use crate::metadata::{self, Scope};
use crate::network_policy::block;
use crate::reading::{At, Reading};
use crate::report::{Origin, Report};
use crate::restrict_ip::take;
use crate::tree::Span;
use crate::{SourceText, syntax};

pub use clusters::ClusterSource;
pub use mode::{Export, ExportFormat, Mode, NamedSet, SetPlace};
pub use palisade_core::{AddressType, SelectedPods};
pub use safety::{OnStale, Safety};

/// `kind`.
pub const KIND: &str = "NodeAllowlist";
/// What an error in it means.
pub(crate) const NOTHING: &str = "nothing is made of the file";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAllowlist {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.clusters`.
    pub clusters: Vec<ClusterSource>,
    /// `spec.staticCIDRs`: who is admitted whatever the clusters say.
    pub static_cidrs: Vec<IpNet>,
    /// `spec.allow`: the ports that nodes reach, and nobody else; of mode `OwnChain` alone.
    pub allow: Vec<HostPort>,
    /// `spec.mode`, with `spec.setOnly`.
    pub mode: Mode,
    /// `spec.exports`: files with the addresses.
    pub exports: Vec<Export>,
    /// `spec.safety`.
    pub safety: Safety,
}

impl NodeAllowlist {
    /// Reads the text of a file; `None` if anything in it is an error. With it, what is wrong, in the order of the file.
    pub fn parse(source: &SourceText) -> (Option<NodeAllowlist>, Vec<Diagnostic>) {
        let mut reading = Reading::default();
        let mut documents = document::documents(&source.text);
        let mut found = None;
        if documents.is_empty() {
            let nowhere = Span { line: 1, column: 1, width: 0 };
            reading.problem(Level::Error, nowhere, format!("expected a {KIND}, found nothing"));
        } else {
            let tree = take(&mut documents, &mut reading);
            found = read(&At::root(&tree), &mut reading);
        }
        reading.problems.sort_by_key(|problem| (problem.span.line, problem.span.column));
        let is_wrong = reading.problems.iter().any(|problem| problem.level == Level::Error);
        let object = found.as_ref().map(|list: &NodeAllowlist| format!("{KIND} {}", list.name));
        let mut report = Report::new(std::slice::from_ref(source));
        let origin = Origin { source: 0, span: Span::default(), line: 1 };
        report.problems(reading.problems, origin, object.as_deref(), Some(NOTHING));
        (found.filter(|_| !is_wrong), report.diagnostics)
    }

    /// Everybody who is admitted, if the nodes have these addresses.
    pub fn admitted(&self, nodes: impl IntoIterator<Item = IpNet>) -> BTreeSet<IpNet> {
        nodes.into_iter().chain(self.static_cidrs.iter().copied()).collect()
    }

    /// The policy that it comes to, for the server itself, if the nodes have these addresses.
    pub fn policy(&self, nodes: impl IntoIterator<Item = IpNet>) -> HostPolicy {
        let name = HostPolicyName::Object(Arc::clone(&self.name));
        HostPolicy::of_blocks(name, self.allow.clone(), self.admitted(nodes))
    }
}

/// Reads the file; what it comes to counts only if no problem is an error.
pub(crate) fn read(root: &At<'_>, reading: &mut Reading) -> Option<NodeAllowlist> {
    root.known_fields(&["apiVersion", "kind", "metadata", "spec"], Level::Error, reading)?;
    root.is_to_be("apiVersion", host_policy::VERSION, reading)?;
    root.is_to_be("kind", KIND, reading)?;
    let name = metadata::read(root, Scope::Cluster, syntax::dns_subdomain, reading).name;
    let spec = root.required("spec", "clusters and allow", reading)?;
    let known = ["clusters", "staticCIDRs", "allow", "mode", "setOnly", "exports", "safety"];
    spec.known_fields(&known, Level::Error, reading);
    let mode = mode::read(&spec, reading);
    let list = NodeAllowlist {
        name: name?,
        clusters: clusters::read(&spec, reading),
        static_cidrs: blocks(&spec, "staticCIDRs", reading),
        allow: allow(&spec, &mode, reading),
        exports: mode::exports(&spec, &mode, reading),
        mode,
        safety: spec.field("safety").map(|at| safety::read(&at, reading)).unwrap_or_default(),
    };
    Some(list)
}

fn is_empty(at: &At<'_>) -> bool {
    matches!(&at.node.value, crate::tree::Value::List(items) if items.is_empty())
}

/// A text that has to be there, and not empty.
fn needed<'p>(at: &'p At<'p>, name: &'p str, reading: &mut Reading) -> Option<&'p str> {
    let field = at.required(name, "text", reading)?;
    let text = field.text(reading)?;
    if text.is_empty() {
        reading.error(&field, "expected text, found none");
        return None;
    }
    Some(text)
}

fn blocks(at: &At<'_>, name: &str, reading: &mut Reading) -> Vec<IpNet> {
    let Some(at) = at.field(name) else { return Vec::new() };
    let items = at.items(reading);
    items.into_iter().flatten().filter_map(|item| block(&item, reading)).collect()
}

/// A path that has to be there, and absolute.
fn path(at: &At<'_>, name: &str, reading: &mut Reading) -> Option<PathBuf> {
    let path = PathBuf::from(needed(at, name, reading)?);
    if path.is_absolute() {
        return Some(path);
    }
    reading.error(at, format!("{name}: expected an absolute path, found '{}'", path.display()));
    None
}

/// `allow`. Whoever names SSH shuts everybody else out of it, which is worth a word.
fn allow(spec: &At<'_>, mode: &Mode, reading: &mut Reading) -> Vec<HostPort> {
    let found = spec.field("allow");
    if *mode != Mode::OwnChain {
        if let Some(found) = found {
            reading.error(&found, "expected none with this mode, found some");
            reading.hint("which ports are guarded is for the rules to say that use the addresses");
        }
        return Vec::new();
    }
    let mut ports = Vec::new();
    for item in found.as_ref().and_then(|at| at.items(reading)).into_iter().flatten() {
        let Some(port) = host_port(&item, reading) else { continue };
        let ssh = FAILSAFE_PORTS[0];
        if port.contains(ssh.transport, ssh.range.first()) {
            reading.warning(&item, "nobody but the nodes and staticCIDRs reaches SSH (tcp 22) of this server");
            reading.hint("have your own addresses in staticCIDRs, or leave port 22 out");
        }
        ports.push(port);
    }
    if found.as_ref().is_none_or(is_empty) {
        reading.error(spec, "allow: expected at least one port, found none");
    }
    ports
}
