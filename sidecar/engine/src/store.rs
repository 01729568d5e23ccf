//! A project's index on disk: one writer, many readers, one commit point.
//!
//! ```text
//! data_dir/owner.lock          held by the writer for life       format   version of this layout
//!          text/               full-text index, one document per chunk
//!          vectors/seg-N.vec   immutable vectors                 vectors/gen-N.json   what generation N consists of
//!          building/           what maintenance is writing; emptied when the index is opened
//!          cache.redb          embeddings by content, file table: the owner's own, rebuildable
//! ```
//!
//! Changes gather in memory and in the full-text writer until [`Store::commit`]. The full-text commit is the commit
//! point: its payload names the vector manifest of the same generation, so a crash anywhere leaves the last generation
//! (`commit.rs` has the order). Readers hold a [`Snapshot`]; nothing they use is ever changed, only unlinked.

mod cache;
mod commit;
mod files;
mod maintain;
mod snapshot;
mod types;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::cache::FileRecord;
pub use self::commit::Step;
pub use self::maintain::{Built, Maintenance};
pub use self::snapshot::{Reader, Snapshot, Stats};
pub use self::types::{NewChunk, PendingChunk, PendingFile, Space};
pub use crate::text::filter::Filter;
pub use crate::text::record::StoredChunk;

use self::cache::{Cache, vector_key};
use self::commit::StepHook;
use self::files::{FORMAT, OwnerLock, check_format, write_durably};
use crate::text::TextIndex;
use crate::vector::manifest::Manifest;
use crate::vector::search::{Vectors, dimension_error};
use crate::vector::{Bitmap, Rows};
use crate::{Error, Result};

/// The owner of a data directory.
///
/// After an error from a changing method the store stands at the last committed generation, on disk and in memory;
/// what was put since is gone, so compare [`Store::files`] with the project again.
pub struct Store {
    dir: PathBuf,
    text: TextIndex,
    cache: Cache,
    manifest: Manifest,
    reader: Reader,
    changes: Changes,
    /// A change failed half-way: memory must be read from disk again before anything else.
    unsound: bool,
    hook: Option<StepHook>,
    _lock: OwnerLock, // last, so that it is given up last
}

/// What the next commit will add to the last.
#[derive(Default)]
struct Changes {
    /// Chunks were added or removed.
    text: bool,
    /// Everything committed before is dropped.
    cleared: bool,
    files: BTreeMap<String, Option<FileRecord>>,
    /// Committed chunks that are gone.
    removed: HashSet<u64>,
    /// A space other than the committed one.
    space: Option<Space>,
    rows: Rows,
    /// Content key of each row.
    keys: Vec<[u8; 32]>,
    /// Chunks that the rows embed.
    embedded: Bitmap,
    /// Segments that are replaced by one that maintenance built.
    replaced: Option<Built>,
    next_chunk_id: u64,
}

