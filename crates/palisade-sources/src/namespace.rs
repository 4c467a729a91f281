//! v1 `Namespace`.

use palisade_core::Namespace;

use crate::metadata::Metadata;
use crate::reading::Reading;

/// The label that the API server gives every namespace, with its name (KEP-2161).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespace with the labels of its object; one that only other objects name has none but its name.
pub fn read(name: &str, metadata: Option<Metadata>, reading: &mut Reading) -> Namespace {
    let mut namespace = Namespace { labels: metadata.map(|metadata| metadata.labels).unwrap_or_default() };
    namespace.labels.insert(reading.share(NAME_LABEL), reading.share(name));
    namespace
}
