//! Watches: streams of events that read the history at their own pace, so that nothing is queued for a slow client.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    failure::{Failure, json_response},
    faults::{Disturbance, Interruption},
    list::{ListOptions, VersionMatch},
    resource::Resource,
    shared::{OpenWatch, Shared},
    store::{Change, Collection, Event, Object, Store},
};

/// How many events are read from the history at once.
const EVENTS_READ_MAX: usize = 512;
/// How much text goes out at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a watch lasts that states no timeout.
const TIMEOUT_DEFAULT: Duration = Duration::from_mins(30);

/// Starts a watch, or refuses it.
pub(crate) fn watch(shared: &Arc<Shared>, resource: &Resource, options: ListOptions) -> Result<Response, Failure> {
    let refused = shared.faults().no_streaming_lists;
    let interrupt = shared.faults().interrupt.subscribe();
    let store = shared.store();
    check(&options, store.version(), refused)?;
    let collection = store.collection(&resource.id()).ok_or_else(|| Failure::not_found(resource, ""))?;
    let mut stream = Stream {
        position: store.version(),
        waiting: VecDeque::new(),
        held: None,
        delay: None,
        ending: None,
        sent: 0,
        changed: collection.subscribe(),
        interrupt,
        deadline: Instant::now() + options.timeout_s.map_or(TIMEOUT_DEFAULT, Duration::from_secs),
        bookmark_at: Instant::now() + shared.settings.bookmark_interval,
        resource: resource.clone(),
        _open: OpenWatch::new(Arc::clone(shared), resource.id()),
        shared: Arc::clone(shared),
        options,
    };
    match stream.options.resource_version {
        Some(version) if version > 0 && !stream.options.send_initial_events => {
            stream.position = version;
            if version < collection.oldest {
                // As the watch cache of the API server says it: within a stream that started well.
                stream.waiting.push_back(Line::Error(Failure::too_old(version, collection.oldest)));
            }
        }
        _ => stream.begin_with_state(&store),
    }
    drop(store);
    let body = futures_util::stream::unfold(stream, async |mut stream| Some((stream.next().await?, stream)));
    Ok(json_response(200, Body::from_stream(body)))
}

fn check(options: &ListOptions, current: u64, streaming_lists_refused: bool) -> Result<(), Failure> {
    let stated = options.version_match;
    if !options.send_initial_events {
        let why = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return if stated.is_none() { Ok(()) } else { Err(Failure::invalid_options("resourceVersionMatch", why)) };
    }
    if streaming_lists_refused {
        let why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(Failure::invalid_options("sendInitialEvents", why));
    }
    if stated != Some(VersionMatch::NotOlderThan) {
        let why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(Failure::invalid_options("resourceVersionMatch", why));
    }
    match options.resource_version {
        Some(version) if version > current => Err(Failure::too_large(version, current)),
        _ => Ok(()),
    }
}

/// What a stream sends next.
#[derive(Debug)]
enum Line {
    Object(&'static str, Arc<Object>),
    Bookmark { version: u64, ends_initial_events: bool },
    Error(Failure),
}

struct Stream {
    shared: Arc<Shared>,
    resource: Resource,
    options: ListOptions,
    /// All events up to this version are sent or waiting.
    position: u64,
    waiting: VecDeque<Line>,
    /// A line whose disturbance is over.
    held: Option<Bytes>,
    delay: Option<Duration>,
    ending: Option<Interruption>,
    sent: usize,
    changed: watch::Receiver<u64>,
    interrupt: watch::Receiver<Interruption>,
    deadline: Instant,
    bookmark_at: Instant,
    _open: OpenWatch,
}

impl Stream {
    /// Sends what there is first.
    fn begin_with_state(&mut self, store: &Store) {
        let collection = store.collection(&self.resource.id());
        let objects = collection.into_iter().flat_map(Collection::objects);
        let selected = objects.filter(|(key, object)| self.options.selects(key, object));
        self.waiting.extend(selected.map(|(_, object)| Line::Object("ADDED", Arc::clone(object))));
        if self.options.send_initial_events && self.options.bookmarks {
            self.waiting.push_back(Line::Bookmark { version: store.version(), ends_initial_events: true });
        }
    }

    /// The next piece of the body; `None` ends it in order, an error breaks the connection.
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        loop {
            if self.interrupt.has_changed().unwrap_or(true) {
                self.ending = Some(*self.interrupt.borrow_and_update());
            }
            match self.ending {
                Some(Interruption::End) => return None,
                Some(Interruption::Break) => {
                    // What was handed over so far goes out first.
                    sleep(Duration::from_millis(1)).await;
                    return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
                }
                None => {}
            }
            if let Some(delay) = self.delay.take() {
                tokio::select! {
                    () = sleep(delay) => {}
                    _ = self.interrupt.changed() => self.ending = Some(*self.interrupt.borrow_and_update()),
                }
                continue;
            }
            let chunk = self.chunk();
            if !chunk.is_empty() {
                return Some(Ok(chunk.into()));
            }
            if self.ending.is_none() && self.delay.is_none() {
                self.wait().await;
            }
        }
    }

