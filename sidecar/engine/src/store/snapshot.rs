//! What readers see: one generation, text and vectors together, for as long as they hold it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::Space;
use super::files::{READERS, TEXT, VECTORS, check_not_damaged};
use super::{Place, format};
use crate::disk::Folder;
use crate::disk::pins::Pin;
use crate::filter::Filter;
use crate::kernel::Kernel;
use crate::text::places::Place as TextPlace;
use crate::text::record::StoredChunk;
use crate::text::symbols::SymbolHit;
use crate::text::{TextIndex, TextReader};
use crate::vector::manifest::{Manifest, Payload};
use crate::vector::search::Vectors;
use crate::{Error, Result};

/// How often a reader that cannot hold a pin tries to open the index: the owner may delete a file meanwhile.
const OPEN_ATTEMPTS: u32 = 20;
/// Pause between two attempts.
const OPEN_RETRY_DELAY: Duration = Duration::from_millis(5);
/// Longest manifest: two numbers for each run of dead entries, room for millions of runs.
pub(super) const MANIFEST_BYTES: usize = 256 << 20;

/// One generation of an index. Searching takes no lock and blocks no writer; later commits do not show.
pub struct Snapshot {
    /// The generation.
    pub generation: u64,
    pub(super) folder: Folder,
    pub(super) manifest: Manifest,
    pub(super) text: TextReader,
    pub(super) vectors: Vectors,
}

/// A file of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedFile {
    /// The name of its language.
    pub language: String,
    /// The identity of the text that its chunks were cut from.
    pub hash: [u8; 32],
    /// Its chunks.
    pub chunks: u64,
    /// Those of them that have a vector.
    pub vectors: u64,
    /// Its chunks never get a vector.
    pub text_only: bool,
}

/// Figures about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Files in the table at this generation.
    pub files: u64,
    /// Living chunks.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Chunks of long texts, which never get one.
    pub text_only: u64,
    /// The model space of the vectors.
    pub space: Option<Space>,
}

impl Snapshot {
    /// The figures, without reading from disk.
    pub fn stats(&self) -> Stats {
        Stats {
            files: self.manifest.files,
            chunks: self.text.n_chunks(),
            vectors: self.vectors.len() as u64,
            text_only: self.manifest.text_only_chunks(),
            space: self.space(),
        }
    }

    /// How many files were left out, by the name of the reason.
    pub fn skipped(&self) -> &BTreeMap<String, u64> {
        &self.manifest.skipped
    }

    /// Bytes of all long texts.
    pub fn text_only_bytes(&self) -> u64 {
        self.manifest.text_only.values().map(|file| file.bytes).sum()
    }

    /// Whether the index has this file as a long text, whose chunks never get a vector.
    pub fn is_text_only(&self, rel: &str) -> bool {
        self.manifest.text_only.contains_key(rel)
    }

    /// Whether all files were read and cut as this build does it. Until an index run has done so again, an index that
    /// another build made answers with what that build knew of words and names.
    pub fn is_current(&self) -> bool {
        self.generation == 0 || self.manifest.content == super::content::CONTENT
    }

    /// Whether the index at `place` is still the one that this was read from: not after `git clean`, nor after the
    /// project was moved or cloned again.
    pub fn is_at(&self, place: &Place) -> bool {
        let look = || -> Result<bool> {
            let Some(now) = place.open()? else { return Ok(false) };
            let is_same = now.identity()? == self.folder.identity()?;
            let has_commit = now.folder(TEXT)?.is_some_and(|text| text.has("meta.json")) && now.has(VECTORS);
            Ok(is_same && (self.generation == 0 || has_commit))
        };
        look().unwrap_or(false)
    }

    /// Bytes of the data directory now, with what older generations still hold; walks it.
    pub fn bytes_on_disk(&self) -> u64 {
        super::files::bytes_on_disk(&self.folder)
    }

    /// The model space of the vectors; `None` until one is set.
    pub fn space(&self) -> Option<Space> {
        let id = self.manifest.space.clone()?;
        Some(Space { id, dim: self.manifest.dim as usize })
    }

    /// The best `limit` chunks for the words of `query` with their BM25 score, best first.
    ///
    /// A query without a word gives nothing. Errors: a path glob that is not one.
    pub fn search_text(&self, query: &str, filter: &Filter, limit: usize) -> Result<Vec<(u64, f32)>> {
        self.text.search(query, filter, limit)
    }

    /// Chunks that define exactly the symbol `name`: same case first, then any case.
    pub fn search_definitions(&self, name: &str, filter: &Filter, limit: usize) -> Result<Vec<u64>> {
        self.text.definitions(name, filter, limit)
    }

