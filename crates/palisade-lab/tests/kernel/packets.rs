//! What arrives, and what does not.

use std::time::Instant;

use palisade_core::{Family, Node, Pod, PodName, Transport, Verdict};
use palisade_lab::{Lab, Outcome, Report, plan};

use crate::cluster::{add_pod, admit, cluster, pod_peer, report, report_of};

pub fn everybody_reaches_everybody() {
    let snapshot = cluster(12);
    let begun = Instant::now();
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    let started = begun.elapsed();
    let mut flows = plan(&snapshot, &Family::ALL);
    for text in [
        "node/n1 -> shop/a tcp 80",
        "node/n1 -> shop/b sctp 80",
        "shop/a -> node/n1 udp 80",
        "shop/a -> node/n2 icmp",
        "192.0.2.9 -> node/n2 tcp 80",
        "node/n1 -> node/n2 tcp 80",
        "169.254.169.254 -> shop/a udp 53",
        "shop/a -> 240.0.0.1 icmp",
        "shop/a -> 0.0.0.1 tcp 80",
        "64:ff9b::1 -> shop/b sctp 1",
    ] {
        flows.push(text.parse().unwrap());
    }
    let report = report(&lab, &snapshot, flows);
    println!("start {started:?}, {} flows {:?}", report.rows.len(), begun.elapsed());
    for testimony in report.rows.iter().flat_map(|row| &row.testimonies) {
        assert_eq!(testimony.kernel, Outcome::Answered, "{}", testimony.packet);
    }
    assert_eq!(report.disagreements().count(), 0);
}

pub fn policies_silence() {
    let mut snapshot = cluster(4);
    admit(&mut snapshot, "a", pod_peer("b"), Transport::Tcp, 80);
    admit(&mut snapshot, "d", pod_peer("a"), Transport::Sctp, 9999);
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    assert_eq!(lab.strayed().unwrap(), Vec::<palisade_core::NodeName>::new());
    let all = report(&lab, &snapshot, plan(&snapshot, &Family::ALL));
    assert_agreement(&all);
    check(&lab, &snapshot, "shop/b -> shop/a tcp 80", Verdict::Allow);
    check(&lab, &snapshot, "shop/b -> shop/a tcp 81", Verdict::Deny);
    check(&lab, &snapshot, "shop/b -> shop/a udp 80", Verdict::Deny);
    check(&lab, &snapshot, "shop/b -> shop/a icmp", Verdict::Deny);
    check(&lab, &snapshot, "shop/c -> shop/a tcp 80", Verdict::Deny);
    check(&lab, &snapshot, "192.0.2.1 -> shop/a tcp 80", Verdict::Deny);
    check(&lab, &snapshot, "node/n1 -> shop/a tcp 80", Verdict::Allow);
    check(&lab, &snapshot, "node/n2 -> shop/a tcp 80", Verdict::Deny);
    check(&lab, &snapshot, "shop/a -> shop/a tcp 81", Verdict::Allow);
    check(&lab, &snapshot, "shop/a -> shop/d sctp 9999", Verdict::Allow);
    check(&lab, &snapshot, "shop/b -> shop/d sctp 9999", Verdict::Deny);
    check(&lab, &snapshot, "shop/a -> shop/b icmp", Verdict::Allow);
}

pub fn changes_are_followed() {
    let empty = cluster(2);
    let lab = Lab::start(&empty, &Family::ALL).unwrap();
    check(&lab, &empty, "shop/a -> shop/b udp 53", Verdict::Allow);

    let mut closed = empty.clone();
    admit(&mut closed, "b", pod_peer("c"), Transport::Udp, 53);
    lab.enforce(&closed).unwrap();
    check(&lab, &closed, "shop/a -> shop/b udp 53", Verdict::Deny);

    let mut grown = closed.clone();
    add_pod(&mut grown, "c", 1, 3);
    lab.enforce(&grown).unwrap();
    check(&lab, &grown, "shop/c -> shop/b udp 53", Verdict::Allow);
    check(&lab, &grown, "shop/a -> shop/b udp 53", Verdict::Deny);

    // An address that was outside becomes a pod's, which then moves to the other node.
    check(&lab, &grown, "10.244.0.9 -> shop/a tcp 80", Verdict::Allow);
    let mut moved = grown.clone();
    add_pod(&mut moved, "d", 1, 9);
    lab.enforce(&moved).unwrap();
    check(&lab, &moved, "10.244.0.9 -> shop/a tcp 80", Verdict::Allow);
    check(&lab, &moved, "shop/a -> shop/d tcp 80", Verdict::Allow);
    add_pod(&mut moved, "d", 2, 9);
    lab.enforce(&moved).unwrap();
    check(&lab, &moved, "shop/a -> shop/d tcp 80", Verdict::Allow);

    // A node that gets another address takes its pods and its rules along.
    let mut renumbered = moved.clone();
    let node = Node { addresses: vec!["10.99.0.77".parse().unwrap()], ..Node::default() };
    renumbered.nodes.insert("n2".into(), node.into());
    lab.enforce(&renumbered).unwrap();
    check(&lab, &renumbered, "shop/c -> shop/b udp 53", Verdict::Allow);
    check(&lab, &renumbered, "shop/a -> shop/b udp 53", Verdict::Deny);
    check(&lab, &renumbered, "shop/a -> 10.99.0.77 udp 53", Verdict::Allow);

    lab.enforce(&empty).unwrap();
    check(&lab, &empty, "shop/a -> shop/b udp 53", Verdict::Allow);
    check(&lab, &empty, "shop/a -> 10.244.0.9 tcp 80", Verdict::Allow);
    assert!(lab.strayed().unwrap().is_empty());
}

