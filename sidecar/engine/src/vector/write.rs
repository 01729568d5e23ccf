//! One immutable file of vectors, written. `layout.rs` has the format.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::bytes::{checksum, first_u64};
use super::graph::{self, GraphPlan};
use super::layout::{EDGE, FOOTER, FOOTER_MAGIC, MAGIC, SectionId, Shape, TABLE, VERSION};
use super::{RowSource, codes};
use crate::kernel::scan::CODE_BLOCK;
use crate::{Error, Result};

/// Segments of fewer rows have no codes: scanning their int8 rows is as fast as scanning codes and rescoring.
pub const CODES_ROWS: usize = 4_096;

/// A chunk and where its vector is now.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// The chunk.
    pub chunk_id: u64,
    /// Where its row is.
    pub source: &'a dyn RowSource,
    /// The row in the source.
    pub row: usize,
}

type Row<'a> = (&'a dyn RowSource, usize);

/// Writes `entries` to a new file at `path`, as [`write_to`] does. For tests and benches.
pub fn write(path: &Path, dim: usize, entries: &[Entry<'_>], graph: Option<&GraphPlan<'_>>) -> Result<u64> {
    let file = File::create_new(path).map_err(|e| Error::io("write", path, e))?;
    write_to(file, path, dim, entries, graph)
}

/// Writes `entries` to an empty file and makes it durable; returns its checksum. `path` is for messages.
///
/// `entries` must ascend by chunk id. Equal rows are written once. The rows are streamed from where they are, so
/// merging mapped segments needs a few bytes of heap per row; a graph needs 700. Errors: [`Error::Cancelled`] while the
/// graph is built, [`Error::Io`].
pub fn write_to(
    file: File,
    path: &Path,
    dim: usize,
    entries: &[Entry<'_>],
    graph: Option<&GraphPlan<'_>>,
) -> Result<u64> {
    let io = |e| Error::io("write", path, e);
    let (mut rows, mut entry_rows) = unique(entries);
    let mut links = None;
    if let Some(plan) = graph.filter(|_| !rows.is_empty()) {
        let built = graph::build(&rows, plan)?;
        let mut place = vec![0u32; rows.len()];
        for (point, &row) in built.order.iter().enumerate() {
            place[row as usize] = point as u32;
        }
        rows = built.order.iter().map(|&row| rows[row as usize]).collect();
        entry_rows.iter_mut().for_each(|row| *row = place[*row as usize]);
        links = Some((built.bytes, built.recall));
    }
    let graph = links.as_ref().map(|(bytes, recall)| (bytes.as_slice(), *recall));
    let contents = Contents { dim, entries, rows: &rows, entry_rows: &entry_rows, graph };
    write_sections(file, &contents).map_err(io)
}

/// The different rows in order of their first entry, and the row of each entry.
fn unique<'a>(entries: &[Entry<'a>]) -> (Vec<Row<'a>>, Vec<u32>) {
    let mut rows: Vec<Row<'a>> = Vec::with_capacity(entries.len());
    let mut seen: HashMap<u64, u32> = HashMap::with_capacity(entries.len());
    let mut entry_rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes_of(entry.source.int8(entry.row)));
        hasher.write_u32(entry.source.scale(entry.row).to_bits());
        let next = u32::try_from(rows.len()).expect("a segment has fewer than 2^32 rows");
        let row = match seen.entry(hasher.finish()) {
            Slot::Occupied(first) if same(rows[*first.get() as usize], (entry.source, entry.row)) => *first.get(),
            // A different row with the same hash is stored too; rows equal to it are not recognised.
            Slot::Occupied(_) => next,
            Slot::Vacant(slot) => *slot.insert(next),
        };
        if row == next {
            rows.push((entry.source, entry.row));
        }
        entry_rows.push(row);
    }
    (rows, entry_rows)
}

fn same((a, i): Row<'_>, (b, j): Row<'_>) -> bool {
    a.scale(i).to_bits() == b.scale(j).to_bits() && a.int8(i) == b.int8(j) && a.f16_bytes(i) == b.f16_bytes(j)
}

fn bytes_of(row: &[i8]) -> &[u8] {
    // SAFETY: u8 has the size, the alignment and the valid values of i8.
    unsafe { std::slice::from_raw_parts(row.as_ptr().cast::<u8>(), row.len()) }
}

