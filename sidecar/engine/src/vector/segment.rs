//! One immutable file of vectors.
//!
//! ```text
//! header 64 B | int8 rows | scales f32 | f16 rows | chunk ids u64 | footer 64 B      (little endian)
//! header  magic 8, version u32, dim u32, rows u64, zeros, checksum of the 56 bytes before it u64
//! footer  magic 8, checksum of each section 4 x u64, file length u64, header checksum u64, checksum u64
//! ```
//!
//! Every section starts on a multiple of 64 bytes. Rows are in ascending order of chunk id, so a chunk is found by
//! binary search and no id map is kept. Opening checks lengths, header and footer; [`Segment::verify`] reads all.
//! A checksum is the first eight bytes of SHA-256.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::{RowSource, stride};
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"offheapV";
const FOOTER_MAGIC: &[u8; 8] = b"offheapF";
const VERSION: u32 = 1;
const EDGE: usize = 64;
const N_SECTIONS: usize = 4;

/// A mapped segment file.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    map: Mmap,
    rows: usize,
    dim: usize,
    sections: [Section; N_SECTIONS],
    checksum: u64,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    start: usize,
    len: usize,
}

impl Segment {
    /// Maps the file and checks its lengths, header and footer.
    pub fn open(path: &Path) -> Result<Segment> {
        let damaged = |problem: &str| Error::IndexDamaged { path: path.to_path_buf(), problem: problem.into() };
        let file = File::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => damaged("the file is missing"),
            _ => Error::io("open", path, e),
        })?;
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
        if u32_at(header, 8) != VERSION {
            return Err(damaged("unknown segment version"));
        }
        let dim = u32_at(header, 12) as usize;
        let rows = usize::try_from(u64_at(header, 16)).map_err(|_| damaged("too many rows"))?;
        let (sections, expected_len) = layout(rows, dim).ok_or_else(|| damaged("too many rows"))?;
        if map.len() != expected_len {
            return Err(damaged(&format!("{} bytes long, its header says {expected_len}", map.len())));
        }
        let footer = &map[expected_len - EDGE..];
        if &footer[..8] != FOOTER_MAGIC || u64_at(footer, 56) != checksum(&footer[..56]) {
            return Err(damaged("footer checksum"));
        }
        if u64_at(footer, 40) != expected_len as u64 || u64_at(footer, 48) != u64_at(header, 56) {
            return Err(damaged("header and footer belong to different files"));
        }
        let checksum = u64_at(footer, 56);
        Ok(Segment { path: path.to_path_buf(), map, rows, dim, sections, checksum })
    }

    /// Number of rows, dead ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Checksum of the footer, and so of everything in the file.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// The row that embeds `chunk_id`.
    pub fn row_of(&self, chunk_id: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.rows);
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

    /// Reads the whole file and compares every section with its checksum.
    pub fn verify(&self) -> Result<()> {
        let damaged = |problem: String| Error::IndexDamaged { path: self.path.clone(), problem };
        let footer = &self.map[self.map.len() - EDGE..];
        for (i, name) in ["int8 rows", "scales", "f16 rows", "chunk ids"].into_iter().enumerate() {
            let end = self.sections.get(i + 1).map_or(self.map.len() - EDGE, |next| next.start);
            if checksum(&self.map[self.sections[i].start..end]) != u64_at(footer, 8 + i * 8) {
                return Err(damaged(format!("checksum of the {name}")));
            }
        }
        if !(1..self.rows).all(|row| self.chunk_id(row - 1) < self.chunk_id(row)) {
            return Err(damaged("chunk ids are not in order".into()));
        }
        Ok(())
    }

    fn section(&self, i: usize) -> &[u8] {
        &self.map[self.sections[i].start..][..self.sections[i].len]
    }
}

impl RowSource for Segment {
    fn int8(&self, row: usize) -> &[i8] {
        let stride = stride(self.dim);
        let bytes = &self.section(0)[row * stride..][..stride];
        // SAFETY: i8 has the size, the alignment and the valid values of u8.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
    }
    fn scale(&self, row: usize) -> f32 {
        f32::from_bits(u32_at(self.section(1), row * 4))
    }
    fn f16_bytes(&self, row: usize) -> &[u8] {
        &self.section(2)[row * self.dim * 2..][..self.dim * 2]
    }
    fn chunk_id(&self, row: usize) -> u64 {
        u64_at(self.section(3), row * 8)
    }
}

/// Writes the rows of `order` to `path`, which must not exist, and makes the file durable; returns its checksum.
///
/// `order` must ascend by chunk id. The rows are streamed, so merging mapped segments needs no heap.
pub fn write(path: &Path, dim: usize, order: &[(&dyn RowSource, usize)]) -> Result<u64> {
    write_parts(path, dim, order).map_err(|e| Error::io("write", path, e))
}

