//! The state file: the tables last in force, so that a node has them again before the API server answers, or after a
//! reboot before the kubelet starts.
#![expect(clippy::disallowed_methods, reason = "the file that reads and writes the state directory")]

mod bans;
mod copies;
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use palisade_core::tables::{SubjectPort, Subjects};
use palisade_core::{
    Admit, BanTables, Direction, GroupId, HostTables, PeerGroup, PerDirection, Port, PortRange, Rest, RestId, Tables,
    Transport,
};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use bans::BansFile;
pub use copies::Copied;
use host::HostFile;

/// The version of the format. A file of another one is put aside.
const VERSION: u32 = 1;
const FILE: &str = "state.json";
const PAUSED: &str = "paused";

/// Why nothing is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pause {
    /// `palisade agent --cleanup`: the node is to be left as if no agent had been there.
    Cleanup,
    /// `palisade agent --emergency-stop`: only the rules are to go.
    EmergencyStop,
}

impl Pause {
    fn flag(self) -> &'static str {
        match self {
            Pause::Cleanup => "--cleanup",
            Pause::EmergencyStop => "--emergency-stop",
        }
    }
}

/// What the state file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The `metadata.uid` of the namespace kube-system, which tells clusters apart; `None` if it was not known.
    pub cluster: Option<String>,
    /// The node.
    pub node: String,
    /// The boot of the machine in which it was written.
    pub boot: String,
    /// When it was written.
    pub saved: Timestamp,
    /// What was in force.
    pub tables: Tables,
    /// The pod ranges that the Node named last; those of the tables may be more.
    pub node_ranges: Vec<IpNet>,
    /// The addresses of the nodes of the cluster.
    pub node_addresses: BTreeSet<IpAddr>,
}

/// What is written into the state file.
#[derive(Clone, Debug)]
pub struct Unsaved<'a> {
    /// As [`State::cluster`].
    pub cluster: Option<&'a str>,
    /// As [`State::node`].
    pub node: &'a str,
    /// As [`State::boot`].
    pub boot: &'a str,
    /// As [`State::saved`].
    pub saved: Timestamp,
    /// What is in force of the policies of pods.
    pub tables: &'a Tables,
    /// What is in force of those of hosts.
    pub host: &'a HostTables,
    /// What is in force of bans.
    pub bans: &'a BanTables,
    /// As [`State::node_ranges`].
    pub node_ranges: &'a [IpNet],
    /// As [`State::node_addresses`].
    pub node_addresses: BTreeSet<IpAddr>,
}

