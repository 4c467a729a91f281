//! The log of requests: what tests of RBAC and of load look at.

use std::{collections::VecDeque, fmt};

/// What a request does, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many.
    List,
    /// Follows the changes of many.
    Watch,
    /// Makes a new object.
    Create,
    /// Puts another in the place of an object.
    Update,
    /// Changes a part of an object, or applies one.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes many.
    DeleteCollection,
}

impl Verb {
    /// As roles spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it does.
    pub verb: Verb,
    /// To what, as roles spell it with the group: `pods`, `nodestates.palisade.dev/status`; empty for paths beside objects.
    pub resource: String,
    /// In which namespace; `None` for all, or for none.
    pub namespace: Option<String>,
    /// To which object; `None` where it is about many.
    pub name: Option<String>,
    /// The path and the query.
    pub uri: String,
    /// The status of the answer; of a watch, that with which it started.
    pub status: u16,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.verb, self.resource, self.uri, self.status)
    }
}

/// The newest requests.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(VecDeque<Request>);

/// How many requests are remembered.
const REMEMBERED: usize = 100_000;

impl RequestLog {
    pub fn add(&mut self, request: Request) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(request);
    }

    pub fn all(&self) -> Vec<Request> {
        self.0.iter().cloned().collect()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
