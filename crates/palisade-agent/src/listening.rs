//! The threads that hear what the kernel tells: changes of the ruleset, interfaces, denied packets. One that cannot hear says
//! so, and listens anew.

use std::thread::sleep;
use std::time::{Duration, Instant};

use palisade_nft::{KernelError, Links, Monitor};
use tokio::sync::mpsc;

use crate::backoff::{Patience, Steadiness};
use crate::message::Message;
use crate::report::Obstacle;
use crate::watch::chain;

/// After a failure it listens anew after pauses that grow from this one.
const RETRY: Duration = Duration::from_secs(1);
/// To this one.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// How soon a thread sees that nobody wants its news any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that the kernel tells.
pub trait Source {
    /// Who says what stands in the way, see [`Message::Obstacles`].
    const OF: &str;

    /// Listens anew. Of what was missed meanwhile the engine is told as much as it has to know.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    fn open(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError>;

    /// Waits a moment for news and tells the engine.
    ///
    /// # Errors
    ///
    /// If the socket fails.
    fn hear(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError>;

    /// What it means that nothing is heard.
    fn obstacle(&self, why: &str) -> Obstacle;
}

/// Tells the engine for as long as it listens.
pub fn listen(source: &mut impl Source, engine: &mpsc::Sender<Message>) {
    listen_with(source, engine, Patience::between(RETRY, RETRY_MAX));
}

fn listen_with<S: Source>(source: &mut S, engine: &mpsc::Sender<Message>, patience: Patience) {
    let (mut steadiness, mut obstacle) = (Steadiness::with(patience), None);
    while !engine.is_closed() {
        let heard = match &obstacle {
            None => source.hear(engine),
            Some(_) => source.open(engine).and_then(|()| source.hear(engine)),
        };
        let now = Instant::now();
        let found = heard.err().map(|error| source.obstacle(&chain(&error)));
        if found != obstacle {
            if let Some(found) = found.as_ref().filter(|_| obstacle.is_none()) {
                tracing::error!("{}; {}", found.found, found.means);
            }
            obstacle.clone_from(&found);
            drop(engine.blocking_send(Message::Obstacles { of: S::OF, obstacles: found.into_iter().collect() }));
        }
        match obstacle {
            None => steadiness.goes_well(now),
            Some(_) => sleep(steadiness.pause(now)),
        }
    }
}

/// What happens to the ruleset.
#[derive(Debug)]
pub struct Ruleset(pub Monitor);

impl Source for Ruleset {
    const OF: &str = "ruleset-news";

    fn open(&mut self, _: &mpsc::Sender<Message>) -> Result<(), KernelError> {
        self.0.reopen()
    }

    fn hear(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError> {
        if let Some(event) = self.0.next(PATIENCE)? {
            drop(engine.blocking_send(Message::Table(event)));
        }
        Ok(())
    }

    fn obstacle(&self, why: &str) -> Obstacle {
        Obstacle {
            name: Self::OF.to_string(),
            found: format!("changes of the ruleset by other programs are not seen: {why}"),
            means: "what they do to the rules is not repaired until they are seen again".to_string(),
            hint: None,
        }
    }
}

/// That interfaces come, go or change.
#[derive(Debug)]
pub struct Interfaces(pub Links);

impl Source for Interfaces {
    const OF: &str = "interface-news";

    fn open(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError> {
        self.0 = Links::open()?;
        drop(engine.blocking_send(Message::Interfaces));
        Ok(())
    }

    fn hear(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError> {
        if self.0.changed(PATIENCE)? {
            drop(engine.blocking_send(Message::Interfaces));
        }
        Ok(())
    }

    fn obstacle(&self, why: &str) -> Obstacle {
        Obstacle {
            name: Self::OF.to_string(),
            found: format!("new interfaces are not seen at once: {why}"),
            means: "a pod is held to its addresses some seconds after its start".to_string(),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// Fails as told; each time it is opened it says so.
    struct Failing(std::vec::IntoIter<bool>);

    impl Source for Failing {
        const OF: &str = "failing";

        fn open(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError> {
            drop(engine.blocking_send(Message::Interfaces));
            Ok(())
        }

        fn hear(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError> {
            let fails = KernelError::Io { operation: "hear", errno: Errno::NOMEM };
            match self.0.next() {
                Some(false) => Err(fails),
                Some(true) => Ok(()),
                None => {
                    drop(engine.blocking_send(Message::Stop));
                    Ok(())
                }
            }
        }

        fn obstacle(&self, why: &str) -> Obstacle {
            Obstacle { name: Self::OF.into(), found: why.into(), means: String::new(), hint: None }
        }
    }

    #[test]
    fn what_is_not_heard_is_told_and_heard_again() {
        let (sender, mut inbox) = mpsc::channel(64);
        let mut source = Failing(vec![true, false, false, true, true, false].into_iter());
        let thread = std::thread::spawn(move || {
            listen_with(&mut source, &sender, Patience::between(Duration::from_millis(1), Duration::from_millis(2)));
        });
        let mut told = Vec::new();
        loop {
            match inbox.blocking_recv().unwrap() {
                Message::Obstacles { of: "failing", obstacles } => {
                    told.push(["no obstacle", "obstacle"][obstacles.len()]);
                }
                Message::Interfaces => told.push("opened"),
                Message::Stop => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, ["obstacle", "opened", "opened", "no obstacle", "obstacle", "opened"]);
        inbox.close();
        while inbox.blocking_recv().is_some() {}
        thread.join().unwrap();
    }
}
