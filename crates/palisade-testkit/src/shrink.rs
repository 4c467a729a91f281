//! From a case that fails to a small one that still fails.

use std::sync::Arc;

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use palisade_core::{BanList, Direction, End, HostPolicy, NetworkPolicy, Peer, Pod, Ports, Rule, Selector, Snapshot};

use crate::random::{Case, case};

/// The smallest case found that still fails, by taking away flows, policies, pods, rules and so on one by one.
/// `fails` must hold of `start`.
pub fn shrink(start: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut tree = CaseTree::new(start);
    let mut smallest = tree.current();
    let mut more = tree.simplify();
    while more {
        let current = tree.current();
        more = if fails(&current) {
            smallest = current;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    smallest
}

/// Random cases for `proptest!`, each with this many flows, that shrink like [`shrink`].
pub fn cases(flow_count: usize) -> Cases {
    Cases { flow_count }
}

/// See [`cases`].
#[derive(Clone, Copy, Debug)]
pub struct Cases {
    flow_count: usize,
}

impl Strategy for Cases {
    type Tree = CaseTree;
    type Value = Case;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = proptest::arbitrary::any::<u64>().new_tree(runner)?.current();
        Ok(CaseTree::new(case(seed, self.flow_count)))
    }
}

/// A failing case, and where the search for a smaller one stands.
#[derive(Clone, Debug)]
pub struct CaseTree {
    /// The smallest case known to fail.
    failing: Case,
    /// The case to try now.
    current: Case,
    /// Smaller cases made of `failing`, and the next of them to try.
    smaller: Vec<Case>,
    next: usize,
    /// Whether anything got smaller since `next` was 0.
    progress: bool,
}

impl CaseTree {
    fn new(start: Case) -> CaseTree {
        let smaller = smaller(&start);
        CaseTree { failing: start.clone(), current: start, smaller, next: 0, progress: false }
    }
}

impl ValueTree for CaseTree {
    type Value = Case;

    fn current(&self) -> Case {
        self.current.clone()
    }

    /// The current case fails: go on from it, where the last list of smaller cases was left.
    fn simplify(&mut self) -> bool {
        if self.current != self.failing {
            self.failing = self.current.clone();
            self.smaller = smaller(&self.failing);
            self.next = self.next.saturating_sub(1);
            self.progress = true;
        }
        self.complicate()
    }

    /// The current case does not fail: try the next.
    fn complicate(&mut self) -> bool {
        if self.next >= self.smaller.len() && self.progress {
            self.next = 0;
            self.progress = false;
        }
        match self.smaller.get(self.next) {
            Some(case) => {
                self.current = case.clone();
                self.next += 1;
                true
            }
            None => false,
        }
    }
}

/// Every case that is one step smaller, the biggest steps first.
fn smaller(case: &Case) -> Vec<Case> {
    let snapshots = without_policies(&case.snapshot)
        .into_iter()
        .chain(without_host_policies(&case.snapshot))
        .chain(without_bans(&case.snapshot))
        .chain(without_pods(case))
        .chain(without_places(case))
        .chain(smaller_policies(&case.snapshot))
        .chain(smaller_pods(&case.snapshot));
    let one_flow = case
        .flows
        .iter()
        .filter(|_| case.flows.len() > 1)
        .map(|flow| Case { snapshot: case.snapshot.clone(), flows: vec![flow.clone()] });
    one_flow.chain(snapshots.map(|snapshot| Case { snapshot, flows: case.flows.clone() })).collect()
}

fn without_policies(snapshot: &Snapshot) -> Vec<Snapshot> {
    let removed = |name| {
        let mut snapshot = snapshot.clone();
        snapshot.policies.remove(name);
        snapshot
    };
    snapshot.policies.keys().map(removed).collect()
}

fn without_host_policies(snapshot: &Snapshot) -> Vec<Snapshot> {
    let mut smaller = Vec::new();
    for (name, policy) in &snapshot.host_policies {
        let mut push = |policy: Option<HostPolicy>| {
            let mut snapshot = snapshot.clone();
            match policy {
                Some(policy) => snapshot.host_policies.insert(name.clone(), Arc::new(policy)),
                None => snapshot.host_policies.remove(name),
            };
            smaller.push(snapshot);
        };
        push(None);
        for from in without_one(&policy.from) {
            push(Some(HostPolicy { from, ..(**policy).clone() }));
        }
        for ports in without_one(&policy.ports).into_iter().filter(|ports| !ports.is_empty()) {
            push(Some(HostPolicy { ports, ..(**policy).clone() }));
        }
        for nodes in smaller_selectors(&policy.nodes) {
            push(Some(HostPolicy { nodes, ..(**policy).clone() }));
        }
    }
    smaller
}

fn without_bans(snapshot: &Snapshot) -> Vec<Snapshot> {
    let mut smaller = Vec::new();
    for (name, list) in &snapshot.ban_lists {
        let mut push = |list: Option<BanList>| {
            let mut snapshot = snapshot.clone();
            match list {
                Some(list) => snapshot.ban_lists.insert(name.clone(), Arc::new(list)),
                None => snapshot.ban_lists.remove(name),
            };
            smaller.push(snapshot);
        };
        push(None);
        for entries in without_one(&list.entries) {
            push(Some(BanList { entries, ..(**list).clone() }));
        }
        for except in without_one(&list.except) {
            push(Some(BanList { except, ..(**list).clone() }));
        }
    }
    smaller
}

fn without_pods(case: &Case) -> Vec<Snapshot> {
    let removed = |name| {
        let mut snapshot = case.snapshot.clone();
        snapshot.pods.remove(name);
        snapshot
    };
    let named = |name| {
        let end = End::Pod(name);
        case.flows.iter().any(|flow| flow.source == end || flow.destination == end)
    };
    case.snapshot.pods.keys().filter(|name| !named((*name).clone())).map(removed).collect()
}

/// Without a namespace or a node that nothing is in.
fn without_places(case: &Case) -> Vec<Snapshot> {
    let Snapshot { namespaces, nodes, pods, policies, .. } = &case.snapshot;
    let mut smaller = Vec::new();
    for name in namespaces.keys() {
        if pods.keys().chain(policies.keys()).all(|object| object.namespace != *name) {
            let mut snapshot = case.snapshot.clone();
            snapshot.namespaces.remove(name);
            smaller.push(snapshot);
        }
    }
    for name in nodes.keys() {
        let end = End::Node(name.clone());
        let named = case.flows.iter().any(|flow| flow.source == end || flow.destination == end);
        if !named && pods.values().all(|pod| pod.node.as_ref() != Some(name)) {
            let mut snapshot = case.snapshot.clone();
            snapshot.nodes.remove(name);
            smaller.push(snapshot);
        }
    }
    smaller
}

fn smaller_pods(snapshot: &Snapshot) -> Vec<Snapshot> {
    let mut smaller = Vec::new();
    for (name, pod) in &snapshot.pods {
        let mut push = |pod: Pod| {
            let mut snapshot = snapshot.clone();
            snapshot.pods.insert(name.clone(), Arc::new(pod));
            smaller.push(snapshot);
        };
        for ports in without_one(&pod.ports) {
            push(Pod { ports, ..(**pod).clone() });
        }
        for key in pod.labels.keys() {
            let mut labels = (*pod.labels).clone();
            labels.remove(key);
            push(Pod { labels: labels.into(), ..(**pod).clone() });
        }
    }
    smaller
}

fn smaller_policies(snapshot: &Snapshot) -> Vec<Snapshot> {
    let mut smaller = Vec::new();
    for (name, policy) in &snapshot.policies {
        let mut push = |policy: NetworkPolicy| {
            let mut snapshot = snapshot.clone();
            snapshot.policies.insert(name.clone(), Arc::new(policy));
            smaller.push(snapshot);
        };
        for subjects in smaller_selectors(&policy.subjects) {
            push(NetworkPolicy { subjects, ..(**policy).clone() });
        }
        for direction in Direction::ALL {
            let Some(rules) = &policy.rules[direction] else { continue };
            if policy.rules.ingress.is_some() && policy.rules.egress.is_some() {
                let mut policy = (**policy).clone();
                policy.rules[direction] = None;
                push(policy);
            }
            for rules in without_one(rules).into_iter().chain(replaced(rules, smaller_rules)) {
                let mut policy = (**policy).clone();
                policy.rules[direction] = Some(rules);
                push(policy);
            }
        }
    }
    smaller
}

fn smaller_rules(rule: &Rule) -> Vec<Rule> {
    let mut smaller = Vec::new();
    if let Some(peers) = &rule.peers {
        let fewer = without_one(peers).into_iter().filter(|peers| !peers.is_empty());
        for peers in fewer.chain(replaced(peers, smaller_peers)) {
            smaller.push(Rule { peers: Some(peers), ports: rule.ports.clone() });
        }
        smaller.push(Rule { peers: None, ports: rule.ports.clone() });
    }
    if let Ports::Listed(ports) = &rule.ports {
        for ports in without_one(ports).into_iter().filter(|ports| !ports.is_empty()) {
            smaller.push(Rule { peers: rule.peers.clone(), ports: Ports::Listed(ports) });
        }
        smaller.push(Rule { peers: rule.peers.clone(), ports: Ports::All });
    }
    smaller
}

fn smaller_peers(peer: &Peer) -> Vec<Peer> {
    match peer {
        Peer::Block { cidr, except } => {
            without_one(except).into_iter().map(|except| Peer::Block { cidr: *cidr, except }).collect()
        }
        Peer::Pods { namespaces, pods } => {
            let mut smaller: Vec<Peer> = smaller_selectors(pods)
                .into_iter()
                .map(|pods| Peer::Pods { namespaces: namespaces.clone(), pods })
                .collect();
            if let Some(selector) = namespaces {
                smaller.push(Peer::Pods { namespaces: None, pods: pods.clone() });
                smaller.extend(
                    smaller_selectors(selector)
                        .into_iter()
                        .map(|selector| Peer::Pods { namespaces: Some(selector), pods: pods.clone() }),
                );
            }
            smaller
        }
    }
}

fn smaller_selectors(selector: &Selector) -> Vec<Selector> {
    without_one(selector.requirements()).into_iter().map(Selector::new).collect()
}

/// The list without its first item, without its second, and so on.
fn without_one<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    (0..items.len()).map(|index| [&items[..index], &items[index + 1..]].concat()).collect()
}

