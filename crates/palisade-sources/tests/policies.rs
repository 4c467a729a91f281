//! `NetworkPolicy`: what is valid means what the API says, what is not isolates and allows nothing.
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail, and need not be fast")]

use palisade_core::{Direction, Level, NetworkPolicy, Ports, Rule};
use palisade_sources::{Limits, Options, Parsed, SourceText, parse};

fn read(text: &str) -> Parsed {
    parse(&[SourceText { file: "a.yaml".into(), text: text.to_string() }], &Options::default())
}

/// A policy `db/p` with this spec, in the flow style of YAML.
fn policy(spec: &str) -> Parsed {
    let header = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: db}\n";
    read(&format!("{header}spec: {spec}\n"))
}

/// The policy in a line: its subjects, then each direction it isolates with its rules.
fn shown(policy: &NetworkPolicy) -> String {
    let rule = |rule: &Rule| {
        let peers = rule.peers.as_ref().map_or("all".to_string(), |peers| join(peers));
        let ports = match &rule.ports {
            Ports::All => "all".to_string(),
            Ports::Listed(ports) => join(ports),
        };
        format!(" [{peers} : {ports}]")
    };
    let mut text = policy.subjects.to_string();
    for direction in [Direction::Ingress, Direction::Egress] {
        if let Some(rules) = &policy.rules[direction] {
            text += " | ";
            text += direction.name();
            text.extend(rules.iter().map(rule));
        }
    }
    text
}

