//! The rights of the agent: it uses each that it has, and has no other.
#![expect(clippy::disallowed_methods, reason = "gives agents their files and reads their logs")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use xtask::bed::{Bed, Host, directory, wait};

use crate::Case;
use crate::bans::{FEED, Feed};
use crate::palisade::{NAMESPACE, enforce, too_many_peers};
use crate::support::{PATIENCE, Sandbox};

pub const CASES: &[Case] = &[
    ("agents have no right but those that they say", agents_have_no_other_rights),
    ("agents use every right that they have", agents_use_every_right),
];

/// The name of both: of the cluster's role and of that in the agents' namespace.
const ROLE: &str = "palisade-agent";
/// Whoever holds it writes the status of policies.
const LEASE: &str = "palisade-status";
/// What is fetched: addresses for documents (RFC 5737).
const FEED_TEXT: &str = "192.0.2.0/24\n";
/// Longer than agents go on under a Lease that is gone.
const LEASE_PATIENCE: Duration = Duration::from_secs(12);
/// How the agent tells that it was refused something: in the words of the API server, or in its own.
const REFUSALS: [&str; 2] = ["is forbidden: User", "the agent may not write"];

fn rules(bed: &Bed, kind: &str) -> anyhow::Result<Value> {
    let role = bed.kubectl(&["--namespace", NAMESPACE, "get", kind, ROLE, "--output=json"])?;
    Ok(serde_json::from_str::<Value>(&role)?["rules"].take())
}

fn agents_have_no_other_rights(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let can = |user: &str| -> anyhow::Result<BTreeSet<String>> {
        let user = format!("--as=system:serviceaccount:{user}");
        let listed =
            sandbox.bed.kubectl(&["--namespace", NAMESPACE, "auth", "can-i", "--list", "--no-headers", &user])?;
        Ok(listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    };
    let everybody = can(&format!("{}:default", sandbox.namespace))?;
    let agent = can(&format!("{NAMESPACE}:{ROLE}"))?;
    let ours: BTreeSet<&str> = agent.difference(&everybody).map(String::as_str).collect();
    let expected = [
        "events.events.k8s.io [] [] [create]",
        "banlists.palisade.dev [] [] [list watch]",
        "banlists.palisade.dev/status [] [] [patch]",
        "configmaps [] [] [create delete list patch watch]",
        "hostpolicies.palisade.dev [] [] [list watch]",
        "hostpolicies.palisade.dev/status [] [] [patch]",
        "leases.coordination.k8s.io [] [palisade-status] [get update]",
        "namespaces [] [] [list watch]",
        "networkpolicies.networking.k8s.io [] [] [list watch]",
        "nodes [] [] [list watch]",
        "nodestates.palisade.dev [] [] [create list patch watch]",
        "pods [] [] [list watch]",
    ];
    ensure!(ours == BTreeSet::from(expected), "the agent may {ours:?}");
    Ok(())
}

/// A right of a role: a verb on one resource.
type Right = (String, String);

/// Agents as plain processes on the host of the control plane, one with all rights, and one more for each that is taken away.
/// The server streams no lists, so that an agent has to list.
fn agents_use_every_right(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    let rules = [rules(bed, "clusterrole")?, rules(bed, "role")?];
    let mut rights: Vec<Option<Right>> = vec![None];
    for rule in rules.iter().flat_map(items) {
        for resource in strings(&rule["resources"]) {
            rights.extend(strings(&rule["verbs"]).map(|verb| Some((resource.to_string(), verb.to_string()))));
        }
    }
    ensure!(rights.len() > 8, "{rules:?}");
    let program = tempfile::NamedTempFile::new()?.into_temp_path();
    let left = bed.node("node1")?.host.file("/var/lib/palisade/node1/palisade")?;
    fs::copy(left, &program)?;

    // There is something to write events of.
    enforce(sandbox, "endless", &too_many_peers())?;
    // Agents of the DaemonSet leave the status of policies to those that are tried.
    bed.kubectl(&["--namespace", NAMESPACE, "delete", "lease", LEASE])?;
    std::thread::sleep(LEASE_PATIENCE);
    bed.stop_api_server()?;
    bed.start_api_server_with(&["--feature-gates=WatchList=false"])?;
    let _feed = Feed::served(bed, FEED_TEXT.to_owned())?;
    let outcome = rights.iter().enumerate().try_for_each(|(number, right)| {
        let refusal = Trial { sandbox, number, right: right.as_ref(), program: &program }.refusal(&rules)?;
        ensure!(refusal.is_some() == right.is_some(), "lacking {right:?} the agent is refused {refusal:?}");
        Ok(())
    });
    bed.stop_api_server()?;
    bed.start_api_server()?;
    bed.apply_in(NAMESPACE, &lease().to_string())?;
    outcome
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn lease() -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}})
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    items(list).filter_map(Value::as_str)
}

