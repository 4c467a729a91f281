//! The server as the client and the watcher of kube see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod objects;
mod random_faults;
mod support;
mod watches;