/// The list with one item replaced by each of its smaller forms.
fn replaced<T: Clone>(items: &[T], smaller: impl Fn(&T) -> Vec<T>) -> Vec<Vec<T>> {
    let mut lists = Vec::new();
    for (index, item) in items.iter().enumerate() {
        for form in smaller(item) {
            let mut list = items.to_vec();
            list[index] = form;
            lists.push(list);
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure that needs one policy with one block and one flow shrinks to just that.
    #[test]
    fn a_failing_case_shrinks_to_its_cause() {
        let blocks = |case: &Case| {
            let rules = case.snapshot.policies.values().filter_map(|policy| policy.rules.ingress.as_ref()).flatten();
            rules.flat_map(|rule| rule.peers.iter().flatten()).filter(|peer| matches!(peer, Peer::Block { .. })).count()
        };
        let start = (0..100).map(|seed| case(seed, 30)).find(|case| blocks(case) > 2).unwrap();
        let small = shrink(start, |case| blocks(case) > 0 && !case.flows.is_empty());
        assert_eq!((blocks(&small), small.flows.len(), small.snapshot.policies.len()), (1, 1, 1));
        assert!(small.snapshot.pods.len() <= 2, "{small:?}");
        let policy = small.snapshot.policies.values().next().unwrap();
        assert_eq!((&policy.subjects, &policy.rules.egress), (&Selector::everything(), &None));
        let rule = &policy.rules.ingress.as_ref().unwrap()[0];
        assert!(matches!(rule.peers.as_deref(), Some([Peer::Block { except, .. }]) if except.is_empty()), "{rule:?}");
        assert_eq!(rule.ports, Ports::All);
    }
}
