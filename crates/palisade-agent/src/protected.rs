//! What no ban list bans on this node, beside what the cluster has: the way to the API server, the resolvers, and what the flags say.
#![expect(clippy::disallowed_methods, reason = "reads resolv.conf")]

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::timeout;

use crate::client;
use crate::settings::Settings;

/// Where the resolvers of the host are named (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";
/// How long the start waits for the name of the API server to be resolved.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

/// The networks and addresses, as far as they can be told. What cannot is left out: a ban may wait for it, the agent may not.
pub async fn protected(settings: &Settings) -> Vec<IpNet> {
    let named = settings.failsafe_sources.iter().chain(&settings.protected).copied();
    let resolvers = resolvers(&fs::read_to_string(RESOLVERS).unwrap_or_default());
    let servers = api_servers(settings).await;
    named.chain(resolvers.into_iter().chain(servers).map(IpNet::from)).collect()
}

/// The addresses of the API server as it is configured. Behind a Service that is the address of the Service, and whom it leads to is not
/// known here: a node, as a rule, which is never banned.
async fn api_servers(settings: &Settings) -> Vec<IpAddr> {
    let Ok(config) = client::config(settings.kubeconfig.as_deref(), None).await else { return Vec::new() };
    let Some(host) = config.cluster_url.host() else { return Vec::new() };
    let host = host.trim_matches(['[', ']']).to_owned();
    let lookup = tokio::task::spawn_blocking(move || (host.as_str(), 0).to_socket_addrs().map(Iterator::collect));
    let Ok(Ok(Ok(addresses))) = timeout(LOOKUP_PATIENCE, lookup).await else { return Vec::new() };
    let addresses: Vec<SocketAddr> = addresses;
    addresses.into_iter().map(|address| address.ip()).collect()
}

fn resolvers(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    named.filter_map(|rest| rest.split_whitespace().next()?.split('%').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 192.0.2.1\nsearch example.org\nnameserver 192.0.2.53 # the first\n nameserver\t2001:db8::53 \nnameserver fe80::1%eth0\nnameserver x\n";
        let expected: Vec<IpAddr> =
            ["192.0.2.53", "2001:db8::53", "fe80::1"].map(|address| address.parse().unwrap()).into();
        assert_eq!(resolvers(text), expected);
    }
}
