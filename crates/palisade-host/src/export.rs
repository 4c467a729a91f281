//! The addresses as a list, for firewalls of others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use palisade_agent::Timestamp;
use palisade_sources::node_allowlist::NodeAllowlist;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cluster::{Cluster, ClusterState, Event, News};
use crate::follow::follow;
use crate::run::Message;

/// Every API server has to answer within this.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an export comes to.
#[derive(Debug)]
pub struct Exported {
    /// The addresses of the nodes, and `staticCIDRs`.
    pub addresses: BTreeSet<IpNet>,
    /// What people are told, each with its cluster.
    pub warnings: Vec<String>,
}

/// Why there is no list. Half of one would shut nodes out.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A cluster does not tell its nodes.
    #[error("cluster {cluster} does not tell its nodes: {error}")]
    Failed {
        /// Which.
        cluster: Arc<str>,
        /// Why not.
        error: String,
    },
    /// A cluster tells fewer nodes than there have to be.
    #[error("cluster {cluster} has {nodes} nodes with addresses, and minNodes is {least}")]
    TooFew {
        /// Which.
        cluster: Arc<str>,
        /// How many.
        nodes: usize,
        /// How many there have to be.
        least: usize,
    },
    /// The API servers do not answer in time.
    #[error("an API server does not answer within a minute")]
    Silent,
    /// The runtime cannot be started.
    #[error("cannot start the async runtime")]
    Io(#[from] io::Error),
}

/// Asks every cluster once. Nothing is changed: neither in the kernel, nor on disk.
///
/// # Errors
///
/// If a cluster does not tell its nodes, or too few.
pub fn export(list: &NodeAllowlist) -> Result<Exported, ExportError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (sender, inbox) = mpsc::channel(1024);
        let followed = list.clusters.iter().enumerate().map(|(number, source)| follow(number, source, &sender));
        tokio::select! {
            exported = timeout(PATIENCE, collect(list, inbox)) => exported.map_err(|_| ExportError::Silent)?,
            _ = join_all(followed) => Err(ExportError::Silent),
        }
    })
}

async fn collect(list: &NodeAllowlist, mut inbox: mpsc::Receiver<Message>) -> Result<Exported, ExportError> {
    let mut open: BTreeMap<usize, Cluster> = list
        .clusters
        .iter()
        .map(|source| Cluster::new(source.clone(), list.safety.clone(), ClusterState::default()))
        .enumerate()
        .collect();
    let mut exported = Exported { addresses: list.static_cidrs.iter().copied().collect(), warnings: Vec::new() };
    while !open.is_empty() {
        let Some(Message::Cluster(number, event)) = inbox.recv().await else { return Err(ExportError::Silent) };
        let Some(mut cluster) = open.remove(&number) else { continue };
        let is_whole = event == Event::ListEnds;
        for news in cluster.take(event, Timestamp::now()) {
            match news {
                News::Failed(error) => return Err(ExportError::Failed { cluster: cluster.name().clone(), error }),
                news if news.is_warning() => exported.warnings.push(format!("cluster {}: {news}", cluster.name())),
                _ => {}
            }
        }
        if !is_whole {
            open.insert(number, cluster);
            continue;
        }
        let (nodes, least) = (cluster.staying(), list.safety.min_nodes);
        if nodes < least {
            return Err(ExportError::TooFew { cluster: cluster.name().clone(), nodes, least });
        }
        exported.addresses.extend(cluster.admitted());
    }
    Ok(exported)
}
