//! The event loop that sends probes and answers them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use palisade_core::Traffic;
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::{Attempt, Reply, SourcePorts, refusal, send};
use super::control::controls;
use super::server::{Servers, Service, ServiceKind};
use super::{Outcome, Progress, Shot};
use crate::error::LabError;
use crate::topology::{Place, Topology};

/// How long a packet is waited for, try by try. From the second try on control flows are sent as well, and a try
/// without their answers is no try: the next one is more patient.
const PATIENCE: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// Packets sent before what has arrived is taken: fewer than any queue on the way holds.
const BURST: usize = 32;
/// Packets on their way at one time, at most.
const WINDOW: usize = 16_384;
/// Looks at what has arrived, of up to [`EVENTS`] events each, before it is enough for now: more than the packets of a
/// window can cause.
const DRAIN_MAX: usize = 1024;
/// Events taken at one look.
const EVENTS: usize = 256;
/// Descriptors that are left to everything else: namespaces, route sockets, rules, files.
const RESERVED_DESCRIPTORS: usize = 128;

/// The servers of the lab and the packets on their way.
pub(crate) struct Prober {
    events: OwnedFd,
    servers: Servers,
    ports: SourcePorts,
    attempts: HashMap<u64, (Target, Attempt)>,
    next_key: u64,
    descriptors: usize,
}

/// How much can be open at one time.
struct Budget {
    servers: usize,
    packets: usize,
}

/// What an attempt is for: an index among the packets of a round, or among its control flows.
#[derive(Clone, Copy)]
enum Target {
    Packet(usize),
    Control(usize),
}

/// What is known so far in one round.
struct Round<'a> {
    shots: Vec<&'a Shot>,
    packets: Vec<Option<Reply>>,
    /// How many packets were answered.
    answered: usize,
    controls: Vec<Shot>,
    controls_answered: Vec<bool>,
    /// For each packet its control flows.
    controls_of: Vec<Vec<usize>>,
}