fn join(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn only_policy(parsed: &Parsed) -> &NetworkPolicy {
    assert_eq!(parsed.snapshot.policies.len(), 1);
    parsed.snapshot.policies.values().next().unwrap()
}

#[test]
fn a_valid_policy_means_what_the_api_says() {
    let check = |spec: &str, expected: &str| {
        let parsed = policy(spec);
        assert!(parsed.diagnostics.is_empty(), "{spec}: {:?}", parsed.diagnostics);
        let policy = only_policy(&parsed);
        assert_eq!(policy.unreadable, None, "{spec}");
        assert_eq!(shown(policy), expected, "{spec}");
    };
    // Defaults of policyTypes, and what null, absent and empty mean.
    check("", "everything | ingress");
    check("{}", "everything | ingress");
    check("{podSelector: {}}", "everything | ingress");
    check("{podSelector: null, policyTypes: null, ingress: null, egress: null}", "everything | ingress");
    check("{podSelector: {}, policyTypes: []}", "everything | ingress");
    check("{podSelector: {}, egress: []}", "everything | ingress");
    check("{podSelector: {}, egress: [{}]}", "everything | ingress | egress [all : all]");
    check("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", "everything | egress");
    check("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", "everything | ingress");
    check("{podSelector: {}, policyTypes: [Ingress, Egress]}", "everything | ingress | egress");
    check("{podSelector: {}, policyTypes: [Ingress, Ingress]}", "everything | ingress");
    check("{podSelector: {}, ingress: []}", "everything | ingress");
    check("{podSelector: {}, ingress: [{from: []}]}", "everything | ingress [all : all]");
    check("{podSelector: {}, ingress: [{from: null, ports: []}]}", "everything | ingress [all : all]");
    // Selectors.
    check("{podSelector: {matchLabels: {b: z, a: x}}}", "a=x,b=z | ingress");
    check("{podSelector: {matchLabels: {a: ''}}}", "a= | ingress");
    check("{podSelector: {matchLabels: {a: }}}", "a= | ingress");
    check("{podSelector: {matchLabels: {a: '1'}}}", "a=1 | ingress");
    check("{podSelector: {matchLabels: {a: !!str 1}}}", "a=1 | ingress");
    let expressions = "{key: a, operator: In, values: [z, x]}, {key: b, operator: NotIn, values: [z]}, {key: c, operator: Exists}, {key: d, operator: DoesNotExist, values: []}";
    check(&format!("{{podSelector: {{matchExpressions: [{expressions}]}}}}"), "a in (x,z),b notin (z),c,!d | ingress");
    // Peers.
    check("{ingress: [{from: [{podSelector: {}}]}]}", "everything | ingress [pods everything : all]");
    check(
        "{ingress: [{from: [{namespaceSelector: {}}]}]}",
        "everything | ingress [pods everything in namespaces everything : all]",
    );
    check(
        "{ingress: [{from: [{namespaceSelector: {matchLabels: {ns: m}}, podSelector: {matchLabels: {a: x}}, ipBlock: null}]}]}",
        "everything | ingress [pods a=x in namespaces ns=m : all]",
    );
    check(
        "{ingress: [{from: [{namespaceSelector: {matchLabels: {ns: m}}}, {podSelector: {matchLabels: {a: x}}}]}]}",
        "everything | ingress [pods everything in namespaces ns=m; pods a=x : all]",
    );
    check(
        "{egress: [{to: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.1.2.3/16, 10.2.0.0/16]}}, {ipBlock: {cidr: '::/0', except: ['fd00::1/8']}}]}]}",
        "everything | ingress | egress [10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16; ::/0 except fd00::/8 : all]",
    );
    check("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/32}}]}]}", "everything | ingress [10.0.0.1/32 : all]");
    // Ports.
    check(
        "{ingress: [{ports: [{port: 80}, {port: 53, protocol: UDP}, {port: 1, endPort: 65535, protocol: SCTP}]}]}",
        "everything | ingress [all : tcp 80; udp 53; sctp 1-65535]",
    );
    check(
        "{ingress: [{ports: [{}, {protocol: UDP}, {port: http}]}]}",
        "everything | ingress [all : tcp; udp; tcp http]",
    );
    check("{ingress: [{ports: [{port: 80, endPort: 80}]}]}", "everything | ingress [all : tcp 80]");
    check(
        "{ingress: [{ports: [{port: 0x50}, {port: 0120}, {port: 80.0}]}]}",
        "everything | ingress [all : tcp 80; tcp 80; tcp 80]",
    );
}

/// Rows of what cannot be read: the spec, what the message says, and the policy that stands instead.
const INVALID: [(&str, &str, &str); 56] = [
    // Types and unknown fields.
    ("[]", "spec: expected a mapping, found a list", "everything | ingress | egress"),
    ("{podSelector: [], ingress: [{}]}", "spec.podSelector: expected a mapping, found a list", "everything | ingress"),
    ("{podSelector: {matchLabels: {a: x}}, ingres: []}", "spec: unknown field 'ingres'", "a=x | ingress"),
    (
        "{podSelector: {matchLabels: {a: x}}, ingress: {}}",
        "spec.ingress: expected a list, found a mapping",
        "a=x | ingress",
    ),
    (
        "{podSelector: {matchLabels: {a: x}}, egress: {}}",
        "spec.egress: expected a list, found a mapping",
        "a=x | ingress | egress",
    ),
    (
        "{podSelector: {matchLabels: {a: x}}, ingress: [{form: []}]}",
        "spec.ingress[0]: unknown field 'form'",
        "a=x | ingress",
    ),
    ("{ingress: [{to: []}]}", "spec.ingress[0]: unknown field 'to'", "everything | ingress"),
    ("{ingress: [80]}", "spec.ingress[0]: expected a mapping, found the number 80", "everything | ingress"),
    ("{ingress: [{from: {}}]}", "spec.ingress[0].from: expected a list, found a mapping", "everything | ingress"),
    ("{ingress: [{ports: 80}]}", "spec.ingress[0].ports: expected a list, found the number 80", "everything | ingress"),
    ("{ingress: [], ingress: [{}]}", "spec: 'ingress' is written twice", "everything | ingress"),
    (
        "{podSelector: {matchLabels: {a: x}}, egress: [{to: [{podSelector: {}, podSelector: {}}]}]}",
        "'podSelector' is written twice",
        "a=x | ingress | egress",
    ),
    // policyTypes.
    ("{policyTypes: Ingress}", "spec.policyTypes: expected a list, found 'Ingress'", "everything | ingress | egress"),
    (
        "{policyTypes: [ingress]}",
        "spec.policyTypes[0]: expected Ingress or Egress, found 'ingress'",
        "everything | ingress | egress",
    ),
    (
        "{policyTypes: [Egress, 1]}",
        "spec.policyTypes[1]: expected Ingress or Egress, found the number 1",
        "everything | ingress | egress",
    ),
    ("{policyTypes: [Egress, Egress, Egress]}", "expected at most two types, found 3", "everything | egress"),
    // Selectors: half of one would select other pods, so that it is the whole namespace.
    (
        "{podSelector: {matchLabels: {a: 1}}}",
        "spec.podSelector.matchLabels.a: expected text, found the number 1",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchLabels: {a: yes}}}",
        "spec.podSelector.matchLabels.a: expected text, found the boolean true",
        "everything | ingress",
    ),
    ("{podSelector: {matchLabels: {-a: x}}}", "matchLabels[-a]: expected a label key", "everything | ingress"),
    ("{podSelector: {matchLabels: {a: x/y}}}", "expected a label value", "everything | ingress"),
    ("{podSelector: {matchLabels: {a: x, a: y}}}", "'a' is written twice", "everything | ingress"),
    (
        "{podSelector: {matchLabels: [a]}}",
        "spec.podSelector.matchLabels: expected a mapping, found a list",
        "everything | ingress",
    ),
    ("{podSelector: {matchlabels: {a: x}}}", "spec.podSelector: unknown field 'matchlabels'", "everything | ingress"),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "In needs at least one value",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}",
        "NotIn needs at least one value",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}}",
        "Exists takes no values",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: DoesNotExist, values: [x]}]}}",
        "DoesNotExist takes no values",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}",
        "expected In, NotIn, Exists or DoesNotExist, found 'Gt'",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{operator: Exists}]}}",
        "matchExpressions[0]: key: expected text, found nothing",
        "everything | ingress",
    ),
    ("{podSelector: {matchExpressions: [{key: a}]}}", "operator: expected text, found nothing", "everything | ingress"),
    (
        "{podSelector: {matchExpressions: [{key: 'a b', operator: Exists}]}}",
        "matchExpressions[0].key: expected a label key",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: In, values: ['-']}]}}",
        "values[0]: expected a label value",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: In, values: [1]}]}}",
        "values[0]: expected text, found the number 1",
        "everything | ingress",
    ),
    (
        "{podSelector: {matchExpressions: [{key: a, operator: In, value: [x]}]}}",
        "unknown field 'value'",
        "everything | ingress",
    ),
    // Peers.
    ("{ingress: [{from: [{}]}]}", "spec.ingress[0].from[0]: expected a podSelector", "everything | ingress"),
    ("{ingress: [{from: [null]}]}", "spec.ingress[0].from[0]: expected a podSelector", "everything | ingress"),
    (
        "{ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}",
        "an ipBlock cannot stand together with selectors",
        "everything | ingress",
    ),
    (
        "{ingress: [{from: [{ipBlock: {}}]}]}",
        "ipBlock: cidr: expected a block of addresses, found nothing",
        "everything | ingress",
    ),
    ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}", "found '10.0.0.0/33'", "everything | ingress"),
    ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}", "found '10.0.0.1'", "everything | ingress"),
    (
        "{ingress: [{from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}",
        "an IPv4 block within IPv6 is ambiguous",
        "everything | ingress",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
        "10.0.0.0/8 does not lie strictly within 10.0.0.0/8",
        "everything | ingress",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}",
        "11.0.0.0/16 does not lie strictly within",
        "everything | ingress",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/16']}}]}]}",
        "fd00::/16 does not lie strictly within",
        "everything | ingress",
    ),
    (
        "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: 10.1.0.0/16}}]}]}",
        "except: expected a list",
        "everything | ingress",
    ),
    // Ports.
    (
        "{ingress: [{ports: [{port: 0}]}]}",
        "spec.ingress[0].ports[0].port: expected a port from 1 to 65535, found the number 0",
        "everything | ingress",
    ),
    ("{ingress: [{ports: [{port: 65536}]}]}", "found the number 65536", "everything | ingress"),
    ("{ingress: [{ports: [{port: true}]}]}", "found the boolean true", "everything | ingress"),
    ("{ingress: [{ports: [{port: '80'}]}]}", "expected a port name", "everything | ingress"),
    ("{ingress: [{ports: [{port: HTTP}]}]}", "expected a port name", "everything | ingress"),
    ("{ingress: [{ports: [{port: 80, endPort: 79}]}]}", "endPort 79 is less than port 80", "everything | ingress"),
    (
        "{ingress: [{ports: [{port: http, endPort: 80}]}]}",
        "endPort needs a port that is a number",
        "everything | ingress",
    ),
    ("{ingress: [{ports: [{endPort: 80}]}]}", "endPort needs a port to start from", "everything | ingress"),
    (
        "{ingress: [{ports: [{port: 80, protocol: tcp}]}]}",
        "expected TCP, UDP or SCTP, found 'tcp'",
        "everything | ingress",
    ),
    ("{ingress: [{ports: [{port: 80, protocol: ''}]}]}", "expected TCP, UDP or SCTP, found ''", "everything | ingress"),
    (
        "{policyTypes: [Egress], ingress: [{ports: [{port: 0}]}], egress: [{}]}",
        "found the number 0",
        "everything | egress",
    ),
];

