//! The oracle judges the compiler: on random clusters and flows, and while clusters change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_compile::{Compiler, Settings, UnknownPods, compile, compile_server};
use palisade_core::server::machine;
use palisade_core::tables::Subjects;
use palisade_core::{
    Admit, Audit, Change, Direction, Family, NetworkPolicy, NodeName, Pod, PodName, Rest, Snapshot, Tables,
    TablesChange, Verdict,
};
use palisade_sim::{Endpoint, Owner, Packet, ServerOutcome, decide, isolators, resolve, walk};
use palisade_sources::{Limits, Options, SourceText, parse};
use palisade_testkit::manifest::{to_configs, to_yaml};
use palisade_testkit::mutate::mutate;
use palisade_testkit::random::{self, Case};
use palisade_testkit::rng::Rng;
use palisade_testkit::shrink::shrink;

#[test]
fn oracle_and_tables_agree_on_random_flows() {
    let (mut judged, mut audited, mut banned) = (0, BTreeMap::new(), [0, 0]);
    for seed in 0..400 {
        let case = random::case(seed, 60);
        for ban in packets(&case).iter().flat_map(|packet| decide(&case.snapshot, packet).bans) {
            banned[usize::from(ban.pod.is_some())] += 1;
        }
        for audit in packets(&case).iter().filter_map(|packet| decide(&case.snapshot, packet).audit()) {
            *audited.entry(audit).or_insert(0) += 1;
        }
        judged += check(seed, case);
    }
    assert!(judged >= 10_000, "only {judged} packets were judged");
    for audit in [Audit::WouldDeny, Audit::WouldAllow] {
        assert!(audited.get(&audit) >= Some(&100), "{audited:?}");
    }
    assert!(banned.iter().all(|banned| *banned > 100), "{banned:?} banned for all, and for a target");
}

/// Where Services, node ports and host ports lead packets, each node is asked about what it sees.
#[test]
fn oracle_and_tables_agree_through_services() {
    let (mut judged, mut hidden, mut led_back) = (0, 0, 0);
    for seed in 0..400 {
        let mut case = random::case(seed, 40);
        random::through_services(&mut case, &mut Rng::new(seed), 40);
        for packet in packets(&case) {
            hidden += usize::from(packet.via.as_ref().is_some_and(|via| via.masquerade.is_some()));
            led_back += usize::from(packet.via.is_some() && packet.source.address == packet.destination.address);
        }
        judged += check(seed, case);
    }
    assert!(judged >= 10_000 && hidden >= 2_000 && led_back >= 200, "{judged} judged, {hidden}, {led_back}");
}

/// Servers outside are told whom they admit by the nodes that there are.
#[test]
fn oracle_and_tables_agree_about_servers() {
    let (mut judged, mut outcomes) = (0, BTreeMap::new());
    for seed in 0..400 {
        let mut case = random::case(seed, 40);
        random::to_servers(&mut case, &mut Rng::new(seed), 60);
        for packet in packets(&case) {
            let Some(decision) = decide(&case.snapshot, &packet).server else { continue };
            let outcome = match decision.outcome {
                ServerOutcome::Denied { closest } => format!("denied {}", closest.is_some()),
                other => format!("{other:?}").split(' ').next().unwrap_or_default().to_string(),
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        judged += check(seed, case);
    }
    assert!(judged >= 10_000, "only {judged} packets were judged");
    assert!(outcomes.len() == 5 && outcomes.values().all(|count| *count >= 200), "{outcomes:?}");
}

#[test]
fn an_address_that_changes_hands_takes_nothing_along() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut snapshot = random::cluster(&mut rng);
        let own = |(_, pod): &(&PodName, &Arc<Pod>)| !pod.finished && !pod.host_network;
        let Some((name, pod)) = snapshot.pods.iter().find(own) else { continue };
        let (name, pod) = (name.clone(), Pod::clone(pod));
        let labels = random::cluster(&mut rng).pods.values().next().map(|pod| pod.labels.clone()).unwrap_or_default();
        snapshot.pods.insert(name.clone(), Arc::new(Pod { finished: true, ..pod.clone() }));
        snapshot.pods.insert(PodName::new(name.namespace, "heir"), Arc::new(Pod { labels, ..pod }));
        let flows = random::flows(&snapshot, &mut rng, 40);
        check(seed, Case { snapshot, flows });
    }
}

