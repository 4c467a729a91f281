//! The addresses as they are now, asked for once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use palisade_agent::{Timestamp, chain};
use palisade_sources::node_allowlist::{ClusterSource, NodeAllowlist};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Addresses;
use crate::cluster::{Cluster, ClusterState, Event, News};
use crate::follow::follow;
use crate::run::Message;
use crate::store::Store;

/// An API server has to answer within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an export comes to.
#[derive(Debug)]
pub struct Exported {
    /// The addresses of the nodes, and `staticCIDRs`.
    pub addresses: Addresses,
    /// What people are told, each with its cluster.
    pub warnings: Vec<String>,
}

/// Why there is no list. Half of one would shut nodes out.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A cluster does not tell its nodes, and nothing is known of it.
    #[error("cluster {cluster} does not tell its nodes, and nothing is known of it from before: {error}")]
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
    /// The runtime cannot be started.
    #[error("cannot start the async runtime")]
    Io(#[from] io::Error),
}

/// Asks every cluster once; what is not told is as it was known in this state directory. Nothing is changed: neither in the kernel, nor on
/// disk.
///
/// # Errors
///
/// If a cluster neither tells its nodes nor is known, or has too few.
pub fn export(list: &NodeAllowlist, state_dir: &Path) -> Result<Exported, ExportError> {
    let mut exported = Exported { addresses: Addresses::of(&list.name, &list.static_cidrs), warnings: Vec::new() };
    let before = Store::at(state_dir).load().unwrap_or_else(|error| {
        exported.warnings.push(format!("what was known before is not used: {}", chain(&error)));
        None
    });
    let mut before = before.map(|state| state.clusters).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async {
        let (sender, inbox) = mpsc::channel(1024);
        let followed = list.clusters.iter().enumerate().map(|(number, source)| follow(number, source, &sender));
        tokio::select! {
            asked = ask(list, inbox) => asked,
            _ = join_all(followed) => Vec::new(),
        }
    });
    for Asked { cluster, failure, warnings, .. } in asked {
        exported.warnings.extend(warnings);
        let cluster = match failure {
            Some(error) => known(list, &cluster, &mut before, &error, &mut exported.warnings)?,
            None => cluster,
        };
        let (nodes, least) = (cluster.staying(), list.safety.min_nodes);
        if nodes < least {
            return Err(ExportError::TooFew { cluster: cluster.name().clone(), nodes, least });
        }
        exported.addresses.add(&cluster);
    }
    Ok(exported)
}

/// A cluster that does not tell, as it was known before.
fn known(
    list: &NodeAllowlist,
    cluster: &Cluster,
    before: &mut BTreeMap<Arc<str>, ClusterState>,
    error: &str,
    warnings: &mut Vec<String>,
) -> Result<Cluster, ExportError> {
    let name = cluster.name();
    let known = before.remove(name).and_then(|state| Some((state.listed?, state)));
    let Some((listed, state)) = known else {
        return Err(ExportError::Failed { cluster: name.clone(), error: error.to_string() });
    };
    warnings
        .push(format!("cluster {name} is as it was listed at {listed:.0}, since it does not tell its nodes: {error}"));
    Ok(Cluster::new(cluster.source().clone(), list.safety.clone(), state))
}

/// What became of asking a cluster.
struct Asked {
    cluster: Cluster,
    failure: Option<String>,
    is_over: bool,
    warnings: Vec<String>,
}

/// Asks all clusters, for a while.
async fn ask(list: &NodeAllowlist, mut inbox: mpsc::Receiver<Message>) -> Vec<Asked> {
    let new = |source: &ClusterSource| {
        let cluster = Cluster::new(source.clone(), list.safety.clone(), ClusterState::default());
        let silent = format!("no answer within {} seconds", PATIENCE.as_secs());
        Asked { cluster, failure: Some(silent), is_over: false, warnings: Vec::new() }
    };
    let mut asked: Vec<Asked> = list.clusters.iter().map(new).collect();
    let all = async {
        while asked.iter().any(|asked| !asked.is_over) {
            let Some(message) = inbox.recv().await else { break };
            if let Message::Cluster(number, event) = message
                && let Some(asked) = asked.get_mut(number).filter(|asked| !asked.is_over)
            {
                asked.take(event);
            }
        }
    };
    // What is not over by then keeps its failure.
    let _ = timeout(PATIENCE, all).await;
    asked
}

impl Asked {
    fn take(&mut self, event: Event) {
        let is_whole = event == Event::ListEnds;
        for news in self.cluster.take(event, Timestamp::now()) {
            match news {
                News::Failed(error) => (self.failure, self.is_over) = (Some(error), true),
                news if news.is_warning() => self.warnings.push(format!("cluster {}: {news}", self.cluster.name())),
                _ => {}
            }
        }
        if is_whole {
            (self.failure, self.is_over) = (None, true);
        }
    }
}
