//! Pods send under their own addresses: which interface leads to which pod, and what may come by it.
//!
//! An interface is bound to a pod as soon as an address at its far end is one that the API server names for a pod of this
//! node, and stays bound to it until either is gone. So a pod that gives itself the address of another
//! afterwards gains nothing. An interface that leads into the pod range to a pod that nobody knows yet is bound
//! to no address: it is silent until the pod is known.
//!
//! Under the addresses that are bound nobody else sends, and under those of a bridge of pods nobody who is a port of it,
//! whether that interface was ever looked at or not. The other interfaces of the pod itself may.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::{Pod, PodName};
use palisade_nft::{
    ApplyError, Attached, InterfaceName, Interfaces, Kernel, KernelError, Links, Master, PodLink, Ruleset, Sources,
    diff, lower_sources,
};

/// The interfaces of the node's pods, and the tables that hold them to their addresses.
#[derive(Debug)]
pub struct Binding {
    links: Links,
    tables: Vec<Table>,
    /// What each interface, by its index, is bound to.
    bound: BTreeMap<u32, Bound>,
}

#[derive(Debug)]
struct Bound {
    pod: PodName,
    /// Its addresses at that time: a pod of the same name that shares none of them is another, with another interface.
    addresses: Vec<IpAddr>,
    /// The name of the interface as of the last look.
    interface: String,
}

#[derive(Debug)]
struct Table {
    attached: Attached,
    kernel: Kernel,
    /// What the kernel holds; `None` if nobody knows.
    held: Option<Ruleset>,
}

/// What the agent knows of pods.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The pods of this node that have addresses of their own.
    pub pods: &'a [(&'a PodName, &'a Pod)],
    /// The pod ranges of this node.
    pub ranges: &'a [IpNet],
    /// Whether a pod that nobody knows may send, under the addresses that it has.
    pub unknown_may_send: bool,
}

impl Binding {
    /// For the namespace of the calling thread. Touches nothing yet.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the sockets.
    pub fn open() -> Result<Binding, KernelError> {
        let table = |attached: Attached| {
            Kernel::open_table(attached.table()).map(|kernel| Table { attached, kernel, held: None })
        };
        let tables = Attached::ALL.into_iter().map(table).collect::<Result<_, _>>()?;
        Ok(Binding { links: Links::open()?, tables, bound: BTreeMap::new() })
    }

