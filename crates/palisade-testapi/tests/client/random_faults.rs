//! Random writes under random faults: in the end every watcher holds what the server holds.

use std::{collections::BTreeMap, time::Duration};

use kube::runtime::watcher::Config;
use palisade_testapi::{Disturbance, Fault, Obstacle, Settings, TestApi, Verb};

use crate::support::{follow, pod, state, until};

/// The generator of Steele, Lea and Flood (SplitMix64): a seed tells the whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let at = self.below(choices.len() as u64);
        choices[usize::try_from(at).unwrap()]
    }
}

const DISTURBANCES: [Disturbance; 12] = [
    Disturbance::Break,
    Disturbance::BreakInLine,
    Disturbance::End,
    Disturbance::Delay(Duration::from_millis(2)),
    Disturbance::Duplicate,
    Disturbance::Gone,
    Disturbance::InternalError,
    Disturbance::Text,
    Disturbance::HalfLine,
    Disturbance::Binary,
    Disturbance::OtherShape,
    Disturbance::UnknownType,
];

const OBSTACLES: [Obstacle; 7] = [
    Obstacle::TooManyRequests(0),
    Obstacle::InternalError,
    Obstacle::Unavailable,
    Obstacle::Forbidden,
    Obstacle::Gone,
    Obstacle::Slow(Duration::from_millis(2)),
    Obstacle::Broken,
];

fn step(api: &TestApi, random: &mut Random) {
    let name = format!("p{}", random.below(12));
    match random.below(20) {
        0..=9 => drop(api.put(pod(&name, random.of(&["n1", "n2", "n3"])))),
        10..=13 => drop(api.delete("pods", "shop", &name)),
        14 | 15 => {
            let after = usize::try_from(random.below(6)).unwrap();
            api.faults().add(Fault::event("pods", random.of(&DISTURBANCES)).after(after));
        }
        16 => {
            let verb = random.of(&[Verb::List, Verb::Watch]);
            api.faults().add(Fault::request("pods", random.of(&OBSTACLES)).verb(verb));
        }
        17 => api.compact(),
        18 if random.below(2) == 0 => api.faults().break_watches(),
        18 => api.faults().end_watches(),
        _ if random.below(4) == 0 => {
            api.stop();
            api.put(pod(&name, "n4"));
            api.resume();
        }
        _ => {}
    }
}

async fn run(seed: u64) {
    let mut random = Random(seed);
    let settings = Settings { history_events_max: 20, bookmark_interval: Duration::from_millis(5) };
    let api = TestApi::with(settings);
    let followers = [
        follow(&api, Config::default().page_size(3)).await,
        follow(&api, Config::default().any_semantic()).await,
        follow(&api, Config::default().streaming_lists()).await,
    ];
    for _ in 0..60 {
        step(&api, &mut random);
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    api.faults().clear();
    api.put(pod("last", "n1"));
    let expected: BTreeMap<String, String> = state(&api);
    for (number, follower) in followers.iter().enumerate() {
        until((seed, number, expected.clone()), || (seed, number, follower.seen.pods())).await;
    }
}

#[tokio::test]
async fn watchers_hold_what_the_server_holds() {
    for seed in 0..100 {
        run(seed).await;
    }
}
