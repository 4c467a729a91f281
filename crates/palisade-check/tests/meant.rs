//! What good manifests have is not told, and what is close by is.

mod found;

use palisade_check::Selection;

const NODES: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 10.99.0.1}]}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\nstatus: {addresses: [{type: InternalIP, address: 10.99.0.2}]}\n";

fn pod(name: &str, spec: &str, addresses: &[&str]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("{{ip: \"{address}\"}}")).collect();
    let addresses = addresses.join(", ");
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: shop, name: {name}, labels: {{app: {name}}}}}\nspec: {{nodeName: n1, {spec}}}\nstatus: {{podIPs: [{addresses}]}}\n"
    )
}

fn policy(subjects: &str, types: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: p}}\nspec: {{podSelector: {subjects}, policyTypes: [{types}], {rules}}}\n"
    )
}

/// Expects what one check finds.
#[track_caller]
fn expect(id: &str, objects: &[&str], count: usize) {
    let selection = Selection { select: vec![id.to_string()], ..Selection::default() };
    let found = found::in_text(&objects.concat(), &selection);
    let of_check = found.iter().filter(|found| found.id == Some(id)).count();
    assert_eq!(of_check, count, "{}\n{found:#?}", objects.concat());
}

const CONTAINER: &str = "containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]";

#[test]
fn whoever_calls_webhooks_comes_from_outside() {
    let web = pod("web", CONTAINER, &["10.1.0.4"]);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\nspec: {selector: {app: web}, ports: [{port: 443, targetPort: 8080}]}\n";
    let open = policy("{matchLabels: {app: web}}", "Ingress", "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]");
    expect("NP062", &[NODES, &web, service, &open], 1);
    let webhook = "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: w}\nwebhooks: [{name: a.b.c, clientConfig: {service: {namespace: shop, name: web}}}]\n";
    let aggregated = "---\napiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1.x}\nspec: {service: {namespace: shop, name: web}}\n";
    let bound = "---\napiVersion: elbv2.k8s.aws/v1beta1\nkind: TargetGroupBinding\nmetadata: {namespace: shop, name: t}\nspec: {serviceRef: {name: web, port: 443}}\n";
    for way in [webhook, aggregated, bound] {
        expect("NP062", &[NODES, &web, service, &open, way], 0);
    }
    let negs = service.replace("name: web}", "name: web, annotations: {cloud.google.com/neg: '{}'}}");
    expect("NP062", &[NODES, &web, &negs, &open], 0);
    let by_hand = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: lb}\nspec: {type: LoadBalancer, ports: [{port: 443}]}\n";
    expect("NP062", &[NODES, &web, by_hand, &open], 0);
    let without = open.replace("0.0.0.0/0", "0.0.0.0/0, except: [10.0.0.0/8]");
    expect("NP062", &[NODES, &web, service, &without], 0);
}

#[test]
fn a_name_without_an_address_leads_to_any_port() {
    let web = pod("web", "containers: [{name: a}]", &["10.1.0.4"]);
    let service = |more: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: web}}\nspec: {{{more}selector: {{app: web}}, ports: [{{port: 5432, targetPort: 5433}}]}}\n"
        )
    };
    let rule =
        policy("{matchLabels: {app: web}}", "Ingress", "ingress: [{from: [{podSelector: {}}], ports: [{port: 5432}]}]");
    expect("NP030", &[NODES, &web, &service(""), &rule], 1);
    expect("NP030", &[NODES, &web, &service("clusterIP: None, "), &rule], 0);
}

#[test]
fn one_pod_of_a_workload_may_be_open() {
    let set = "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {namespace: shop, name: pg}\nspec: {replicas: 2, template: {metadata: {labels: {app: pg}}, spec: {containers: [{name: a}]}}}\n";
    let first = policy("{matchLabels: {apps.kubernetes.io/pod-index: '0'}}", "\"Ingress\", Egress", "ingress: []");
    expect("NP060", &[set, &first], 1);
    expect("NP060", &[set, &first.replace("{matchLabels: {apps.kubernetes.io/pod-index: '0'}}", "{}")], 0);
}

