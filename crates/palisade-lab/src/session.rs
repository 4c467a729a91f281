//! A lab that runs: one thread owns the namespaces, others ask it for things.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use palisade_core::{Family, NodeName, Snapshot, Tables, Traffic};
use palisade_nft::{Origin, Translation};
use palisade_sim::{Door, Endpoint, Packet, Via};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::enforce::Enforcer;
use crate::error::LabError;
use crate::lists::Lists;
use crate::probe::{Dial, Outcome, Prober, Progress, Shot, unsendable};
use crate::rendezvous::{Directory, Rendezvous};
use crate::services;
use crate::topology::{Place, Topology, UPLINK, Wanted};

/// Pods and nodes as network namespaces, with the rules of each node in force.
///
/// Nothing of it outlives this value, or the process.
pub struct Lab {
    jobs: Option<Sender<Job>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    directory: Arc<Directory>,
}

/// Something for the thread of the lab to do.
type Job = Box<dyn FnOnce(&mut Machine) + Send>;

impl Lab {
    /// Builds the cluster of a snapshot and puts its rules in force. `families` says which addresses exist.
    ///
    /// Processes that are not root call [`become_root`](crate::rootless::become_root) first, as long as they have a
    /// single thread.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses namespaces, links, settings or rules.
    pub fn start(snapshot: &Snapshot, families: &[Family]) -> Result<Lab, LabError> {
        Lab::start_with(Some(Enforcer::default()), snapshot, families)
    }

    /// The same with nodes that hold no rules: somebody else is to bring them, such as an agent on each node. Servers hold theirs.
    ///
    /// # Errors
    ///
    /// As [`start`](Lab::start).
    pub fn start_without_rules(snapshot: &Snapshot, families: &[Family]) -> Result<Lab, LabError> {
        Lab::start_with(None, snapshot, families)
    }

    fn start_with(enforcer: Option<Enforcer>, snapshot: &Snapshot, families: &[Family]) -> Result<Lab, LabError> {
        let thread_failed = |source| LabError::Probe { operation: "start the thread of the lab".to_string(), source };
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| thread_failed(errno.into()))?);
        let (jobs, inbox) = channel::<Job>();
        let (started, outcome) = channel();
        let families = families.to_vec();
        let woken = Arc::clone(&wake);
        let directory = Arc::new(Directory::default());
        let entries = Arc::clone(&directory);
        let thread = std::thread::Builder::new()
            .name("palisade-lab".to_string())
            .spawn(move || match Machine::new(enforcer, families, entries) {
                Ok(machine) => {
                    if started.send(Ok(())).is_ok() {
                        machine.run(&inbox, &woken);
                    }
                }
                // Whoever waits is told; nobody else is interested.
                Err(error) => drop(started.send(Err(error))),
            })
            .map_err(thread_failed)?;
        let lab = Lab { jobs: Some(jobs), wake, thread: Some(thread), directory };
        outcome.recv().map_err(|_| LabError::Stopped)??;
        lab.enforce(snapshot)?;
        Ok(lab)
    }

    /// Moves from the present snapshot to another: pods and nodes come and go, rules change by transaction.
    ///
    /// # Errors
    ///
    /// As [`start`](Lab::start).
    pub fn enforce(&self, snapshot: &Snapshot) -> Result<(), LabError> {
        let snapshot = snapshot.clone();
        self.ask(move |machine| machine.enforce(snapshot))?
    }

    /// Sends packets and finds out what becomes of each, in the same order.
    ///
    /// # Errors
    ///
    /// Where sockets cannot be had at all. What concerns one packet is in its [`Outcome`].
    pub fn probe(&self, packets: &[Packet], mut progress: impl FnMut(Progress)) -> Result<Vec<Outcome>, LabError> {
        let packets = packets.to_vec();
        let (steps, reports) = channel();
        let answer = self.send(move |machine| {
            // Nobody reads the steps any more once the caller has its answer.
            machine.probe(&packets, &mut |step| {
                let _ = steps.send(step);
            })
        })?;
        reports.iter().for_each(&mut progress);
        answer.recv().map_err(|_| LabError::Stopped)?
    }

    /// The compiled tables that the nodes enforce, and those of servers, under the [names](palisade_core::server::machine) that those have among nodes.
    ///
    /// # Errors
    ///
    /// Only if the lab has stopped.
    pub fn tables(&self) -> Result<BTreeMap<NodeName, Tables>, LabError> {
        self.ask(|machine| {
            let of_nodes = machine.enforcer.as_ref().map(Enforcer::tables).unwrap_or_default();
            of_nodes.into_iter().chain(machine.lists.tables()).collect()
        })
    }

    /// Reads the rules of every node and server back; returns those whose kernel does not hold exactly what is wanted.
    ///
    /// # Errors
    ///
    /// Where a kernel cannot be read.
    pub fn strayed(&self) -> Result<Vec<NodeName>, LabError> {
        self.ask(|machine| {
            let mut strayed = machine.enforcer.as_mut().map_or(Ok(Vec::new()), Enforcer::strayed)?;
            strayed.extend(machine.lists.strayed()?);
            Ok(strayed)
        })?
    }

    /// Runs something on a thread that is inside the network namespace of a node, as its agent would be.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn inside<T: Send + 'static>(
        &self,
        node: &NodeName,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LabError> {
        let node = node.clone();
        self.ask(move |machine| {
            let member = machine.topology.member(&Place::Node(node)).ok_or(LabError::Stopped)?;
            member.netns.enter()?;
            Ok(job())
        })?
    }

    /// Lets [`exec`](crate::exec::exec) in, until the returned value is dropped: as the lab of these paths, for this user.
    ///
    /// # Errors
    ///
    /// Where a path does not exist, and where another lab of the same paths is open already.
    pub fn open_for_exec(&self, paths: &[PathBuf]) -> io::Result<Rendezvous> {
        Rendezvous::open(paths, Arc::clone(&self.directory))
    }

    /// Has the thread do something; returns what it returned.
    fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Machine) -> T + Send + 'static) -> Result<T, LabError> {
        self.send(job)?.recv().map_err(|_| LabError::Stopped)
    }

    fn send<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> Result<Receiver<T>, LabError> {
        let (reply, answer) = channel();
        let job: Job = Box::new(move |machine| drop(reply.send(job(machine))));
        self.jobs.as_ref().ok_or(LabError::Stopped)?.send(job).map_err(|_| LabError::Stopped)?;
        ring(&self.wake);
        Ok(answer)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.jobs = None;
        ring(&self.wake);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
        self.directory.update(Snapshot::default(), BTreeMap::new());
    }
}

