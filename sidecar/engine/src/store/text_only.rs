//! Long texts: their chunks are found by words, and never get a vector.

use std::collections::BTreeMap;

use super::change::Changes;
use super::{FileRecord, NewChunk, Store};
use crate::Result;
use crate::vector::manifest::TextOnly;

/// Takes one chunk of a file after the other.
pub type AddChunk<'a> = dyn FnMut(&NewChunk<'_>) -> Result<()> + 'a;

impl Store {
    /// Replaces all chunks of a file by those that `give` hands over, in order, which never get a vector. `bytes` is the
    /// length of the file.
    ///
    /// An error of `give` itself is for the caller to keep: after an error here, the store stands at its last commit.
    pub fn put_text_only(
        &mut self,
        rel: &str,
        language: &str,
        mut record: FileRecord,
        bytes: u64,
        give: &mut dyn FnMut(&mut AddChunk<'_>) -> Result<()>,
    ) -> Result<()> {
        self.changing(|store| {
            store.drop_chunks(rel)?;
            let first = store.changes.next_chunk_id;
            give(&mut |chunk| store.add_chunk(rel, language, record.hash, chunk))?;
            let chunks = store.changes.next_chunk_id - first;
            record.n_chunks = u32::try_from(chunks).unwrap_or(u32::MAX);
            store.changes.text_only.insert(rel.to_owned(), Some(TextOnly { first, chunks, bytes }));
            store.changes.files.insert(rel.to_owned(), Some(record));
            Ok(())
        })
    }

    /// The long texts, by path, with what was put since the last commit.
    pub fn text_only(&self) -> BTreeMap<String, TextOnly> {
        text_only(&self.manifest.text_only, &self.changes)
    }
}

/// The long texts of the next generation.
pub(super) fn text_only(committed: &BTreeMap<String, TextOnly>, changes: &Changes) -> BTreeMap<String, TextOnly> {
    let mut files = if changes.cleared { BTreeMap::new() } else { committed.clone() };
    for (rel, file) in &changes.text_only {
        match file {
            Some(file) => files.insert(rel.clone(), *file),
            None => files.remove(rel),
        };
    }
    files
}