#[test]
fn what_cannot_be_read_isolates_and_allows_nothing() {
    for (spec, message, expected) in INVALID {
        let parsed = policy(spec);
        let errors: Vec<_> = parsed.diagnostics.iter().filter(|found| found.level == Level::Error).collect();
        let error = errors.iter().find(|error| error.message.contains(message));
        let error = error.unwrap_or_else(|| panic!("{spec}: no '{message}' in {errors:#?}"));
        let policy = only_policy(&parsed);
        assert_eq!(shown(policy), expected, "{spec}");
        let reason = policy.unreadable.as_deref().unwrap();
        assert!(errors[0].message.starts_with(reason), "{spec}: {reason}");
        assert_eq!(error.object.as_deref(), Some("NetworkPolicy db/p"));
        assert_eq!(error.place.as_ref().unwrap().line, 4, "{spec}");
        let effect = if expected.starts_with("everything") {
            "the policy isolates every pod of namespace db and allows nothing"
        } else {
            "the policy isolates the pods it selects and allows nothing"
        };
        assert_eq!(error.effect.as_deref(), Some(effect), "{spec}");
        assert!(!parsed.no_answer);
    }
}

#[test]
fn outside_the_spec_an_unknown_field_is_a_warning() {
    let parsed = read(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, nmespace: db}\nspec: {ingress: [{}]}\nfoo: 1\n",
    );
    let shown_diagnostics: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown_diagnostics,
        [
            "a.yaml:3:21: warning: NetworkPolicy default/p: metadata: unknown field 'nmespace'",
            "a.yaml:5:1: warning: NetworkPolicy default/p: top level: unknown field 'foo'",
        ]
    );
    assert_eq!(parsed.diagnostics[0].hint.as_deref(), Some("did you mean 'namespace'?"));
    assert_eq!(shown(only_policy(&parsed)), "everything | ingress [all : all]");
}

