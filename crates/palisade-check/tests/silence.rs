//! Where checks would have to guess they are silent, and where they need not they tell.

mod found;

use palisade_check::Selection;
use palisade_core::Diagnostic;

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: web}\n";
const WEB: &str = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: web, labels: {app: web}}\nspec: {containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}\n";
const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 10.99.0.7}]}\n";

/// Expects these ids of a policy with this `spec`, beside other objects.
#[track_caller]
fn expect(spec: &str, others: &str, expected: &[&str]) {
    let found = findings(spec, others);
    let ids: Vec<&str> = found.iter().filter_map(|found| found.id).collect();
    assert_eq!(ids, expected, "{spec}\n{others}\n{found:#?}");
}

fn findings(spec: &str, others: &str) -> Vec<Diagnostic> {
    found::in_text(&format!("{POLICY}spec: {spec}\n{others}"), &Selection::default())
}

#[track_caller]
fn ingress(rules: &str, others: &str, expected: &[&str]) {
    expect(&format!("{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{rules}]}}"), others, expected);
}

#[test]
fn pods_that_the_input_does_not_show_may_be_meant() {
    let spec = "{podSelector: {matchLabels: {app: database}}, policyTypes: [Ingress]}";
    expect(spec, "", &[]);
    expect(spec, WEB, &["NP040"]);
    let scaled_down = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: shop, name: db}\nspec: {replicas: 0, template: {metadata: {labels: {app: database}}}}\n";
    expect(spec, &format!("{WEB}{scaled_down}"), &[]);
    let finished = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: db, labels: {app: database}}\nstatus: {phase: Succeeded}\n";
    expect(spec, &format!("{WEB}{finished}"), &[]);
}

#[test]
fn namespaces_that_the_input_does_not_show_may_be_meant() {
    let elsewhere = "{from: [{namespaceSelector: {matchLabels: {team: monitoring}}}]}";
    ingress(elsewhere, WEB, &[]);
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: shop}}\n";
    ingress(elsewhere, &format!("{WEB}{namespace}"), &[]);
    ingress(elsewhere, &format!("{WEB}{namespace}{NODE}"), &["NP041"]);
    let named = "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]}";
    ingress(named, WEB, &[]);
    ingress(named, &format!("{WEB}{NODE}"), &["NP041"]);
    let two = "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop, team: shop}}}]}";
    ingress(two, &format!("{WEB}{NODE}"), &[]);
    // Nobody knows the labels of a namespace that is merely named.
    ingress("{from: [{namespaceSelector: {matchLabels: {name: shop}}}]}", WEB, &[]);
}

#[test]
fn a_name_is_taken_for_another_only_if_it_is_close() {
    let spec = |value: &str| format!("{{podSelector: {{matchLabels: {{app: {value}}}}}, policyTypes: [Ingress]}}");
    let pod = |value: &str| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: shop, name: a, labels: {{app: {value}}}}}\n")
    };
    expect(&spec("postgers"), &pod("postgres"), &["NP042"]);
    expect(&spec("postgres-2"), &pod("postgres-1"), &["NP040"]);
    expect(&spec("api"), &pod("app"), &["NP040"]);
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: monitoring}\n";
    let misspelt = "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitorring}}}]}";
    ingress(misspelt, &format!("{WEB}{namespace}"), &["NP042"]);
}

#[test]
fn a_key_may_be_misspelt() {
    let pod = |name: &str, label: &str| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: shop, name: {name}, labels: {{{label}}}}}\n")
    };
    let spec = "{podSelector: {matchLabels: {aplication: web}}, policyTypes: [Ingress]}";
    expect(spec, &[pod("a", "zone: a"), pod("b", "application: web")].concat(), &["NP042"]);
    expect(spec, &[pod("a", "zone: a"), pod("b", "application: api")].concat(), &["NP040"]);
}

#[test]
fn ports_that_pods_need_not_declare() {
    let port = "{from: [{podSelector: {}}], ports: [{port: 9100}]}";
    ingress(port, WEB, &["NP043"]);
    let silent = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: b, labels: {app: b}}\n";
    ingress(port, &format!("{WEB}{silent}"), &[]);
    ingress("{from: [{podSelector: {}}], ports: [{port: web}]}", "", &[]);
    ingress("{from: [{podSelector: {}}], ports: [{port: http, protocol: UDP}]}", WEB, &["NP044"]);
}

