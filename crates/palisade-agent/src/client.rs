//! A client of the API server, from what people or the pod's service account say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// A connection on which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_secs(90);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file cannot be used.
    #[error("the kubeconfig {path} cannot be used", path = path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: KubeconfigError,
    },
    /// The file that kubectl would take cannot be used.
    #[error("the kubeconfig cannot be used")]
    DefaultKubeconfig(#[source] KubeconfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error("there is neither a kubeconfig nor the service account of a pod\nhint: --kubeconfig names one")]
    None,
    /// The client cannot be made.
    #[error("cannot make a client for the API server")]
    Client(#[source] kube::Error),
}

/// A client for the context of a kubeconfig; without either, for what kubectl would talk to.
///
/// # Errors
///
/// If the configuration is not there or not usable. The API server is not asked yet.
pub async fn client(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ClientError> {
    Client::try_from(config(kubeconfig, context).await?).map_err(ClientError::Client)
}

/// What such a client is made of.
///
/// # Errors
///
/// As for [`client`].
pub async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => {
            let failed = |source| ClientError::Kubeconfig { path: path.to_owned(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(ClientError::DefaultKubeconfig)?,
        (None, None) => Config::infer().await.map_err(|_| ClientError::None)?,
    };
    // A server that accepts and is silent must not hold up a watch for ever; bookmarks come once a minute.
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    // Whoever asks decides when to ask again, and says so meanwhile; a retry down here would look like silence.
    config.default_retry = false;
    Ok(config)
}

/// The namespace of an agent that talks to the API server like this: that of its pod, or of the context of the kubeconfig; `None` if
/// that names none.
pub fn own_namespace(kubeconfig: Option<&Path>, client: &Client) -> Option<String> {
    let Some(path) = kubeconfig else { return Some(client.default_namespace().to_owned()) };
    let Kubeconfig { contexts, current_context, .. } = Kubeconfig::read_from(path).ok()?;
    let current = contexts.into_iter().find(|context| Some(&context.name) == current_context.as_ref())?;
    current.context?.namespace.filter(|namespace| !namespace.is_empty())
}
