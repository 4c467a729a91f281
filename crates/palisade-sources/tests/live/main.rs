//! A live cluster, event by event, is the cluster that a file of the same objects describes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod events;
mod objects;
mod property;
