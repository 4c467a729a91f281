//! The list of all checks, in the order of their ids: a file each, and its page beside it.

mod np004_cidr_host_bits;
mod np005_except_covers_all;
mod np010_missing_namespace;
mod np012_named_port_on_cidr;
mod np020_and_or_confusion;
mod np021_rules_without_type;
mod np022_policytypes_omitted;
mod np023_empty_rule_allows_all;
mod np024_empty_list_meaning;
mod np025_egress_no_dns;
mod np026_dns_udp_only;
mod np027_protocol_default_tcp;
mod np028_ns_label_nonstandard;
mod np029_one_sided_allow;
mod np030_port_vs_targetport;
mod np031_negative_selector;
mod np040_subject_selects_nothing;
mod np041_peer_selects_nothing;
mod np042_selector_typo;
mod np043_port_not_declared;
mod np044_named_port_unmatched;
mod np045_rule_redundant;
mod np046_policy_redundant;
mod np047_policy_vacuous;
mod np060_pod_not_isolated;
mod np061_ns_no_default_deny;
mod np062_open_to_world;
mod np063_egress_to_metadata;
mod np064_exposed_to_future_pods;
mod np065_sensitive_port;
mod np066_apiserver_cut_off;
mod np067_family_gap;
mod np068_webhook_cut_off;
mod np080_ipblock_covers_pods;
mod np081_ipblock_covers_nodes;
mod np082_snat_exposure;
mod np083_hostnetwork_subject;
mod np084_hostnetwork_peer;
mod np087_port_fanout;
mod np088_feature_unsupported;
mod np089_not_enforced;

use palisade_core::Level;

use crate::check::{Check, Find};

/// The id of what reading the input tells and no other check is about.
pub const INPUT: &str = "NP000";

/// The id of what cannot be read and no other check is about.
pub const UNREADABLE: &str = "NP001";

/// A check of the list: its level, its page, and its module if it has one, which looks at policies unless it says `cluster`.
macro_rules! check {
    ($id:literal, $level:ident, $page:literal) => {
        Check { id: $id, level: Level::$level, page: include_str!($page), find: Find::Reading, opt_in: false }
    };
    ($id:literal, $level:ident, $page:literal, opt_in cluster $module:ident) => {
        Check { opt_in: true, ..check!($id, $level, $page, cluster $module) }
    };
    ($id:literal, $level:ident, $page:literal, cluster $module:ident) => {
        Check { find: Find::Cluster($module::find), ..check!($id, $level, $page) }
    };
    ($id:literal, $level:ident, $page:literal, $module:ident) => {
        Check { find: Find::Policy($module::find), ..check!($id, $level, $page) }
    };
}