#[test]
fn a_change_leads_to_the_same_tables_as_a_fresh_start() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let mut snapshot = random::cluster(&mut rng);
        let settings = settings(&mut rng);
        let mut compiler = started(&snapshot, &settings);
        for step in 0..20 {
            let next = mutate(&snapshot, &mut rng);
            let changes = snapshot.changes_to(&next);
            let mut stepped = compiler.tables().clone();
            for change in compiler.update(&changes) {
                let before = stepped.clone();
                stepped.apply(&change);
                assert_ne!(before, stepped, "seed {seed}, step {step}: {change:?} changes nothing");
            }
            let fresh = started(&next, &settings).into_tables();
            assert_eq!(*compiler.tables(), fresh, "seed {seed}, step {step}: {changes:#?}");
            assert_eq!(stepped, fresh, "seed {seed}, step {step}: the steps lead elsewhere");
            snapshot = next;
        }
    }
}

/// What the tables say to people follows from the cluster, too. An address of two pods that admit nobody together says the same as one
/// that nobody may reach.
#[test]
fn descriptions_do_not_depend_on_what_was_before() {
    let pod = |name: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{nodeName: n1}}\nstatus: {{phase: Running, podIPs: [{{ip: {address}}}]}}\n"
        )
    };
    let policy = |app: &str, ingress: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {app}}}\nspec: {{podSelector: {{matchLabels: {{app: {app}}}}}, ingress: {ingress}}}\n"
        )
    };
    let rule = "[{ports: [{port: 1, endPort: 100}], from: [{podSelector: {}}]}]";
    let alone = pod("shut", "10.244.1.2") + &policy("shut", "[]");
    let twins = [pod("open", "10.244.1.1"), pod("none", "10.244.1.1"), policy("open", rule), policy("none", "[]")];
    let snapshot = |text: String| {
        let parsed = parse(&[SourceText { file: "-".into(), text }], &Options::default());
        assert_eq!(parsed.snapshot.pods.values().filter(|pod| pod.assumed.addresses).count(), 0);
        parsed.snapshot
    };
    let [with_twins, without] = [twins.concat() + &alone, alone].map(snapshot);
    let mut compiler = started(&with_twins, &Settings::default());
    assert_eq!(compiler.tables().rests.len(), 1, "{:?}", compiler.tables().rests);
    compiler.update(&with_twins.changes_to(&without));
    assert_eq!(*compiler.tables(), started(&without, &Settings::default()).into_tables());
}

/// Whom there is no room for follows from the cluster alone, whatever happened before.
#[test]
fn where_there_is_no_room_the_largest_namespaces_are_closed() {
    let (mut closed, mut opened) = (0, 0);
    for seed in 0..80 {
        let mut rng = Rng::new(seed);
        let mut snapshot = random::cluster(&mut rng);
        let settings = Settings { elements_max: Some(500 * (1 + rng.below(20))), ..settings(&mut rng) };
        let mut compiler = started(&snapshot, &settings);
        for step in 0..20 {
            let next = mutate(&snapshot, &mut rng);
            let mut stepped = compiler.tables().clone();
            let before = compiler.closed().clone();
            let mut changes = compiler.update(&snapshot.changes_to(&next));
            assert!(compiler.elements() <= settings.elements_max.unwrap(), "seed {seed}, step {step}");
            changes.extend(compiler.review());
            for change in &changes {
                stepped.apply(change);
            }
            let fresh = started(&next, &settings);
            assert_eq!(compiler.closed(), fresh.closed(), "seed {seed}, step {step}");
            assert_eq!(compiler.tables(), fresh.tables(), "seed {seed}, step {step}: {changes:#?}");
            assert_eq!(compiler.elements(), fresh.elements(), "seed {seed}, step {step}");
            assert_eq!(stepped, *fresh.tables(), "seed {seed}, step {step}: the steps lead elsewhere");
            check_closed(&next, &compiler, &settings);
            closed += usize::from(!compiler.closed().is_empty());
            opened += before.difference(compiler.closed()).count();
            snapshot = next;
        }
    }
    assert!(closed >= 300 && opened >= 25, "{closed} with closed namespaces, {opened} opened");
}

