//! NP025: pods that are let out, and not to the DNS of the cluster.

use palisade_core::{Direction, NetworkPolicy, Rule};

use crate::check::Finding;
use crate::dns::{Dns, are_servers};
use crate::pod_class::PodClass;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(dns) = subject.cluster.dns() else { return Vec::new() };
    let pods = subject.pods();
    let cut_off = pods.into_iter().find(|pod| {
        // Of the policies that let a pod out the first is told.
        let first = policies(pod).find(|policy| !rules(policy).is_empty());
        first.is_some_and(|first| first.name == subject.policy.name) && is_cut_off(subject, dns, pod)
    });
    let finding = |pod: &PodClass<'_>| Finding {
        at: spec().field(Direction::Egress.name()),
        message: format!("no policy lets {} ask the DNS servers of the cluster", pod.in_words()),
        reason: "names do not resolve there, and what is allowed cannot be found".to_string(),
        hint: match dns.port() {
            Some(port) => format!("allow UDP and TCP {port} to pods k8s-app=kube-dns of namespace kube-system"),
            None => "allow DNS to pods k8s-app=kube-dns of namespace kube-system".to_string(),
        },
    };
    cut_off.map(finding).into_iter().collect()
}

/// The policies that isolate a pod for egress.
fn policies<'a>(pod: &PodClass<'a>) -> impl Iterator<Item = &'a NetworkPolicy> {
    pod.policies.iter().copied().filter(|policy| !policy.audit && policy.rules[Direction::Egress].is_some())
}

fn rules(policy: &NetworkPolicy) -> &[Rule] {
    policy.rules[Direction::Egress].as_deref().unwrap_or_default()
}

fn is_cut_off(subject: &Subject<'_>, dns: &Dns<'_>, pod: &PodClass<'_>) -> bool {
    let mut allowing = policies(pod).flat_map(|policy| rules(policy).iter().map(move |rule| (policy, rule)));
    pod.asks_dns
        && pod.is_readable()
        && !are_servers(pod)
        && !allowing.any(|(policy, rule)| dns.may_be_asked(policy, rule, subject.cluster))
}
