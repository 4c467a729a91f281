//! What other implementations read otherwise is told where the input shows that it matters, and nowhere else.

mod found;

use palisade_check::Selection;
use palisade_core::Dialect;

const POD: &str = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: web, labels: {app: web}}\nspec: {nodeName: n1, containers: [{name: a}]}\nstatus: {podIPs: [{ip: 10.1.0.4}]}\n";
const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 10.99.0.7}]}\n";

fn policy(name: &str, annotations: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: {name}, annotations: {{{annotations}}}}}\nspec: {{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Ingress], ingress: [{rules}]}}\n"
    )
}

/// Expects these ids of group X.
#[track_caller]
fn expect(dialect: Dialect, objects: &[&str], expected: &[&str]) {
    let selection = Selection { select: vec!["X".to_string()], dialect, ..Selection::default() };
    let found = found::in_text(&objects.concat(), &selection);
    let ids: Vec<&str> = found.iter().filter_map(|found| found.id).collect();
    assert_eq!(ids, expected, "{objects:?}\n{found:#?}");
}

#[test]
fn blocks_of_pods_and_nodes_matter_to_some() {
    let block =
        |cidr: &str| policy("a", "", &format!("{{from: [{{ipBlock: {{cidr: {cidr}}}}}], ports: [{{port: 80}}]}}"));
    let (pods, nodes, both, outside) =
        (block("10.1.0.0/16"), block("10.99.0.0/24"), block("10.0.0.0/8"), block("192.0.2.0/24"));
    for dialect in [Dialect::Cilium, Dialect::GkeDataplaneV2] {
        expect(dialect, &[POD, NODE, &pods], &["NP080"]);
        expect(dialect, &[POD, NODE, &nodes], &["NP081"]);
        expect(dialect, &[POD, NODE, &both], &["NP080"]);
        expect(dialect, &[POD, NODE, &outside], &[]);
    }
    for dialect in [Dialect::Palisade, Dialect::Calico, Dialect::Aws] {
        expect(dialect, &[POD, NODE, &pods, &nodes], &[]);
    }
    // Of nodes that stand in for those that the input leaves out nobody knows anything.
    expect(Dialect::Cilium, &[POD, &nodes], &[]);
    let finished = POD.replace("status: {", "status: {phase: Failed, ");
    expect(Dialect::Cilium, &[&finished, NODE, &pods], &[]);
    let except = policy("a", "", "{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.0.4/32]}}]}");
    expect(Dialect::Cilium, &[POD, NODE, &except], &[]);
}

#[test]
fn selectors_beside_a_block_say_what_is_meant() {
    let block = policy("a", "", "{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [192.0.2.0/24]}}], ports: [{port: 80}]}");
    let every = "{from: [{namespaceSelector: {}}]}";
    expect(Dialect::Cilium, &[POD, &block], &["NP080"]);
    expect(Dialect::Cilium, &[POD, &block, &policy("b", "", every)], &[]);
    expect(Dialect::Cilium, &[POD, &block, &policy("b", "palisade.dev/audit: 'true'", every)], &["NP080"]);
    expect(Dialect::Cilium, &[POD, &block, &policy("b", "", "{from: [{podSelector: {}}]}")], &["NP080"]);
    let other_port = "{from: [{namespaceSelector: {}}], ports: [{port: 81}]}";
    expect(Dialect::Cilium, &[POD, &block, &policy("b", "", other_port)], &["NP080"]);
}

#[test]
fn nodes_hide_clients_behind_some_services() {
    let service = |spec: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: web}}\nspec: {{selector: {{app: web}}, {spec}}}\n"
        )
    };
    let node_port = service("type: NodePort, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]");
    let clients = |ports: &str| policy("a", "", &format!("{{from: [{{ipBlock: {{cidr: 192.0.2.0/24}}}}]{ports}}}"));
    let palisade = Dialect::Palisade;
    expect(palisade, &[POD, &node_port, &clients("")], &["NP082"]);
    expect(palisade, &[POD, &node_port, &clients(", ports: [{port: 8080}]")], &["NP082"]);
    expect(palisade, &[POD, &node_port, &clients(", ports: [{port: 80}]")], &[]);
    let local = node_port.replace("type:", "externalTrafficPolicy: Local, type:");
    expect(palisade, &[POD, &local, &clients("")], &[]);
    expect(palisade, &[POD, &service("ports: [{port: 8080}]"), &clients("")], &[]);
    let every = policy("a", "", "{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}");
    expect(palisade, &[POD, &node_port, &every], &[]);
    expect(palisade, &[POD, &service("externalIPs: [198.51.100.1], ports: [{port: 8080}]"), &clients("")], &["NP082"]);
}

#[test]
fn pods_on_the_network_of_nodes_are_told_where_they_are_all() {
    let on_node = POD.replace("nodeName: n1", "hostNetwork: true, nodeName: n1").replace("name: web,", "name: host,");
    let (subject, peer) = (policy("a", "", ""), policy("a", "", "{from: [{podSelector: {matchLabels: {app: web}}}]}"));
    let palisade = Dialect::Palisade;
    expect(palisade, &[NODE, &on_node, &subject], &["NP083"]);
    expect(palisade, &[NODE, &on_node, POD, &subject], &[]);
    expect(palisade, &[NODE, &on_node, &peer], &["NP083", "NP084"]);
    expect(palisade, &[NODE, &on_node, POD, &peer], &[]);
    let finished = on_node.replace("status: {", "status: {phase: Failed, ");
    expect(palisade, &[NODE, &finished, &peer], &[]);
    // Of a namespace that the input may show in part others may be meant.
    let elsewhere = policy("a", "", "{from: [{namespaceSelector: {matchLabels: {team: a}}}]}");
    expect(palisade, &[POD, &on_node.replace("shop", "other"), &elsewhere], &[]);
}

#[test]
fn limits_and_engines() {
    let listed: Vec<String> = (8000..8025).map(|port| format!("{{port: {port}}}")).collect();
    let ports = |count: usize| policy("a", "", &format!("{{ports: [{}]}}", listed[..count].join(", ")));
    expect(Dialect::Aws, &[POD, &ports(25)], &["NP087"]);
    expect(Dialect::Aws, &[POD, &ports(24)], &[]);
    expect(Dialect::Cilium, &[POD, &ports(25)], &[]);
    let sctp = policy("a", "", "{ports: [{protocol: SCTP}]}");
    expect(Dialect::Cilium, &[POD, &sctp], &["NP088"]);
    expect(Dialect::Calico, &[POD, &sctp], &[]);
    let daemon = |name: &str| {
        format!(
            "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{namespace: kube-system, name: {name}}}\nspec: {{template: {{spec: {{hostNetwork: true, containers: [{{name: a}}]}}}}}}\n"
        )
    };
    let (flannel, deny) = (daemon("kube-flannel-ds"), policy("a", "", ""));
    expect(Dialect::Palisade, &[POD, &flannel, &deny], &["NP089"]);
    expect(Dialect::Palisade, &[POD, &flannel], &[]);
    for engine in ["canal", "kube-router", "palisade-agent"] {
        expect(Dialect::Palisade, &[POD, &flannel, &daemon(engine), &deny], &[]);
    }
    expect(Dialect::Palisade, &[POD, &daemon("calico-node"), &deny], &[]);
}
