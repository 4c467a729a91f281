//! Labs that stay up: what they show when files change, commands in their pods, and what is left of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::user::{self, User};

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {namespace: web, name: front, labels: {app: front}}
spec: {nodeName: n1, containers: [{name: a}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: db, name: pg, labels: {app: pg}}
spec: {nodeName: n2, containers: [{name: a, ports: [{containerPort: 5432}]}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}}
";

const CLOSED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: db, name: closed}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

/// A config file of kube-restrict-ip, by a name that is none of a manifest.
const CONFIG: &str = "restrictedPorts: [22]\nallowedNetworks: [10.0.0.0/8]\n";

const AGREE: &str = "oracle, tables and kernel agree";
/// Far more than anything takes, on a machine however busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// A lab with `--watch`.
struct Running {
    process: Child,
    output: Receiver<String>,
    messages: Receiver<String>,
    directory: TempDir,
}

impl Running {
    fn start(user: &User, more: &[&str]) -> Running {
        let directory = user::directory();
        fs::write(directory.path().join("pods.yaml"), PODS).unwrap();
        fs::write(directory.path().join("flows"), "web/front -> db/pg tcp 5432\n").unwrap();
        fs::write(directory.path().join("config"), CONFIG).unwrap();
        let mut process = user
            .command(directory.path())
            .args(["lab", "--watch", "-f", ".", "--flows", "flows"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = lines(process.stdout.take().unwrap());
        let messages = lines(process.stderr.take().unwrap());
        let running = Running { process, output, messages, directory };
        assert_eq!(running.report(), ["web/front -> db/pg tcp 5432: allow"]);
        running
    }

    fn write(&self, name: &str, text: &str) {
        // As editors do: no moment at which half a file is there.
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    /// The lines of a report, without what is the same in each.
    fn report(&self) -> Vec<String> {
        let sums =
            |line: &String| line.is_empty() || line.contains(" packets: ") || line.contains("pods on") || line == AGREE;
        let mut lines = until(&self.output, &[AGREE, "the witnesses disagree on"]);
        lines.retain(|line| !sums(line));
        until(&self.messages, &["watching ."]);
        lines
    }

    fn exec(&self, user: &User, place: &str, command: &[&str]) -> (Option<i32>, String, String) {
        let mut client = user.command(self.directory.path());
        let output = client.args(["lab", "exec", "-f", ".", place, "--"]).args(command).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Sends a signal and waits for the end; what is left of its namespaces.
    fn end(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        let namespaces = namespaces_of(self.process.id());
        // Two pods, two nodes, and the outside.
        assert!(namespaces.len() >= 5, "{namespaces:?}");
        kill_process(pid(&self.process), signal).unwrap();
        let start = Instant::now();
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                // Whoever runs the tests may ignore the signal, and then the lab does.
                None => assert!(start.elapsed() < PATIENCE, "it goes on after {signal:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        (status, holders(&namespaces))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a test as whoever runs the tests, and as an ordinary user, as far as they can have namespaces.
fn as_everybody(test: impl Fn(&User)) {
    for user in [Some(User::Same), User::nobody()].iter().flatten() {
        if user::namespaces_can_be_had(user) {
            test(user);
        }
    }
}

#[test]
fn changes_are_shown_and_a_broken_file_keeps_the_last_good_state() {
    as_everybody(|user| {
        let lab = Running::start(user, &[]);
        lab.write("policy.yaml", CLOSED);
        assert_eq!(lab.report(), ["new: NetworkPolicy db/closed", "- web/front -> db/pg tcp 5432"]);
        lab.write("broken.yaml", "kind: [\n");
        let messages = until(&lab.messages, &["stays in force"]).join("\n");
        assert!(messages.contains("broken.yaml:"), "{messages}");
        fs::remove_file(lab.directory.path().join("broken.yaml")).unwrap();
        lab.write("policy.yaml", &CLOSED.replace("{podSelector: {}", "{ingress: [{}], podSelector: {}"));
        assert_eq!(lab.report(), ["changed: NetworkPolicy db/closed", "+ web/front -> db/pg tcp 5432"]);
        fs::remove_file(lab.directory.path().join("policy.yaml")).unwrap();
        assert_eq!(lab.report(), ["gone: NetworkPolicy db/closed", "no verdict changed"]);
    });
}

#[test]
fn a_config_file_is_followed() {
    as_everybody(|user| {
        let lab = Running::start(user, &["--config", "config"]);
        lab.write("config", &CONFIG.replace("22", "23"));
        assert_eq!(lab.report(), ["changed: ipChain KUBE-RESTRICT-IP", "no verdict changed"]);
        fs::remove_file(lab.directory.path().join("config")).unwrap();
        until(&lab.messages, &["stays in force"]);
    });
}

#[test]
fn an_unknown_end_keeps_the_last_good_state() {
    as_everybody(|user| {
        let lab = Running::start(user, &[]);
        lab.write("pods.yaml", &PODS.replace("name: pg,", "name: mysql,"));
        let messages = until(&lab.messages, &["stays in force"]).join("\n");
        assert!(messages.contains("flows:1: 'web/front -> db/pg tcp 5432': there is no pod"), "{messages}");
        assert_eq!(lab.exec(user, "db/pg", &["true"]).0, Some(0));
    });
}

#[test]
fn commands_run_in_pods() {
    as_everybody(|user| {
        let lab = Running::start(user, &[]);
        assert_eq!(lab.exec(user, "web/front", &["sh", "-c", "exit 7"]).0, Some(7));
        let (code, addresses, _) = lab.exec(user, "db/pg", &["cat", "/proc/net/if_inet6"]);
        assert_eq!(code, Some(0));
        assert!(addresses.contains("fd44"), "{addresses}");
        let (code, _, message) = lab.exec(user, "web/frnt", &["true"]);
        assert_eq!(code, Some(2));
        assert!(message.contains("there is no pod or workload web/frnt"), "{message}");
        assert!(message.contains("web/front"), "no suggestion in: {message}");
    });
}

#[test]
fn without_a_lab_there_is_nowhere_to_run_a_command() {
    let directory = user::directory();
    let arguments = ["lab", "exec", "-f", ".", "web/front", "--", "true"];
    let output = User::Same.command(directory.path()).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("no lab of these files is running\nhint: start it"), "{message}");
}

#[test]
fn nothing_is_left_of_a_lab() {
    as_everybody(|user| {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let (status, holders) = Running::start(user, &[]).end(signal);
            assert!(!status.success());
            assert_eq!(holders, Vec::<String>::new(), "after {signal:?}");
        }
    });
}

#[test]
fn a_foreign_rule_is_found_out() {
    if !user::namespaces_can_be_had(&User::Same) {
        return;
    }
    let lab = Running::start(&User::Same, &[]);
    // Somebody stops node/n1 from forwarding IPv4; its own packets still flow, and those of the control flows.
    let stop = ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"];
    assert_eq!(lab.exec(&User::Same, "node/n1", &stop).0, Some(0));
    lab.write("namespace.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: new}}");
    let report = lab.report().join("\n");
    for expected in [
        "- web/front -> db/pg tcp 5432",
        "disagreement: web/front -> db/pg tcp 5432",
        "    oracle: allow",
        "      ingress of db/pg: not isolated",
        "    tables: allow",
        "    kernel: deny\n      no answer",
        "the witnesses disagree on 1 of 1 flow",
    ] {
        assert!(report.contains(expected), "'{expected}' is missing in\n{report}");
    }
    assert!(!report.contains("IPv6"), "{report}");
}

fn pid(process: &Child) -> Pid {
    Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap()
}

/// Lines as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // A test that has ended wants no more of them.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Lines up to the first that holds one of these.
fn until(lines: &Receiver<String>, needles: &[&str]) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => seen.push(line),
            Err(error) => panic!("{needles:?} did not come ({error}); what came:\n{}", seen.join("\n")),
        }
        if needles.iter().any(|needle| seen.last().unwrap().contains(needle)) {
            return seen;
        }
    }
}

/// The network namespaces that a process has descriptors of, as `net:[…]`.
fn namespaces_of(process: u32) -> BTreeSet<String> {
    links(&format!("/proc/{process}/fd")).filter(|link| link.starts_with("net:[")).collect()
}

/// The processes that are in one of the namespaces, or have a descriptor of one, as far as we may look.
fn holders(namespaces: &BTreeSet<String>) -> Vec<String> {
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path().display().to_string();
        let own = fs::read_link(format!("{path}/ns/net")).map(|link| link.display().to_string());
        if own.into_iter().chain(links(&format!("{path}/fd"))).any(|link| namespaces.contains(&link)) {
            holders.push(path);
        }
    }
    holders
}

fn links(directory: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).map(|link| link.display().to_string())
}
