//! From objects to the snapshot: workloads become the pods they would make, every pod gets its node and addresses,
//! every namespace that is named exists.
//!
//! Pods of a workload are named so that their names can be foretold: `front` if it makes one, `front-1`, `front-2` if
//! it makes more; those of a `StatefulSet` as Kubernetes names them (`pg-0`), of a `DaemonSet` by node (`agent-n1`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{
    Assumed, BanList, BanListName, Diagnostic, Labels, Level, Namespace, NamespaceName, NodeName, Pod, PodName,
    Snapshot, WorkloadKind, WorkloadName,
};

use crate::Options;
use crate::metadata::Owner;
use crate::node_allowlist::server;
use crate::objects::{Objects, Placed};
use crate::placement::{self, Draft};
use crate::pod::{PodObject, Template};
use crate::reading::Reading;
use crate::report::{Origin, Report};
use crate::service::{self, ServiceObject};
use crate::workload::WorkloadObject;
use crate::{ban_list, config_map, limits, namespace};

/// Makes the snapshot.
pub fn snapshot(mut objects: Objects, options: &Options, reading: &mut Reading, report: &mut Report<'_>) -> Snapshot {
    limits::apply(&mut objects.policies, &options.limits, report);
    let live = std::mem::take(&mut objects.pods);
    let mut owners: BTreeMap<PodName, Vec<WorkloadName>> = BTreeMap::new();
    let mut pods: BTreeMap<PodName, Draft> = BTreeMap::new();
    for (name, Placed { origin, object }) in live {
        owners.insert(name.clone(), owner_chain(&name.namespace, &object, &objects));
        pods.insert(name, draft(object, origin, reading));
    }
    let nodes = placement::Nodes::new(std::mem::take(&mut objects.nodes), &pods, &objects.workloads, options.nodes);
    invent_pods(&objects.workloads, &nodes, options.replicas_max, &mut owners, &mut pods);
    for (name, draft) in &mut pods {
        draft.pod.workload = owners.get(name).and_then(|chain| chain.last().cloned());
    }
    let nodes = placement::place(nodes, &mut pods, options, report);
    foreign(&objects.foreign, report);
    let pods: BTreeMap<PodName, Arc<Pod>> = pods.into_iter().map(|(name, draft)| (name, Arc::new(draft.pod))).collect();
    let allowlists = std::mem::take(&mut objects.allowlists);
    let snapshot = Snapshot {
        services: service::place(&objects.services, &nodes, &pods, options),
        workloads: workloads(&objects, &pods, owners),
        namespaces: namespaces(&mut objects, &pods, reading),
        host_policies: objects
            .host_policies
            .into_iter()
            .map(|(name, policy)| (name, Arc::new(policy.object)))
            .collect(),
        ban_lists: ban_lists(objects.ban_lists, &objects.config_maps, options.now, report),
        policies: objects.policies.into_iter().map(|(name, policy)| (name, Arc::new(policy.object))).collect(),
        nodes,
        pods,
        ..Snapshot::default()
    };
    Snapshot { servers: server::place(allowlists, &snapshot, &options.families, report), ..snapshot }
}

fn draft(object: PodObject, origin: Origin, reading: &mut Reading) -> Draft {
    let (pod, node_addresses) = pod(object, reading);
    Draft { pod, origin, node_addresses }
}

/// A pod as its object describes it, and the addresses of its node that the object names.
pub fn pod(object: PodObject, reading: &mut Reading) -> (Pod, Vec<IpAddr>) {
    let Template { labels, node, host_network, mut ports } = object.template;
    let mut addresses = object.addresses;
    // They were read one by one, and there are many pods.
    ports.shrink_to_fit();
    addresses.shrink_to_fit();
    let pod = Pod {
        labels: reading.share_labels(labels),
        node,
        addresses,
        host_network,
        finished: object.finished,
        ports,
        workload: None,
        assumed: Assumed::default(),
    };
    (pod, object.node_addresses)
}

/// What made a pod, and what made that, as far as it can be told.
fn owner_chain(namespace: &NamespaceName, pod: &PodObject, objects: &Objects) -> Vec<WorkloadName> {
    let mut chain: Vec<WorkloadName> = Vec::new();
    let mut next = pod.owner.clone();
    while let Some(Owner { kind, name }) = next {
        let owner = WorkloadName { namespace: Arc::clone(namespace), kind, name };
        if chain.contains(&owner) {
            break;
        }
        next = objects
            .workloads
            .get(&owner)
            .and_then(|known| known.object.owner.clone())
            .or_else(|| owner_by_name(&owner, &pod.template.labels, objects));
        chain.push(owner);
    }
    chain
}

