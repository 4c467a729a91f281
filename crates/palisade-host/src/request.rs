//! What people ask of a running `palisade host`: files in its state directory, which it takes away when it has done so.
//!
//! Whoever may write there may change the list anyway. A request without a program that takes it waits for the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_agent::chain;
use palisade_agent::file_news::Changes;
use palisade_agent::files::{self, FileError};
use tokio::sync::mpsc;

use crate::run::Message;
use crate::store::{State, Store};

const ACCEPT: &str = "accept.json";
const CONFIRM: &str = "confirm";
/// Files are looked for so often at least, and a thread that nobody listens to ends within this.
const INTERVAL: Duration = Duration::from_secs(5);

/// Nodes of clusters that may go whatever `safety` says.
pub type Accepted = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be written as JSON.
    #[error("the request cannot be written")]
    Json(#[from] serde_json::Error),
}

/// The nodes that stay in spite of what the API servers say, of one cluster or of all.
pub fn kept(state: &State, cluster: Option<&str>) -> Accepted {
    let clusters = state.clusters.iter().filter(|(name, _)| cluster.is_none_or(|wanted| wanted == name.as_ref()));
    let kept = clusters.map(|(name, cluster)| {
        let leaving = cluster.nodes.iter().filter(|(_, known)| cluster.too_few.is_some() && !known.is_staying());
        let names = leaving.map(|(name, _)| Arc::clone(name)).chain(cluster.doubted.iter().cloned());
        (Arc::clone(name), names.collect::<BTreeSet<_>>())
    });
    kept.filter(|(_, names)| !names.is_empty()).collect()
}

/// Asks that these nodes go, and no others: what an API server says by then may be another thing.
///
/// # Errors
///
/// If the state directory cannot be written to.
pub fn accept(store: &Store, nodes: &Accepted) -> Result<(), RequestError> {
    Ok(files::replace(&store.file(ACCEPT), &serde_json::to_vec(nodes)?)?)
}

/// Says that the rules may stay.
///
/// # Errors
///
/// If the state directory cannot be written to.
pub fn confirm(store: &Store) -> Result<(), RequestError> {
    Ok(files::replace(&store.file(CONFIRM), b"")?)
}

/// A confirmation from before the start says nothing of what comes.
pub(crate) fn forget_confirmation(store: &Store) -> Result<(), FileError> {
    files::remove(&store.file(CONFIRM))
}

/// Hands on what is asked, for as long as somebody listens.
pub(crate) fn listen(files: &[PathBuf; 2], inbox: &mpsc::Sender<Message>) {
    let [accept, confirm] = files;
    let mut changes = Changes::of(files, "requests");
    while !inbox.is_closed() {
        if let Some(text) = take(accept) {
            match serde_json::from_slice(&text) {
                Ok(nodes) => drop(inbox.blocking_send(Message::Accept(nodes))),
                Err(error) => tracing::error!("{} is no request: {error}", accept.display()),
            }
        }
        if take(confirm).is_some() {
            drop(inbox.blocking_send(Message::Confirm));
        }
        changes.wait_at_most(INTERVAL);
    }
}

/// What the files are that [`listen`] looks at.
pub(crate) fn paths(store: &Store) -> [PathBuf; 2] {
    [store.file(ACCEPT), store.file(CONFIRM)]
}

/// The content of a file that is there, and is not afterwards.
fn take(path: &Path) -> Option<Vec<u8>> {
    let taken = files::read(path).and_then(|text| text.map(|text| files::remove(path).map(|()| text)).transpose());
    taken.unwrap_or_else(|error| {
        tracing::error!("a request is not seen: {}", chain(&error));
        None
    })
}
