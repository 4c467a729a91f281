//! A feed in `ConfigMaps`: one holds no more than a MiB, and a feed may be longer. Each part says of which text it is, so that nobody takes
//! half of one text and half of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use palisade_core::BanPlace;
use sha2::{Digest as _, Sha256};

use super::fetch::Validators;
use super::look::Look;
use crate::digest;
use crate::watch::chain;

/// The label of every part: which feed it is of.
pub const FEED: &str = "palisade.dev/feed";
/// The annotations of a part: the list and the address, for people; the text that it is of, how many parts that has, and which of them it
/// is; what the server said of it.
const LIST: &str = "palisade.dev/ban-list";
const URL: &str = "palisade.dev/url";
const DIGEST: &str = "palisade.dev/digest";
const PARTS: &str = "palisade.dev/parts";
const PART: &str = "palisade.dev/part";
const VALIDATORS: [&str; 2] = ["palisade.dev/etag", "palisade.dev/last-modified"];
/// The key of the text in a part.
const KEY: &str = "feed";
/// How long the text of a part is at most, in bytes.
const PART_BYTES: usize = 900 << 10;
/// Who writes them, as managed fields tell.
const MANAGER: &str = "palisade-feed";

/// A part as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of which feed.
    pub feed: String,
    /// Of which list.
    pub list: String,
    /// Of which text.
    digest: String,
    parts: usize,
    number: usize,
    validators: Validators,
    text: Arc<str>,
}

/// A text that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// What tells it from another.
    pub digest: String,
    /// Its parts.
    texts: Vec<Arc<str>>,
    /// What the server said of it.
    pub validators: Validators,
}

/// Puts feeds into `ConfigMaps`.
#[derive(Clone)]
pub struct Publisher {
    /// The API server.
    pub client: Client,
    /// The namespace of the agents.
    pub namespace: String,
}

impl Part {
    /// What a `ConfigMap` holds of a feed, if it does.
    pub fn of(map: &ConfigMap) -> Option<Part> {
        let note = |name: &str| map.annotations().get(name).cloned();
        Some(Part {
            feed: map.labels().get(FEED)?.clone(),
            list: note(LIST)?,
            digest: note(DIGEST)?,
            parts: note(PARTS)?.parse().ok()?,
            number: note(PART)?.parse().ok()?,
            validators: Validators { etag: note(VALIDATORS[0]), last_modified: note(VALIDATORS[1]) },
            text: map.data.as_ref()?.get(KEY)?.as_str().into(),
        })
    }
}

/// The text of a feed, if all of its parts are there.
pub fn whole<'p>(parts: impl Iterator<Item = &'p Part>) -> Option<Whole> {
    let parts: BTreeMap<usize, &Part> = parts.map(|part| (part.number, part)).collect();
    let first = *parts.get(&0)?;
    let in_order = (0..first.parts).map(|number| parts.get(&number).filter(|part| part.digest == first.digest));
    let texts: Option<Vec<Arc<str>>> = in_order.map(|part| part.map(|part| Arc::clone(&part.text))).collect();
    Some(Whole { digest: first.digest.clone(), texts: texts?, validators: first.validators.clone() })
}

impl Whole {
    /// The text.
    pub fn text(&self) -> String {
        self.texts.concat()
    }
}

/// A text that is to be published.
#[derive(Debug)]
pub struct Text {
    text: String,
    digest: String,
}

impl Text {
    /// This one. It takes its time.
    pub fn of(text: String) -> Text {
        let digest = format!("{:x}", Sha256::digest(&text));
        Text { text, digest }
    }
}

/// What stands for the feed of a list: another address is another feed.
pub fn key(list: &str, place: &BanPlace) -> String {
    digest::short(format!("{list}\0{place}"))
}

