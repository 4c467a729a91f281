use palisade_core::AddressRange;
use proptest::prelude::*;

use super::*;

const ANY: BanLimits = BanLimits { entries_min: 1, entries_max: 1000, change_percent_max: None };

fn shown(feed: &Feed) -> Vec<String> {
    let entry = |entry: &BanEntry| {
        let until = entry.expires.map(|expires| format!(" until {expires}")).unwrap_or_default();
        format!("{}{}{until}", entry.cidr, entry.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default())
    };
    feed.entries.iter().map(entry).collect()
}

fn check(text: &str, expected: &[&str]) {
    let feed = read(text, &ANY, None).unwrap();
    assert_eq!(shown(&feed), expected, "{text}");
    assert_eq!(feed.skipped, Skipped::default(), "{text}");
    assert!(feed.entries.iter().all(|entry| entry.from_source));
}

#[test]
fn plain_lists_are_taken_as_they_come() {
    check(
        "\u{feff}# a comment\n\n  203.0.113.7/24 \r\n198.51.100.9\n// another\n2001:db8::/32\n2001:db8::9\n::ffff:192.0.2.1\n",
        &["203.0.113.0/24", "198.51.100.9/32", "2001:db8::/32", "2001:db8::9/128", "192.0.2.1/32"],
    );
    check("203.0.113.0/24\n203.0.113.0/24\n203.0.113.9\n", &["203.0.113.0/24", "203.0.113.0/24", "203.0.113.9/32"]);
    // As Spamhaus writes its DROP list.
    check("; Spamhaus DROP List\n1.10.16.0/20 ; SBL256894\n", &["1.10.16.0/20 SBL256894"]);
    check("192.0.2.1 # scans\n192.0.2.2 #\n", &["192.0.2.1/32 scans", "192.0.2.2/32"]);
}

#[test]
fn ranges_are_blocks() {
    check("192.0.2.0 - 192.0.2.255\n", &["192.0.2.0/24"]);
    check("192.0.2.1-192.0.2.4 # odd\n", &["192.0.2.1/32 odd", "192.0.2.2/31 odd", "192.0.2.4/32 odd"]);
    check("2001:db8::-2001:db8::1\n", &["2001:db8::/127"]);
    // As DShield writes its block list.
    check(
        "Start\tEnd\tNetblock\tAttacks\tName\n198.51.100.0\t198.51.100.255\t24\t4711\tEXAMPLE\n",
        &["198.51.100.0/24 198.51.100.255, 24, 4711, EXAMPLE"],
    );
    // Two addresses are no range: the second may be anybody.
    check("192.0.2.1,193.5.0.1\n", &["192.0.2.1/32 193.5.0.1"]);
}

#[test]
fn columns_have_reasons() {
    check(
        "cidr,reason\n192.0.2.0/24,scans\n\"192.0.3.0/24\",\"floods, \"\"badly\"\"\"\n",
        &["192.0.2.0/24 scans", "192.0.3.0/24 floods, \"badly\""],
    );
    check("192.0.2.0/24,,botnet,3\n", &["192.0.2.0/24 botnet, 3"]);
    // As abuse.ch writes its list of command and control servers.
    check(
        "# \"first_seen_utc\",\"dst_ip\"\nfirst_seen_utc,dst_ip,dst_port,malware\n\"2026-01-01 00:00:00\",\"192.0.2.1\",443,\"Emotet\"\n",
        &["192.0.2.1/32 Emotet"],
    );
    check(
        "ip,expires,comment\n192.0.2.1,2030-01-01T00:00:00Z,a\n192.0.2.2,1893456000,b\n192.0.2.3,,c\n",
        &["192.0.2.1/32 a until 1893456000", "192.0.2.2/32 b until 1893456000", "192.0.2.3/32 c"],
    );
}

#[test]
fn json_lines_are_objects_with_a_block() {
    check(
        "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\n{\"type\":\"metadata\",\"records\":1}\n",
        &["1.10.16.0/20 SBL256894"],
    );
    check(
        "{\"ip\":\"192.0.2.1\",\"reason\":\"\\u001b[31mred\",\"expiresAt\":\"2030-01-01T00:00:00Z\"},\n",
        &["192.0.2.1/32  [31mred until 1893456000"],
    );
}

