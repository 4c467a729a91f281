//! One host of the bed: a network namespace, and processes that see a machine of their own in it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::program::{program, run};
use super::{Network, files, wait};

/// What the name of every network namespace of the bed begins with.
pub(super) const NAMESPACE_PREFIX: &str = "bed-";
/// Where `ip netns` keeps the names of network namespaces.
pub(super) const NAMESPACES: &str = "/run/netns";
/// How long it may take until a program that was started is seen.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of killed processes is waited for.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// A host of the bed. Its `/etc` and `/var` begin as copies of the machine's and then are its own, its `/run` too;
/// beside that it sees the machine's files.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    directory: PathBuf,
}

impl Host {
    pub(super) fn new(name: &str, bed: &Path) -> Host {
        Host { name: name.to_string(), directory: bed.join(name) }
    }

    /// Its name, which is also its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace, as `ip netns` knows it.
    pub fn namespace(&self) -> String {
        format!("{NAMESPACE_PREFIX}{}", self.name)
    }

    /// Its network.
    ///
    /// # Errors
    ///
    /// The host is not up.
    pub fn network(&self) -> anyhow::Result<Network> {
        Network::at(&Path::new(NAMESPACES).join(self.namespace()))
    }

    /// Its files outside itself: configuration, logs, and what it wrote.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the output of one of its programs goes.
    pub fn log(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{program}.log"))
    }

    /// A path of the machine that leads to `path` of this host.
    ///
    /// # Errors
    ///
    /// The host is not up.
    pub fn file(&self, path: &str) -> anyhow::Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root{path}", self.first_process()?)))
    }

    /// A program that will run on this host, as what is started there at boot. It is a child of the process that is
    /// spawned, which ends as it ends: to end it, see [`Host::kill`].
    ///
    /// # Errors
    ///
    /// The host is not up.
    pub fn command(&self, name: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let mut command = program("nsenter");
        let first = self.first_process()?.to_string();
        command.args(["--target", &first, "--mount", "--net", "--pid", "--uts", "--"]).arg(name);
        Ok(command)
    }

    /// Runs a program on this host, and gives what it wrote to its standard output.
    ///
    /// # Errors
    ///
    /// The host is not up, or the program fails.
    pub fn exec(&self, words: &[&str]) -> anyhow::Result<String> {
        let (name, arguments) = words.split_first().context("no program to run")?;
        run(self.command(name)?.args(arguments))
    }

    /// The processes of this host, those in containers left out, whose program file has this name.
    pub fn processes(&self, program: &str) -> Vec<Pid> {
        let Ok(first) = self.first_process() else { return Vec::new() };
        let pids = files::inode(&of_process(first, "ns/pid"));
        let is_here = |pid: &Pid| files::inode(&of_process(*pid, "ns/pid")) == pids;
        let is_it = |pid: &Pid| {
            files::link(&of_process(*pid, "exe")).is_some_and(|exe| exe.file_name() == Some(program.as_ref()))
        };
        all_processes().into_iter().filter(|pid| is_here(pid) && is_it(pid)).collect()
    }

    /// Kills (SIGKILL) the processes of this host, those in containers left out, whose program file has this name.
    ///
    /// # Errors
    ///
    /// They do not end.
    pub fn kill(&self, program: &str) -> anyhow::Result<()> {
        // Until a process has ended it may hold a port that its successor wants, even if it has no program any more.
        let killed: Vec<OwnedFd> = self.processes(program).into_iter().filter_map(killed).collect();
        wait(END_PATIENCE, || Ok(killed.iter().all(has_ended) && self.processes(program).is_empty()))?
            .with_context(|| format!("{program} on {} does not end", self.name))
    }

    /// Makes the network namespace, with nothing in it but the loopback interface, and starts the first process.
    pub(super) fn boot(&self) -> anyhow::Result<()> {
        files::make_directory(&self.directory)?;
        let namespace = self.namespace();
        run(program("ip").args(["netns", "add", &namespace]))?;
        run(program("ip").args(["-n", &namespace, "link", "set", "lo", "up"]))?;
        let script = self.directory.join("host.sh");
        files::write(&script, include_str!("host.sh"))?;
        let log = self.log("host");
        let mut child = program("nsenter")
            .arg(format!("--net={NAMESPACES}/{namespace}"))
            .args(["setsid", "--fork", "unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc"])
            .args(["--propagation", "slave", "sh"])
            .args([&script, &self.directory])
            .arg(&self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(files::create(&log)?)
            .spawn()
            .context("cannot run nsenter")?;
        let mut said = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        child.wait()?;
        if said != "ready\n" {
            bail!("{} does not boot; {}", self.name, files::tail(&log));
        }
        Ok(())
    }

    /// Starts a program that goes on after this process; what it says goes to its log.
    ///
    /// # Errors
    ///
    /// The host is not up, or the program ends at once.
    pub fn start(&self, file: &Path, arguments: &[String]) -> anyhow::Result<()> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let log = files::append(&self.log(&name))?;
        let first = self.first_process()?.to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let directory = file.parent().unwrap_or(Path::new("/"));
        let status = program("setsid")
            .args(["--fork", "nsenter", "--target", &first, "--mount", "--net", "--pid", "--uts", "--"])
            .arg(file)
            .args(arguments)
            // For containerd, which looks for its shim and for runc.
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", directory.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .context("cannot run setsid")?;
        if !status.success() {
            bail!("cannot start {name} on {}", self.name);
        }
        wait(BEGIN_PATIENCE, || Ok(!self.processes(&name).is_empty()))?
            .with_context(|| format!("{name} on {} has ended at once; {}", self.name, files::tail(&self.log(&name))))
    }

    /// Kills everything of this host at once, as losing power does, and removes its network namespace.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        end(&self.namespace())
    }

    /// The first process, as numbered by the machine.
    fn first_process(&self) -> anyhow::Result<Pid> {
        first_process(&self.namespace()).with_context(|| format!("host {} of the bed is not up", self.name))
    }
}

