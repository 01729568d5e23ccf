//! One immutable file of vectors, read. `layout.rs` has the format.
//!
//! An entry says that a chunk has a row: equal vectors are one row with several entries. Entries are in ascending order
//! of chunk id, so a chunk is found by binary search and no id map is kept. Opening checks lengths, header and footer;
//! [`Segment::verify`] reads all. A checksum is the first eight bytes of SHA-256. Files of version 1 (`format_1.rs`)
//! are read too.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::bytes::{checksum, u32_at, u64_at};
use super::graph::{Graph, GraphLayout};
use super::layout::{EDGE, FOOTER, FOOTER_MAGIC, Footer, MAGIC, SectionId, Shape, VERSION};
use super::{RowSource, codes, format_1, stride};
use crate::kernel::scan::CODE_BLOCK;
use crate::{Error, Result};

/// A mapped segment file.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    map: Mmap,
    shape: Shape,
    /// By [`SectionId`]; those that the file's version does not have are empty.
    sections: [Section; SectionId::COUNT],
    /// How many sections the file's version has.
    n_sections: usize,
    /// Entry `i` has row `i`, as in version 1, which has no sections that map entries to rows.
    rows_are_entries: bool,
    graph: Option<GraphLayout>,
    recall: f32,
    checksum: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Section {
    start: usize,
    len: usize,
    /// Where the next section begins, or the footer.
    end: usize,
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
        let footer_len = match version {
            1 => format_1::FOOTER,
            VERSION => FOOTER,
            // A later release wrote it; its checksum is right.
            found => return Err(Error::IndexFormat { path: path.to_path_buf(), found, expected: VERSION }),
        };
        let dim = u32_at(header, 12) as usize;
        let count = |at: usize| usize::try_from(u64_at(header, at)).map_err(|_| damaged("too many rows"));
        let rows = count(16)?;
        let shape = Shape { rows, entries: if version == 1 { rows } else { count(24)? }, dim };
        let footer_start = map.len().checked_sub(footer_len).filter(|&start| start >= EDGE);
        let footer_start = footer_start.ok_or_else(|| damaged("shorter than a header and a footer"))?;
        let bytes = &map[footer_start..];
        let footer_sum = u64_at(bytes, footer_len - 8);
        if &bytes[..8] != FOOTER_MAGIC || footer_sum != checksum(&bytes[..footer_len - 8]) {
            return Err(damaged("footer checksum"));
        }
        if !shape.fits() {
            return Err(damaged("too many rows"));
        }
        let footer = if version == 1 { format_1::footer(bytes, shape) } else { Some(Footer::read(bytes)) };
        let footer = footer.ok_or_else(|| damaged("too many rows"))?;
        if footer.file_len != map.len() as u64 || footer.header_checksum != u64_at(header, 56) {
            return Err(damaged("header and footer belong to different files"));
        }
        let sections = place_sections(&footer, shape, footer_start).map_err(|problem| damaged(&problem))?;
        let Section { start, len, .. } = sections[SectionId::Graph as usize];
        let graph = match len {
            0 => None,
            _ => Some(GraphLayout::read(&map[start..start + len], rows).ok_or_else(|| damaged("shape of the graph"))?),
        };
        Ok(Segment {
            path: path.to_path_buf(),
            shape,
            sections,
            n_sections: footer.sections.len(),
            rows_are_entries: version == 1,
            graph,
            recall: footer.recall,
            checksum: footer_sum,
            map,
        })
    }

    /// Number of different vectors.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Number of entries: chunks with a row, dead ones included.
    pub fn entries(&self) -> usize {
        self.shape.entries
    }

    /// Values per vector.
    pub fn dim(&self) -> usize {
        self.shape.dim
    }

    /// Checksum of the footer, and so of everything in the file.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// The chunk of an entry.
    pub fn chunk_id(&self, entry: usize) -> u64 {
        u64_at(self.section(SectionId::ChunkIds), entry * 8)
    }

    /// The entry of `chunk_id`.
    pub fn entry_of(&self, chunk_id: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.shape.entries);
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
        if self.rows_are_entries { entry } else { u32_at(self.section(SectionId::EntryRows), entry * 4) as usize }
    }

    /// The entries of a row, ascending; none where the file is damaged.
    pub fn entries_of(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        let (same, places) = if self.rows_are_entries {
            (row..row + 1, 0..0)
        } else {
            let starts = self.section(SectionId::RowStarts);
            (0..0, u32_at(starts, row * 4) as usize..u32_at(starts, row * 4 + 4) as usize)
        };
        let listed = self.section(SectionId::RowEntries).get(places.start * 4..places.end * 4).unwrap_or_default();
        let listed = listed.chunks_exact(4).map(|bytes| u32_at(bytes, 0) as usize);
        same.chain(listed.filter(|&entry| entry < self.shape.entries))
    }

    /// The padded int8 rows of a range.
    pub fn int8_rows(&self, rows: Range<usize>) -> &[i8] {
        let stride = stride(self.shape.dim);
        let bytes = &self.section(SectionId::Int8Rows)[rows.start * stride..rows.end * stride];
        // SAFETY: i8 has the size, the alignment and the valid values of u8.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
    }

    /// Whether there are codes.
    pub fn has_codes(&self) -> bool {
        !self.section(SectionId::Codes).is_empty()
    }

    /// The codes of a range of blocks of [`CODE_BLOCK`] rows.
    pub fn codes(&self, blocks: Range<usize>) -> &[u8] {
        let len = codes::block_len(self.shape.dim);
        &self.section(SectionId::Codes)[blocks.start * len..blocks.end * len]
    }

    /// The code factors of a block's rows; 0 behind the last row.
    pub fn code_factors(&self, block: usize) -> [f32; CODE_BLOCK] {
        let mut factors = [0f32; CODE_BLOCK];
        let bytes = &self.section(SectionId::CodeFactors)[block * CODE_BLOCK * 4..];
        for (factor, bytes) in factors.iter_mut().zip(bytes.chunks_exact(4)) {
            *factor = f32::from_bits(u32_at(bytes, 0));
        }
        factors
    }

    /// The graph, if there is one, and the recall that it had when it was built.
    pub fn graph(&self) -> Option<(Graph<'_>, f32)> {
        Some((self.graph.as_ref()?.over(self.section(SectionId::Graph)), self.recall))
    }

    /// Reads the whole file: compares every section with its checksum, then checks that the sections fit each other.
    pub fn verify(&self) -> Result<()> {
        let damaged = |problem: String| Error::IndexDamaged { path: self.path.clone(), problem };
        for (id, section) in SectionId::ALL.iter().zip(&self.sections).take(self.n_sections) {
            if checksum(&self.map[section.start..section.end]) != section.checksum {
                return Err(damaged(format!("checksum of the {}", id.name())));
            }
        }
        if !(1..self.shape.entries).all(|entry| self.chunk_id(entry - 1) < self.chunk_id(entry)) {
            return Err(damaged("chunk ids are not in order".into()));
        }
        let listed: usize =
            (0..self.shape.rows).map(|row| self.entries_of(row).filter(|&e| self.row_of(e) == row).count()).sum();
        if listed != self.shape.entries {
            return Err(damaged("rows and entries do not belong together".into()));
        }
        if self.graph().is_some_and(|(graph, _)| !graph.is_sound()) {
            return Err(damaged("the graph has a link to nowhere".into()));
        }
        Ok(())
    }

    fn section(&self, id: SectionId) -> &[u8] {
        let Section { start, len, .. } = self.sections[id as usize];
        &self.map[start..][..len]
    }
}

