use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::testing::net::{Pod, forward, receive};
use crate::testing::{in_new_namespace, nft};

fn generation(number: u8) -> Generation {
    Generation::new(number).unwrap()
}

/// The marks in the table by the destination port of the connection, as somebody else's program prints them.
#[expect(clippy::disallowed_methods, reason = "reads what the kernel prints")]
fn marks() -> BTreeMap<u16, Vec<u32>> {
    let listing = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    let field = |line: &str, name: &str| -> Option<u32> {
        line.split_whitespace().find_map(|word| word.strip_prefix(name))?.parse().ok()
    };
    let mut marks: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for line in listing.lines() {
        if let (Some(port), Some(mark)) = (field(line, "dport="), field(line, "mark=")) {
            marks.entry(port.try_into().unwrap()).or_default().push(mark);
        }
    }
    for marks in marks.values_mut() {
        marks.sort_unstable();
    }
    marks
}

/// Two routed pods with a flow in each family to each of these ports, marked with what the rule says.
fn with_flows(rules: &str, ports: &[u16], test: impl FnOnce(&[Flow]) + Send) {
    in_new_namespace(|| {
        forward();
        let pods = [Pod::routed("one", 1), Pod::routed("other", 2)];
        if nft(&["-f", "-"], rules).is_none() {
            return;
        }
        let flows: Vec<Flow> = pods[0]
            .addresses
            .iter()
            .flat_map(|like| ports.iter().map(|port| Flow::open(&pods, *like, *port)))
            .collect();
        test(&flows);
    });
}

struct Flow {
    client: std::net::UdpSocket,
    server: std::net::UdpSocket,
}

impl Flow {
    fn open(pods: &[Pod; 2], like: IpAddr, port: u16) -> Flow {
        let flow = Flow { client: pods[0].socket(like, port + 1000), server: pods[1].socket(like, port) };
        flow.client.connect(flow.server.local_addr().unwrap()).unwrap();
        flow.server.connect(flow.client.local_addr().unwrap()).unwrap();
        flow.talk();
        flow
    }

    fn talk(&self) {
        self.client.send(b"question").unwrap();
        assert_eq!(receive(&self.server).as_deref(), Some("question"), "{:?}", self.server);
        self.server.send(b"answer").unwrap();
        assert_eq!(receive(&self.client).as_deref(), Some("answer"));
    }
}

const MARKING: &str = "table inet t { chain c { type filter hook forward priority 0;
    udp dport 1 ct state new ct mark set 0x00070000
    udp dport 2 ct state new ct mark set 0xab07cdef
    udp dport 3 ct state new ct mark set 0xab08cdef
    udp dport 4 ct state new ct mark set 0xab00cdef
    udp dport 5 ct state new ct mark set 0x00ff0000
    udp dport 6 ct state new ct mark set 0x00010000
}; }";

#[test]
fn other_generations_are_cleared_and_all_else_stays() {
    with_flows(MARKING, &[1, 2, 3, 4, 5, 6, 7], |flows| {
        let mut conntrack = Conntrack::open().unwrap();
        let expected = |marks: [u32; 7]| (1..).zip(marks.map(|mark| vec![mark; 2])).collect::<BTreeMap<u16, _>>();
        assert_eq!(marks(), expected([0x7_0000, 0xab07_cdef, 0xab08_cdef, 0xab00_cdef, 0xff_0000, 0x1_0000, 0]));

        assert_eq!(conntrack.sweep(generation(7)).unwrap(), Swept { looked: 14, cleared: 6 });
        assert_eq!(marks(), expected([0x7_0000, 0xab07_cdef, 0xab00_cdef, 0xab00_cdef, 0, 0, 0]));
        flows.iter().for_each(Flow::talk);
        assert_eq!(conntrack.sweep(generation(7)).unwrap(), Swept { looked: 14, cleared: 0 });

        assert_eq!(conntrack.sweep(generation(8)).unwrap(), Swept { looked: 14, cleared: 4 });
        assert_eq!(marks(), expected([0, 0xab00_cdef, 0xab00_cdef, 0xab00_cdef, 0, 0, 0]));
        flows.iter().for_each(Flow::talk);
        let occupancy = conntrack.occupancy().unwrap();
        assert!(occupancy.entries == 14 && occupancy.limit > 14, "{occupancy:?}");
    });
}

/// The same addresses and ports in several zones are several connections, each with a mark of its own.
#[test]
fn zones_are_told_apart() {
    let rules = "table inet t {
        chain raw { type filter hook prerouting priority raw;
            udp dport 1 ct zone set 1
            udp sport 1 ct zone set 1
            udp dport 2 ct original zone set 2
            udp sport 2 ct original zone set 2
            udp dport 3 ct reply zone set 3
            udp sport 3 ct reply zone set 3
        }
        chain c { type filter hook forward priority 0; ct state new ct mark set 0x12070034 ; }
    }";
    with_flows(rules, &[1, 2, 3, 4], |_| {
        let before = marks();
        assert!(before.values().flatten().all(|mark| *mark == 0x1207_0034), "{before:?}");
        let count: usize = before.values().map(Vec::len).sum();
        let swept = Conntrack::open().unwrap().sweep(generation(8)).unwrap();
        assert_eq!(swept, Swept { looked: count as u64, cleared: count as u64 });
        let after = marks();
        assert!(after.values().flatten().all(|mark| *mark == 0x1200_0034), "{after:?}");
    });
}

