//! What goes wrong on demand.

use std::{sync::MutexGuard, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{failure::Failure, requests::Verb, resource::Resource, shared::Shared};

/// One thing that goes wrong: where, how often, and what.
#[derive(Clone, Debug)]
pub struct Fault {
    resource: String,
    verb: Option<Verb>,
    after: usize,
    times: usize,
    trouble: Trouble,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Request(Obstacle),
    Event(Disturbance),
}

/// What a request meets in the place of its answer, or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// 429 with `Retry-After`, in seconds.
    TooManyRequests(u32),
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 403, as RBAC refuses.
    Forbidden,
    /// 410, as a resourceVersion that is gone.
    Gone,
    /// The request is carried out, this much later.
    Slow(Duration),
    /// The request is carried out, but the connection breaks in the middle of the answer.
    Broken,
}

/// What happens in the stream of a watch in front of an event or bookmark, which itself still counts as not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The connection breaks.
    Break,
    /// The connection breaks in the middle of the line.
    BreakInLine,
    /// The stream ends in order, as at its timeout.
    End,
    /// The event comes this much later, and so does all behind it: for a long time, a connection that hangs.
    Delay(Duration),
    /// The event comes twice.
    Duplicate,
    /// An ERROR event with status 410 comes, and the stream ends.
    Gone,
    /// An ERROR event with status 500 comes, and the stream ends.
    InternalError,
    /// A line that is not JSON comes first.
    Text,
    /// Half a line of JSON comes first, with an end of line.
    HalfLine,
    /// A line that is not UTF-8 comes first.
    Binary,
    /// A MODIFIED event with an object of quite another shape comes first.
    OtherShape,
    /// An event of a type that nobody knows comes first.
    UnknownType,
}

impl Fault {
    /// A fault of the next request for the kind (as `pods`; empty for all), whatever its verb.
    pub fn request(resource: &str, obstacle: Obstacle) -> Self {
        Self { resource: resource.to_owned(), verb: None, after: 0, times: 1, trouble: Trouble::Request(obstacle) }
    }

    /// A fault in front of the next event or bookmark of any watch of the kind (as `pods`; empty for all).
    pub fn event(resource: &str, disturbance: Disturbance) -> Self {
        Self { resource: resource.to_owned(), verb: None, after: 0, times: 1, trouble: Trouble::Event(disturbance) }
    }

    /// Only of requests with this verb.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Only in streams that have sent this many events and bookmarks.
    #[must_use]
    pub fn after(self, events: usize) -> Self {
        Self { after: events, ..self }
    }

    /// So many times in place of once.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Again and again, until the faults are cleared.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    fn is_of(&self, resource: &Resource) -> bool {
        self.resource.is_empty() || self.resource == resource.plural || self.resource == resource.id()
    }
}

/// The faults of a server.
#[derive(Debug)]
pub struct Faults<'a>(pub(crate) &'a Shared);

impl Faults<'_> {
    /// Adds one. Of several that apply, the oldest comes first.
    pub fn add(&self, fault: Fault) {
        self.list().pending.push(fault);
    }

    /// Forgets all that were added, used up or not.
    pub fn clear(&self) {
        self.list().pending.clear();
    }

    /// How many of the added are not used up.
    pub fn pending(&self) -> usize {
        self.list().pending.len()
    }

    /// Whether watches with `sendInitialEvents` are refused, as by a server without the feature `WatchList`.
    pub fn refuse_streaming_lists(&self, refuse: bool) {
        self.list().no_streaming_lists = refuse;
    }

    /// Ends all watches of now in order, as at their timeout.
    pub fn end_watches(&self) {
        self.interrupt(Interruption::End);
    }

    /// Breaks the connections of all watches of now.
    pub fn break_watches(&self) {
        self.interrupt(Interruption::Break);
    }

    fn interrupt(&self, how: Interruption) {
        self.list().interrupt.send_replace(how);
    }

    fn list(&self) -> MutexGuard<'_, FaultList> {
        self.0.faults()
    }
}

