//! What is served on `--listen`: `/metrics` for Prometheus, `/healthz` and `/readyz` for the kubelet.

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
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens; whether the port is free shows here.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[derive(Clone)]
struct Served {
    engine: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
}

/// Serves for as long as the engine runs. A connection is for one question.
pub async fn serve(listener: TcpListener, engine: mpsc::Sender<Message>, metrics: Arc<Metrics>) {
    let served = Served { engine: engine.clone(), metrics };
    let routes = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(served);
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("metrics and probes are not served: {error}");
            return engine.closed().await;
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

async fn metrics_text(State(served): State<Served>) -> Response {
    // Figures that are a little old are better than none.
    let _ = timeout(PATIENCE, asked(&served.engine, Message::Scrape)).await;
    ([(header::CONTENT_TYPE, OPEN_METRICS)], served.metrics.text()).into_response()
}

async fn healthz(State(served): State<Served>) -> (StatusCode, String) {
    match timeout(PATIENCE, asked(&served.engine, Message::Ready)).await {
        Ok(Some(_)) => (StatusCode::OK, "ok\n".to_string()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the loop of the agent does not answer\n".to_string()),
    }
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    match timeout(PATIENCE, asked(&served.engine, Message::Ready)).await {
        Ok(Some(waits)) if waits.is_empty() => (StatusCode::OK, "ok\n".to_string()),
        Ok(Some(waits)) => (StatusCode::SERVICE_UNAVAILABLE, waits.join("\n") + "\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the loop of the agent does not answer\n".to_string()),
    }
}

#[cfg(test)]
mod tests;