    /// What can go out at once.
    fn chunk(&mut self) -> Vec<u8> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_BYTES && self.ending.is_none() && self.delay.is_none() {
            if let Some(held) = self.held.take() {
                self.sent += 1;
                chunk.extend_from_slice(&held);
                continue;
            }
            let Some(line) = self.waiting.pop_front() else { break };
            let text = self.written(&line);
            let disturbance = self.shared.faults().disturbance(&self.resource, self.sent);
            if let Some(disturbance) = disturbance {
                self.disturb(disturbance, text, &mut chunk);
                continue;
            }
            self.sent += 1;
            chunk.extend_from_slice(&text);
            if matches!(line, Line::Error(_)) {
                self.ending = Some(Interruption::End);
            }
        }
        chunk
    }

    fn disturb(&mut self, disturbance: Disturbance, line: Bytes, chunk: &mut Vec<u8>) {
        match disturbance {
            Disturbance::Break => self.ending = Some(Interruption::Break),
            Disturbance::BreakInLine => {
                chunk.extend_from_slice(&line[..line.len() / 2]);
                self.ending = Some(Interruption::Break);
            }
            Disturbance::Delay(delay) => self.delay = Some(delay),
            Disturbance::End | Disturbance::Gone | Disturbance::InternalError => self.ending = Some(Interruption::End),
            Disturbance::Duplicate
            | Disturbance::Text
            | Disturbance::HalfLine
            | Disturbance::Binary
            | Disturbance::OtherShape
            | Disturbance::UnknownType => {}
        }
        chunk.extend_from_slice(&disturbance.extra_line(&line).unwrap_or_default());
        self.held = Some(line);
    }

    fn written(&self, line: &Line) -> Bytes {
        match line {
            Line::Object(kind, object) => {
                let mut text = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
                self.options.form.write(object, &mut text);
                text.extend_from_slice(b"}\n");
                text.into()
            }
            Line::Bookmark { version, ends_initial_events } => {
                let mut metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
                if *ends_initial_events {
                    metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
                }
                let (kind, version) = (&self.resource.kind, self.resource.api_version());
                let object = json!({ "kind": kind, "apiVersion": version, "metadata": metadata });
                format!("{}\n", json!({ "type": "BOOKMARK", "object": object })).into()
            }
            Line::Error(failure) => format!("{}\n", json!({ "type": "ERROR", "object": failure.status() })).into(),
        }
    }

    /// Waits until there is something to send, or a reason to end.
    async fn wait(&mut self) {
        loop {
            self.changed.borrow_and_update();
            self.read_history();
            if !self.waiting.is_empty() || self.ending.is_some() {
                return;
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() {
                    // The kind is served no more.
                    self.ending = Some(Interruption::End);
                },
                _ = self.interrupt.changed() => self.ending = Some(*self.interrupt.borrow_and_update()),
                () = sleep_until(self.bookmark_at.min(self.deadline)) => {}
            }
        }
    }

    /// Takes what happened since; when that is nothing, the time may have come for a bookmark, or for the end.
    fn read_history(&mut self) {
        let now = Instant::now();
        if now >= self.deadline {
            self.ending = Some(Interruption::End);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let store = shared.store();
        let collection = store.collection(&self.resource.id());
        // A client that is too slow for the history starts again, and learns then that its version is gone.
        let Some(events) = collection.and_then(|found| found.events_after(self.position, EVENTS_READ_MAX)) else {
            self.ending = Some(Interruption::End);
            return;
        };
        if let Some(last) = events.last() {
            self.position = last.version;
        }
        let caught_up = events.len() < EVENTS_READ_MAX;
        let lines: Vec<Line> = events.iter().filter_map(|event| self.line_of(event)).collect();
        self.waiting.extend(lines);
        if now >= self.bookmark_at && caught_up {
            self.bookmark_at = now + self.shared.settings.bookmark_interval;
            if self.options.bookmarks {
                self.waiting.push_back(Line::Bookmark { version: store.version(), ends_initial_events: false });
            }
        }
    }

    /// The event as a client with these selectors sees it: what leaves the selection is deleted, what enters it is added.
    fn line_of(&self, event: &Event) -> Option<Line> {
        let selected = |object: &Arc<Object>| self.options.selects(&event.key, object);
        let before = event.previous.as_ref().filter(|previous| selected(previous));
        let now = event.change != Change::Deleted && selected(&event.object);
        match (before, now) {
            (None, true) => Some(Line::Object("ADDED", Arc::clone(&event.object))),
            (Some(_), true) => Some(Line::Object("MODIFIED", Arc::clone(&event.object))),
            (Some(_), false) if event.change == Change::Deleted => {
                Some(Line::Object("DELETED", Arc::clone(&event.object)))
            }
            (Some(previous), false) => {
                let last_seen = Object::new(&self.resource, event.version, previous.value());
                Some(Line::Object("DELETED", Arc::new(last_seen)))
            }
            (None, false) => None,
        }
    }
}