/// The directory of one agent's state.
#[derive(Clone, Debug)]
pub struct StateDirectory(PathBuf);

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read, or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error(
        "{path} is no state of this version of palisade\nhint: it is replaced by the next state; nothing is enforced from it"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl State {
    /// What of it holds in this boot. After another one every pod has a new network, and addresses of old pods may be
    /// those of others: then it is the pod ranges alone, and nobody is known; ports of nodes are guarded, and no pod is
    /// admitted; what is banned stays so.
    pub fn tables_in(self, boot: &str) -> Tables {
        if !boot.is_empty() && self.boot == boot {
            return self.tables;
        }
        self.after_boot()
    }

    /// What of it holds in another boot than that in which it was written.
    pub fn after_boot(self) -> Tables {
        let mut host = self.tables.host;
        for group in host.groups.values_mut() {
            group.addresses.retain(|address| self.node_addresses.contains(address));
        }
        let mut bans = self.tables.bans;
        bans.targeted.values_mut().for_each(|ban| ban.pods.clear());
        Tables { pod_ranges: self.tables.pod_ranges, host, bans, ..Tables::default() }
    }
}

impl StateDirectory {
    /// The directory; it is made if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(path: &Path) -> Result<StateDirectory, StateError> {
        // Addresses and selectors of the whole cluster are in it, and the lock that keeps a second agent out.
        files::private_directory(path)?;
        Ok(StateDirectory(path.to_owned()))
    }

    /// The directory as it is, for whoever only looks.
    pub fn at(path: &Path) -> StateDirectory {
        StateDirectory(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the unix socket of the agent is.
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// The last state; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is of another version.
    pub fn load(&self) -> Result<Option<State>, StateError> {
        let path = self.0.join(FILE);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let unreadable = |source| StateError::Unreadable { path: path.clone(), source };
        let file: StateFile = serde_json::from_slice(&text).map_err(unreadable)?;
        State::try_from(file).map(Some).map_err(|error| unreadable(serde::de::Error::custom(error)))
    }

    /// Replaces the state: written whole beside the old one, then renamed over it.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the old one stays.
    pub fn save(&self, text: &[u8]) -> Result<(), StateError> {
        // One at a time: the last that begins is the last that is there.
        static SAVING: Mutex<()> = Mutex::new(());
        let _saving = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(files::replace(&self.0.join(FILE), text)?)
    }

    /// Puts the state aside, for people to look at: it is that of another cluster.
    ///
    /// # Errors
    ///
    /// If it cannot be renamed.
    pub fn put_aside(&self) -> Result<PathBuf, StateError> {
        let (path, aside) = (self.0.join(FILE), self.0.join("state.of-another-cluster.json"));
        fs::rename(&path, &aside).map_err(FileError::of("rename", &path))?;
        Ok(aside)
    }

    /// Whether enforcement is paused, and how. A marker that cannot be understood is one of an emergency.
    pub fn pause(&self) -> Option<Pause> {
        let path = self.0.join(PAUSED);
        match fs::read_to_string(&path) {
            Ok(text) if text == marker(Pause::Cleanup) => Some(Pause::Cleanup),
            _ => path.exists().then_some(Pause::EmergencyStop),
        }
    }

    /// Pauses, for this and every later start, or ends the pause.
    ///
    /// # Errors
    ///
    /// If the marker cannot be written or removed.
    pub fn set_pause(&self, pause: Option<Pause>) -> Result<(), StateError> {
        let path = self.0.join(PAUSED);
        match pause {
            Some(pause) => fs::write(&path, marker(pause)).map_err(FileError::of("write", &path))?,
            None => files::remove(&path)?,
        }
        Ok(())
    }
}

/// What the marker of a pause says.
fn marker(pause: Pause) -> String {
    format!("by palisade agent {}; ended by palisade agent --resume\n", pause.flag())
}

/// The text of the state file, which is expected to be about so many bytes long: one that grew while it is written would take twice the
/// memory.
///
/// # Errors
///
/// None that can happen: every value here can be written as JSON.
pub fn to_text(state: &Unsaved<'_>, bytes: usize) -> Result<Vec<u8>, serde_json::Error> {
    let tables = state.tables;
    let file = StateFile {
        version: VERSION,
        cluster: state.cluster.map(str::to_owned),
        node: state.node.to_owned(),
        boot: state.boot.to_owned(),
        saved: state.saved,
        ingress: SubjectsFile::of(&tables.subjects.ingress),
        egress: SubjectsFile::of(&tables.subjects.egress),
        groups: groups_file(&tables.groups),
        rests: tables.rests.iter().map(|(id, rest)| (Arc::clone(&id.0), RestFile::of(rest))).collect(),
        pod_ranges: tables.pod_ranges.clone(),
        known: tables.known.iter().copied().collect(),
        host: HostFile::of(state.host),
        bans: BansFile::of(state.bans),
        node_ranges: state.node_ranges.to_vec(),
        node_addresses: state.node_addresses.clone(),
    };
    let mut text = Vec::with_capacity(bytes.saturating_add(bytes / 8));
    serde_json::to_writer(&mut text, &file)?;
    Ok(text)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    version: u32,
    cluster: Option<String>,
    node: String,
    boot: String,
    saved: Timestamp,
    ingress: SubjectsFile,
    egress: SubjectsFile,
    groups: BTreeMap<Arc<str>, GroupFile>,
    rests: BTreeMap<Arc<str>, RestFile>,
    pod_ranges: Vec<IpNet>,
    known: Vec<IpAddr>,
    #[serde(default)]
    host: HostFile,
    #[serde(default)]
    bans: BansFile,
    #[serde(default)]
    node_ranges: Vec<IpNet>,
    #[serde(default)]
    node_addresses: BTreeSet<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct SubjectsFile {
    ports: Vec<(IpAddr, u8, u16, AdmitFile)>,
    isolated: Vec<(IpAddr, Arc<str>)>,
}

/// The group; everyone is `null`.
type AdmitFile = Option<Arc<str>>;

#[derive(Serialize, Deserialize)]
struct GroupFile {
    description: Arc<str>,
    addresses: Vec<IpAddr>,
    blocks4: Vec<(Ipv4Addr, Ipv4Addr)>,
    blocks6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

#[derive(Serialize, Deserialize)]
struct RestFile {
    egress: bool,
    description: Arc<str>,
    ranges: Vec<(u8, u16, u16, AdmitFile)>,
    /// Nobody, or who is admitted.
    otherwise: Option<AdmitOtherwise>,
}

/// Tells "nobody" from "everyone", which are both absence.
#[derive(Serialize, Deserialize)]
struct AdmitOtherwise {
    admit: AdmitFile,
}

fn admit_file(admit: &Admit) -> AdmitFile {
    match admit {
        Admit::Everyone => None,
        Admit::Group(id) => Some(Arc::clone(&id.0)),
    }
}

fn admit(file: AdmitFile) -> Admit {
    file.map_or(Admit::Everyone, |id| Admit::Group(GroupId(id)))
}

impl SubjectsFile {
    fn of(subjects: &Subjects) -> SubjectsFile {
        let port = |(key, admit): (&SubjectPort, &Admit)| {
            (key.address, key.transport.number(), key.port.get(), admit_file(admit))
        };
        SubjectsFile {
            ports: subjects.ports.iter().map(port).collect(),
            isolated: subjects.isolated.iter().map(|(address, rest)| (*address, Arc::clone(&rest.0))).collect(),
        }
    }

    fn read(self) -> Result<Subjects, String> {
        let port = |(address, transport_number, port_number, file)| {
            let key = SubjectPort { address, transport: transport(transport_number)?, port: port(port_number)? };
            Ok((key, admit(file)))
        };
        Ok(Subjects {
            ports: self.ports.into_iter().map(port).collect::<Result<_, String>>()?,
            isolated: self.isolated.into_iter().map(|(address, rest)| (address, RestId(rest))).collect(),
        })
    }
}

fn groups_file(groups: &BTreeMap<GroupId, PeerGroup>) -> BTreeMap<Arc<str>, GroupFile> {
    groups.iter().map(|(id, group)| (Arc::clone(&id.0), GroupFile::of(group))).collect()
}

fn read_groups(groups: BTreeMap<Arc<str>, GroupFile>) -> BTreeMap<GroupId, PeerGroup> {
    groups.into_iter().map(|(id, group)| (GroupId(id), group.read())).collect()
}

impl GroupFile {
    fn of(group: &PeerGroup) -> GroupFile {
        GroupFile {
            description: Arc::clone(&group.description),
            addresses: group.addresses.iter().copied().collect(),
            blocks4: group.blocks4.to_vec(),
            blocks6: group.blocks6.to_vec(),
        }
    }

    fn read(self) -> PeerGroup {
        PeerGroup {
            description: self.description,
            addresses: self.addresses.into_iter().collect(),
            blocks4: self.blocks4.into(),
            blocks6: self.blocks6.into(),
        }
    }
}

impl RestFile {
    fn of(rest: &Rest) -> RestFile {
        let range = |(transport, range, admit): &(Transport, PortRange, Admit)| {
            (transport.number(), range.first().get(), range.last().get(), admit_file(admit))
        };
        RestFile {
            egress: rest.direction == Direction::Egress,
            description: Arc::clone(&rest.description),
            ranges: rest.ranges.iter().map(range).collect(),
            otherwise: rest.otherwise.as_ref().map(|admit| AdmitOtherwise { admit: admit_file(admit) }),
        }
    }

    fn read(self) -> Result<Rest, String> {
        let range = |(transport_number, first, last, file)| {
            let range = PortRange::new(port(first)?, port(last)?).ok_or("a range of ports ends before it begins")?;
            Ok((transport(transport_number)?, range, admit(file)))
        };
        Ok(Rest {
            direction: if self.egress { Direction::Egress } else { Direction::Ingress },
            description: self.description,
            ranges: self.ranges.into_iter().map(range).collect::<Result<_, String>>()?,
            otherwise: self.otherwise.map(|otherwise| admit(otherwise.admit)),
        })
    }
}

fn transport(number: u8) -> Result<Transport, String> {
    let found = Transport::ALL.into_iter().find(|transport| transport.number() == number);
    found.ok_or_else(|| format!("{number} is no transport protocol"))
}

fn port(number: u16) -> Result<Port, String> {
    Port::new(number).ok_or_else(|| "0 is no port".to_string())
}

impl TryFrom<StateFile> for State {
    type Error = String;

    fn try_from(file: StateFile) -> Result<State, String> {
        if file.version != VERSION {
            return Err(format!("its version is {}, not {VERSION}", file.version));
        }
        let rests = file.rests.into_iter().map(|(id, rest)| Ok((RestId(id), rest.read()?)));
        let tables = Tables {
            subjects: PerDirection { ingress: file.ingress.read()?, egress: file.egress.read()? },
            // What would hold is for those who look at the node; a start needs what holds.
            shadow: PerDirection::default(),
            groups: read_groups(file.groups),
            rests: rests.collect::<Result<_, String>>()?,
            pod_ranges: file.pod_ranges,
            host: file.host.read()?,
            bans: file.bans.read(),
            known: file.known.into_iter().collect(),
        };
        named_things_exist(&tables)?;
        Ok(State {
            cluster: file.cluster,
            node: file.node,
            boot: file.boot,
            saved: file.saved,
            tables,
            node_ranges: file.node_ranges,
            node_addresses: file.node_addresses,
        })
    }
}

/// A file that was cut or edited must not become rules that the kernel refuses half-way.
fn named_things_exist(tables: &Tables) -> Result<(), String> {
    let groups = Direction::ALL.into_iter().flat_map(|direction| tables.subjects[direction].ports.values()).chain(
        tables.rests.values().flat_map(|rest| rest.ranges.iter().map(|(_, _, admit)| admit).chain(&rest.otherwise)),
    );
    for admit in groups {
        if let Admit::Group(id) = admit
            && !tables.groups.contains_key(id)
        {
            return Err(format!("it names the group {id}, which it does not hold"));
        }
    }
    for direction in Direction::ALL {
        for rest in tables.subjects[direction].isolated.values() {
            if !tables.rests.contains_key(rest) {
                return Err(format!("it names the rest {rest}, which it does not hold"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
