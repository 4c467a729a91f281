//! Values that repeat themselves, each once.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Serialize, Serializer};

/// Distinct values, in the order in which they came, known by their numbers.
#[derive(Debug)]
pub(crate) struct Distinct<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T: Clone + Eq + Hash> Distinct<T> {
    pub(crate) fn new() -> Distinct<T> {
        Distinct { numbers: HashMap::new(), values: Vec::new() }
    }

    /// The number of a value, which is new if it is.
    pub(crate) fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let Distinct { numbers, values } = self;
        *numbers.entry(value).or_insert_with_key(|value| {
            values.push(value.clone());
            next
        })
    }

    /// The values, by number.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }
}

impl<T: Serialize> Serialize for Distinct<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values.serialize(serializer)
    }
}
