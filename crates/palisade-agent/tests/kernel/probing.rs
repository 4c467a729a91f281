//! Probes all the time: a pod that asks two others every millisecond, of which one may answer and the other never.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The port that is asked.
pub const PORT: u16 = 5300;
/// The time between two probes of one pod.
const PACE: Duration = Duration::from_millis(1);
/// So many probes come from ports of their own before one is used again, so that flows are new and established.
const PORTS: usize = 500;
/// How long an answer to the last probe is waited for.
const TAIL: Duration = Duration::from_millis(300);

/// A pod that probes until it is told to stop.
pub struct Probing(Child);

/// What became of the probes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub allowed: usize,
    pub allowed_answered: usize,
    pub denied: usize,
    pub denied_answered: usize,
}

impl Probing {
    /// Has `client` ask both addresses. Servers run there already.
    pub fn start(lab: &Path, client: &str, allowed: &str, denied: &str) -> Probing {
        Probing::start_with(lab, client, [allowed, denied], PORTS)
    }

    /// The same from so many ports in turn.
    pub fn start_with(lab: &Path, client: &str, [allowed, denied]: [&str; 2], ports: usize) -> Probing {
        let mut child = spawn(lab, client, &["probe", allowed, denied, &ports.to_string()]);
        wait_for_line(&mut child, "ready");
        Probing(child)
    }

    /// Ends it.
    pub fn stop(mut self) -> Counts {
        self.0.stdin.take().unwrap().write_all(b"stop\n").unwrap();
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let numbers: Vec<usize> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        self.0.wait().unwrap();
        let [allowed, allowed_answered, denied, denied_answered] = numbers[..] else { panic!("{line}") };
        Counts { allowed, allowed_answered, denied, denied_answered }
    }
}

/// A pod that answers every datagram, for as long as this value lives.
pub struct Server(Child);

impl Server {
    pub fn start(lab: &Path, pod: &str) -> Server {
        let mut child = spawn(lab, pod, &["answer"]);
        wait_for_line(&mut child, "ready");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn spawn(lab: &Path, pod: &str, arguments: &[&str]) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(&program)
        .arg("exec")
        .arg(lab)
        .arg(pod)
        .arg(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn wait_for_line(child: &mut Child, wanted: &str) {
    let mut line = String::new();
    // One byte at a time: nothing of what follows may be taken away.
    let mut reader = BufReader::with_capacity(1, child.stdout.as_mut().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), wanted);
}

/// The process of a server.
pub fn answer() -> ExitCode {
    let socket = UdpSocket::bind(("::", PORT)).unwrap();
    println!("ready");
    let mut buffer = [0; 64];
    loop {
        if let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    }
}

/// The process of a client.
pub fn probe(allowed: &str, denied: &str, ports: &str) -> ExitCode {
    let ports = ports.parse().unwrap();
    let mut targets = [Target::new(allowed, ports), Target::new(denied, ports)];
    println!("ready");
    let (sender, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = sender.send(());
    });
    let mut next = Instant::now();
    while stopped.try_recv().is_err() {
        targets.iter_mut().for_each(Target::ask);
        next += PACE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let end = Instant::now() + TAIL;
    while Instant::now() < end {
        targets.iter_mut().for_each(Target::collect);
        std::thread::sleep(PACE);
    }
    let [allowed, denied] = targets;
    println!("{} {} {} {}", allowed.asked, allowed.answered, denied.asked, denied.answered);
    ExitCode::SUCCESS
}

struct Target {
    sockets: Vec<UdpSocket>,
    asked: usize,
    answered: usize,
}

impl Target {
    fn new(address: &str, ports: usize) -> Target {
        let any = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let address: std::net::IpAddr = address.parse().unwrap();
        let socket = || {
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect((address, PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Target { sockets: (0..ports).map(|_| socket()).collect(), asked: 0, answered: 0 }
    }

    fn ask(&mut self) {
        let index = self.asked % self.sockets.len();
        // What came in for the probe before from this port, a good while ago.
        self.take(index);
        match self.sockets[index].send(&self.asked.to_ne_bytes()) {
            Ok(_) => self.asked += 1,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::ConnectionRefused), "{error}"),
        }
    }

    fn collect(&mut self) {
        (0..self.sockets.len()).for_each(|index| self.take(index));
    }

    fn take(&mut self, index: usize) {
        while self.sockets[index].recv(&mut [0; 64]).is_ok() {
            self.answered += 1;
        }
    }
}
