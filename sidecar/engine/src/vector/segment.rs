//! One immutable file of vectors, read.
//!
//! ```text
//! header 64 B | sections, each on a multiple of 64 B | footer 256 B      (version 2, little endian)
//! header    magic 8, version u32, dim u32, rows u64, entries u64, zeros, checksum of the 56 bytes before it u64
//! sections  0 int8 rows   1 scale f32 per row   2 f16 rows      3 chunk id u64 per entry, ascending
//!           4 row u32 per entry   5 first place u32 per row + 1   6 entries u32 by row     (5 and 6: row -> entries)
//!           7 codes, blocks of 32 rows   8 code factor f32 per row   9 graph      (7 to 9: may be absent)
//! footer    magic 8, recall of the graph f32, zeros 4, file length u64, header checksum u64,
//!           length and checksum of each section 10 x 2 x u64, zeros, checksum of the 248 bytes before it u64
//! ```
//!
//! An entry says that a chunk has a row: equal vectors are one row with several entries. Entries are in ascending order
//! of chunk id, so a chunk is found by binary search and no id map is kept. Opening checks lengths, header and footer;
//! [`Segment::verify`] reads all. A checksum is the first eight bytes of SHA-256.
//!
//! Version 1, still read: sections 0 to 3 only, one entry per row in the same order, a footer of 64 bytes (magic 8,
//! checksum of each section 4 x u64, file length u64, header checksum u64, checksum u64).

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::bytes::{checksum, u32_at, u64_at};
use super::graph::{Graph, GraphLayout};
use super::{RowSource, codes, stride};
use crate::kernel::scan::CODE_BLOCK;
use crate::{Error, Result};

pub(super) const MAGIC: &[u8; 8] = b"offheapV";
pub(super) const FOOTER_MAGIC: &[u8; 8] = b"offheapF";
pub(super) const VERSION: u32 = 2;
pub(super) const EDGE: usize = 64;
pub(super) const FOOTER: usize = 256;
pub(super) const N_SECTIONS: usize = 10;
/// Where the table of sections begins in the footer.
pub(super) const TABLE: usize = 32;

const NAMES: [&str; N_SECTIONS] = [
    "int8 rows",
    "scales",
    "f16 rows",
    "chunk ids",
    "entry rows",
    "row starts",
    "row entries",
    "codes",
    "code factors",
    "graph",
];
const OF_VERSION_1: usize = 4;

/// A mapped segment file.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    map: Mmap,
    rows: usize,
    entries: usize,
    dim: usize,
    sections: [Section; N_SECTIONS],
    /// Sections of the file's version; beyond them all are empty.
    n_sections: usize,
    graph: Option<GraphLayout>,
    recall: f32,
    checksum: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Section {
    start: usize,
    len: usize,
    checksum: u64,
}

impl Segment {
    /// Maps the file at `path` and checks its lengths, header and footer. For tests and benches.
    pub fn open(path: &Path) -> Result<Segment> {
        Self::map(File::open(path).map_err(|e| Error::io("open", path, e))?, path)
    }

