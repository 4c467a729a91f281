//! What is told of bans, by the agent of a node or from what the API server has.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use palisade_core::{BanEntry, BanList, Snapshot};
use palisade_sim::{Standing, standings};
use serde::{Deserialize, Serialize};

/// What is banned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldEntry {
    /// The block.
    pub cidr: IpNet,
    /// Until when; `None` is for ever.
    pub expires_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Whether it comes from the source of its list.
    pub from_source: bool,
}

/// An entry and the list that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedEntry {
    /// The entry.
    #[serde(flatten)]
    pub entry: ToldEntry,
    /// The list.
    pub list: String,
    /// Whether the list drops nothing.
    pub audit: bool,
    /// The pods that it is for; `None` is everybody.
    pub target: Option<String>,
}

/// Whether an address is banned, and what each list that names it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether it is banned for every pod and every node.
    pub banned: bool,
    /// The lists that name it.
    pub lists: Vec<ToldStanding>,
}

/// What a list that names an address makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldStanding {
    /// The list.
    pub list: String,
    /// Whether it drops nothing.
    pub audit: bool,
    /// The pods that it is for; `None` is everybody.
    pub target: Option<String>,
    /// Its entries that hold the address.
    pub entries: Vec<ToldEntry>,
    /// Why the address is not banned all the same.
    pub spared: Option<String>,
}

impl ToldEntry {
    fn of(entry: &BanEntry) -> ToldEntry {
        ToldEntry {
            cidr: entry.cidr,
            expires_at: entry.expires.and_then(|expires| Timestamp::from_second(expires).ok()),
            reason: entry.reason.as_deref().map(str::to_owned),
            from_source: entry.from_source,
        }
    }
}

impl ListedEntry {
    /// All entries of a list.
    pub fn all_of(list: &BanList) -> impl Iterator<Item = ListedEntry> {
        let target = list.target.as_ref().map(ToString::to_string);
        list.all_entries().map(move |entry| ListedEntry {
            entry: ToldEntry::of(entry),
            list: list.name.to_string(),
            audit: list.audit,
            target: target.clone(),
        })
    }
}

impl ToldAddress {
    /// What the lists of a cluster say of an address.
    pub fn of(snapshot: &Snapshot, address: IpAddr) -> ToldAddress {
        let standings = standings(snapshot, address);
        ToldAddress {
            address,
            banned: standings.iter().any(|standing| standing.bans() && standing.target.is_none()),
            lists: standings.iter().map(ToldStanding::of).collect(),
        }
    }

    /// No list bans it here, whatever they say, since it is protected.
    #[must_use]
    pub fn protected(self, why: &str) -> ToldAddress {
        let spared = |standing: ToldStanding| ToldStanding {
            spared: standing.spared.or_else(|| Some(why.to_owned())),
            ..standing
        };
        ToldAddress { banned: false, lists: self.lists.into_iter().map(spared).collect(), ..self }
    }
}

impl ToldStanding {
    fn of(standing: &Standing) -> ToldStanding {
        ToldStanding {
            list: standing.list.to_string(),
            audit: standing.audit,
            target: standing.target.as_ref().map(ToString::to_string),
            entries: standing.entries.iter().map(ToldEntry::of).collect(),
            spared: standing.spared.as_ref().map(ToString::to_string),
        }
    }

    /// Whether the list bans the address, for whomever it is.
    pub fn bans(&self) -> bool {
        self.spared.is_none() && !self.audit
    }
}

impl fmt::Display for ToldStanding {
    /// `BanList abuse: 203.0.113.0/24 (scans)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BanList {}{}", self.list, if self.audit { " (audit)" } else { "" })?;
        if let Some(target) = &self.target {
            write!(f, ", for {target}")?;
        }
        if let Some(spared) = &self.spared {
            return write!(f, ": spared, {spared}");
        }
        let entries: Vec<String> = self.entries.iter().map(ToString::to_string).collect();
        write!(f, ": {}", entries.join(", "))
    }
}

impl fmt::Display for ToldEntry {
    /// As the entry that it tells of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ToldEntry { cidr, ref reason, from_source, .. } = *self;
        BanEntry { cidr, expires: None, reason: reason.as_deref().map(Arc::from), from_source }.fmt(f)
    }
}
