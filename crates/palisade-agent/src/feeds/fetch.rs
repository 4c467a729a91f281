//! A feed, fetched by HTTP: only if it has changed, and never without an end.

use std::sync::Arc;
use std::time::Duration;

use palisade_core::BanPlace;
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::http::HeaderMap;
use ureq::http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

use super::look::{BYTES_MAX, Found, Judged, Look, Looked, text};
use super::parts::{Publisher, Text};
use crate::state::StateDirectory;
use crate::watch::chain;

/// A server that has not sent everything by then is given up.
const PATIENCE: Duration = Duration::from_mins(2);
/// One that does not even take the connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How often a server may name another place.
const REDIRECTS_MAX: u32 = 5;

/// What a server said of a text, by which it can tell whether it has another (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Fetched {
    /// What the server said of the text that is good.
    pub validators: Validators,
    /// What holds from here on; `None` if nothing has changed, or if it comes by way of `ConfigMaps`.
    pub judged: Option<Judged>,
}

/// Fetches feeds.
#[derive(Clone)]
pub struct Fetcher {
    agent: Agent,
    directory: StateDirectory,
    /// One at a time: each may be long.
    turn: Arc<Semaphore>,
}

impl Fetcher {
    /// One that keeps copies in a directory.
    pub fn new(directory: StateDirectory) -> Fetcher {
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(CONNECT_PATIENCE))
            .max_redirects(REDIRECTS_MAX)
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .build();
        Fetcher { agent: config.into(), directory, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Fetches what is to be looked at, if it has changed since the server said this of it. Who publishes it has it come from there.
    pub async fn fetch(self, look: Look, before: Validators, publisher: Option<Publisher>) -> Looked {
        let turn = Arc::clone(&self.turn);
        // Nobody closes it.
        let _turn = turn.acquire().await.ok();
        let asked = look.clone();
        let publishes = publisher.is_some();
        let fetched = tokio::task::spawn_blocking(move || self.fetch_and_judge(&asked, &before, !publishes)).await;
        let fetched = match (fetched, publisher) {
            (Err(_), _) => Err("reading it ended before its time: this is a bug of palisade".to_owned()),
            (Ok(Ok((Some(text), fetched))), Some(publisher)) => {
                let published = publisher.publish(&look, text, &fetched.validators).await;
                published.map(|()| Fetched { judged: None, ..fetched })
            }
            (Ok(fetched), _) => fetched.map(|(_, fetched)| fetched),
        };
        look.found(Found::Fetched(fetched))
    }

    /// The text, if there is another than before.
    fn fetch_and_judge(&self, look: &Look, before: &Validators, keep: bool) -> Result<(Option<Text>, Fetched), String> {
        let BanPlace::Http(url) = &look.source.place else { return Err("it is no feed".to_owned()) };
        let Some((text, validators)) = self.get(url, before).map_err(|error| chain(&error))? else {
            return Ok((None, Fetched { validators: before.clone(), judged: None }));
        };
        let judged = if keep {
            look.judge_and_keep(&text, &self.directory)
        } else {
            look.judge(&text).map_err(|error| error.to_string())
        }?;
        let text = (!keep).then(|| Text::of(text));
        Ok((text, Fetched { validators, judged: Some(judged) }))
    }

    fn get(&self, url: &str, before: &Validators) -> Result<Option<(String, Validators)>, ureq::Error> {
        // What is fetched safely is not to come from elsewhere in the end.
        let mut request = self.agent.get(url).config().https_only(url.starts_with("https://")).build();
        for (name, value) in [(IF_NONE_MATCH, &before.etag), (IF_MODIFIED_SINCE, &before.last_modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut response = request.call()?;
        if response.status() == ureq::http::StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let validators = Validators::of(response.headers());
        let bytes = response.body_mut().with_config().limit(BYTES_MAX).read_to_vec()?;
        Ok(Some((text(bytes), validators)))
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Validators {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }
}
