//! From the ruleset that is there to the one that is wanted, by the smallest transaction.

use crate::ruleset::Ruleset;
use crate::transaction::{Builder, Transaction};

/// What takes a kernel that holds `have` to `want`. Only what differs is in it:
///
/// - elements one by one; one whose verdict changed is deleted and added in the same batch, since the kernel
///   cannot change it in place;
/// - the rules of a chain all together, as they are few and their order matters;
/// - the whole table, if something in it cannot be changed in place: an object or set that is not ours, or the
///   head of a chain, set, counter or table. That happens only after somebody else changed the table, or between
///   versions of this product.
pub fn diff(have: &Ruleset, want: &Ruleset) -> Transaction {
    if have == want {
        return Transaction::default();
    }
    if want.is_nothing() {
        return if have.is_nothing() { Transaction::default() } else { Transaction::remove_table(have.table) };
    }
    if have.is_nothing() {
        return Builder::whole(want, false).finish();
    }
    if !can_change_in_place(have, want) {
        return Builder::whole(want, true).finish();
    }
    let mut builder = Builder::of(want.table);
    diff_in_place(&mut builder, have, want);
    builder.finish()
}

/// What differs, where the heads of all that both have are the same.
pub(crate) fn diff_in_place(builder: &mut Builder, have: &Ruleset, want: &Ruleset) {
    for name in have.counters.keys().filter(|name| !want.counters.contains_key(*name)) {
        builder.remove_counter(name.clone());
    }
    for (name, comment) in want.counters.iter().filter(|(name, _)| !have.counters.contains_key(*name)) {
        builder.add_counter(name.clone(), comment.clone());
    }
    diff_sets(builder, have, want);
    diff_chains(builder, have, want);
}

fn can_change_in_place(have: &Ruleset, want: &Ruleset) -> bool {
    have.unknown.is_empty()
        && have.comment == want.comment
        && have
            .sets
            .iter()
            .all(|(name, set)| want.sets.get(name).is_none_or(|other| set.definition == other.definition))
        && have.counters.iter().all(|(name, comment)| want.counters.get(name).is_none_or(|other| comment == other))
        && have.chains.iter().all(|(name, chain)| {
            want.chains.get(name).is_none_or(|other| chain.hook == other.hook && chain.comment == other.comment)
        })
}

fn diff_sets(builder: &mut Builder, have: &Ruleset, want: &Ruleset) {
    for (name, set) in &have.sets {
        let Some(wanted) = want.sets.get(name) else {
            builder.remove_set(name.clone());
            continue;
        };
        for (key, verdict) in &set.elements {
            if wanted.elements.get(key) != Some(verdict) {
                builder.delete_element(name, key.clone(), verdict.clone());
            }
        }
        for (key, verdict) in &wanted.elements {
            if set.elements.get(key) != Some(verdict) {
                builder.add_element(name, key.clone(), verdict.clone());
            }
        }
    }
    for (name, set) in &want.sets {
        if !have.sets.contains_key(name) {
            builder.add_set(name.clone(), set.clone());
        }
    }
}

fn diff_chains(builder: &mut Builder, have: &Ruleset, want: &Ruleset) {
    for (name, chain) in &have.chains {
        match want.chains.get(name) {
            None => builder.remove_chain(name.clone()),
            Some(wanted) if chain.rules != wanted.rules => {
                builder.rewrite_chain(name.clone(), wanted.rules.clone());
            }
            Some(_) => {}
        }
    }
    for (name, chain) in &want.chains {
        if !have.chains.contains_key(name) {
            builder.add_chain(name.clone(), chain.clone());
        }
    }
}
