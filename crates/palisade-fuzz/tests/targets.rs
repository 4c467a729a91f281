//! Every target, with the seeds as they are and with mistakes at random. CONTRIBUTING.md says how to look for longer.

use palisade_fuzz::{seed, targets};
use proptest::prelude::*;

/// A few seconds of a debug build, all targets together.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn seeds_are_read() {
    let policies = seed::manifests().iter().filter(|text| text.contains("kind: NetworkPolicy")).count();
    assert!(policies > 50, "{policies}");
    for seeds in [seed::configs(), seed::node_allowlists(), seed::flow_tests(), seed::feeds(), seed::flows()] {
        assert!(!seeds.is_empty());
    }
    for (_, target) in targets::ALL {
        // The number of the seed, and no mistake.
        (0..200_u16).for_each(|seed| target(&seed.to_le_bytes()));
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
                    targets::$name(&bytes);
                }
            )*
        }

        #[test]
        fn all_are_tried() {
            let known: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, [$(stringify!($name)),*]);
        }
    };
}

targets!(manifests, text, configs, node_allowlists, flow_tests, feeds, flows, traffic);