/// The owner of a `ReplicaSet` or `Job` that the input does not hold, told by how controllers name what they make:
/// the Deployment's name and the pod template's hash, the `CronJob`'s name and a number.
fn owner_by_name(made: &WorkloadName, labels: &Labels, objects: &Objects) -> Option<Owner> {
    if let Some(name) = deployment(made, labels) {
        return Some(Owner { kind: WorkloadKind::Deployment, name: name.into() });
    }
    let (prefix, _) = made.name.rsplit_once('-')?;
    let kind = match made.kind {
        WorkloadKind::ReplicaSet => WorkloadKind::Deployment,
        WorkloadKind::Job => WorkloadKind::CronJob,
        _ => return None,
    };
    let candidate = WorkloadName { namespace: Arc::clone(&made.namespace), kind, name: prefix.into() };
    objects.workloads.contains_key(&candidate).then_some(Owner { kind, name: candidate.name })
}

/// The name of the Deployment that a `ReplicaSet` belongs to, as the labels of its pods tell.
pub fn deployment<'a>(made: &'a WorkloadName, labels: &Labels) -> Option<&'a str> {
    let (prefix, suffix) = made.name.rsplit_once('-').filter(|_| made.kind == WorkloadKind::ReplicaSet)?;
    labels.get("pod-template-hash").is_some_and(|hash| **hash == *suffix).then_some(prefix)
}

/// Adds the pods of workloads of which the input holds no pods, nor an owner that would make them.
fn invent_pods(
    workloads: &BTreeMap<WorkloadName, Placed<WorkloadObject>>,
    nodes: &placement::Nodes,
    replicas_max: usize,
    owners: &mut BTreeMap<PodName, Vec<WorkloadName>>,
    pods: &mut BTreeMap<PodName, Draft>,
) {
    let live: BTreeSet<WorkloadName> = owners.values().flatten().cloned().collect();
    for (name, Placed { origin, object }) in workloads {
        let owned = object.owner.as_ref().map(|owner| WorkloadName {
            namespace: Arc::clone(&name.namespace),
            kind: owner.kind,
            name: Arc::clone(&owner.name),
        });
        if live.contains(name) || owned.is_some_and(|owner| workloads.contains_key(&owner)) {
            continue;
        }
        for (suffix, node) in copies(name.kind, object, nodes, replicas_max) {
            let pod_name = free_name(name, suffix.as_deref(), pods);
            owners.insert(pod_name.clone(), vec![name.clone()]);
            let template = object.template.clone();
            let mut labels = template.labels;
            for (key, value) in labels_by_controller(name, &pod_name, suffix.as_deref()) {
                labels.insert(key.into(), value.into());
            }
            let pod = Pod {
                labels: Arc::new(labels),
                node: node.or(template.node),
                host_network: template.host_network,
                ports: template.ports,
                ..Pod::default()
            };
            let mut pod = Draft { pod, origin: *origin, node_addresses: Vec::new() };
            // Where a controller would put its pod is a guess, also if it leaves no choice.
            pod.pod.assumed.node = pod.pod.node.is_some() && object.template.node.is_none();
            pods.insert(pod_name, pod);
        }
    }
}

/// The labels that controllers add to those of the template, as far as they follow from names.
fn labels_by_controller<'a>(
    workload: &'a WorkloadName,
    pod: &'a PodName,
    suffix: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    match workload.kind {
        WorkloadKind::StatefulSet => vec![
            ("statefulset.kubernetes.io/pod-name", &*pod.name),
            ("apps.kubernetes.io/pod-index", suffix.unwrap_or_default()),
        ],
        WorkloadKind::Job => vec![("batch.kubernetes.io/job-name", &*workload.name), ("job-name", &*workload.name)],
        _ => Vec::new(),
    }
}

/// The pods that a workload makes: the end of the name of each, and its node where that is given. A few copies stand
/// for all.
fn copies(
    kind: WorkloadKind,
    workload: &WorkloadObject,
    nodes: &placement::Nodes,
    replicas_max: usize,
) -> Vec<(Option<String>, Option<NodeName>)> {
    let count = workload.replicas.min(replicas_max);
    match kind {
        WorkloadKind::DaemonSet => {
            nodes.names().iter().map(|node| (Some(node.to_string()), Some(Arc::clone(node)))).collect()
        }
        WorkloadKind::StatefulSet => {
            (0..count).map(|index| (Some((workload.first_ordinal + index).to_string()), None)).collect()
        }
        _ if count == 1 => vec![(None, None)],
        _ => (1..=count).map(|number| (Some(number.to_string()), None)).collect(),
    }
}

/// The name of a copy; where a pod of that name exists already, the next number that is free.
fn free_name(workload: &WorkloadName, suffix: Option<&str>, pods: &BTreeMap<PodName, Draft>) -> PodName {
    let base = match suffix {
        Some(suffix) => format!("{}-{suffix}", workload.name),
        None => workload.name.to_string(),
    };
    let mut name = PodName::new(Arc::clone(&workload.namespace), base.as_str());
    for number in 1.. {
        if !pods.contains_key(&name) {
            break;
        }
        name.name = format!("{base}-{number}").into();
    }
    name
}

