//! How soon a policy is in force on a bed: from the answer of the API server to the last new connection that was let in, and
//! from the answer to its deletion to the first one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::bed::{AGNHOST, ApiServer, Bed, Say};
use crate::probe::{self, Attempt};

/// New connections are tried so often.
const PACE: Duration = Duration::from_millis(2);
/// How long a policy stays as it is, at least; by then it must be in force.
const REST: Duration = Duration::from_millis(700);
/// How often the policy comes and goes before anything is measured.
const WARM_UP: usize = 2;
const NAMESPACE: &str = "latency";
const PORT: u16 = 8080;
const POLICY: &str = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}"#;

/// What was measured, a duration for each time that the policy came or went.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From the answered POST to the last new connection let in; zero if there was none after the answer.
    pub denied: Vec<Duration>,
    /// From the answered DELETE to the first new connection let in.
    pub allowed: Vec<Duration>,
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, sample) in [("denied", &self.denied), ("allowed", &self.allowed)] {
            let mut sorted = sample.clone();
            sorted.sort();
            let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
            let max = sorted.last().copied().unwrap_or_default();
            writeln!(f, "{name}: median {median:.1?}, max {max:.1?} of {}", sorted.len())?;
        }
        Ok(())
    }
}

/// Lets a policy come and go `pairs` times, for a pod on the first node, asked from outside the cluster.
///
/// # Errors
///
/// The bed fails, or the policy is not in force in the end.
pub fn measure(bed: &Bed, pairs: usize, say: Say<'_>) -> anyhow::Result<Latencies> {
    bed.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"))?;
    bed.kubectl(&["wait", "serviceaccount/default", "--namespace", NAMESPACE, "--for=create", "--timeout=60s"])?;
    bed.apply_in(NAMESPACE, &servers())?;
    let namespaced = |words: &[&str]| bed.kubectl(&[&["--namespace", NAMESPACE], words].concat());
    namespaced(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let form = "--output=jsonpath={.items[?(@.spec.nodeName==\"node1\")].status.podIP}";
    let addresses = namespaced(&["get", "pods", form])?;
    let server: IpAddr = addresses.split_whitespace().next().context("no pod is on node1")?.parse()?;

    let mut api = ApiServer::start(bed)?;
    let attempts = probe::connect(&bed.outside().network()?, SocketAddr::new(server, PORT), PACE);
    let changes = (0..WARM_UP + pairs).map(|_| pair(&mut api)).collect::<anyhow::Result<Vec<_>>>();
    let attempts = attempts.stop()?;
    say(&format!("{} connections were tried", attempts.len()));
    namespaced(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    judge(&attempts, changes?.get(WARM_UP..).unwrap_or_default())
}

/// When the policy came, was about to go, and went, and when the time after it ended.
struct Pair {
    came: Instant,
    leaving: Instant,
    went: Instant,
    rested: Instant,
}

fn judge(attempts: &[Attempt], pairs: &[Pair]) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    let let_in = |from: Instant, to: Instant| {
        attempts
            .iter()
            .filter(move |attempt| attempt.answered.is_some() && (from..to).contains(&attempt.at))
            .map(|attempt| attempt.at)
    };
    for pair in pairs {
        let last = let_in(pair.came, pair.leaving).max().map_or(Duration::ZERO, |last| last - pair.came);
        ensure!(last < REST / 2, "a policy was not in force after {last:?}");
        let first = let_in(pair.went, pair.rested).min().context("a policy that is gone is still in force")?;
        latencies.denied.push(last);
        latencies.allowed.push(first - pair.went);
    }
    Ok(latencies)
}

fn servers() -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 4
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
      - name: server
        image: {AGNHOST}
        imagePullPolicy: Never
        args: [netexec, --http-port={PORT}, --udp-port=-1]
"
    )
}

/// Lets the policy come and go.
fn pair(api: &mut ApiServer) -> anyhow::Result<Pair> {
    const PATH: &str = "/apis/networking.k8s.io/v1/namespaces/latency/networkpolicies";
    api.ask("POST", PATH, POLICY)?;
    let came = Instant::now();
    std::thread::sleep(REST);
    let leaving = Instant::now();
    api.ask("DELETE", &format!("{PATH}/deny"), "")?;
    let went = Instant::now();
    std::thread::sleep(REST);
    Ok(Pair { came, leaving, went, rested: Instant::now() })
}