/// What ends between being listed and being cleared is no error, and not counted.
#[test]
fn connections_that_ended_are_no_error() {
    with_flows(MARKING, &[1], |_| {
        let mut conntrack = Conntrack::open().unwrap();
        let mut listed = 0;
        let Conntrack { list, changes } = &mut conntrack;
        let dump = |sequence| request(IPCTNL_MSG_CT_GET, n::NLM_F_DUMP, sequence);
        list.ask(dump, |message| {
            listed += 1;
            changes.add(message).unwrap();
        })
        .unwrap();
        assert_eq!(listed, 2);
        delete_family(list, n::NFPROTO_IPV6);
        conntrack.changes.send().unwrap();
        assert_eq!(conntrack.changes.take_count(), 1);
        assert_eq!(marks(), BTreeMap::from([(1, vec![0])]));
    });
}

#[test]
fn an_empty_table_is_swept() {
    in_new_namespace(|| {
        assert_eq!(Conntrack::open().unwrap().sweep(Generation::FIRST).unwrap(), Swept::default());
    });
}

#[test]
fn without_ctnetlink_the_error_says_so() {
    let text = error("list the connections", Errno::INVAL).to_string();
    assert!(text.starts_with("this kernel has no ctnetlink\nhint: "), "{text}");
}

/// More connections than any buffer holds; they are made by the kernel's own interface, as packets would take too long.
#[test]
fn many_connections_are_swept() {
    const COUNT: u32 = 20_000;
    in_new_namespace(|| {
        fill(COUNT, 0x1207_0034);
        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.occupancy().unwrap().entries, COUNT);
        // What an ordinary user gets in a namespace of his own (net.core.wmem_default).
        rustix::net::sockopt::set_socket_send_buffer_size(&conntrack.changes.socket, 212_992 / 2).unwrap();
        let all = Swept { looked: COUNT.into(), cleared: COUNT.into() };
        assert_eq!(conntrack.sweep(generation(8)).unwrap(), all);
        assert_eq!(conntrack.sweep(generation(8)).unwrap(), Swept { cleared: 0, ..all });
    });
}

/// How long a sweep takes: `cargo test --release -p palisade-nft -- --ignored --nocapture sweep_of`.
#[test]
#[ignore = "a measurement"]
fn sweep_of_200_000_connections() {
    const COUNT: u32 = 200_000;
    in_new_namespace(|| {
        fill(COUNT, 0x1207_0034);
        let mut conntrack = Conntrack::open().unwrap();
        for keep in [7, 7, 7, 8, 8, 8] {
            let start = std::time::Instant::now();
            let swept = conntrack.sweep(generation(keep)).unwrap();
            println!("{swept:?} in {:?}", start.elapsed());
        }
    });
}

/// Deletes all connections of a family.
fn delete_family(dialogue: &mut Dialogue, family: u8) {
    const IPCTNL_MSG_CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 2;
    let request = |sequence| {
        let mut bytes = Vec::new();
        // Version 1 of the message is the one whose family counts.
        let start = message::begin_with(&mut bytes, IPCTNL_MSG_CT_DELETE, n::NLM_F_ACK, sequence, &[family, 1, 0, 0]);
        message::end(&mut bytes, start);
        bytes
    };
    dialogue.ask(request, |_| {}).unwrap();
}

/// Puts connections into the table (`struct nf_conntrack` attributes as conntrack -I would write them).
fn fill(count: u32, mark: u32) {
    let socket = Socket::open(0).unwrap();
    let mut changes = Changes::new(socket);
    for number in 0..count {
        let [a, b, c, d] = (0x0a00_0000 + number).to_be_bytes();
        let start = message::begin(
            &mut changes.bytes,
            IPCTNL_MSG_CT_NEW,
            n::NLM_F_CREATE | n::NLM_F_EXCL,
            0,
            n::NFPROTO_IPV4,
            0,
        );
        let mut writer = Writer(&mut changes.bytes);
        for (kind, ends) in [(1, [[a, b, c, d], [11, 0, 0, 1]]), (2, [[11, 0, 0, 1], [a, b, c, d]])] {
            let tuple = writer.begin(kind);
            let ip = writer.begin(1);
            writer.bytes(1, &ends[0]);
            writer.bytes(2, &ends[1]);
            writer.end(ip);
            let protocol = writer.begin(2);
            writer.bytes(1, &[17]);
            writer.bytes(2, &[0, 9]);
            writer.bytes(3, &[0, 9]);
            writer.end(protocol);
            writer.end(tuple);
        }
        writer.number(7, 600);
        writer.number(CTA_MARK, mark);
        message::end(&mut changes.bytes, start);
        if changes.bytes.len() >= BATCH_BYTES {
            changes.send().unwrap();
        }
    }
    changes.send().unwrap();
}
