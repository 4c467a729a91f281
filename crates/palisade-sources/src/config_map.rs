//! v1 `ConfigMap`: only the texts that ban lists may have for their source.

use std::collections::BTreeMap;

use palisade_core::{BanEntry, BanPlace, BanSource, Diagnostic, Level};

use crate::feed;
use crate::tree::{Node, Value};

/// The namespace of the agents, as `deploy/` installs them. Manifests do not say which one it is.
pub const AGENT_NAMESPACE: &str = "palisade-system";

/// Its name and its texts, if it is one that a ban list may name. What is wrong with others is not ours to say.
pub fn read(tree: &Node<'_>) -> Option<(String, Vec<String>)> {
    let metadata = tree.get("metadata")?;
    let name = metadata.get_text("name").filter(|_| metadata.get_text("namespace") == Some(AGENT_NAMESPACE))?;
    let texts = tree.get("data").map_or_else(BTreeMap::new, texts);
    Some((name.to_owned(), texts.into_values().collect()))
}

/// In the order of their keys, as the API server has them.
fn texts(data: &Node<'_>) -> BTreeMap<String, String> {
    let Value::Map(entries) = &data.value else { return BTreeMap::new() };
    let text = |node: &Node<'_>| match &node.value {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    };
    entries.iter().filter_map(|(key, node)| Some((key.text.to_string(), text(node)?))).collect()
}

/// What a source holds as far as these `ConfigMaps` tell, and what is wrong with it.
pub fn entries(source: &BanSource, config_maps: &BTreeMap<String, Vec<String>>) -> (Vec<BanEntry>, Vec<Diagnostic>) {
    let BanPlace::ConfigMap(name) = &source.place else {
        let message = format!("verdicts leave out what {} bans: agents alone read it", source.place);
        return (Vec::new(), vec![Diagnostic::new(Level::Warning, message)]);
    };
    let Some(texts) = config_maps.get(&**name) else {
        let message =
            format!("verdicts leave out what ConfigMap {AGENT_NAMESPACE}/{name} bans: it is not in the input");
        return (Vec::new(), vec![Diagnostic::new(Level::Warning, message)]);
    };
    match feed::read(&texts.join("\n"), &source.limits, None) {
        Ok(feed) if feed.skipped.lines == 0 => (feed.entries, Vec::new()),
        Ok(feed) => {
            let message = format!("ConfigMap {AGENT_NAMESPACE}/{name}: {}", feed.skipped);
            (feed.entries, vec![Diagnostic::new(Level::Warning, message)])
        }
        Err(error) => {
            let effect = Some("the list bans nothing of it".to_string());
            let message = format!("ConfigMap {AGENT_NAMESPACE}/{name}: {error}");
            (Vec::new(), vec![Diagnostic { effect, ..Diagnostic::new(Level::Error, message) }])
        }
    }
}
