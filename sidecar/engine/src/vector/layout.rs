//! The layout of a segment file: what `write.rs` writes and `segment.rs` reads.
//!
//! ```text
//! header 64 B | sections, each on a multiple of 64 B | footer 256 B      (version 2, little endian)
//! header    magic 8, version u32, dim u32, rows u64, entries u64, zeros, checksum of the 56 bytes before it u64
//! sections  in the order of [`SectionId`]
//! footer    magic 8, recall of the graph f32, zeros 4, file length u64, header checksum u64,
//!           length and checksum of each section 10 x 2 x u64, zeros, checksum of the 248 bytes before it u64
//! ```
//!
//! The checksum of a section counts the zeros that fill it up to the next multiple of 64.

use super::bytes::{u32_at, u64_at};
use super::{codes, stride};
use crate::kernel::scan::CODE_BLOCK;

/// First bytes of the file.
pub(super) const MAGIC: &[u8; 8] = b"offheapV";
/// First bytes of the footer.
pub(super) const FOOTER_MAGIC: &[u8; 8] = b"offheapF";
/// The version that is written.
pub(super) const VERSION: u32 = 2;
/// Length of the header; sections begin at multiples of it.
pub(super) const EDGE: usize = 64;
/// Length of the footer.
pub(super) const FOOTER: usize = 256;
/// Where the table of sections begins in the footer.
pub(super) const TABLE: usize = 32;

/// The sections of a segment file, in their order in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionId {
    /// int8 values, padded to [`stride`] for each row.
    Int8Rows,
    /// f32 per row: the value of one int8 step.
    Scales,
    /// f16 values per row.
    F16Rows,
    /// u64 per entry, ascending.
    ChunkIds,
    /// u32 per entry: its row.
    EntryRows,
    /// u32 per row and one more: where the row's entries begin in [`SectionId::RowEntries`].
    RowStarts,
    /// u32 per entry: the entries, row by row.
    RowEntries,
    /// Blocks of [`CODE_BLOCK`] rows, one bit per value; may be absent.
    Codes,
    /// f32 per row, absent with the codes.
    CodeFactors,
    /// Links of the rows; may be absent.
    Graph,
}

impl SectionId {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All of them, in order.
    pub const ALL: [SectionId; SectionId::COUNT] = [
        SectionId::Int8Rows,
        SectionId::Scales,
        SectionId::F16Rows,
        SectionId::ChunkIds,
        SectionId::EntryRows,
        SectionId::RowStarts,
        SectionId::RowEntries,
        SectionId::Codes,
        SectionId::CodeFactors,
        SectionId::Graph,
    ];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            SectionId::Int8Rows => "int8 rows",
            SectionId::Scales => "scales",
            SectionId::F16Rows => "f16 rows",
            SectionId::ChunkIds => "chunk ids",
            SectionId::EntryRows => "entry rows",
            SectionId::RowStarts => "row starts",
            SectionId::RowEntries => "row entries",
            SectionId::Codes => "codes",
            SectionId::CodeFactors => "code factors",
            SectionId::Graph => "graph",
        }
    }

    /// Whether the section may have this length in a file of `shape`.
    pub fn may_be_long(self, len: usize, shape: Shape) -> bool {
        match self {
            SectionId::Graph => true, // its own header says how long it is
            SectionId::Codes | SectionId::CodeFactors if len == 0 => true,
            _ => self.len(shape) == Some(len),
        }
    }

    /// Its length where it is there; 0 for the graph. `None` when that does not fit the address space.
    pub fn len(self, shape: Shape) -> Option<usize> {
        let Shape { rows, entries, dim } = shape;
        match self {
            SectionId::Int8Rows => rows.checked_mul(stride(dim)),
            SectionId::F16Rows => rows.checked_mul(dim.checked_mul(2)?),
            SectionId::Scales | SectionId::CodeFactors => rows.checked_mul(4),
            SectionId::ChunkIds => entries.checked_mul(8),
            SectionId::EntryRows | SectionId::RowEntries => entries.checked_mul(4),
            SectionId::RowStarts => rows.checked_add(1)?.checked_mul(4),
            SectionId::Codes => rows.div_ceil(CODE_BLOCK).checked_mul(codes::block_len(dim)),
            SectionId::Graph => Some(0),
        }
    }
}

/// The counts in a segment's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Different vectors.
    pub rows: usize,
    /// Chunks that have them.
    pub entries: usize,
    /// Values per vector.
    pub dim: usize,
}

impl Shape {
    /// Whether every section of such a file fits the address space.
    pub fn fits(self) -> bool {
        SectionId::ALL.iter().all(|id| id.len(self).is_some())
    }
}

/// What a footer says; its own magic and checksum are checked by the caller.
pub(super) struct Footer {
    /// Length of the whole file.
    pub file_len: u64,
    /// Checksum in the header that belongs to it.
    pub header_checksum: u64,
    /// Recall of the graph when it was built.
    pub recall: f32,
    /// Length and checksum of each section of the file's version, in order.
    pub sections: Vec<(u64, u64)>,
}

impl Footer {
    /// The footer in [`FOOTER`] bytes of version 2.
    pub fn read(bytes: &[u8]) -> Footer {
        let entry = |i: usize| (u64_at(bytes, TABLE + i * 16), u64_at(bytes, TABLE + i * 16 + 8));
        Footer {
            file_len: u64_at(bytes, 16),
            header_checksum: u64_at(bytes, 24),
            recall: f32::from_bits(u32_at(bytes, 8)),
            sections: (0..SectionId::COUNT).map(entry).collect(),
        }
    }
}
