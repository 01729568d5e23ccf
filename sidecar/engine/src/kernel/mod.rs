//! The arithmetic: one implementation for each instruction set, chosen when the program starts.
//!
//! A [`Kernel`] is a table of functions. All kernels are made from the same generic algorithms ([`panel`], [`attention`],
//! [`rowwise`]) over a small vector type ([`simd`]); an instruction set adds that type and a file that enables its
//! features. The `portable` kernel defines the results; the others are tested against it.
//!
//! Invariant: the value of an output element depends on its row of weights and its token only, not on how the work was
//! divided into tiles, threads or batches. A vector has the same bits alone and in any batch.
//!
//! # How a matrix product `out = x W^T` is divided
//!
//! ```text
//!                   |<----------------- cols ----------------->|      A row of W is stored as quantised blocks of 32 or
//!              W    +------------+------------+--------+-------+ -    256 weights with their own scales (crate::quant).
//!  (rows, cols)     |  512 cols  |  512 cols  |  ...   | rest  | |    PANEL: `panel_rows` rows. One task of the `Pool`
//!                   |(BLOCK_COLS)|            |        |       | |    computes one panel for all tokens.
//!                   +------------+------------+--------+-------+ -    COLUMN BLOCK: what `MicroKernel::unpack` converts
//!                   |        next panel                        |      at once, into `Panel::weights`.
//!
//!            out    |<-panel rows->|                                  TILE: M tokens x R rows of `Panel::sums`, whose
//!  (tokens, rows)   +--+--+--+-----+ -                                partial sums are in registers (accumulators) while
//!                   |  |  |  | ... | | M tokens                       the loop runs over the columns of the block.
//!                   +--+--+--+-----+ -
//!                    R rows
//!
//!  for each panel (in parallel)                          kernel               panel rows   weights   tile M x R
//!    for each column block: unpack it, then              portable, neon               16       f32        4 x 2
//!      for each M tokens                                 avx2, avxvnni                24       i16        2 x 4
//!        for each R rows of the panel: one tile          avx512, avx512vnni           32       i16        6 x 4
//!          for each step of columns: multiply and add    amx                          32      bf16      32 x 32
//!    for each token: bias, activation, store in `out`
//! ```
//!
//! The i16 kernels use narrower tiles for the last tokens (1 x 4; avx512 3 x 4 before that), the f32 kernels repeat the
//! last token. The amx kernel has no column blocks: it unpacks all columns of a panel, and a tile is 2 x 2 tile registers
//! of 16 x 16 sums (1 x 2 for at most 16 tokens) over all columns.

pub mod simd;
pub mod buffer;
pub mod linear;
pub mod panel;
pub mod float32;
#[cfg(target_arch = "x86_64")]
mod int16;
pub mod attention;
pub mod rowwise;
pub mod scan;
pub mod pool;
mod table;
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
pub use linear::{Activation, Columns, Combine, Input, Linear, rounded_len, scales_len};
pub use panel::Panel;
pub use pool::Pool;
pub use table::Kernel;

/// A kernel, and whether this processor can run it.
type Entry = (&'static Kernel, fn() -> bool);

/// Every kernel of this build, fastest first.
static KERNELS: &[Entry] = &[
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

/// The fastest kernel that this processor can run, or the one named `forced`.
///
/// `Err` has the names of the kernels that this processor can run, fastest first.
pub fn choose(forced: Option<&str>) -> Result<&'static Kernel, Vec<&'static str>> {
    let mut usable = KERNELS.iter().filter(|(_, runs)| runs()).map(|(kernel, _)| *kernel);
    let found = match forced {
        None => usable.next(),
        Some(name) => usable.find(|kernel| kernel.name == name),
    };
    found.ok_or_else(|| usable_names().collect())
}

/// Names of the kernels that this processor can run, fastest first.
pub fn usable_names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().filter(|(_, runs)| runs()).map(|(kernel, _)| kernel.name)
}

/// Names of the kernels of this build that this processor cannot run.
pub fn unusable_names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().filter(|(_, runs)| !runs()).map(|(kernel, _)| kernel.name)
}

#[cfg(test)]
mod tests;
