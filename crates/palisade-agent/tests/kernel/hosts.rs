//! Host policies: followed like those of pods, and never open by accident.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_agent::restore::{Restored, restore};
use palisade_agent::wait::Subject;
use palisade_compile::UnknownPods;
use palisade_core::{
    HostPeer, HostPolicy, HostPort, HostScope, Node, NodeName, Otherwise, PodName, PolicyName, PortRange, Selector,
    Snapshot, Transport,
};
use palisade_nft::{Kernel, Ruleset, Table};
use palisade_testapi::{Disturbance, Fault, Obstacle};
use serde_json::json;

use crate::agent::Told;
use crate::asking::{Followed, get, samples, status, until};
use crate::lifetime::{shop, wait_for};
use crate::paused::tables;
use crate::probing::spawn;
use crate::telling::{in_force, wait};
use crate::world::World;

/// The port that is guarded.
const PORT: u16 = 9000;
const KIND: &str = "hostpolicies.palisade.dev";
/// What passes and what does not, while the port is guarded.
const FLOWS: [&str; 6] = [
    "node/n2 -> node/n1 udp 9000",
    "shop/client -> node/n1 udp 9000",
    "shop/client -> node/n2 udp 9000",
    "shop/open -> node/n1 udp 9000",
    "shop/open -> node/n2 tcp 9000",
    "shop/open -> node/n1 udp 9001",
];

/// Policies come, change and go; nodes and pods join and leave those who are admitted.
pub fn host_policies_are_followed() {
    let mut world = World::start(&guarded(), UnknownPods::Drop);
    world.agrees_on(&FLOWS);
    let mut next = world.snapshot.clone();
    let policy = guard(vec![nodes(), pods("open")]);
    next.host_policies.insert(policy.name.clone(), Arc::new(policy));
    let mut audited = HostPolicy { audit: true, ..guard(vec![]) };
    audited.name = "audited".into();
    next.host_policies.insert(audited.name.clone(), Arc::new(audited));
    follow(&mut world, &next);
    let mut renamed = (*next.pods[&PodName::new("shop", "open")]).clone();
    renamed.labels = Arc::new([("app".into(), "other".into())].into());
    next.pods.insert(PodName::new("shop", "open"), Arc::new(renamed));
    follow(&mut world, &next);
    next.host_policies.remove(&"guard".into());
    follow(&mut world, &next);
    next.host_policies.clear();
    follow(&mut world, &next);
    assert_eq!(world.host_ruleset(&"n1".into()).chains.len(), 0, "a table without guards is no table");
}

/// Who is failsafe reaches what is guarded, as if each policy named it; nobody else does.
pub fn failsafe_sources_are_let_in() {
    let snapshot = guarded();
    let mut world = World::without_agents(&snapshot, UnknownPods::Drop);
    let client = &snapshot.pods[&PodName::new("shop", "client")];
    let sources: Vec<IpNet> = client.addresses.iter().map(|address| IpNet::from(*address)).collect();
    for node in ["n1", "n2"] {
        let failsafe_sources = sources.clone();
        world.start_agent_told(&Told { failsafe_sources, ..world.told(node) });
    }
    let mut policy = (*snapshot.host_policies[&"guard".into()]).clone();
    policy.from.extend(sources.into_iter().map(|cidr| HostPeer::Block { cidr, except: Vec::new() }));
    world.snapshot.host_policies.insert(policy.name.clone(), Arc::new(policy));
    world.settle();
    world.agrees_on(&FLOWS);
}

fn follow(world: &mut World, next: &Snapshot) {
    world.say(next);
    world.settle();
    world.agrees_on(&FLOWS);
}

/// As soon as `wait` says that a host policy is in force, or gone, the packets agree.
pub fn what_wait_says_of_host_policies_is_true() {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    world.define_node_states();
    for node in ["n1", "n2"] {
        world.start_agent(&node.into());
    }
    let open = |world: &World| Snapshot { host_policies: [].into(), ..world.snapshot.clone() };
    for _ in 0..3 {
        world.say(&guarded());
        in_force(wait(&world, Subject::HostPolicy, "guard", Duration::from_secs(30)));
        world.agrees_on(&FLOWS);
        world.say(&open(&world));
        in_force(wait(&world, Subject::HostPolicyGone, "guard", Duration::from_secs(30)));
        world.agrees_on(&FLOWS);
    }
}

