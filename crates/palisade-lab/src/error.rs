//! What can go wrong with the lab itself. A flow that is denied is no error.

use std::io;

use palisade_core::NodeName;

/// Why the lab cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// This machine does not let the lab have namespaces.
    #[error(transparent)]
    Rootless(#[from] crate::rootless::RootlessError),
    /// A network namespace could not be made or entered.
    #[error("cannot {operation} the network namespace of {place}")]
    Namespace {
        /// `create` or `enter`.
        operation: &'static str,
        /// Whose namespace it is.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A kernel setting could not be written.
    #[error("cannot write '{value}' to {path} in the network namespace of {place}")]
    Sysctl {
        /// The file.
        path: String,
        /// The value.
        value: &'static str,
        /// Whose namespace it is.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A link, an address or a route could not be set.
    #[error("cannot {operation}")]
    Link {
        /// What was tried, with the name of the object.
        operation: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A server, a listener or the event loop of the probes could not be set up.
    #[error("cannot {operation}")]
    Probe {
        /// What was tried.
        operation: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The rules of a node could not be loaded.
    #[error("cannot load the rules of node/{node}")]
    Rules {
        /// The node.
        node: NodeName,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The thread that owns the namespaces is gone.
    #[error("the lab has stopped")]
    Stopped,
}

impl LabError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            LabError::Rootless(error) => Some(error.hint()),
            LabError::Namespace { source, .. } if is(source, rustix::io::Errno::NOSPC) => {
                Some("raise the limit: sysctl user.max_net_namespaces=10000".to_string())
            }
            LabError::Namespace { source, .. } if is(source, rustix::io::Errno::PERM) => {
                Some(crate::rootless::why_namespaces_are_refused())
            }
            LabError::Sysctl { path, source, .. } => Some(sysctl_hint(path, source)),
            LabError::Link { source, .. } if is(source, rustix::io::Errno::OPNOTSUPP) => {
                Some("this kernel has no veth links: load them as root with 'modprobe veth'".to_string())
            }
            LabError::Link { source, .. } if is(source, rustix::io::Errno::PERM) => {
                Some("CAP_NET_ADMIN is missing: run as root with that capability, or as an ordinary user".to_string())
            }
            LabError::Rules { source, .. } => Some(rules_hint(source.as_ref())),
            _ => None,
        }
    }
}

fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn sysctl_hint(path: &str, source: &io::Error) -> String {
    if is(source, rustix::io::Errno::ROFS) {
        "/proc/sys is mounted read-only, as in most containers: run the container with a writable one \
         (docker: --privileged or --security-opt systempaths=unconfined)"
            .to_string()
    } else if is(source, rustix::io::Errno::NOENT) && path.contains("/ipv6/") {
        "this kernel has no IPv6 (ipv6.disable=1?): use --family 4".to_string()
    } else {
        "the lab needs to write below /proc/sys/net in its own namespaces".to_string()
    }
}

fn rules_hint(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(source) = current.downcast_ref::<io::Error>()
            && (is(source, rustix::io::Errno::PROTONOSUPPORT) || is(source, rustix::io::Errno::OPNOTSUPP))
        {
            return "this kernel lacks nf_tables or a part of it: load it as root with 'modprobe nf_tables'"
                .to_string();
        }
        cause = current.source();
    }
    "check that the kernel has nf_tables with inet tables, sets and connection tracking".to_string()
}