fn ring(wake: &OwnedFd) {
    // It can fail only if it has been rung 2^64 times without being heard.
    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
}

/// What the thread of the lab owns.
struct Machine {
    topology: Topology,
    /// `None` where somebody else brings the rules.
    enforcer: Option<Enforcer>,
    lists: Lists,
    prober: Prober,
    families: Vec<Family>,
    directory: Arc<Directory>,
    /// What each node translates.
    translations: BTreeMap<NodeName, Translation>,
    /// Addresses that several pods or nodes claim, and a sentence about each.
    contested: BTreeMap<IpAddr, String>,
}

impl Machine {
    fn new(enforcer: Option<Enforcer>, families: Vec<Family>, directory: Arc<Directory>) -> Result<Machine, LabError> {
        let topology = Topology::new(&families)?;
        let (lists, translations, contested) = (Lists::default(), BTreeMap::new(), BTreeMap::new());
        Ok(Machine { topology, enforcer, lists, prober: Prober::new()?, families, directory, translations, contested })
    }

    /// Does jobs, and serves the servers in between, until nobody can ask any more.
    fn run(mut self, inbox: &Receiver<Job>, wake: &OwnedFd) {
        loop {
            let mut waiting = [PollFd::new(wake, PollFlags::IN), PollFd::new(self.prober.events(), PollFlags::IN)];
            if poll(&mut waiting, None).is_err_and(|errno| errno != rustix::io::Errno::INTR) {
                return;
            }
            let (rung, asked) = (!waiting[0].revents().is_empty(), !waiting[1].revents().is_empty());
            if asked && self.prober.serve().is_err() {
                return;
            }
            if rung {
                let _ = rustix::io::read(wake, &mut [0; 8]);
                loop {
                    match inbox.try_recv() {
                        Ok(job) => job(&mut self),
                        Err(std::sync::mpsc::TryRecvError::Empty) => break,
                        Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    }
                }
            }
        }
    }

    fn enforce(&mut self, snapshot: Snapshot) -> Result<(), LabError> {
        let wanted = Wanted::of(&snapshot, &self.families);
        let gone = self.topology.remove_unwanted(&wanted)?;
        self.prober.forget(&gone);
        self.topology.add_nodes(&wanted)?;
        self.topology.add_servers(&wanted)?;
        self.lists.forget(&gone);
        self.lists.update(&self.topology, &snapshot)?;
        if let Some(enforcer) = &mut self.enforcer {
            enforcer.forget(&gone);
            // Rules before pods: a new pod sends no packet that its policies have not judged.
            enforcer.update(&self.topology, snapshot.clone())?;
        }
        self.topology.add_pods(&wanted)?;
        self.translate(&snapshot, &gone)?;
        let namespaces = self.topology.places().map(|(place, member)| (place.clone(), member.netns.descriptor()));
        self.directory.update(snapshot, namespaces.collect());
        self.contested = wanted.contested;
        Ok(())
    }

    /// Has every node lead Services, node ports and host ports to their pods.
    fn translate(&mut self, snapshot: &Snapshot, gone: &[Place]) -> Result<(), LabError> {
        self.translations.retain(|node, _| !gone.contains(&Place::Node(node.clone())));
        for (place, member) in self.topology.places() {
            let Place::Node(node) = place else { continue };
            let wanted = services::translation(snapshot, node, member.addresses(), UPLINK);
            let held = self.translations.entry(node.clone()).or_default();
            if wanted.leads != held.leads || wanted.own != held.own && !wanted.is_nothing() {
                member.netns.enter()?;
                let refused = |error| LabError::Rules { node: node.clone(), source: Box::new(error) };
                wanted.put_in_force().map_err(refused)?;
            }
            *held = wanted;
        }
        let balanced = services::balanced(snapshot);
        self.topology.balance(&balanced)
    }

