//! A change to the kernel as a value: operations in an order that the kernel accepts.

use std::collections::{BTreeMap, BTreeSet};

use crate::ruleset::{Chain, Comment, Elements, Hook, Key, Name, Rule, Ruleset, Set, SetDefinition, Table, Verdict};

/// One step of a transaction, always in the table of the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates the table.
    AddTable(Option<Comment>),
    /// Deletes the table with everything in it.
    DeleteTable,
    /// Creates a chain without rules.
    AddChain(Name, Option<Hook>, Option<Comment>),
    /// Deletes a chain without rules.
    DeleteChain(Name),
    /// Deletes the rules of a chain.
    FlushChain(Name),
    /// Appends a rule to a chain.
    AddRule(Name, Rule),
    /// Creates an empty set or map.
    AddSet(Name, SetDefinition),
    /// Creates a named counter.
    AddCounter(Name, Option<Comment>),
    /// Deletes a named counter.
    DeleteCounter(Name),
    /// Deletes a set or map with its elements.
    DeleteSet(Name),
    /// Deletes all elements of a set or map.
    FlushSet(Name),
    /// Adds elements; those that are there already, with the same verdict, stay.
    AddElements(Name, Elements),
    /// Deletes elements, with the verdicts they have.
    DeleteElements(Name, Elements),
}

/// What takes the kernel from one ruleset to another, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    table: Table,
    operations: Vec<Operation>,
    /// How many operations at the front only build what no packet meets before the others are done.
    prepared: usize,
}

/// How much a transaction does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chains, sets, maps and counters created.
    pub objects_added: usize,
    /// Chains, sets, maps and counters deleted; a deleted table counts as one.
    pub objects_deleted: usize,
    /// Rules written.
    pub rules_added: usize,
    /// Elements added.
    pub elements_added: usize,
    /// Elements deleted one by one.
    pub elements_deleted: usize,
}

impl Transaction {
    /// Deletes a table and everything in it.
    pub fn remove_table(table: Table) -> Transaction {
        Transaction { table, operations: vec![Operation::DeleteTable], prepared: 0 }
    }

    /// The table that it changes.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The operations, in the order in which the kernel gets them.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations that build new, unreferenced objects, and those that put them to use.
    ///
    /// The first may be committed earlier and in pieces: no packet meets a new chain or set before an
    /// operation of the second part names it. The second part is one atomic batch, always.
    pub fn parts(&self) -> (&[Operation], &[Operation]) {
        self.operations.split_at(self.prepared)
    }

    /// Whether it fills new sets of ranges and puts them to use. In one commit the kernel would look into them, for a moment, before
    /// what was filled in is found.
    pub(crate) fn fills_before_use(&self) -> bool {
        let (preparation, switch) = self.parts();
        let ranges: BTreeSet<&Name> = preparation
            .iter()
            .filter_map(|operation| match operation {
                Operation::AddSet(name, definition) if definition.interval => Some(name),
                _ => None,
            })
            .collect();
        let is_filled =
            |operation: &Operation| matches!(operation, Operation::AddElements(name, _) if ranges.contains(name));
        !switch.is_empty() && preparation.iter().any(is_filled)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How much there is to do.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in &self.operations {
            match operation {
                Operation::AddChain(..) | Operation::AddSet(..) | Operation::AddCounter(..) => {
                    counts.objects_added += 1;
                }
                Operation::DeleteTable
                | Operation::DeleteChain(_)
                | Operation::DeleteSet(_)
                | Operation::DeleteCounter(_) => {
                    counts.objects_deleted += 1;
                }
                Operation::AddRule(..) => counts.rules_added += 1,
                Operation::AddElements(_, elements) => counts.elements_added += elements.len(),
                Operation::DeleteElements(_, elements) => counts.elements_deleted += elements.len(),
                Operation::AddTable(_) | Operation::FlushChain(_) | Operation::FlushSet(_) => {}
            }
        }
        counts
    }
}

/// Gathers what is to be done, in any order, and puts it into the order the kernel needs:
/// what is named comes before what names it, and goes after.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    table: Table,
    delete_table: bool,
    add_table: bool,
    comment: Option<Comment>,
    new_chains: BTreeMap<Name, Chain>,
    new_sets: BTreeMap<Name, Set>,
    new_counters: BTreeMap<Name, Option<Comment>>,
    flushed_sets: BTreeSet<Name>,
    ensured: BTreeMap<Name, Elements>,
    deleted: BTreeMap<Name, Elements>,
    added: BTreeMap<Name, Elements>,
    rewritten: BTreeMap<Name, Vec<Rule>>,
    removed_sets: BTreeSet<Name>,
    removed_chains: BTreeSet<Name>,
    removed_counters: BTreeSet<Name>,
}

impl Builder {
    /// Nothing yet, in a table.
    pub(crate) fn of(table: Table) -> Builder {
        Builder { table, ..Builder::default() }
    }

