//! Compact sets and pairs.

/// A number of up to 28 bits and a tag of 4 in one word, because there are millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packed(u32);

impl Packed {
    /// How many numbers there are.
    pub(super) const LIMIT: u32 = 1 << 28;

    pub(super) fn new(number: u32, tag: u8) -> Packed {
        debug_assert!(number < Packed::LIMIT && tag < 16, "{number} {tag}");
        Packed(u32::from(tag) << 28 | number)
    }

    pub(super) fn number(self) -> u32 {
        self.0 & (Packed::LIMIT - 1)
    }

    pub(super) fn tag(self) -> u8 {
        (self.0 >> 28) as u8
    }
}

/// A set of numbers below a bound.
#[derive(Clone, Debug, Default)]
pub(super) struct BitSet(Vec<u64>);

impl BitSet {
    pub(super) fn new(bound: usize) -> BitSet {
        BitSet(vec![0; bound.div_ceil(64)])
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get((number / 64) as usize).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds a number; tells whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let Some(word) = self.0.get_mut((number / 64) as usize) else { return false };
        let before = *word;
        *word |= 1 << (number % 64);
        *word != before
    }

    /// Counts the numbers that are in one of two sets.
    pub(super) fn count_union(&self, other: &BitSet) -> usize {
        self.0.iter().zip(&other.0).map(|(a, b)| (a | b).count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{BitSet, Packed};

    #[test]
    fn numbers_and_tags_come_back() {
        for (number, tag) in [(0, 0), (Packed::LIMIT - 1, 15), (1, 9), (12_345_678, 3)] {
            let packed = Packed::new(number, tag);
            assert_eq!((packed.number(), packed.tag()), (number, tag));
        }
    }

    #[test]
    fn sets_keep_what_is_below_their_bound() {
        let (mut a, mut b) = (BitSet::new(130), BitSet::new(130));
        for number in [0, 63, 64, 129] {
            assert!(a.insert(number) && !a.insert(number) && a.contains(number), "{number}");
        }
        assert!(!a.contains(1) && !a.contains(1_000_000) && !a.insert(1_000_000));
        assert!(b.insert(1) && b.insert(64));
        assert_eq!(a.count_union(&b), 5);
    }
}
