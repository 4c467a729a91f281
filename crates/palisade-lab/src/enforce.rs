//! The rules of every node, in force in its namespace.

use std::collections::BTreeMap;

use palisade_compile::{Compiler, Settings as Compiling};
use palisade_core::{Change, NodeName, Snapshot, Tables, TablesChange};
use palisade_nft::{
    BanHeld, Generation, Held, HostHeld, Kernel, Ruleset, Settings, Table, diff, lower, lower_bans, lower_host,
};

use crate::error::LabError;
use crate::netns::write_setting;
use crate::topology::{CONTROL_NETWORKS, Place, Topology};

/// What all nodes enforce.
#[derive(Default)]
pub(crate) struct Enforcer {
    nodes: BTreeMap<NodeName, Enforced>,
    /// What the compilers have seen.
    snapshot: Snapshot,
}

/// What one node enforces.
struct Enforced {
    compiler: Compiler,
    held: Held,
    kernel: Kernel,
    generation: Generation,
    host: HostHeld,
    host_kernel: Kernel,
    bans: BanHeld,
    bans_kernel: Kernel,
}

impl Enforcer {
    /// Moves every node of the topology to this snapshot: by a transaction that holds what differs, or from
    /// whatever is there if the node is new.
    pub(crate) fn update(&mut self, topology: &Topology, snapshot: Snapshot) -> Result<(), LabError> {
        let changes = self.snapshot.changes_to(&snapshot);
        self.snapshot = snapshot;
        let mut first_error = None;
        for node in topology.places().filter_map(|(place, _)| match place {
            Place::Node(name) => Some(name),
            _ => None,
        }) {
            let result = match self.nodes.remove(node) {
                Some(enforced) => enforced.update(node, &changes),
                None => Enforced::load(topology, node, &self.snapshot),
            };
            match result {
                Ok(enforced) => drop(self.nodes.insert(node.clone(), enforced)),
                // The node is loaded anew next time; the others must not miss these changes.
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Forgets the nodes whose namespaces are gone.
    pub(crate) fn forget(&mut self, gone: &[Place]) {
        self.nodes.retain(|name, _| !gone.contains(&Place::Node(name.clone())));
    }

    /// The compiled tables of every node.
    pub(crate) fn tables(&self) -> BTreeMap<NodeName, Tables> {
        self.nodes.iter().map(|(name, enforced)| (name.clone(), enforced.compiler.tables().clone())).collect()
    }

    /// The nodes whose kernel does not hold exactly what it was told to.
    pub(crate) fn strayed(&mut self) -> Result<Vec<NodeName>, LabError> {
        let mut strayed = Vec::new();
        for (name, enforced) in &mut self.nodes {
            let tables = enforced.compiler.tables();
            let is_as_wanted = held(&mut enforced.kernel, Table::Policies, name)?
                == lower(tables, &Settings::default(), enforced.generation)
                && held(&mut enforced.host_kernel, Table::Host, name)?
                    == lower_host(&tables.host, &Settings::default())
                && held(&mut enforced.bans_kernel, Table::Bans, name)?
                    == lower_bans(&tables.bans, &Settings::default());
            if !is_as_wanted {
                strayed.push(name.clone());
            }
        }
        Ok(strayed)
    }
}

impl Enforced {
    fn load(topology: &Topology, node: &NodeName, snapshot: &Snapshot) -> Result<Enforced, LabError> {
        if let Some(member) = topology.member(&Place::Node(node.clone())) {
            member.netns.enter()?;
        }
        let mut kernel = Kernel::open().map_err(|error| refused(node, error))?;
        let protected = CONTROL_NETWORKS.into();
        let mut compiler = Compiler::with(node.clone(), Compiling { protected, ..Compiling::default() });
        compiler.update(&Snapshot::default().changes_to(snapshot));
        let generation = Generation::FIRST;
        load_table(&mut kernel, &lower(compiler.tables(), &Settings::default(), generation), node)?;
        forget_probes_soon();
        let held = Held::of(compiler.tables(), &Settings::default(), generation);
        let mut host_kernel = Kernel::open_table(Table::Host).map_err(|error| refused(node, error))?;
        let guards = &compiler.tables().host;
        load_table(&mut host_kernel, &lower_host(guards, &Settings::default()), node)?;
        let host = HostHeld::of(guards, &Settings::default());
        let mut bans_kernel = Kernel::open_table(Table::Bans).map_err(|error| refused(node, error))?;
        let banned = &compiler.tables().bans;
        load_table(&mut bans_kernel, &lower_bans(banned, &Settings::default()), node)?;
        let bans = BanHeld::of(banned, &Settings::default());
        Ok(Enforced { compiler, held, kernel, generation, host, host_kernel, bans, bans_kernel })
    }

    fn update(mut self, node: &NodeName, changes: &[Change]) -> Result<Enforced, LabError> {
        let steps = self.compiler.update(changes);
        if steps.iter().any(|step| !matches!(step, TablesChange::Host(_) | TablesChange::Ban(_))) {
            self.generation = self.generation.next();
            let transaction = self.held.lower_changes(&steps, Some(self.generation));
            self.kernel.apply(&transaction).map_err(|error| refused(node, error))?;
        }
        let transaction = self.host.lower_changes(&steps);
        self.host_kernel.apply(&transaction).map_err(|error| refused(node, error))?;
        for transaction in self.bans.lower_changes(&steps) {
            self.bans_kernel.apply(&transaction).map_err(|error| refused(node, error))?;
        }
        Ok(self)
    }
}

/// What the kernel of a node, or of a server, holds of a table.
pub(crate) fn held(kernel: &mut Kernel, table: Table, node: &NodeName) -> Result<Ruleset, LabError> {
    let have = kernel.read_back().map_err(|error| refused(node, error))?;
    Ok(have.unwrap_or_else(|| Ruleset::nothing(table)))
}

/// Brings a table into force, whatever is there.
fn load_table(kernel: &mut Kernel, wanted: &Ruleset, node: &NodeName) -> Result<(), LabError> {
    let transaction = diff(&held(kernel, wanted.table, node)?, wanted);
    kernel.apply(&transaction).map_err(|error| refused(node, error))?;
    Ok(())
}

/// Shortens what connection tracking remembers of flows that are over, so that thousands of probes do not fill its
/// table (nf_conntrack-sysctl in the kernel documentation). Seconds; live connections keep their own timeouts.
fn forget_probes_soon() {
    for (timeout, seconds) in
        [("udp_timeout", "10"), ("icmp_timeout", "10"), ("icmpv6_timeout", "10"), ("tcp_timeout_close", "2")]
    {
        // Kernels without one of them remember longer, which is no harm.
        let _ = write_setting(&format!("/proc/sys/net/netfilter/nf_conntrack_{timeout}"), seconds);
    }
}

pub(crate) fn refused(node: &NodeName, source: impl std::error::Error + Send + Sync + 'static) -> LabError {
    LabError::Rules { node: node.clone(), source: Box::new(source) }
}
