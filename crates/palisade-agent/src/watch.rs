//! The watches: what the API server says about the kinds that are enforced, handed to the engine as it comes.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, join_all};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use palisade_sources::live::{Kind, Object};
use serde::{Deserialize, Deserializer};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use crate::backoff::Steadiness;
use crate::ban_list;
use crate::definition::{GROUP, VERSION};
use crate::host_policy;
use crate::message::{Message, WatchNews};

/// The objects that wait for the engine take at most so much memory together, in KiB; beyond it the watches wait, and the
/// API server keeps what is to come: what waits lies between what stays, and leaves holes that no allocator gives back. One policy
/// may be as long as the API server takes.
const ROOM_KIB: u32 = 1 << 10;

/// A kind that the API server has not known so often in a row it does not know. One that has just started knows none of those
/// that were added to it for a moment.
const ABSENT_TOLD: u32 = 5;
/// Such a kind is asked for again after pauses of about this.
const ABSENT_RETRY: Duration = Duration::from_secs(30);

/// Watches the kinds for as long as the engine listens. Each has a watch of its own, so that one that fails
/// (a right that is missing, say) does not hold up the others.
pub async fn watch_all(kinds: impl Iterator<Item = Kind>, client: Client, engine: mpsc::Sender<Message>) {
    let room = Arc::new(Semaphore::new(ROOM_KIB as usize));
    let watches = kinds.map(|kind| {
        let client = client.clone();
        match kind {
            Kind::Namespace => watch_kind::<Namespaces>(client, &engine, &room).boxed(),
            Kind::Node => watch_kind::<Nodes>(client, &engine, &room).boxed(),
            Kind::Pod => watch_kind::<Pods>(client, &engine, &room).boxed(),
            Kind::NetworkPolicy => watch_kind::<NetworkPolicies>(client, &engine, &room).boxed(),
            Kind::HostPolicy => watch_kind::<HostPolicies>(client, &engine, &room).boxed(),
            Kind::BanList => watch_kind::<BanLists>(client, &engine, &room).boxed(),
        }
    });
    join_all(watches).await;
}

async fn watch_kind<K: Watched>(client: Client, engine: &mpsc::Sender<Message>, room: &Arc<Semaphore>) {
    let (mut streaming, mut trouble) = (true, Trouble::default());
    loop {
        let config = if streaming { watch::Config::default().streaming_lists() } else { watch::Config::default() };
        let events = watch(Api::<Raw<K>>::all(client.clone()), config);
        match forward(events, K::KIND, engine, room, &mut trouble).await {
            Ended::EngineGone => return,
            Ended::NoStreamingLists => streaming = false,
            Ended::Garbled => {}
        }
    }
}

/// Why events are not forwarded any more.
enum Ended {
    EngineGone,
    /// The server refuses to stream lists (Kubernetes before 1.34, or the feature switched off).
    NoStreamingLists,
    /// Something came that is no event. Nobody knows what it stood for, and the watch itself would go on behind it: the kind
    /// is to be listed anew.
    Garbled,
}

async fn forward<K: Watched>(
    events: impl Stream<Item = Result<Event<Raw<K>>, watcher::Error>>,
    kind: Kind,
    engine: &mpsc::Sender<Message>,
    room: &Arc<Semaphore>,
    trouble: &mut Trouble,
) -> Ended {
    let mut events = pin!(events);
    loop {
        let Some(event) = events.next().await else { return Ended::EngineGone };
        let at = Instant::now();
        match &event {
            Ok(Event::Init) => trouble.steadiness.begins(),
            Ok(Event::InitDone) => {
                trouble.is_known = true;
                trouble.steadiness.goes_well(at);
            }
            _ => {}
        }
        let refused = event.as_ref().is_err_and(refuses_streaming);
        let garbled = event.as_ref().is_err_and(is_garbled);
        let news = match event {
            Ok(Event::Init) => WatchNews::Begin,
            Ok(Event::InitApply(raw) | Event::Apply(raw)) => WatchNews::Put(Box::new(raw.object)),
            Ok(Event::Delete(raw)) => WatchNews::Remove(Box::new(raw.object)),
            Ok(Event::InitDone) => WatchNews::End,
            Err(error) => WatchNews::Failed { absent: trouble.is_absent(&error), error: in_words(&error) },
        };
        let failed = match news {
            WatchNews::Failed { absent, .. } => Some(absent),
            _ => None,
        };
        let weight = match &news {
            WatchNews::Put(object) | WatchNews::Remove(object) => object.weight() >> 10,
            WatchNews::Begin | WatchNews::End | WatchNews::Failed { .. } => 0,
        };
        let permits = u32::try_from(weight).unwrap_or(u32::MAX).min(ROOM_KIB);
        // Nobody closes it.
        let room = Arc::clone(room).acquire_many_owned(permits).await.ok();
        if engine.send(Message::Watch { kind, news, at, room }).await.is_err() {
            return Ended::EngineGone;
        }
        if refused {
            return Ended::NoStreamingLists;
        }
        if let Some(absent) = failed {
            let pause = trouble.steadiness.pause(at);
            sleep(if absent { pause.max(ABSENT_RETRY) } else { pause }).await;
            if garbled {
                return Ended::Garbled;
            }
            // If it goes on from where it was, nothing may come for long.
            trouble.steadiness.goes_well(Instant::now());
        }
    }
}