    /// Maps a file and checks its lengths, header and footer; `path` is for messages.
    pub fn map(file: File, path: &Path) -> Result<Segment> {
        let damaged = |problem: &str| Error::IndexDamaged { path: path.to_path_buf(), problem: problem.into() };
        let len = file.metadata().map_err(|e| Error::io("stat", path, e))?.len();
        if len < 2 * EDGE as u64 {
            return Err(damaged("shorter than a header and a footer"));
        }
        // SAFETY: segment files are written once under another name, renamed, and from then on only unlinked, which
        // leaves the map valid; this module never opens one for writing. The user must not truncate it in place.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))?;
        let header = &map[..EDGE];
        if &header[..8] != MAGIC {
            return Err(damaged("the header does not begin like a segment"));
        }
        if u64_at(header, 56) != checksum(&header[..56]) {
            return Err(damaged("header checksum"));
        }
        let version = u32_at(header, 8);
        let (footer_len, n_sections) = match version {
            1 => (EDGE, OF_VERSION_1),
            VERSION => (FOOTER, N_SECTIONS),
            // Of a later release, whole as far as one can tell.
            found => return Err(Error::IndexFormat { path: path.to_path_buf(), found, expected: VERSION }),
        };
        let dim = u32_at(header, 12) as usize;
        let count = |at: usize| usize::try_from(u64_at(header, at)).map_err(|_| damaged("too many rows"));
        let rows = count(16)?;
        let entries = if version == 1 { rows } else { count(24)? };
        let footer_start = map.len().checked_sub(footer_len).filter(|&start| start >= EDGE);
        let footer = &map[footer_start.ok_or_else(|| damaged("shorter than a header and a footer"))?..];
        if &footer[..8] != FOOTER_MAGIC || u64_at(footer, footer_len - 8) != checksum(&footer[..footer_len - 8]) {
            return Err(damaged("footer checksum"));
        }
        let (file_len, header_sum) = if version == 1 { (40, 48) } else { (16, 24) };
        if u64_at(footer, file_len) != map.len() as u64 || u64_at(footer, header_sum) != u64_at(header, 56) {
            return Err(damaged("header and footer belong to different files"));
        }

        let expected = section_lengths(rows, entries, dim).ok_or_else(|| damaged("too many rows"))?;
        let mut sections = [Section::default(); N_SECTIONS];
        let mut start = EDGE;
        for (i, section) in sections.iter_mut().enumerate().take(n_sections) {
            let (len, checksum) = match version {
                1 => (expected[i] as u64, u64_at(footer, 8 + i * 8)),
                _ => (u64_at(footer, TABLE + i * 16), u64_at(footer, TABLE + i * 16 + 8)),
            };
            let may_be_absent = i >= 7 && len == 0;
            let is_graph = i == 9;
            let len = usize::try_from(len).ok().filter(|&len| is_graph || may_be_absent || len == expected[i]);
            let len = len.ok_or_else(|| damaged(&format!("length of the {}", NAMES[i])))?;
            *section = Section { start, len, checksum };
            start = start.checked_add(len).and_then(|end| end.checked_next_multiple_of(EDGE)).unwrap_or(usize::MAX);
        }
        if start.checked_add(footer_len) != Some(map.len()) || (sections[7].len == 0) != (sections[8].len == 0) {
            return Err(damaged("its sections do not fill it"));
        }
        let Section { start, len, .. } = sections[9];
        let graph = match len {
            0 => None,
            _ => Some(GraphLayout::read(&map[start..start + len], rows).ok_or_else(|| damaged("shape of the graph"))?),
        };
        let recall = if version == 1 { 0.0 } else { f32::from_bits(u32_at(footer, 8)) };
        let checksum = u64_at(footer, footer_len - 8);
        Ok(Segment { path: path.to_path_buf(), rows, entries, dim, sections, n_sections, graph, recall, checksum, map })
    }

    /// Number of different vectors.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of chunks that have them, dead ones included.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Values per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Checksum of the footer, and so of everything in the file.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// The chunk of an entry.
    pub fn chunk_id(&self, entry: usize) -> u64 {
        u64_at(self.section(3), entry * 8)
    }