/// Closed pods have no peer, in the directions in which they are isolated; of the others each holds what it does without a limit.
fn check_closed(snapshot: &Snapshot, compiler: &Compiler, settings: &Settings) {
    let free = started(snapshot, &Settings { elements_max: None, ..settings.clone() });
    let (tables, free) = (compiler.tables(), free.tables());
    let own = |pod: &Arc<Pod>| pod.node.as_deref() == Some("n1") && !pod.finished && !pod.host_network;
    for (name, pod) in snapshot.pods.iter().filter(|(_, pod)| own(pod)) {
        let claims = |peer: &Arc<Pod>| peer.addresses.iter().any(|address| pod.addresses.contains(address));
        if snapshot.pods.iter().any(|(other, peer)| other != name && own(peer) && claims(peer)) {
            continue;
        }
        for (address, direction) in pod.addresses.iter().flat_map(|at| Direction::ALL.map(|direction| (at, direction)))
        {
            let (here, there) = (&tables.subjects[direction], &free.subjects[direction]);
            let ports = |subjects: &Subjects| -> Vec<_> {
                subjects
                    .ports
                    .iter()
                    .filter(|(key, _)| key.address == *address)
                    .map(|(_, admit)| admit.clone())
                    .collect()
            };
            if compiler.closed().contains(&name.namespace) {
                let is_isolated = !isolators(snapshot, name, direction).is_empty();
                let rest = here.isolated.get(address).map(|rest| &tables.rests[rest]);
                assert!(rest.is_none_or(|rest| rest.ranges.is_empty() && rest.otherwise.is_none()), "{name}");
                assert_eq!((rest.is_some(), ports(here)), (is_isolated, vec![]), "{name}");
            } else {
                assert_eq!(here.isolated.get(address), there.isolated.get(address), "{name}");
                assert_eq!(ports(here), ports(there), "{name}");
            }
        }
    }
}

/// The limits of a namespace are applied where policies are read, by their text. What is within them makes no more of one pod.
#[test]
fn the_tables_hold_no_more_than_the_limit_of_a_namespace() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let text: String = (0..=rng.below(8)).map(|number| policy_of_ranges(&mut rng, number)).collect();
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: x, b: x}}\nspec: {nodeName: n1}\n"
            .to_string()
            + &text;
        let parsed = |elements_per_namespace| {
            let limits = Limits { elements_per_namespace, ..Limits::default() };
            let sources = [SourceText { file: "-".into(), text: text.clone() }];
            parse(&sources, &Options { families: vec![Family::V4], limits, ..Options::default() }).snapshot
        };
        let is_open = |limit: &usize| parsed(*limit).policies.values().all(|policy| policy.unreadable.is_none());
        let limit = (1..100_000).collect::<Vec<_>>().partition_point(|limit| !is_open(limit)) + 1;
        let tables = compile(&parsed(limit), &"n1".into());
        let peers = |admit: &Admit| match admit {
            Admit::Everyone => 1,
            Admit::Group(id) => 1 + tables.groups[id].blocks4.len(),
        };
        let held: usize = Direction::ALL
            .into_iter()
            .map(|direction| {
                let subjects = &tables.subjects[direction];
                let rests = subjects.isolated.values().map(|rest| &tables.rests[rest]);
                let of_rest = |rest: &Rest| {
                    let ranges = rest.ranges.iter().map(|(.., admit)| peers(admit)).sum::<usize>();
                    ranges + rest.otherwise.as_ref().map_or(1, peers)
                };
                subjects.ports.values().map(peers).sum::<usize>() + rests.map(of_rest).sum::<usize>()
            })
            .sum();
        assert!(held <= limit, "seed {seed}: {held} of {limit} elements\n{text}");
        // Two labels and duplicates aside, the bound is not far away.
        assert!(limit <= 4 * held + 20, "seed {seed}: {held} of {limit} elements\n{text}");
    }
}