/// The sections that map rows to entries: where each row's entries begin in the list, and the list.
fn by_row(n_rows: usize, entry_rows: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; n_rows + 1];
    entry_rows.iter().for_each(|&row| starts[row as usize + 1] += 1);
    (0..n_rows).for_each(|row| starts[row + 1] += starts[row]);
    let mut next = starts.clone();
    let mut listed = vec![0u32; entry_rows.len()];
    for (entry, &row) in entry_rows.iter().enumerate() {
        let place = &mut next[row as usize];
        listed[*place as usize] = entry as u32;
        *place += 1;
    }
    (starts, listed)
}

/// What a segment file is written from: its entries, their different rows, the row of each entry, and the graph over
/// the rows with its recall.
struct Contents<'a> {
    dim: usize,
    entries: &'a [Entry<'a>],
    rows: &'a [Row<'a>],
    entry_rows: &'a [u32],
    graph: Option<(&'a [u8], f32)>,
}

fn write_sections(file: File, contents: &Contents<'_>) -> std::io::Result<u64> {
    let Contents { dim, entries, rows, graph, .. } = *contents;
    let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    if !(Shape { rows: rows.len(), entries: entries.len(), dim }).fits() || u32::try_from(entries.len()).is_err() {
        return Err(too_large());
    }
    let mut out = Summed { inner: BufWriter::new(file), hash: Sha256::new(), at: 0, start: 0 };

    let mut header = [0u8; EDGE];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&u32::try_from(dim).map_err(|_| too_large())?.to_le_bytes());
    header[16..24].copy_from_slice(&(rows.len() as u64).to_le_bytes());
    header[24..32].copy_from_slice(&(entries.len() as u64).to_le_bytes());
    let header_sum = checksum(&header[..56]);
    header[56..].copy_from_slice(&header_sum.to_le_bytes());
    out.put(&header)?;
    out.finish_section()?;

    let by_row = by_row(rows.len(), contents.entry_rows);
    let mut table = [(0u64, 0u64); SectionId::COUNT];
    for (section, id) in table.iter_mut().zip(SectionId::ALL) {
        contents.put_section(id, &by_row, &mut out)?;
        *section = out.finish_section()?;
    }

    let mut footer = [0u8; FOOTER];
    footer[..8].copy_from_slice(FOOTER_MAGIC);
    footer[8..12].copy_from_slice(&graph.map_or(0.0, |(_, recall)| recall).to_le_bytes());
    footer[16..24].copy_from_slice(&((out.at + FOOTER) as u64).to_le_bytes());
    footer[24..32].copy_from_slice(&header_sum.to_le_bytes());
    for (i, (len, sum)) in table.iter().enumerate() {
        footer[TABLE + i * 16..][..8].copy_from_slice(&len.to_le_bytes());
        footer[TABLE + i * 16 + 8..][..8].copy_from_slice(&sum.to_le_bytes());
    }
    let footer_sum = checksum(&footer[..FOOTER - 8]);
    footer[FOOTER - 8..].copy_from_slice(&footer_sum.to_le_bytes());
    out.put(&footer)?;
    let file = out.inner.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(footer_sum)
}

impl Contents<'_> {
    /// Writes one section, without the zeros after it; nothing for a section that is absent.
    fn put_section(
        &self,
        id: SectionId,
        (row_starts, row_entries): &(Vec<u32>, Vec<u32>),
        out: &mut Summed,
    ) -> std::io::Result<()> {
        let Contents { dim, entries, rows, entry_rows, graph } = *self;
        let with_codes = rows.len() >= CODES_ROWS;
        match id {
            SectionId::Int8Rows => rows.iter().try_for_each(|(source, row)| out.put(bytes_of(source.int8(*row)))),
            SectionId::Scales => rows.iter().try_for_each(|(source, row)| out.put(&source.scale(*row).to_le_bytes())),
            SectionId::F16Rows => rows.iter().try_for_each(|(source, row)| out.put(source.f16_bytes(*row))),
            SectionId::ChunkIds => entries.iter().try_for_each(|entry| out.put(&entry.chunk_id.to_le_bytes())),
            SectionId::EntryRows => entry_rows.iter().try_for_each(|row| out.put(&row.to_le_bytes())),
            SectionId::RowStarts => row_starts.iter().try_for_each(|start| out.put(&start.to_le_bytes())),
            SectionId::RowEntries => row_entries.iter().try_for_each(|entry| out.put(&entry.to_le_bytes())),
            SectionId::Codes if with_codes => {
                let mut block = vec![0u8; codes::block_len(dim)];
                rows.chunks(CODE_BLOCK).try_for_each(|rows| {
                    codes::encode_block(rows, dim, &mut block);
                    out.put(&block)
                })
            }
            SectionId::CodeFactors if with_codes => rows.iter().try_for_each(|(source, row)| {
                out.put(&codes::factor(source.int8(*row), source.scale(*row)).to_le_bytes())
            }),
            SectionId::Codes | SectionId::CodeFactors => Ok(()),
            SectionId::Graph => out.put(graph.map_or(&[], |(bytes, _)| bytes)),
        }
    }
}