/// What goes wrong with a watch.
#[derive(Default)]
struct Trouble {
    steadiness: Steadiness,
    /// Whether the kind was listed once: then it is there, and will be again.
    is_known: bool,
    /// How often in a row the server said that it does not know the kind.
    absences: u32,
}

impl Trouble {
    /// Takes note of an error; whether the kind is not there.
    fn is_absent(&mut self, error: &watcher::Error) -> bool {
        self.absences = if is_not_found(error) { self.absences.saturating_add(1) } else { 0 };
        !self.is_known && self.absences >= ABSENT_TOLD
    }
}

/// Whether something came that is no event; see [`Ended::Garbled`].
pub fn is_garbled(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchFailed(kube::Error::SerdeError(_)))
}

/// Whether the server says that there is no such kind.
fn is_not_found(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchStartFailed(error) | watcher::Error::InitialListFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// An error in one line. Of a kind that is not there the server says no more than that a page was not found.
pub fn in_words(error: &watcher::Error) -> String {
    if is_not_found(error) { "the API server does not know the kind".to_string() } else { told_by_api_server(error) }
}

/// Whether the server says that it does not know `sendInitialEvents`: it answers 422, or 400.
fn refuses_streaming(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else { return false };
    matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents")
}

/// An error and what it comes from, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // Some libraries repeat the source in their own message.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// Why a watch fails: what the API server says, without all that it says it in.
pub fn told_by_api_server(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status)
            if !status.message.is_empty() =>
        {
            format!("{} ({})", status.message, status.code)
        }
        other => chain(other),
    }
}

/// An object of a kind, kept as what our own readers take.
struct Raw<K> {
    metadata: ObjectMeta,
    object: Object,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Raw<K> {
    fn clone(&self) -> Self {
        Raw { metadata: self.metadata.clone(), object: self.object.clone(), kind: PhantomData }
    }
}

impl<K: Watched> Debug for Raw<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}/{}", K::KIND, self.object.namespace().unwrap_or_default(), self.object.name())
    }
}

impl<'de, K> Deserialize<'de> for Raw<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(deserializer)?;
        // All that the watcher itself looks at.
        let metadata = ObjectMeta {
            name: Some(object.name().to_owned()),
            namespace: object.namespace().map(str::to_owned),
            resource_version: Some(object.resource_version().to_owned()).filter(|version| !version.is_empty()),
            ..ObjectMeta::default()
        };
        Ok(Raw { metadata, object, kind: PhantomData })
    }
}

impl<K: Watched> Resource for Raw<K> {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::NAME.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A kind that is watched.
trait Watched: 'static {
    const KIND: Kind;
    const NAME: &str;
    const GROUP: &str;
    const VERSION: &str;
    const PLURAL: &str;
}

macro_rules! watched {
    ($($marker:ident = $kind:ident in $group:expr, $version:expr, $plural:expr;)*) => {$(
        struct $marker;

        impl Watched for $marker {
            const KIND: Kind = Kind::$kind;
            const NAME: &str = stringify!($kind);
            const GROUP: &str = $group;
            const VERSION: &str = $version;
            const PLURAL: &str = $plural;
        }
    )*};
}

watched! {
    Namespaces = Namespace in "", "v1", "namespaces";
    Nodes = Node in "", "v1", "nodes";
    Pods = Pod in "", "v1", "pods";
    NetworkPolicies = NetworkPolicy in "networking.k8s.io", "v1", "networkpolicies";
    HostPolicies = HostPolicy in GROUP, VERSION, host_policy::PLURAL;
    BanLists = BanList in GROUP, VERSION, ban_list::PLURAL;
}

#[cfg(test)]
mod tests;