#[test]
fn dns_over_tcp_may_be_allowed_elsewhere() {
    let spec = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: 53, protocol: UDP}]}]}";
    let other = |subjects: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: tcp}}\nspec: {{podSelector: {subjects}, policyTypes: [Egress], egress: [{{to: [{{podSelector: {{}}}}], ports: [{{port: 53, protocol: TCP}}]}}]}}\n"
        )
    };
    expect(spec, "", &["NP026"]);
    expect(spec, &other("{}"), &[]);
    expect(spec, &other("{matchLabels: {app: web, tier: a}}"), &["NP026"]);
}

#[test]
fn an_audited_policy_allows_nothing_beside_one_in_force() {
    let policy = |name: &str, annotations: &str, protocol: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: {name}, annotations: {{{annotations}}}}}\nspec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{podSelector: {{}}}}], ports: [{{port: 53, protocol: {protocol}}}]}}]}}\n"
        )
    };
    let spec = "{podSelector: {}, policyTypes: [Ingress]}";
    let audited = "palisade.dev/audit: 'true'";
    expect(spec, &[policy("udp", "", "UDP"), policy("tcp", audited, "TCP")].concat(), &["NP026"]);
    expect(spec, &[policy("udp", audited, "UDP"), policy("tcp", audited, "TCP")].concat(), &[]);
}

#[test]
fn an_audited_policy_opens_no_family_beside_one_in_force() {
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: a}\nspec: {nodeName: n1, containers: [{name: a}]}\nstatus: {podIPs: [{ip: 10.1.0.4}, {ip: 'fd01::4'}]}\n";
    let other = |annotations: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: six, annotations: {{{annotations}}}}}\nspec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{from: [{{ipBlock: {{cidr: '2001:db8::/32'}}}}]}}]}}\n"
        )
    };
    let four = "{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}";
    ingress(four, &[pod, &other("")].concat(), &[]);
    ingress(four, &[pod, &other("palisade.dev/audit: 'true'")].concat(), &["NP067"]);
}

#[test]
fn a_policy_without_a_name_is_not_checked() {
    let unnamed = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: shop, generateName: a-}\nspec: {podSelector: {}}\n";
    expect("{podSelector: {}, policyTypes: [Ingress]}", unnamed, &[]);
}

#[test]
fn tcp_may_be_meant() {
    ingress("{from: [{podSelector: {}}], ports: [{port: 53}, {port: 53, protocol: UDP}]}", "", &[]);
    ingress("{from: [{podSelector: {}}], ports: [{port: 514, protocol: TCP}]}", "", &[]);
    ingress("{from: [{podSelector: {}}], ports: [{port: 8080}]}", "", &[]);
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: a}\nspec: {containers: [{name: a, ports: [{containerPort: 514}]}]}\n";
    ingress("{from: [{podSelector: {}}], ports: [{port: 514}]}", pod, &[]);
}

#[test]
fn rules_that_hold_others() {
    let all = "{from: [{podSelector: {}}]}";
    let web = "{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}";
    ingress(&format!("{web}, {all}"), "", &["NP045"]);
    ingress(&format!("{all}, {all}"), "", &["NP045"]);
    ingress(&format!("{{from: [{{namespaceSelector: {{}}}}], ports: [{{port: 8080}}]}}, {web}"), "", &["NP045"]);
    ingress(&format!("{{from: [{{podSelector: {{}}}}], ports: [{{port: 8000, endPort: 8079}}]}}, {web}"), "", &[]);
    let ranges = "{from: [{podSelector: {}}], ports: [{port: 8000, endPort: 8079}, {port: 8080, endPort: 8090}]}";
    ingress(
        &format!("{ranges}, {{from: [{{podSelector: {{}}}}], ports: [{{port: 8070, endPort: 8085}}]}}"),
        "",
        &["NP045"],
    );
    let blocks = "{from: [{ipBlock: {cidr: 10.0.0.0/9}}, {ipBlock: {cidr: 10.128.0.0/9}}]}";
    ingress(&format!("{blocks}, {{from: [{{ipBlock: {{cidr: 10.0.0.0/8}}}}]}}"), "", &["NP045"]);
    ingress(
        &format!("{{from: [{{podSelector: {{matchExpressions: [{{key: app, operator: Exists}}]}}}}]}}, {web}"),
        "",
        &["NP045"],
    );
    ingress(
        &format!("{web}, {{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}], ports: [{{port: http}}]}}"),
        WEB,
        &[],
    );
}