#[test]
fn versions_that_are_not_v1() {
    let check = |version: &str, level: Level, message: &str, unreadable: bool| {
        let parsed =
            read(&format!("{version}\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{ingress: [{{}}]}}\n"));
        assert_eq!(parsed.diagnostics.len(), 1, "{version}: {:?}", parsed.diagnostics);
        assert_eq!(parsed.diagnostics[0].level, level, "{version}");
        assert!(parsed.diagnostics[0].message.contains(message), "{version}: {}", parsed.diagnostics[0].message);
        assert_eq!(only_policy(&parsed).unreadable.is_some(), unreadable, "{version}");
    };
    check("apiVersion: extensions/v1beta1", Level::Note, "gone since Kubernetes 1.16", false);
    check("apiVersion: networking.k8s.io/v2", Level::Error, "expected networking.k8s.io/v1", true);
    check("apiVersion: v1", Level::Error, "expected networking.k8s.io/v1", true);
    check("", Level::Error, "expected networking.k8s.io/v1", true);
}

#[test]
fn policies_of_other_engines_are_counted() {
    let kinds = [
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
    ];
    let text: String = kinds
        .iter()
        .map(|(version, kind)| format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{}}\n"))
        .collect();
    let parsed = read(&text);
    let messages: Vec<&str> = parsed.diagnostics.iter().map(|found| &*found.message).collect();
    assert_eq!(
        messages,
        [
            "verdicts ignore 1 BaselineAdminNetworkPolicy object",
            "verdicts ignore 2 CiliumNetworkPolicy objects",
            "verdicts ignore 1 GlobalNetworkPolicy object",
            "verdicts ignore 1 NetworkPolicy object",
        ]
    );
    assert!(parsed.snapshot.policies.is_empty() && !parsed.no_answer);
}

