//! The buffers of a forward pass.

use std::sync::Mutex;

use super::sizes::Sizes;
use crate::kernel::{AttentionScratch, Buffer, Kernel, Panel, rounded_len, scales_len};

/// The activations of one batch. Allocated once: a forward pass only allocates lists of tasks and positions.
pub(super) struct Arena {
    /// The residual stream, `(tokens, hidden)`.
    pub x: Buffer<f32>,
    /// Queries, which attention replaces by its output, `(tokens, q_width)`.
    pub q: Buffer<f32>,
    /// Keys and values, `(tokens, 2 * kv_width)`.
    pub kv: Buffer<f32>,
    /// Normalised inputs of one block of tokens, `(block_tokens, hidden)`; empty for models that normalise afterwards.
    pub normed: Buffer<f32>,
    /// Wide activations of one block of tokens, `(block_tokens, ffn)`.
    pub up: Buffer<f32>,
    /// Most tokens in a block.
    pub block_tokens: usize,
    /// Working memory of the steps.
    pub scratch: Scratch,
}

/// The input of a matrix product in 16 bits, and each thread's working memory.
pub(super) struct Scratch {
    pub rounded: Buffer<u16>,
    pub scales: Buffer<f32>,
    pub workers: Vec<Mutex<(Panel, AttentionScratch)>>,
}

impl Arena {
    /// Buffers for batches of up to `max_tokens`. `norms_first`: the model normalises the input of each step.
    pub(super) fn new(sizes: &Sizes, max_tokens: usize, norms_first: bool, kernel: &Kernel, threads: usize) -> Self {
        let block_tokens = sizes.block_tokens(max_tokens);
        let (widest, longest) = (sizes.widest(), max_tokens.min(sizes.context));
        let (rounded, scales) = match kernel.rounds_input() {
            true => (rounded_len(block_tokens, widest), scales_len(block_tokens, widest)),
            false => (0, 0),
        };
        let worker = || (kernel.panel(widest, block_tokens), AttentionScratch::new(longest, sizes.heads.dim));
        Arena {
            x: Buffer::new(max_tokens * sizes.hidden),
            q: Buffer::new(max_tokens * sizes.heads.q_width()),
            kv: Buffer::new(max_tokens * 2 * sizes.heads.kv_width()),
            normed: Buffer::new(if norms_first { block_tokens * sizes.hidden } else { 0 }),
            up: Buffer::new(block_tokens * sizes.ffn),
            block_tokens,
            scratch: Scratch {
                rounded: Buffer::new(rounded),
                scales: Buffer::new(scales),
                workers: (0..threads.max(1)).map(|_| worker().into()).collect(),
            },
        }
    }
}
