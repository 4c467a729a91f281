//! A set of small numbers, one bit each.

/// Which of the numbers below a length are meant.
#[derive(Clone, Debug)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// None of so many numbers.
    pub fn none(length: usize) -> Bits {
        Bits(vec![0; length.div_ceil(64)])
    }

    /// All of so many numbers.
    pub fn all(length: usize) -> Bits {
        Bits(vec![u64::MAX; length.div_ceil(64)])
    }

    /// Takes a number in, which is below the length.
    pub fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// Takes numbers in.
    pub fn extend(&mut self, numbers: impl Iterator<Item = usize>) {
        numbers.for_each(|number| self.insert(number));
    }

    /// Takes in the numbers of another set of the same length.
    pub fn unite(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & (1 << (number % 64)) != 0
    }
}