#[test]
fn selectors_that_hold_others() {
    let rule = |expression: &str| {
        format!(
            "{{from: [{{namespaceSelector: {{matchExpressions: [{{key: kubernetes.io/metadata.name, {expression}}}]}}}}]}}"
        )
    };
    let check = |outer: &str, inner: &str, expected: bool| {
        let rules = format!("{}, {}", rule(outer), rule(inner));
        let found = findings(&format!("{{podSelector: {{}}, policyTypes: [Ingress], ingress: [{rules}]}}"), "");
        let second = found.iter().any(|found| found.message.starts_with("spec.ingress[1]: "));
        assert_eq!(second, expected, "{rules}\n{found:#?}");
    };
    check("operator: In, values: [a, b]", "operator: In, values: [a]", true);
    check("operator: In, values: [a, b]", "operator: In, values: [b, c]", false);
    check("operator: NotIn, values: [a, b]", "operator: In, values: [c]", true);
    check("operator: NotIn, values: [a, b]", "operator: In, values: [b, c]", false);
    check("operator: NotIn, values: [a]", "operator: NotIn, values: [a, b]", true);
    check("operator: NotIn, values: [a, c]", "operator: NotIn, values: [a, b]", false);
    check("operator: NotIn, values: [a]", "operator: DoesNotExist", true);
    check("operator: NotIn, values: [a]", "operator: Exists", false);
    check("operator: Exists", "operator: In, values: [a]", true);
    check("operator: Exists", "operator: NotIn, values: [a]", false);
    check("operator: In, values: [a]", "operator: Exists", false);
    check("operator: DoesNotExist", "operator: NotIn, values: [a]", false);
}

#[test]
fn lists_that_are_written_and_empty() {
    ingress("{from: , ports: [{port: 80}]}", "", &["NP024"]);
    expect("{podSelector: {}, policyTypes: [Ingress], egress: []}", "", &["NP021"]);
    expect("{podSelector: {}, egress: []}", "", &["NP021"]);
    expect("{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}", "", &[]);
    expect("{podSelector: {}, policyTypes: [Ingress], ingress: [null]}", "", &["NP023"]);
}

#[test]
fn every_namespace_has_its_name() {
    let not = |key: &str| {
        format!(
            "{{from: [{{namespaceSelector: {{matchExpressions: [{{key: {key}, operator: NotIn, values: [kube-system]}}]}}}}]}}"
        )
    };
    ingress(&not("team"), "", &["NP031"]);
    ingress(&not("kubernetes.io/metadata.name"), "", &[]);
}

#[test]
fn an_annotation_silences_what_it_names_and_nothing_that_cannot_be_read() {
    let annotated = |ids: &str, rule: &str| {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: web, annotations: {{palisade.dev/allow: '{ids}'}}}}\nspec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{rule}]}}\n"
        );
        let found = found::in_text(&text, &Selection::default());
        found.iter().filter_map(|found| found.id).collect::<Vec<_>>()
    };
    assert_eq!(annotated("NP023", "{}"), [] as [&str; 0]);
    assert_eq!(annotated("NP045, NP023", "{}"), [] as [&str; 0]);
    assert_eq!(annotated("NP024", "{}"), ["NP023"]);
    assert_eq!(annotated("NP02", "{}"), ["NP000", "NP023"]);
    assert_eq!(annotated("NP001", "{form: []}"), ["NP001"]);
}

/// A second policy of the namespace.
fn other(name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: shop, name: {name}, annotations: {{{annotations}}}}}\nspec: {spec}\n"
    )
}

fn pod(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: {namespace}, name: {name}, labels: {{app: {name}}}}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn names_of_ports_that_blocks_may_have() {
    let egress = |to: &str| {
        format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{to}], ports: [{{port: https}}]}}]}}")
    };
    let block = "{ipBlock: {cidr: 203.0.113.0/24}}";
    expect(&egress(block), "", &["NP012"]);
    expect(&egress(&format!("{block}, {{podSelector: {{}}}}")), "", &[]);
    ingress(&format!("{{from: [{block}], ports: [{{port: https}}]}}"), "", &[]);
}

