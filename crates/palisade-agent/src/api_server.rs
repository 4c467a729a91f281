//! Whether a new connection to the API server comes about, from the network namespace of the agent.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::client;
use crate::confirm::Probe;
use crate::settings::Settings;

/// How long one address is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 4;

/// Where connections to the API server go: to itself, or to the proxy that leads to it.
#[derive(Clone, Debug)]
pub struct ApiServer {
    host: String,
    port: u16,
}

impl ApiServer {
    /// The one that the agent is configured for; `None` if that cannot be told.
    pub async fn of(settings: &Settings) -> Option<ApiServer> {
        let config = client::config(settings.kubeconfig.as_deref(), None).await.ok()?;
        let url = config.proxy_url.as_ref().unwrap_or(&config.cluster_url);
        let default = if url.scheme_str() == Some("http") { 80 } else { 443 };
        let host = url.host()?.trim_matches(['[', ']']).to_owned();
        Some(ApiServer { host, port: url.port_u16().unwrap_or(default) })
    }

    /// Tries a connection and ends it. TCP alone: whoever answers there was reached.
    pub fn probe(&self) -> Probe {
        let began = Instant::now();
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let connects = |address| TcpStream::connect_timeout(&address, PATIENCE).is_ok();
        let worked = addresses.is_ok_and(|addresses| addresses.take(ADDRESSES_MAX).any(connects));
        Probe { began, worked }
    }
}
