//! Changes between two commits: files, chunks and vectors, in memory until [`Store::commit`].

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Store;
use super::cache::{FileRecord, Tables};
use super::files;
use super::segments::Built;
use super::skipped::SkippedRecord;
use super::types::{NewChunk, Space};
use crate::text::record::{StoredChunk, StoredSymbol};
use crate::vector::manifest::TextOnly;
use crate::vector::search::dimension_error;
use crate::vector::{Bitmap, Rows, normalised};
use crate::{Error, Result};

/// What the next commit will add to the last.
#[derive(Default)]
pub(super) struct Changes {
    /// Chunks were added or removed.
    pub text: bool,
    /// Everything committed before is dropped.
    pub cleared: bool,
    /// Every file of the index was read and cut by this build.
    pub all_read: bool,
    /// The next generation says that an earlier build made it; tests only.
    pub pretends: bool,
    pub files: BTreeMap<String, Option<FileRecord>>,
    /// Files that are left out, or no longer are.
    pub skipped: BTreeMap<String, Option<SkippedRecord>>,
    /// Long texts that were put, or dropped.
    pub text_only: BTreeMap<String, Option<TextOnly>>,
    /// Committed chunks that are gone.
    pub removed: HashSet<u64>,
    /// A space other than the committed one.
    pub space: Option<Space>,
    pub rows: Rows,
    /// Content key of each row.
    pub keys: Vec<[u8; 32]>,
    /// Chunks that the rows embed.
    pub embedded: Bitmap,
    /// Segments that are replaced by one that maintenance built.
    pub replaced: Option<Built>,
    pub next_chunk_id: u64,
}

impl Store {
    /// Records what the system says now of a file whose content did not change. Makes no generation.
    pub fn touch_file(&mut self, rel: &str, record: FileRecord) {
        self.changes.files.insert(rel.to_string(), Some(record));
    }

    /// Replaces all chunks of a file in `language`. Returns how many of the new ones have their vector already.
    ///
    /// A chunk with the content key of one that the file had takes over its id and so its vector: nothing is embedded, and
    /// no segment changes, when a file is cut or split into words in a new way.
    pub fn put_file(&mut self, rel: &str, language: &str, record: FileRecord, chunks: &[NewChunk]) -> Result<u64> {
        self.changing(|store| {
            let mut known = store.chunk_ids_by_key(rel)?;
            store.drop_chunks(rel)?;
            let snapshot = store.snapshot();
            let mut n_kept = 0;
            for chunk in chunks {
                let chunk_id = match known.get_mut(&chunk.key).and_then(Vec::pop) {
                    Some(id) => {
                        store.changes.removed.remove(&id);
                        n_kept += u64::from(store.changes.space.is_none() && snapshot.vectors.contains(id));
                        id
                    }
                    None => store.next_chunk_id(),
                };
                store.add_chunk_as(chunk_id, rel, language, record.hash, chunk)?;
            }
            store.changes.files.insert(rel.to_string(), Some(record));
            Ok(n_kept)
        })
    }

    /// Says that every file of the index was read and cut by this build. Makes a generation where that is new.
    pub fn note_all_read(&mut self) {
        self.changes.all_read = !self.snapshot().is_current();
    }

    /// Makes the index look like one of an earlier build at the next commit. For tests of the upgrade.
    #[doc(hidden)]
    pub fn pretend_earlier_content(&mut self) -> Result<()> {
        for rel in self.files()?.into_keys() {
            self.touch_file(&rel, FileRecord::UNKNOWN);
        }
        self.changes.pretends = true;
        Ok(())
    }

    /// Removes a file and its chunks; nothing happens when it is not there.
    pub fn remove_file(&mut self, rel: &str) -> Result<()> {
        self.changing(|store| {
            store.drop_chunks(rel)?;
            store.changes.files.insert(rel.to_string(), None);
            Ok(())
        })
    }

    /// Says which space the vectors belong to. Another space than before drops all vectors at the next commit.
    pub fn set_space(&mut self, space: &Space) -> Result<()> {
        self.changing(|store| {
            if store.space().as_ref() != Some(space) {
                let changes = &mut store.changes;
                changes.rows = Rows::new(space.dim);
                changes.keys.clear();
                changes.embedded = Bitmap::default();
                changes.space = (store.reader.snapshot().space().as_ref() != Some(space)).then(|| space.clone());
            }
            Ok(())
        })
    }

    /// Takes vectors of committed chunks: chunk id, content key, values. They are scaled to length 1.
    ///
    /// A chunk that no longer exists, or has its vector already, is skipped. Errors, before anything is taken:
    /// [`Error::Shape`] when a vector does not fit the space or none is set, [`Error::NotFinite`].
    pub fn put_vectors(&mut self, rows: &[(u64, [u8; 32], &[f32])]) -> Result<()> {
        let dim = self.space().map_or(0, |space| space.dim);
        for (i, (_, _, vector)) in rows.iter().enumerate() {
            if vector.len() != dim || dim == 0 {
                return Err(dimension_error("vector", dim, vector.len()));
            }
            if normalised(vector).is_none() {
                return Err(Error::NotFinite { text_idx: i });
            }
        }
        self.changing(|store| {
            let snapshot = store.snapshot();
            for &(id, key, vector) in rows {
                let changes = &store.changes;
                let has_vector =
                    changes.embedded.contains(id) || (changes.space.is_none() && snapshot.vectors.contains(id));
                let gone = changes.cleared || changes.removed.contains(&id) || !snapshot.text.contains(id)?;
                if !has_vector && !gone && store.changes.rows.push(id, vector) {
                    store.changes.keys.push(key);
                    store.changes.embedded.insert(id);
                }
            }
            Ok(())
        })
    }

