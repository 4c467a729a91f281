//! One line for a flow: `web/front -> db/pg tcp 5432`. It parses from and prints as the same text
//! in tests, logs, commands and documents.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::name::{NodeName, PodName, WorkloadKind, WorkloadName};
use crate::net::{Port, Traffic, Transport};
use crate::server::ServerName;

/// What a client sends: who, to whom, what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The client.
    pub source: End,
    /// The server.
    pub destination: End,
    /// The protocol, and the port of the server.
    pub traffic: Traffic,
}

/// One end of a flow, as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// `namespace/name`: a pod, or else the one workload of that name.
    Pod(PodName),
    /// `namespace/kind/name`: all pods of it.
    Workload(WorkloadName),
    /// `node/NAME`: the node itself, and every hostNetwork pod on it.
    Node(NodeName),
    /// `host/NAME`: a server outside of the cluster, by the name of its `NodeAllowlist`.
    Host(ServerName),
    /// An address; one that a pod has means that pod, in that family alone.
    Address(IpAddr),
}

/// Why a flow does not parse, with a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowError {
    /// What was found and what was expected.
    pub message: String,
    /// What to write instead.
    pub hint: &'static str,
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FlowError {}

const SHAPE: &str =
    "write it as 'web/front -> db/pg tcp 5432', 'web/front -> 203.0.113.7 udp 53' or 'node/n1 -> db/pg icmp'";

fn error<T>(message: String, hint: &'static str) -> Result<T, FlowError> {
    Err(FlowError { message, hint })
}

impl FromStr for Flow {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Flow, FlowError> {
        let Some((source, rest)) = text.split_once("->") else {
            return error(format!("expected '->' between the ends of the flow '{}'", text.trim()), SHAPE);
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (destination, traffic) = match words.as_slice() {
            [destination, traffic @ ..] if !traffic.is_empty() => (*destination, traffic),
            _ => return error(format!("the flow '{}' names no destination and protocol", text.trim()), SHAPE),
        };
        Ok(Flow { source: source.trim().parse()?, destination: destination.parse()?, traffic: parse_traffic(traffic)? })
    }
}

fn parse_traffic(words: &[&str]) -> Result<Traffic, FlowError> {
    match words {
        [protocol] if protocol.eq_ignore_ascii_case("icmp") => Ok(Traffic::Icmp),
        [protocol, ..] if protocol.eq_ignore_ascii_case("icmp") => {
            error("icmp takes no port".to_string(), "end the flow with 'icmp'")
        }
        [protocol, rest @ ..] => {
            let Ok(transport) = protocol.parse::<Transport>() else {
                return error(
                    format!("unknown protocol '{protocol}'"),
                    "known protocols are tcp, udp, sctp (each with a port) and icmp",
                );
            };
            match rest {
                [port] => match port.parse::<Port>() {
                    Ok(port) => Ok(Traffic::Port(transport, port)),
                    Err(_) => error(format!("'{port}' is not a port"), "a port is a number from 1 to 65535"),
                },
                [] => error(format!("{transport} needs a port"), SHAPE),
                _ => error(format!("unexpected '{}' after the port", rest[1..].join(" ")), SHAPE),
            }
        }
        [] => error("the flow names no protocol".to_string(), SHAPE),
    }
}

impl FromStr for End {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<End, FlowError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(End::Address(address.to_canonical()));
        }
        let (explicit_pod, path) = match text.strip_prefix("pod:") {
            Some(path) => (true, path),
            None => (false, text),
        };
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
            return error(format!("'{text}' is neither a name nor an address"), SHAPE);
        }
        match parts.as_slice() {
            ["node", name] if !explicit_pod => Ok(End::Node((*name).into())),
            ["host", name] if !explicit_pod => Ok(End::Host((*name).into())),
            [namespace, name] => Ok(End::Pod(PodName::new(*namespace, *name))),
            [namespace, kind, name] => match WorkloadKind::from_name(kind) {
                Some(kind) => {
                    Ok(End::Workload(WorkloadName { namespace: (*namespace).into(), kind, name: (*name).into() }))
                }
                None => error(
                    format!("unknown kind '{kind}' in '{text}'"),
                    "kinds are those of kubectl: deployment, statefulset, daemonset, replicaset, job, cronjob, service",
                ),
            },
            _ => error(format!("'{text}' is neither a name nor an address"), SHAPE),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Pod(name) if matches!(&*name.namespace, "node" | "host") => write!(f, "pod:{name}"),
            End::Pod(name) => write!(f, "{name}"),
            End::Workload(name) => write!(f, "{name}"),
            End::Node(name) => write!(f, "node/{name}"),
            End::Host(name) => write!(f, "host/{name}"),
            End::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.traffic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_prints_as_it_was_written() {
        for text in [
            "web/front -> db/pg tcp 5432",
            "web/deployment/front -> 203.0.113.7 udp 53",
            "2001:db8::1 -> pod:node/x sctp 9999",
            "node/n1 -> db/pg icmp",
            "pod:host/x -> host/prod-to-postgres tcp 5432",
        ] {
            assert_eq!(text.parse::<Flow>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_flow_says_why() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Flow>().unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
        };
        check("web/front db/pg tcp 5432", "expected '->'");
        check("web/front -> db/pg tcp", "needs a port");
        check("web/front -> db/pg tcp 0", "not a port");
        check("web/front -> db/pg gre 4", "unknown protocol");
        check("web/front -> db/pg icmp 8", "takes no port");
        check("front -> db/pg icmp", "neither a name nor an address");
        check("web/frob/x -> db/pg icmp", "unknown kind 'frob'");
    }
}