    /// The entry of `chunk_id`.
    pub fn entry_of(&self, chunk_id: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.chunk_id(middle).cmp(&chunk_id) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The row of an entry; one that does not exist where the file is damaged.
    pub fn row_of(&self, entry: usize) -> usize {
        if self.n_sections == OF_VERSION_1 { entry } else { u32_at(self.section(4), entry * 4) as usize }
    }

    /// The entries of a row, ascending; none where the file is damaged.
    pub fn entries_of(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        let (same, places) = if self.n_sections == OF_VERSION_1 {
            (row..row + 1, 0..0)
        } else {
            let starts = self.section(5);
            (0..0, u32_at(starts, row * 4) as usize..u32_at(starts, row * 4 + 4) as usize)
        };
        let listed = self.section(6).get(places.start * 4..places.end * 4).unwrap_or_default();
        let listed = listed.chunks_exact(4).map(|bytes| u32_at(bytes, 0) as usize);
        same.chain(listed.filter(|&entry| entry < self.entries))
    }

    /// The padded int8 rows of a range.
    pub fn int8_rows(&self, rows: Range<usize>) -> &[i8] {
        let stride = stride(self.dim);
        let bytes = &self.section(0)[rows.start * stride..rows.end * stride];
        // SAFETY: i8 has the size, the alignment and the valid values of u8.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
    }

    /// Whether there are codes.
    pub fn has_codes(&self) -> bool {
        self.sections[7].len > 0
    }

    /// The codes of a range of blocks of [`CODE_BLOCK`] rows.
    pub fn codes(&self, blocks: Range<usize>) -> &[u8] {
        let len = codes::block_len(self.dim);
        &self.section(7)[blocks.start * len..blocks.end * len]
    }

    /// The code factors of a block's rows; 0 behind the last row.
    pub fn code_factors(&self, block: usize) -> [f32; CODE_BLOCK] {
        let mut factors = [0f32; CODE_BLOCK];
        let bytes = &self.section(8)[block * CODE_BLOCK * 4..];
        for (factor, bytes) in factors.iter_mut().zip(bytes.chunks_exact(4)) {
            *factor = f32::from_bits(u32_at(bytes, 0));
        }
        factors
    }

    /// The graph, if there is one, and the recall that it had when it was built.
    pub fn graph(&self) -> Option<(Graph<'_>, f32)> {
        Some((self.graph.as_ref()?.over(self.section(9)), self.recall))
    }

    /// Reads the whole file and compares every section with its checksum; then what the sections say of each other.
    pub fn verify(&self) -> Result<()> {
        let damaged = |problem: String| Error::IndexDamaged { path: self.path.clone(), problem };
        let footer_len = if self.n_sections == OF_VERSION_1 { EDGE } else { FOOTER };
        for (i, name) in NAMES.iter().enumerate().take(self.n_sections) {
            let next = if i + 1 < self.n_sections { self.sections[i + 1].start } else { self.map.len() - footer_len };
            if checksum(&self.map[self.sections[i].start..next]) != self.sections[i].checksum {
                return Err(damaged(format!("checksum of the {name}")));
            }
        }
        if !(1..self.entries).all(|entry| self.chunk_id(entry - 1) < self.chunk_id(entry)) {
            return Err(damaged("chunk ids are not in order".into()));
        }
        let listed: usize =
            (0..self.rows).map(|row| self.entries_of(row).filter(|&e| self.row_of(e) == row).count()).sum();
        if listed != self.entries {
            return Err(damaged("rows and entries do not belong together".into()));
        }
        if self.graph().is_some_and(|(graph, _)| !graph.is_sound()) {
            return Err(damaged("the graph has a link to nowhere".into()));
        }
        Ok(())
    }

    fn section(&self, i: usize) -> &[u8] {
        &self.map[self.sections[i].start..][..self.sections[i].len]
    }
}

impl RowSource for Segment {
    fn int8(&self, row: usize) -> &[i8] {
        self.int8_rows(row..row + 1)
    }
    fn scale(&self, row: usize) -> f32 {
        f32::from_bits(u32_at(self.section(1), row * 4))
    }
    fn f16_bytes(&self, row: usize) -> &[u8] {
        &self.section(2)[row * self.dim * 2..][..self.dim * 2]
    }
}

/// Lengths of the sections when all are there; 0 for the graph. `None` when they do not fit the address space.
pub(super) fn section_lengths(rows: usize, entries: usize, dim: usize) -> Option<[usize; N_SECTIONS]> {
    Some([
        rows.checked_mul(stride(dim))?,
        rows.checked_mul(4)?,
        rows.checked_mul(dim.checked_mul(2)?)?,
        entries.checked_mul(8)?,
        entries.checked_mul(4)?,
        rows.checked_add(1)?.checked_mul(4)?,
        entries.checked_mul(4)?,
        rows.div_ceil(CODE_BLOCK).checked_mul(codes::block_len(dim))?,
        rows.checked_mul(4)?,
        0,
    ])
}