/// Every check.
pub const ALL: &[Check] = &[
    check!("NP000", Warning, "checks/np000_input.md"),
    check!("NP001", Error, "checks/np001_unreadable.md"),
    check!("NP002", Error, "checks/np002_cidr_invalid.md"),
    check!("NP003", Error, "checks/np003_except_outside_cidr.md"),
    check!("NP004", Warning, "checks/np004_cidr_host_bits.md", np004_cidr_host_bits),
    check!("NP005", Warning, "checks/np005_except_covers_all.md", np005_except_covers_all),
    check!("NP006", Error, "checks/np006_endport_invalid.md"),
    check!("NP007", Error, "checks/np007_selector_invalid.md"),
    check!("NP008", Error, "checks/np008_peer_empty_or_mixed.md"),
    check!("NP009", Warning, "checks/np009_duplicate_name.md"),
    check!("NP010", Note, "checks/np010_missing_namespace.md", np010_missing_namespace),
    check!("NP012", Warning, "checks/np012_named_port_on_cidr.md", np012_named_port_on_cidr),
    check!("NP020", Warning, "checks/np020_and_or_confusion.md", np020_and_or_confusion),
    check!("NP021", Warning, "checks/np021_rules_without_type.md", np021_rules_without_type),
    check!("NP022", Note, "checks/np022_policytypes_omitted.md", np022_policytypes_omitted),
    check!("NP023", Warning, "checks/np023_empty_rule_allows_all.md", np023_empty_rule_allows_all),
    check!("NP024", Warning, "checks/np024_empty_list_meaning.md", np024_empty_list_meaning),
    check!("NP025", Warning, "checks/np025_egress_no_dns.md", np025_egress_no_dns),
    check!("NP026", Warning, "checks/np026_dns_udp_only.md", np026_dns_udp_only),
    check!("NP027", Warning, "checks/np027_protocol_default_tcp.md", np027_protocol_default_tcp),
    check!("NP028", Warning, "checks/np028_ns_label_nonstandard.md", np028_ns_label_nonstandard),
    check!("NP029", Warning, "checks/np029_one_sided_allow.md", np029_one_sided_allow),
    check!("NP030", Warning, "checks/np030_port_vs_targetport.md", np030_port_vs_targetport),
    check!("NP031", Note, "checks/np031_negative_selector.md", np031_negative_selector),
    check!("NP040", Warning, "checks/np040_subject_selects_nothing.md", np040_subject_selects_nothing),
    check!("NP041", Warning, "checks/np041_peer_selects_nothing.md", np041_peer_selects_nothing),
    check!("NP042", Warning, "checks/np042_selector_typo.md", np042_selector_typo),
    check!("NP043", Note, "checks/np043_port_not_declared.md", np043_port_not_declared),
    check!("NP044", Warning, "checks/np044_named_port_unmatched.md", np044_named_port_unmatched),
    check!("NP045", Warning, "checks/np045_rule_redundant.md", np045_rule_redundant),
    check!("NP046", Warning, "checks/np046_policy_redundant.md", np046_policy_redundant),
    check!("NP047", Warning, "checks/np047_policy_vacuous.md", np047_policy_vacuous),
    check!("NP060", Warning, "checks/np060_pod_not_isolated.md", opt_in cluster np060_pod_not_isolated),
    check!("NP061", Warning, "checks/np061_ns_no_default_deny.md", opt_in cluster np061_ns_no_default_deny),
    check!("NP062", Warning, "checks/np062_open_to_world.md", np062_open_to_world),
    check!("NP063", Warning, "checks/np063_egress_to_metadata.md", np063_egress_to_metadata),
    check!("NP064", Note, "checks/np064_exposed_to_future_pods.md", np064_exposed_to_future_pods),
    check!("NP065", Warning, "checks/np065_sensitive_port.md", np065_sensitive_port),
    check!("NP066", Warning, "checks/np066_apiserver_cut_off.md", cluster np066_apiserver_cut_off),
    check!("NP067", Note, "checks/np067_family_gap.md", np067_family_gap),
    check!("NP068", Warning, "checks/np068_webhook_cut_off.md", cluster np068_webhook_cut_off),
    check!("NP080", Warning, "checks/np080_ipblock_covers_pods.md", np080_ipblock_covers_pods),
    check!("NP081", Warning, "checks/np081_ipblock_covers_nodes.md", np081_ipblock_covers_nodes),
    check!("NP082", Warning, "checks/np082_snat_exposure.md", np082_snat_exposure),
    check!("NP083", Warning, "checks/np083_hostnetwork_subject.md", np083_hostnetwork_subject),
    check!("NP084", Warning, "checks/np084_hostnetwork_peer.md", np084_hostnetwork_peer),
    check!("NP087", Warning, "checks/np087_port_fanout.md", np087_port_fanout),
    check!("NP088", Warning, "checks/np088_feature_unsupported.md", np088_feature_unsupported),
    check!("NP089", Warning, "checks/np089_not_enforced.md", cluster np089_not_enforced),
];

/// The check of an id.
pub fn find(id: &str) -> Option<&'static Check> {
    ALL.iter().find(|check| check.id == id)
}