impl Publisher {
    /// Puts a text in the place of the one before.
    ///
    /// # Errors
    ///
    /// What the API server says. Until all parts are there, nobody takes any of them.
    pub async fn publish(&self, look: &Look, text: Text, validators: &Validators) -> Result<(), String> {
        let BanPlace::Http(url) = &look.source.place else { return Ok(()) };
        let feed = key(&look.list, &look.source.place);
        let Text { text, digest } = text;
        let texts = split(&text);
        let parameters = PatchParams::apply(MANAGER).force();
        for (number, text) in texts.iter().enumerate() {
            let notes = [
                (LIST, Some(look.list.to_string())),
                (URL, Some(url.to_string())),
                (DIGEST, Some(digest.clone())),
                (PARTS, Some(texts.len().to_string())),
                (PART, Some(number.to_string())),
                (VALIDATORS[0], validators.etag.clone()),
                (VALIDATORS[1], validators.last_modified.clone()),
            ];
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name_of_part(&feed, number)),
                    labels: Some([(FEED.to_owned(), feed.clone())].into()),
                    annotations: Some(
                        notes.into_iter().filter_map(|(note, text)| Some((note.to_owned(), text?))).collect(),
                    ),
                    ..ObjectMeta::default()
                },
                data: Some([(KEY.to_owned(), (*text).to_owned())].into()),
                ..ConfigMap::default()
            };
            let written = self.api().patch(&name_of_part(&feed, number), &parameters, &Patch::Apply(&map)).await;
            written.map_err(|error| format!("cannot publish it: {}", chain(&error)))?;
        }
        // Those that stay do no harm.
        let over = self.remove(|part| part.feed == feed && part.number >= texts.len()).await;
        over.map_err(|error| format!("cannot remove what is left of it: {}", chain(&error)))
    }

    /// Removes the parts of feeds that no list has any more.
    pub async fn forget(self, feeds: BTreeSet<String>) {
        if let Err(error) = self.remove(|part| feeds.contains(&part.feed)).await {
            tracing::warn!("parts of feeds are left that no list has any more: {}", chain(&error));
        }
    }

    async fn remove(&self, is_over: impl Fn(&Part) -> bool) -> kube::Result<()> {
        let maps = self.api().list(&ListParams::default().labels(FEED)).await?;
        for map in maps.items.iter().filter(|map| Part::of(map).is_some_and(|part| is_over(&part))) {
            self.api().delete(&map.name_any(), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn name_of_part(feed: &str, part: usize) -> String {
    format!("ban-list-{feed}-{part}")
}

/// Parts of a text that end with lines, but for lines that are longer than a part.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > PART_BYTES {
        let end = rest.as_bytes()[..PART_BYTES].iter().rposition(|byte| *byte == b'\n').map(|newline| newline + 1);
        let (part, after) = rest.split_at(end.unwrap_or_else(|| rest.floor_char_boundary(PART_BYTES)));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, digest: &str, number: usize, parts: usize) -> Part {
        Part {
            feed: "f".to_owned(),
            list: "l".to_owned(),
            digest: digest.to_owned(),
            parts,
            number,
            validators: Validators::default(),
            text: text.into(),
        }
    }

    #[test]
    fn half_of_one_text_and_half_of_another_are_none() {
        let check = |parts: &[Part], expected: Option<&str>| {
            assert_eq!(whole(parts.iter()).map(|whole| whole.text()).as_deref(), expected, "{parts:?}");
        };
        let old = [part("a", "old", 0, 2), part("b", "old", 1, 2)];
        check(&old, Some("ab"));
        check(&old[..1], None);
        check(&old[1..], None);
        check(&[part("c", "new", 0, 2), old[1].clone()], None);
        check(&[part("c", "new", 0, 1), old[1].clone()], Some("c"));
        check(&[], None);
    }

    #[test]
    fn a_text_is_its_parts() {
        for text in [String::new(), "192.0.2.1\n".repeat(200_000), "ü".repeat(PART_BYTES)] {
            let parts = split(&text);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES));
            assert_eq!(parts.concat(), text);
        }
        let lines = "192.0.2.1\n".repeat(200_000);
        assert!(split(&lines).iter().all(|part| part.ends_with('\n')));
    }
}
