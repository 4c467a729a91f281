//! The options of lists and watches, and lists themselves (`docs/reference/using-api/api-concepts` of Kubernetes).

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    resource::Resource,
    selector::Selection,
    store::{Key, Object, Store},
};

/// What a list or watch asks for.
#[derive(Clone, Debug)]
pub(crate) struct ListOptions {
    pub namespace: Option<String>,
    pub selection: Selection,
    pub form: Form,
    pub resource_version: Option<u64>,
    pub version_match: Option<VersionMatch>,
    limit: Option<usize>,
    continued: Option<(u64, Key)>,
    pub send_initial_events: bool,
    pub bookmarks: bool,
    pub timeout_s: Option<u64>,
}

/// The meaning of the stated resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// How much of each object is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Form {
    pub fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accepted.contains("as=PartialObjectMetadata") { Self::Metadata } else { Self::Full }
    }

    /// Appends the whole object.
    pub fn write(self, object: &Object, text: &mut Vec<u8>) {
        match self {
            Self::Full => text.extend_from_slice(&object.text),
            Self::Metadata => {
                let head = json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1" });
                let mut partial = head;
                partial["metadata"] = object.value()["metadata"].take();
                text.extend_from_slice(partial.to_string().as_bytes());
            }
        }
    }
}

impl ListOptions {
    /// Reads the query of a request.
    pub fn parse(
        resource: &Resource,
        namespace: Option<String>,
        query: &BTreeMap<String, String>,
        form: Form,
    ) -> Result<Self, Failure> {
        let text = |name: &str| query.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let flag = |name: &str| matches!(text(name), Some("true" | "1"));
        let number = |name: &str| match text(name).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Failure::bad_request(format!("invalid value for {name}: not a number"))),
        };
        let version_match = match text("resourceVersionMatch") {
            None => None,
            Some("Exact") => Some(VersionMatch::Exact),
            Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
            Some(_) => return Err(Failure::invalid_options("resourceVersionMatch", "Unsupported value")),
        };
        let limit = number("limit")?.filter(|limit| *limit > 0);
        Ok(Self {
            namespace,
            selection: Selection::parse(
                resource,
                text("labelSelector").unwrap_or_default(),
                text("fieldSelector").unwrap_or_default(),
            )?,
            form,
            resource_version: number("resourceVersion")?,
            version_match,
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            continued: text("continue").map(continued_from).transpose()?,
            send_initial_events: flag("sendInitialEvents"),
            bookmarks: flag("allowWatchBookmarks"),
            timeout_s: number("timeoutSeconds")?.filter(|seconds| *seconds > 0),
        })
    }

    pub fn selects(&self, key: &Key, object: &Object) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == key.0) && self.selection.matches(object)
    }

    /// The state that a list shows: its version, and the key after which it goes on.
    fn state(&self, current: u64) -> Result<(u64, Option<&Key>), Failure> {
        if let Some((version, key)) = &self.continued {
            if self.resource_version.is_some_and(|version| version > 0) {
                return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
            }
            return Ok((*version, Some(key)));
        }
        let asked = match (self.resource_version, self.version_match) {
            (None, Some(_)) => {
                let why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
                return Err(Failure::invalid_options("resourceVersionMatch", why));
            }
            (Some(0), Some(VersionMatch::Exact)) => {
                let why = "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                return Err(Failure::invalid_options("resourceVersionMatch", why));
            }
            (asked, _) => asked.unwrap_or(0),
        };
        if asked > current {
            return Err(Failure::too_large(asked, current));
        }
        // A limit with a version and no match means that version, and no newer one.
        let exact = match self.version_match {
            Some(version_match) => version_match == VersionMatch::Exact,
            None => self.limit.is_some() && asked > 0,
        };
        Ok((if exact { asked } else { current }, None))
    }
}

/// A list as JSON text.
pub(crate) fn list(store: &Store, resource: &Resource, options: &ListOptions) -> Result<Vec<u8>, Failure> {
    let collection = store.collection(&resource.id()).ok_or_else(|| Failure::not_found(resource, ""))?;
    let (version, after) = options.state(store.version())?;
    let past;
    let objects: Box<dyn Iterator<Item = (&Key, &Arc<Object>)>> = if version == store.version() {
        Box::new(collection.objects())
    } else {
        past = collection.objects_at(version).ok_or_else(|| Failure::expired_list(after.is_some()))?;
        Box::new(past.iter())
    };
    let mut selected = objects
        .skip_while(|(key, _)| after.is_some_and(|after| *key <= after))
        .filter(|(key, object)| options.selects(key, object));
    // A list of version 0 comes from the cache of the API server, which has no pages.
    let limit = options.limit.filter(|_| options.resource_version != Some(0)).unwrap_or(usize::MAX);
    let page: Vec<(&Key, &Arc<Object>)> = selected.by_ref().take(limit).collect();
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    let remaining = selected.count();
    if let (Some((last, _)), true) = (page.last(), remaining > 0) {
        metadata["continue"] = format!("{version}/{}/{}", last.0, last.1).into();
        if options.selection.is_everything() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    Ok(written(resource, options.form, &metadata, page.into_iter().map(|(_, object)| object)))
}

/// The text of a list.
pub(crate) fn written<'a>(
    resource: &Resource,
    form: Form,
    metadata: &Value,
    objects: impl Iterator<Item = &'a Arc<Object>>,
) -> Vec<u8> {
    let (kind, version) = match form {
        Form::Full => (format!("{}List", resource.kind), resource.api_version()),
        Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    let without_type = form == Form::Full && resource.is_built_in();
    let head = format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{metadata},"items":["#);
    let mut text = head.into_bytes();
    for (at, object) in objects.enumerate() {
        if at > 0 {
            text.push(b',');
        }
        if without_type {
            text.push(b'{');
            text.extend_from_slice(object.tail());
        } else {
            form.write(object, &mut text);
        }
    }
    text.extend_from_slice(b"]}");
    text
}

/// A token holds the version of the first page and the last key of the page before.
fn continued_from(token: &str) -> Result<(u64, Key), Failure> {
    let invalid = || Failure::bad_request("continue key is not valid");
    let (version, key) = token.split_once('/').ok_or_else(invalid)?;
    let (namespace, name) = key.split_once('/').ok_or_else(invalid)?;
    Ok((version.parse().map_err(|_| invalid())?, (namespace.to_owned(), name.to_owned())))
}
