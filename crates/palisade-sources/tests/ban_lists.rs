//! `BanList`: what is valid means what docs/semantics.md says; an entry that is not bans nothing, and a list of which nobody can tell whom
//! it is to spare bans nothing at all.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use palisade_core::{BanList, Change, Level};
use palisade_sources::live::{Kind, Live, Object};
use palisade_sources::{Limits, Options, Parsed, SourceText, parse};

/// 2030-01-01T00:00:00Z, in seconds since 1970.
const NEW_YEAR: i64 = 1_893_456_000;

fn read(spec: &str, now: Option<i64>) -> Parsed {
    let text = format!("apiVersion: palisade.dev/v1alpha1\nkind: BanList\nmetadata: {{name: b}}\nspec: {spec}\n");
    parse(&[SourceText { file: "a.yaml".into(), text }], &Options { now, ..Options::default() })
}

fn only_list(parsed: &Parsed) -> &BanList {
    assert_eq!(parsed.snapshot.ban_lists.len(), 1);
    parsed.snapshot.ban_lists.values().next().unwrap()
}

/// The list in a line: whom it is for, its entries, and what it excepts.
fn shown(list: &BanList) -> String {
    let target = list.target.as_ref().map_or("everybody".to_string(), ToString::to_string);
    let entries: Vec<String> = list.all_entries().map(ToString::to_string).collect();
    let except: Vec<String> = list.except.iter().map(ToString::to_string).collect();
    let audit = if list.audit { " | audit" } else { "" };
    format!("{target} | {} | {}{audit}", entries.join(", "), except.join(", "))
}

#[test]
fn a_valid_list_means_what_it_says() {
    let check = |spec: &str, expected: &str| {
        let parsed = read(spec, None);
        assert!(parsed.diagnostics.is_empty(), "{spec}: {:?}", parsed.diagnostics);
        assert_eq!(shown(only_list(&parsed)), expected, "{spec}");
    };
    check("{}", "everybody |  | ");
    check("{entries: [{cidr: 203.0.113.7/24, reason: scans}]}", "everybody | 203.0.113.0/24 (scans) | ");
    check("{entries: [{cidr: 10.0.0.0/8}, {cidr: 2001::/16}]}", "everybody | 10.0.0.0/8, 2001::/16 | ");
    check("{entries: [{cidr: 0.0.0.0/0, force: true}]}", "everybody | 0.0.0.0/0 | ");
    check("{entries: [{cidr: 192.0.2.0/24, expiresAt: '9999-12-31T23:59:59Z'}]}", "everybody | 192.0.2.0/24 | ");
    check("{entries: [], exceptCIDRs: [198.51.100.1/24]}", "everybody |  | 198.51.100.0/24");
    check("{enforcement: Audit, entries: []}", "everybody |  |  | audit");
    check("{target: {}}", "pods everything in namespaces everything |  | ");
    check("{target: {podSelector: {matchLabels: {a: b}}}}", "pods a=b in namespaces everything |  | ");
}

#[test]
fn what_cannot_be_read_bans_nothing() {
    let check = |spec: &str, expected: &str, message: &str| {
        let parsed = read(spec, None);
        let list = only_list(&parsed);
        assert_eq!(shown(list), expected, "{spec}");
        assert!(list.unreadable.as_deref().is_some_and(|reason| reason.contains(message)), "{spec}: {list:?}");
        let found =
            parsed.diagnostics.iter().any(|found| found.level == Level::Error && found.message.contains(message));
        assert!(found, "{spec}: {:?}", parsed.diagnostics);
    };
    let other = "{cidr: 192.0.2.0/24}";
    let alone = "everybody | 192.0.2.0/24 | ";
    check(&format!("{{entries: [{{cidr: 203.0.113.7}}, {other}]}}"), alone, "entries[0].cidr: expected a block");
    check(&format!("{{entries: [{{cidr: 11.0.0.0/7}}, {other}]}}"), alone, "10.0.0.0/7 is more than /8");
    check(&format!("{{entries: [{{cidr: '2000::/15'}}, {other}]}}"), alone, "2000::/15 is more than /16");
    check(
        &format!("{{entries: [{{reason: x}}, {other}]}}"),
        alone,
        "cidr: expected a block of addresses, found nothing",
    );
    check(&format!("{{entries: [{{cidr: 203.0.113.0/24, expires: 1}}, {other}]}}"), alone, "unknown field 'expires'");
    check(
        &format!("{{entries: [{{cidr: 203.0.113.0/24, expiresAt: tomorrow}}, {other}]}}"),
        alone,
        "expected a time such as 2030-01-31T12:00:00Z, found 'tomorrow'",
    );
    check(&format!("{{entries: [{other}], exceptCIDR: []}}"), "everybody |  | ", "unknown field 'exceptCIDR'");
    check(&format!("{{entries: [{other}], exceptCIDRs: [x]}}"), "everybody |  | ", "exceptCIDRs[0]: expected a block");
    check(&format!("{{entries: [{other}], target: {{pods: {{}}}}}}"), "everybody |  | ", "unknown field 'pods'");
    check(&format!("{{entries: [{other}], enforcement: enforce}}"), "everybody |  | ", "expected Enforce or Audit");
}