/// Ranges, exact ports and all ports, with blocks that no other rule names.
fn policy_of_ranges(rng: &mut Rng, number: usize) -> String {
    let selector = ["{}", "{matchLabels: {a: x}}", "{matchLabels: {b: x}}"][rng.below(3)];
    let rules: Vec<String> = (0..=rng.below(4))
        .map(|rule| {
            let first = 1 + rng.below(60);
            let ports = match rng.below(4) {
                0 => String::new(),
                1 => format!("ports: [{{port: {first}}}], "),
                2 => format!(
                    "ports: [{{port: {first}}}, {{port: {}, endPort: {}}}], ",
                    first + 3,
                    first + 3 + rng.below(20)
                ),
                _ => format!("ports: [{{port: {first}, endPort: {}}}], ", first + 1 + rng.below(40)),
            };
            format!("{{{ports}from: [{{ipBlock: {{cidr: 192.0.{}.{}/32}}}}]}}", number, 2 * rule)
        })
        .collect();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{number}}}\nspec: {{podSelector: {selector}, ingress: [{}]}}\n",
        rules.join(", ")
    )
}

#[test]
fn a_change_that_denies_says_so() {
    let (mut denying, mut harmless) = (0, 0);
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let mut snapshot = random::cluster(&mut rng);
        let settings = settings(&mut rng);
        let mut compiler = started(&snapshot, &settings);
        for step in 0..20 {
            let next = mutate(&snapshot, &mut rng);
            let before = BTreeMap::from([(NodeName::from("n1"), compiler.tables().clone())]);
            let changes = compiler.update(&snapshot.changes_to(&next));
            let after = BTreeMap::from([(NodeName::from("n1"), compiler.tables().clone())]);
            // The packets of both states, as addresses: who has them may have changed, and the tables do not ask.
            let asked = [&snapshot, &next]
                .map(|snapshot| Case { snapshot: snapshot.clone(), flows: random::flows(snapshot, &mut rng, 30) });
            let passes =
                |tables: &BTreeMap<NodeName, Tables>, packet: &Packet| walk(tables, packet).verdict == Verdict::Allow;
            // What guards ports of nodes, or bans, judges each packet, and needs nobody to say so.
            let is_judged_once =
                |packet: &Packet| packet.destination.owner != Owner::Node && walk(&after, packet).bans.is_empty();
            let denied = |packet: &Packet| is_judged_once(packet) && passes(&before, packet) && !passes(&after, packet);
            let denied = asked.iter().flat_map(packets).find(denied);
            let says_so = changes.iter().any(TablesChange::may_deny);
            if let Some(packet) = &denied {
                assert!(says_so, "seed {seed}, step {step}: {packet} is denied by {changes:#?}");
                denying += 1;
            }
            harmless += usize::from(!says_so && !changes.is_empty());
            snapshot = next;
        }
    }
    assert!(denying >= 300 && harmless >= 100, "{denying} changes denied, {harmless} could not");
}

#[test]
fn unknown_pods_are_denied_and_nobody_else() {
    let (mut unknown, mut known) = (0, 0);
    let settings = Settings { unknown_pods: UnknownPods::Drop, ..Settings::default() };
    for seed in 0..200 {
        let case = random::case(seed, 60);
        let tables = tables_with(&case.snapshot, &settings);
        for packet in packets(&case) {
            let ends = [(&packet.source, &packet.destination), (&packet.destination, &packet.source)];
            let is_unknown = ends.iter().any(|(end, other)| is_unknown_pod(&case.snapshot, end, other));
            let decision = decide(&case.snapshot, &packet);
            let wanted =
                if is_unknown { (Verdict::Deny, Verdict::Deny) } else { (decision.verdict, decision.shadow_verdict()) };
            let trace = walk(&tables, &packet);
            assert_eq!((trace.verdict, trace.shadow.verdict), wanted, "seed {seed}: {packet}: {trace:#?}");
            *if is_unknown { &mut unknown } else { &mut known } += 1;
        }
    }
    assert!(unknown >= 100 && known >= 5_000, "{unknown} packets of unknown pods, {known} of others");
}