impl Prober {
    pub(crate) fn new() -> Result<Prober, LabError> {
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| LabError::Probe { operation: "wait for packets".to_string(), source: errno.into() })?;
        Ok(Prober {
            events,
            servers: Servers::default(),
            ports: SourcePorts::default(),
            attempts: HashMap::new(),
            next_key: 0,
            descriptors: raise_descriptor_limit(),
        })
    }

    /// What to wait for while no probes run: it is readable when a server has something to answer.
    pub(crate) fn events(&self) -> &OwnedFd {
        &self.events
    }

    /// Answers whoever is waiting.
    pub(crate) fn serve(&mut self) -> Result<(), LabError> {
        self.drain(&mut |_, _| {})
    }

    /// Closes the servers of places that are gone.
    pub(crate) fn forget(&mut self, gone: &[Place]) {
        self.servers.forget(gone);
    }

    /// Sends all packets, and finds out what becomes of each. Their namespaces must exist.
    pub(crate) fn run(
        &mut self,
        topology: &Topology,
        shots: &[Shot],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Outcome>, LabError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; shots.len()];
        let mut pending: Vec<usize> = (0..shots.len()).collect();
        let mut unanswered: HashMap<usize, Shot> = HashMap::new();
        for (number, patience) in PATIENCE.into_iter().enumerate() {
            // Neighbours share servers, so that a slice of them needs few.
            pending.sort_by_key(|index| (&shots[*index].to, shots[*index].traffic));
            let budget = self.budget(topology);
            for slice in slices(shots, &pending, &budget) {
                let known = outcomes.iter().filter(|outcome| outcome.is_some()).count();
                let mut progress = |more| progress(Progress { done: known + more, total: shots.len() });
                let mut round = Round::new(topology, slice.iter().map(|index| &shots[*index]).collect(), number > 0);
                self.round(topology, &mut round, patience, &budget, &mut progress)?;
                for (position, index) in slice.into_iter().enumerate() {
                    outcomes[index] = round.outcome(position, number > 0);
                    unanswered.extend(round.unanswered_control(position).map(|control| (index, control.clone())));
                }
            }
            pending.retain(|index| outcomes[*index].is_none());
            if pending.is_empty() {
                break;
            }
        }
        progress(Progress { done: shots.len(), total: shots.len() });
        let unknown = |index: usize| match unanswered.get(&index) {
            Some(control) => Outcome::Failed(format!("no answer, and none to the control flow {control} either")),
            None => Outcome::Failed("it was not sent".to_string()),
        };
        Ok(outcomes.into_iter().enumerate().map(|(index, outcome)| outcome.unwrap_or_else(|| unknown(index))).collect())
    }

    /// What the limit of descriptors allows.
    fn budget(&self, topology: &Topology) -> Budget {
        // A place has a namespace and a route socket; a node also its rules.
        let taken = RESERVED_DESCRIPTORS + topology.places().count() * 3;
        let free = self.descriptors.saturating_sub(taken).max(64);
        // The rest is for control flows, which packets share for the most part.
        Budget { servers: free / 4, packets: (free / 3).min(WINDOW) }
    }

    /// Sends some packets at one time, with their control flows if asked to, and waits.
    fn round(
        &mut self,
        topology: &Topology,
        round: &mut Round<'_>,
        patience: Duration,
        budget: &Budget,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), LabError> {
        let services: BTreeSet<Service> = round.shots.iter().filter_map(|shot| service(shot)).collect();
        let next_key = &mut self.next_key;
        self.servers.ensure(topology, &self.events, &services, budget.servers, || take_key(next_key))?;

        let mut order: Vec<usize> = (0..round.shots.len()).collect();
        order.sort_by_key(|index| &round.shots[*index].from);
        self.send_all(topology, round, order.into_iter().map(Target::Packet), progress)?;
        let controls = 0..round.controls.len();
        self.send_all(topology, round, controls.map(Target::Control), progress)?;

        let least = Instant::now() + patience;
        let most = least + patience;
        loop {
            let now = Instant::now();
            let controlled = round.controls_answered.iter().all(|answered| *answered);
            // What could not even be sent is not waited for, but a try without its control flows is to take its time.
            if (controlled && (self.attempts.is_empty() || now >= least)) || now >= most {
                break;
            }
            let remaining = least.saturating_duration_since(now).max(Duration::from_millis(10));
            self.pump(remaining, &mut |target, reply| round.record(target, reply))?;
            progress(round.answered);
        }
        // This thread may have slept past the deadline: what has arrived meanwhile counts.
        self.drain(&mut |target, reply| round.record(target, reply))?;
        progress(round.answered);
        self.attempts.clear();
        Ok(())
    }

    fn send_all(
        &mut self,
        topology: &Topology,
        round: &mut Round<'_>,
        targets: impl Iterator<Item = Target>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), LabError> {
        let mut place = None;
        for (count, target) in targets.enumerate() {
            let shot = match target {
                Target::Packet(index) => round.shots[index],
                Target::Control(index) => &round.controls[index],
            };
            if place.as_ref() != Some(&shot.from) {
                let Some(member) = topology.member(&shot.from) else { continue };
                member.netns.enter()?;
                place = Some(shot.from.clone());
            }
            match send(shot, &mut self.ports) {
                Ok(attempt) => {
                    let key = take_key(&mut self.next_key);
                    let interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
                    epoll::add(&self.events, &attempt.socket, epoll::EventData::new_u64(key), interest).map_err(
                        |errno| LabError::Probe { operation: format!("wait for {shot:?}"), source: errno.into() },
                    )?;
                    self.attempts.insert(key, (target, attempt));
                }
                Err(error) => round.record(target, refusal(&error)),
            }
            if count % BURST == BURST - 1 {
                self.drain(&mut |target, reply| round.record(target, reply))?;
                progress(round.answered);
            }
        }
        Ok(())
    }

    /// Takes what has arrived; not for ever, should somebody in the lab flood a server.
    fn drain(&mut self, report: &mut dyn FnMut(Target, Reply)) -> Result<(), LabError> {
        for _ in 0..DRAIN_MAX {
            if self.pump(Duration::ZERO, report)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Waits for events, serves the servers and reports the attempts that came to something. Returns the number of
    /// events.
    fn pump(&mut self, timeout: Duration, report: &mut dyn FnMut(Target, Reply)) -> Result<usize, LabError> {
        let mut buffer = Vec::with_capacity(EVENTS);
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        match epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut buffer), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(LabError::Probe { operation: "wait for packets".to_string(), source: errno.into() });
            }
        }
        for event in &buffer {
            let key = event.data.u64();
            if self.servers.serve(key) {
                continue;
            }
            if let Some((target, attempt)) = self.attempts.get_mut(&key)
                && let Some(reply) = attempt.reply()
            {
                report(*target, reply);
                self.attempts.remove(&key);
            }
        }
        Ok(buffer.len())
    }
}

