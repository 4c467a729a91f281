//! Where `exec` meets a running lab: an abstract unix socket, which has no file and goes with its process.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_core::{End, Snapshot};
use palisade_sim::endpoints;
use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::netns::read_setting;
use crate::topology::Place;

/// The first byte of an answer: namespaces follow as descriptors, or a sentence that says why not.
pub(crate) const WELCOME: u8 = b'+';
pub(crate) const REFUSAL: u8 = b'-';

/// Lets people into the namespaces of a lab, as long as it lives.
pub struct Rendezvous {
    listener: UnixListener,
    directory: Arc<Directory>,
}

impl Rendezvous {
    /// Opens the door. Must be called by a thread that is in the network namespace of the users: the main thread.
    pub(crate) fn open(paths: &[PathBuf], directory: Arc<Directory>) -> io::Result<Rendezvous> {
        let listener = UnixListener::bind_addr(&address(paths)?)?;
        let door = listener.try_clone()?;
        let entries = Arc::clone(&directory);
        std::thread::Builder::new().name("palisade-exec".to_string()).spawn(move || {
            for visitor in door.incoming() {
                // The door has been shut.
                let Ok(visitor) = visitor else { return };
                let entries = Arc::clone(&entries);
                let host = std::thread::Builder::new().name("palisade-exec".to_string());
                // A visitor who is not received sees the connection end.
                let _ = host.spawn(move || receive(&visitor, &entries));
            }
        })?;
        Ok(Rendezvous { listener, directory })
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        // Both can fail only if the sockets are shut already.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        self.directory.dismiss(|_| true);
    }
}

/// The namespaces one may enter, and who is in them.
#[derive(Default)]
pub(crate) struct Directory(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    snapshot: Snapshot,
    namespaces: BTreeMap<Place, Arc<OwnedFd>>,
    visitors: BTreeMap<u64, (Place, UnixStream)>,
    next_visitor: u64,
}

impl Directory {
    /// Takes note of what there is; whoever is in a place that is gone is sent away.
    pub(crate) fn update(&self, snapshot: Snapshot, namespaces: BTreeMap<Place, Arc<OwnedFd>>) {
        self.dismiss(|place| !namespaces.contains_key(place));
        let mut entries = self.lock();
        entries.snapshot = snapshot;
        entries.namespaces = namespaces;
    }

    /// Ends the visits to some places: a visitor dies when its connection ends.
    fn dismiss(&self, leave: impl Fn(&Place) -> bool) {
        for (place, connection) in self.lock().visitors.values() {
            if leave(place) {
                // It fails only if the visitor has gone by itself.
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// The place and its namespace; or why there is none, with a hint on a second line where there is one.
    fn find(&self, end: &str) -> Result<(Place, Arc<OwnedFd>), String> {
        let entries = self.lock();
        let place = if end == Place::Outside.to_string() {
            Place::Outside
        } else {
            let end: End = end
                .parse()
                .map_err(|error: palisade_core::flow::FlowError| format!("{}\n{}", error.message, error.hint))?;
            // A workload stands for its pods; the first will do.
            let found = endpoints(&entries.snapshot, &end);
            let first = found.map_err(|error| format!("{}\n{}", error.message, error.hint))?.into_iter().next();
            first.and_then(|end| Place::of(&end)).unwrap_or(Place::Outside)
        };
        match entries.namespaces.get(&place) {
            Some(namespace) => Ok((place, Arc::clone(namespace))),
            None => Err(format!("{place} does not run")),
        }
    }

    fn admit(&self, place: Place, connection: UnixStream) -> u64 {
        let mut entries = self.lock();
        let number = entries.next_visitor;
        entries.next_visitor += 1;
        entries.visitors.insert(number, (place, connection));
        number
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Entries are whole at every moment, so that a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deals with one visitor, until it leaves.
fn receive(visitor: &UnixStream, directory: &Directory) {
    // A visitor who is gone needs no answer.
    let _ = try_receive(visitor, directory);
}

fn try_receive(visitor: &UnixStream, directory: &Directory) -> io::Result<()> {
    // Abstract sockets know no permissions.
    if rustix::net::sockopt::socket_peercred(visitor)?.uid != rustix::process::geteuid() {
        return refuse(visitor, "the lab belongs to another user");
    }
    let mut end = String::new();
    BufReader::new(visitor).take(4096).read_line(&mut end)?;
    let (place, namespace) = match directory.find(end.trim_end()) {
        Ok(found) => found,
        Err(reason) => return refuse(visitor, &reason),
    };
    let number = directory.admit(place, visitor.try_clone()?);
    let welcomed = welcome(visitor, &namespace);
    drop(namespace);
    if welcomed.is_ok() {
        // Nothing more is said; the end of the connection is the end of the visit.
        let _ = io::copy(&mut &*visitor, &mut io::sink());
    }
    directory.lock().visitors.remove(&number);
    welcomed
}

/// Hands over the network namespace, and the user namespace that owns it.
fn welcome(visitor: &UnixStream, namespace: &OwnedFd) -> io::Result<()> {
    let user = rustix::fs::open("/proc/self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let descriptors = [namespace.as_fd(), user.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(visitor, &[IoSlice::new(&[WELCOME])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn refuse(visitor: &UnixStream, reason: &str) -> io::Result<()> {
    let answer = [&[REFUSAL], reason.as_bytes()].concat();
    rustix::net::send(visitor, &answer, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The address of the lab that this user runs for these paths, in whatever order they are given.
pub(crate) fn address(paths: &[PathBuf]) -> io::Result<SocketAddr> {
    let mut paths: Vec<PathBuf> = paths
        .iter()
        .map(|path| if path.as_os_str() == "-" { Ok(path.clone()) } else { path.canonicalize() })
        .collect::<io::Result<_>>()?;
    paths.sort();
    paths.dedup();
    let mut hasher = DefaultHasher::new();
    paths.hash(&mut hasher);
    SocketAddr::from_abstract_name(format!("palisade-lab/{}/{:016x}", user_outside()?, hasher.finish()))
}

/// The user id that this process has in the namespace of whoever started it: in a user namespace of its own it
/// is root, but for others it is still the same user (`uid_map` in `user_namespaces(7)`).
fn user_outside() -> io::Result<u32> {
    let inside = rustix::process::geteuid().as_raw();
    let map = read_setting("/proc/self/uid_map")?;
    let outside = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = inside.checked_sub(first)?;
        (offset < count).then(|| outside.checked_add(offset)).flatten()
    });
    Ok(outside.unwrap_or(inside))
}
