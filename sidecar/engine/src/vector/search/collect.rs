//! Keeps the best of many rows: those above a threshold are collected, and cut to the best when they are too many.

use std::cmp::Ordering;

/// A row with a score.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoredRow {
    pub score: f32,
    pub part_idx: u32,
    pub row: u32,
}

impl ScoredRow {
    /// Best first; a total order, so that the same rows are kept however the work was divided.
    fn order(&self, other: &Self) -> Ordering {
        let place = |c: &Self| (c.part_idx, c.row);
        other.score.total_cmp(&self.score).then(place(self).cmp(&place(other)))
    }
}

/// The `keep` best of what was pushed, and some more until [`Top::take`].
pub(super) struct Top {
    keep: usize,
    /// Nothing at or below this can be among the best: later rows lose ties.
    pub threshold: f32,
    candidates: Vec<ScoredRow>,
}

impl Top {
    pub fn new(keep: usize) -> Top {
        Top { keep: keep.max(1), threshold: f32::NEG_INFINITY, candidates: Vec::new() }
    }

    /// Adds a row; rows of one part must come in ascending order.
    #[inline]
    pub fn push(&mut self, candidate: ScoredRow) {
        if candidate.score > self.threshold {
            self.candidates.push(candidate);
            if self.candidates.len() >= self.keep.saturating_mul(2) {
                self.cut();
            }
        }
    }

    /// Adds the rows of another collection, in any order.
    pub fn merge(&mut self, other: Top) {
        self.candidates.extend(other.candidates);
        self.cut();
    }

    fn cut(&mut self) {
        if self.candidates.len() > self.keep {
            let (_, last, _) = self.candidates.select_nth_unstable_by(self.keep - 1, ScoredRow::order);
            self.threshold = last.score;
            self.candidates.truncate(self.keep);
        }
    }

    /// The best, in no order.
    pub fn take(&mut self) -> Vec<ScoredRow> {
        self.cut();
        std::mem::take(&mut self.candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_best_and_breaks_ties_by_place() {
        let score = |row: u32| (row * 7919 % 101) as f32;
        for keep in [1, 7, 100, 5000] {
            let mut all: Vec<ScoredRow> =
                (0..1000).map(|row| ScoredRow { score: score(row), part_idx: 0, row }).collect();
            let mut whole = Top::new(keep);
            all.iter().for_each(|c| whole.push(*c));
            let (mut first, mut second) = (Top::new(keep), Top::new(keep));
            all[..300].iter().for_each(|c| first.push(*c));
            all[300..].iter().for_each(|c| second.push(*c));
            second.merge(first);
            all.sort_by(ScoredRow::order);
            let rows = |mut candidates: Vec<ScoredRow>| {
                candidates.sort_by(ScoredRow::order);
                candidates.iter().map(|c| c.row).collect::<Vec<_>>()
            };
            all.truncate(keep);
            let truth = rows(all);
            assert_eq!(rows(whole.take()), truth);
            assert_eq!(rows(second.take()), truth);
        }
    }
}
