//! A kernel: the functions of one instruction set.

use super::attention::{Attention, AttentionScratch};
use super::linear::Linear;
use super::panel::Panel;
use super::scan;

/// Rounds rows of `cols` floats to 16 bits. `scales` receives the value of one unit of each block of columns, if the
/// kernel scales.
pub(crate) type RoundInput = unsafe fn(x: &[f32], cols: usize, rounded: &mut [u16], scales: &mut [f32]);

/// The functions of one instruction set.
///
/// SAFETY of calling any of them: the processor has the instruction set. [`choose`](super::choose) only returns kernels
/// that this processor can run.
pub struct Kernel {
    /// The name, as `OFFHEAP_KERNEL` takes it and `status` shows it.
    pub name: &'static str,
    /// Rows of weights in a panel.
    pub panel_rows: usize,
    /// Bytes of an unpacked panel, or of one of its blocks of columns, of a matrix with `max_cols` columns.
    pub(crate) panel_bytes: fn(max_cols: usize) -> usize,
    /// Rounds the input of matrix products to 16 bits; `None` if products read `f32`.
    pub(crate) round_input: Option<RoundInput>,
    /// Multiplies one panel of weights with every token of the input.
    pub(crate) linear: unsafe fn(&Linear<'_>, panel: usize, scratch: &mut Panel),
    /// Computes the attention of one head of one sequence.
    pub(crate) attention: unsafe fn(&Attention<'_>, head: usize, scratch: &mut AttentionScratch),
    /// Layer norm of each row of `weight.len()` floats, in place.
    pub(crate) layer_norm: unsafe fn(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32),
    /// Root mean square norm of each row of `weight.len()` floats, in place.
    pub(crate) rms_norm: unsafe fn(x: &mut [f32], weight: &[f32], eps: f32),
    /// Inner product of two rows of signed bytes, for the vector scan.
    pub(crate) dot_i8: unsafe fn(&[i8], &[i8]) -> i32,
    /// Inner products of one row of signed bytes with many.
    pub(crate) scan_i8: unsafe fn(query: &[i8], rows: &[i8], out: &mut [i32]),
    /// For each row of codes, the sum of the table entries that its codes select.
    pub(crate) scan_codes: unsafe fn(table: &[u8], codes: &[u8], out: &mut [u16]),
}

impl Kernel {
    /// A thread's working memory for products of up to `max_cols` columns with up to `max_tokens` tokens.
    pub fn panel(&self, max_cols: usize, max_tokens: usize) -> Panel {
        Panel::new((self.panel_bytes)(max_cols), max_tokens)
    }

    /// Whether matrix products read an input that [`Kernel::round_input`] has rounded to 16 bits.
    pub fn rounds_input(&self) -> bool {
        self.round_input.is_some()
    }

    /// Rounds rows of `cols` floats to the 16-bit numbers that products read; does nothing if products read floats.
    ///
    /// Panics unless `rounded` has the length of [`rounded_len`](super::rounded_len) or of `x`, and `scales` that of
    /// [`scales_len`](super::scales_len).
    pub fn round_input(&self, x: &[f32], cols: usize, rounded: &mut [u16], scales: &mut [f32]) {
        if let Some(round_input) = self.round_input {
            // SAFETY: `choose` only returns kernels that this processor can run.
            unsafe { round_input(x, cols, rounded, scales) }
        }
    }

    /// Computes panel number `panel`, of [`Kernel::panel_rows`] rows, of a linear layer for all tokens.
    ///
    /// # Safety
    /// No two threads may compute the same panel of a layer at the same time.
    #[inline]
    pub unsafe fn run_panel(&self, layer: &Linear<'_>, panel: usize, scratch: &mut Panel) {
        // SAFETY: `choose` only returns kernels that this processor can run; the rest is the caller's promise.
        unsafe { (self.linear)(layer, panel, scratch) }
    }

    /// Inner product of two rows of signed bytes; elements beyond the length of the shorter row are ignored.
    #[inline]
    pub fn dot_i8(&self, a: &[i8], b: &[i8]) -> i32 {
        // SAFETY: `choose` only returns kernels that this processor can run.
        unsafe { (self.dot_i8)(a, b) }
    }

    /// `out[i]` = inner product of `query` and row `i` of `rows`.
    ///
    /// Panics unless `rows` has `out.len()` rows of `query.len()` bytes.
    #[inline]
    pub fn scan_i8(&self, query: &[i8], rows: &[i8], out: &mut [i32]) {
        assert!(!query.is_empty() && rows.len() == out.len() * query.len());
        // SAFETY: `choose` only returns kernels that this processor can run.
        unsafe { (self.scan_i8)(query, rows, out) }
    }

    /// `out[i]` = sum over the positions of the table byte that the four bits of row `i` select, modulo 2^16.
    ///
    /// `table` is `n_positions` x 16 bytes; `codes` is blocks of [`scan::CODE_BLOCK`] rows, `table.len()` bytes each, in the
    /// layout that the constant describes. Panics unless `out` has one number for each row of the blocks.
    #[inline]
    pub fn scan_codes(&self, table: &[u8], codes: &[u8], out: &mut [u16]) {
        assert!(!table.is_empty() && table.len().is_multiple_of(scan::CODE_POSITION));
        assert!(out.len().is_multiple_of(scan::CODE_BLOCK));
        assert_eq!(codes.len(), out.len() / scan::CODE_BLOCK * table.len());
        // SAFETY: `choose` only returns kernels that this processor can run.
        unsafe { (self.scan_codes)(table, codes, out) }
    }
}
