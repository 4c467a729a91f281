//! Labs in other processes: what runs in them, and what is left of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use palisade_core::Family;
use palisade_lab::Lab;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::NamedTempFile;

use crate::cluster::{cluster, report_of};
use crate::node::PATIENCE;

/// A lab of this program in another process, found under a file of its own.
struct Held {
    process: Child,
    output: BufReader<ChildStdout>,
    file: NamedTempFile,
}

/// Holds a lab until standard input ends. Each line there asks for the outcome of a flow.
pub fn hold(path: &str) -> ExitCode {
    palisade_lab::become_root().unwrap();
    let snapshot = cluster(2);
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(path)]).unwrap();
    println!("ready");
    for line in std::io::stdin().lines() {
        let report = report_of(&lab, &snapshot, &[&line.unwrap()]);
        let outcomes: Vec<String> =
            report.rows[0].testimonies.iter().map(|testimony| testimony.kernel.to_string()).collect();
        println!("{} {}", report.disagreements().count(), outcomes.join(", "));
    }
    ExitCode::SUCCESS
}

pub fn exec(path: &str, end: &str, command: &[&str]) -> ExitCode {
    let command: Vec<_> = command.iter().map(Into::into).collect();
    match palisade_lab::exec::exec(&[PathBuf::from(path)], end, &command) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap()),
        Err(error) => {
            // The test may have looked away already.
            let _ = writeln!(std::io::stdout(), "error: {error}");
            ExitCode::from(200)
        }
    }
}

impl Held {
    fn start() -> Held {
        let file = NamedTempFile::new().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("hold")
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut held = Held { process, output, file };
        assert_eq!(held.line(), "ready");
        held
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    /// How many rows disagree (0 or 1) and the outcomes of the flow.
    fn ask(&mut self, flow: &str) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{flow}").unwrap();
        self.line()
    }

    fn command(&self, end: &str, command: &[&str]) -> Command {
        let mut client = Command::new(std::env::current_exe().unwrap());
        client.arg("exec").arg(self.file.path()).arg(end).args(command);
        client
    }

