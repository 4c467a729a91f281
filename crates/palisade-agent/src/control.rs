//! The unix socket under the state directory: how people on the node ask the agent, one JSON value a line.
//!
//! ```text
//! {"status":{}}                ->  {"status":{…}}
//! {"denied":{"follow":true}}   ->  {"denied":{…}}  one for each packet; {"lost":3} for those that came too fast
//! {"bans":{}}                  ->  {"ban":{…}}     one for each entry; {"bans":{"of":"203.0.113.9"}} -> {"address":{…}}
//! {"pause":{}}, {"resume":{}}  ->  {"done":{}}
//!                                  {"error":"…"}   instead of any of them
//! ```
//!
//! Only root and the user of the agent are answered. A lock beside the socket, which ends with the process, keeps a second agent
//! from the same directory.

mod client;

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::bans::{ListedEntry, ToldAddress};
use crate::crowd::Crowd;
use crate::denials::DeniedPacket;
use crate::engine::Followed;
use crate::files::{self, FileError, Lock};
use crate::message::Message;
use crate::report::Report;
use crate::state::Pause;
pub use client::{Answers, ask};

/// Where the socket of the agent with this state directory is.
pub fn socket(state_dir: &Path) -> PathBuf {
    crate::state::StateDirectory::at(state_dir).socket()
}

/// The longest question in bytes.
const QUESTION_BYTES_MAX: u64 = 4096;
/// How many questions are answered at a time.
const QUESTIONS_MAX: usize = 16;
/// How many follow denied packets.
const FOLLOWERS_MAX: usize = 16;
/// Whoever does not ask, or does not read, for so long is let go.
const PATIENCE: Duration = Duration::from_secs(5);
/// A question and its answer take no longer; whoever follows denied packets has asked by then.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// A question.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// What is in force.
    Status {},
    /// The packets denied of late, and with `follow` those to come.
    Denied {
        /// Whether to go on.
        #[serde(default)]
        follow: bool,
    },
    /// Every entry of every ban list; with `of`, which lists ban this address, and why.
    Bans {
        /// The address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<IpAddr>,
    },
    /// Take everything out of the kernel and keep it out.
    Pause {
        /// For which reason.
        by: Pause,
    },
    /// Enforce again.
    Resume {},
}

/// A line of an answer.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// What is in force.
    Status(Box<Report>),
    /// A denied packet.
    Denied(Box<DeniedPacket>),
    /// So many denied packets are missing here, at least.
    Lost(u64),
    /// An entry of a ban list.
    Ban(Box<ListedEntry>),
    /// What lists say of an address.
    Address(Box<ToldAddress>),
    /// It is done, or there is no more.
    Done {},
    /// It cannot be done.
    Error(String),
}

/// Why the agent cannot be asked, or cannot be one to ask.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another agent has the directory.
    #[error(
        "another agent runs with the state directory {directory}\nhint: one agent serves a node; \
         --node and --state-dir tell agents of several nodes apart",
        directory = directory.display()
    )]
    Taken {
        /// The directory.
        directory: PathBuf,
    },
    /// There is no agent.
    #[error(
        "no agent answers at {path}\nhint: 'palisade agent' is to run on this node; --node or --state-dir say which one is meant",
        path = path.display()
    )]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The answer is none.
    #[error(
        "the agent gave an answer that this version of palisade does not know\nhint: use the palisade of the agent's version"
    )]
    Unreadable(#[source] serde_json::Error),
    /// The agent refused.
    #[error("the agent says: {0}")]
    Refused(String),
}

/// Becomes the only agent of a state directory; waits a moment for one that is ending.
///
/// # Errors
///
/// If another agent runs, or the lock cannot be made.
pub fn lock(directory: &Path) -> Result<Lock, ControlError> {
    let lock = files::lock(&directory.join("agent.lock"))?;
    lock.ok_or_else(|| ControlError::Taken { directory: directory.to_owned() })
}

