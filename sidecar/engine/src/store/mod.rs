//! A project's index on disk: one writer, many readers, one commit point.
//!
//! ```text
//! data_dir/owner.lock          held by the writer for life       format   version of this layout
//!          text/               full-text index, one document per chunk
//!          vectors/seg-N.vec   immutable vectors                 vectors/gen-N.json   what generation N consists of
//!          building/           what maintenance is writing; emptied when the index is opened
//!          cache.redb          embeddings by content, file table: the owner's own, rebuildable
//!          readers/            a locked file for each process that is opening the index
//!          clean               there after an orderly stop         damaged  there once a check has found damage
//!          seal                says that this user made it here; an index without it is begun anew (`place.rs`)
//! ```
//!
//! Changes gather in memory and in the full-text writer until [`Store::commit`]. The full-text commit is the commit
//! point: its payload names the vector manifest of the same generation, so a crash anywhere leaves the last generation
//! (`commit.rs` has the order). Readers hold a [`Snapshot`]; nothing they use is ever changed, only unlinked.

mod cache;
mod change;
mod commit;
mod content;
mod files;
mod format;
mod maintain;
mod place;
mod segments;
mod skipped;
mod snapshot;
mod text_only;
mod types;
mod verify;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::cache::FileRecord;
pub use self::commit::Step;
pub use self::maintain::Maintenance;
pub use self::place::{Place, Stamp};
pub use self::segments::Built;
pub use self::skipped::SkippedRecord;
pub use self::snapshot::{IndexedFile, Reader, Snapshot, Stats};
pub use self::text_only::AddChunk;
pub use self::types::{NewChunk, PendingChunk, PendingFile, Space};
pub use self::verify::Check;
pub use crate::filter::Filter;
pub use crate::text::record::{StoredChunk, StoredSymbol};
pub use crate::text::symbols::{Fit, SymbolHit};

use self::cache::{Cache, VectorKey, vector_key};
use self::change::Changes;
use self::commit::StepHook;
use self::files::{OwnerLock, READERS, TEXT, VECTORS};
use crate::disk::pins::Pins;
use crate::disk::{Folder, Identity};
use crate::text::TextIndex;
use crate::vector::manifest::Manifest;
use crate::vector::search::Vectors;
use crate::{Error, Result};

/// Embeddings kept by default for content that is not in the index now: four times those of a project of 25,000 chunks,
/// about 90 MB on disk with 384 values each.
pub const SPARE_EMBEDDINGS: usize = 100_000;

/// The owner of a data directory.
///
/// After an error from a changing method the store stands at the last committed generation, on disk and in memory;
/// what was put since is gone, so compare [`Store::files`] with the project again.
pub struct Store {
    folder: Folder,
    vector_folder: Folder,
    secret: Option<[u8; 32]>,
    text_identity: Identity,
    text: TextIndex,
    cache: Cache,
    /// The cache's file table is known to be of the committed generation. Searching needs neither, so the cache is not
    /// opened with the index: that takes longer than everything else.
    reconciled: Cell<bool>,
    manifest: Manifest,
    reader: Reader,
    changes: Changes,
    /// A change failed half-way: the committed generation must be loaded again before anything else.
    unsound: bool,
    /// The previous owner stopped in an orderly way, or a complete check has passed since.
    checked: Arc<AtomicBool>,
    /// The file that notes an orderly stop is on disk.
    noted_clean: bool,
    pins: Pins,
    spare_embeddings: usize,
    hook: Option<StepHook>,
    lock: OwnerLock, // last, so that it is given up last
}

impl Store {
    /// Opens the index at `place`, created when absent, upgraded when an older build made it, and takes its lock.
    ///
    /// Errors: [`Error::IndexLocked`], [`Error::IndexForeign`], [`Error::IndexFormat`] for a newer index,
    /// [`Error::IndexDamaged`], [`Error::UnsafePath`], [`Error::Io`].
    pub fn open(place: impl Into<Place>) -> Result<Store> {
        let place = place.into();
        let folder = place.create()?;
        let mut lock = Some(OwnerLock::take(&folder)?);
        Self::open_locked(&place, &folder, &mut lock)
    }

    /// Opens the index like [`Store::open`]; a damaged one is emptied first, but for the embeddings, so that the next
    /// run brings everything back without computing them again. One that this user did not make here is emptied with
    /// its embeddings. Also gives what was wrong.
    ///
    /// With `discard_newer` an index of another format goes too, with its embeddings, whose meaning is not known here.
    pub fn open_or_rebuild(place: impl Into<Place>, discard_newer: bool) -> Result<(Store, Option<Error>)> {
        let place = place.into();
        let folder = place.create()?;
        let mut lock = Some(OwnerLock::take(&folder)?);
        let (error, keep_cache) = match Self::open_locked(&place, &folder, &mut lock) {
            Ok(store) => return Ok((store, None)),
            Err(e @ Error::IndexDamaged { .. }) => (e, true),
            Err(e @ Error::IndexForeign { .. }) => (e, false),
            // A number that cannot be read is what a power cut leaves, not another build's.
            Err(e @ Error::IndexFormat { found: 0, .. }) => (e, true),
            Err(e @ Error::IndexFormat { .. }) if discard_newer => (e, false),
            Err(e) => return Err(e),
        };
        files::reset(&folder, keep_cache)?;
        if !keep_cache {
            place.seal(&folder)?;
        }
        Ok((Self::open_locked(&place, &folder, &mut lock)?, Some(error)))
    }

