//! The sizes of a model, and how many tokens fit in memory.

use crate::kernel::Heads;

/// Most bytes for the wide activations of one block of tokens.
const BLOCK_BYTES: usize = 8 << 20;
/// Most bytes for the activations that are kept of every token of a batch from layer to layer.
const TOKEN_BYTES: usize = 24 << 20;

/// The sizes that determine the memory of a forward pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Width of a token's vector between layers.
    pub hidden: usize,
    pub heads: Heads,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// The longest sequence that the model was trained for.
    pub context: usize,
}

impl Sizes {
    /// Most tokens in a batch: `target`, or the context length if that is longer, within [`TOKEN_BYTES`].
    pub(super) fn max_tokens(&self, target: usize) -> usize {
        let bytes = 4 * (self.hidden + self.heads.q_width() + 2 * self.heads.kv_width());
        target.max(self.context).min(TOKEN_BYTES / bytes).max(32)
    }

    /// Tokens in one block: as many as have wide activations within [`BLOCK_BYTES`].
    pub(super) fn block_tokens(&self, max_tokens: usize) -> usize {
        let bytes = 4 * (self.hidden + self.ffn) + 2 * self.widest();
        (BLOCK_BYTES / bytes).next_multiple_of(32).min(max_tokens)
    }

    /// Columns of the widest input of a matrix product.
    pub(super) fn widest(&self) -> usize {
        self.hidden.max(self.ffn).max(self.heads.q_width())
    }
}
