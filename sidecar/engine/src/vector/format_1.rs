//! Version 1 of the segment file, which is still read: one entry for each row, in the same order, and no codes or
//! graph.
//!
//! ```text
//! header as in version 2, without entries | the first four sections | footer 64 B
//! footer    magic 8, checksum of each section 4 x u64, file length u64, header checksum u64, checksum u64
//! ```

use super::bytes::u64_at;
use super::layout::{Footer, SectionId, Shape};

/// Length of the footer.
pub(super) const FOOTER: usize = 64;

/// Sections in the file; the others are empty.
const SECTIONS: [SectionId; 4] = [SectionId::Int8Rows, SectionId::Scales, SectionId::F16Rows, SectionId::ChunkIds];

/// The footer in [`FOOTER`] bytes. The lengths of the sections, which it does not have, follow from `shape`; `None`
/// when they do not fit the address space.
pub(super) fn footer(bytes: &[u8], shape: Shape) -> Option<Footer> {
    let section = |(i, id): (usize, &SectionId)| Some((id.len(shape)? as u64, u64_at(bytes, 8 + i * 8)));
    Some(Footer {
        file_len: u64_at(bytes, 40),
        header_checksum: u64_at(bytes, 48),
        recall: 0.0,
        sections: SECTIONS.iter().enumerate().map(section).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::bytes::checksum;
    use super::super::layout::{EDGE, FOOTER_MAGIC, MAGIC};
    use super::super::segment::Segment;
    use super::super::{RowSource, Rows};
    use super::*;
    use crate::Error;

    /// A segment as releases before entries wrote it: one entry per row, four sections, a short footer.
    #[test]
    fn version_1_is_read() {
        let mut rows = Rows::new(2);
        for id in [4u64, 7, 8] {
            assert!(rows.push(id, &[id as f32, 1.0]));
        }
        let mut file = vec![0u8; EDGE];
        file[..8].copy_from_slice(MAGIC);
        file[8..12].copy_from_slice(&1u32.to_le_bytes());
        file[12..16].copy_from_slice(&2u32.to_le_bytes());
        file[16..24].copy_from_slice(&3u64.to_le_bytes());
        let header_sum = checksum(&file[..56]).to_le_bytes();
        file[56..].copy_from_slice(&header_sum);
        let mut footer = FOOTER_MAGIC.to_vec();
        for section in SECTIONS {
            let start = file.len();
            for row in 0..3 {
                match section {
                    SectionId::Int8Rows => file.extend(rows.int8(row).iter().map(|&x| x as u8)),
                    SectionId::Scales => file.extend(rows.scale(row).to_le_bytes()),
                    SectionId::F16Rows => file.extend(rows.f16_bytes(row)),
                    _ => file.extend(rows.chunk_id(row).to_le_bytes()),
                }
            }
            file.resize(file.len().next_multiple_of(EDGE), 0);
            footer.extend(checksum(&file[start..]).to_le_bytes());
        }
        footer.extend(((file.len() + EDGE) as u64).to_le_bytes());
        footer.extend(header_sum);
        footer.extend(checksum(&footer).to_le_bytes());
        file.extend(&footer);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.vec");
        std::fs::write(&path, &file).unwrap();
        let segment = Segment::open(&path).unwrap();
        segment.verify().unwrap();
        assert_eq!((segment.rows(), segment.entries(), segment.dim()), (3, 3, 2));
        assert_eq!([4, 7, 8, 9].map(|id| segment.entry_of(id)), [Some(0), Some(1), Some(2), None]);
        assert_eq!((segment.row_of(2), segment.entries_of(2).collect::<Vec<_>>()), (2, vec![2]));
        assert_eq!(segment.int8(1), rows.int8(1));
        assert!(!segment.has_codes() && segment.graph().is_none());
        let bad = dir.path().join("bad.vec");
        for at in 0..file.len() {
            let mut bytes = file.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&bad, &bytes).unwrap();
            let found = Segment::open(&bad).and_then(|segment| segment.verify());
            assert!(matches!(found, Err(Error::IndexDamaged { .. })), "byte {at}: {found:?}");
        }
    }
}
