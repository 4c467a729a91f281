//! Running a command in a pod of a lab that another process holds.
//!
//! ```text
//! palisade lab exec ── guard ── COMMAND ── whatever it starts
//!                      \_______________ a process namespace __/
//! ```
//!
//! The guard is the first process of a process namespace, so that the kernel kills everything in it when the guard ends. It
//! ends when the command does, when the connection to the lab ends (the lab was killed, or the pod is gone), or
//! when the pipe to its parent ends (the parent was killed). A terminal needs no help: it is inherited as it is.
#![expect(clippy::disallowed_methods, reason = "the command of the user is a process, started here and nowhere else")]

use std::ffi::OsString;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::netns::read_setting;
use crate::rendezvous::{WELCOME, address};
use crate::sys::{self, Forked};

/// The exit code of a shell for a command that cannot be run, and for one that is not found.
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Why a command was not run, or did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Nobody answers for these paths.
    #[error("no lab of these files is running")]
    NoLab,
    /// The lab does not let us in.
    #[error("{reason}")]
    Refused {
        /// What it says.
        reason: String,
        /// What it says to do about it.
        hint: Option<String>,
    },
    /// The lab ended, or the pod was removed, and the command with it.
    #[error("the lab has stopped, or the pod is gone")]
    Stopped,
    /// The system refused.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ExecError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ExecError::Refused { hint, .. } => hint.as_deref(),
            ExecError::NoLab => Some("start it in another terminal: palisade lab --watch -f PATH, with the same paths"),
            _ => None,
        }
    }
}

fn system(operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> ExecError {
    move |errno| ExecError::System { operation, source: errno.into() }
}

/// Runs a command in the network namespace of `end` (`web/front`, `node/n1`, `host/NAME`, `outside`) in the lab that this user
/// runs for `paths`. Returns its exit code, or 128 plus the signal that killed it, like a shell.
///
/// Call it in a process with a single thread, as the user who started the lab; not after
/// [`become_root`](crate::become_root).
///
/// # Errors
///
/// Where there is no such lab or pod, or where the lab ends first.
pub fn exec(paths: &[PathBuf], end: &str, command: &[OsString]) -> Result<i32, ExecError> {
    refuse_threads()?;
    let (lab, namespaces) = enter(paths, end)?;
    move_into(&namespaces)?;
    sys::survive_interrupts().map_err(|source| ExecError::System { operation: "set signal handlers", source })?;
    let (parent_alive, held_by_parent) = pipe_with(PipeFlags::CLOEXEC).map_err(system("make a pipe"))?;
    match sys::fork().map_err(|source| ExecError::System { operation: "fork", source })? {
        Forked::Child => {
            drop(held_by_parent);
            sys::exit_now(guard(&lab, &parent_alive, command))
        }
        Forked::Parent(guard) => {
            let code = wait_for(guard)?;
            if ended(&lab) { Err(ExecError::Stopped) } else { Ok(code) }
        }
    }
}

/// The network namespace, and the user namespace that owns it.
struct Namespaces {
    network: OwnedFd,
    user: OwnedFd,
}

/// Asks the lab for a place. The connection ends with the lab, or with the place.
fn enter(paths: &[PathBuf], end: &str) -> Result<(UnixStream, Namespaces), ExecError> {
    let failed = |source| ExecError::System { operation: "ask the lab", source };
    let address =
        address(paths).map_err(|source| ExecError::System { operation: "find the paths of the lab", source })?;
    let mut lab = UnixStream::connect_addr(&address).map_err(|_| ExecError::NoLab)?;
    let server = rustix::net::sockopt::socket_peercred(&lab).map_err(system("ask the lab"))?;
    if server.uid != rustix::process::geteuid() {
        let reason = "a process of another user answers in place of the lab".to_string();
        return Err(ExecError::Refused { reason, hint: None });
    }
    lab.write_all(format!("{end}\n").as_bytes()).map_err(failed)?;

    let mut first = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&lab, &mut [IoSliceMut::new(&mut first)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(system("ask the lab"))?;
    if first != [WELCOME] {
        let mut reason = String::new();
        lab.read_to_string(&mut reason).map_err(failed)?;
        let (reason, hint) = match reason.split_once('\n') {
            Some((reason, hint)) => (reason.to_string(), Some(hint.to_string())),
            None => (reason, None),
        };
        return Err(if reason.is_empty() { ExecError::Stopped } else { ExecError::Refused { reason, hint } });
    }
    let mut descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<OwnedFd>>(),
        _ => Vec::new(),
    });
    match (descriptors.next(), descriptors.next()) {
        (Some(network), Some(user)) => Ok((lab, Namespaces { network, user })),
        _ => Err(ExecError::Stopped),
    }
}