/// Whether the address is nobody's, in a range of a node that forwards its packets.
fn is_unknown_pod(snapshot: &Snapshot, end: &Endpoint, other: &Endpoint) -> bool {
    let is_own_node = |node: &NodeName| other.owner == Owner::Node && other.node.as_ref() == Some(node);
    end.owner == Owner::Outside
        && end.address != other.address
        && snapshot
            .nodes
            .iter()
            .any(|(name, node)| node.pod_cidrs.iter().any(|range| range.contains(&end.address)) && !is_own_node(name))
}

/// Exactly the subjects that an audited policy selects, each in the directions that it names.
/// What host policies deny, they do not deny to failsafe sources: for those only the policies of pods count.
#[test]
fn guards_admit_failsafe_sources() {
    let sources: Vec<IpNet> = ["10.244.0.0/17", "192.0.2.129/25"].map(|cidr| cidr.parse().unwrap()).into();
    let settings = Settings { failsafe_sources: sources.clone(), ..Settings::default() };
    let (mut let_in, mut denied) = (0, 0);
    for seed in 0..300 {
        let case = random::case(seed, 60);
        let unguarded = Snapshot { host_policies: BTreeMap::new(), ..case.snapshot.clone() };
        let tables = tables_with(&case.snapshot, &settings);
        for packet in packets(&case) {
            let is_failsafe = sources.iter().any(|source| source.contains(&packet.source.address));
            let guarded = decide(&case.snapshot, &packet).verdict;
            let wanted = if is_failsafe { decide(&unguarded, &packet).verdict } else { guarded };
            assert_eq!(walk(&tables, &packet).verdict, wanted, "seed {seed}: {packet}");
            let_in += usize::from(wanted != guarded);
            denied += usize::from(wanted != decide(&unguarded, &packet).verdict);
        }
    }
    assert!(let_in >= 50 && denied >= 50, "{let_in} packets were let in, {denied} denied");
}

#[test]
fn the_shadow_holds_whom_audited_policies_select() {
    let mut selected = 0;
    for seed in 0..300 {
        let snapshot = random::case(seed, 0).snapshot;
        let mut audited_alone = snapshot.clone();
        audited_alone.policies.retain(|_, policy| policy.audit);
        for policy in audited_alone.policies.values_mut() {
            *policy = Arc::new(NetworkPolicy { audit: false, ..NetworkPolicy::clone(policy) });
        }
        for (node, tables) in tables_of_every_node(&snapshot) {
            for direction in Direction::ALL {
                let pods = snapshot.pods.iter().filter(|(_, pod)| pod.node.as_ref() == Some(&node));
                let pods = pods.filter(|(name, _)| !isolators(&audited_alone, name, direction).is_empty());
                let expected: BTreeSet<IpAddr> = pods.flat_map(|(_, pod)| pod.addresses.iter().copied()).collect();
                let shadow = &tables.shadow[direction];
                assert!(shadow.isolated.keys().eq(&expected), "seed {seed}: {direction} on {node}: {shadow:#?}");
                assert!(shadow.ports.keys().all(|key| expected.contains(&key.address)), "seed {seed}: {shadow:#?}");
                selected += expected.len();
            }
        }
    }
    assert!(selected >= 500, "only {selected}");
}

#[test]
fn the_order_of_objects_does_not_matter() {
    for seed in 0..100 {
        let snapshot = random::case(seed, 0).snapshot;
        let mut changes: Vec<Change> = Snapshot::default().changes_to(&snapshot);
        changes.reverse();
        let mut compiler = Compiler::new("n1".into());
        for change in changes {
            compiler.update(&[change]);
        }
        assert_eq!(*compiler.tables(), compile(&snapshot, &"n1".into()), "seed {seed}");
    }
}

#[test]
fn an_untouched_cluster_takes_no_step() {
    for seed in 0..100 {
        let snapshot = random::case(seed, 0).snapshot;
        let steps =
            started(&snapshot, &settings(&mut Rng::new(seed))).update(&Snapshot::default().changes_to(&snapshot));
        assert_eq!(steps, [], "seed {seed}");
    }
}

