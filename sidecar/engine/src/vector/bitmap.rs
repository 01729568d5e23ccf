//! A set of small integers: dead rows of a segment, chunk ids that a filter allows.

/// A growable set of integers, one bit each. Chunk ids come from a counter, so the set stays dense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// Adds `value`.
    pub fn insert(&mut self, value: u64) {
        let word = (value / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (value % 64);
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u64) -> bool {
        usize::try_from(value / 64)
            .ok()
            .and_then(|word| self.words.get(word))
            .is_some_and(|word| word >> (value % 64) & 1 == 1)
    }

    /// How many values are in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set has no value.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Drops the values that `other` does not have.
    pub fn intersect(&mut self, other: &Bitmap) {
        self.words.truncate(other.words.len());
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// The values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words
            .iter()
            .enumerate()
            .flat_map(|(i, &word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i as u64 * 64 + bit))
    }

    /// The values as runs `(first, length)`: removed files leave neighbouring rows, so this is short.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for value in self.iter() {
            match runs.last_mut() {
                Some((first, length)) if *first + *length == value => *length += 1,
                _ => runs.push((value, 1)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_what_was_put_in() {
        let mut set = Bitmap::default();
        for value in [0, 1, 2, 63, 64, 200] {
            set.insert(value);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 63, 64, 200]);
        assert_eq!(set.runs(), [(0, 3), (63, 2), (200, 1)]);
        assert!(!set.contains(3) && !set.contains(u64::MAX) && set.contains(200));
        assert_eq!(set.len(), 6);
        let mut other = Bitmap::default();
        other.insert(2);
        other.insert(5);
        set.intersect(&other);
        assert_eq!(set.iter().collect::<Vec<_>>(), [2]);
    }
}
