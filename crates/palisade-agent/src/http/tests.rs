//! Clients that hang hold up nobody.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;

/// How soon a kubelet wants an answer.
const PROBE: Duration = Duration::from_secs(1);

/// Serves with an engine in whose view everything is in force.
fn start() -> SocketAddr {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut inbox) = mpsc::channel(8);
    tokio::spawn(serve(listener, Agent { engine: sender, metrics: Arc::default() }));
    tokio::spawn(async move {
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Ready(answer) => drop(answer.send(Vec::new())),
                Message::Scrape(answer) => drop(answer.send(())),
                _ => {}
            }
        }
    });
    address
}

async fn say(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server ends the connection.
async fn hear(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // Whoever is cut off hears nothing, or a reset.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

async fn is_answered(address: SocketAddr, path: &str) {
    let mut stream = say(address, &format!("GET {path} HTTP/1.1\r\nHost: n1\r\n\r\n")).await;
    let answer = timeout(PROBE, hear(&mut stream)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
}

#[tokio::test]
async fn probes_are_answered_while_clients_hang() {
    let address = start();
    let mut hanging = Vec::new();
    for begun in ["", "GET /healthz HTTP/1.1\r\nHost:"].repeat(3 * CONNECTIONS_MAX) {
        hanging.push(say(address, begun).await);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        is_answered(address, path).await;
    }
    // The oldest made room at once.
    assert_eq!(timeout(PROBE, hear(&mut hanging[0])).await.unwrap(), "");
}

#[tokio::test]
async fn who_sends_a_byte_a_second_is_let_go() {
    let address = start();
    let (mut reader, mut writer) = say(address, "GET /healthz HTTP/1.1\r\nX: ").await.into_split();
    let start = Instant::now();
    let mut byte = [0];
    while timeout(Duration::from_secs(1), reader.read(&mut byte)).await.is_err() {
        assert!(start.elapsed() < 2 * HEAD_PATIENCE);
        let _ = writer.write_all(b"x").await;
    }
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let address = start();
    let head = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    let mut stream = say(address, &head).await;
    let answer = timeout(PROBE, hear(&mut stream)).await.unwrap();
    assert!(!answer.contains("200 OK"), "{answer}");
}
