//! What to go back to of one table.

use palisade_core::Tables;

use super::{Before, KeptTable, Part};

impl<P: Part> KeptTable<P> {
    /// Whether it is not known yet if what is in force is good.
    pub fn is_tried(&self) -> bool {
        self.good.is_some()
    }

    /// What is in force now is what to go back to, unless there is something already. What comes next is tried, also if what came last
    /// was taken back.
    pub fn begin(&mut self, tables: &Tables) {
        self.take_again();
        if self.before.is_none() {
            self.good.get_or_insert_with(|| P::of(tables).clone());
        }
    }

    /// Nothing is in force, and that is what to go back to.
    pub fn begin_anew(&mut self) {
        self.take_again();
        if self.before.is_none() {
            self.good = Some(P::Tables::default());
        }
    }

    /// Whether what is wanted is what was known to be good: then there is nothing to go back to.
    pub fn is_as_before(&mut self, tables: &Tables) -> bool {
        self.good.take_if(|good| *good == *P::of(tables)).is_some()
    }

    /// What is in force is good.
    pub fn confirm(&mut self) {
        self.good = None;
    }

    /// What is known to be good is wanted again: the next step is a load.
    pub fn go_back(&mut self) {
        if let Some(good) = self.good.take() {
            self.before = Some(Before { tables: Some(good) });
            self.undone = true;
            self.doubt();
        }
    }

    /// What was taken back is wanted again: the next step is a load.
    pub fn take_again(&mut self) {
        if std::mem::take(&mut self.undone) {
            self.follow();
        }
    }
}
