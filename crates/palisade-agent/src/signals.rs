//! How a program of ours is told to end.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT.
pub async fn terminated() {
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
    let [terminate, interrupt] = &mut signals;
    tokio::select! {
        () = received(terminate) => {}
        () = received(interrupt) => {}
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}