/// A writer that counts its bytes and computes the checksum of the current section.
struct Summed {
    inner: BufWriter<File>,
    hash: Sha256,
    at: usize,
    start: usize,
}

impl Summed {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.at += bytes.len();
        self.inner.write_all(bytes)
    }

    /// Pads to the next edge; returns the section's length without, and its checksum with the padding.
    fn finish_section(&mut self) -> std::io::Result<(u64, u64)> {
        let len = self.at - self.start;
        self.put(&[0u8; EDGE][..self.at.next_multiple_of(EDGE) - self.at])?;
        self.start = self.at;
        Ok((len as u64, first_u64(&self.hash.finalize_reset())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::Segment;
    use super::super::{Bitmap, Rows};
    use super::*;
    use crate::kernel;

    /// Four chunks, the second and the last with the same vector.
    fn sample(path: &Path, graph: bool) {
        let mut rows = Rows::new(5);
        for (id, x) in [(3u64, 3.0), (9, 9.0), (10, 10.0), (12, 9.0)] {
            assert!(rows.push(id, &[x, 1.0, -2.0, 0.5, 0.0]));
        }
        let entries: Vec<Entry> =
            (0..4).map(|row| Entry { chunk_id: rows.chunk_id(row), source: &rows, row }).collect();
        let kernel = kernel::choose(None).expect("portable runs");
        let plan = GraphPlan { kernel, threads: 1, cancelled: &|| false };
        write(path, 5, &entries, graph.then_some(&plan)).unwrap();
    }

    #[test]
    fn reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        for graph in [false, true] {
            let path = dir.path().join(format!("{graph}.vec"));
            sample(&path, graph);
            let segment = Segment::open(&path).unwrap();
            segment.verify().unwrap();
            assert_eq!((segment.rows(), segment.entries(), segment.dim()), (3, 4, 5));
            let entry_of = |id| segment.entry_of(id);
            assert_eq!([0, 3, 9, 10, 11, 12].map(entry_of), [None, Some(0), Some(1), Some(2), None, Some(3)]);
            assert_eq!(segment.row_of(1), segment.row_of(3), "equal vectors are one row");
            assert_eq!(segment.entries_of(segment.row_of(1)).collect::<Vec<_>>(), [1, 3]);
            assert_eq!(segment.entries_of(segment.row_of(2)).collect::<Vec<_>>(), [2]);
            assert_eq!(segment.int8(segment.row_of(0)).len(), 64);
            assert_eq!(segment.int8(segment.row_of(0))[0], 127);
            let mut rows = Bitmap::default();
            (0..4).for_each(|entry| rows.insert(segment.row_of(entry) as u64));
            assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 1, 2]);
            assert_eq!(segment.graph().is_some(), graph);
            assert!(write(&path, 5, &[], None).is_err(), "an existing segment must never be rewritten");
        }
    }

    /// A flipped bit anywhere is found, by `open` at the edges and by `verify` in the sections; a short file by `open`.
    #[test]
    fn every_flipped_byte_and_every_truncation_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.vec");
        sample(&path, true);
        let good = std::fs::read(&path).unwrap();
        let bad = dir.path().join("b.vec");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&bad, &bytes).unwrap();
            let found = Segment::open(&bad).and_then(|segment| segment.verify());
            assert!(matches!(found, Err(Error::IndexDamaged { .. })), "byte {at}: {found:?}");
        }
        for len in 0..good.len() {
            std::fs::write(&bad, &good[..len]).unwrap();
            assert!(matches!(Segment::open(&bad), Err(Error::IndexDamaged { .. })), "length {len}");
        }
    }
}
