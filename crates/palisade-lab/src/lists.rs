//! The list of every server outside of the cluster, in force in its namespace: as `palisade host` has it, from the same compiler to the
//! same table.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_compile::{Compiler, server_compiler, server_policy};
use palisade_core::server::machine;
use palisade_core::{Change, NodeName, Server, ServerName, Snapshot, Tables};
use palisade_nft::{Kernel, Ruleset, Settings, Table, diff, lower_host};

use crate::enforce::{held, refused};
use crate::error::LabError;
use crate::topology::{Place, Topology};

/// What all servers enforce.
#[derive(Default)]
pub(crate) struct Lists(BTreeMap<ServerName, Enforced>);

/// What one server enforces.
struct Enforced {
    compiler: Compiler,
    kernel: Kernel,
    holds: Ruleset,
}

impl Lists {
    /// Moves every server to this snapshot, each by one transaction. Their namespaces must exist.
    pub(crate) fn update(&mut self, topology: &Topology, snapshot: &Snapshot) -> Result<(), LabError> {
        for (name, server) in &snapshot.servers {
            let mut enforced = match self.0.remove(name) {
                Some(enforced) => enforced,
                None => Enforced::open(topology, name)?,
            };
            enforced.update(snapshot, name, server)?;
            self.0.insert(name.clone(), enforced);
        }
        Ok(())
    }

    /// Forgets the servers whose namespaces are gone.
    pub(crate) fn forget(&mut self, gone: &[Place]) {
        self.0.retain(|name, _| !gone.contains(&Place::Server(name.clone())));
    }

    /// The compiled tables of every server, under the names that they have among nodes.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (NodeName, Tables)> {
        self.0.iter().map(|(name, enforced)| (machine(name), enforced.compiler.tables().clone()))
    }

    /// The servers whose kernel does not hold exactly what it was told to.
    pub(crate) fn strayed(&mut self) -> Result<Vec<NodeName>, LabError> {
        let mut strayed = Vec::new();
        for (name, enforced) in &mut self.0 {
            let name = machine(name);
            if held(&mut enforced.kernel, Table::Host, &name)? != enforced.holds {
                strayed.push(name);
            }
        }
        Ok(strayed)
    }
}

impl Enforced {
    fn open(topology: &Topology, name: &ServerName) -> Result<Enforced, LabError> {
        if let Some(member) = topology.member(&Place::Server(name.clone())) {
            member.netns.enter()?;
        }
        let name = machine(name);
        let mut kernel = Kernel::open_table(Table::Host).map_err(|error| refused(&name, error))?;
        let holds = held(&mut kernel, Table::Host, &name)?;
        Ok(Enforced { compiler: server_compiler(), kernel, holds })
    }

    fn update(&mut self, snapshot: &Snapshot, name: &ServerName, server: &Server) -> Result<(), LabError> {
        let policy = server_policy(snapshot, name, server);
        self.compiler.update(&[Change::HostPolicy(policy.name.clone(), Some(Arc::new(policy)))]);
        let wanted = lower_host(&self.compiler.tables().host, &Settings::default());
        self.kernel.apply(&diff(&self.holds, &wanted)).map_err(|error| refused(&machine(name), error))?;
        self.holds = wanted;
        Ok(())
    }
}