/// How all watches end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    End,
    Break,
}

#[derive(Debug)]
pub(crate) struct FaultList {
    pending: Vec<Fault>,
    pub no_streaming_lists: bool,
    pub interrupt: watch::Sender<Interruption>,
}

impl FaultList {
    pub fn new() -> Self {
        Self { pending: Vec::new(), no_streaming_lists: false, interrupt: watch::Sender::new(Interruption::End) }
    }

    /// The obstacle that a request meets, which is used up by that.
    pub fn obstacle(&mut self, resource: &Resource, verb: Verb) -> Option<Obstacle> {
        self.take(|fault| match fault.trouble {
            Trouble::Request(obstacle) => {
                (fault.is_of(resource) && fault.verb.is_none_or(|wanted| wanted == verb)).then_some(obstacle)
            }
            Trouble::Event(_) => None,
        })
    }

    /// The disturbance in front of the next line of a stream that sent so many, which is used up by that.
    pub fn disturbance(&mut self, resource: &Resource, sent: usize) -> Option<Disturbance> {
        self.take(|fault| match fault.trouble {
            Trouble::Event(disturbance) => (fault.is_of(resource) && sent >= fault.after).then_some(disturbance),
            Trouble::Request(_) => None,
        })
    }

    fn take<T>(&mut self, applies: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let (at, found) = self.pending.iter().enumerate().find_map(|(at, fault)| Some((at, applies(fault)?)))?;
        let fault = &mut self.pending[at];
        fault.times = if fault.times == usize::MAX { usize::MAX } else { fault.times.saturating_sub(1) };
        if fault.times == 0 {
            self.pending.remove(at);
        }
        Some(found)
    }
}

impl Obstacle {
    /// The refusal, where it is one.
    pub(crate) fn failure(
        self,
        resource: &Resource,
        verb: Verb,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Failure> {
        match self {
            Self::TooManyRequests(retry_after_s) => Some(Failure::too_many_requests(retry_after_s)),
            Self::InternalError => Some(Failure::internal_error()),
            Self::Unavailable => Some(Failure::unavailable()),
            Self::Forbidden => Some(Failure::forbidden(resource, verb.name(), namespace, name)),
            Self::Gone => Some(Failure::too_old(1, 2)),
            Self::Slow(_) | Self::Broken => None,
        }
    }
}

impl Disturbance {
    /// The line that comes before `line`, where the disturbance is one.
    pub(crate) fn extra_line(self, line: &Bytes) -> Option<Bytes> {
        let event =
            |kind: &str, object: serde_json::Value| format!("{}\n", json!({ "type": kind, "object": object })).into();
        match self {
            Self::Duplicate => Some(line.clone()),
            Self::Gone => Some(event("ERROR", Failure::too_old(1, 2).status())),
            Self::InternalError => Some(event("ERROR", Failure::internal_error().status())),
            Self::Text => Some(Bytes::from_static(b"<html><body>bad gateway</body></html>\n")),
            Self::HalfLine => Some([&line[..line.len() / 2], b"\n"].concat().into()),
            Self::Binary => Some(Bytes::from_static(b"\xff\xfe\x00\x80\n")),
            Self::OtherShape => Some(event("MODIFIED", json!({ "kind": "Table", "metadata": [], "spec": "none" }))),
            Self::UnknownType => Some(event("RENAMED", json!({ "metadata": { "name": "x", "resourceVersion": "1" } }))),
            Self::Break | Self::BreakInLine | Self::End | Self::Delay(_) => None,
        }
    }
}

/// The first half of an answer, and then a connection that breaks.
pub(crate) async fn break_off(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = axum::body::to_bytes(body, usize::MAX).await else {
        return Failure::internal_error().into_response();
    };
    let half = whole.slice(..whole.len() / 2);
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    let pieces = [Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    Response::from_parts(parts, Body::from_stream(futures_util::stream::iter(pieces)))
}