/// Moves this process into the namespaces, and its children into a process namespace of their own.
fn move_into(namespaces: &Namespaces) -> Result<(), ExecError> {
    let own = rustix::fs::open("/proc/self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let identity = |descriptor: &OwnedFd| rustix::fs::fstat(descriptor).map(|stat| (stat.st_dev, stat.st_ino));
    let own = own.and_then(|own| identity(&own)).map_err(system("look at the user namespace"))?;
    let wanted = identity(&namespaces.user).map_err(system("look at the user namespace"))?;
    // One cannot enter the user namespace that one is in.
    if own != wanted {
        move_into_link_name_space(namespaces.user.as_fd(), Some(LinkNameSpaceType::User))
            .map_err(system("enter the user namespace of the lab"))?;
    }
    move_into_link_name_space(namespaces.network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(system("enter the network namespace"))?;
    sys::unshare(UnshareFlags::NEWPID)
        .map_err(|source| ExecError::System { operation: "create a process namespace", source })
}

/// The life of the guard; returns the exit code.
fn guard(lab: &UnixStream, parent_alive: &OwnedFd, command: &[OsString]) -> i32 {
    let Some((program, arguments)) = command.split_first() else { return CANNOT_RUN };
    let mut child = match Command::new(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = program.display();
            // Nobody is left to be told if standard error is gone.
            let _ = writeln!(io::stderr(), "error: cannot run '{program}': {error}");
            return if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
        }
    };
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(Ok(running)) = process.map(|process| pidfd_open(process, PidfdFlags::empty())) else {
        return CANNOT_RUN;
    };
    loop {
        let mut waiting = [
            PollFd::new(&running, PollFlags::IN),
            PollFd::new(lab, PollFlags::IN),
            PollFd::new(parent_alive, PollFlags::IN),
        ];
        match poll(&mut waiting, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return CANNOT_RUN,
            Ok(_) => {}
        }
        if !waiting[0].revents().is_empty() {
            return child.wait().map_or(CANNOT_RUN, code);
        }
        if !waiting[1].revents().is_empty() || !waiting[2].revents().is_empty() {
            return CANNOT_RUN;
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(CANNOT_RUN)
}

fn wait_for(child: i32) -> Result<i32, ExecError> {
    loop {
        match waitpid(Pid::from_raw(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let signalled = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signalled).unwrap_or(CANNOT_RUN));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(system("wait for the command")(errno)),
        }
    }
}

/// Whether the other side has hung up. It never says anything after its answer.
fn ended(lab: &UnixStream) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(lab, PollFlags::IN)], Some(&at_once)) == Ok(1)
}

/// A forked child has only the thread that forked, but the locks of all.
fn refuse_threads() -> Result<(), ExecError> {
    let failed = |source| ExecError::System { operation: "count the threads of this process", source };
    let status = read_setting("/proc/self/status").map_err(failed)?;
    if status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"])) {
        Ok(())
    } else {
        Err(failed(io::Error::other("there are several, and only one can change its namespaces")))
    }
}