    /// The connections through which the tables are changed.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.tables.iter().map(|table| &table.kernel)
    }

    /// The interface by which a pod sends.
    pub fn interface(&self, pod: &PodName) -> Option<&str> {
        self.bound.values().find(|bound| bound.pod == *pod).map(|bound| bound.interface.as_str())
    }

    /// How many packets were dropped for their source since each table was made.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn forged(&mut self) -> Result<Vec<(Attached, u64)>, KernelError> {
        self.tables.iter_mut().map(|table| Ok((table.attached, table.kernel.forged()?))).collect()
    }

    /// Another program may have changed the tables: the next update reads them back.
    pub fn doubt(&mut self) {
        for table in &mut self.tables {
            table.held = None;
        }
    }

    /// Looks at the interfaces and brings into force what follows; the number of operations.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; a table is as before then, or as wanted.
    pub fn update(&mut self, known: Known<'_>) -> Result<usize, ApplyError> {
        let found = self.links.look()?;
        self.bind(&found.pods, known);
        let sources = self.sources(&found, known);
        let update = |table: &mut Table| {
            let needed = found.pods.iter().any(|link| {
                let is_in_use = self.bound.contains_key(&link.index) || !link.addresses.is_empty();
                attached_as(link) == Some(table.attached) && is_in_use
            });
            table.update(&if needed { sources.clone() } else { Sources::default() })
        };
        // One that the kernel refuses keeps no other back.
        let operations: Vec<Result<usize, ApplyError>> = self.tables.iter_mut().map(update).collect();
        operations.into_iter().sum()
    }

    /// Takes our tables out of the kernel.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn remove(&mut self) -> Result<(), ApplyError> {
        self.doubt();
        for table in &mut self.tables {
            table.kernel.remove_table()?;
        }
        Ok(())
    }

    /// Follows interfaces and pods that came or went.
    fn bind(&mut self, links: &[PodLink], known: Known<'_>) {
        let held = |link: &&PodLink| attached_as(link).is_some();
        let is_there = |index: &u32| links.iter().filter(held).any(|link| link.index == *index);
        let is_known = |bound: &Bound| {
            let same = |pod: &Pod| pod.addresses.iter().any(|address| bound.addresses.contains(address));
            known.pods.iter().any(|(name, pod)| **name == bound.pod && same(pod))
        };
        self.bound.retain(|index, bound| is_there(index) && is_known(bound));
        for link in links.iter().filter(held) {
            if let Some(bound) = self.bound.get_mut(&link.index) {
                bound.interface.clone_from(&link.name);
                continue;
            }
            let taken: BTreeSet<&PodName> = self.bound.values().map(|bound| &bound.pod).collect();
            // An address may be another pod's while the one that had it is still known: the interface is whose more of them are.
            let behind = |pod: &Pod| pod.addresses.iter().filter(|address| link.addresses.contains(address)).count();
            let free = known.pods.iter().rev().filter(|(name, pod)| !taken.contains(name) && behind(pod) > 0);
            let found = free.max_by_key(|(_, pod)| behind(pod));
            if let Some((name, pod)) = found {
                let addresses = pod.addresses.clone();
                let bound = Bound { pod: (*name).clone(), interface: link.name.clone(), addresses };
                self.bound.insert(link.index, bound);
            }
        }
    }

    fn sources(&self, found: &Interfaces, known: Known<'_>) -> Sources {
        let mut sources = Sources::default();
        // What no interface can be called, no packet comes by.
        sources.passages.extend(found.passages.iter().filter_map(|name| InterfaceName::new(name)));
        for link in found.pods.iter().filter(|link| attached_as(link).is_some()) {
            let Some(name) = InterfaceName::new(&link.name) else { continue };
            let in_range = |address: &IpAddr| known.ranges.iter().any(|range| range.contains(address));
            if let Some(pod) = self.pod_behind(link, known) {
                if let Master::Bridge(bridge) = &link.master {
                    sources.taken.extend(found.bridges.get(bridge).into_iter().flatten());
                }
                sources.taken.extend(&pod.addresses);
                sources.interfaces.insert(name, pod.addresses.iter().copied().collect());
                continue;
            }
            let mut own = self.addresses_of_namespace(link.namespace, found, known);
            if link.addresses.iter().any(in_range) {
                own.extend(link.addresses.iter().filter(|_| known.unknown_may_send));
                sources.interfaces.insert(name, own);
            } else if !own.is_empty() {
                sources.besides.insert(name, own);
            }
        }
        sources
    }

    /// The pod that an interface is bound to.
    fn pod_behind<'a>(&self, link: &PodLink, known: Known<'a>) -> Option<&'a Pod> {
        let bound = self.bound.get(&link.index)?;
        known.pods.iter().find(|(pod, _)| **pod == bound.pod).map(|(_, pod)| *pod)
    }

    /// The addresses of the pod that has this network namespace.
    fn addresses_of_namespace(&self, namespace: u32, found: &Interfaces, known: Known<'_>) -> BTreeSet<IpAddr> {
        let links = found.pods.iter().filter(|link| link.namespace == namespace);
        links.filter_map(|link| self.pod_behind(link, known)).flat_map(|pod| pod.addresses.iter().copied()).collect()
    }
}

fn attached_as(link: &PodLink) -> Option<Attached> {
    match link.master {
        Master::Bridge(_) => Some(Attached::Bridged),
        Master::None => Some(Attached::Routed),
        Master::Other(_) => None,
    }
}

impl Table {
    fn update(&mut self, sources: &Sources) -> Result<usize, ApplyError> {
        let wanted = lower_sources(self.attached, sources);
        let held = match self.held.take() {
            Some(held) => held,
            None => self.kernel.read_back()?.unwrap_or_else(|| Ruleset::nothing(self.attached.table())),
        };
        let transaction = diff(&held, &wanted);
        self.kernel.apply(&transaction)?;
        self.held = Some(wanted);
        Ok(transaction.operations().len())
    }
}

#[cfg(test)]
mod tests;