/// Whatever the API server does not say of host policies, and whatever else it says: what was guarded is.
pub fn ports_stay_guarded() {
    let mut world = World::start(&guarded(), UnknownPods::Drop);
    let n1: NodeName = "n1".into();
    let file = saved(&world, "9000");
    world.api.stop();
    world.agents.remove(&n1).unwrap().terminate();
    // The state file brings it back, with the rest or alone.
    for tables in [&[Table::Host][..], &[Table::Host, Table::Policies]] {
        for table in tables {
            remove(&world, *table);
        }
        world.start_agent(&n1);
        world.settle();
        world.agrees_on(&FLOWS);
        world.agents.remove(&n1).unwrap().kill();
    }
    // The API server tells all but host policies: those of before stay, and pods are enforced.
    world.api.faults().add(Fault::request(KIND, Obstacle::Forbidden).always());
    world.start_agent(&n1);
    world.api.resume();
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    until(|| status(&world).watches["NetworkPolicy"].complete, || "the lists".to_owned());
    let mut next = world.snapshot.clone();
    next.policies.clear();
    world.say(&next);
    world.settle();
    world.agrees_on(&FLOWS);
    world.agrees_on(&["shop/client -> shop/closed udp 5300"]);
    let (code, waits) = get(&world, "/readyz").unwrap();
    assert!(code == 503 && waits.contains("HostPolicy"), "{code} {waits}");
    // A flush meanwhile is repaired, and what is saved meanwhile has it, too.
    remove(&world, Table::Host);
    world.settle();
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(std::fs::read_to_string(&file).unwrap().contains("9000"));
    world.agrees_on(&FLOWS);
    world.api.faults().clear();
    ready(&world);
    next.host_policies.clear();
    world.say(&next);
    world.settle();
    world.agrees_on(&FLOWS);
}

/// A cluster without the kind: policies of pods are enforced, the agent is ready and says what is missing.
pub fn policies_of_pods_need_no_host_kind() {
    let mut world = World::without_agents(&shop(), UnknownPods::Drop);
    let kind = world.api.get("customresourcedefinitions", "", KIND).unwrap();
    assert!(world.api.delete("customresourcedefinitions", "", KIND));
    world.start_agent(&"n1".into());
    world.settle();
    world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    let names_obstacle = |world: &World| status(world).preflight.iter().any(|found| found.name == "host-policies");
    until(|| names_obstacle(&world), || "the obstacle".to_owned());
    assert_eq!(get(&world, "/readyz").unwrap().0, 200);
    world.api.put(kind);
    until(|| !names_obstacle(&world), || "the end of the obstacle".to_owned());
    assert!(status(&world).watches["HostPolicy"].complete);
}

/// What is not to be enforced is taken out of the kernel, and the rest goes on.
pub fn what_is_not_enforced_is_taken_out() {
    let mut world = World::start(&guarded(), UnknownPods::Drop);
    let n1: NodeName = "n1".into();
    let open = "shop/client -> shop/closed udp 5300";
    until(|| tables(&world) == [true, false, true, true, false], || "all tables".to_owned());
    world.agents.remove(&n1).unwrap().terminate();
    world.start_agent_told(&Told { enforce: [false, true, false], ..world.told("n1") });
    until(|| tables(&world) == [false, false, false, true, false], || "the table of hosts alone".to_owned());
    ready(&world);
    assert_eq!(status(&world).generation, 0);
    world.agrees_on(&FLOWS);
    let mut without = world.snapshot.clone();
    without.policies.clear();
    let enforced = std::mem::replace(&mut world.snapshot, without);
    world.agrees_on(&[open]);
    world.snapshot = enforced;
    world.agents.remove(&n1).unwrap().terminate();
    world.start_agent_told(&Told { enforce: [true, false, false], ..world.told("n1") });
    until(|| tables(&world) == [true, false, true, false, false], || "the tables of pods alone".to_owned());
    ready(&world);
    world.agrees_on(&[open]);
    assert_eq!(status(&world).host, None);
}

