//! The arithmetic, once per instruction set, chosen when the program runs.
//!
//! A [`Kernel`] is a table of functions. Every table is made from the same generic algorithms
//! ([`linear`], [`attention`], [`rowwise`]) over a small vector type ([`simd`]); an instruction set adds that
//! type and a file that enables its features. `portable` is the truth the others are tested against.
//!
//! Invariant: the value of one output element depends on its own row of weights and its own token only, never
//! on how the work was cut into tiles, threads or batches. A vector is the same bits alone and in any batch.

pub mod simd;
pub mod buffer;
pub mod linear;
#[cfg(target_arch = "x86_64")]
mod words;
pub mod attention;
pub mod rowwise;
pub mod scan;
pub mod pool;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod scan_x86;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "aarch64")]
mod neon;

pub use attention::{Attention, AttentionScratch, Heads};
pub use buffer::{Buffer, Plain};
pub use linear::{Activation, Columns, Combine, Input, Linear, Panel, narrow_len, scales_len};
pub use pool::Pool;

/// Rounds rows of `cols` floats to 16 bits, and says what a step of each block is worth, where that differs.
pub(crate) type Narrow = unsafe fn(x: &[f32], cols: usize, out: &mut [u16], scales: &mut [f32]);

/// One instruction set's functions.
///
/// SAFETY of calling any of them: the processor has the features of `name`; [`choose`] only gives out such tables.
pub struct Kernel {
    /// The name `OFFHEAP_KERNEL` takes and `status` shows.
    pub name: &'static str,
    /// Rows of weights in a panel.
    pub panel_rows: usize,
    /// Bytes that a panel of so many columns needs when it is unpacked.
    pub(crate) panel_bytes: fn(max_cols: usize) -> usize,
    /// Rounds activations to 16 bits, where `linear` wants them so: once per step, not once per panel.
    pub(crate) narrow: Option<Narrow>,
    /// Multiplies one panel of weight rows with every token of the micro-batch.
    pub(crate) linear: unsafe fn(&Linear<'_>, panel: usize, scratch: &mut Panel),
    /// Attention of one sequence's one head.
    pub(crate) attention: unsafe fn(&Attention<'_>, head: usize, scratch: &mut AttentionScratch),
    /// `x = layer_norm(x)`, rows of `weight.len()`.
    pub(crate) layer_norm: unsafe fn(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32),
    /// `x = rms_norm(x)`, likewise.
    pub(crate) rms_norm: unsafe fn(x: &mut [f32], weight: &[f32], eps: f32),
    /// Inner product of two rows of signed bytes, for the vector scan.
    pub(crate) dot_i8: unsafe fn(&[i8], &[i8]) -> i32,
    /// Inner products of one row of signed bytes with many.
    pub(crate) scan_i8: unsafe fn(query: &[i8], rows: &[i8], out: &mut [i32]),
    /// Sums of table entries that the rows' codes choose.
    pub(crate) scan_codes: unsafe fn(table: &[u8], codes: &[u8], out: &mut [u16]),
}

impl Kernel {
    /// A thread's scratch for products of up to `max_cols` columns with up to `max_tokens`.
    pub fn panel(&self, max_cols: usize, max_tokens: usize) -> Panel {
        Panel::new((self.panel_bytes)(max_cols), max_tokens)
    }

    /// Whether products read [`Kernel::narrow`]'s words.
    pub fn has_narrow(&self) -> bool {
        self.narrow.is_some()
    }

    /// Rounds rows of `cols` floats to the words that products read; nothing where they read floats.
    ///
    /// Panics unless `words` and `scales` are as long as [`narrow_len`] and [`scales_len`] say, or `words` as long as `x`.
    pub fn narrow(&self, x: &[f32], cols: usize, words: &mut [u16], scales: &mut [f32]) {
        if let Some(narrow) = self.narrow {
            // SAFETY: `choose` only gives out tables that this processor can run.
            unsafe { narrow(x, cols, words, scales) }
        }
    }

    /// Multiplies one panel, of [`Kernel::panel_rows`], of a job with all its tokens.
    ///
    /// # Safety
    /// No two threads may run the same panel of a job at the same time.
    #[inline]
    pub unsafe fn run_panel(&self, job: &Linear<'_>, panel: usize, scratch: &mut Panel) {
        // SAFETY: as above, and the caller's.
        unsafe { (self.linear)(job, panel, scratch) }
    }

    /// Inner product of two rows of signed bytes; the shorter length counts.
    #[inline]
    pub fn dot_i8(&self, a: &[i8], b: &[i8]) -> i32 {
        // SAFETY: `choose` only gives out tables that this processor can run.
        unsafe { (self.dot_i8)(a, b) }
    }

    /// `out[i]` = inner product of `query` and row `i` of `rows`.
    ///
    /// Panics unless `rows` is `out.len()` rows of `query.len()` bytes.
    #[inline]
    pub fn scan_i8(&self, query: &[i8], rows: &[i8], out: &mut [i32]) {
        assert!(!query.is_empty() && rows.len() == out.len() * query.len());
        // SAFETY: as above.
        unsafe { (self.scan_i8)(query, rows, out) }
    }

    /// `out[i]` = sum over the positions of the byte of `table` that four bits of row `i` choose, modulo 2^16.
    ///
    /// `table` is `n_positions` x 16 bytes; `codes` is blocks of [`scan::CODE_BLOCK`] rows, `table.len()` bytes each,
    /// laid out as the constant says. Panics unless `out` has one word for each row of the blocks.
    #[inline]
    pub fn scan_codes(&self, table: &[u8], codes: &[u8], out: &mut [u16]) {
        assert!(!table.is_empty() && table.len().is_multiple_of(scan::CODE_POSITION));
        assert!(out.len().is_multiple_of(scan::CODE_BLOCK));
        assert_eq!(codes.len(), out.len() / scan::CODE_BLOCK * table.len());
        // SAFETY: as above.
        unsafe { (self.scan_codes)(table, codes, out) }
    }
}

/// A table, and whether this processor can run it.
type Entry = (&'static Kernel, fn() -> bool);

/// Every table this build has, best first.
static TABLES: &[Entry] = &[
    #[cfg(target_arch = "x86_64")]
    (&amx::AMX, amx::has_amx),
    #[cfg(target_arch = "x86_64")]
    (&x86::AVX512_VNNI, x86::has_avx512_vnni),
    #[cfg(target_arch = "x86_64")]
    (&x86::AVX512, x86::has_avx512),
    #[cfg(target_arch = "x86_64")]
    (&x86::AVX_VNNI, x86::has_avx_vnni),
    #[cfg(target_arch = "x86_64")]
    (&x86::AVX2, x86::has_avx2),
    #[cfg(target_arch = "aarch64")]
    (&neon::NEON, || true),
    (&portable::PORTABLE, || true),
];

/// The best kernel of this processor, or the one asked for by name.
///
/// `Err` carries the names that this processor can run, best first.
pub fn choose(forced: Option<&str>) -> Result<&'static Kernel, Vec<&'static str>> {
    let mut usable = TABLES.iter().filter(|(_, runs)| runs()).map(|(kernel, _)| *kernel);
    let found = match forced {
        None => usable.next(),
        Some(name) => usable.find(|kernel| kernel.name == name),
    };
    found.ok_or_else(|| usable_names().collect())
}

/// The kernels that this processor can run, best first.
pub fn usable_names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().filter(|(_, runs)| runs()).map(|(kernel, _)| kernel.name)
}

/// The kernels of this build that this processor cannot run.
pub fn unusable_names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().filter(|(_, runs)| !runs()).map(|(kernel, _)| kernel.name)
}

#[cfg(test)]
mod tests;
