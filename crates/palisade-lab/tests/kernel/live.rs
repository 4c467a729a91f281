//! Connections that live while the rules change, both ends sending all the time.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade_core::{Family, Snapshot, Transport};
use palisade_lab::Lab;
use tempfile::NamedTempFile;

use crate::cluster::{admit, cluster, pod_peer};
use crate::node::PATIENCE;

/// How long a cut connection must stay silent.
const SILENCE: Duration = Duration::from_millis(400);

/// A change that forbids a connection stops both its ends, one that allows it again lets it go on, and a
/// connection that was allowed all the time goes on all the time.
pub fn a_change_cuts_what_it_forbids_and_nothing_else() {
    let open = cluster(3);
    // b admits c alone.
    let mut closed = open.clone();
    admit(&mut closed, "b", pod_peer("c"), Transport::Tcp, 5000);
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&open, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    let talk =
        |transport: &str, client: &str, address: &str| Talk::start(&file, transport, client, &address.parse().unwrap());
    let forbidden = [
        talk("tcp", "shop/a", "10.244.0.2:5001"),
        talk("tcp", "shop/a", "[fd44::2]:5002"),
        talk("udp", "shop/a", "10.244.0.2:5003"),
        talk("udp", "shop/a", "[fd44::2]:5004"),
    ];
    let allowed = talk("tcp", "shop/c", "10.244.0.2:5000");
    for _ in 0..2 {
        forbidden.iter().chain([&allowed]).for_each(Talk::goes_on);
        enforce(&lab, &closed);
        forbidden.iter().for_each(Talk::is_silent);
        allowed.goes_on();
        enforce(&lab, &open);
    }
    forbidden.iter().for_each(Talk::goes_on);
}

pub fn enforce(lab: &Lab, snapshot: &Snapshot) {
    lab.enforce(snapshot).unwrap();
    assert_eq!(lab.strayed().unwrap(), Vec::<palisade_core::NodeName>::new());
}

/// A live connection.
pub struct Talk {
    what: String,
    ends: [Ender; 2],
}

struct Ender {
    process: Child,
    received: Arc<AtomicUsize>,
}

impl Talk {
    /// A connection to pod shop/b.
    fn start(file: &NamedTempFile, transport: &str, client: &str, address: &SocketAddr) -> Talk {
        Talk::between(file, transport, (client, &address.to_string()), ("shop/b", &address.to_string()))
    }

    /// From a client, to what it connects to; and the server, with where it listens.
    pub fn between(file: &NamedTempFile, transport: &str, client: (&str, &str), server: (&str, &str)) -> Talk {
        let listening = Ender::start(file, server.0, &["talk", transport, "listen", server.1]);
        let connecting = Ender::start(file, client.0, &["talk", transport, "connect", client.1]);
        Talk { what: format!("{} -> {} {transport}", client.0, client.1), ends: [listening, connecting] }
    }

    pub fn goes_on(&self) {
        for end in &self.ends {
            let (before, start) = (end.received(), Instant::now());
            while end.received() < before + 10 {
                assert!(start.elapsed() < PATIENCE, "{} does not go on", self.what);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    pub fn is_silent(&self) {
        // What was under way when the rules changed still arrives: on a busy machine not at once.
        let start = Instant::now();
        loop {
            let before = self.ends.each_ref().map(Ender::received);
            std::thread::sleep(SILENCE);
            if self.ends.each_ref().map(Ender::received) == before {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{} goes on", self.what);
        }
    }
}

impl Ender {
    fn start(file: &NamedTempFile, pod: &str, arguments: &[&str]) -> Ender {
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(&program)
            .arg("exec")
            .arg(file.path())
            .arg(pod)
            .arg(&program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let received = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&received);
        std::thread::spawn(move || {
            for _ in lines {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ender { process, received }
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Ender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One end of a connection: sends a byte every few milliseconds, and prints a line whenever some arrive.
pub fn talk(transport: &str, role: &str, address: &str) -> ExitCode {
    let address: SocketAddr = address.parse().unwrap();
    println!("ready");
    match (transport, role) {
        ("tcp", "listen") => talk_tcp(TcpListener::bind(address).unwrap().accept().unwrap().0),
        ("tcp", _) => talk_tcp(connected(address)),
        (_, "listen") => {
            let socket = UdpSocket::bind(address).unwrap();
            let (_, client) = socket.peek_from(&mut [0]).unwrap();
            socket.connect(client).unwrap();
            talk_udp(&socket)
        }
        _ => {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(address).unwrap();
            talk_udp(&socket)
        }
    }
}

/// The other end may not listen yet.
fn connected(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn talk_tcp(mut stream: TcpStream) -> ExitCode {
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = stream.try_clone().unwrap();
    keep_talking(|| stream.write(b"x"), move |buffer| reader.read(buffer))
}

fn talk_udp(socket: &UdpSocket) -> ExitCode {
    socket.set_nonblocking(true).unwrap();
    keep_talking(|| socket.send(b"x"), |buffer| socket.recv(buffer))
}

fn is_passing(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied)
}

/// The other end has gone.
fn is_end(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn keep_talking(
    mut send: impl FnMut() -> std::io::Result<usize>,
    mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
) -> ExitCode {
    loop {
        for outcome in [send(), receive(&mut [0; 4096]).inspect(|_| println!("received"))] {
            match outcome {
                Ok(0) => return ExitCode::SUCCESS,
                Ok(_) => {}
                Err(error) if is_end(error.kind()) => return ExitCode::SUCCESS,
                // The other end of a UDP connection may not listen yet; what a host drops of its own, its sender is told.
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => panic!("{error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