const DNS: &str = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: kube-system, name: dns, labels: {k8s-app: kube-dns}}\nspec: {nodeName: n1, containers: [{name: a, ports: [{name: dns, protocol: UDP, containerPort: 5353}]}]}\nstatus: {podIPs: [{ip: 10.1.0.53}]}\n";
const DNS_SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: kube-system, name: kube-dns}\nspec: {selector: {k8s-app: kube-dns}, ports: [{name: dns, protocol: UDP, port: 53, targetPort: dns}]}\n";

#[test]
fn dns_may_be_reached_in_many_ways() {
    let egress = |rules: &str| format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}");
    let dns = |rules: &str, others: &str, expected: &[&str]| {
        expect(&egress(rules), &[WEB, DNS, DNS_SERVICE, others].concat(), expected);
    };
    let out = "{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}";
    dns(out, "", &["NP025"]);
    expect(&egress(out), WEB, &[]);
    // To be alone is meant, beside an audited policy, too.
    dns("", "", &[]);
    dns("", &other("out", "palisade.dev/audit: 'true'", &egress(out)), &[]);
    let peer = |port: &str| {
        format!(
            "{{to: [{{namespaceSelector: {{}}, podSelector: {{matchLabels: {{k8s-app: kube-dns}}}}}}], ports: [{{protocol: UDP, port: {port}}}]}}"
        )
    };
    dns(&format!("{out}, {}", peer("dns")), "", &[]);
    dns(&format!("{out}, {}", peer("5353")), "", &[]);
    // The port of the Service is not that of its pods.
    dns(&format!("{out}, {}", peer("54")), "", &["NP025", "NP043"]);
    dns("{to: [{ipBlock: {cidr: 10.1.0.0/16}}]}", "", &[]);
    dns("{to: [{ipBlock: {cidr: 10.96.0.10/32}}]}", "", &["NP025"]);
    dns("{to: [{ipBlock: {cidr: 169.254.20.10/32}}], ports: [{port: 53, protocol: UDP}]}", "", &["NP026"]);
    dns("{to: [{podSelector: {}}]}", "", &["NP025"]);
    dns(out, &other("dns", "", &egress(&peer("dns"))), &[]);
    dns(out, &other("dns", "palisade.dev/audit: 'true'", &egress(&peer("dns"))), &["NP025"]);
    dns(out, &other("torn", "", "{podSelector: {}, policyTypes: [Egress], egres: []}"), &["NP001"]);
    // The servers ask others themselves.
    let servers = other("dns", "", &egress(out)).replace("namespace: shop", "namespace: kube-system");
    expect(&egress(""), &[WEB, DNS, DNS_SERVICE, &servers].concat(), &[]);
    let cache = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: kube-system, name: cache, labels: {k8s-app: node-local-dns}}\nspec: {hostNetwork: true, containers: [{name: a}]}\n";
    dns(out, cache, &[]);
}

#[test]
fn the_other_side_may_allow() {
    let spec = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: front}}}], ports: [{port: 8080}]}]}";
    let egress = |rules: &str| {
        format!("{{podSelector: {{matchLabels: {{app: front}}}}, policyTypes: [Egress], egress: [{rules}]}}")
    };
    let front = pod("shop", "front", "containers: [{name: a}]");
    let side = |front: &str, policy: &str, expected: &[&str]| expect(spec, &[WEB, front, policy].concat(), expected);
    side(&front, "", &[]);
    side(&front, &other("front", "", &egress("")), &["NP029"]);
    side(&front, &other("front", "palisade.dev/audit: 'true'", &egress("")), &[]);
    side(&front, &other("front", "", &egress("{to: [{podSelector: {}}]}")), &[]);
    side(&front, &other("front", "", &egress("{to: [{podSelector: {}}], ports: [{port: http}]}")), &[]);
    side(
        &front,
        &other("front", "", &egress("{to: [{podSelector: {}}], ports: [{port: 8080, protocol: UDP}]}")),
        &["NP029"],
    );
    side(&front, &other("front", "", &egress("{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}")), &[]);
    // One of the pods is not isolated, or may be elsewhere.
    let second = front.replace("name: front, labels: {app: front}", "name: second, labels: {app: front, tier: a}");
    let isolates_one = egress("").replace("app: front", "app: front, tier: a");
    side(&[&*front, &second].concat(), &other("front", "", &isolates_one), &[]);
    let scaled_down = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: shop, name: f}\nspec: {replicas: 0, template: {metadata: {labels: {app: front}}}}\n";
    side(&[&*front, scaled_down].concat(), &other("front", "", &egress("")), &[]);
}

