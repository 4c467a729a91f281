//! The config file of kube-restrict-ip: what that program reads means the same here, what it would not read admits nobody.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use palisade_core::HostScope;
use palisade_sources::restrict_ip::{self, RestrictIp};
use palisade_sources::{Options, Parsed, SourceText, parse};

fn file(name: &str, text: &str) -> SourceText {
    SourceText { file: name.into(), text: text.to_string() }
}

fn read(text: &str) -> RestrictIp {
    RestrictIp::parse(&file("config.yaml", text))
}

/// The policy in a line: its name, its ports, whom it admits.
fn shown(config: &RestrictIp) -> String {
    let policy = &config.policy;
    let ports: Vec<String> = policy.ports.iter().map(ToString::to_string).collect();
    let from: Vec<String> = policy.from.iter().map(ToString::to_string).collect();
    format!("{} | {} | {} | {:?} | {}", policy.name, ports.join("; "), from.join("; "), policy.otherwise, policy.nodes)
}

/// The example of its authors, as it is.
const EXAMPLE: &str = "restrictedPorts:\n  - 9100\n  - 10254\n\nallowedNetworks:\n  - 127.0.0.1\n  - 10.244.0.0/16\n  - 172.17.0.1/16\n\ncheckInterval: 60s\n";

#[test]
fn the_example_means_what_it_says() {
    let config = read(EXAMPLE);
    assert!(config.diagnostics.is_empty(), "{:?}", config.diagnostics);
    let expected =
        "KUBE-RESTRICT-IP | tcp 9100; tcp 10254 | 127.0.0.1/32; 10.244.0.0/16; 172.17.0.0/16 | Reject | everything";
    assert_eq!(shown(&config), expected);
    assert_eq!((config.check_interval, config.unreadable()), (Duration::from_mins(1), None));
}

#[test]
fn whatever_the_program_reads_is_read() {
    let check = |text: &str, expected: &str, seconds: u64| {
        let config = read(text);
        assert!(config.diagnostics.is_empty(), "{text}: {:?}", config.diagnostics);
        assert!(shown(&config).starts_with(expected), "{text}: {}", shown(&config));
        assert_eq!(config.check_interval, Duration::from_secs(seconds), "{text}");
    };
    let json =
        r#"{"restrictedPorts": [22], "allowedNetworks": ["fd00::/8"], "ipChain": "OFFICE", "checkInterval": "1m30s"}"#;
    check(json, "OFFICE | tcp 22 | fd00::/8 |", 90);
    check(
        "restrictedports: ['22']\nALLOWEDNETWORKS: [::1, 10.0.0.1/8]\n",
        "KUBE-RESTRICT-IP | tcp 22 | ::1/128; 10.0.0.0/8 |",
        60,
    );
    check(
        "# ours\n---\nrestrictedPorts: [22]\nallowedNetworks: [0.0.0.0/0]\nipChain:\n",
        "KUBE-RESTRICT-IP | tcp 22 | 0.0.0.0/0 |",
        60,
    );
    let scope = |text: &str| read(&format!("restrictedPorts: [22]\nallowedNetworks: [0.0.0.0/0]\n{text}")).policy.scope;
    assert_eq!(scope(""), HostScope::HostSockets);
    assert_eq!(scope("scope: [HostSockets, NodePorts, HostPorts]\n"), HostScope::Everything);
    // More ports than a rule of iptables takes.
    let ports: Vec<String> = (9000..9100).map(|port| port.to_string()).collect();
    let many = read(&format!("restrictedPorts: [{}]\nallowedNetworks: [10.0.0.0/8]\n", ports.join(", ")));
    assert_eq!((many.policy.ports.len(), many.diagnostics.len()), (100, 0));
}