/// An agent that lacks one right, or none.
struct Trial<'a> {
    sandbox: &'a Sandbox<'a>,
    number: usize,
    right: Option<&'a Right>,
    program: &'a Path,
}

impl Trial<'_> {
    /// What the agent says of a refusal, if it meets one; else all that it is to write is there in the end.
    fn refusal(&self, rules: &[Value; 2]) -> anyhow::Result<Option<String>> {
        let (bed, name) = (self.sandbox.bed, format!("trial-{}", self.number));
        // The agent before may have kept it.
        self.sandbox.kubectl(&["delete", "lease", LEASE, "--ignore-not-found"])?;
        self.sandbox.apply(&self.objects(&name, rules))?;
        self.sandbox.kubectl(&["delete", "events", "--all"])?;
        self.sandbox.kubectl(&["delete", "configmaps", "--selector=palisade.dev/feed,palisade.dev/feed!=over"])?;
        // The server takes a moment to know of a role.
        let resource = if self.right.is_some_and(|right| right.0 == "pods") { "nodes" } else { "pods" };
        let user = format!("--as=system:serviceaccount:{}:{name}", self.sandbox.namespace);
        wait(PATIENCE, || Ok(bed.kubectl(&["auth", "can-i", "list", resource, &user]).is_ok()))?
            .with_context(|| format!("{name} has no rights"))?;
        let files = tempfile::tempdir()?;
        let kubeconfig = files.path().join("kubeconfig");
        fs::write(&kubeconfig, self.kubeconfig(&name)?)?;
        let log = files.path().join("log");
        let mut agent = bed.control().command(self.program)?;
        agent.args(["agent", "--node", &name]).arg("--kubeconfig").arg(&kubeconfig);
        agent.arg("--state-dir").arg(files.path().join("state"));
        let child = agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?).spawn()?;
        let refused = || -> anyhow::Result<Option<String>> {
            let said = fs::read_to_string(&log)?;
            let is_refusal = |line: &&str| REFUSALS.iter().any(|refusal| line.contains(refusal));
            Ok(said.lines().find(is_refusal).map(str::to_string))
        };
        let seen = wait(PATIENCE, || Ok(refused()?.is_some() || self.has_written_all(&name)));
        let refused = refused();
        end(bed.control(), child)?;
        let left = ["node", "hostpolicy", "banlist"].map(|kind| format!("{kind}/{name}"));
        bed.kubectl(&["delete", &left[0], &left[1], &left[2]])?;
        seen?.with_context(|| format!("the agent says only: {}", fs::read_to_string(&log).unwrap_or_default()))?;
        refused
    }

    fn has_written_all(&self, name: &str) -> bool {
        let state = self.sandbox.kubectl(&["get", "nodestate", name, "--output=jsonpath={.status.phase}"]);
        let has_status = |kind: &str| {
            let conditions =
                self.sandbox.kubectl(&["get", kind, name, "--output=jsonpath={.status.conditions[*].type}"]);
            conditions.is_ok_and(|conditions| !conditions.is_empty())
        };
        let events = self.sandbox.kubectl(&["get", "events", "--field-selector=reason=Unreadable", "--output=name"]);
        state.is_ok_and(|phase| phase == "InForce")
            && has_status("hostpolicy")
            && has_status("banlist")
            && self.has_fetched()
            && events.is_ok_and(|events| !events.is_empty())
    }

    /// The feed is in a ConfigMap, and that of which no list is, is gone.
    fn has_fetched(&self) -> bool {
        let feeds = "--output=jsonpath={.items[*].metadata.labels.palisade\\.dev/feed}";
        let found = self.sandbox.kubectl(&["get", "configmaps", "--selector=palisade.dev/feed", feeds]);
        found.is_ok_and(|feeds| !feeds.is_empty() && !feeds.contains("over"))
    }

    /// The rules without the right.
    fn without(&self, rules: &Value) -> Vec<Value> {
        let mut kept = Vec::new();
        for rule in items(rules) {
            for resource in strings(&rule["resources"]) {
                let lacks = |verb: &&str| self.right.is_some_and(|right| right.0 == resource && right.1 == *verb);
                let verbs: Vec<&str> = strings(&rule["verbs"]).filter(|verb| !lacks(verb)).collect();
                if !verbs.is_empty() {
                    let mut rule = rule.clone();
                    (rule["resources"], rule["verbs"]) = (json!([resource]), json!(verbs));
                    kept.push(rule);
                }
            }
        }
        kept
    }

    /// A Node for the agent, roles without the right, a Lease in the namespace of the roles, policies whose status is to be written: they
    /// guard and ban nothing but what nobody has; and what was fetched for a list that is gone.
    fn objects(&self, name: &str, [cluster, own]: &[Value; 2]) -> String {
        let group = "rbac.authorization.k8s.io";
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": self.sandbox.namespace});
        let binding = |binding: &str, role: &str| {
            json!({"apiVersion": format!("{group}/v1"), "kind": binding, "metadata": {"name": name},
                   "roleRef": {"apiGroup": group, "kind": role, "name": name}, "subjects": [subject]})
        };
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name},
             "rules": self.without(cluster)},
            binding("ClusterRoleBinding", "ClusterRole"),
            {"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": self.without(own)},
            binding("RoleBinding", "Role"),
            lease(),
            {"apiVersion": "palisade.dev/v1alpha1", "kind": "HostPolicy", "metadata": {"name": name},
             "spec": {"nodeSelector": {"matchLabels": {"trial": "none"}}, "ports": [{"port": 9}]}},
            {"apiVersion": "palisade.dev/v1alpha1", "kind": "BanList", "metadata": {"name": name},
             "spec": {"source": {"http": {"url": format!("http://{FEED}/drop.txt")}}}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": "over", "labels": {"palisade.dev/feed": "over"},
                "annotations": {"palisade.dev/ban-list": "gone", "palisade.dev/digest": "0", "palisade.dev/parts": "1", "palisade.dev/part": "0"},
             }, "data": {"feed": ""}},
        ]});
        objects.to_string()
    }

    fn kubeconfig(&self, name: &str) -> anyhow::Result<String> {
        let token = self.sandbox.kubectl(&["create", "token", name])?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bed",
            "clusters": [{"name": "bed", "cluster": {
                "server": "https://10.99.0.10:6443", "certificate-authority": directory().join("pki/ca.crt"),
            }}],
            "users": [{"name": "agent", "user": {"token": token.trim()}}],
            "contexts": [{"name": "bed", "context": {
                "cluster": "bed", "user": "agent", "namespace": self.sandbox.namespace,
            }}],
        });
        Ok(kubeconfig.to_string())
    }
}

/// Ends the agent on the host, and what it left in the kernel there.
fn end(host: &Host, mut agent: Child) -> anyhow::Result<()> {
    host.exec(&["pkill", "-TERM", "--full", " agent --node trial-"])?;
    agent.wait()?;
    for family in ["inet", "bridge"] {
        // There may be none.
        let _ = host.exec(&["nft", "delete", "table", family, "palisade"]);
    }
    Ok(())
}