#[test]
fn a_block_may_hold_a_pod_that_has_the_name() {
    let (web, api) = (pod("web", CONTAINER, &["10.1.0.4"]), pod("api", CONTAINER, &["10.2.0.4"]));
    let to = |cidr: &str| {
        policy(
            "{matchLabels: {app: web}}",
            "Egress",
            &format!("egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}], ports: [{{port: http}}]}}]"),
        )
    };
    expect("NP012", &[NODES, &web, &api, &to("10.2.0.0/16")], 0);
    expect("NP012", &[NODES, &web, &api, &to("10.3.0.0/16")], 1);
}

#[test]
fn a_single_address_may_have_one_family() {
    let web = pod("web", CONTAINER, &["10.1.0.4", "fd01::4"]);
    let to = |cidr: &str| policy("{}", "Egress", &format!("egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}]}}]"));
    expect("NP067", &[NODES, &web, &to("192.0.2.1/32")], 0);
    expect("NP067", &[NODES, &web, &to("192.0.2.0/24")], 1);
}

#[test]
fn a_pod_that_is_alone_reaches_itself() {
    let web = pod("web", CONTAINER, &["10.1.0.4"]);
    let own = policy(
        "{matchLabels: {app: web}}",
        "Ingress, Egress",
        "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
    );
    expect("NP029", &[NODES, &web, &own], 0);
    let second = web.replace("name: web,", "name: web-2,").replace("10.1.0.4", "10.1.0.5");
    expect("NP029", &[NODES, &web, &second, &own], 1);
}

#[test]
fn pods_may_ask_other_dns_servers() {
    let dns = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: kube-system, name: coredns, labels: {k8s-app: kube-dns}}\nspec: {nodeName: n1, containers: [{name: a}]}\nstatus: {podIPs: [{ip: 10.1.0.9}]}\n";
    // Without the Service, the label alone says which pod of kube-system it is.
    let other = dns
        .replace("name: coredns, labels: {k8s-app: kube-dns}", "name: aaa, labels: {k8s-app: other}")
        .replace("10.1.0.9", "10.1.0.8");
    let rules = "egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}]";
    let out = policy("{}", "Egress", rules);
    let web = pod("web", CONTAINER, &["10.1.0.4"]);
    expect("NP025", &[NODES, dns, &web, &out], 1);
    for policy in ["None", "Default"] {
        let own = web.replace("nodeName: n1,", &format!("nodeName: n1, dnsPolicy: {policy},"));
        expect("NP025", &[NODES, dns, &own, &out], 0);
        expect(
            "NP025",
            &[NODES, dns, &own, &web.replace("name: web", "name: api").replace("10.1.0.4", "10.1.0.6"), &out],
            1,
        );
    }
    let in_system = out.replace("namespace: shop", "namespace: kube-system");
    for name in ["aaa", "zzz"] {
        expect("NP025", &[NODES, dns, &other.replace("aaa", name), &in_system], 1);
    }
}

#[test]
fn every_api_server_has_to_be_reached() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {namespace: default, name: kubernetes, labels: {kubernetes.io/service-name: kubernetes}}\naddressType: IPv4\nendpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2]}]\nports: [{port: 6443}]\n";
    let web = pod("web", "automountServiceAccountToken: true, containers: [{name: a}]", &["10.1.0.4"]);
    let to = |cidr: &str| {
        policy("{}", "Egress", &format!("egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}], ports: [{{port: 6443}}]}}]"))
    };
    expect("NP066", &[NODES, slice, &web, &to("192.0.2.1/32")], 1);
    expect("NP066", &[NODES, slice, &web, &to("192.0.2.0/24")], 0);
}

#[test]
fn every_namespace_may_be_meant_by_the_label_that_all_have() {
    let web = pod("web", CONTAINER, &["10.1.0.4"]);
    let from = |selector: &str| {
        let peer = format!("{{namespaceSelector: {selector}}}");
        policy("{}", "Ingress", &format!("ingress: [{{from: [{peer}], ports: [{{port: 5432}}]}}]"))
    };
    let exists = |key: &str| format!("{{matchExpressions: [{{key: {key}, operator: Exists}}]}}");
    expect("NP065", &[NODES, &web, &from("{}")], 1);
    expect("NP065", &[NODES, &web, &from(&exists("kubernetes.io/metadata.name"))], 1);
    expect("NP065", &[NODES, &web, &from(&exists("team"))], 0);
}
