//! Probes of a connection between networks of a bed: new ones all the time, and one that lives.
//!
//! Nothing is judged here. A probe notes when it tried, and what came back; whoever started it knows what should have.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::bed::{Network, files};

/// How long an answer is waited for. A SYN that was dropped comes again only after a second, so an answer by then is to
/// the first one.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long a live connection waits before it looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(20);
/// The shortest wait.
const TICK: Duration = Duration::from_micros(100);

/// One attempt to connect, or one datagram.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When the first packet was sent.
    pub at: Instant,
    /// When the connection came about, or the datagram was answered; a reset is no answer.
    pub answered: Option<Instant>,
}

/// A probe that runs until it is stopped.
#[derive(Debug)]
pub struct Probe<T> {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<anyhow::Result<T>>,
}

impl<T: Send + 'static> Probe<T> {
    fn start(from: &Network, work: impl FnOnce(&AtomicBool) -> anyhow::Result<T> + Send + 'static) -> Probe<T> {
        let (from, stop) = (from.clone(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            from.enter()?;
            work(&seen)
        });
        Probe { stop, worker }
    }

    /// Ends it, and gives what it noted.
    ///
    /// # Errors
    ///
    /// It could not probe at all.
    pub fn stop(self) -> anyhow::Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().map_err(|_| anyhow!("a thread of a probe panicked"))?
    }
}

/// Opens a TCP connection every `pace`, each from a port of its own, whatever became of those before.
pub fn connect(from: &Network, to: SocketAddr, pace: Duration) -> Probe<Vec<Attempt>> {
    Probe::start(from, move |stop| {
        let (mut attempts, mut waiting) = (Vec::new(), VecDeque::new());
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) || !waiting.is_empty() {
            let now = Instant::now();
            if now >= next && !stop.load(Ordering::Relaxed) {
                next = (next + pace).max(now);
                attempts.push(Attempt { at: now, answered: None });
                waiting.push_back((attempts.len() - 1, attempt(to)?));
            }
            settle(&mut attempts, &mut waiting, next)?;
        }
        Ok(attempts)
    })
}

/// Begins to connect. To close such a socket resets the connection, so that its port is free at once.
fn attempt(to: SocketAddr) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    // What fails at once shows on the socket, too.
    let _ = socket.connect(&to.into());
    Ok(socket)
}

/// Takes note of what was answered until `next`, and gives up what is too old.
fn settle(attempts: &mut [Attempt], waiting: &mut VecDeque<(usize, Socket)>, next: Instant) -> anyhow::Result<()> {
    let mut polled: Vec<_> = waiting.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT)).collect();
    let left = next.saturating_duration_since(Instant::now()).clamp(TICK, GLANCE);
    match poll(&mut polled, Some(&Timespec::try_from(left)?)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error).context("poll"),
    }
    let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
    drop(polled);
    let mut ready = ready.into_iter();
    waiting.retain(|(index, socket)| {
        let attempt = &mut attempts[*index];
        if ready.next() == Some(true) {
            let is_open = matches!(socket.take_error(), Ok(None)) && socket.peer_addr().is_ok();
            attempt.answered = is_open.then(Instant::now);
            return false;
        }
        attempt.at.elapsed() < PATIENCE
    });
    Ok(())
}

/// Opens one TCP connection to an HTTP server and asks it `pace` after each answer, for as long as it answers. Gives when
/// the answers came.
pub fn live_tcp(from: &Network, to: SocketAddr, pace: Duration) -> Probe<Vec<Instant>> {
    Probe::start(from, move |stop| {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).context("a live connection")?;
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_nodelay(true)?;
        let (mut answers, mut buffer) = (Vec::new(), [0; 4096]);
        while !stop.load(Ordering::Relaxed) {
            if stream.write_all(b"GET /hostname HTTP/1.1\r\nHost: probe\r\n\r\n").is_err() {
                break;
            }
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return Ok(answers),
                    Ok(_) => break answers.push(Instant::now()),
                    Err(error) if is_too_early(&error) && !stop.load(Ordering::Relaxed) => {}
                    Err(_) => return Ok(answers),
                }
            }
            std::thread::sleep(pace);
        }
        Ok(answers)
    })
}

/// Sends a datagram to a server of `agnhost netexec` every `pace`, all from one port, whatever became of those before.
pub fn live_udp(from: &Network, to: SocketAddr, pace: Duration) -> Probe<Vec<Attempt>> {
    Probe::start(from, move |stop| {
        let socket = datagrams(to)?;
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut next = Instant::now();
        let mut end = None;
        loop {
            let now = Instant::now();
            if stop.load(Ordering::Relaxed) {
                if now >= *end.get_or_insert(now + PATIENCE) {
                    return Ok(attempts);
                }
            } else if now >= next {
                next = (next + pace).max(now);
                // An ICMP error of before may be told here.
                let _ = socket.send(format!("echo {}", attempts.len()).as_bytes());
                attempts.push(Attempt { at: now, answered: None });
            }
            socket.set_read_timeout(Some(next.saturating_duration_since(now).clamp(TICK, GLANCE)))?;
            if let Some(attempt) = answered(&socket).and_then(|index| attempts.get_mut(index)) {
                attempt.answered = Some(Instant::now());
            }
        }
    })
}

/// The number of the datagram that was answered.
fn answered(socket: &UdpSocket) -> Option<usize> {
    let mut buffer = [0; 32];
    let length = socket.recv(&mut buffer).ok()?;
    std::str::from_utf8(buffer.get(..length)?).ok()?.trim().parse().ok()
}

/// Whether a server answers a datagram.
///
/// # Errors
///
/// There is no socket to be had in the network.
pub fn answers_udp(from: &Network, to: SocketAddr, patience: Duration) -> anyhow::Result<bool> {
    from.within(|| {
        let (socket, mut buffer) = (datagrams(to)?, [0; 512]);
        socket.set_read_timeout(Some(patience))?;
        let _ = socket.send(b"hostname");
        Ok(socket.recv(&mut buffer).is_ok())
    })?
}

/// Whether a TCP connection comes about.
///
/// # Errors
///
/// The network cannot be entered.
pub fn connects(from: &Network, to: SocketAddr, patience: Duration) -> anyhow::Result<bool> {
    from.within(|| TcpStream::connect_timeout(&to, patience).is_ok())
}

fn datagrams(to: SocketAddr) -> anyhow::Result<UdpSocket> {
    let any = match to.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

fn is_too_early(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// How many TCP segments were sent again from a network, since it is there. Where none is, none was lost on the way.
///
/// # Errors
///
/// The kernel does not tell.
pub fn sent_again(from: &Network) -> anyhow::Result<u64> {
    let text = from.within(|| files::read(Path::new("/proc/thread-self/net/snmp")))??;
    // A line of names, and one of figures.
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(str::split_whitespace);
    let (names, figures) = lines.next().zip(lines.next()).context("no figures of TCP")?;
    let figure = names.zip(figures).find_map(|(name, figure)| (name == "RetransSegs").then_some(figure));
    Ok(figure.context("no figure of segments sent again")?.parse()?)
}
