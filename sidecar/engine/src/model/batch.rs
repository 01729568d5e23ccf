//! The input of a forward pass.

use std::ops::Range;

/// A batch of sequences of different lengths, concatenated without padding.
pub struct Batch<'a> {
    /// Token ids of all sequences.
    pub ids: &'a [u32],
    /// End of each sequence in `ids`; ascending, the last is `ids.len()`.
    pub ends: &'a [usize],
}

impl Batch<'_> {
    /// The range of each sequence in `ids`.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    /// The position of each token in its sequence.
    pub(super) fn positions(&self) -> Vec<usize> {
        self.sequences().flat_map(|s| 0..s.len()).collect()
    }
}

/// Splits the tokens `0..tokens` into blocks of at most `block_tokens`.
pub(super) fn blocks(tokens: usize, block_tokens: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens).step_by(block_tokens).map(move |start| start..tokens.min(start + block_tokens))
}
