//! What the cases have in common: a namespace of their own, pods in it, and connections.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use xtask::bed::{AGNHOST, Bed, Host, Network, wait};
use xtask::probe;

/// How long a change may take to reach pods on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The port on which the servers of the cases listen for TCP.
pub const PORT: u16 = 8080;
/// The port on which they listen for UDP.
pub const UDP_PORT: u16 = 8081;
/// How long a connection that is to come about may take.
const PASSES_PATIENCE: Duration = Duration::from_secs(3);
/// How long is waited until a connection counts as denied.
const DENIED_PATIENCE: Duration = Duration::from_millis(600);

/// A Kubernetes namespace for one case; deleted when dropped.
pub struct Sandbox<'a> {
    pub bed: &'a Bed,
    pub namespace: String,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub addresses: Vec<IpAddr>,
    pub uid: String,
}

/// What a flow is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A flow, and whether it is to pass.
pub struct Flow {
    pub name: String,
    pub from: Network,
    pub protocol: Protocol,
    pub to: SocketAddr,
    pub passes: bool,
}

impl Flow {
    fn is_as_expected(&self) -> anyhow::Result<bool> {
        let patience = if self.passes { PASSES_PATIENCE } else { DENIED_PATIENCE };
        let passed = match self.protocol {
            Protocol::Tcp => probe::connects(&self.from, self.to, patience)?,
            Protocol::Udp => probe::answers_udp(&self.from, self.to, patience)?,
        };
        Ok(passed == self.passes)
    }
}

/// Tries all flows at the same time.
pub fn judge(flows: &[Flow]) -> anyhow::Result<()> {
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = flows.iter().map(|flow| scope.spawn(|| flow.is_as_expected())).collect();
        tries.into_iter().map(|tried| tried.join().unwrap_or_else(|_| bail!("a probe panicked"))).collect()
    });
    let mut wrong = Vec::new();
    for (flow, outcome) in flows.iter().zip(outcomes) {
        if !outcome? {
            let what = if flow.passes { "does not pass" } else { "passes" };
            wrong.push(format!("{} -> {} {:?} {what}", flow.name, flow.to, flow.protocol));
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{} of {} flows: {}", wrong.len(), flows.len(), wrong.join("; ")) }
}

impl<'a> Sandbox<'a> {
    pub fn new(bed: &'a Bed, namespace: &str) -> anyhow::Result<Sandbox<'a>> {
        bed.kubectl(&["create", "namespace", namespace])?;
        // Without it the API server refuses pods.
        bed.kubectl(&["wait", "serviceaccount/default", "--namespace", namespace, "--for=create", "--timeout=60s"])?;
        Ok(Sandbox { bed, namespace: namespace.to_string() })
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        self.bed.kubectl(&[&["--namespace", &self.namespace], words].concat())
    }

    /// Applies a manifest whose objects have no namespace.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        self.bed.apply_in(&self.namespace, manifest)
    }

    /// Starts servers of this name, spread over the nodes, and waits until they are ready.
    pub fn deploy(&self, name: &str, replicas: usize) -> anyhow::Result<Vec<Pod>> {
        self.apply(&format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{matchLabels: {{app: {name}}}}}
      containers:
      - name: server
        image: {AGNHOST}
        imagePullPolicy: Never
        args: [netexec, --http-port={PORT}, --udp-port={UDP_PORT}]
        readinessProbe: {{httpGet: {{path: /, port: {PORT}}}, periodSeconds: 1}}
"
        ))?;
        self.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=60s"])?;
        self.pods(name)
    }

    /// The pods of a deployment.
    pub fn pods(&self, name: &str) -> anyhow::Result<Vec<Pod>> {
        pods(self.bed, &self.namespace, name)
    }

    /// The network of a pod.
    pub fn network(&self, pod: &Pod) -> anyhow::Result<Network> {
        self.bed.pod_network(&pod.uid)
    }

    /// The flows of both protocols from one pod to the addresses of another.
    pub fn flows(&self, from: &Pod, to: &Pod, passes: bool) -> anyhow::Result<Vec<Flow>> {
        let network = self.network(from)?;
        let flow = |address: &IpAddr, protocol, port| Flow {
            name: format!("{} on {}", from.name, from.node),
            from: network.clone(),
            protocol,
            to: SocketAddr::new(*address, port),
            passes,
        };
        let both = |address| [flow(address, Protocol::Tcp, PORT), flow(address, Protocol::Udp, UDP_PORT)];
        Ok(to.addresses.iter().flat_map(both).collect())
    }

    /// Whether a pod can connect to a place, as [`place`] writes it.
    pub fn connects(&self, pod: &Pod, place: &str) -> bool {
        self.kubectl(&["exec", &pod.name, "--", "/agnhost", "connect", "--timeout=2s", place]).is_ok()
    }

    /// Waits until a pod can connect to a place.
    pub fn connects_in_the_end(&self, pod: &Pod, place: &str) -> anyhow::Result<()> {
        let connects = wait(PATIENCE, || Ok(self.connects(pod, place)))?;
        connects.with_context(|| format!("{} on {} does not reach {place}", pod.name, pod.node))
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.bed.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]) {
            println!("warning: {error:#}");
        }
    }
}

/// A pod with a server on a node, with this besides in its metadata, its spec and its container.
pub fn server_pod(name: &str, node: &str, [metadata, spec, container]: [&str; 3]) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, {metadata}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  {spec}
  containers:
  - name: server
    image: {AGNHOST}
    imagePullPolicy: Never
    {container}
"
    )
}

/// The pods of a namespace with this label `app`.
pub fn pods(bed: &Bed, namespace: &str, app: &str) -> anyhow::Result<Vec<Pod>> {
    let form = "--output=jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.metadata.uid} {.status.podIPs[*].ip}{'\\n'}{end}";
    let listed = bed.kubectl(&["--namespace", namespace, "get", "pods", &format!("--selector=app={app}"), form])?;
    listed.lines().filter(|line| !line.is_empty()).map(|line| pod(line).with_context(|| line.to_string())).collect()
}

fn pod(line: &str) -> anyhow::Result<Pod> {
    let mut words = line.split_whitespace().map(str::to_string);
    let (name, node) = (words.next().context("no name")?, words.next().context("no node")?);
    let uid = words.next().context("no uid")?;
    let addresses = words.map(|word| Ok(word.parse()?)).collect::<anyhow::Result<_>>()?;
    Ok(Pod { name, node, addresses, uid })
}

/// An address and a port, as clients take them.
pub fn place(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Whether a host of the bed can connect to a place.
pub fn host_connects(host: &Host, agnhost: &Path, place: &str) -> bool {
    let agnhost = agnhost.to_string_lossy();
    host.exec(&[&agnhost, "connect", "--timeout=2s", place]).is_ok()
}
