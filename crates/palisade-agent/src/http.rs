//! What is served on `--listen`: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::control::asked;
use crate::crowd::Crowd;
use crate::message::Message;
use crate::metrics::Metrics;

/// The engine answers within this, or it hangs. Long, since the first list of a large cluster is taken in one piece.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many connections are served at a time.
const CONNECTIONS_MAX: usize = 64;
/// Whoever has not said what is wanted after so long is let go.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Whoever has not read the answer after so long is let go.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(20);
/// How long a request may be; what is asked here has no body.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// After a connection that cannot be taken (out of file descriptors, say) the next one is taken so much later.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const SILENT: &str = "the loop does not answer\n";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens; whether the port is free shows here.
///
/// # Errors
///
/// If it is not.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A loop that is asked.
pub trait Asked: Clone + Send + Sync + 'static {
    /// The figures, in the `OpenMetrics` format.
    fn metrics(&self) -> impl Future<Output = String> + Send;

    /// What has to come about before it is ready; `None` if it does not answer.
    fn waits(&self) -> impl Future<Output = Option<Vec<String>>> + Send;
}

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its loop.
    pub engine: mpsc::Sender<Message>,
    /// Its figures.
    pub metrics: Arc<Metrics>,
}

impl Asked for Agent {
    async fn metrics(&self) -> String {
        // Figures that are a little old are better than none.
        let _ = timeout(PATIENCE, asked(&self.engine, Message::Scrape)).await;
        self.metrics.text()
    }

    async fn waits(&self) -> Option<Vec<String>> {
        asked(&self.engine, Message::Ready).await
    }
}

/// Serves for as long as it is waited for. A connection is for one question.
pub async fn serve<A: Asked>(listener: TcpListener, of: A) {
    let routes = Router::new()
        .route("/metrics", get(metrics_text::<A>))
        .route("/healthz", get(healthz::<A>))
        .route("/readyz", get(readyz::<A>))
        .with_state(of);
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("metrics and probes are not served: {error}");
            return pending().await;
        }
    };
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_header_size(HEAD_BYTES_MAX).timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    let mut crowd = Crowd::new(CONNECTIONS_MAX, CONNECTION_PATIENCE);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(routes.clone());
                crowd.serve(http.serve_connection(TokioIo::new(stream), service));
            }
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
}

async fn metrics_text<A: Asked>(State(of): State<A>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], of.metrics().await).into_response()
}

async fn healthz<A: Asked>(State(of): State<A>) -> (StatusCode, String) {
    match timeout(PATIENCE, of.waits()).await {
        Ok(Some(_)) => (StatusCode::OK, "ok\n".to_string()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, SILENT.to_string()),
    }
}

async fn readyz<A: Asked>(State(of): State<A>) -> (StatusCode, String) {
    match timeout(PATIENCE, of.waits()).await {
        Ok(Some(waits)) if waits.is_empty() => (StatusCode::OK, "ok\n".to_string()),
        Ok(Some(waits)) => (StatusCode::SERVICE_UNAVAILABLE, waits.join("\n") + "\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, SILENT.to_string()),
    }
}

#[cfg(test)]
mod tests;