#[test]
fn what_cannot_be_read_is_said_with_its_place_and_closes_the_ports() {
    let check = |text: &str, diagnostic: &str, ports: usize| {
        let config = read(text);
        let found: Vec<String> = config.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(found, [diagnostic], "{text}");
        assert!(config.unreadable().is_some() && config.policy.from.is_empty(), "{text}");
        assert_eq!(config.policy.ports.len(), ports, "{text}");
        assert!(config.diagnostics[0].effect.is_some(), "{text}");
    };
    let ports = "restrictedPorts: [9100, 22]\n";
    let networks = "allowedNetworks: [10.0.0.0/8]\n";
    let at = |place: &str, message: &str| format!("config.yaml:{place}: error: ipChain KUBE-RESTRICT-IP: {message}");
    // The failsafe port is left alone.
    let none = "allowedNetworks: expected a list with at least one item, found none";
    check(ports, &at("1:1", none), 1);
    check(&format!("{ports}allowedNetworks: []\n"), &at("2:18", none), 1);
    check(networks, &at("1:1", "restrictedPorts: expected a list with at least one item, found none"), 0);
    check(
        &format!("{ports}allowedNetworks: 10.0.0.0/8\n"),
        &at("2:18", "allowedNetworks: expected a list, found '10.0.0.0/8'"),
        1,
    );
    check(
        &format!("restrictedPorts: [9100, 0]\n{networks}"),
        &at("1:25", "restrictedPorts[1]: expected a port from 1 to 65535, found the number 0"),
        1,
    );
    check(
        &format!("restrictedPorts: [9100, 9000-9022]\n{networks}"),
        &at("1:25", "restrictedPorts[1]: expected a port from 1 to 65535, found '9000-9022'"),
        1,
    );
    check(
        &format!("{ports}allowedNetworks: [10.0.0.0/33]\n"),
        &at(
            "2:19",
            "allowedNetworks[0]: expected an address or a block such as 10.0.0.0/8 or fd00::/8, found '10.0.0.0/33'",
        ),
        1,
    );
    check(
        &format!("{ports}allowedNetworks: ['::ffff:10.0.0.0/104']\n"),
        &at("2:19", "allowedNetworks[0]: an IPv4 block within IPv6 is ambiguous, found '::ffff:10.0.0.0/104'"),
        1,
    );
    check(
        &format!("{ports}{networks}ipChain: two words\n"),
        &at("3:10", "ipChain: expected a name of at most 28 letters without spaces, found 'two words'"),
        1,
    );
    check(&format!("{ports}{networks}---\na: b\n"), &at("4:1", "expected one document, found another"), 1);
    check(
        &format!("{ports}restrictedPorts: [80]\n{networks}"),
        &at("2:1", "top level: 'restrictedPorts' is written twice"),
        1,
    );
    let broken = read(&format!("{ports}allowedNetworks: [10.0.0.0/8\n"));
    assert_eq!(broken.policy.ports.len(), 1);
    assert!(broken.unreadable().is_some_and(|reason| reason.starts_with("not valid YAML")), "{broken:?}");
    for text in ["", "- 9100\n", "9100\n"] {
        assert!(read(text).unreadable().is_some() && read(text).policy.ports.is_empty(), "{text}");
    }
}

#[test]
fn what_would_be_passed_over_is_a_warning() {
    let check = |line: &str, message: &str, hint: &str| {
        let config = read(&format!("restrictedPorts: [9100]\nallowedNetworks: [10.0.0.0/8]\n{line}\n"));
        assert_eq!(config.unreadable(), None, "{line}");
        assert_eq!(config.check_interval, Duration::from_mins(1), "{line}");
        let diagnostic = &config.diagnostics[0];
        assert_eq!((diagnostic.message.as_str(), diagnostic.hint.as_deref()), (message, Some(hint)), "{line}");
    };
    check("ipchain2: A", "top level: unknown field 'ipchain2'", "did you mean 'ipChain'?");
    let known = "known fields are restrictedPorts, allowedNetworks, checkInterval, ipChain, scope";
    check("other: 1", "top level: unknown field 'other'", known);
    let looked = "the file is looked at every 60s";
    check("checkInterval: 60", "checkInterval: expected a duration such as 60s or 1m30s, found the number 60", looked);
    check("checkInterval: 0s", "checkInterval: expected a duration such as 60s or 1m30s, found '0s'", looked);
}

fn cluster(objects: &str, files: &[SourceText]) -> Parsed {
    let mut parsed = parse(&[file("cluster.yaml", objects)], &Options::default());
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    restrict_ip::add(&mut parsed, files);
    parsed
}

#[test]
fn nodes_and_pods_that_are_left_out_are_a_warning() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.244.0.0/23]}\nstatus: {addresses: [{type: InternalIP, address: 10.0.0.5}]}\n";
    let invented = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n";
    let check = |objects: &str, networks: &str, expected: &[&str]| {
        let text = format!("restrictedPorts: [9100]\nallowedNetworks: [{networks}]\n");
        let parsed = cluster(objects, &[file("config.yaml", &text)]);
        let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|message| {
                format!(
                    "config.yaml:2:18: warning: ipChain KUBE-RESTRICT-IP: allowedNetworks: {message} not among them"
                )
            })
            .collect();
        assert_eq!(found, expected, "{networks}");
    };
    let (nodes, pods) = ("node n1 (10.0.0.5) is", "pods in 10.244.0.0/23 are");
    check(node, "10.0.0.0/24, 10.244.0.0/16", &[]);
    check(node, "10.0.0.5, 10.244.1.0/24, 10.244.0.0/24", &[]);
    check(node, "10.0.0.4, 10.244.0.0/16", &[nodes]);
    check(node, "10.0.0.0/24, 10.244.0.0/24", &[pods]);
    check(node, "192.0.2.1", &[nodes, pods]);
    // Addresses that the input does not name are nobody's.
    check(invented, "192.0.2.1", &[]);
}

#[test]
fn each_file_is_a_group_of_its_own() {
    let networks = "restrictedPorts: [9100]\nallowedNetworks: [10.0.0.0/8]\n";
    let files = [file("a", networks), file("b", &format!("{networks}ipChain: B\n")), file("c", networks)];
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n";
    let parsed = cluster(pod, &files);
    let names: Vec<String> = parsed.snapshot.host_policies.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["B", "KUBE-RESTRICT-IP", "KUBE-RESTRICT-IP-2"]);
    let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    let expected = "warning: ipChain KUBE-RESTRICT-IP-2: ipChain: another file has KUBE-RESTRICT-IP, too: this one goes by KUBE-RESTRICT-IP-2";
    assert_eq!(found, [expected]);
}