fn write_parts(path: &Path, dim: usize, order: &[(&dyn RowSource, usize)]) -> std::io::Result<u64> {
    let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    let (sections, len) = layout(order.len(), dim).ok_or_else(too_large)?;
    let mut out = Summed { inner: BufWriter::new(File::create_new(path)?), hash: Sha256::new(), at: 0 };

    let mut header = [0u8; EDGE];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&u32::try_from(dim).map_err(|_| too_large())?.to_le_bytes());
    header[16..24].copy_from_slice(&(order.len() as u64).to_le_bytes());
    let header_sum = checksum(&header[..56]);
    header[56..].copy_from_slice(&header_sum.to_le_bytes());
    out.put(&header)?;
    out.finish_section(EDGE)?;

    let mut sums = [0u64; N_SECTIONS];
    for (i, sum) in sums.iter_mut().enumerate() {
        for &(source, row) in order {
            match i {
                0 => {
                    let row = source.int8(row);
                    // SAFETY: as in `Segment::int8`, the other way round.
                    out.put(unsafe { std::slice::from_raw_parts(row.as_ptr().cast::<u8>(), row.len()) })?;
                }
                1 => out.put(&source.scale(row).to_le_bytes())?,
                2 => out.put(source.f16_bytes(row))?,
                _ => out.put(&source.chunk_id(row).to_le_bytes())?,
            }
        }
        *sum = out.finish_section(sections.get(i + 1).map_or(len - EDGE, |next| next.start))?;
    }

    let mut footer = [0u8; EDGE];
    footer[..8].copy_from_slice(FOOTER_MAGIC);
    for (i, sum) in sums.iter().enumerate() {
        footer[8 + i * 8..][..8].copy_from_slice(&sum.to_le_bytes());
    }
    footer[40..48].copy_from_slice(&(len as u64).to_le_bytes());
    footer[48..56].copy_from_slice(&header_sum.to_le_bytes());
    let footer_sum = checksum(&footer[..56]);
    footer[56..].copy_from_slice(&footer_sum.to_le_bytes());
    out.put(&footer)?;
    let file = out.inner.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(footer_sum)
}

/// A writer that knows how far it is and the checksum of the section it is in.
struct Summed {
    inner: BufWriter<File>,
    hash: Sha256,
    at: usize,
}

impl Summed {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.at += bytes.len();
        self.inner.write_all(bytes)
    }

    /// Pads up to `end`; the checksum of the section, padding included.
    fn finish_section(&mut self, end: usize) -> std::io::Result<u64> {
        self.put(&[0u8; EDGE][..end - self.at])?;
        Ok(first_u64(&self.hash.finalize_reset()))
    }
}

/// First eight bytes of the SHA-256 of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    first_u64(&Sha256::digest(bytes))
}

fn first_u64(digest: &[u8]) -> u64 {
    u64_at(digest, 0)
}

/// Where the sections lie and how long the file is; `None` when that does not fit the address space.
fn layout(rows: usize, dim: usize) -> Option<([Section; N_SECTIONS], usize)> {
    let mut start = EDGE;
    let mut sections = [Section { start: 0, len: 0 }; N_SECTIONS];
    for (section, row_len) in sections.iter_mut().zip([stride(dim), 4, dim.checked_mul(2)?, 8]) {
        *section = Section { start, len: rows.checked_mul(row_len)? };
        start = start.checked_add(section.len)?.checked_next_multiple_of(EDGE)?;
    }
    Some((sections, start.checked_add(EDGE)?))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    fn sample(path: &Path) {
        let mut rows = Rows::new(5);
        for id in [3u64, 9, 10] {
            assert!(rows.push(id, &[id as f32, 1.0, -2.0, 0.5, 0.0]));
        }
        let order: Vec<(&dyn RowSource, usize)> = (0..3).map(|row| (&rows as &dyn RowSource, row)).collect();
        write(path, 5, &order).unwrap();
    }

    #[test]
    fn reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.vec");
        sample(&path);
        let segment = Segment::open(&path).unwrap();
        segment.verify().unwrap();
        assert_eq!((segment.rows(), segment.dim()), (3, 5));
        assert_eq!([0, 3, 9, 10, 11].map(|id| segment.row_of(id)), [None, Some(0), Some(1), Some(2), None]);
        assert_eq!(segment.int8(0).len(), 64);
        assert_eq!(segment.int8(0)[0], 127);
        assert!(write(&path, 5, &[]).is_err(), "an existing segment must never be rewritten");
    }

    /// A flipped bit anywhere is found, by `open` at the edges and by `verify` in the sections; a short file by `open`.
    #[test]
    fn every_flipped_byte_and_every_truncation_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.vec");
        sample(&path);
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
