use super::*;
use crate::testing::frames::{icmp, packet as frame};
use crate::testing::net::{Namespace, Pod, bind, forward, hardware, index, up};
use crate::testing::{in_new_namespace, nft};

const PATIENCE: Duration = Duration::from_secs(10);

/// Two routed pods; what one sends to the other's port 9 or by ICMP echo is logged and dropped.
fn with_logged_pods(test: impl FnOnce(&Pod, &Pod, &mut Log) + Send) {
    in_new_namespace(|| {
        forward();
        let (one, other) = (Pod::routed("one", 1), Pod::routed("other", 2));
        let mut log = Log::open(7).unwrap();
        let rules = "table inet t { chain c { type filter hook forward priority 0;
            th dport 9 log prefix \"to 9\" group 7 drop
            icmp type echo-request log prefix \"echo\" group 7 drop
            icmpv6 type echo-request log prefix \"echo\" group 7 drop
        }; }";
        if nft(&["-f", "-"], rules).is_some() {
            test(&one, &other, &mut log);
        }
    });
}

fn next(log: &mut Log) -> LoggedPacket {
    match log.next(PATIENCE).unwrap() {
        Some(Logged::Packet(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_are_told_with_what_is_in_them() {
    with_logged_pods(|one, other, log| {
        for (source, destination) in one.addresses.into_iter().zip(other.addresses) {
            let start = SystemTime::UNIX_EPOCH.elapsed().unwrap();
            one.socket(source, 1234).send_to(b"hello", (destination, 9)).unwrap();
            let logged = next(log);
            let headers = Headers {
                source,
                destination,
                protocol: 17,
                source_port: Some(1234),
                destination_port: Some(9),
                icmp: None,
                bytes: if source.is_ipv4() { 33 } else { 53 },
            };
            assert_eq!((logged.prefix.as_str(), logged.headers), ("to 9", Some(headers)));
            assert_eq!((logged.input, logged.output), (Some(index("one")), Some(index("other"))));
            let time = logged.time.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert!(start.saturating_sub(time) < Duration::from_secs(1), "{time:?}");

            let kind = if source.is_ipv4() { 8 } else { 128 };
            one.send_frame(&frame(hardware::host_end(1), hardware::pod(1), &icmp(source, destination, kind, b"?")));
            let logged = next(log);
            let headers = logged.headers.unwrap();
            assert_eq!((logged.prefix.as_str(), headers.icmp, headers.source_port), ("echo", Some((kind, 0)), None));
            assert_eq!(headers.protocol, if source.is_ipv4() { 1 } else { 58 });
        }
        assert_eq!(log.next(Duration::ZERO).unwrap(), None);
    });
}

#[test]
fn more_than_the_socket_keeps_is_told_as_lost() {
    with_logged_pods(|one, other, log| {
        rustix::net::sockopt::set_socket_recv_buffer_size(&log.socket, 4096).unwrap();
        let socket = one.socket(one.addresses[0], 1234);
        for _ in 0..2000 {
            socket.send_to(b"hello", (other.addresses[0], 9)).unwrap();
        }
        let mut packets = 0;
        loop {
            match log.next(PATIENCE).unwrap() {
                Some(Logged::Packet(_)) => packets += 1,
                Some(Logged::Lost) => break,
                None => panic!("{packets} packets and no loss"),
            }
        }
        // It goes on after a loss.
        while log.next(Duration::from_millis(500)).unwrap().is_some() {}
        socket.send_to(b"hello", (other.addresses[0], 9)).unwrap();
        assert_eq!(next(log).headers.unwrap().destination_port, Some(9));
    });
}

#[test]
fn a_group_has_one_listener() {
    in_new_namespace(|| {
        let first = Log::open(3).unwrap();
        let error = Log::open(3).unwrap_err();
        assert_eq!(error.to_string(), "another program listens to log group 3\nhint: choose another group");
        assert_eq!(Log::open(4).unwrap().group(), 4);
        drop(first);
        Log::open(3).unwrap();
    });
}

/// Each namespace has log groups of its own.
#[test]
fn only_the_own_namespace_is_heard() {
    in_new_namespace(|| {
        let elsewhere = Namespace::new();
        let mut theirs = elsewhere.run(|| Log::open(3).unwrap());
        let mut ours = Log::open(3).unwrap();
        up("lo");
        if nft(&["-f", "-"], "table inet t { chain c { type filter hook output priority 0; log group 3; }; }").is_none()
        {
            return;
        }
        let socket = bind("127.0.0.1:0".parse().unwrap());
        socket.send_to(b"hello", "127.0.0.1:9").unwrap();
        let logged = next(&mut ours);
        assert_eq!((logged.prefix.as_str(), logged.input, logged.output), ("", None, Some(index("lo"))));
        assert_eq!(theirs.next(Duration::from_millis(300)).unwrap(), None);
    });
}
