//! The thread on which requests are answered, and the port that outlives it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::{Router, serve::ListenerExt};
use tokio::{runtime, sync::oneshot};

use crate::{routes::handle, shared::Shared};

/// How long the port is asked for again, should another program sit on it for a moment.
const PORT_PATIENCE: Duration = Duration::from_secs(10);

/// A server that answers; dropped, it is gone with all its connections.
#[derive(Debug)]
pub(crate) struct Server {
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Server {
    /// Answers at `address`. The port is open when this returns.
    pub fn start(shared: Arc<Shared>, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // The runtime is dropped at the end of the thread, and with it every connection, in the middle of whatever it sends.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                // Events are small, and must not wait for one another. A connection that is gone already needs nothing.
                let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
                let router = Router::new().fallback(handle).with_state(shared);
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("testapi".to_owned()).spawn(serve)?;
        Ok(Self { thread: Some(thread), stop: Some(stop) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed, and nothing is left to be cleaned up.
            drop(thread.join());
        }
    }
}

/// Listens on loopback, at a port of its own choice for 0.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let end = Instant::now() + PORT_PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}