/// Makes the socket in place of one that an agent left behind; the lock says that none is alive.
///
/// # Errors
///
/// If it cannot be made.
pub fn bind(path: &Path, _: &Lock) -> Result<StdListener, ControlError> {
    let failed = |operation| FileError::of(operation, path);
    files::remove(path)?;
    let listener = StdListener::bind(path).map_err(failed("listen on"))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed("set the mode of"))?;
    listener.set_nonblocking(true).map_err(failed("listen on"))?;
    Ok(listener)
}

/// Answers whoever asks, for as long as the engine runs.
pub async fn serve(listener: StdListener, engine: mpsc::Sender<Message>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("nobody can ask on the socket: {error}");
            return engine.closed().await;
        }
    };
    let mut crowd = Crowd::new(QUESTIONS_MAX, ANSWER_PATIENCE);
    let followers = Arc::new(Semaphore::new(FOLLOWERS_MAX));
    loop {
        match listener.accept().await {
            // Whoever goes away needs no answer.
            Ok((stream, _)) if may_ask(&stream) => crowd.serve(answer(stream, engine.clone(), Arc::clone(&followers))),
            Ok(_) => {}
            // Out of file descriptors, say: that passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The mode of the socket already keeps others out, from the moment it is set.
fn may_ask(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw())
}

async fn answer(mut stream: UnixStream, engine: mpsc::Sender<Message>, followers: Arc<Semaphore>) -> io::Result<()> {
    let mut line = Vec::new();
    let (reading, _) = stream.split();
    timeout(PATIENCE, BufReader::new(reading.take(QUESTION_BYTES_MAX)).read_until(b'\n', &mut line)).await??;
    let answer = match serde_json::from_slice(&line) {
        Ok(Request::Denied { follow: false }) => denied(&mut stream, &engine).await?.map(|_| Answer::Done {}),
        Ok(Request::Denied { follow: true }) => match followers.try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    let _ = follow(stream, &engine).await;
                    drop(place);
                });
                return Ok(());
            }
            Err(_) => Some(Answer::Error(format!("{FOLLOWERS_MAX} others follow denied packets already"))),
        },
        Ok(Request::Status {}) => asked(&engine, Message::Report).await.map(|report| Answer::Status(Box::new(report))),
        Ok(Request::Bans { of: None }) => bans(&mut stream, &engine).await?,
        Ok(Request::Bans { of: Some(address) }) => {
            let told = asked(&engine, |answer| Message::BansOf(address, answer)).await;
            told.map(|told| Answer::Address(Box::new(told)))
        }
        Ok(Request::Pause { by }) => done(asked(&engine, |answer| Message::Pause(by, answer)).await),
        Ok(Request::Resume {}) => done(asked(&engine, Message::Resume).await),
        Err(error) => Some(Answer::Error(format!("this is no question: {error}"))),
    };
    match answer {
        Some(answer) => write(&mut stream, &answer).await,
        None => Ok(()),
    }
}

fn done(result: Option<Result<(), String>>) -> Option<Answer> {
    result.map(|result| result.map_or_else(Answer::Error, |()| Answer::Done {}))
}

/// The engine's answer; `None` if it ends.
pub(crate) async fn asked<T>(
    engine: &mpsc::Sender<Message>,
    question: impl FnOnce(oneshot::Sender<T>) -> Message,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    engine.send(question(sender)).await.ok()?;
    receiver.await.ok()
}

/// Every entry of every ban list.
async fn bans(stream: &mut UnixStream, engine: &mpsc::Sender<Message>) -> io::Result<Option<Answer>> {
    let Some(lists) = asked(engine, Message::BanLists).await else { return Ok(None) };
    for entry in lists.iter().flat_map(|list| ListedEntry::all_of(list)) {
        write(stream, &Answer::Ban(Box::new(entry))).await?;
    }
    Ok(Some(Answer::Done {}))
}

/// The packets denied of late; where those to come are told.
async fn denied(stream: &mut UnixStream, engine: &mpsc::Sender<Message>) -> io::Result<Option<Receiver<Followed>>> {
    let Some((before, coming)) = asked(engine, Message::DeniedPackets).await else { return Ok(None) };
    for packet in before {
        write(stream, &Answer::Denied(Box::new(packet))).await?;
    }
    Ok(Some(coming))
}