    /// Drops every file, chunk and vector at the next commit. The space stays, and so do the stored embeddings: what
    /// they were computed from is in their keys.
    pub fn clear(&mut self) -> Result<()> {
        self.text.abandon();
        self.forget_changes();
        self.changing(|store| {
            store.text.remove_all()?;
            store.changes.text = true;
            store.changes.cleared = true;
            Ok(())
        })
    }

    /// Runs a change. When it fails, the store goes back to the last commit.
    pub(super) fn changing<T>(&mut self, change: impl FnOnce(&mut Store) -> Result<T>) -> Result<T> {
        if self.noted_clean {
            files::unmark_clean(&self.folder)?;
            self.noted_clean = false;
        }
        if self.unsound {
            self.recover()?;
        }
        self.reconcile_files()?;
        let result = change(self);
        if result.is_err() {
            self.unsound = true;
            // When even reading fails, the next change tries again and says why.
            let _ = self.recover();
        }
        result
    }

    /// Adds a chunk of a file whose old chunks were dropped.
    pub(super) fn add_chunk(&mut self, rel: &str, language: &str, file_hash: [u8; 32], chunk: &NewChunk) -> Result<()> {
        let chunk_id = self.next_chunk_id();
        self.add_chunk_as(chunk_id, rel, language, file_hash, chunk)
    }

    fn next_chunk_id(&mut self) -> u64 {
        self.changes.next_chunk_id += 1;
        self.changes.next_chunk_id - 1
    }

    fn add_chunk_as(
        &mut self,
        chunk_id: u64,
        rel: &str,
        language: &str,
        file_hash: [u8; 32],
        chunk: &NewChunk,
    ) -> Result<()> {
        let stored = StoredChunk {
            chunk_id,
            rel: rel.to_string(),
            language: chunk.languages.first().unwrap_or(&language).to_string(),
            file_hash,
            bytes: chunk.bytes.clone(),
            first_line: chunk.first_line,
            last_line: chunk.last_line,
            scope: chunk.scope.to_string(),
            symbols: chunk.symbols.iter().map(stored_symbol).collect(),
            key: chunk.key,
        };
        self.text.add(&stored, chunk.text, chunk.languages.iter().skip(1).copied())
    }

    /// The committed chunks of a file by their content keys, the first of equal ones last.
    fn chunk_ids_by_key(&self, rel: &str) -> Result<HashMap<[u8; 32], Vec<u64>>> {
        let mut by_key: HashMap<[u8; 32], Vec<u64>> = HashMap::new();
        if !self.changes.cleared {
            let snapshot = self.snapshot();
            let mut ids = snapshot.text.ids_of_path(rel)?;
            ids.sort_unstable_by(|a, b| b.cmp(a));
            for chunk in snapshot.text.chunks(&ids)?.into_iter().flatten() {
                by_key.entry(chunk.key).or_default().push(chunk.chunk_id);
            }
        }
        Ok(by_key)
    }

    pub(super) fn drop_chunks(&mut self, rel: &str) -> Result<()> {
        if !self.changes.cleared {
            self.changes.removed.extend(self.snapshot().text.ids_of_path(rel)?);
        }
        self.text.remove_path(rel)?;
        if self.manifest.text_only.contains_key(rel) || self.changes.text_only.contains_key(rel) {
            self.changes.text_only.insert(rel.to_string(), None);
        }
        self.changes.text = true;
        Ok(())
    }

    pub(super) fn forget_changes(&mut self) {
        let dim = self.manifest.dim as usize;
        let next_chunk_id = self.manifest.next_chunk_id;
        self.changes = Changes { rows: Rows::new(dim), next_chunk_id, ..Changes::default() };
    }
}

impl Changes {
    /// What the cache gets to know about files.
    pub fn tables(&self) -> Tables<'_> {
        let Changes { files, skipped, cleared, .. } = self;
        Tables { files, replace_files: *cleared, skipped, replace_skipped: *cleared }
    }

    /// Whether nothing waits for the next commit.
    pub fn is_empty(&self) -> bool {
        !self.text
            && !self.cleared
            && !self.all_read
            && !self.pretends
            && self.space.is_none()
            && self.rows.is_empty()
            && self.replaced.is_none()
            && self.files.is_empty()
            && self.skipped.is_empty()
    }
}

fn stored_symbol(&(name, kind, line): &(&str, &str, u32)) -> StoredSymbol {
    StoredSymbol { name: name.into(), kind: kind.into(), line }
}