/// A host policy that the API server takes and nobody can read guards its ports, and has an event.
pub fn an_unreadable_host_policy_closes_its_ports() {
    let world = World::start(&Snapshot { host_policies: [].into(), ..guarded() }, UnknownPods::Drop);
    world.api.put(json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "HostPolicy", "metadata": { "name": "broken" },
        "spec": {
            "ports": [{ "port": PORT, "protocol": "UDP" }, { "port": 22 }],
            "from": [{ "nodes": { "nodeSelector": { "matchExpressions": [{ "key": "a", "operator": "Like" }] } } }],
        },
    }));
    let events = || world.api.list("events.events.k8s.io");
    until(|| !events().is_empty(), || "an event".to_owned());
    let event = &events()[0];
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("HostPolicy"), &json!("broken")));
    assert_eq!(event["metadata"]["namespace"], "default");
    assert!(event["note"].as_str().unwrap().contains("admits nobody"), "{event}");
    // Failsafe ports it leaves alone.
    until(|| status(&world).host.unwrap().guarded == ["udp 9000"], || "a guard".to_owned());
}

/// A list of host policies that breaks off again and again takes nothing back of what was in force.
pub fn half_a_list_opens_nothing() {
    let mut snapshot = guarded();
    let mut second = HostPolicy { ports: vec![port(PORT + 1)], ..guard(vec![nodes()]) };
    second.name = "second".into();
    snapshot.host_policies.insert(second.name.clone(), Arc::new(second));
    let mut world = World::start(&snapshot, UnknownPods::Drop);
    world.agrees_on(&FLOWS);
    let n1: NodeName = "n1".into();
    saved(&world, "9001");
    world.agents.remove(&n1).unwrap().kill();
    remove(&world, Table::Host);
    world.api.faults().add(Fault::event(KIND, Disturbance::Break).after(1).always());
    world.start_agent(&n1);
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    until(|| status(&world).watches["NetworkPolicy"].complete, || "the lists".to_owned());
    until(|| status(&world).host.is_some_and(|host| host.policies == 1), || "half a list".to_owned());
    // Policies of pods, and who is admitted, go on to change.
    let mut next = world.snapshot.clone();
    next.policies.clear();
    world.say(&next);
    world.settle();
    world.agrees_on(&FLOWS);
    assert!(!status(&world).watches["HostPolicy"].complete);
    world.api.faults().clear();
    ready(&world);
    world.settle();
    world.agrees_on(&FLOWS);
}

/// What a state of another cluster brought into force for a moment goes, also where the cluster has no host policies.
pub fn guards_of_another_cluster_are_forgotten() {
    let mut snapshot = guarded();
    snapshot.namespaces.insert("kube-system".into(), Arc::default());
    let mut world = World::start(&snapshot, UnknownPods::Drop);
    let n1: NodeName = "n1".into();
    let file = saved(&world, "9000");
    world.agents.remove(&n1).unwrap().terminate();
    world.agents.clear();
    world.say(&Snapshot { host_policies: [].into(), ..snapshot });
    assert!(world.api.delete("customresourcedefinitions", "", KIND));
    let uid = world.api.get("namespaces", "", "kube-system").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let state = std::fs::read_to_string(&file).unwrap();
    assert!(state.contains(&uid), "{state}");
    std::fs::write(&file, state.replace(&uid, "another")).unwrap();
    world.start_agent(&n1);
    world.settle();
    world.agrees_on(&["shop/client -> node/n1 udp 9000", "shop/client -> shop/closed udp 5300"]);
    assert!(world.state_dir("n1").join("state.of-another-cluster.json").exists());
}

/// A table that the kernel does not let the agent change: it says so, follows policies of pods at once, and comes back.
pub fn what_is_refused_of_hosts_holds_up_no_pod() {
    let mut world = World::start(&Snapshot { host_policies: [].into(), ..guarded() }, UnknownPods::Drop);
    let taken = || {
        let mut nft =
            Command::new("nft").arg("--interactive").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        nft.stdin.as_mut().unwrap().write_all(b"add table inet palisade_host { flags owner; }\n").unwrap();
        nft
    };
    let mut nft = world.lab.inside(&"n1".into(), taken).unwrap();
    let is_taken = |world: &World| world.host_ruleset(&"n1".into()) != Ruleset::nothing(Table::Host);
    until(|| is_taken(&world), || "the table of another".to_owned());
    world.say(&guarded());
    until(|| status(&world).error.is_some(), || "a refusal".to_owned());
    let flows = ["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"];
    for closed in [false, true, false] {
        let mut next = world.snapshot.clone();
        next.policies.retain(|name, _| &*name.name != "closed");
        if closed {
            next.policies
                .insert(PolicyName::new("shop", "closed"), shop().policies[&PolicyName::new("shop", "closed")].clone());
        }
        world.say(&next);
        // Less than the pause after a refusal.
        std::thread::sleep(Duration::from_millis(400));
        world.agrees_on(&flows);
    }
    let (code, waits) = get(&world, "/readyz").unwrap();
    assert!(code == 503 && waits.contains("the rules are not in force"), "{code} {waits}");
    nft.kill().unwrap();
    nft.wait().unwrap();
    world.settle();
    world.agrees_on(&FLOWS);
    until(|| status(&world).error.is_none(), || "the end of the error".to_owned());
}

