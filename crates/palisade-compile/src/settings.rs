//! What is chosen for a node, beside its policies.

use ipnet::IpNet;
use palisade_core::Node;

/// What becomes of packets of unknown pods: of addresses in the node's pod ranges that no pod of the node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPods {
    /// They pass.
    #[default]
    Allow,
    /// They are denied: no packet of a new pod passes before its policies are in force.
    Drop,
}

/// What is chosen for a node, beside its policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of packets of unknown pods.
    pub unknown_pods: UnknownPods,
    /// Ranges of pod addresses of this node, beside `spec.podCIDRs` of its Node object.
    pub pod_cidrs: Vec<IpNet>,
    /// Sources that every guarded port of a node admits, whatever host policies say.
    pub failsafe_sources: Vec<IpNet>,
    /// What no ban list bans, beside what the cluster has.
    pub protected: Vec<IpNet>,
    /// The most elements that the tables may come to; `None` is without a limit.
    pub elements_max: Option<usize>,
}

impl Settings {
    /// The ranges in which an address that no pod has is denied: sorted, disjoint, without host bits.
    pub(crate) fn pod_ranges(&self, node: Option<&Node>) -> Vec<IpNet> {
        if self.unknown_pods == UnknownPods::Allow {
            return Vec::new();
        }
        let of_node = node.into_iter().flat_map(|node| &node.pod_cidrs);
        IpNet::aggregate(&of_node.chain(&self.pod_cidrs).map(IpNet::trunc).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unknown_pods: UnknownPods, of_node: &[&str], of_settings: &[&str], expected: &[&str]) {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let settings = Settings { unknown_pods, pod_cidrs: parse(of_settings), ..Settings::default() };
        let node = Node { pod_cidrs: parse(of_node), ..Node::default() };
        assert_eq!(settings.pod_ranges(Some(&node)), parse(expected));
    }

    #[test]
    fn ranges_of_node_and_settings_are_united() {
        check(UnknownPods::Drop, &[], &[], &[]);
        check(UnknownPods::Drop, &["fd44::/64", "10.244.1.0/24"], &["10.244.1.9/32"], &["10.244.1.0/24", "fd44::/64"]);
        check(UnknownPods::Drop, &["10.244.1.0/24"], &["10.244.0.7/24"], &["10.244.0.0/23"]);
        check(UnknownPods::Allow, &["10.244.1.0/24"], &["10.244.0.0/24"], &[]);
    }
}