    /// Everything of a ruleset into a kernel without our table, or in the place of the one that is there.
    pub(crate) fn whole(ruleset: &Ruleset, replace: bool) -> Builder {
        Builder {
            table: ruleset.table,
            delete_table: replace,
            add_table: true,
            comment: ruleset.comment.clone(),
            new_chains: ruleset.chains.clone(),
            new_sets: ruleset.sets.clone(),
            new_counters: ruleset.counters.clone(),
            ..Builder::default()
        }
    }

    pub(crate) fn add_chain(&mut self, name: Name, chain: Chain) {
        self.new_chains.insert(name, chain);
    }

    pub(crate) fn remove_chain(&mut self, name: Name) {
        self.removed_chains.insert(name);
    }

    /// Replaces all rules of a chain that is there.
    pub(crate) fn rewrite_chain(&mut self, name: Name, rules: Vec<Rule>) {
        self.rewritten.insert(name, rules);
    }

    pub(crate) fn add_set(&mut self, name: Name, set: Set) {
        self.new_sets.insert(name, set);
    }

    pub(crate) fn remove_set(&mut self, name: Name) {
        self.removed_sets.insert(name);
    }

    pub(crate) fn add_counter(&mut self, name: Name, comment: Option<Comment>) {
        self.new_counters.insert(name, comment);
    }

    pub(crate) fn remove_counter(&mut self, name: Name) {
        self.removed_counters.insert(name);
    }

    /// Empties a set that is there; `add_element` fills it anew.
    pub(crate) fn flush_set(&mut self, name: Name) {
        self.flushed_sets.insert(name);
    }

    /// Adds an element to a set that is there.
    pub(crate) fn add_element(&mut self, set: &Name, key: Key, verdict: Option<Verdict>) {
        self.added.entry(set.clone()).or_default().insert(key, verdict);
    }

    /// Deletes an element that is there. A verdict map must be told the verdict, as the key is not enough to
    /// print what goes.
    pub(crate) fn delete_element(&mut self, set: &Name, key: Key, verdict: Option<Verdict>) {
        self.deleted.entry(set.clone()).or_default().insert(key, verdict);
    }

    /// Deletes an element of a plain set, whether it is there or not: the kernel refuses to delete what is
    /// absent, but not to add what is present.
    pub(crate) fn delete_element_if_there(&mut self, set: &Name, key: Key) {
        self.ensured.entry(set.clone()).or_default().insert(key.clone(), None);
        self.delete_element(set, key, None);
    }

    pub(crate) fn finish(self) -> Transaction {
        let mut operations = Vec::new();
        if self.delete_table {
            operations.push(Operation::DeleteTable);
        }
        if self.add_table {
            operations.push(Operation::AddTable(self.comment));
        }
        let (hooked, chains): (Vec<_>, Vec<_>) =
            self.new_chains.into_iter().partition(|(_, chain)| chain.hook.is_some());
        for (name, chain) in &chains {
            operations.push(Operation::AddChain(name.clone(), None, chain.comment.clone()));
        }
        let counters = self.new_counters.into_iter();
        operations.extend(counters.map(|(name, comment)| Operation::AddCounter(name, comment)));
        let mut filled = Vec::new();
        for (name, set) in self.new_sets {
            operations.push(Operation::AddSet(name.clone(), set.definition));
            if !set.elements.is_empty() {
                filled.push(Operation::AddElements(name, set.elements));
            }
        }
        operations.append(&mut filled);
        for (name, chain) in chains {
            operations.extend(chain.rules.into_iter().map(|rule| Operation::AddRule(name.clone(), rule)));
        }
        // Where the old table goes in the same breath, its successor cannot be built beside it.
        let prepared = if self.delete_table { 0 } else { operations.len() };

        operations.extend(self.flushed_sets.into_iter().map(Operation::FlushSet));
        operations.extend(self.ensured.into_iter().map(|(set, elements)| Operation::AddElements(set, elements)));
        operations.extend(self.deleted.into_iter().map(|(set, elements)| Operation::DeleteElements(set, elements)));
        operations.extend(self.added.into_iter().map(|(set, elements)| Operation::AddElements(set, elements)));
        for (name, rules) in self.rewritten {
            operations.push(Operation::FlushChain(name.clone()));
            operations.extend(rules.into_iter().map(|rule| Operation::AddRule(name.clone(), rule)));
        }
        for (name, chain) in hooked {
            operations.push(Operation::AddChain(name.clone(), chain.hook, chain.comment));
            operations.extend(chain.rules.into_iter().map(|rule| Operation::AddRule(name.clone(), rule)));
        }
        operations.extend(self.removed_chains.iter().cloned().map(Operation::FlushChain));
        operations.extend(self.removed_sets.into_iter().map(Operation::DeleteSet));
        operations.extend(self.removed_counters.into_iter().map(Operation::DeleteCounter));
        operations.extend(self.removed_chains.into_iter().map(Operation::DeleteChain));
        Transaction { table: self.table, operations, prepared }
    }
}