#[test]
fn an_entry_ends_when_it_expires() {
    let spec = "{entries: [{cidr: 192.0.2.0/24, expiresAt: '2030-01-01T00:00:00Z'}, {cidr: 203.0.113.0/24}]}";
    let check = |now, expected: &str| {
        let parsed = read(spec, now);
        assert!(parsed.diagnostics.is_empty());
        assert_eq!(shown(only_list(&parsed)), expected, "{now:?}");
    };
    check(None, "everybody | 192.0.2.0/24, 203.0.113.0/24 | ");
    check(Some(NEW_YEAR - 1), "everybody | 192.0.2.0/24, 203.0.113.0/24 | ");
    check(Some(NEW_YEAR), "everybody | 203.0.113.0/24 | ");
}

/// In a live cluster time goes on: each entry ends once, whatever came in between.
#[test]
fn entries_of_a_live_cluster_expire_one_after_the_other() {
    let object = |entries: &str| -> Object {
        let text = format!(
            r#"{{"apiVersion":"palisade.dev/v1alpha1","kind":"BanList","metadata":{{"name":"b"}},"spec":{{"entries":[{entries}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    let entry = |cidr: &str, second: u32| format!(r#"{{"cidr":"{cidr}","expiresAt":"2030-01-01T00:00:{second:02}Z"}}"#);
    let mut live = Live::new(Limits::default());
    let shown = |live: &Live| shown(&live.snapshot().ban_lists["b"]);
    assert_eq!(live.next_expiry(), None);
    let entries = [entry("192.0.2.0/24", 1), entry("198.51.100.0/24", 2), entry("203.0.113.0/24", 2)].join(",");
    live.put(Kind::BanList, &object(&entries));
    assert_eq!(live.next_expiry(), Some(NEW_YEAR + 1));
    assert!(live.at(NEW_YEAR).changes.is_empty());
    assert!(matches!(live.at(NEW_YEAR + 1).changes.as_slice(), [Change::BanList(_, Some(_))]));
    assert_eq!(
        (shown(&live), live.next_expiry()),
        ("everybody | 198.51.100.0/24, 203.0.113.0/24 | ".to_string(), Some(NEW_YEAR + 2))
    );
    // What comes too late has expired when it comes.
    let entries = [entry("192.0.2.0/24", 0), entry("203.0.113.0/24", 9)].join(",");
    live.put(Kind::BanList, &object(&entries));
    assert_eq!((shown(&live), live.next_expiry()), ("everybody | 203.0.113.0/24 | ".to_string(), Some(NEW_YEAR + 9)));
    assert!(matches!(live.at(NEW_YEAR + 60).changes.as_slice(), [Change::BanList(_, Some(_))]));
    assert_eq!((shown(&live), live.next_expiry()), ("everybody |  | ".to_string(), None));
    // A clock that ran ahead and is put right brings back what it took.
    live.put(Kind::BanList, &object(&entry("203.0.113.0/24", 59)));
    assert_eq!(shown(&live), "everybody |  | ");
    assert!(matches!(live.at(NEW_YEAR + 9).changes.as_slice(), [Change::BanList(_, Some(_))]));
    assert_eq!(shown(&live), "everybody | 203.0.113.0/24 | ");
    live.remove(Kind::BanList, &object(""));
    assert!(live.snapshot().ban_lists.is_empty());
}

/// The list in `a.yaml` with a `ConfigMap` beside it.
fn with_config_map(spec: &str, namespace: &str, text: &str) -> Parsed {
    let list = format!("apiVersion: palisade.dev/v1alpha1\nkind: BanList\nmetadata: {{name: b}}\nspec: {spec}\n");
    let map = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "drop", "namespace": namespace },
        "data": { "drop.txt": text, "more.txt": "192.0.2.1" },
    });
    let file = |file: &str, text| SourceText { file: file.into(), text };
    parse(
        &[file("a.yaml", list), file("b.json", map.to_string())],
        &Options { now: Some(NEW_YEAR), ..Options::default() },
    )
}

#[test]
fn a_config_map_adds_its_entries() {
    let spec = "{entries: [{cidr: 198.51.100.0/24}], source: {configMapRef: {name: drop}}}";
    let parsed = with_config_map(spec, "palisade-system", "203.0.113.0/24 ; SBL1\n");
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let expected = "everybody | 198.51.100.0/24, 203.0.113.0/24 of its source (SBL1), 192.0.2.1/32 of its source | ";
    assert_eq!(shown(only_list(&parsed)), expected);
    let parsed = with_config_map(spec, "palisade-system", "203.0.113.0/24\nx\n");
    assert_eq!(only_list(&parsed).all_entries().count(), 3);
    assert_eq!(
        parsed.diagnostics[0].message,
        "ConfigMap palisade-system/drop: line 2: it names no address, block or range"
    );
    let parsed = with_config_map(spec, "palisade-system", "x\ny\nz\n");
    assert_eq!(shown(only_list(&parsed)), "everybody | 198.51.100.0/24 | ");
    assert!(parsed.diagnostics[0].message.contains("it is no list of addresses"), "{:?}", parsed.diagnostics);
    let parsed = with_config_map(spec, "elsewhere", "203.0.113.0/24\n");
    assert_eq!(
        parsed.diagnostics[0].message,
        "verdicts leave out what ConfigMap palisade-system/drop bans: it is not in the input"
    );
    let parsed = with_config_map("{source: {http: {url: https://feeds.example/x}}}", "palisade-system", "");
    assert_eq!(
        parsed.diagnostics[0].message,
        "verdicts leave out what https://feeds.example/x bans: agents alone read it"
    );
}