pub fn every_address_answers() {
    let mut snapshot = cluster(2);
    let both = Pod {
        node: Some("n2".into()),
        addresses: ["10.244.0.50", "fd44::50", "10.244.7.7", "fd44::7:7"]
            .map(|address| address.parse().unwrap())
            .into(),
        ..Pod::default()
    };
    let only_six = Pod { addresses: vec!["fd44::6".parse().unwrap()], ..both.clone() };
    let of_node = Pod { addresses: vec!["10.99.0.2".parse().unwrap()], host_network: true, ..both.clone() };
    let finished = Pod { finished: true, ..both.clone() };
    let node =
        Node { addresses: ["10.99.0.2", "fd99::2", "10.98.0.2"].map(|a| a.parse().unwrap()).into(), ..Node::default() };
    snapshot.nodes.insert("n2".into(), node.into());
    for (name, pod) in [("both", both), ("six", only_six), ("host", of_node), ("finished", finished)] {
        snapshot.pods.insert(PodName::new("shop", name), pod.into());
    }
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    for ends in [
        "shop/a -> shop/both",
        "shop/a -> 10.244.7.7",
        "10.244.7.7 -> shop/b",
        "fd44::7:7 -> fd44::50",
        "shop/six -> shop/both",
        "192.0.2.1 -> 10.98.0.2",
        "shop/a -> shop/host",
        "shop/host -> shop/b",
        "node/n1 -> 10.244.7.7",
    ] {
        for traffic in ["tcp 80", "udp 80", "sctp 80", "icmp"] {
            check(&lab, &snapshot, &format!("{ends} {traffic}"), Verdict::Allow);
        }
    }
}

pub fn unsendable_is_skipped() {
    let snapshot = cluster(1);
    let lab = Lab::start(&snapshot, &[Family::V4]).unwrap();
    for (flow, reason) in [
        ("shop/a -> 224.0.0.1 udp 53", "multicast"),
        ("127.0.0.1 -> shop/a tcp 80", "loopback"),
        ("shop/a -> 255.255.255.255 udp 53", "broadcast"),
        ("shop/a -> 2001:db8::1 tcp 80", "without IPv6"),
    ] {
        let report = report_of(&lab, &snapshot, &[flow]);
        let skipped = report.rows[0].skipped();
        assert!(skipped.len() == 1 && skipped[0].contains(reason), "{flow}: {skipped:?}");
        assert!(report.rows[0].agrees(), "{flow}: what is skipped is no disagreement");
    }
}

pub fn a_contested_address_is_nobodys() {
    let mut snapshot = cluster(2);
    add_pod(&mut snapshot, "twin", 1, 2);
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    let report = report_of(&lab, &snapshot, &["shop/a -> shop/twin tcp 80"]);
    let skipped = report.rows[0].skipped();
    assert!(skipped[0].contains("belongs to both shop/b and shop/twin"), "{skipped:?}");
    snapshot.pods.remove(&PodName::new("shop", "b"));
    lab.enforce(&snapshot).unwrap();
    check(&lab, &snapshot, "shop/a -> shop/twin tcp 80", Verdict::Allow);
}

/// All three witnesses say this about the flow, in both families.
fn check(lab: &Lab, snapshot: &palisade_core::Snapshot, flow: &str, expected: Verdict) {
    let report = report_of(lab, snapshot, &[flow]);
    assert_agreement(&report);
    for testimony in &report.rows[0].testimonies {
        assert_eq!(testimony.kernel.verdict(), Some(expected), "{flow}: {}", testimony.kernel);
    }
}

fn assert_agreement(report: &Report) {
    for row in report.disagreements() {
        for testimony in row.testimonies.iter().filter(|testimony| !testimony.agrees()) {
            println!("{} {}: {testimony:?}", row.flow, testimony.packet.family);
        }
    }
    assert_eq!(report.disagreements().count(), 0, "of {} flows", report.rows.len());
}