/// Ends the host that a network namespace belongs to, whoever made it.
pub(super) fn end(namespace: &str) -> anyhow::Result<()> {
    if let Some(first) = first_process(namespace) {
        kill(first);
        // It is gone only after all others of its process namespace.
        wait(END_PATIENCE, || Ok(!of_process(first, "").exists()))?
            .with_context(|| format!("the processes of {namespace} do not end"))?;
    }
    // Beside the host's own there may be whatever else entered its network.
    wait(END_PATIENCE, || {
        let left = in_network(namespace);
        for pid in &left {
            kill(*pid);
        }
        Ok(left.is_empty())
    })?
    .with_context(|| format!("processes in the network namespace {namespace} do not end"))?;
    run(program("ip").args(["netns", "delete", namespace]))?;
    Ok(())
}

/// The process of a network namespace that is the first of a process namespace, and not of a pod's.
fn first_process(namespace: &str) -> Option<Pid> {
    in_network(namespace).into_iter().find(|pid| {
        let status = files::read(&of_process(*pid, "status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().skip(1).eq(["1"])
    })
}

fn in_network(namespace: &str) -> Vec<Pid> {
    let Some(wanted) = files::inode(&Path::new(NAMESPACES).join(namespace)) else { return Vec::new() };
    all_processes().into_iter().filter(|pid| files::inode(&of_process(*pid, "ns/net")) == Some(wanted)).collect()
}

/// The network of a process in a cgroup with `part` in its name.
pub(super) fn network_of_cgroup(part: &str) -> Option<anyhow::Result<Network>> {
    let is_in = |pid: &Pid| files::read(&of_process(*pid, "cgroup")).is_ok_and(|cgroup| cgroup.contains(part));
    all_processes().into_iter().find(is_in).map(|pid| Network::at(&of_process(pid, "ns/net")))
}

fn all_processes() -> Vec<Pid> {
    let names = files::names(Path::new("/proc")).unwrap_or_default();
    names.iter().filter_map(|name| Pid::from_raw(name.to_str()?.parse().ok()?)).collect()
}

fn of_process(pid: Pid, what: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{what}"))
}

/// Kills a process; gives what tells its end, unless it has ended already.
fn killed(pid: Pid) -> Option<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    kill(pid);
    Some(process)
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut events = [PollFd::new(process, PollFlags::IN)];
    poll(&mut events, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// One that has ended already needs no killing.
fn kill(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}