/// After a reboot nodes are admitted as before, and no pod is: their addresses may be those of others by now.
pub fn after_a_reboot_ports_are_guarded() {
    let mut snapshot = guarded();
    let policy = guard(vec![nodes(), pods("open")]);
    snapshot.host_policies.insert(policy.name.clone(), Arc::new(policy));
    let mut world = World::start(&snapshot, UnknownPods::Drop);
    let n1: NodeName = "n1".into();
    let file = saved(&world, "9000");
    world.agents.remove(&n1).unwrap().terminate();
    let restored = reboot(&world, &n1, &file, &[Table::Policies, Table::Host]);
    assert!(
        matches!(&restored, Restored::Closed { guarded: true, pod_ranges, banned: false } if pod_ranges.len() == 2),
        "{restored:?}"
    );
    // Of the pods nobody is known: let the oracle know none, either. Their flows to other nodes are of unknown pods.
    let mut then = snapshot.clone();
    let policy = guard(vec![nodes()]);
    then.host_policies.insert(policy.name.clone(), Arc::new(policy));
    world.snapshot = then;
    world.agrees_on(&[
        "node/n2 -> node/n1 udp 9000",
        "shop/open -> node/n1 udp 9000",
        "shop/client -> node/n1 tcp 9000",
    ]);
    world.snapshot = snapshot;
    world.start_agent(&n1);
    world.settle();
    world.agrees_on(&FLOWS);
}

/// Denied packets to a guarded port: by name, counted, and those that audited policies would deny.
pub fn denied_packets_to_ports_are_told() {
    let mut snapshot = guarded();
    let mut audited = HostPolicy { audit: true, ports: vec![port(PORT + 1)], ..guard(vec![]) };
    audited.name = "audited".into();
    snapshot.host_policies.insert(audited.name.clone(), Arc::new(audited));
    let world = World::start(&snapshot, UnknownPods::Drop);
    let followed = Followed::start(&world);
    for (pod, to) in
        [("shop/client", "10.99.0.1:9000"), ("shop/client", "[fd99::1]:9000"), ("shop/client", "10.99.0.1:9001")]
    {
        assert!(spawn(world.path(), pod, &["send", to, "3"]).wait().unwrap().success());
    }
    for family in [4, 6] {
        let packets = followed.of("shop/client", "node/n1", family);
        let denied = packets.iter().find(|packet| packet.port == Some(PORT)).unwrap();
        assert_eq!((denied.node.as_deref(), &denied.pod, &denied.audit), (Some("n1"), &None, &None), "{denied:?}");
        assert_eq!(denied.policies, ["guard"]);
        assert!(denied.reason.contains("guarded by HostPolicy guard; denied"), "{denied:?}");
    }
    let would = || followed.all().into_iter().find(|packet| packet.port == Some(PORT + 1));
    until(|| would().is_some(), || "what would be denied".to_owned());
    let would = would().unwrap();
    assert_eq!((would.audit.as_deref(), &would.policies[..]), (Some("would deny"), &["audited".to_owned()][..]));
    let expected = [(String::new(), 6)].into();
    until(
        || samples(&world, "palisade_host_denied_packets_total") == expected,
        || format!("6 packets in {:?}", samples(&world, "palisade_host_denied_packets_total")),
    );
    assert_eq!(samples(&world, "palisade_host_would_deny_packets_total"), [(String::new(), 3)].into());
    let host = status(&world).host.unwrap();
    assert_eq!(
        (host.policies, &host.audited[..], host.denied, host.would_deny),
        (2, &["audited".to_owned()][..], 6, 3)
    );
    assert_eq!(host.guarded, ["tcp 9000", "udp 9000"]);
}

