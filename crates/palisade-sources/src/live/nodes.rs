//! Nodes, and what pods tell of them: a node that only pods name exists, a node whose object names no address has
//! those that its pods name, and the addresses of hostNetwork pods are those of their node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{Node, NodeName, Pod, PodName};

use super::view::View;

/// The nodes, described or not.
#[derive(Default)]
pub struct Nodes {
    by_name: BTreeMap<NodeName, State>,
}

#[derive(Default)]
struct State {
    /// The node as its object describes it.
    described: Option<Arc<Node>>,
    /// The pods on it, and the addresses of the node that each of them names, if it does.
    pods: BTreeMap<PodName, Option<Arc<[IpAddr]>>>,
    /// What a pod named last: nearly always all name the same, and share one copy.
    usual: Option<Arc<[IpAddr]>>,
    /// How many pods name an address.
    told: BTreeMap<IpAddr, usize>,
}

impl Nodes {
    /// The object of a node came, changed or went.
    pub fn describe(&mut self, name: &NodeName, node: Option<Node>, view: &mut View) {
        let state = self.by_name.entry(Arc::clone(name)).or_default();
        if state.described.as_deref() != node.as_ref() {
            state.described = node.map(Arc::new);
        }
        self.settle(name, None, view);
    }

    /// A pod is on a node, or still on it, and names these addresses of it.
    pub fn join(&mut self, name: &NodeName, pod: &PodName, told: &[IpAddr], view: &mut View) {
        let state = self.by_name.entry(Arc::clone(name)).or_default();
        if state.pods.get(pod).is_some_and(|before| before.as_deref().unwrap_or_default() == told) {
            return;
        }
        state.forget(pod);
        for address in told {
            *state.told.entry(*address).or_default() += 1;
        }
        let told = (!told.is_empty()).then(|| match &state.usual {
            Some(usual) if **usual == *told => Arc::clone(usual),
            _ => Arc::clone(state.usual.insert(told.into())),
        });
        state.pods.insert(pod.clone(), told);
        self.settle(name, Some(pod), view);
    }

    /// A pod is no longer on a node.
    pub fn leave(&mut self, name: &NodeName, pod: &PodName, view: &mut View) {
        if let Some(state) = self.by_name.get_mut(name) {
            state.forget(pod);
            self.settle(name, None, view);
        }
    }

    /// The names of the nodes that objects describe.
    pub fn described(&self) -> impl Iterator<Item = &NodeName> {
        self.by_name.iter().filter(|(_, state)| state.described.is_some()).map(|(name, _)| name)
    }

    /// Brings the snapshot up to date with a node and with its hostNetwork pods but the one that is on its way.
    fn settle(&mut self, name: &NodeName, coming: Option<&PodName>, view: &mut View) {
        let Some(state) = self.by_name.get(name) else { return };
        let Some(node) = state.node() else {
            self.by_name.remove(name);
            return view.node(name, None);
        };
        let before = view.snapshot.nodes.get(name).map(Arc::clone);
        view.node(name, Some(Arc::clone(&node)));
        if before.is_some_and(|before| before.addresses == node.addresses) {
            return;
        }
        for pod_name in state.pods.keys().filter(|pod| Some(*pod) != coming) {
            let Some(pod) = view.snapshot.pods.get(pod_name).filter(|pod| has_node_addresses(pod)) else { continue };
            let pod = Pod { addresses: node.addresses.clone(), ..(**pod).clone() };
            view.pod(pod_name, Some(Arc::new(pod)));
        }
    }
}

/// Whether the addresses of a pod are those of its node.
pub fn has_node_addresses(pod: &Pod) -> bool {
    pod.host_network && !pod.finished && pod.node.is_some()
}

impl State {
    /// Takes back what a pod told.
    fn forget(&mut self, pod: &PodName) {
        for address in self.pods.remove(pod).flatten().iter().flat_map(|told| told.iter()) {
            if let Some(count) = self.told.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.told.remove(address);
                }
            }
        }
    }

    /// The node as it stands in the snapshot, if it does.
    fn node(&self) -> Option<Arc<Node>> {
        match &self.described {
            None if self.pods.is_empty() => None,
            Some(node) if !node.addresses.is_empty() || self.told.is_empty() => Some(Arc::clone(node)),
            described => {
                let node = described.as_deref().cloned().unwrap_or_default();
                Some(Arc::new(Node { addresses: self.told.keys().copied().collect(), ..node }))
            }
        }
    }
}