    /// For each place the chunks that it may mean; at most `most` places are found. See [`crate::text::places`].
    pub fn search_places(&self, places: &[TextPlace<'_>], filter: &Filter, most: usize) -> Result<Vec<Vec<u64>>> {
        self.text.chunks_at(places, filter, most)
    }

    /// How rare `word` is among the paths of chunks, 0 to 1: near 0 where half of the paths have it.
    pub fn path_weight(&self, word: &str) -> Result<f32> {
        self.text.path_weight(word)
    }

    /// Whether a file of the index has this path.
    pub fn has_path(&self, rel: &str) -> Result<bool> {
        self.text.has_path(rel)
    }

    /// A file of the index by its path; `None` also for one that has no chunk.
    pub fn file(&self, rel: &str) -> Result<Option<IndexedFile>> {
        let ids = self.text.ids_of_path(rel)?;
        let Some(first) = ids.first() else { return Ok(None) };
        let Some(chunk) = self.text.chunks(&[*first])?.pop().flatten() else { return Ok(None) };
        let vectors = ids.iter().filter(|id| self.vectors.contains(**id)).count() as u64;
        let (language, hash, text_only) = (chunk.language, chunk.file_hash, self.is_text_only(rel));
        Ok(Some(IndexedFile { language, hash, chunks: ids.len() as u64, vectors, text_only }))
    }

    /// Definitions whose name fits `name`, best first, and whether there are more; see [`crate::text::symbols`].
    pub fn search_symbols(&self, name: &str, filter: &Filter, limit: usize) -> Result<(Vec<SymbolHit>, bool)> {
        self.text.symbols(name, filter, limit)
    }

    /// The filter with its chunks worked out, so that several searches of this generation need not do it, and the places
    /// of the globs that no file fits.
    ///
    /// Errors: [`Error::Glob`].
    pub fn narrow(&self, filter: Filter) -> Result<(Filter, Vec<usize>)> {
        self.text.narrow(filter)
    }

    /// The `limit` chunks nearest to `query` with their cosine, nearest first.
    ///
    /// Errors: [`Error::Shape`] when `query` has another dimension, [`Error::NotFinite`] when it has no direction.
    pub fn search_vectors(
        &self,
        query: &[f32],
        filter: &Filter,
        limit: usize,
        kernel: &Kernel,
    ) -> Result<Vec<(u64, f32)>> {
        let allowed = self.text.allowed(filter)?;
        self.vectors.search(query, allowed.as_ref(), limit, kernel)
    }

    /// The vectors of this generation.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// What is stored about each chunk; `None` for ids that are not in this generation.
    pub fn chunks(&self, ids: &[u64]) -> Result<Vec<Option<StoredChunk>>> {
        self.text.chunks(ids)
    }

    /// The last committed generation at `place`, without its lock.
    pub(super) fn open(place: &Place) -> Result<Arc<Snapshot>> {
        let folder = existing(place)?;
        check_not_damaged(&folder)?;
        let readers = folder.folder(READERS)?;
        let mut attempt = 1;
        loop {
            let pin = readers.as_ref().and_then(Pin::take);
            match Self::open_pinned(&folder, place.secret()) {
                Ok((snapshot, _)) => return Ok(Arc::new(snapshot)),
                // Nothing is collected under a pin. Without one, what was about to be opened may be.
                Err(e) if pin.is_some() || attempt >= OPEN_ATTEMPTS || !matches!(e, Error::IndexDamaged { .. }) => {
                    return Err(e);
                }
                Err(_) => std::thread::sleep(OPEN_RETRY_DELAY),
            }
            attempt += 1;
        }
    }

    /// The last committed generation and its full-text index, whose files the caller's pin keeps.
    pub(super) fn open_pinned(folder: &Folder, secret: Option<[u8; 32]>) -> Result<(Snapshot, TextIndex)> {
        let inner = |name: &str| {
            let missing =
                || Error::IndexDamaged { path: folder.path_of(name), problem: "the folder is missing".into() };
            folder.folder(name)?.ok_or_else(missing)
        };
        let index = TextIndex::open_read_only(inner(TEXT)?, secret)?;
        let payload = index.payload()?;
        let vector_folder = if payload.is_some() { inner(VECTORS)? } else { folder.clone() };
        let (manifest, vectors) = load(&vector_folder, payload.as_deref(), &Vectors::default())?;
        let text = index.reader()?;
        Ok((Snapshot { generation: manifest.generation, folder: folder.clone(), manifest, text, vectors }, index))
    }
}

/// The directory of an index that is there, is ours and has this build's format.
pub(super) fn existing(place: &Place) -> Result<Folder> {
    let absent = || {
        let absent = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no index");
        Error::io("open", &place.path(), absent)
    };
    let folder = place.open()?.ok_or_else(absent)?;
    if super::files::is_empty(&folder) {
        return Err(absent());
    }
    place.check_seal(&folder)?;
    if format::check(&folder)? { Ok(folder) } else { Err(absent()) }
}

/// Whether `vectors` has the manifest of any generation.
pub(super) fn any_manifest(vectors: &Folder) -> bool {
    let is_manifest = |name: &str| name.starts_with("gen-") && name.ends_with(".json");
    vectors.names().is_ok_and(|names| names.iter().any(|name| is_manifest(name)))
}

/// The manifest and vectors that a commit's payload names.
pub(super) fn load(vectors: &Folder, payload: Option<&str>, known: &Vectors) -> Result<(Manifest, Vectors)> {
    let Some(payload) = payload else { return Ok(Default::default()) };
    let payload = Payload::decode(payload).ok_or_else(|| Error::IndexDamaged {
        path: vectors.path().with_file_name(TEXT).join("meta.json"),
        problem: "its payload names no generation".into(),
    })?;
    let name = Manifest::file_name(payload.generation);
    let path = vectors.path_of(&name);
    let missing = || Error::IndexDamaged { path: path.clone(), problem: "the file is missing".into() };
    let bytes = vectors.read(&name, MANIFEST_BYTES)?.ok_or_else(missing)?;
    let manifest = Manifest::decode(&path, &bytes, &payload)?;
    let vectors = Vectors::open(vectors, &manifest, known.parts())?;
    Ok((manifest, vectors))
}

/// A handle that always gives the newest snapshot; clone it into every thread that searches.
#[derive(Clone)]
pub struct Reader(Arc<RwLock<Arc<Snapshot>>>);

impl Reader {
    pub(super) fn new(snapshot: Snapshot) -> Reader {
        Reader(Arc::new(RwLock::new(Arc::new(snapshot))))
    }

    /// The newest generation. The lock inside is held for the copy of one pointer.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
