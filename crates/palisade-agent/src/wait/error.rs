//! Why `palisade wait` has no answer.

use kube::runtime::watcher;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// There is no usable configuration of a client.
    #[error("no API server is known")]
    Client(#[source] crate::client::ClientError),
    /// The object is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// The API server refused something.
    #[error("cannot {operation}")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        #[source]
        source: kube::Error,
    },
    /// The agents say nothing, or may not be asked.
    #[error("cannot watch what the agents say")]
    NodeStates(#[source] watcher::Error),
    /// The API server says nothing at all.
    #[error("the API server does not answer")]
    Silent,
    /// The runtime cannot be started.
    #[error("cannot start the async runtime")]
    Runtime(#[from] std::io::Error),
}

impl WaitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            WaitError::Client(_) => Some("--kubeconfig and --context name one"),
            WaitError::Missing(_) => Some("'palisade wait policy --for=delete' waits until one is gone"),
            WaitError::NodeStates(_) => Some(
                "the kind NodeState comes with 'kubectl apply -k deploy/'; listing and watching nodestates.palisade.dev must be allowed",
            ),
            WaitError::Api { .. } | WaitError::Silent | WaitError::Runtime(_) => None,
        }
    }

    /// Whether the API server answers and refuses: the kind is not there, or may not be read.
    pub(super) fn is_refusal(&self) -> bool {
        let (WaitError::Api { source, .. } | WaitError::NodeStates(watcher::Error::InitialListFailed(source))) = self
        else {
            return false;
        };
        matches!(source, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
    }
}