/// Where the state file is, as soon as this is in it.
pub fn saved(world: &World, text: &str) -> PathBuf {
    let file = world.state_dir("n1").join("state.json");
    wait_for(|| std::fs::read_to_string(&file).is_ok_and(|state| state.contains(text)), "a state file");
    file
}

/// Takes a table of `n1` out of the kernel, behind the agent's back.
pub fn remove(world: &World, table: Table) {
    let remove = move || Kernel::open_table(table).unwrap().remove_table().unwrap();
    assert!(world.lab.inside(&"n1".into(), remove).unwrap());
}

/// The node is as after a reboot, without these tables; what is restored from the file of its agent, which has ended.
pub fn reboot(world: &World, node: &NodeName, file: &Path, tables: &'static [Table]) -> Restored {
    let state = std::fs::read_to_string(file).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::write(file, state.replace(boot.trim(), "another boot")).unwrap();
    let directory = world.state_dir(node);
    let boots = move || {
        for table in tables {
            Kernel::open_table(*table).unwrap().remove_table().unwrap();
        }
        // The agent may take a moment to end.
        loop {
            match restore(&directory).unwrap() {
                Restored::AgentRuns(_) => std::thread::sleep(Duration::from_millis(20)),
                restored => return restored,
            }
        }
    };
    world.lab.inside(node, boots).unwrap()
}

/// Waits until the agent of `n1` is ready.
pub fn ready(world: &World) {
    until(
        || get(world, "/readyz").is_some_and(|(code, _)| code == 200),
        || format!("ready: {:?}", get(world, "/readyz")),
    );
}

/// Two nodes with a guarded port each; nodes are admitted, and nobody else.
pub fn guarded() -> Snapshot {
    let mut snapshot = shop();
    let node = Node {
        addresses: vec!["10.99.0.2".parse().unwrap(), "fd99::2".parse().unwrap()],
        pod_cidrs: vec!["10.244.2.0/24".parse().unwrap(), "fd44:0:0:2::/64".parse().unwrap()],
        ..Node::default()
    };
    snapshot.nodes.insert("n2".into(), Arc::new(node));
    let policy = guard(vec![nodes()]);
    snapshot.host_policies.insert(policy.name.clone(), Arc::new(policy));
    snapshot
}

fn guard(from: Vec<HostPeer>) -> HostPolicy {
    HostPolicy {
        name: "guard".into(),
        nodes: Selector::everything(),
        ports: vec![port(PORT), HostPort { transport: Transport::Tcp, ..port(PORT) }],
        scope: HostScope::Everything,
        from,
        audit: false,
        otherwise: Otherwise::Drop,
        unreadable: None,
    }
}

fn port(number: u16) -> HostPort {
    HostPort { transport: Transport::Udp, range: PortRange::single(number.try_into().unwrap()) }
}

fn nodes() -> HostPeer {
    HostPeer::Nodes(Selector::everything())
}

fn pods(app: &str) -> HostPeer {
    HostPeer::Pods { namespaces: Selector::everything(), pods: Selector::labels([("app", app)]) }
}

/// A firewall of the node that drops what it does not name drops what a policy admits, too: it is told, with what to add.
pub fn a_firewall_that_drops_by_default_is_told() {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    let rules = "add table inet firewall\nadd chain inet firewall arriving { type filter hook input priority 0; policy drop; }\n\
                 add rule inet firewall arriving iif lo accept\n";
    crate::confirming::nft(&world, "n1", rules);
    world.start_agent(&"n1".into());
    let found = |world: &World| status(world).preflight.into_iter().find(|found| found.name == "default-drop");
    until(|| get(&world, "/healthz").is_some(), || "an answer".to_owned());
    until(|| found(&world).is_some(), || format!("{:?}", status(&world).preflight));
    let told = found(&world).unwrap();
    assert!(told.found.ends_with("chain arriving in table inet firewall"), "{told:?}");
    let hint = "admit the ports there, too: nft add rule inet firewall arriving tcp dport PORT accept";
    assert_eq!(told.hint.as_deref(), Some(hint));
}
