//! What one generation consists of.
//!
//! `vectors/gen-<N>.json` names the model space, the segments with their checksums and dead entries, and the counters.
//! Its own checksum travels in the payload of the full-text commit of the same generation, which is what makes the
//! two halves of the index one.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bytes::checksum;
use crate::{Error, Result};

/// Largest counter of chunk ids that is accepted: sets of ids take a bit for each.
const MAX_CHUNK_ID: u64 = 1 << 32;

/// One generation of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Generation; 0 is the empty index before its first commit.
    pub generation: u64,
    /// Model fingerprint and quantiser; `None` until a space is set.
    pub space: Option<String>,
    /// Values per vector.
    pub dim: u32,
    /// Number of files in the table.
    pub files: u64,
    /// The next chunk id. Ids are never used twice in an index's life.
    pub next_chunk_id: u64,
    /// The next segment number.
    pub next_segment: u64,
    /// Version of what was made of the files (`store/format.rs`); of the oldest file, where they differ.
    #[serde(default = "first_content")]
    pub content: u32,
    /// The segments.
    pub segments: Vec<SegmentEntry>,
    /// How many files were left out, by the name of the reason.
    #[serde(default)]
    pub skipped: BTreeMap<String, u64>,
    /// Long texts, by path: their chunks never get a vector.
    #[serde(default)]
    pub text_only: BTreeMap<String, TextOnly>,
}

/// A long text: its chunks have consecutive ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextOnly {
    /// The first chunk id.
    pub first: u64,
    /// How many chunks it has.
    pub chunks: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// The content of manifests that do not say it.
fn first_content() -> u32 {
    1
}

/// One segment of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// File name in `vectors/`.
    pub file: String,
    /// Entries in the file, dead ones included. (Called rows when each entry had a row of its own.)
    #[serde(rename = "rows")]
    pub entries: u64,
    /// Checksum in the file's footer.
    pub checksum: u64,
    /// Dead entries as runs `(first, length)`.
    pub dead: Vec<(u64, u64)>,
}

impl Manifest {
    /// The file name of generation `generation`.
    pub fn file_name(generation: u64) -> String {
        format!("gen-{generation}.json")
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest has only strings and numbers");
        bytes.push(b'\n');
        bytes
    }

    /// The manifest in `bytes`, which were read from `path` and must have the checksum that the commit recorded.
    pub fn decode(path: &Path, bytes: &[u8], expected: &Payload) -> Result<Manifest> {
        let damaged = |problem: &str| Error::IndexDamaged { path: path.to_path_buf(), problem: problem.into() };
        if checksum(bytes) != expected.checksum {
            return Err(damaged("checksum differs from the one in the commit"));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
        let beyond = |file: &TextOnly| file.first.saturating_add(file.chunks) > manifest.next_chunk_id;
        if manifest.next_chunk_id > MAX_CHUNK_ID || manifest.text_only.values().any(beyond) {
            return Err(damaged("its counter is beyond every index"));
        }
        if manifest.generation != expected.generation {
            return Err(damaged("belongs to another generation"));
        }
        Ok(manifest)
    }

    /// Chunks that never get a vector.
    pub fn text_only_chunks(&self) -> u64 {
        self.text_only.values().map(|file| file.chunks).sum()
    }

    /// All entries, dead ones included.
    pub fn entries(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries).sum()
    }
}

impl SegmentEntry {
    /// Number of dead entries.
    pub fn n_dead(&self) -> u64 {
        self.dead.iter().map(|&(_, length)| length).sum()
    }
}

/// What the full-text commit says about its vector manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The generation.
    pub generation: u64,
    /// Checksum of the manifest's bytes.
    pub checksum: u64,
}

impl Payload {
    /// As stored: `offheap 1 <generation> <checksum>`.
    pub fn encode(&self) -> String {
        format!("offheap 1 {} {:016x}", self.generation, self.checksum)
    }

    /// The payload in `text`; `None` when it has another form.
    pub fn decode(text: &str) -> Option<Payload> {
        let (generation, checksum) = text.strip_prefix("offheap 1 ")?.split_once(' ')?;
        Some(Payload { generation: generation.parse().ok()?, checksum: u64::from_str_radix(checksum, 16).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_is_bound_to_its_payload() {
        let manifest = Manifest { generation: 7, next_chunk_id: 3, ..Manifest::default() };
        let bytes = manifest.encode();
        let payload = Payload { generation: 7, checksum: checksum(&bytes) };
        assert_eq!(Payload::decode(&payload.encode()), Some(payload));
        assert_eq!(Payload::decode("something else"), None);
        assert_eq!(Manifest::decode(Path::new("m"), &bytes, &payload).unwrap(), manifest);
        let mut bad = bytes.clone();
        bad[3] ^= 1;
        assert!(Manifest::decode(Path::new("m"), &bad, &payload).is_err());
        let other = Payload { generation: 8, ..payload };
        assert!(Manifest::decode(Path::new("m"), &bytes, &other).is_err());
    }
}
