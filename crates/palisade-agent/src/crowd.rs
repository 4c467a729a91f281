//! The connections that are served at a time. Where there are too many, the oldest makes room: what is asked in earnest is
//! answered within milliseconds, so that the oldest is one that hangs, and whoever comes next is not held up by it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Some connections; those that are served end with it.
#[derive(Debug)]
pub struct Crowd {
    size_max: usize,
    time_max: Duration,
    /// Oldest first.
    connections: VecDeque<AbortHandle>,
}

impl Crowd {
    /// So many at a time, and each for so long at most.
    pub fn new(size_max: usize, time_max: Duration) -> Crowd {
        Crowd { size_max, time_max, connections: VecDeque::new() }
    }

    /// Serves one more.
    pub fn serve(&mut self, connection: impl Future<Output: Send> + Send + 'static) {
        self.connections.retain(|connection| !connection.is_finished());
        while self.connections.len() >= self.size_max
            && let Some(oldest) = self.connections.pop_front()
        {
            oldest.abort();
        }
        let time_max = self.time_max;
        let task = tokio::spawn(async move { drop(timeout(time_max, connection).await) });
        self.connections.push_back(task.abort_handle());
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for connection in &self.connections {
            connection.abort();
        }
    }
}