/// Unknown pods pass, or are those of the node's own ranges, or of another one too.
fn settings(rng: &mut Rng) -> Settings {
    let unknown_pods = if rng.below(3) == 0 { UnknownPods::Allow } else { UnknownPods::Drop };
    let more = ["10.244.0.0/16", "fd44::/48"].map(|range| range.parse().expect("a range"));
    let pod_cidrs = if rng.below(4) == 0 { more.to_vec() } else { Vec::new() };
    Settings { unknown_pods, pod_cidrs, ..Settings::default() }
}

fn started(snapshot: &Snapshot, settings: &Settings) -> Compiler {
    started_on(&"n1".into(), snapshot, settings)
}

fn started_on(node: &NodeName, snapshot: &Snapshot, settings: &Settings) -> Compiler {
    let mut compiler = Compiler::with(node.clone(), settings.clone());
    compiler.update(&Snapshot::default().changes_to(snapshot));
    compiler
}

/// Both witnesses judge every packet of the case; returns how many they were.
fn check(seed: u64, case: Case) -> usize {
    let tables = tables_of_every_node(&case.snapshot);
    let packets = packets(&case);
    if packets.iter().any(|packet| disagree(&case.snapshot, &tables, packet)) {
        report(seed, case);
    }
    packets.len()
}

fn packets(case: &Case) -> Vec<Packet> {
    let resolved = case.flows.iter().filter_map(|flow| resolve(&case.snapshot, flow, &Family::ALL).ok());
    resolved.flatten().collect()
}

fn tables_of_every_node(snapshot: &Snapshot) -> BTreeMap<NodeName, Tables> {
    let of_nodes = snapshot.nodes.keys().map(|node| (node.clone(), compile(snapshot, node)));
    let servers = snapshot.servers.iter();
    of_nodes.chain(servers.map(|(name, server)| (machine(name), compile_server(snapshot, name, server)))).collect()
}

fn tables_with(snapshot: &Snapshot, settings: &Settings) -> BTreeMap<NodeName, Tables> {
    let tables = |node: &NodeName| started_on(node, snapshot, settings).into_tables();
    snapshot.nodes.keys().map(|node| (node.clone(), tables(node))).collect()
}

fn disagree(snapshot: &Snapshot, tables: &BTreeMap<NodeName, Tables>, packet: &Packet) -> bool {
    let (decision, trace) = (decide(snapshot, packet), walk(tables, packet));
    (decision.verdict, decision.shadow_verdict()) != (trace.verdict, trace.shadow.verdict)
}

fn report(seed: u64, case: Case) -> ! {
    let small = shrink(case, |case| {
        let tables = tables_of_every_node(&case.snapshot);
        packets(case).iter().any(|packet| disagree(&case.snapshot, &tables, packet))
    });
    let tables = tables_of_every_node(&small.snapshot);
    for packet in packets(&small).iter().filter(|packet| disagree(&small.snapshot, &tables, packet)) {
        let (decision, trace) = (decide(&small.snapshot, packet), walk(&tables, packet));
        println!("{packet}\noracle: {}", decision.verdict);
        decision.directions.iter().for_each(|direction| println!("  {direction}"));
        println!("tables: {}", trace.verdict);
        trace.steps.iter().for_each(|step| println!("  {step}"));
        println!("audited policies, oracle: {}", decision.shadow_verdict());
        decision.shadow.iter().flat_map(|shadow| &shadow.directions).for_each(|direction| println!("  {direction}"));
        println!("audited policies, tables: {}", trace.shadow.verdict);
        trace.shadow.steps.iter().for_each(|step| println!("  {step}"));
    }
    println!("{:#?}{:#?}", small.snapshot.services, small.snapshot.servers);
    let configs = to_configs(&small.snapshot).join("---\n");
    panic!("oracle and tables disagree with seed {seed}:\n{}\nconfig files:\n{configs}", to_yaml(&small.snapshot));
}