#[test]
fn names_do_not_change_the_meaning() {
    let check = |metadata: &str, name: &str, message: &str| {
        let parsed = read(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {metadata}\nspec: {{ingress: [{{}}]}}\n"
        ));
        assert!(parsed.diagnostics[0].message.contains(message), "{metadata}: {:?}", parsed.diagnostics);
        let policy = only_policy(&parsed);
        assert_eq!(policy.name.to_string(), name);
        assert_eq!(shown(policy), "everything | ingress [all : all]");
    };
    check("{name: A_b}", "default/A_b", "metadata.name: expected lower-case");
    check("{namespace: db}", "db/unnamed-1", "name: expected a name, found nothing");
    check("", "default/unnamed-1", "metadata: expected at least a name");
    check("{name: '', namespace: ''}", "default/unnamed-1", "metadata.name: expected lower-case");
    check("{name: p, namespace: Db}", "Db/p", "metadata.namespace: expected lower-case");
}

#[test]
fn past_a_limit_a_policy_cannot_be_read() {
    let options = |limits: Limits| Options { limits, ..Options::default() };
    let one = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    let check = |specs: [&str; 3], limits: Limits, unreadable: &[&str], message: &str| {
        // Names, and not places, decide.
        let text = one("c", specs[2]) + &one("a", specs[0]) + &one("b", specs[1]);
        let parsed = parse(&[SourceText { file: "-".into(), text }], &options(limits));
        let closed = parsed.snapshot.policies.values().filter(|policy| policy.unreadable.is_some());
        let names: Vec<&str> = closed.map(|policy| &*policy.name.name).collect();
        assert_eq!(names, unreadable, "{message}");
        assert!(parsed.diagnostics.iter().all(|found| found.message.contains(message)), "{:?}", parsed.diagnostics);
        assert_eq!(parsed.diagnostics.len(), unreadable.len());
        for policy in parsed.snapshot.policies.values().filter(|policy| policy.unreadable.is_some()) {
            assert_eq!(shown(policy), "everything | ingress");
        }
    };
    let peers = "{ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}, {from: [{podSelector: {}}]}]}";
    let all = "{ingress: [{}]}";
    check([all, all, all], Limits { policies_per_namespace: 2, ..Limits::default() }, &["c"], "more than 2 policies");
    check([all, peers, all], Limits { peers_per_policy: 2, ..Limits::default() }, &["b"], "more than 2 peers");
    check([peers, all, all], Limits { peers_per_policy: 3, ..Limits::default() }, &[], "");
    check([all, peers, all], Limits { elements_per_namespace: 3, ..Limits::default() }, &["b"], "more than 3 elements");
    check([all, peers, all], Limits::default(), &[], "");

    // 1-9 admits one peer, 10-19 two, 20-30 three, 31-40 two, 41-50 one; five entries of the map, and one for all else.
    let range = |first: u16, last: u16| {
        format!("{{from: [{{ipBlock: {{cidr: 10.{first}.0.0/16}}}}], ports: [{{port: {first}, endPort: {last}}}]}}")
    };
    let overlapping = format!("{{ingress: [{}, {}, {}]}}", range(1, 50), range(10, 40), range(20, 30));
    let limit = |elements_per_namespace| Limits { elements_per_namespace, ..Limits::default() };
    check([all, &overlapping, all], limit(17), &[], "");
    check([all, &overlapping, all], limit(16), &["c"], "more than 16 elements");
    check([all, &overlapping, all], limit(14), &["b"], "more than 14 elements");

    // Together they make the same five stretches, though none alone has more than one.
    let [a, b, c] = [(1, 50), (10, 40), (20, 30)].map(|(first, last)| format!("{{ingress: [{}]}}", range(first, last)));
    check([&a, &b, &c], limit(15), &[], "");
    check([&a, &b, &c], limit(14), &["c"], "more than 14 elements");
    check([&a, &b, &c], limit(8), &["c"], "more than 8 elements");
    check([&a, &b, &c], limit(7), &["b", "c"], "more than 7 elements");
    // Two peers that are admitted everywhere are admitted at each of the ports, too: 3 + 4 + 4.
    let everywhere = "{ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]}";
    let [one, other] =
        [80, 81].map(|port| format!("{{ingress: [{{ports: [{{port: {port}}}], from: [{{podSelector: {{}}}}]}}]}}"));
    check([everywhere, &one, &other], limit(11), &[], "");
    check([everywhere, &one, &other], limit(10), &["c"], "more than 10 elements");
    // But not where no pod is selected by two of them.
    let of =
        |app: &str, spec: &str| spec.replacen('{', &format!("{{podSelector: {{matchLabels: {{app: {app}}}}}, "), 1);
    check([&of("first", everywhere), &of("second", &one), &of("third", &other)], limit(9), &[], "");
}