    fn probe(&mut self, packets: &[Packet], progress: &mut dyn FnMut(Progress)) -> Result<Vec<Outcome>, LabError> {
        let mut externals = BTreeSet::new();
        let mut outcomes: Vec<Outcome> = Vec::new();
        // A balancer sends to one node at a time.
        let mut rounds: BTreeMap<Option<&NodeName>, (Vec<usize>, Vec<Shot>)> = BTreeMap::new();
        for (index, packet) in packets.iter().enumerate() {
            match self.shot(packet, &mut externals) {
                Ok(shot) => {
                    let (indices, shots) = rounds.entry(balanced_to(packet)).or_default();
                    indices.push(index);
                    shots.push(shot);
                    outcomes.push(Outcome::Failed("it was not sent".to_string()));
                }
                Err(outcome) => outcomes.push(outcome),
            }
        }
        self.topology.own_externals(externals)?;
        let total = rounds.values().map(|(_, shots)| shots.len()).sum();
        let mut done = 0;
        for (node, (indices, shots)) in rounds {
            for dial in shots.iter().filter_map(|shot| shot.dial.as_ref()) {
                if let Some(node) = node {
                    self.topology.lead(dial.address, node)?;
                }
            }
            let mut progress = |step: Progress| progress(Progress { done: done + step.done, total });
            let found = self.prober.run(&self.topology, &shots, &mut progress)?;
            done += shots.len();
            for (index, outcome) in indices.into_iter().zip(found) {
                outcomes[index] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// How a packet is sent, or what there is to say instead.
    fn shot(&self, packet: &Packet, externals: &mut BTreeSet<IpAddr>) -> Result<Shot, Outcome> {
        if !self.families.contains(&packet.family) {
            return Err(Outcome::Skipped(format!("the lab runs without {}", packet.family)));
        }
        let mut place = |end: &Endpoint| {
            let place = self.place(end).map_err(Outcome::Skipped)?;
            if place == Place::Outside {
                externals.insert(end.address);
            }
            Ok::<Place, Outcome>(place)
        };
        let (from, to) = (place(&packet.source)?, place(&packet.destination)?);
        if (&from, &to) == (&Place::Outside, &Place::Outside) {
            return Err(Outcome::Skipped("both ends are outside the cluster".to_string()));
        }
        Ok(Shot {
            dial: packet.via.as_ref().map(|via| self.dial(&from, packet, via)).transpose()?,
            from,
            source: packet.source.address,
            to,
            destination: packet.destination.address,
            traffic: packet.traffic,
        })
    }

    /// How a packet is sent so that a node leads it to its destination. That the node does not is a finding.
    fn dial(&self, from: &Place, packet: &Packet, via: &Via) -> Result<Dial, Outcome> {
        let (Traffic::Port(transport, port), Traffic::Port(_, server)) = (via.traffic, packet.traffic) else {
            return Err(Outcome::Failed(format!("{} has no port that could lead anywhere", via.traffic)));
        };
        let origin = match from {
            Place::Node(node) if via.node.as_ref() == Some(node) => Origin::Node,
            Place::Pod(_) if via.node == self.topology.node_of(from) => Origin::Pods,
            _ => Origin::Outside,
        };
        let translation = via.node.as_ref().and_then(|node| self.translations.get(node));
        let led = (packet.destination.address, server);
        let share = translation.and_then(|it| services::share(it, origin, (transport, via.to.address, port), led));
        let Some(share) = share else {
            return Err(Outcome::Failed(format!("no node leads {} {} there", via.to.address, via.traffic)));
        };
        Ok(Dial { address: via.to.address, traffic: via.traffic, share })
    }

    fn place(&self, end: &Endpoint) -> Result<Place, String> {
        if let Some(reason) = unsendable(end.address) {
            return Err(format!("{} {reason}", end.address));
        }
        if let Some(reason) = self.contested.get(&end.address) {
            return Err(format!("{} {reason}", end.address));
        }
        let place = Place::of(end).ok_or_else(|| format!("no node has the address {}", end.address))?;
        match self.topology.member(&place) {
            Some(_) if self.topology.is_balanced(end.address) => Err(format!(
                "{} is an external address of a Service, on other ports of which nobody answers",
                end.address
            )),
            Some(_) if place == Place::Outside => Ok(place),
            Some(member) if member.has(end.address) => Ok(place),
            Some(_) => Err(format!("{place} does not have the address {}", end.address)),
            None => Err(format!("{place} does not run")),
        }
    }
}

/// The node to which a balancer is to send the packet, if there is one in front.
fn balanced_to(packet: &Packet) -> Option<&NodeName> {
    let via = packet.via.as_ref()?;
    let is_balanced = matches!(via.door, Door::External(_)) && via.to.node.is_none();
    via.node.as_ref().filter(|_| is_balanced && packet.source.owner.is_outside())
}