#[test]
fn a_port_that_is_no_mistake_for_that_of_a_service() {
    let service = |port: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: a}}\nspec: {{selector: {{app: a}}, ports: [{{{port}}}]}}\n"
        )
    };
    let silent = pod("shop", "a", "containers: [{name: a}]");
    let port = |ports: &str, others: &[&str], expected: &[&str]| {
        ingress(&format!("{{from: [{{podSelector: {{}}}}], ports: [{ports}]}}"), &others.concat(), expected);
    };
    let to_8080 = service("port: 80, targetPort: 8080");
    port("{port: 80}", &[&silent, &to_8080], &["NP030"]);
    port("{port: 80}, {port: 8080}", &[&silent, &to_8080], &[]);
    port("{port: 80, protocol: UDP}", &[&silent, &to_8080], &[]);
    port("{port: 80}", &[&silent, &service("port: 80")], &[]);
    port("{port: 80}", &[&silent, &service("port: 80, targetPort: http")], &[]);
    port(
        "{port: 80}",
        &[&silent, &to_8080, &service("port: 8080, targetPort: 80").replace("name: a}", "name: b}")],
        &[],
    );
    // Another pod may listen there.
    port("{port: 80}", &[&silent, &to_8080, &pod("shop", "b", "containers: [{name: a}]")], &[]);
    let declares = pod("shop", "a", "containers: [{name: a, ports: [{containerPort: 80}]}]");
    port("{port: 80}", &[&declares, &to_8080], &[]);
    let declares_other = pod("shop", "a", "containers: [{name: a, ports: [{containerPort: 8080}]}]");
    port("{port: 80}", &[&declares_other, &to_8080], &["NP030"]);
}

#[test]
fn of_two_policies_that_say_the_same_one_is_told() {
    let web =
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}";
    let audited = "palisade.dev/audit: 'true'";
    expect(web, &other("a", "", web), &["NP046"]);
    expect(web, &other("z", "", web), &["NP046"]);
    expect(web, &other("a", audited, web), &["NP046"]);
    expect(web, &other("a", "", &web.replace("[Ingress]", "[Ingress, Egress]")), &["NP046"]);
    expect(&web.replace("[Ingress]", "[Ingress, Egress]"), &other("a", "", web), &["NP046"]);
    let open = "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}";
    expect(open, &other("open", "palisade.dev/allow: NP023", open), &["NP046", "NP023"]);
    // A floor stays, unless it lies on another one.
    let deny = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}";
    expect(deny, &other("a", "", web), &[]);
    expect(deny, &other("a", "", "{podSelector: {}, policyTypes: [Ingress]}"), &["NP046"]);
    expect(deny, &other("a", "", "{podSelector: {}, policyTypes: [Egress]}"), &[]);
}

#[test]
fn what_is_open_to_everybody_is_told_once() {
    let open = "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}";
    let deny = "{podSelector: {}, policyTypes: [Ingress]}";
    let meant = "palisade.dev/allow: NP023";
    expect(deny, &other("open", meant, open), &["NP047"]);
    expect(deny, &other("open", "", open), &["NP047", "NP023"]);
    expect(deny, &other("open", "palisade.dev/allow: NP023, palisade.dev/audit: 'true'", open), &[]);
    expect("{podSelector: {}, policyTypes: [Ingress, Egress]}", &other("open", meant, open), &[]);
    expect(deny, &other("open", meant, &open.replace("{}, policy", "{matchLabels: {app: a}}, policy")), &[]);
    expect(deny, &other("open", meant, &open.replace("[{}]", "[{ports: [{protocol: TCP}]}]")), &[]);
}

/// Expects these ids of an input without a policy of its own, of one check or all that are not opt-in.
#[track_caller]
fn expect_of(text: &str, select: &[&str], expected: &[&str]) {
    let select = select.iter().map(|word| (*word).to_string()).collect();
    let found = found::in_text(text, &Selection { select, ..Selection::default() });
    let ids: Vec<&str> = found.iter().filter_map(|found| found.id).collect();
    assert_eq!(ids, expected, "{text}\n{found:#?}");
}

