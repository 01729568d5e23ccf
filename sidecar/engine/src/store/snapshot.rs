//! What readers see: one generation, text and vectors together, for as long as they hold it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::Space;
use super::files::{bytes_on_disk, check_format};
use crate::kernel::Kernel;
use crate::text::filter::Filter;
use crate::text::record::StoredChunk;
use crate::text::{TextIndex, TextReader};
use crate::vector::manifest::{Manifest, Payload};
use crate::vector::search::Vectors;
use crate::{Error, Result};

/// A reader without the lock can meet files that the owner collects meanwhile; it opens again, this often.
const OPEN_ATTEMPTS: u32 = 20;
const OPEN_RETRY_DELAY: Duration = Duration::from_millis(5);

/// One generation of an index. Searching takes no lock and blocks no writer; later commits do not show.
pub struct Snapshot {
    /// The generation.
    pub generation: u64,
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) text: TextReader,
    pub(super) vectors: Vectors,
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
    /// The model space of the vectors.
    pub space: Option<Space>,
}

impl Snapshot {
    /// Figures, from memory: every search asks for them.
    pub fn stats(&self) -> Stats {
        Stats {
            files: self.manifest.files,
            chunks: self.text.n_chunks(),
            vectors: self.vectors.len() as u64,
            space: self.space(),
        }
    }

    /// Bytes of the data directory now, with what older generations still hold; walks it.
    pub fn bytes_on_disk(&self) -> u64 {
        bytes_on_disk(&self.dir)
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

    /// The last committed generation of `dir`, without its lock.
    pub(super) fn open(dir: &Path) -> Result<Arc<Snapshot>> {
        if !check_format(dir)? {
            let absent = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no index");
            return Err(Error::io("open", dir, absent));
        }
        let mut attempt = 1;
        loop {
            match Self::open_once(dir) {
                Ok(Some(snapshot)) => return Ok(Arc::new(snapshot)),
                Err(e) if attempt >= OPEN_ATTEMPTS || !matches!(e, Error::IndexDamaged { .. } | Error::Text(_)) => {
                    return Err(e);
                }
                Ok(None) | Err(_) => std::thread::sleep(OPEN_RETRY_DELAY),
            }
            attempt += 1;
        }
    }

    /// `None` when the owner committed in the middle.
    fn open_once(dir: &Path) -> Result<Option<Snapshot>> {
        let text = TextIndex::open_read_only(&dir.join("text"))?;
        let before = text.payload()?;
        text.reload()?;
        let (manifest, vectors) = load(dir, before.as_deref(), &Vectors::default())?;
        if text.payload()? != before {
            return Ok(None);
        }
        let text = text.reader()?;
        Ok(Some(Snapshot { generation: manifest.generation, dir: dir.to_path_buf(), manifest, text, vectors }))
    }
}

/// The manifest and vectors that a commit's payload names.
pub(super) fn load(dir: &Path, payload: Option<&str>, known: &Vectors) -> Result<(Manifest, Vectors)> {
    let Some(payload) = payload else { return Ok(Default::default()) };
    let payload = Payload::decode(payload).ok_or_else(|| Error::IndexDamaged {
        path: dir.join("text").join("meta.json"),
        problem: "its payload names no generation".into(),
    })?;
    let vector_dir = dir.join("vectors");
    let path = vector_dir.join(Manifest::file_name(payload.generation));
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::IndexDamaged { path: path.clone(), problem: "the file is missing".into() }
        }
        _ => Error::io("read", &path, e),
    })?;
    let manifest = Manifest::decode(&path, &bytes, &payload)?;
    let vectors = Vectors::open(&vector_dir, &manifest, known.parts())?;
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