    /// Takes `lock` when it succeeds.
    fn open_locked(place: &Place, folder: &Folder, lock: &mut Option<OwnerLock>) -> Result<Store> {
        if files::is_empty(folder) {
            place.seal(folder)?;
        }
        place.check_seal(folder)?;
        files::check_not_damaged(folder)?;
        format::prepare(folder)?;
        let (text_folder, new_text) = folder.make_folder(TEXT)?;
        let (vector_folder, new_vectors) = folder.make_folder(VECTORS)?;
        let (readers, new_readers) = folder.make_folder(READERS)?;
        if new_text || new_vectors || new_readers {
            folder.sync()?;
        }
        if !text_folder.has("meta.json") && snapshot::any_manifest(&vector_folder) {
            let problem = "the file is missing".into();
            return Err(Error::IndexDamaged { path: text_folder.path_of("meta.json"), problem });
        }
        maintain::clear(folder)?;
        let pins = Pins::new(readers);
        let text_identity = text_folder.identity()?;
        let text = TextIndex::open(text_folder, pins.clone(), place.secret())?;
        let (manifest, vectors) = snapshot::load(&vector_folder, text.payload()?.as_deref(), &Vectors::default())?;
        let snapshot = Snapshot {
            generation: manifest.generation,
            folder: folder.clone(),
            manifest: manifest.clone(),
            text: text.reader()?,
            vectors,
        };
        let noted_clean = files::is_clean(folder, manifest.generation);
        let mut store = Store {
            folder: folder.clone(),
            vector_folder,
            secret: place.secret(),
            text_identity,
            text,
            cache: Cache::new(folder),
            reconciled: Cell::new(false),
            checked: Arc::new(AtomicBool::new(noted_clean || manifest.generation == 0)),
            noted_clean,
            manifest,
            reader: Reader::new(snapshot),
            changes: Changes::default(),
            unsound: false,
            pins,
            spare_embeddings: SPARE_EMBEDDINGS,
            hook: None,
            lock: lock.take().expect("taken by the caller, and given away only here"),
        };
        store.forget_changes();
        store.collect_garbage();
        Ok(store)
    }

    /// Whether the previous owner was killed or lost power, and no complete check has passed since.
    pub fn was_unclean(&self) -> bool {
        !self.checked.load(Ordering::Relaxed)
    }

    /// Whether what `place` names now is what this store has open: the same directories, its lock, its commit point.
    ///
    /// False after `git clean`, or after the project was moved or cloned again: readers would not find what is written
    /// here.
    pub fn is_at(&self, place: impl Into<Place>) -> bool {
        let look = || -> Result<bool> {
            let Some(now) = place.into().open()? else { return Ok(false) };
            let same = |name: &str, ours: Identity| -> Result<bool> {
                Ok(match now.folder(name)? {
                    Some(folder) => folder.identity()? == ours,
                    None => false,
                })
            };
            Ok(now.identity()? == self.folder.identity()?
                && self.lock.is_of(&now)
                && same(VECTORS, self.vector_folder.identity()?)?
                && same(TEXT, self.text_identity)?
                && self.text.is_there())
        };
        look().unwrap_or(false)
    }

    /// Notes that reading failed. The next open then fails with this problem, and the next index run rebuilds the
    /// index.
    pub fn note_damage(&self, problem: &str) -> Result<()> {
        let problem = problem.replace('\n', " ");
        files::mark_damaged(&self.folder, &Error::IndexDamaged { path: self.folder.path().to_path_buf(), problem })
    }

    /// The check that reads every byte, due when [`Store::was_unclean`]. It needs neither this store nor its lock.
    pub fn check(&self) -> Check {
        Check { folder: self.folder.clone(), secret: self.secret, passed: self.checked.clone() }
    }

    /// Checks every byte of an index that this process does not own; writes nothing.
    pub fn verify_read_only(place: impl Into<Place>) -> Result<()> {
        let place = place.into();
        let folder = snapshot::existing(&place)?;
        verify::verify(&folder, place.secret(), &|| false).map(drop)
    }

    /// The check of an index that this process has not opened, after an error in it.
    pub fn check_of(place: impl Into<Place>) -> Result<Check> {
        let place = place.into();
        Ok(Check { folder: snapshot::existing(&place)?, secret: place.secret(), passed: Arc::default() })
    }

