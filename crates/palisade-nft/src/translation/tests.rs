use super::*;
use crate::testing::{in_new_namespace, nft};

fn lead(address: &str, share: Share, to: Option<&str>, masquerade: bool) -> Lead {
    let port = |number: u16| Port::new(number).unwrap();
    let to = to.map(|to| (to.parse().unwrap(), port(8080)));
    Lead { address: address.parse().unwrap(), transport: Transport::Tcp, port: port(80), share, to, masquerade }
}

fn sample() -> Translation {
    let halves = [Share { mask: 1, number: 0 }, Share { mask: 1, number: 1 }];
    let own = ["10.99.0.1", "fd99::1"].map(|address| address.parse().unwrap()).into();
    let leads = [
        (Origin::Outside, vec![lead("10.96.0.2", Share::ALL, None, false)]),
        (Origin::Node, vec![lead("10.96.0.2", Share::ALL, Some("10.244.0.1"), true)]),
        (
            Origin::Anybody,
            vec![
                lead("10.96.0.1", halves[0], Some("10.244.0.1"), false),
                lead("fd96::1", halves[1], Some("fd44::1"), true),
            ],
        ),
    ];
    Translation { uplink: 1, own, leads: leads.into() }
}

/// What nft reads of it, in its own words.
const TEXT: &str = r#"table inet palisade_lab {
	chain from_outside {
		ip daddr 10.96.0.2 tcp dport 80 drop
	}

	chain from_pods {
	}

	chain from_node {
		ip daddr 10.96.0.2 tcp dport 80 meta mark set 0x00004000
		ip daddr 10.96.0.2 tcp dport 80 dnat ip to 10.244.0.1:8080
	}

	chain from_anybody {
		ip daddr 10.96.0.1 tcp dport 80 tcp sport & 1 == 0 ip saddr 10.244.0.1 meta mark set 0x00004000
		ip daddr 10.96.0.1 tcp dport 80 tcp sport & 1 == 0 dnat ip to 10.244.0.1:8080
		ip6 daddr fd96::1 tcp dport 80 tcp sport & 1 == 1 meta mark set 0x00004000
		ip6 daddr fd96::1 tcp dport 80 tcp sport & 1 == 1 dnat ip6 to [fd44::1]:8080
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iif "lo" jump from_outside
		iif != "lo" jump from_pods
		jump from_anybody
	}

	chain output {
		type nat hook output priority -100; policy accept;
		jump from_node
		jump from_anybody
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		meta nfproto ipv4 meta mark 0x00004000 snat ip to 10.99.0.1
		meta nfproto ipv6 meta mark 0x00004000 snat ip6 to fd99::1
	}
}
"#;

#[test]
fn nft_reads_what_was_meant() {
    in_new_namespace(|| {
        sample().put_in_force().unwrap();
        let Some(text) = nft(&["list", "table", "inet", TABLE], "") else { return };
        assert_eq!(text, TEXT);
    });
}

#[test]
fn one_takes_the_place_of_another_and_nothing_is_no_table() {
    in_new_namespace(|| {
        sample().put_in_force().unwrap();
        let many = (0..2000).map(|_| lead("10.96.0.1", Share::ALL, Some("10.244.0.1"), false)).collect();
        let large = Translation { leads: [(Origin::Anybody, many)].into(), ..sample() };
        large.put_in_force().unwrap();
        let list = || nft(&["list", "tables"], "");
        let Some(text) = nft(&["list", "table", "inet", TABLE], "") else { return };
        assert_eq!(text.matches("dnat ip to").count(), 2000);
        assert_eq!(list().unwrap(), format!("table inet {TABLE}\n"));
        Translation::default().put_in_force().unwrap();
        assert_eq!(list().unwrap(), "");
    });
}