impl RowSource for Segment {
    fn int8(&self, row: usize) -> &[i8] {
        self.int8_rows(row..row + 1)
    }
    fn scale(&self, row: usize) -> f32 {
        f32::from_bits(u32_at(self.section(SectionId::Scales), row * 4))
    }
    fn f16_bytes(&self, row: usize) -> &[u8] {
        &self.section(SectionId::F16Rows)[row * self.shape.dim * 2..][..self.shape.dim * 2]
    }
}

/// Where the sections lie, or what is wrong with what the footer says of them.
fn place_sections(
    footer: &Footer,
    shape: Shape,
    footer_start: usize,
) -> std::result::Result<[Section; SectionId::COUNT], String> {
    let mut sections = [Section::default(); SectionId::COUNT];
    let mut start = EDGE;
    for ((section, id), &(len, checksum)) in sections.iter_mut().zip(SectionId::ALL).zip(&footer.sections) {
        let len = usize::try_from(len).ok().filter(|&len| id.may_be_long(len, shape));
        let len = len.ok_or_else(|| format!("length of the {}", id.name()))?;
        let end = start.checked_add(len).and_then(|end| end.checked_next_multiple_of(EDGE)).unwrap_or(usize::MAX);
        *section = Section { start, len, end, checksum };
        start = end;
    }
    let is_empty = |id: SectionId| sections[id as usize].len == 0;
    if start != footer_start || is_empty(SectionId::Codes) != is_empty(SectionId::CodeFactors) {
        return Err("its sections do not fill it".into());
    }
    Ok(sections)
}