#[test]
fn what_is_open_by_default_is_told_where_it_is_selected() {
    let all =
        |types: &str, rules: &str| other("all", "", &format!("{{podSelector: {{}}, policyTypes: [{types}]{rules}}}"));
    let (web, both) = (WEB, "Ingress, Egress");
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    for select in ["NP060", "NP06", "E"] {
        expect_of(web, &[select], if select == "NP060" { &["NP060"] } else { &["NP060", "NP061"] });
    }
    expect_of(web, &[], &[]);
    expect_of(&[web, &all(both, "")].concat(), &["NP060", "NP061"], &[]);
    expect_of(&[web, &all("Ingress", "")].concat(), &["NP060", "NP061"], &["NP060", "NP061"]);
    let audited = all(both, "").replace("annotations: {}", "annotations: {palisade.dev/audit: 'true'}");
    expect_of(&[web, &audited].concat(), &["NP060", "NP061"], &["NP060", "NP061"]);
    // It isolates, and opens again.
    let open = all(both, ", ingress: [{}]");
    expect_of(&[web, namespace, &open].concat(), &["NP060", "NP061"], &["NP061"]);
    expect_of(namespace, &["NP061"], &["NP061"]);
    let on_node = pod("shop", "a", "hostNetwork: true, containers: [{name: a}]");
    expect_of(&on_node, &["NP060"], &[]);
    // Many pods of one workload are told once.
    let deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: shop, name: web}\nspec: {replicas: 2, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a}]}}}\n";
    expect_of(deployment, &["NP060"], &["NP060"]);
}

#[test]
fn the_world_may_be_meant() {
    let world = "{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}";
    let service = |kind: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: front}}\nspec: {{type: {kind}, selector: {{app: web}}, ports: [{{port: 8080}}]}}\n"
        )
    };
    let ingress_of = |name: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{namespace: shop, name: i}}\nspec: {{defaultBackend: {{service: {{name: {name}, port: {{number: 8080}}}}}}}}\n"
        )
    };
    ingress(world, "", &[]);
    ingress(world, WEB, &[]);
    ingress(world, &[WEB, NODE].concat(), &["NP062"]);
    ingress(world, &[WEB, &service("ClusterIP")].concat(), &["NP062"]);
    ingress(world, &[WEB, &service("NodePort")].concat(), &[]);
    ingress(world, &[WEB, &service("ClusterIP"), &ingress_of("front")].concat(), &[]);
    ingress(world, &[WEB, &service("ClusterIP"), &ingress_of("other")].concat(), &["NP062"]);
    let part = "{from: [{ipBlock: {cidr: 0.0.0.0/1}}]}";
    ingress(part, &[WEB, NODE].concat(), &[]);
    let host_port = WEB.replace("containerPort: 8080", "containerPort: 8080, hostPort: 80");
    ingress(world, &[&*host_port, NODE].concat(), &[]);
    // Another pod of the policy has no Service that is shown.
    ingress(world, &[WEB, &service("ClusterIP"), &pod("shop", "b", "containers: [{name: b}]")].concat(), &[]);
}

#[test]
fn who_may_take_a_label() {
    let from =
        |namespaces: &str, pods: &str| format!("{{from: [{{namespaceSelector: {namespaces}, podSelector: {pods}}}]}}");
    let labelled = "{matchLabels: {app: a}}";
    ingress(&from("{}", labelled), "", &["NP064"]);
    ingress(&from("{}", "{}"), "", &[]);
    ingress(&from("{matchLabels: {team: a}}", labelled), "", &[]);
    expect(
        &format!(
            "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{namespaceSelector: {{}}, podSelector: {labelled}}}]}}]}}"
        ),
        "",
        &[],
    );
}

#[test]
fn a_sensitive_port_is_listed_or_declared() {
    let all = |ports: &str| format!("{{from: [{{namespaceSelector: {{}}}}]{ports}}}");
    let declares = |port: &str| pod("shop", "a", &format!("containers: [{{name: a, ports: [{{name: x, {port}}}]}}]"));
    ingress(&all(", ports: [{port: 22}]"), "", &["NP065"]);
    ingress(&all(", ports: [{port: 22, protocol: UDP}]"), "", &[]);
    ingress(&all(", ports: [{port: 1, endPort: 9000}]"), "", &[]);
    ingress(&all(", ports: [{port: 1, endPort: 9000}]"), &declares("containerPort: 5432"), &["NP065"]);
    ingress(&all(", ports: [{port: x}]"), &declares("containerPort: 5432"), &["NP065"]);
    ingress(&all(", ports: [{port: x}]"), &declares("containerPort: 5433"), &[]);
    ingress(&all(""), &declares("containerPort: 6379"), &["NP065"]);
    ingress(&all(""), &declares("containerPort: 6379, protocol: UDP"), &[]);
    ingress(&all(""), "", &[]);
    ingress("{ports: [{port: 5432}]}", "", &["NP023", "NP065"]);
    ingress("{from: [{podSelector: {}}], ports: [{port: 5432}]}", "", &[]);
}

