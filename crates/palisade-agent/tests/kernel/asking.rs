//! Asking an agent as people and Prometheus do: by its socket, and by what it serves on loopback of its node.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade_agent::control::{self, Answer, Request};
use palisade_agent::denials::DeniedPacket;
use palisade_agent::report::Report;

use crate::agent::LISTEN;
use crate::world::World;

/// A bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the agent of `n1` serves: the status code and the text.
pub fn get(world: &World, path: &'static str) -> Option<(u16, String)> {
    world.lab.inside(&"n1".into(), move || fetch(path)).unwrap()
}

fn fetch(path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(LISTEN).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The samples of a metric that are not zero, by what is between braces.
pub fn samples(world: &World, metric: &str) -> BTreeMap<String, u64> {
    let (status, text) = get(world, "/metrics").unwrap();
    assert_eq!(status, 200);
    let of_metric =
        text.lines().filter_map(|line| line.strip_prefix(metric)).filter(|rest| rest.starts_with(['{', ' ']));
    let samples = of_metric.filter_map(|rest| rest.rsplit_once(' '));
    let samples = samples.map(|(labels, value)| (labels.trim_matches(['{', '}']).to_owned(), value.parse().unwrap()));
    samples.filter(|(_, value)| *value != 0).collect()
}

/// What the agent of `n1` says of itself.
pub fn status(world: &World) -> Report {
    match answers(world, Request::Status {}).next().unwrap().unwrap() {
        Answer::Status(report) => *report,
        other => panic!("{other:?}"),
    }
}

fn answers(world: &World, request: Request) -> control::Answers {
    control::ask(&socket(world), request).unwrap()
}

fn socket(world: &World) -> PathBuf {
    control::socket(&world.state_dir("n1"))
}

/// The denied packets of `n1` from now on, by name.
#[derive(Clone, Default)]
pub struct Followed(Arc<Mutex<Vec<DeniedPacket>>>);

impl Followed {
    pub fn start(world: &World) -> Followed {
        let followed = Followed::default();
        let (packets, answers) = (Arc::clone(&followed.0), answers(world, Request::Denied { follow: true }));
        std::thread::spawn(move || {
            for answer in answers {
                // The agent ends with the test.
                let Ok(Answer::Denied(packet)) = answer else { return };
                packets.lock().unwrap().push(*packet);
            }
        });
        followed
    }

    /// The packets of a flow, as soon as there is one.
    pub fn of(&self, source: &str, destination: &str, family: u8) -> Vec<DeniedPacket> {
        let is_meant = |packet: &DeniedPacket| {
            (&*packet.source, &*packet.destination) == (source, destination)
                && packet.addresses.source.is_ipv4() == (family == 4)
        };
        let found = || self.all().into_iter().filter(is_meant).collect::<Vec<_>>();
        until(|| !found().is_empty(), || format!("{source} -> {destination} of IPv{family} among {:#?}", self.all()));
        found()
    }

    pub fn all(&self) -> Vec<DeniedPacket> {
        self.0.lock().unwrap().clone()
    }
}

pub fn until(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "there is not: {}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}