impl<'a> Round<'a> {
    fn new(topology: &Topology, shots: Vec<&'a Shot>, with_controls: bool) -> Round<'a> {
        let mut indices: BTreeMap<Shot, usize> = BTreeMap::new();
        let controls_of = shots
            .iter()
            .map(|shot| if with_controls { controls(topology, shot) } else { Vec::new() })
            .map(|controls| {
                let mut index_of = |control| {
                    let next = indices.len();
                    *indices.entry(control).or_insert(next)
                };
                controls.into_iter().map(&mut index_of).collect()
            })
            .collect();
        let mut controls: Vec<(usize, Shot)> = indices.into_iter().map(|(shot, index)| (index, shot)).collect();
        controls.sort_by_key(|(index, _)| *index);
        Round {
            packets: shots.iter().map(|_| None).collect(),
            answered: 0,
            shots,
            controls_answered: vec![false; controls.len()],
            controls: controls.into_iter().map(|(_, shot)| shot).collect(),
            controls_of,
        }
    }

    fn record(&mut self, target: Target, reply: Reply) {
        match target {
            Target::Packet(index) => {
                self.answered += usize::from(matches!(reply, Reply::From(_)));
                self.packets[index] = Some(reply);
            }
            Target::Control(index) => self.controls_answered[index] = matches!(reply, Reply::From(_)),
        }
    }

    /// A control flow of a packet that was not answered, if there is one.
    fn unanswered_control(&self, index: usize) -> Option<&Shot> {
        let control = self.controls_of[index].iter().find(|control| !self.controls_answered[**control])?;
        Some(&self.controls[*control])
    }

    /// What became of a packet, if this round tells. Only an answer counts without control flows.
    fn outcome(&self, index: usize, with_controls: bool) -> Option<Outcome> {
        let controlled = with_controls && self.unanswered_control(index).is_none();
        match &self.packets[index] {
            Some(Reply::From(None)) => Some(Outcome::Answered),
            Some(Reply::From(Some(name))) => {
                let expected = self.shots[index].to.to_string();
                let wrong = || Outcome::Failed(format!("{name} answered in place of {expected}"));
                Some(if *name == expected { Outcome::Answered } else { wrong() })
            }
            Some(Reply::Refused) => controlled.then_some(Outcome::Refused),
            Some(Reply::Broken(reason)) => controlled.then(|| Outcome::Failed(reason.clone())),
            None => controlled.then_some(Outcome::Silent),
        }
    }
}

/// Cuts the packets into slices that the budget allows at one time.
fn slices(shots: &[Shot], pending: &[usize], budget: &Budget) -> Vec<Vec<usize>> {
    let mut slices = Vec::new();
    let mut slice = Vec::new();
    let mut services = BTreeSet::new();
    for index in pending {
        services.extend(service(&shots[*index]));
        if slice.len() == budget.packets || services.len() > budget.servers {
            slices.push(std::mem::take(&mut slice));
            services = service(&shots[*index]).into_iter().collect();
        }
        slice.push(*index);
    }
    slices.push(slice);
    slices
}

fn service(shot: &Shot) -> Option<Service> {
    match shot.traffic {
        Traffic::Port(transport, port) => {
            Some(Service { place: shot.to.clone(), family: shot.family(), kind: ServiceKind::of(transport, port) })
        }
        Traffic::Icmp => None,
    }
}

fn take_key(next: &mut u64) -> u64 {
    *next += 1;
    *next
}

/// Asks for as many descriptors as the hard limit allows (a million is plenty); returns how many there are.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(1 << 20).min(1 << 20);
    if limit.current.is_some_and(|current| current < wanted) {
        // If it is refused, the limit that is read back below holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(wanted)).unwrap_or(1 << 20)
}
