use palisade_compile::{Compiler, Settings, UnknownPods};
use palisade_core::Snapshot;
use palisade_testkit::random;
use palisade_testkit::rng::Rng;

use super::*;

const BOOT: &str = "this boot";

fn tables(seed: u64) -> Tables {
    let snapshot = random::cluster(&mut Rng::new(seed));
    let node = snapshot.nodes.keys().next().unwrap().clone();
    let pod_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
    let mut compiler =
        Compiler::with(node, Settings { unknown_pods: UnknownPods::Drop, pod_cidrs, ..Settings::default() });
    compiler.update(&Snapshot::default().changes_to(&snapshot));
    Tables { shadow: PerDirection::default(), ..compiler.into_tables() }
}

/// With one address of each group as that of a node.
fn text(tables: &Tables) -> Vec<u8> {
    let nodes = tables.host.groups.values().filter_map(|group| group.addresses.iter().next().copied());
    let state = Unsaved {
        cluster: Some("a-cluster"),
        node: "n1",
        boot: BOOT,
        saved: Timestamp::UNIX_EPOCH,
        tables,
        host: &tables.host,
        bans: &tables.bans,
        node_ranges: &tables.pod_ranges[1..],
        node_addresses: nodes.collect(),
    };
    to_text(&state, 0).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    assert_eq!(state.load().unwrap(), None);
    let (mut guarded, mut banned) = (0, 0);
    for seed in 0..50 {
        let tables = tables(seed);
        guarded += usize::from(!tables.host.groups.is_empty());
        banned += usize::from(!tables.bans.banned.is_empty() && !tables.bans.targeted.is_empty());
        state.save(&text(&tables)).unwrap();
        let read = state.load().unwrap().unwrap();
        assert_eq!((read.cluster.as_deref(), &*read.node, &*read.boot), (Some("a-cluster"), "n1", BOOT));
        assert_eq!(read.node_ranges, tables.pod_ranges[1..]);
        assert_eq!(read.tables_in(BOOT), tables, "seed {seed}");
    }
    assert!(guarded > 5 && banned > 2, "only {guarded} have guards, {banned} have bans");
}

#[test]
fn a_file_that_was_cut_is_no_state() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let whole = text(&tables(3));
    for length in (0..whole.len()).step_by(whole.len() / 50) {
        state.save(&whole[..length]).unwrap();
        assert!(matches!(state.load(), Err(StateError::Unreadable { .. })), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn a_file_that_names_what_it_does_not_hold_is_no_state() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let mut refused = BTreeMap::new();
    for seed in 0..20 {
        let mut file: serde_json::Value = serde_json::from_slice(&text(&tables(seed))).unwrap();
        for what in ["/groups", "/rests", "/host/groups", "/host/definitions"] {
            let at = file.pointer_mut(what).unwrap();
            if at.as_object().is_none_or(serde_json::Map::is_empty) {
                continue;
            }
            let whole = std::mem::replace(at, serde_json::json!({}));
            state.save(&serde_json::to_vec(&file).unwrap()).unwrap();
            let is_refused = matches!(state.load(), Err(StateError::Unreadable { .. }));
            *refused.entry(what).or_insert(0) += usize::from(is_refused);
            *file.pointer_mut(what).unwrap() = whole;
        }
    }
    assert!(refused.len() == 4 && refused.values().all(|count| *count > 3), "{refused:?}");
}

#[test]
fn a_file_whose_ranges_are_out_of_order_is_no_state() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&text(&tables(1))).unwrap();
    let mut check = |ranges: serde_json::Value, is_state: bool| {
        file["bans"]["banned"] = ranges;
        state.save(&serde_json::to_vec(&file).unwrap()).unwrap();
        assert_eq!(state.load().is_ok(), is_state, "{}", file["bans"]["banned"]);
    };
    check(serde_json::json!([["192.0.2.0", "192.0.2.9"], ["192.0.2.20", "192.0.2.20"], ["::1", "::2"]]), true);
    check(serde_json::json!([["192.0.2.9", "192.0.2.0"]]), false);
    check(serde_json::json!([["192.0.2.0", "::9"]]), false);
    check(serde_json::json!([["192.0.2.0", "192.0.2.9"], ["192.0.2.9", "192.0.2.20"]]), false);
}

#[test]
fn a_file_of_another_version_is_no_state() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&text(&tables(1))).unwrap();
    file["version"] = 2.into();
    state.save(&serde_json::to_vec(&file).unwrap()).unwrap();
    assert!(matches!(state.load(), Err(StateError::Unreadable { .. })));
}

#[test]
fn after_another_boot_no_pod_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let mut admitted = [0, 0];
    let mut known = 0;
    for seed in 0..50 {
        let tables = tables(seed);
        known += tables.known.len();
        state.save(&text(&tables)).unwrap();
        let read = state.load().unwrap().unwrap();
        let nodes = read.node_addresses.clone();
        let then = read.tables_in("another boot");
        let mut host = tables.host;
        admitted[0] += host.groups.values().map(|group| group.addresses.len()).sum::<usize>();
        host.groups.values_mut().for_each(|group| group.addresses.retain(|address| nodes.contains(address)));
        admitted[1] += host.groups.values().map(|group| group.addresses.len()).sum::<usize>();
        let mut bans = tables.bans;
        bans.targeted.values_mut().for_each(|ban| ban.pods.clear());
        assert_eq!(then, Tables { pod_ranges: tables.pod_ranges, host, bans, ..Tables::default() });
    }
    assert!(known > 0);
    assert!(admitted[0] > admitted[1] && admitted[1] > 0, "{admitted:?}");
}

#[test]
fn a_pause_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    state.set_pause(None).unwrap();
    assert_eq!(state.pause(), None);
    for pause in [Pause::Cleanup, Pause::EmergencyStop] {
        state.set_pause(Some(pause)).unwrap();
        assert_eq!(StateDirectory::open(directory.path()).unwrap().pause(), Some(pause));
    }
    std::fs::write(directory.path().join(PAUSED), [0xff]).unwrap();
    assert_eq!(state.pause(), Some(Pause::EmergencyStop));
    state.set_pause(None).unwrap();
    assert_eq!(state.pause(), None);
}
