//! Little-endian numbers in the bytes of a file, and the checksum of the index files.

use sha2::{Digest, Sha256};

/// First eight bytes of the SHA-256 of `bytes`, as a little-endian number.
pub fn checksum(bytes: &[u8]) -> u64 {
    first_u64(&Sha256::digest(bytes))
}

/// First eight bytes of a digest, as a little-endian number.
pub(super) fn first_u64(digest: &[u8]) -> u64 {
    u64_at(digest, 0)
}

/// The little-endian `u32` at byte `at`; panics when it reaches beyond the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The little-endian `u64` at byte `at`; panics when it reaches beyond the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
