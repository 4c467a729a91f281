//! What agents have to cover for policies as they are now.

use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};

use crate::policy_kind::PolicyKind;
use crate::policy_status::version_to_cover;

/// The resourceVersion that agents have to cover for what a policy says now; `None` if it is not there.
pub async fn version(of: PolicyKind, policies: &Api<DynamicObject>, name: &str) -> kube::Result<Option<String>> {
    Ok(match of {
        PolicyKind::Network => {
            let policy = policies.get_metadata_opt(name).await?;
            policy.map(|policy| policy.resource_version().unwrap_or_default())
        }
        PolicyKind::Host | PolicyKind::Ban => policies.get_opt(name).await?.map(|policy| version_to_cover(&policy)),
    })
}

/// The resourceVersion of the list of all policies, and of each that which [`version`] would say.
pub async fn versions(of: PolicyKind, all: &Api<DynamicObject>) -> kube::Result<(String, Vec<String>)> {
    let (listed, versions): (_, Vec<String>) = match of {
        // They may be many, and nothing but their versions is asked for.
        PolicyKind::Network => {
            let list = all.list_metadata(&ListParams::default()).await?;
            (list.metadata, list.items.iter().map(|policy| policy.resource_version().unwrap_or_default()).collect())
        }
        // The version stands in the status, which comes only with the rest.
        PolicyKind::Host | PolicyKind::Ban => {
            let list = all.list(&ListParams::default()).await?;
            (list.metadata, list.items.iter().map(version_to_cover).collect())
        }
    };
    Ok((listed.resource_version.unwrap_or_default(), versions))
}
