//! Sets of numbers as sorted ranges that neither overlap nor touch, in chunks.
//!
//! Copies share their chunks until one of them changes a chunk, and then that chunk alone is another.

use std::sync::Arc;

/// The most ranges of a chunk: what a change copies, of IPv4 4 KiB.
const CHUNK_MAX: usize = 512;

/// What an address is as a number.
pub trait Number: Copy + Ord {
    const MIN: Self;
    const MAX: Self;
    fn before(self) -> Option<Self>;
    fn after(self) -> Option<Self>;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const MIN: Self = <$type>::MIN;
            const MAX: Self = <$type>::MAX;
            fn before(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn after(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}
number!(u32);
number!(u128);

/// The first and the last number.
type Range<N> = (N, N);

/// Ranges by number.
type Chunk<N> = [Range<N>];

/// Chunks by number, none of them empty.
#[derive(Clone)]
pub struct Ranges<N>(Vec<Arc<Vec<Range<N>>>>);

impl<N> Default for Ranges<N> {
    fn default() -> Self {
        Ranges(Vec::new())
    }
}

impl<N: Number> Ranges<N> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|chunk| chunk.len()).sum()
    }

    pub fn contains(&self, number: N) -> bool {
        self.within((number, number)).next().is_some()
    }

    pub fn insert(&mut self, (first, last): Range<N>) {
        let around = (first.before().unwrap_or(N::MIN), last.after().unwrap_or(N::MAX));
        self.replace(around, |found| {
            let (start, end) = found.unwrap_or((first, last));
            vec![(start.min(first), end.max(last))]
        });
    }

    pub fn remove(&mut self, (first, last): Range<N>) {
        self.replace((first, last), |found| {
            let Some((start, end)) = found else { return Vec::new() };
            let left = first.before().filter(|before| start <= *before).map(|before| (start, before));
            let right = last.after().filter(|after| *after <= end).map(|after| (after, end));
            left.into_iter().chain(right).collect()
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<N>> {
        self.0.iter().flat_map(|chunk| chunk.iter().copied())
    }

    /// What it holds from one number to another.
    pub fn within(&self, (first, last): Range<N>) -> impl Iterator<Item = Range<N>> {
        let chunks = &self.0[self.0.partition_point(|chunk| end(chunk) < Some(first))..];
        let before = chunks.first().map_or(0, |chunk| chunk.partition_point(|range| range.1 < first));
        let ranges = chunks.iter().flat_map(|chunk| chunk.iter().copied()).skip(before);
        ranges.take_while(move |range| range.0 <= last).map(move |range| (range.0.max(first), range.1.min(last)))
    }

    /// The ranges that it has and another has not, and those that the other has and it has not.
    pub fn changes_to(&self, other: &Ranges<N>) -> (Ranges<N>, Ranges<N>) {
        if self.is_empty() || other.is_empty() {
            return (self.clone(), other.clone());
        }
        let (own, others) = self.unshared(other);
        let (mut own, mut others) = (own.into_iter().flatten().peekable(), others.into_iter().flatten().peekable());
        let (mut gone, mut come) = (Builder::default(), Builder::default());
        loop {
            match (own.peek(), others.peek()) {
                (Some(one), Some(another)) if one == another => {
                    own.next();
                    others.next();
                }
                (Some(one), another) if another.is_none_or(|another| one < another) => {
                    gone.push(**one);
                    own.next();
                }
                (_, Some(another)) => {
                    come.push(**another);
                    others.next();
                }
                (_, None) => return (gone.finish(), come.finish()),
            }
        }
    }

    /// The chunks that it does not share with another, and those of the other. As the first numbers of chunks differ, both come to a
    /// shared one together.
    fn unshared<'a>(&'a self, other: &'a Ranges<N>) -> (Vec<&'a Chunk<N>>, Vec<&'a Chunk<N>>) {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (Some(one), Some(another)) if Arc::ptr_eq(one, another) => {
                    left.next();
                    right.next();
                }
                (Some(one), Some(another)) if one.first() > another.first() => {
                    others.extend(right.next().map(|chunk| chunk.as_slice()));
                }
                (Some(_), _) => own.extend(left.next().map(|chunk| chunk.as_slice())),
                (None, Some(_)) => others.extend(right.next().map(|chunk| chunk.as_slice())),
                (None, None) => return (own, others),
            }
        }
    }

    /// Puts others in the place of the ranges with a number between two, or where they would be. `with` is told from where to where those
    /// reach.
    fn replace(&mut self, (low, high): Range<N>, with: impl FnOnce(Option<Range<N>>) -> Vec<Range<N>>) {
        if self.0.is_empty() {
            self.0.extend(chunks(&with(None)));
            return;
        }
        let at = self.0.partition_point(|chunk| end(chunk) < Some(low)).min(self.0.len() - 1);
        let to = self.0.partition_point(|chunk| chunk.first().is_some_and(|range| range.0 <= high)).max(at + 1);
        if to > at + 1 {
            let joined = self.0[at..to].iter().flat_map(|chunk| chunk.iter().copied()).collect();
            self.0.splice(at..to, [Arc::new(joined)]);
        }
        let chunk = &self.0[at];
        let from = chunk.partition_point(|range| range.1 < low);
        let until = chunk.partition_point(|range| range.0 <= high);
        let found = &chunk[from..until];
        let found = found.first().zip(found.last()).map(|(first, last)| (first.0, last.1));
        let with = with(found);
        if found.is_some() || !with.is_empty() {
            Arc::make_mut(&mut self.0[at]).splice(from..until, with);
            self.tidy(at);
        }
    }

    /// Parts a chunk that has become too big, and joins one that has become small with the next.
    fn tidy(&mut self, at: usize) {
        let (size, next) = (self.0[at].len(), self.0.get(at + 1).map_or(CHUNK_MAX, |next| next.len()));
        if size > CHUNK_MAX || size == 0 {
            let chunk = self.0.remove(at);
            let half = chunk.len().div_ceil(2).min(CHUNK_MAX);
            self.0.splice(at..at, chunk.chunks(half.max(1)).map(|part| Arc::new(part.to_vec())));
        } else if size + next <= CHUNK_MAX / 2 {
            let next = self.0.remove(at + 1);
            Arc::make_mut(&mut self.0[at]).extend(next.iter());
        }
    }
}