async fn follow(mut stream: UnixStream, engine: &mpsc::Sender<Message>) -> io::Result<()> {
    let stream = &mut stream;
    let Some(mut coming) = denied(stream, engine).await? else { return Ok(()) };
    loop {
        let answer = tokio::select! {
            received = coming.recv() => match received {
                Ok(Followed::Packet(packet)) => Answer::Denied(packet),
                Ok(Followed::NotNamed(count)) | Err(RecvError::Lagged(count)) => Answer::Lost(count),
                Err(RecvError::Closed) => return write(stream, &Answer::Done {}).await,
            },
            // Nothing more is asked: it is the end of the connection, and makes room for another.
            _ = stream.readable() => {
                match stream.try_read(&mut [0; 64]) {
                    Ok(0) => return Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => continue,
                }
            }
        };
        write(stream, &answer).await?;
    }
}

async fn write(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_one_line_of_json() {
        for (text, request) in [
            (r#"{"status":{}}"#, Request::Status {}),
            (r#"{"denied":{"follow":true}}"#, Request::Denied { follow: true }),
            (r#"{"pause":{"by":"cleanup"}}"#, Request::Pause { by: Pause::Cleanup }),
            (r#"{"pause":{"by":"emergency-stop"}}"#, Request::Pause { by: Pause::EmergencyStop }),
            (r#"{"resume":{}}"#, Request::Resume {}),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        assert_eq!(serde_json::from_str::<Request>(r#"{"denied":{}}"#).unwrap(), Request::Denied { follow: false });
        assert!(serde_json::from_str::<Request>(r#"{"flush":{}}"#).is_err());
    }

    #[test]
    fn a_socket_left_behind_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(matches!(ask(&path, Request::Status {}), Err(ControlError::NoAgent { .. })));
        let _listener = bind(&path, &lock(directory.path()).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(ask(&path, Request::Status {}).is_ok());
    }

    /// A socket in this directory, and what is asked there.
    fn served(directory: &Path) -> (PathBuf, mpsc::Receiver<Message>) {
        let path = directory.join("agent.sock");
        let listener = bind(&path, &lock(directory).unwrap()).unwrap();
        let (sender, inbox) = mpsc::channel(8);
        tokio::spawn(serve(listener, sender));
        (path, inbox)
    }

    #[tokio::test]
    async fn who_hangs_or_follows_holds_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut inbox) = served(directory.path());
        let coming = tokio::sync::broadcast::Sender::new(1);
        tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                match message {
                    Message::Resume(answer) => drop(answer.send(Ok(()))),
                    Message::DeniedPackets(answer) => drop(answer.send((Vec::new(), coming.subscribe()))),
                    _ => {}
                }
            }
        });
        let say = async |text: &str| {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        };
        let hear = async |mut stream: UnixStream| {
            let mut text = String::new();
            // Longer than whoever is silent is given.
            timeout(6 * PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
            text
        };
        let mut silent = Vec::new();
        for _ in 0..5 * QUESTIONS_MAX {
            silent.push(say("{").await);
        }
        let mut followers = Vec::new();
        for _ in 0..FOLLOWERS_MAX {
            followers.push(say("{\"denied\":{\"follow\":true}}\n").await);
            assert_eq!(hear(say("{\"resume\":{}}\n").await).await, "{\"done\":{}}\n");
        }
        assert!(hear(say("{\"denied\":{\"follow\":true}}\n").await).await.contains("follow denied packets already"));
        // The last are let go when they have had their time.
        let last = silent.pop().unwrap();
        assert_eq!(hear(last).await, "");
    }

    #[tokio::test]
    async fn the_engine_is_asked_and_answers() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut inbox) = served(directory.path());
        tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                match message {
                    Message::Pause(_, answer) => drop(answer.send(Ok(()))),
                    Message::Resume(answer) => drop(answer.send(Err("the disk is full".to_string()))),
                    _ => {}
                }
            }
        });
        let ask_once = |request| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || ask(&path, request).unwrap().next().unwrap())
        };
        assert_eq!(ask_once(Request::Pause { by: Pause::Cleanup }).await.unwrap().unwrap(), Answer::Done {});
        let refused = ask_once(Request::Resume {}).await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "the agent says: the disk is full");
    }
}
