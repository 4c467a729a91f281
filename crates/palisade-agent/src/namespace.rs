//! The only agent of a network namespace: two would fight over its table.
//!
//! The lock is an abstract unix socket, whose name belongs to the network namespace and is free again when the process ends,
//! however it ends. Whoever finds it taken connects to it and is told who has it.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::crowd::Crowd;

const NAME: &str = "palisade.dev/agent";
/// An agent that was told to end may still be ending.
pub const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Who has the lock says so within this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 4096;
const ASKING_MAX: usize = 4;

/// Why somebody is not the only one.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Another agent enforces.
    #[error(
        "another agent enforces in this network namespace: {holder}\nhint: one agent serves a network namespace; end that one first, or name its --state-dir to ask it"
    )]
    Taken {
        /// Who, in its own words.
        holder: String,
    },
    /// The lock cannot be made.
    #[error("cannot lock the network namespace against other agents")]
    Io(#[from] io::Error),
}

/// The only agent of a network namespace, for as long as this lives.
#[derive(Debug)]
pub struct Lock(Option<StdListener>);

/// Who has the lock.
enum Holder {
    /// One that may be an agent, in its own words.
    Agent(String),
    /// A user that cannot be one.
    User(u32),
}

/// Becomes the only agent of the network namespace of the calling thread; waits so long for one that is ending. Not to be called
/// within an async runtime.
///
/// # Errors
///
/// If another agent runs, or the lock cannot be made.
pub fn lock(patience: Duration) -> Result<Lock, NamespaceError> {
    let end = Instant::now() + patience;
    loop {
        match StdListener::bind_addr(&address()?) {
            Ok(listener) => return Ok(Lock(Some(listener))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
        match holder()? {
            // Anybody in the namespace may take a name. Only who may change the rules must not do so beside us.
            Some(Holder::User(user)) => {
                tracing::warn!("user {user}, who is no agent, has the lock of agents (@{NAME}); it is ignored");
                return Ok(Lock(None));
            }
            Some(Holder::Agent(holder)) if Instant::now() >= end => return Err(NamespaceError::Taken { holder }),
            // None: it has just ended.
            Some(Holder::Agent(_)) | None => sleep(PAUSE),
        }
    }
}

/// Tells whoever finds the lock taken who has it.
///
/// # Errors
///
/// If the socket cannot be waited for.
pub async fn serve(lock: &Lock, node: String, state_dir: &Path) -> io::Result<()> {
    let Some(listener) = &lock.0 else { return std::future::pending().await };
    let words = format!("node {node}, state directory {}, process {}", state_dir.display(), std::process::id());
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener.try_clone()?)?;
    let mut crowd = Crowd::new(ASKING_MAX, ANSWER_PATIENCE);
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let words = words.clone();
                crowd.serve(async move { stream.write_all(words.as_bytes()).await });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn address() -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(NAME)
}

/// Who has the lock; `None` if nobody has it any more.
fn holder() -> io::Result<Option<Holder>> {
    let Ok(stream) = StdStream::connect_addr(&address()?) else { return Ok(None) };
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = UnixStream::from_std(stream)?;
        let user = stream.peer_cred()?.uid();
        if user != 0 && user != rustix::process::geteuid().as_raw() {
            return Ok(Some(Holder::User(user)));
        }
        let mut words = String::new();
        let read = timeout(ANSWER_PATIENCE, stream.take(ANSWER_BYTES_MAX).read_to_string(&mut words)).await;
        let silent = !read.is_ok_and(|read| read.is_ok()) || words.is_empty();
        let holder = if silent { format!("a process that has @{NAME} and does not answer") } else { words };
        Ok(Some(Holder::Agent(holder)))
    })
}
