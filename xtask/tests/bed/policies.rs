//! What `kubectl apply` of a policy does to packets between pods.

use anyhow::{Context as _, ensure};
use xtask::bed::wait;

use crate::Case;
use crate::palisade::{NAMESPACE, agent, enforce, in_force, lift, status};
use crate::support::{Flow, PATIENCE, Pod, Sandbox, judge};

pub const CASES: &[Case] = &[
    ("agents run with the least rights and say that they enforce", agents_run),
    ("a policy changes what pods let in", a_policy_changes_what_pods_let_in),
    ("a policy changes what pods send", a_policy_changes_what_pods_send),
    ("a pod that starts isolated gets ready and is isolated", a_new_pod_is_isolated),
];

const DENY: &str = "{podSelector: {}, policyTypes: [Ingress]}";
const FRIENDS: &str = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}";

fn agents_run(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    for node in bed.nodes() {
        let name = node.host.name();
        let status = status(bed, name)?;
        ensure!(status["phase"] == "in-force" && status["bootGap"] == "closed", "{status}");
        let form = "--output=jsonpath={.status.phase} {.status.bootGap}";
        let told = || Ok(bed.kubectl(&["get", "nodestate", name, form])? == "InForce closed");
        wait(PATIENCE, told)?.with_context(|| format!("NodeState {name} does not say that it enforces"))?;

        // CAP_NET_ADMIN is number 12.
        let agent = agent(&node.host)?;
        let rights = node.host.exec(&["grep", "CapEff", &format!("/proc/{agent}/status")])?;
        ensure!(rights.trim().ends_with("0000000000001000"), "the agent of {name} has {rights}");
        let call = node.host.exec(&["cat", "/proc/sys/net/bridge/bridge-nf-call-iptables"])?;
        ensure!(call.trim() == "1", "packets on the bridges of {name} meet no rules");
    }
    let form = "--output=jsonpath={.items[*].spec.containers[*].securityContext.readOnlyRootFilesystem}";
    let read_only = bed.kubectl(&["--namespace", NAMESPACE, "get", "pods", form])?;
    ensure!(read_only == "true true", "{read_only}");
    Ok(())
}

fn a_policy_changes_what_pods_let_in(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let pods = sandbox.deploy("web", 4)?;
    judge(&between(sandbox, &pods, |_| true)?)?;

    enforce(sandbox, "ingress", DENY)?;
    judge(&between(sandbox, &pods, |_| false)?)?;
    // The kubelet of the own node goes on asking.
    let ready = sandbox.kubectl(&["get", "deployment", "web", "--output=jsonpath={.status.readyReplicas}"])?;
    ensure!(ready == "4", "{ready} of 4 isolated pods are ready");

    enforce(sandbox, "ingress", FRIENDS)?;
    judge(&between(sandbox, &pods, |_| false)?)?;
    let friend = &pods[0].name;
    sandbox.kubectl(&["label", "pod", friend, "role=friend"])?;
    let flows = between(sandbox, &pods, |from| from.name == *friend)?;
    wait(PATIENCE, || Ok(judge(&flows).is_ok()))?;
    judge(&flows)?;

    lift(sandbox, "ingress")?;
    judge(&between(sandbox, &pods, |_| true)?)
}

fn a_policy_changes_what_pods_send(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let pods = sandbox.deploy("web", 4)?;
    sandbox.kubectl(&["label", "pod", &pods[0].name, "role=closed"])?;
    let closed = "{podSelector: {matchLabels: {role: closed}}, policyTypes: [Egress]}";
    enforce(sandbox, "egress", closed)?;
    let flows = between(sandbox, &pods, |from| from.name != pods[0].name)?;
    // The label came before the policy, but the two are watched apart.
    wait(PATIENCE, || Ok(judge(&flows).is_ok()))?;
    judge(&flows)
}

fn a_new_pod_is_isolated(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let policy = "{podSelector: {matchLabels: {app: late}}, policyTypes: [Ingress]}";
    enforce(sandbox, "ingress", policy)?;
    let early = sandbox.deploy("early", 2)?;
    let late = sandbox.deploy("late", 2)?;
    let mut flows = Vec::new();
    for pod in &late {
        in_force(sandbox, "pod", &pod.name, &[])?;
        for from in &early {
            flows.extend(sandbox.flows(from, pod, false)?);
            flows.extend(sandbox.flows(pod, from, true)?);
        }
        // A pod always reaches itself.
        flows.extend(sandbox.flows(pod, pod, true)?);
    }
    judge(&flows)
}

/// All flows from a pod to another, which pass if `passes` says so of the sender.
fn between(sandbox: &Sandbox<'_>, pods: &[Pod], passes: impl Fn(&Pod) -> bool) -> anyhow::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    for from in pods {
        for to in pods.iter().filter(|to| to.name != from.name) {
            flows.extend(sandbox.flows(from, to, passes(from))?);
        }
    }
    Ok(flows)
}