impl Store {
    /// Opens the index in `data_dir`, created when absent, and takes its lock.
    ///
    /// Errors: [`Error::IndexLocked`], [`Error::IndexFormat`], [`Error::IndexDamaged`], [`Error::Io`].
    pub fn open(data_dir: &Path) -> Result<Store> {
        let create = |dir: &Path| std::fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e));
        create(data_dir)?;
        let lock = OwnerLock::take(data_dir)?;
        if !check_format(data_dir)? {
            write_durably(&data_dir.join("format"), format!("{FORMAT}\n").as_bytes())?;
        }
        create(&data_dir.join("text"))?;
        create(&data_dir.join("vectors"))?;
        maintain::clear(data_dir);
        let text = TextIndex::open(&data_dir.join("text"))?;
        let cache = Cache::open(&data_dir.join("cache.redb"))?;
        let (manifest, vectors) = snapshot::load(data_dir, text.payload()?.as_deref(), &Vectors::default())?;
        let snapshot = Snapshot {
            generation: manifest.generation,
            dir: data_dir.to_path_buf(),
            manifest: manifest.clone(),
            text: text.reader()?,
            vectors,
        };
        let mut store = Store {
            dir: data_dir.to_path_buf(),
            text,
            cache,
            manifest,
            reader: Reader::new(snapshot),
            changes: Changes::default(),
            unsound: false,
            hook: None,
            _lock: lock,
        };
        store.forget_changes();
        store.reconcile_files()?;
        store.collect_garbage();
        Ok(store)
    }

    /// The last committed generation, for a process that is not the owner; works beside one and on a read-only disk.
    ///
    /// It holds what it maps: later commits do not show, open again to see them.
    pub fn open_read_only(data_dir: &Path) -> Result<Arc<Snapshot>> {
        Snapshot::open(data_dir)
    }

    /// Deletes the stored embeddings, not the index; gives how many there were.
    pub fn clear_embedding_cache(&mut self) -> Result<u64> {
        self.cache.clear_vectors()
    }

    /// The last committed generation.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.reader.snapshot()
    }

    /// A handle for other threads that gives the last committed generation each time it is asked.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The space that vectors are taken in; it may not be committed yet.
    pub fn space(&self) -> Option<Space> {
        self.changes.space.clone().or_else(|| self.snapshot().space())
    }

    /// The file table, with what was put since the last commit.
    pub fn files(&self) -> Result<BTreeMap<String, FileRecord>> {
        let mut files = if self.changes.cleared { BTreeMap::new() } else { self.cache.files()? };
        for (rel, record) in &self.changes.files {
            match record {
                Some(record) => files.insert(rel.clone(), record.clone()),
                None => files.remove(rel),
            };
        }
        Ok(files)
    }

    /// Records that the content is the same and only its size and time are news. Makes no generation.
    pub fn touch_file(&mut self, rel: &str, record: FileRecord) {
        self.changes.files.insert(rel.to_string(), Some(record));
    }

    /// Replaces all chunks of a file.
    pub fn put_file(&mut self, rel: &str, language: &str, record: FileRecord, chunks: &[NewChunk]) -> Result<()> {
        self.changing(|store| {
            store.drop_chunks(rel)?;
            for chunk in chunks {
                let stored = StoredChunk {
                    chunk_id: store.changes.next_chunk_id,
                    rel: rel.to_string(),
                    language: language.to_string(),
                    file_hash: record.hash,
                    bytes: chunk.bytes.clone(),
                    first_line: chunk.first_line,
                    last_line: chunk.last_line,
                    scope: chunk.scope.to_string(),
                    symbols: chunk.symbols.iter().map(|&(name, kind)| (name.into(), kind.into())).collect(),
                    key: chunk.key,
                };
                store.text.add(&stored, chunk.text)?;
                store.changes.next_chunk_id += 1;
            }
            store.changes.files.insert(rel.to_string(), Some(record));
            Ok(())
        })
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

    /// Committed chunks without a vector in the current space, by file in path order.
    pub fn pending(&self) -> Result<Vec<PendingFile>> {
        if self.changes.cleared {
            return Ok(Vec::new());
        }
        let snapshot = self.snapshot();
        let mut embedded = self.changes.embedded.clone();
        if self.changes.space.is_none() {
            snapshot.vectors.chunk_ids().for_each(|id| embedded.insert(id));
        }
        let wanted = |id: u64| !embedded.contains(id) && !self.changes.removed.contains(&id);
        let mut files: BTreeMap<String, PendingFile> = BTreeMap::new();
        snapshot.text.for_each(wanted, |chunk| {
            let StoredChunk { chunk_id, rel, file_hash, bytes, scope, key, .. } = chunk;
            let file = files.entry(rel.clone()).or_insert_with(|| PendingFile { rel, file_hash, chunks: Vec::new() });
            file.chunks.push(PendingChunk { chunk_id, bytes, scope, key });
        })?;
        let mut files: Vec<PendingFile> = files.into_values().collect();
        files.iter_mut().for_each(|file| file.chunks.sort_unstable_by_key(|chunk| chunk.chunk_id));
        Ok(files)
    }

    /// Vectors that were computed before for the same content and space; committed ones only.
    pub fn cached(&self, space: &Space, keys: &[[u8; 32]]) -> Result<Vec<Option<Vec<f32>>>> {
        let keys: Vec<_> = keys.iter().map(|key| vector_key(&space.id, key)).collect();
        self.cache.vectors(&keys, space.dim)
    }

    /// Takes vectors of committed chunks: chunk id, content key, values. They are scaled to length 1.
    ///
    /// A chunk that is gone by now, or has its vector already, is passed over. Errors, before anything is taken:
    /// [`Error::Shape`] when a vector does not fit the space or none is set, [`Error::NotFinite`].
    pub fn put_vectors(&mut self, rows: &[(u64, [u8; 32], &[f32])]) -> Result<()> {
        let dim = self.space().map_or(0, |space| space.dim);
        for (i, (_, _, vector)) in rows.iter().enumerate() {
            if vector.len() != dim || dim == 0 {
                return Err(dimension_error("vector", dim, vector.len()));
            }
            if crate::vector::normalised(vector).is_none() {
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

    /// Drops every file, chunk and vector, and commits that. The space stays, and so do the stored embeddings: what
    /// they were computed from is in their keys.
    pub fn clear(&mut self) -> Result<()> {
        self.text.abandon();
        self.forget_changes();
        self.changing(|store| {
            store.text.remove_all()?;
            store.changes.text = true;
            store.changes.cleared = true;
            Ok(())
        })?;
        self.commit()?;
        Ok(())
    }

    /// Ends the full-text writer and frees its memory, when nothing waits to be committed. The next change starts one.
    pub fn release_writer(&mut self) -> Result<()> {
        if self.changes.text || self.unsound { Ok(()) } else { self.text.release() }
    }

    /// Reads every byte of the index and compares checksums; then that text and vectors belong together.
    ///
    /// Errors: [`Error::IndexDamaged`] names the first file that is wrong.
    pub fn verify(&self) -> Result<()> {
        check_format(&self.dir)?;
        let (manifest, _) = snapshot::load(&self.dir, self.text.payload()?.as_deref(), &Vectors::default())?;
        let snapshot = self.snapshot();
        for part in snapshot.vectors.parts() {
            part.segment.verify()?;
        }
        self.text.verify(&self.dir.join("text"))?;
        let mut living = Bitmap::default();
        snapshot.text.all_ids().for_each(|id| living.insert(id));
        let stray = snapshot.vectors.chunk_ids().find(|&id| !living.contains(id));
        let problem = match stray {
            Some(id) => format!("has a vector for chunk {id}, which does not exist"),
            None if living.iter().any(|id| id >= manifest.next_chunk_id) => "chunk ids beyond its counter".into(),
            None => return Ok(()),
        };
        Err(Error::IndexDamaged { path: self.dir.join("vectors"), problem })
    }

    /// Calls `hook` before each step of every later commit; its error fails the commit there. For crash tests.
    #[doc(hidden)]
    pub fn on_step(&mut self, hook: impl FnMut(Step) -> std::io::Result<()> + Send + 'static) {
        self.hook = Some(Box::new(hook));
    }

    /// Runs a change. When it fails, the store goes back to the last commit.
    fn changing<T>(&mut self, change: impl FnOnce(&mut Store) -> Result<T>) -> Result<T> {
        if self.unsound {
            self.recover()?;
        }
        let result = change(self);
        if result.is_err() {
            self.unsound = true;
            // When even reading fails, the next change tries again and says why.
            let _ = self.recover();
        }
        result
    }

    fn drop_chunks(&mut self, rel: &str) -> Result<()> {
        if !self.changes.cleared {
            self.changes.removed.extend(self.snapshot().text.ids_of_path(rel)?);
        }
        self.text.remove_path(rel)?;
        self.changes.text = true;
        Ok(())
    }

    fn forget_changes(&mut self) {
        let dim = self.manifest.dim as usize;
        let next_chunk_id = self.manifest.next_chunk_id;
        self.changes = Changes { rows: Rows::new(dim), next_chunk_id, ..Changes::default() };
    }
}
