//! Palisade on the bed, installed and asked as its users do it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_sources::Limits;
use serde_json::Value;
use xtask::bed::{Bed, Host};
use xtask::image;

use crate::support::Sandbox;

/// The namespace of its pods.
pub const NAMESPACE: &str = "palisade-system";
/// Names an image that is built already.
const IMAGE: &str = "PALISADE_IMAGE";

/// Where the manifests are.
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/overlays/bed")
}

/// Builds the image, unless `PALISADE_IMAGE` names one.
pub fn image() -> anyhow::Result<PathBuf> {
    if let Some(built) = std::env::var_os(IMAGE) {
        return Ok(built.into());
    }
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/palisade.tar");
    image::palisade::write(&out, "release")?;
    Ok(out)
}

/// Waits until the agents are as their DaemonSet says, and ready.
pub fn ready(bed: &Bed) -> anyhow::Result<()> {
    bed.kubectl(&["--namespace", NAMESPACE, "rollout", "status", "daemonset/palisade-agent", "--timeout=60s"])?;
    Ok(())
}

/// Runs `palisade` on a node: the program that its agent left there.
pub fn palisade(bed: &Bed, node: &str, words: &[&str]) -> anyhow::Result<String> {
    let program = format!("/var/lib/palisade/{node}/palisade");
    bed.node(node)?.host.exec(&[&[program.as_str()], words].concat())
}

/// What `palisade status` says on a node.
pub fn status(bed: &Bed, node: &str) -> anyhow::Result<Value> {
    let said = palisade(bed, node, &["status", "--output=json"])?;
    serde_json::from_str(&said).with_context(|| format!("palisade status on {node}: {said}"))
}

/// Waits until something of the sandbox is in force: `pod NAME`, `policy NAME`, or with more words behind.
pub fn in_force(sandbox: &Sandbox<'_>, kind: &str, name: &str, more: &[&str]) -> anyhow::Result<()> {
    let name = format!("{}/{name}", sandbox.namespace);
    let words = ["wait", kind, &name, "--kubeconfig=/run/bed/pki/admin.kubeconfig"];
    palisade(sandbox.bed, "node1", &[&words, more].concat()).map(drop)
}

/// Applies a policy, and waits until it is in force.
pub fn enforce(sandbox: &Sandbox<'_>, name: &str, spec: &str) -> anyhow::Result<()> {
    sandbox.apply(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    ))?;
    in_force(sandbox, "policy", name, &[])
}

/// Applies a host policy, and waits until it is in force. It is deleted when the value is dropped.
pub fn guard<'a>(sandbox: &'a Sandbox<'_>, name: &str, spec: &str) -> anyhow::Result<InForce<'a>> {
    InForce::apply(sandbox, ["HostPolicy", "host-policy"], name, spec)
}

/// Applies a ban list, and waits until it is in force. It is deleted when the value is dropped.
pub fn ban<'a>(sandbox: &'a Sandbox<'_>, name: &str, spec: &Value) -> anyhow::Result<InForce<'a>> {
    InForce::apply(sandbox, ["BanList", "ban-list"], name, &spec.to_string())
}

/// A host policy or a ban list that is in force.
pub struct InForce<'a> {
    bed: &'a Bed,
    kind: &'static str,
    /// The kind, as `palisade wait` has it.
    word: &'static str,
    pub name: String,
}

impl<'a> InForce<'a> {
    fn apply(
        sandbox: &'a Sandbox<'_>,
        [kind, word]: [&'static str; 2],
        name: &str,
        spec: &str,
    ) -> anyhow::Result<Self> {
        let name = format!("{}-{name}", sandbox.namespace);
        sandbox.bed.apply(&format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        ))?;
        let applied = InForce { bed: sandbox.bed, kind, word, name };
        applied.wait("in-force")?;
        Ok(applied)
    }

    fn wait(&self, until: &str) -> anyhow::Result<()> {
        let until = format!("--for={until}");
        let words = ["wait", self.word, &self.name, &until, "--kubeconfig=/run/bed/pki/admin.kubeconfig"];
        palisade(self.bed, "node1", &words).map(drop)
    }

    /// What kubectl finds in it by a path in its `jsonpath` language.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        self.bed.kubectl(&["get", self.kind, &self.name, &format!("--output=jsonpath={path}")])
    }

    /// Deletes it, and waits until it is gone.
    pub fn lift(self) -> anyhow::Result<()> {
        self.bed.kubectl(&["delete", self.kind, &self.name])?;
        self.wait("delete")
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.bed.kubectl(&["delete", self.kind, &self.name, "--ignore-not-found"]) {
            println!("warning: {error:#}");
        }
    }
}

/// What the API server takes and the agent does not read: it has one peer too many. Read, it would allow all pods.
pub fn too_many_peers() -> String {
    let peers = "{podSelector: {}},".repeat(Limits::default().peers_per_policy + 1);
    format!("{{podSelector: {{}}, ingress: [{{from: [{peers}]}}]}}")
}

/// Deletes a policy, and waits until it is gone.
pub fn lift(sandbox: &Sandbox<'_>, name: &str) -> anyhow::Result<()> {
    sandbox.kubectl(&["delete", "networkpolicy", name])?;
    in_force(sandbox, "policy", name, &["--for=delete"])
}

/// The sum of all series of a metric that begin with `series`, on a node; 0 if there is none.
pub fn metric(bed: &Bed, node: &str, series: &str) -> anyhow::Result<f64> {
    let page = bed.node(node)?.host.network()?.within(|| -> anyhow::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9469")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    })??;
    let values = page.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    Ok(values.filter_map(|value| value.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value))
}

/// The process of the agent, as numbered by its node.
pub fn agent(host: &Host) -> anyhow::Result<String> {
    let listed = host.exec(&["pgrep", "--full", "^/palisade agent"])?;
    listed.lines().next().map(str::to_string).context("no agent runs")
}
