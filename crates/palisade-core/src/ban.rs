//! `BanList` (palisade.dev/v1alpha1) after reading: addresses with which nobody may speak.

use std::fmt;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::labels::Selector;

/// The name of a `BanList`; it lives in no namespace.
pub type BanListName = Arc<str>;

/// Addresses without which IP does not work, or which never leave the host: unspecified, loopback, link-local, multicast, broadcast
/// (RFC 6890). No list bans them; those of nodes and pods are spared besides.
pub const NEVER_BANNED: [IpNet; 9] = [
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 32)),
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(224, 0, 0, 0), 4)),
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::BROADCAST, 32)),
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 128)),
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
];

/// Addresses with which nobody may speak, whichever side begins.
///
/// Never banned are [`NEVER_BANNED`], what a node or a pod of the cluster has as its own, and the pod ranges of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanList {
    /// Its name.
    pub name: BanListName,
    /// `spec.target`: the pods that may not speak with them; `None` is every pod, and every node.
    pub target: Option<BanTarget>,
    /// `spec.entries`, without those that have expired. They may overlap.
    pub entries: Vec<BanEntry>,
    /// What `spec.source` holds, in the same way. Who follows the source shares it.
    pub of_source: Arc<[BanEntry]>,
    /// `spec.source`: where more entries come from.
    pub source: Option<BanSource>,
    /// `spec.exceptCIDRs`: what this list does not ban, whatever its entries say.
    pub except: Vec<IpNet>,
    /// `spec.enforcement: Audit`: the list is left out of the verdict, and has a say in the shadow verdict alone.
    pub audit: bool,
    /// What of the list could not be read, if something could not.
    pub unreadable: Option<String>,
}

/// `spec.target`: pods that have addresses of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BanTarget {
    /// `namespaceSelector`; absent selects every namespace.
    pub namespaces: Selector,
    /// `podSelector`; absent selects every pod.
    pub pods: Selector,
}

/// One item of `spec.entries`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BanEntry {
    /// `cidr`, its host bits cleared.
    pub cidr: IpNet,
    /// `expiresAt`, in seconds since 1970 (UTC): from then on the entry bans nothing. `None` is never.
    pub expires: Option<i64>,
    /// `reason`.
    pub reason: Option<Arc<str>>,
    /// Whether it comes from `spec.source`.
    pub from_source: bool,
}

/// `spec.source`: where more entries come from, and what is taken for a list from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BanSource {
    /// Where.
    pub place: BanPlace,
    /// `http.intervalSeconds`: how long after it was fetched it is fetched again. It says nothing of other places.
    pub interval_seconds: u32,
    /// `spec.limits`.
    pub limits: BanLimits,
}

/// Where more entries of a list come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BanPlace {
    /// `file.path`: a file of each node, below the directory that its agent is told.
    File(Arc<str>),
    /// `configMapRef.name`: the texts of a `ConfigMap` in the namespace of the agents.
    ConfigMap(Arc<str>),
    /// `http.url`: one agent fetches it for all.
    Http(Arc<str>),
}

/// `spec.limits`: what of a source is taken for a list. Of what is not, the last good one stays in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BanLimits {
    /// `minEntries`: the fewest entries.
    pub entries_min: usize,
    /// `maxEntries`: the most entries.
    pub entries_max: usize,
    /// `maxChangePercent`: how many entries may come or go at once, in percent of the last good ones; `None` is any number.
    pub change_percent_max: Option<u32>,
}

impl BanList {
    /// Its own entries, then those of its source.
    pub fn all_entries(&self) -> impl Iterator<Item = &BanEntry> {
        self.entries.iter().chain(&*self.of_source)
    }
}

impl fmt::Display for BanTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pods {} in namespaces {}", self.pods, self.namespaces)
    }
}

impl fmt::Display for BanEntry {
    /// `203.0.113.0/24 (abuse)`, or `203.0.113.0/24 of its source (abuse)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cidr)?;
        if self.from_source {
            f.write_str(" of its source")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for BanPlace {
    /// `file drop.txt`, `ConfigMap drop`, `https://feeds.example/drop.txt`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BanPlace::File(path) => write!(f, "file {path}"),
            BanPlace::ConfigMap(name) => write!(f, "ConfigMap {name}"),
            BanPlace::Http(url) => f.write_str(url),
        }
    }
}
