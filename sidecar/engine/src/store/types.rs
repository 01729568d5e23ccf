//! Types of what is put into a store, and of what waits for a vector.

use std::ops::Range;

/// A vector space. Vectors of different spaces are never stored or compared together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Model fingerprint and quantiser, for example "all-minilm-l6-v2:3f1c9a…".
    pub id: String,
    /// Values per vector.
    pub dim: usize,
}

/// A chunk to be indexed.
#[derive(Clone, Debug)]
pub struct NewChunk<'a> {
    /// Bytes of the file.
    pub bytes: Range<u64>,
    /// First line.
    pub first_line: u32,
    /// Last line, inclusive.
    pub last_line: u32,
    /// Its language, then others that it is found by; empty for that of the file alone.
    pub languages: Vec<&'a str>,
    /// Enclosing scope.
    pub scope: &'a str,
    /// Symbols that it defines: name, kind, line of the name.
    pub symbols: Vec<(&'a str, &'a str, u32)>,
    /// Its text; indexed, not stored.
    pub text: &'a str,
    /// Content key of what will be embedded.
    pub key: [u8; 32],
}

/// A file with chunks that have no vector yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingFile {
    /// Path relative to the project.
    pub rel: String,
    /// Content hash that the chunks were cut from; when the file has another by now, skip it.
    pub file_hash: [u8; 32],
    /// The chunks, in the order of the file.
    pub chunks: Vec<PendingChunk>,
}

/// A chunk that has no vector yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingChunk {
    /// The id, for [`super::Store::put_vectors`].
    pub chunk_id: u64,
    /// Bytes of the file.
    pub bytes: Range<u64>,
    /// Enclosing scope.
    pub scope: String,
    /// Content key.
    pub key: [u8; 32],
}
