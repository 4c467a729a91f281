//! The networks of hosts and pods, entered by threads: so one process has sockets in many of them.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::files;

/// The network of a host or of a pod. It lives at least as long as this value.
#[derive(Clone, Debug)]
pub struct Network(Arc<File>);

impl Network {
    pub(super) fn at(path: &Path) -> anyhow::Result<Network> {
        Ok(Network(Arc::new(files::open(path)?)))
    }

    /// Runs `work` in a thread of its own that sees this network. A socket stays in the network in which it was made.
    ///
    /// # Errors
    ///
    /// The network cannot be entered, or the thread panics.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let entered = || {
            self.enter()?;
            Ok(work())
        };
        std::thread::scope(|scope| scope.spawn(entered).join()).map_err(|_| anyhow!("a thread of a probe panicked"))?
    }

    /// Moves the calling thread into this network.
    ///
    /// # Errors
    ///
    /// Only root may do it.
    pub fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter a network")
    }
}