    /// How many embeddings are kept for content that is not in the index now, for the next branch switch. Beyond it,
    /// [`Store::release_writer`] deletes those that were used longest ago.
    pub fn keep_spare_embeddings(&mut self, n: usize) {
        self.spare_embeddings = n;
    }

    /// The last committed generation, for a process that is not the owner; works beside one and on a read-only disk.
    ///
    /// It holds what it maps: later commits do not show, open again to see them.
    pub fn open_read_only(place: impl Into<Place>) -> Result<Arc<Snapshot>> {
        Snapshot::open(&place.into())
    }

    /// Deletes the stored embeddings, not the index; gives how many there were.
    pub fn clear_embedding_cache(&mut self) -> Result<u64> {
        self.ask(Cache::clear_vectors)
    }

    /// The last committed generation.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.reader.snapshot()
    }

    /// A handle for other threads that gives the last committed generation each time it is asked.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The space of the vectors that [`Store::put_vectors`] takes; it may not be committed yet.
    pub fn space(&self) -> Option<Space> {
        self.changes.space.clone().or_else(|| self.snapshot().space())
    }

    /// The file table, with what was put since the last commit.
    pub fn files(&self) -> Result<BTreeMap<String, FileRecord>> {
        self.reconcile_files()?;
        let mut files = if self.changes.cleared { BTreeMap::new() } else { self.ask(Cache::files)? };
        for (rel, record) in &self.changes.files {
            match record {
                Some(record) => files.insert(rel.clone(), record.clone()),
                None => files.remove(rel),
            };
        }
        Ok(files)
    }

    /// The part of the committed file table at and below `paths`.
    pub fn files_within(&self, paths: &BTreeSet<String>) -> Result<BTreeMap<String, FileRecord>> {
        self.cache.files_within(paths)
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
        for file in self.text_only().values() {
            (file.first..file.first + file.chunks).for_each(|id| embedded.insert(id));
        }
        let is_pending = |id: u64| !embedded.contains(id) && !self.changes.removed.contains(&id);
        let mut files: BTreeMap<String, PendingFile> = BTreeMap::new();
        snapshot.text.for_each(is_pending, |chunk| {
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
        self.ask(|cache| cache.vectors(&keys, space.dim))
    }

    /// Ends the full-text writer and frees its memory, when nothing waits to be committed; the next change starts
    /// another. Also deletes embeddings beyond [`Store::keep_spare_embeddings`].
    pub fn release_writer(&mut self) -> Result<()> {
        if self.changes.text || self.unsound {
            return Ok(());
        }
        self.text.release()?;
        self.trim_cache()
    }

    /// Deletes embeddings beyond the limit. It does so only once there are an eighth too many, because it reads the
    /// keys of the whole index.
    fn trim_cache(&self) -> Result<()> {
        let (snapshot, limit) = (self.snapshot(), self.spare_embeddings);
        let n_kept = snapshot.vectors.len() as u64 + limit as u64;
        if self.ask(Cache::n_vectors)? <= n_kept + limit as u64 / 8 {
            return Ok(());
        }
        // Eight bytes of each key: two that are equal there keep one embedding more.
        let start = |key: &[u8]| u64::from_le_bytes(key[..8].try_into().expect("keys are longer"));
        let space = snapshot.space().map(|space| start(&vector_key(&space.id, &[0; 32])));
        let mut living = HashSet::with_capacity(snapshot.vectors.len());
        snapshot.text.for_each(|_| true, |chunk| _ = living.insert(start(&chunk.key)))?;
        let is_living = |key: &VectorKey| Some(start(key)) == space && living.contains(&start(&key[8..]));
        self.ask(|cache| cache.trim(limit, is_living))?;
        Ok(())
    }

    /// Reads every byte of the index and compares checksums; then that text and vectors belong together.
    ///
    /// Errors: [`Error::IndexDamaged`] names the first file that is wrong.
    pub fn verify(&self) -> Result<()> {
        format::check(&self.folder)?;
        verify::verify(&self.folder, self.secret, &|| false)?;
        self.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Calls `hook` before each step of every later commit; its error fails the commit there. For crash tests.
    #[doc(hidden)]
    pub fn on_step(&mut self, hook: impl FnMut(Step) -> std::io::Result<()> + Send + 'static) {
        self.hook = Some(Box::new(hook));
    }
}

/// Notes an orderly stop, so that the next owner need not check everything.
impl Drop for Store {
    fn drop(&mut self) {
        self.text.abandon();
        if !self.noted_clean && !self.unsound && !self.was_unclean() && !std::thread::panicking() {
            // An error does no harm: without the note the next owner checks everything once.
            let _ = files::mark_clean(&self.folder, self.manifest.generation);
        }
    }
}