#[test]
fn who_needs_the_api_server_says_so() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {namespace: default, name: kubernetes-x, labels: {kubernetes.io/service-name: kubernetes}}\nports: [{port: 6443}]\nendpoints: [{addresses: [10.99.0.7]}]\n";
    let endpoints = "---\napiVersion: v1\nkind: Endpoints\nmetadata: {namespace: default, name: kubernetes}\nsubsets: [{addresses: [{ip: 10.99.0.7}], ports: [{port: 6443}]}]\n";
    let other_slice = slice.replace("service-name: kubernetes", "service-name: web");
    let spec = |rules: &str| format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}");
    let asks = pod("shop", "a", "automountServiceAccountToken: true, containers: [{name: a}]");
    let volume = |name: &str| {
        pod(
            "shop",
            "a",
            &format!(
                "volumes: [{{name: {name}, projected: {{sources: [{{serviceAccountToken: {{path: t}}}}]}}}}], containers: [{{name: a}}]"
            ),
        )
    };
    let none = spec("");
    expect(&none, &[&*asks, slice].concat(), &["NP066"]);
    expect(&none, &[&*asks, endpoints].concat(), &["NP066"]);
    expect(&none, &[&*asks, &other_slice].concat(), &[]);
    expect(&none, &asks, &[]);
    expect(&none, &[WEB, slice].concat(), &[]);
    expect(&none, &[&*volume("token"), slice].concat(), &["NP066"]);
    expect(&none, &[&*volume("kube-api-access-x2x"), slice].concat(), &[]);
    let block = |port: &str| spec(&format!("{{to: [{{ipBlock: {{cidr: 10.99.0.0/24}}}}], ports: [{{port: {port}}}]}}"));
    expect(&block("6443"), &[&*asks, slice].concat(), &[]);
    expect(&block("443"), &[&*asks, slice].concat(), &["NP066"]);
    // It runs beside the API server.
    let beside = asks.replace("spec: {", "spec: {nodeName: n1, ");
    expect(&none, &[&*beside, slice, NODE].concat(), &[]);
    let cron = "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {namespace: shop, name: c}\nspec: {jobTemplate: {spec: {template: {metadata: {labels: {app: c}}, spec: {automountServiceAccountToken: true, containers: [{name: a}]}}}}}\n";
    expect(&none, &[cron, slice].concat(), &["NP066"]);
}

#[test]
fn a_webhook_may_be_called() {
    let hook = "---\napiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: m}\nwebhooks: [{name: m, clientConfig: {service: {namespace: shop, name: web, port: 443}}}]\n";
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\nspec: {selector: {app: web}, ports: [{port: 443, targetPort: http}]}\n";
    let input = |more: &str| [WEB, hook, service, more].concat();
    let pods = "{from: [{podSelector: {}}]}";
    ingress(pods, &input(""), &["NP068"]);
    ingress(pods, &[WEB, hook].concat(), &[]);
    ingress(pods, &[WEB, service].concat(), &[]);
    ingress(pods, &[WEB, hook, &service.replace("port: 443", "port: 444")].concat(), &[]);
    ingress("{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}", &input(""), &[]);
    ingress("{from: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}", &input(""), &["NP030", "NP068"]);
    expect("{podSelector: {}, policyTypes: [Egress]}", &input(""), &[]);
    let audited = other(
        "in",
        "palisade.dev/audit: 'true'",
        "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}",
    );
    ingress(pods, &input(&audited), &["NP068"]);
    // One node runs everything.
    ingress(pods, &input(NODE), &[]);
    ingress(pods, &input(&[NODE, &NODE.replace("n1", "n2").replace("0.7", "0.8")].concat()), &["NP068"]);
    let url = hook.replace("service: {namespace: shop, name: web, port: 443}", "url: 'https://x.example'");
    ingress(pods, &[WEB, &url, service].concat(), &[]);
}