    /// Runs a command to its end; its exit code and what it printed.
    fn exec(&self, end: &str, command: &[&str]) -> (Option<i32>, String) {
        let output = self.command(end, command).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn a_kernel_that_drops_too_much_disagrees() {
    let mut held = Held::start();
    assert_eq!(held.ask("shop/a -> shop/b tcp 80"), "0 answered, answered");
    // Somebody stops node/n1 from forwarding IPv4; its own packets still flow, and those of the control flows.
    let (code, _) = held.exec("node/n1", &["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(code, Some(0));
    assert_eq!(held.ask("shop/a -> shop/b tcp 80"), "1 no answer, answered");
    assert_eq!(held.ask("shop/a -> shop/b udp 53"), "1 no answer, answered");
    assert_eq!(held.ask("shop/a -> shop/b sctp 7"), "1 no answer, answered");
    assert_eq!(held.ask("192.0.2.1 -> shop/a icmp"), "1 no answer");

    if Command::new("nft").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: a foreign nft rule (there is no nft program)");
        return;
    }
    let rules = "add table inet foreign; \
                 add chain inet foreign forward { type filter hook forward priority 10; }; \
                 add rule inet foreign forward tcp dport 81 drop; \
                 add rule inet foreign forward tcp dport 82 reject with tcp reset";
    let (code, _) = held.exec("node/n2", &["nft", rules]);
    assert_eq!(code, Some(0));
    assert_eq!(held.ask("192.0.2.1 -> shop/b tcp 80"), "0 answered");
    assert_eq!(held.ask("192.0.2.1 -> shop/b tcp 81"), "1 no answer");
    assert_eq!(held.ask("192.0.2.1 -> shop/b tcp 82"), "1 refused");
}

pub fn silence_without_control_is_no_verdict() {
    let mut held = Held::start();
    // The pod loses its IPv6 address: nobody reaches it there, its own node included.
    let (code, _) = held.exec("shop/b", &["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
    assert_eq!(code, Some(0));
    let answer = held.ask("shop/a -> shop/b tcp 80");
    let expected =
        "1 answered, failed: no answer, and none to the control flow node/n2 -> shop/b (fd44::2) tcp 80 either";
    assert_eq!(answer, expected);
}

pub fn commands_run_in_pods() {
    let held = Held::start();
    assert_eq!(held.exec("shop/a", &["sh", "-c", "exit 7"]), (Some(7), String::new()));
    assert_eq!(held.exec("shop/a", &["sh", "-c", "kill -TERM $$"]).0, Some(128 + 15));
    assert_eq!(held.exec("shop/a", &["/no/such/program"]).0, Some(127));
    let (code, addresses) = held.exec("shop/b", &["cat", "/proc/net/fib_trie"]);
    assert_eq!(code, Some(0));
    assert!(addresses.contains("10.244.0.2") && !addresses.contains("10.244.0.1"), "{addresses}");
    let (code, message) = held.exec("shop/nobody", &["true"]);
    assert_eq!(code, Some(200));
    assert!(message.contains("nobody"), "{message}");
    let (_, nowhere) = {
        let elsewhere = NamedTempFile::new().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["exec", elsewhere.path().to_str().unwrap(), "shop/a", "true"])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(nowhere.contains("no lab of these files is running"), "{nowhere}");
}

/// Not among the others: this process must not be in the lab's user namespace yet.
pub fn commands_enter_the_user_namespace() {
    let held = Held::start();
    let (code, output) = held.exec("shop/a", &["sh", "-c", "id -u; echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    assert_eq!((code, output.as_str()), (Some(0), "0\n"));
}

pub fn nothing_is_left_behind() {
    let mut held = Held::start();
    let namespaces = namespaces_of(held.process.id());
    // Two pods, two nodes, outside and the core.
    assert!(namespaces.len() >= 6, "{namespaces:?}");
    // The kernel gives the number of a namespace that is gone to the next one that somebody makes: ours stay.
    let _kept: Vec<File> = namespaces.values().map(|path| File::open(path).unwrap()).collect();
    let namespaces: BTreeSet<String> = namespaces.into_keys().collect();
    assert!(!holders(&namespaces).is_empty());
    held.process.kill().unwrap();
    held.process.wait().unwrap();
    // A process that another test starts has a copy of our descriptors, until it is another program.
    let start = Instant::now();
    while !holders(&namespaces).is_empty() {
        assert!(start.elapsed() < PATIENCE, "{:?}", holders(&namespaces));
        std::thread::sleep(Duration::from_millis(10));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!namespaces.iter().any(|namespace| mounts.contains(namespace.as_str())), "{mounts}");
}

pub fn killed_processes_take_the_command_along() {
    // Who is killed: the lab, the client in front, the guard between client and command.
    for victim in ["lab", "client", "guard"] {
        let held = Held::start();
        // The shell starts a process in the background, which must die too.
        let mut client = held
            .command("shop/a", &["sh", "-c", "sleep 86400 & echo started; sleep 86400; true"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        let family = descendants(client.id());
        assert!(family.len() >= 3, "guard, shell, sleep: {family:?}");
        let family: Vec<_> = family
            .into_iter()
            .map(|process| pidfd_open(Pid::from_raw(process).unwrap(), PidfdFlags::empty()).unwrap())
            .collect();
        let target = match victim {
            "lab" => held.process.id(),
            "client" => client.id(),
            _ => u32::try_from(descendants(client.id())[0]).unwrap(),
        };
        kill_process(Pid::from_raw(i32::try_from(target).unwrap()).unwrap(), Signal::KILL).unwrap();
        for process in &family {
            let timeout = Timespec::try_from(PATIENCE).unwrap();
            let gone = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).unwrap();
            assert_eq!(gone, 1, "a process survived the end of the {victim}");
        }
        client.wait().unwrap();
    }
}

/// The network namespaces that a process has descriptors of, as `net:[…]`, and where those are.
fn namespaces_of(process: u32) -> BTreeMap<String, PathBuf> {
    links(&format!("/proc/{process}/fd")).filter(|(link, _)| link.starts_with("net:[")).collect()
}

/// The other processes that are in one of the namespaces, or have a descriptor of one, as far as we may look.
fn holders(namespaces: &BTreeSet<String>) -> Vec<String> {
    let mut holders = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path().display().to_string();
        let own = std::fs::read_link(format!("{path}/ns/net")).map(|link| link.display().to_string());
        let open = links(&format!("{path}/fd")).map(|(link, _)| link);
        // Its number, or another name of this process.
        let number = process.file_name().to_str().and_then(|name| name.parse().ok());
        let is_other = number.is_some_and(|number: u32| number != std::process::id());
        if is_other && own.into_iter().chain(open).any(|link| namespaces.contains(&link)) {
            holders.push(path);
        }
    }
    holders
}

/// What the links of a directory lead to, and the links.
fn links(directory: &str) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter_map(|path| Some((std::fs::read_link(&path).ok()?.display().to_string(), path)))
}

/// The children of a process and theirs, parents first.
fn descendants(process: u32) -> Vec<i32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let children: Vec<u32> = children.split_whitespace().map(|child| child.parse().unwrap()).collect();
    children
        .iter()
        .flat_map(|child| std::iter::once(i32::try_from(*child).unwrap()).chain(descendants(*child)))
        .collect()
}