#[test]
fn lines_that_cannot_be_read_are_told_and_ban_nothing() {
    let feed = read(
        "192.0.2.1\n192.0.2.256\n10.0.0.0/7\n192.0.2.2\n::ffff:10.0.0.0/104\n192.0.2.3\nx\n192.0.2.4\n",
        &ANY,
        None,
    );
    let feed = feed.unwrap();
    assert_eq!(shown(&feed), ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"]);
    let late = read("ip,expires\n192.0.2.1,3600\n192.0.2.2,tomorrow\n192.0.2.3,\n192.0.2.4,\n", &ANY, None).unwrap();
    assert_eq!((shown(&late), late.skipped.lines), (vec!["192.0.2.3/32".to_owned(), "192.0.2.4/32".to_owned()], 2));
    assert!(late.skipped.to_string().starts_with("line 2: it says until when, which is neither"));
    assert_eq!(
        feed.skipped.to_string(),
        "line 2: it names no address, block or range; line 3: more than /8 of IPv4, or /16 of IPv6, is too much for a source; \
         line 5: it names no address, block or range; and 1 more line"
    );
}

#[test]
fn what_is_no_feed_is_not_taken() {
    let refused = |text: &str, limits: &BanLimits, before: Option<&Feed>| {
        read(text, limits, before.map(|feed| &*feed.entries)).unwrap_err().to_string()
    };
    let page = "<!DOCTYPE html>\n<html>\n<body>Your address 192.0.2.1 is blocked</body>\n</html>\n";
    let reason = "it is no list of addresses: line 2: it names no address, block or range; line 3: ";
    assert!(refused(page, &ANY, None).starts_with(reason), "{}", refused(page, &ANY, None));
    for empty in ["", "\n", "# nothing here\n"] {
        assert_eq!(refused(empty, &ANY, None), "it has 0 entries, and minEntries is 1");
    }
    let three = read("192.0.2.1\n192.0.2.2\n192.0.2.3\n", &ANY, None).unwrap();
    let some = BanLimits { entries_min: 2, entries_max: 4, change_percent_max: Some(50) };
    assert_eq!(refused("192.0.2.1\n", &some, None), "it has 1 entries, and minEntries is 2");
    assert_eq!(
        refused("192.0.2.0-192.0.2.6\n192.0.2.9\n192.0.2.11\n", &some, None),
        "it has more entries than maxEntries, which is 4"
    );
    assert_eq!(
        refused("192.0.2.1\n192.0.2.4\n192.0.2.3\n", &some, Some(&three)),
        "66 percent of its entries came or went at once, and maxChangePercent is 50"
    );
    assert!(read("192.0.2.1\n192.0.2.2\n", &some, Some(&three.entries)).is_ok());
    assert!(read("192.0.2.8\n192.0.2.9\n", &some, None).is_ok());
}

proptest! {
    #[test]
    fn whatever_a_text_is_reading_it_ends(text in "[ -~\t\n\"{},;#-]{0,200}|\\PC{0,100}") {
        if let Ok(feed) = read(&text, &ANY, None) {
            prop_assert!(feed.entries.len() >= feed.skipped.lines);
            prop_assert!(feed.entries.iter().all(|entry| entry.cidr == entry.cidr.trunc()));
        }
    }

    #[test]
    fn a_range_is_exactly_its_blocks(first: u32, length in 0..100_000_u32) {
        let last = first.saturating_add(length);
        let blocks = AddressRange { first: std::net::Ipv4Addr::from(first).into(), last: std::net::Ipv4Addr::from(last).into() }.blocks();
        let mut next = Some(first);
        for block in blocks {
            let IpNet::V4(block) = block else { panic!("{block}") };
            prop_assert_eq!(Some(block.network().to_bits()), next);
            next = block.broadcast().to_bits().checked_add(1);
        }
        prop_assert_eq!(next, last.checked_add(1));
    }
}
