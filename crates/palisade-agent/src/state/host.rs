//! What the state file holds of host policies.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{GroupId, Guard, GuardId, GuardedPorts, Guards, HostScope, HostTables, Otherwise, PortRange};
use serde::{Deserialize, Serialize};

use super::{GroupFile, groups_file, port, read_groups, transport};

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    guards: GuardsFile,
    shadow: GuardsFile,
    definitions: BTreeMap<Arc<str>, GuardFile>,
    groups: BTreeMap<Arc<str>, GroupFile>,
}

#[derive(Default, Serialize, Deserialize)]
struct GuardsFile {
    nodes: BTreeMap<IpAddr, Arc<str>>,
    own: Option<Arc<str>>,
}

#[derive(Serialize, Deserialize)]
struct GuardFile {
    description: Arc<str>,
    ports: Vec<PortsFile>,
}

#[derive(Serialize, Deserialize)]
struct PortsFile {
    transport: u8,
    first: u16,
    last: u16,
    /// Who is admitted; nobody is `null`.
    admitted: Option<Arc<str>>,
    reject: bool,
    /// Whether sockets alone are meant.
    #[serde(default)]
    sockets: bool,
}

impl HostFile {
    pub fn of(tables: &HostTables) -> HostFile {
        HostFile {
            guards: GuardsFile::of(&tables.guards),
            shadow: GuardsFile::of(&tables.shadow),
            definitions: tables
                .definitions
                .iter()
                .map(|(id, guard)| (Arc::clone(&id.0), GuardFile::of(guard)))
                .collect(),
            groups: groups_file(&tables.groups),
        }
    }

    pub fn read(self) -> Result<HostTables, String> {
        let definitions = self.definitions.into_iter().map(|(id, guard)| Ok((GuardId(id), guard.read()?)));
        let tables = HostTables {
            guards: self.guards.read(),
            shadow: self.shadow.read(),
            definitions: definitions.collect::<Result<_, String>>()?,
            groups: read_groups(self.groups),
        };
        named_things_exist(&tables)?;
        Ok(tables)
    }
}

fn named_things_exist(tables: &HostTables) -> Result<(), String> {
    for guards in [&tables.guards, &tables.shadow] {
        let missing = guards.nodes.values().chain(&guards.own).find(|id| !tables.definitions.contains_key(*id));
        if let Some(id) = missing {
            return Err(format!("it names the guard {id}, which it does not hold"));
        }
    }
    let admitted =
        tables.definitions.values().flat_map(|guard| &guard.ports).filter_map(|ports| ports.admitted.as_ref());
    match admitted.into_iter().find(|id| !tables.groups.contains_key(*id)) {
        Some(id) => Err(format!("it names the group {id}, which it does not hold")),
        None => Ok(()),
    }
}

impl GuardsFile {
    fn of(guards: &Guards) -> GuardsFile {
        GuardsFile {
            nodes: guards.nodes.iter().map(|(address, guard)| (*address, Arc::clone(&guard.0))).collect(),
            own: guards.own.as_ref().map(|guard| Arc::clone(&guard.0)),
        }
    }

    fn read(self) -> Guards {
        Guards {
            nodes: self.nodes.into_iter().map(|(address, guard)| (address, GuardId(guard))).collect(),
            own: self.own.map(GuardId),
        }
    }
}

impl GuardFile {
    fn of(guard: &Guard) -> GuardFile {
        let ports = |ports: &GuardedPorts| PortsFile {
            transport: ports.transport.number(),
            first: ports.range.first().get(),
            last: ports.range.last().get(),
            admitted: ports.admitted.as_ref().map(|group| Arc::clone(&group.0)),
            reject: ports.otherwise == Otherwise::Reject,
            sockets: ports.scope == HostScope::HostSockets,
        };
        GuardFile { description: Arc::clone(&guard.description), ports: guard.ports.iter().map(ports).collect() }
    }

    fn read(self) -> Result<Guard, String> {
        let ports = self.ports.into_iter().map(PortsFile::read).collect::<Result<_, String>>()?;
        Ok(Guard { description: self.description, ports })
    }
}

impl PortsFile {
    fn read(self) -> Result<GuardedPorts, String> {
        let range =
            PortRange::new(port(self.first)?, port(self.last)?).ok_or("a range of ports ends before it begins")?;
        Ok(GuardedPorts {
            transport: transport(self.transport)?,
            range,
            admitted: self.admitted.map(GroupId),
            scope: if self.sockets { HostScope::HostSockets } else { HostScope::Everything },
            otherwise: if self.reject { Otherwise::Reject } else { Otherwise::Drop },
        })
    }
}
