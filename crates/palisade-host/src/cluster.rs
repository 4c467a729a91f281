//! What is believed of a cluster: which of its nodes are admitted, by which addresses, and until when.
//!
//! A function of what its API server says and of the time, and nothing else. Nodes join at once. They leave some time after they are
//! gone, since the address of one that comes back is the same, and only as far as `safety` lets them: a node whose deletion was seen is
//! gone, while one that a list merely lacks may be an error of whoever made the list.

mod address;
mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_agent::Timestamp;
use palisade_compile::selects;
use palisade_sources::node_allowlist::{AddressType, ClusterSource, OnStale, Safety};
use serde::{Deserialize, Serialize};

use address::judge;
pub use address::shown;
pub use news::{Event, News, Observed, Refusal};

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its addresses that are admitted.
    pub addresses: BTreeMap<IpNet, Stay>,
    /// Its addresses that are not.
    pub refused: Vec<Refusal>,
}

/// How long an address is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// Of which kind it is.
    #[serde(with = "address::type_name")]
    pub kind: AddressType,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` while the node has it.
    pub until: Option<Timestamp>,
}

/// What is known of a cluster, for people and for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterState {
    /// When a list was complete last.
    pub listed: Option<Timestamp>,
    /// Why the API server does not tell more, if so.
    pub error: Option<String>,
    /// Since when, if so.
    pub failing_since: Option<Timestamp>,
    /// Why nodes stay that the last list lacked, if so.
    pub lacking: Option<String>,
    /// Which they are.
    pub doubted: BTreeSet<Arc<str>>,
    /// Why nodes stay whose time has passed, if so.
    pub too_few: Option<String>,
    /// Nodes that may go whatever `safety` says, since somebody said so.
    pub accepted: BTreeSet<Arc<str>>,
    /// The nodes.
    pub nodes: BTreeMap<Arc<str>, Known>,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    source: ClusterSource,
    safety: Safety,
    state: ClusterState,
    /// The nodes of the list that is under way; with them those that it has and that are not selected.
    listing: Option<BTreeSet<Arc<str>>>,
    /// Whether the state may be another than when somebody asked last.
    is_changed: bool,
}

impl Cluster {
    /// As it was when somebody looked last.
    pub fn new(source: ClusterSource, safety: Safety, before: ClusterState) -> Cluster {
        let mut cluster = Cluster { source, safety, state: before, listing: None, is_changed: true };
        // The file may admit less than it did.
        let (source, within) = (&cluster.source, &cluster.safety.within);
        for known in cluster.state.nodes.values_mut() {
            let holds =
                |net: &IpNet, stay: &mut Stay| source.admits(stay.kind) && judge(&net.to_string(), within).is_ok();
            known.addresses.retain(holds);
        }
        cluster
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.source.name
    }

    /// What the list says of it.
    pub fn source(&self) -> &ClusterSource {
        &self.source
    }

    /// What is known of it.
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// What is admitted.
    pub fn admitted(&self) -> impl Iterator<Item = IpNet> {
        self.state.nodes.values().flat_map(|known| known.addresses.keys().copied())
    }

    /// Whether the state may be another than when this was asked last. A kubelet writes its Node every few minutes though nothing is new.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Takes in what happened.
    pub fn take(&mut self, event: Event, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        self.is_changed |= match &event {
            Event::ListBegins | Event::Listed(_) => false,
            Event::Put(_) | Event::Deleted(_) => self.state.error.is_some() || !self.state.doubted.is_empty(),
            Event::ListEnds | Event::Failed(_) => true,
        };
        match event {
            Event::ListBegins => self.listing = Some(BTreeSet::new()),
            Event::Listed(node) => {
                if let Some(seen) = &mut self.listing {
                    seen.insert(Arc::clone(&node.name));
                }
                self.put(&node, now, &mut news);
            }
            Event::Put(node) => {
                self.is_told();
                self.state.doubted.remove(&node.name);
                self.put(&node, now, &mut news);
                self.leave_lacking(now, &mut news);
            }
            Event::Deleted(name) => {
                self.is_told();
                self.leave(&name, now, &mut news);
                self.leave_lacking(now, &mut news);
            }
            Event::ListEnds => self.list_ends(now, &mut news),
            Event::Failed(error) => {
                self.listing = None;
                if self.state.error.as_ref() != Some(&error) {
                    news.push(News::Failed(error.clone()));
                }
                self.state.error = Some(error);
                self.state.failing_since.get_or_insert(now);
            }
        }
        news.extend(self.expire(now));
        news
    }

    /// Lets the nodes go that are doubted as of now, or stay too long, whatever `safety` says; their delay begins now.
    pub fn accept(&mut self, names: &BTreeSet<Arc<str>>, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        self.is_changed = true;
        let is_leaving = |known: &Known| !known.is_staying();
        let known = names
            .iter()
            .filter(|name| self.state.doubted.contains(*name) || self.state.nodes.get(*name).is_some_and(is_leaving));
        self.state.accepted = known.cloned().collect();
        for name in self.state.accepted.clone() {
            if self.state.doubted.remove(&name) {
                self.leave(&name, now, &mut news);
            }
        }
        self.leave_lacking(now, &mut news);
        news.extend(self.expire(now));
        news
    }

    /// Lets go of what has stayed long enough, unless too few nodes would be left.
    pub fn expire(&mut self, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        // A list that is under way tells something, if it comes to its end.
        if self.listing.is_none() && self.is_stale(now) {
            self.let_go(&mut news, |_, _| true);
            if !news.is_empty() {
                news.push(News::Stale);
            }
        }
        let before = self.state.too_few.take();
        let (staying, least) = (self.staying(), self.safety.min_nodes);
        let is_due = |stay: &Stay| stay.until.is_some_and(|until| until <= now);
        let accepted = std::mem::take(&mut self.state.accepted);
        self.let_go(&mut news, |name, stay| is_due(stay) && (staying >= least || accepted.contains(name)));
        self.state.accepted = accepted.into_iter().filter(|name| self.state.nodes.contains_key(name)).collect();
        if self.state.nodes.values().flat_map(|known| known.addresses.values()).any(is_due) {
            let why = format!("nodes that are gone stay admitted: {staying} would be left, and minNodes is {least}");
            if before.as_ref() != Some(&why) {
                news.push(News::Kept(why.clone()));
            }
            self.state.too_few = Some(why);
        }
        self.is_changed |= !news.is_empty() || self.state.too_few != before;
        news
    }

    /// When the next address is to be let go.
    pub fn next(&self) -> Option<Timestamp> {
        let stays = self.state.nodes.values().flat_map(|known| known.addresses.values());
        stays.filter_map(|stay| stay.until).chain(self.stale_at()).min()
    }

    /// When all nodes leave if the API server goes on telling nothing.
    fn stale_at(&self) -> Option<Timestamp> {
        let (since, OnStale::Remove(patience)) = (self.state.failing_since?, self.safety.on_stale) else { return None };
        Some(until(since, patience))
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.stale_at().is_some_and(|at| at <= now)
    }

    /// Takes out the addresses of which this holds.
    fn let_go(&mut self, news: &mut Vec<News>, is_over: impl Fn(&Arc<str>, &Stay) -> bool) {
        for (name, known) in &mut self.state.nodes {
            known.addresses.retain(|net, stay| {
                let leaves = is_over(name, stay);
                if leaves {
                    news.push(News::Left(Arc::clone(name), *net));
                }
                !leaves
            });
        }
        self.state.nodes.retain(|_, known| !known.addresses.is_empty() || !known.refused.is_empty());
    }

    /// The API server tells something.
    fn is_told(&mut self) {
        (self.state.error, self.state.failing_since) = (None, None);
    }

    /// How many nodes are there, as far as is known.
    pub fn staying(&self) -> usize {
        self.state.nodes.values().filter(|known| known.is_staying()).count()
    }

    fn put(&mut self, node: &Observed, now: Timestamp, news: &mut Vec<News>) {
        if !selects(&self.source.nodes, &node.labels) {
            return self.leave(&node.name, now, news);
        }
        self.is_changed |= self.state.accepted.remove(&node.name);
        let before = self.state.nodes.get(&node.name).cloned();
        let wanted = node.addresses.iter().filter(|(kind, _)| self.source.admits(*kind));
        let (mut admitted, mut refused) = (BTreeMap::new(), Vec::new());
        for (kind, text) in wanted {
            match judge(text, &self.safety.within) {
                Ok(net) => drop(admitted.entry(net).or_insert(*kind)),
                Err(reason) => refused.push(Refusal { address: text.clone(), reason }),
            }
        }
        let until = until(now, self.safety.remove_delay);
        let known = self.state.nodes.entry(Arc::clone(&node.name)).or_default();
        // A node that is there and has no address yet, or none for a moment, has not given up those it had.
        if !node.addresses.is_empty() {
            for (net, stay) in known.addresses.iter_mut().filter(|(net, _)| !admitted.contains_key(net)) {
                leave_address(&node.name, *net, stay, until, news);
            }
        }
        for (net, kind) in admitted {
            let stay = known.addresses.entry(net).or_insert_with(|| {
                news.push(News::Joined(Arc::clone(&node.name), net));
                Stay { kind, since: now, until: None }
            });
            *stay = Stay { kind, until: None, ..*stay };
        }
        let new = refused.iter().filter(|refusal| !known.refused.contains(refusal));
        news.extend(new.map(|refusal| News::Refused(Arc::clone(&node.name), refusal.clone())));
        known.refused = refused;
        self.is_changed |= before.as_ref() != Some(&*known);
    }

    fn leave(&mut self, name: &Arc<str>, now: Timestamp, news: &mut Vec<News>) {
        let until = until(now, self.safety.remove_delay);
        let Some(known) = self.state.nodes.get_mut(name) else { return };
        self.is_changed = true;
        known.refused.clear();
        for (net, stay) in &mut known.addresses {
            leave_address(name, *net, stay, until, news);
        }
        if known.addresses.is_empty() {
            self.state.nodes.remove(name);
        }
    }

    fn list_ends(&mut self, now: Timestamp, news: &mut Vec<News>) {
        let Some(seen) = self.listing.take() else { return };
        self.is_told();
        self.state.listed = Some(now);
        // Of whom nothing is admitted, nothing stays.
        self.state.nodes.retain(|name, known| seen.contains(name) || !known.addresses.is_empty());
        let names = self.state.nodes.keys();
        self.state.doubted = names.filter(|name| !seen.contains(*name)).cloned().collect();
        self.leave_lacking(now, news);
    }

    /// Nodes that the last list lacked are gone, if it is to be believed: as far as is known now.
    fn leave_lacking(&mut self, now: Timestamp, news: &mut Vec<News>) {
        let nodes = &self.state.nodes;
        self.state.doubted.retain(|name| nodes.get(name).is_some_and(Known::is_staying));
        let (lost, staying) = (self.state.doubted.len(), self.staying());
        let Safety { min_nodes, max_shrink_percent, .. } = self.safety;
        let doubt = if lost == 0 {
            None
        } else if staying - lost < min_nodes {
            Some(format!("minNodes is {min_nodes}"))
        } else if lost * 100 > staying * usize::from(max_shrink_percent) {
            Some(format!("maxShrinkPercent is {max_shrink_percent}"))
        } else {
            None
        };
        let before = self.state.lacking.take();
        let Some(doubt) = doubt else {
            for name in std::mem::take(&mut self.state.doubted) {
                self.leave(&name, now, news);
            }
            return;
        };
        let why = format!("the list lacks {lost} of {staying} nodes, which stay admitted: {doubt}");
        if before.as_ref() != Some(&why) {
            news.push(News::Kept(why.clone()));
        }
        self.state.lacking = Some(why);
    }
}

impl Known {
    /// Whether it has an address that it is not about to lose.
    pub fn is_staying(&self) -> bool {
        self.addresses.values().any(|stay| stay.until.is_none())
    }
}

fn leave_address(name: &Arc<str>, net: IpNet, stay: &mut Stay, until: Timestamp, news: &mut Vec<News>) {
    if stay.until.is_none() {
        stay.until = Some(until);
        news.push(News::Leaves(Arc::clone(name), net));
    }
}

/// When a delay is over; a time beyond all time is never.
fn until(now: Timestamp, delay: Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