/// The ban lists as of now, with what their sources hold as far as the input tells.
fn ban_lists(
    lists: BTreeMap<BanListName, Placed<BanList>>,
    config_maps: &BTreeMap<String, Vec<String>>,
    now: Option<i64>,
    report: &mut Report<'_>,
) -> BTreeMap<BanListName, Arc<BanList>> {
    let list = |(name, Placed { origin, object: list }): (BanListName, Placed<BanList>)| {
        let found = list.source.as_ref().map(|source| config_map::entries(source, config_maps));
        let of_source = found.map_or_else(Vec::new, |(entries, told)| {
            let object = Some(format!("BanList {name}"));
            for diagnostic in told {
                report.add(origin, Diagnostic { object: object.clone(), ..diagnostic });
            }
            entries
        });
        let list = Arc::new(BanList { of_source: of_source.into(), ..list });
        (name, ban_list::in_force(list, now.unwrap_or(i64::MIN)))
    };
    lists.into_iter().map(list).collect()
}

/// The pods of every workload and Service.
fn workloads(
    objects: &Objects,
    pods: &BTreeMap<PodName, Arc<Pod>>,
    owners: BTreeMap<PodName, Vec<WorkloadName>>,
) -> BTreeMap<WorkloadName, Arc<[PodName]>> {
    let mut workloads: BTreeMap<WorkloadName, Vec<PodName>> =
        objects.workloads.keys().map(|name| (name.clone(), Vec::new())).collect();
    for (pod, chain) in owners {
        for owner in chain {
            workloads.entry(owner).or_default().push(pod.clone());
        }
    }
    let labelled = if objects.services.is_empty() { Labelled::new() } else { labelled(pods) };
    for (name, Placed { object: ServiceObject { selector, .. }, .. }) in &objects.services {
        let service = WorkloadName {
            namespace: Arc::clone(&name.namespace),
            kind: WorkloadKind::Service,
            name: Arc::clone(&name.name),
        };
        workloads.insert(service, selected(&name.namespace, selector, &labelled));
    }
    workloads.into_iter().map(|(name, pods)| (name, pods.into())).collect()
}

/// The running pods of a namespace that have a label, in the order of their names.
type Labelled<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<(&'a PodName, &'a Pod)>>;

fn labelled(pods: &BTreeMap<PodName, Arc<Pod>>) -> Labelled<'_> {
    let mut labelled = Labelled::new();
    for (name, pod) in pods.iter().filter(|(_, pod)| !pod.finished) {
        for (key, value) in &*pod.labels {
            labelled.entry((&name.namespace, key, value)).or_default().push((name, pod));
        }
    }
    labelled
}

/// The pods behind a Service: those that run and have all labels of its selector; an empty selector selects none.
fn selected(namespace: &str, selector: &Labels, labelled: &Labelled<'_>) -> Vec<PodName> {
    // A pod that is selected has every label; those with the rarest of them are few.
    let with_each = selector.iter().map(|(key, value)| labelled.get(&(namespace, &**key, &**value)));
    let fewest = with_each.min_by_key(|pods| pods.map_or(0, Vec::len)).flatten();
    let has_all = |pod: &Pod| selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    fewest.into_iter().flatten().filter(|(_, pod)| has_all(pod)).map(|(name, _)| (*name).clone()).collect()
}

/// The namespaces of the input, and those that any object is in.
fn namespaces(
    objects: &mut Objects,
    pods: &BTreeMap<PodName, Arc<Pod>>,
    reading: &mut Reading,
) -> BTreeMap<NamespaceName, Arc<Namespace>> {
    let mut namespaces: BTreeMap<NamespaceName, Arc<Namespace>> = std::mem::take(&mut objects.namespaces)
        .into_iter()
        .map(|(name, namespace)| (name, Arc::new(namespace.object)))
        .collect();
    let named = (objects.workloads.keys().map(|name| &name.namespace))
        .chain(objects.services.keys().map(|name| &name.namespace))
        .chain(objects.policies.keys().map(|name| &name.namespace))
        .chain(pods.keys().map(|name| &name.namespace));
    for name in named {
        if !namespaces.contains_key(name) {
            namespaces.insert(Arc::clone(name), Arc::new(namespace::read(name, None, reading)));
        }
    }
    namespaces
}

/// Policies of other engines are never passed over quietly: they may forbid or allow what verdicts here do not show.
fn foreign(kinds: &BTreeMap<String, usize>, report: &mut Report<'_>) {
    for (kind, count) in kinds {
        let objects = if *count == 1 { "object" } else { "objects" };
        report.diagnostics.push(Diagnostic::new(Level::Warning, format!("verdicts ignore {count} {kind} {objects}")));
    }
}
