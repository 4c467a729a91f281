use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Addresses from which sets of few and of many ranges are made; at both ends of all addresses, too.
#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(AddressRange),
    Remove(AddressRange),
    /// Every second address of so many comes, so that there are many ranges.
    Scatter(u16),
}

fn address(number: u16) -> IpAddr {
    match number % 3 {
        0 => Ipv4Addr::from(u32::from(number) / 3).into(),
        1 => Ipv4Addr::from(u32::MAX - u32::from(number) / 3).into(),
        _ => Ipv6Addr::from(u128::MAX - u128::from(number) / 3).into(),
    }
}

/// A range of up to so many addresses that begins or ends there.
fn range(number: u16, length: u16) -> AddressRange {
    match address(number) {
        IpAddr::V4(end) if number.is_multiple_of(3) => {
            AddressRange { first: end.into(), last: Ipv4Addr::from(u32::from(end) + u32::from(length)).into() }
        }
        IpAddr::V4(end) => {
            AddressRange { first: Ipv4Addr::from(u32::from(end) - u32::from(length)).into(), last: end.into() }
        }
        IpAddr::V6(end) => {
            AddressRange { first: Ipv6Addr::from(u128::from(end) - u128::from(length)).into(), last: end.into() }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let ranges = || (0..9_000u16, prop_oneof![0..4u16, 0..2_000u16]).prop_map(|(number, length)| range(number, length));
    prop_oneof![
        4 => ranges().prop_map(Step::Insert),
        4 => ranges().prop_map(Step::Remove),
        1 => (0..3_000u16).prop_map(Step::Scatter),
    ]
}

fn addresses(range: AddressRange) -> impl Iterator<Item = IpAddr> {
    match range.ends() {
        Ends::V4((first, last)) => (first..=last).map(|number| Ipv4Addr::from(number).into()).collect::<Vec<_>>(),
        Ends::V6((first, last)) => (first..=last).map(|number| Ipv6Addr::from(number).into()).collect(),
        Ends::Nothing => Vec::new(),
    }
    .into_iter()
}

/// The ranges of addresses that follow one another.
fn ranges_of(all: &BTreeSet<IpAddr>) -> Vec<AddressRange> {
    let mut ranges: Vec<AddressRange> = Vec::new();
    for address in all {
        let follows = |last: IpAddr| match (last, address) {
            (IpAddr::V4(last), IpAddr::V4(address)) => u32::from(last).checked_add(1) == Some(u32::from(*address)),
            (IpAddr::V6(last), IpAddr::V6(address)) => u128::from(last).checked_add(1) == Some(u128::from(*address)),
            _ => false,
        };
        match ranges.last_mut() {
            Some(range) if follows(range.last) => range.last = *address,
            _ => ranges.push((*address).into()),
        }
    }
    ranges
}

fn take(step: Step, set: &mut AddressSet, all: &mut BTreeSet<IpAddr>) {
    match step {
        Step::Insert(range) => {
            set.insert(range);
            all.extend(addresses(range));
        }
        Step::Remove(range) => {
            set.remove(range);
            all.retain(|address| !(range.first..=range.last).contains(address));
        }
        Step::Scatter(count) => {
            for address in (0..count).map(|number| address(number * 3 * 2)) {
                set.insert(address.into());
                all.insert(address);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes and goes, it holds what a set of single addresses does, as the fewest ranges; and a copy stays what it was.
    #[test]
    fn it_holds_what_a_plain_set_holds(steps in prop::collection::vec(step(), 1..40), asked in step()) {
        let (mut set, mut all) = (AddressSet::new(), BTreeSet::new());
        let mut before = (set.clone(), Vec::new());
        for step in steps {
            take(step, &mut set, &mut all);
            let ranges = ranges_of(&all);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), ranges.clone());
            prop_assert_eq!((set.len(), set.is_empty()), (ranges.len(), ranges.is_empty()));
            prop_assert_eq!(&set, &ranges.iter().rev().copied().collect::<AddressSet>());
            prop_assert_eq!(before.0.iter().collect::<Vec<_>>(), before.1.clone());
            prop_assert_eq!(before.0 == set, before.1 == ranges);
            let lacking = |one: &[AddressRange], another: &[AddressRange]| {
                one.iter().filter(|range| !another.contains(range)).copied().collect::<AddressSet>()
            };
            prop_assert_eq!(before.0.changes_to(&set), (lacking(&before.1, &ranges), lacking(&ranges, &before.1)));
            before = (set.clone(), ranges);
        }
        if let Step::Insert(range) | Step::Remove(range) = asked {
            let within: BTreeSet<IpAddr> = set.within(range).flat_map(addresses).collect();
            prop_assert_eq!(&within, &addresses(range).filter(|address| all.contains(address)).collect());
            prop_assert!(addresses(range).all(|address| set.contains(address) == all.contains(&address)));
        }
    }
}

#[test]
fn ends_that_make_no_range_hold_nothing() {
    let range = |first: &str, last: &str| AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
    let nothing = [range("192.0.2.9", "192.0.2.1"), range("192.0.2.1", "2001:db8::1")];
    assert!(AddressSet::from(nothing).is_empty());
    let everything =
        AddressSet::from([range("0.0.0.0", "255.255.255.255"), range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]);
    let mut set = everything.clone();
    for range in nothing {
        set.remove(range);
    }
    assert_eq!(set, everything);
    assert_eq!(everything.len(), 2);
}