/// Each of them selects pods of its own, as the policies of a large namespace do; ports that one of them lists concern no other.
#[test]
fn many_policies_of_a_few_ports_are_not_too_much() {
    let policies = |selector: fn(usize) -> String| {
        let one = |number: usize| {
            format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{number}}}\nspec: {{podSelector: {}, ingress: \
                 [{{from: [{{podSelector: {{}}}}]}}, {{from: [{{namespaceSelector: {{}}}}], ports: [{{port: {}}}, {{port: {}}}, {{port: {}}}]}}]}}\n",
                selector(number),
                1 + number,
                2000 + number,
                8080,
            )
        };
        let text = (0..1_000).map(one).collect();
        let parsed = parse(&[SourceText { file: "-".into(), text }], &Options::default());
        parsed.snapshot.policies.values().filter(|policy| policy.unreadable.is_some()).count()
    };
    assert_eq!(policies(|number| format!("{{matchLabels: {{app: a{number}}}}}")), 0);
    assert_eq!(policies(|number| format!("{{matchLabels: {{app: a{number}, tier: t{}}}}}", number % 3)), 0);
    // If one pod may be selected by all, all that is admitted everywhere is admitted at each of their ports.
    assert!(policies(|_| "{}".into()) > 500);
    assert!(policies(|number| format!("{{matchLabels: {{l{number}: x}}}}")) > 500);
}