#[test]
fn a_source_is_one_place_with_limits() {
    let check = |spec: &str, place: &str, (min, max, percent): (usize, usize, Option<u32>)| {
        let parsed = read(spec, None);
        let source = only_list(&parsed).source.clone().unwrap();
        assert_eq!(source.place.to_string(), place, "{spec}");
        let limits = source.limits;
        assert_eq!((limits.entries_min, limits.entries_max, limits.change_percent_max), (min, max, percent), "{spec}");
    };
    check("{source: {file: {path: feeds/drop.txt}}}", "file feeds/drop.txt", (1, 1_000_000, None));
    check("{source: {configMapRef: {name: drop}}}", "ConfigMap drop", (1, 1_000_000, None));
    check("{source: {http: {url: 'http://a/b'}}}", "http://a/b", (1, 1_000_000, Some(50)));
    check(
        "{source: {http: {url: 'https://a', intervalSeconds: 60}}, limits: {minEntries: 2, maxEntries: 9, maxChangePercent: 5}}",
        "https://a",
        (2, 9, Some(5)),
    );
    let refused = |spec: &str, message: &str| {
        let parsed = read(spec, None);
        let list = only_list(&parsed);
        assert!(list.source.is_none() && list.entries.is_empty(), "{spec}: {list:?}");
        assert!(parsed.diagnostics[0].message.contains(message), "{spec}: {:?}", parsed.diagnostics);
    };
    let entries = "entries: [{cidr: 192.0.2.0/24}]";
    refused(&format!("{{{entries}, source: {{}}}}"), "source: expected one of file, configMapRef and http");
    refused("{source: {file: {path: a}, http: {url: 'http://a'}}}", "expected one of");
    for path in ["/etc/shadow", "../x", "a/../../x", "a//b", "."] {
        refused(&format!("{{source: {{file: {{path: {path}}}}}}}"), "path: expected a path such as drop.txt");
    }
    for url in ["ftp://a", "https://", "http://a b", "file:///etc/shadow"] {
        refused(&format!("{{source: {{http: {{url: '{url}'}}}}}}"), "url: expected an address");
    }
    refused("{source: {http: {url: 'http://a', intervalSeconds: 1}}}", "expected a number from 60 on, found 1");
    refused(&format!("{{{entries}, limits: {{minEntries: 1}}}}"), "limits are those of a source");
    refused(
        "{source: {file: {path: a}}, limits: {minEntries: 3, maxEntries: 2}}",
        "minEntries, 3, is more than maxEntries, 2",
    );
    refused("{source: {configMapRef: {name: a, namespace: b}}}", "unknown field 'namespace'");
}

#[test]
fn what_a_source_holds_is_in_force_until_it_has_none() {
    let object = |spec: &str| -> Object {
        let text = format!(r#"{{"metadata":{{"name":"b"}},"spec":{spec}}}"#);
        serde_json::from_str(&text).unwrap()
    };
    let mut live = Live::new(Limits::default());
    let name = "b".into();
    let found = |text: &str, live: &Live| {
        let (_, source) = live.ban_sources().next().unwrap();
        palisade_sources::feed::read(text, &source.limits, None).unwrap().entries
    };
    let told = |live: &Live| live.snapshot().ban_lists.values().map(|list| shown(list)).collect::<Vec<_>>();
    live.put(Kind::BanList, &object(r#"{"source":{"file":{"path":"a"}}}"#));
    let entries = found("ip,expires\n192.0.2.1,1893456000\n192.0.2.2,\n", &live);
    assert!(!live.set_ban_source(&name, entries.into()).changes.is_empty());
    assert_eq!(told(&live), ["everybody | 192.0.2.1/32 of its source, 192.0.2.2/32 of its source | "]);
    assert_eq!(live.next_expiry(), Some(NEW_YEAR));
    live.at(NEW_YEAR);
    assert_eq!(told(&live), ["everybody | 192.0.2.2/32 of its source | "]);
    // Another source has what the one before held, until it is known.
    live.put(Kind::BanList, &object(r#"{"source":{"file":{"path":"b"}}}"#));
    assert_eq!(told(&live), ["everybody | 192.0.2.2/32 of its source | "]);
    live.put(Kind::BanList, &object(r#"{"entries":[]}"#));
    assert_eq!(told(&live), ["everybody |  | "]);
    assert!(live.set_ban_source(&name, Vec::new().into()).changes.is_empty());
    assert!(live.ban_sources().next().is_none());
}