/// Makes a set of ranges, at little cost if they come in order. They may come in any order, and overlap.
pub struct Builder<N> {
    done: Vec<Arc<Vec<Range<N>>>>,
    /// The chunk that is being filled, and the range after it, which may grow.
    chunk: Vec<Range<N>>,
    last: Option<Range<N>>,
    late: Vec<Range<N>>,
}

impl<N> Default for Builder<N> {
    fn default() -> Self {
        Builder { done: Vec::new(), chunk: Vec::new(), last: None, late: Vec::new() }
    }
}

impl<N: Number> Builder<N> {
    pub fn push(&mut self, (first, last): Range<N>) {
        match &mut self.last {
            Some(before) if first < before.0 => self.late.push((first, last)),
            Some(before) if before.1.after().is_none_or(|after| first <= after) => before.1 = before.1.max(last),
            Some(before) => {
                if self.chunk.len() == CHUNK_MAX {
                    self.done.push(Arc::new(std::mem::take(&mut self.chunk)));
                }
                if self.chunk.is_empty() && !self.done.is_empty() {
                    self.chunk.reserve_exact(CHUNK_MAX);
                }
                self.chunk.push(std::mem::replace(before, (first, last)));
            }
            None => self.last = Some((first, last)),
        }
    }

    pub fn finish(mut self) -> Ranges<N> {
        self.chunk.extend(self.last);
        if !self.chunk.is_empty() {
            self.chunk.shrink_to_fit();
            self.done.push(Arc::new(self.chunk));
        }
        let ranges = Ranges(self.done);
        if self.late.is_empty() {
            return ranges;
        }
        self.late.extend(ranges.iter());
        // Several that are sorted each are sorted together at little cost.
        self.late.sort();
        let mut again = Builder::default();
        self.late.into_iter().for_each(|range| again.push(range));
        again.finish()
    }
}

impl<N: Number> PartialEq for Ranges<N> {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = self.unshared(other);
        own.into_iter().flatten().eq(others.into_iter().flatten())
    }
}

impl<N: Number> Eq for Ranges<N> {}

fn end<N: Number>(chunk: &Chunk<N>) -> Option<N> {
    chunk.last().map(|range| range.1)
}

fn chunks<N: Number>(ranges: &[Range<N>]) -> impl Iterator<Item = Arc<Vec<Range<N>>>> {
    ranges.chunks(CHUNK_MAX).map(|chunk| Arc::new(chunk.to_vec()))
}
