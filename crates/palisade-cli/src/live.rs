//! The objects of a running cluster, as `kubectl get --output json` would print them: read only, and each kind as of a moment of its own.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use kube::api::{ListParams, Request};
use palisade_sources::{SourceFile, SourceText};
use serde::Deserialize;

use crate::output::Hinted;

/// What is read, as `kubectl` names it, and where it is served.
const KINDS: [(&str, &str); 5] = [
    ("namespaces", "/api/v1/namespaces"),
    ("nodes", "/api/v1/nodes"),
    ("pods", "/api/v1/pods"),
    ("services", "/api/v1/services"),
    ("networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies"),
];
/// Kinds of Palisade, which a cluster need not have.
const OURS: [(&str, &str); 2] = [
    ("hostpolicies", "/apis/palisade.dev/v1alpha1/hostpolicies"),
    ("banlists", "/apis/palisade.dev/v1alpha1/banlists"),
];
/// What checks ask besides: pods that are to come, who leads there from outside, where the API server is and whom it calls. A cluster need
/// not have any of them.
const ASKED_BY_CHECKS: [(&str, &str); 13] = [
    ("deployments", "/apis/apps/v1/deployments"),
    ("statefulsets", "/apis/apps/v1/statefulsets"),
    ("daemonsets", "/apis/apps/v1/daemonsets"),
    ("cronjobs", "/apis/batch/v1/cronjobs"),
    ("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("validatingwebhookconfigurations", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"),
    ("mutatingwebhookconfigurations", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"),
    ("ingresses", "/apis/networking.k8s.io/v1/ingresses"),
    ("httproutes", "/apis/gateway.networking.k8s.io/v1/httproutes"),
    ("grpcroutes", "/apis/gateway.networking.k8s.io/v1/grpcroutes"),
    ("routes", "/apis/route.openshift.io/v1/routes"),
    ("virtualservices", "/apis/networking.istio.io/v1/virtualservices"),
    ("httpproxies", "/apis/projectcontour.io/v1/httpproxies"),
];
/// How many objects are asked for at once.
const PAGE: u32 = 500;

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArguments {
    /// Instead of manifests: what the cluster has that kubectl talks to; nothing is changed in it
    #[arg(long, conflicts_with = "paths", help_heading = CLUSTER)]
    pub cluster: bool,

    /// With --cluster: the kubeconfig
    #[arg(long, value_name = "FILE", requires = "cluster", help_heading = CLUSTER)]
    kubeconfig: Option<PathBuf>,

    /// With --cluster: the context of the kubeconfig
    #[arg(long, value_name = "NAME", requires = "cluster", help_heading = CLUSTER)]
    context: Option<String>,
}

/// The heading of these options.
const CLUSTER: &str = "From a running cluster";

/// What of a list says how it goes on.
#[derive(Deserialize)]
struct Head {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// The objects of the cluster that verdicts rest on, a text for each page of a kind. When this returns no thread of it is left.
pub fn read(arguments: &ClusterArguments) -> anyhow::Result<Vec<SourceText>> {
    lists(arguments, &OURS)
}

/// The same with what checks ask besides.
pub fn read_for_checks(arguments: &ClusterArguments) -> anyhow::Result<Vec<SourceText>> {
    lists(arguments, &[&OURS[..], &ASKED_BY_CHECKS].concat())
}

/// The objects of [`KINDS`], and of further kinds where the cluster has them.
fn lists(arguments: &ClusterArguments, further: &[(&str, &str)]) -> anyhow::Result<Vec<SourceText>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the async runtime")?.block_on(async {
        let client = palisade_agent::client(arguments.kubeconfig.as_deref(), arguments.context.as_deref()).await?;
        let mut texts = Vec::new();
        for (name, path) in KINDS {
            texts.extend(list(&client, path).await.map_err(|error| refused(name, error))?);
        }
        for (name, path) in further {
            match list(&client, path).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                found => texts.extend(found.map_err(|error| refused(name, error))?),
            }
        }
        Ok(texts)
    })
}

/// All objects of a kind, in pages.
async fn list(client: &Client, path: &str) -> Result<Vec<SourceText>, kube::Error> {
    let mut pages = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let request = Request::new(path).list(&params).map_err(kube::Error::BuildRequest)?;
        let text = client.request_text(request).await?;
        let head: Head = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        pages.push(SourceText { file: SourceFile::Listed, text });
        match head.metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(pages),
        }
    }
}

fn refused(name: &str, error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => {
            let message = format!("the API server does not list {name}: {} ({})", status.message, status.code);
            let hint = format!("'kubectl auth can-i list {name} --all-namespaces' is to say yes");
            Hinted { message, hint }.into()
        }
        error => anyhow::Error::new(error).context(format!("cannot list {name}")),
    }
}
