//! The API server for those who ask it often, or want to know when it answered: without a process for each request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{Bed, directory, wait};

/// How many proxies were started, for names of sockets.
static PROXIES: AtomicUsize = AtomicUsize::new(0);

/// The API server, spoken to over one connection that stays open. Between stands `kubectl proxy`, which takes a fraction of a
/// millisecond for an answer.
#[derive(Debug)]
pub struct ApiServer {
    proxy: Child,
    stream: BufReader<UnixStream>,
}

impl ApiServer {
    /// Starts `kubectl proxy`, and connects to it.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(bed: &Bed) -> anyhow::Result<ApiServer> {
        let socket = directory().join(format!("api-{}.sock", PROXIES.fetch_add(1, Ordering::Relaxed)));
        let mut proxy = bed
            .kubectl_command()
            .args(["proxy", "--unix-socket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .context("kubectl proxy")?;
        let patience = Duration::from_secs(10);
        let connected = wait(patience, || Ok(UnixStream::connect(&socket).is_ok()));
        if !matches!(connected, Ok(Some(()))) {
            let _ = proxy.kill();
        }
        let stream = UnixStream::connect(&socket).context("kubectl proxy does not answer")?;
        Ok(ApiServer { proxy, stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer to the end.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        let length = body.len();
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        ensure!(status.contains(" 20"), "{method} {path}: {status}{}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
