//! The daemon's project: one writer, many readers.

mod tend;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use offheap_engine::chunk::ChunkLimits;
use offheap_engine::index::{self, Host, Settings};
use offheap_engine::kernel;
use offheap_engine::search::{self, Hit, Query};
use offheap_engine::store::{Filter, Snapshot, Space, Store};
use offheap_engine::walk::WalkRules;
use offheap_protocol::message::{IndexReport, IndexStatus, Phase, Progress, SearchMode, SearchReport, SkippedFile};
use offheap_protocol::{Code, Fault};
use tokio::sync::watch;

use crate::batcher::{Batcher, Loaded};
use crate::config::{self, Config};
use crate::fault;

/// One project, open or not.
pub struct Project {
    root: PathBuf,
    /// The owner's handle; held for the whole of an index run.
    store: Mutex<Option<Store>>,
    /// What searches use: always a committed generation.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    indexing: AtomicBool,
    /// A thread looks after large segments.
    tending: AtomicBool,
    /// The daemon is leaving: a run commits what it has and ends.
    stopping: AtomicBool,
}

/// Skipped files that an answer names: all of them in an odd tree would not fit a frame.
const LISTED_SKIPS: usize = 5_000;

/// What a search asks for, decoded.
pub struct Search {
    pub query: String,
    pub mode: SearchMode,
    pub limit: usize,
    pub filter: Filter,
}

impl Project {
    /// Nothing is opened yet.
    pub fn new(root: PathBuf) -> Self {
        Project {
            root,
            store: Mutex::new(None),
            snapshot: Mutex::new(None),
            indexing: AtomicBool::new(false),
            tending: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An index run is in progress.
    pub fn is_indexing(&self) -> bool {
        self.indexing.load(Ordering::Relaxed)
    }

    /// Makes a run commit and end, waits for that, and lets go of the index.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.store.lock().map(|mut store| *store = None));
    }

    /// Drops what is held in memory; `stored` also deletes the embedding cache. Gives the embeddings deleted.
    pub fn clear_cache(&self, stored: bool) -> Result<u64, Fault> {
        let Ok(mut slot) = self.store.try_lock() else {
            return Err(Fault::new(Code::IndexBusy, "this project is being indexed").hint("wait for it"));
        };
        let data_dir = config::data_dir(&self.root);
        let mut deleted = 0;
        if stored && data_dir.join("format").is_file() {
            let store = match &mut *slot {
                Some(store) => store,
                empty => empty.insert(open(&data_dir, false)?),
            };
            deleted = store.clear_embedding_cache().map_err(|error| fault::from_engine(&error))?;
        }
        *slot = None;
        *self.snapshot.lock().expect(UNPOISONED) = None;
        Ok(deleted)
    }

    /// Lets go of the index; the next use opens it anew. Does nothing while an index run holds it.
    pub fn evict(&self) {
        if let Ok(mut store) = self.store.try_lock() {
            *store = None;
            *self.snapshot.lock().expect(UNPOISONED) = None;
        }
    }

    /// Brings the index up to date. Blocks for as long as that takes.
    pub fn index(
        &self,
        rebuild: bool,
        batcher: &Batcher,
        cancelled: &Arc<AtomicBool>,
        progress: &watch::Sender<Progress>,
    ) -> Result<IndexReport, Fault> {
        if self.indexing.swap(true, Ordering::AcqRel) {
            return Err(Fault::new(Code::IndexBusy, "this project is being indexed already")
                .hint("wait for it, or search what is there"));
        }
        let _flag = ClearOnDrop(&self.indexing);
        let config = Config::read(&self.root)?;
        config::init(&self.root)?;
        let mut slot = self.store.lock().unwrap_or_else(|poisoned| repaired(poisoned.into_inner()));
        self.store.clear_poison();
        let data_dir = config::data_dir(&self.root);
        if rebuild {
            *slot = None;
            *self.snapshot.lock().expect(UNPOISONED) = None;
        }
        let store = match &mut *slot {
            Some(store) => store,
            empty => empty.insert(open(&data_dir, rebuild)?),
        };
        if rebuild {
            store.clear().map_err(|error| fault::from_engine(&error))?;
        } else if store.snapshot().generation > 0 {
            // Searches go on over the last generation while this run holds the store.
            *self.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
        }
        let settings = Settings {
            rules: WalkRules {
                max_file_bytes: config.index.max_file_bytes,
                include: config.index.include,
                exclude: config.index.exclude,
            },
            limits: ChunkLimits::default(),
        };
        let mut host =
            Run { project: self, batcher, cancelled, progress, started: Instant::now(), last: None, space: None };
        let report = match index::run(store, &self.root, &settings, &mut host) {
            Ok(report) => report,
            Err(RunError(fault)) => {
                let left = fault.code == Code::Cancelled && !cancelled.load(Ordering::Relaxed);
                let fault =
                    if left { Fault::new(Code::Leaving, "the daemon is leaving; what is done is kept") } else { fault };
                // A failed write may have left the writer half way; the files hold the last commit.
                *slot = None;
                return Err(fault);
            }
        };
        store.release_writer().map_err(|error| fault::from_engine(&error))?;
        let stats = store.snapshot().stats();
        Ok(IndexReport {
            generation: report.generation,
            files: report.files,
            files_changed: report.files_changed,
            files_removed: report.files_removed,
            skipped_total: report.skipped.len() as u64,
            skipped: report
                .skipped
                .into_iter()
                .take(LISTED_SKIPS)
                .map(|skipped| SkippedFile { path: skipped.rel, reason: skipped.reason.as_str().to_owned() })
                .collect(),
            chunks: stats.chunks,
            vectors: stats.vectors,
            embedded: report.embedded,
            reused: report.reused,
            tokens: report.tokens,
            text_ms: millis(report.text),
            total_ms: millis(report.total),
        })
    }

    fn published(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.lock().expect(UNPOISONED).clone()
    }

    /// The owner's handle, waited for while another request opens it; `None` while the first index run of all holds
    /// it and has committed nothing yet.
    fn store_for_reading(&self) -> Option<MutexGuard<'_, Option<Store>>> {
        loop {
            match self.store.try_lock() {
                Ok(slot) => return Some(slot),
                Err(TryLockError::Poisoned(poisoned)) => return Some(repaired(poisoned.into_inner())),
                Err(TryLockError::WouldBlock) if self.is_indexing() => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The committed generation that searches use; opens the index if nobody did.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Fault> {
        if let Some(snapshot) = self.published() {
            return Ok(snapshot);
        }
        let no_index = || {
            Fault::new(Code::NoIndex, format!("`{}` has no index yet", self.root.display()))
                .hint("run `offheap index`, or call client.index()")
        };
        let data_dir = config::data_dir(&self.root);
        if !data_dir.join("format").is_file() {
            return Err(no_index());
        }
        let Some(mut slot) = self.store_for_reading() else { return Err(no_index()) };
        if let Some(snapshot) = self.published() {
            return Ok(snapshot); // another request opened it meanwhile
        }
        let store = match &mut *slot {
            Some(store) => store,
            empty => empty.insert(open(&data_dir, false)?),
        };
        let snapshot = store.snapshot();
        if snapshot.stats().chunks == 0 && snapshot.generation == 0 {
            return Err(no_index());
        }
        *self.snapshot.lock().expect(UNPOISONED) = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Ranks chunks. `embedded` is the query's vector, or why there is none.
    pub fn search(
        &self,
        search: &Search,
        embedded: Option<Result<(Vec<f32>, Loaded), Fault>>,
    ) -> Result<SearchReport, Fault> {
        let started = Instant::now();
        let snapshot = self.snapshot()?;
        let stats = snapshot.stats();
        let mut degraded = None;
        let (mut vector, mut scan, mut space) = (None, None, None);
        match embedded {
            None => {}
            Some(Err(fault)) if search.mode == SearchMode::Semantic => return Err(fault),
            Some(Err(fault)) => degraded = Some(format!("text only: {} ({})", fault.message, fault.code)),
            Some(Ok((row, model))) => {
                let ours = space_of(&model);
                match &stats.space {
                    Some(theirs) if *theirs == ours => {
                        if stats.vectors < stats.chunks {
                            degraded =
                                Some(format!("{} of {} chunks have vectors so far", stats.vectors, stats.chunks));
                        }
                        (vector, scan, space) = (Some(row), Some(model.kernel.0), Some(ours.id));
                    }
                    None if search.mode == SearchMode::Hybrid => {
                        degraded = Some("text only: no vectors yet".to_owned())
                    }
                    _ if search.mode == SearchMode::Hybrid => {
                        degraded =
                            Some("text only: the index holds another model's vectors; run `offheap index`".to_owned());
                    }
                    _ => {
                        return Err(Fault::new(Code::NoIndex, "the index holds no vectors of the present model")
                            .hint("run `offheap index`, or search with mode text"));
                    }
                }
            }
        }
        let use_text = search.mode != SearchMode::Semantic;
        let query = Query {
            text: &search.query,
            use_text,
            vector: vector.as_deref(),
            filter: search.filter.clone(),
            limit: search.limit,
        };
        let kernel = scan.unwrap_or_else(|| kernel::choose(None).expect("portable always runs"));
        let hits = search::search(&snapshot, &self.root, &query, kernel).map_err(|error| fault::from_engine(&error))?;
        Ok(SearchReport {
            hits: hits.into_iter().map(hit).collect(),
            mode: match (use_text, vector.is_some()) {
                (true, true) => "hybrid",
                (false, _) => "semantic",
                (true, false) => "text",
            }
            .to_owned(),
            degraded,
            space,
            generation: snapshot.generation,
            chunks: stats.chunks,
            vectors: stats.vectors,
            embed_us: 0,
            search_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// For `status`; opens the index if nobody did.
    pub fn status(&self) -> Option<IndexStatus> {
        let snapshot = self.snapshot().ok()?;
        let stats = snapshot.stats();
        Some(IndexStatus {
            generation: snapshot.generation,
            files: stats.files,
            chunks: stats.chunks,
            vectors: stats.vectors,
            bytes: snapshot.bytes_on_disk(),
        })
    }
}

const UNPOISONED: &str = "no code that panics runs under this lock";

/// After a panic the store is in an unknown state, its files are not.
fn repaired(mut slot: MutexGuard<'_, Option<Store>>) -> MutexGuard<'_, Option<Store>> {
    *slot = None;
    slot
}

fn open(data_dir: &Path, rebuild: bool) -> Result<Store, Fault> {
    use offheap_engine::Error;
    match Store::open(data_dir) {
        // Asked for, and nothing but the data directory goes: everything in it is made from the tree. What the model
        // computed is the costly part, and the store itself judges whether that file can be used.
        Err(Error::IndexDamaged { .. } | Error::Text(_)) if rebuild => {
            empty(data_dir, &["owner.lock", "cache.redb"])?;
            Store::open(data_dir)
        }
        Err(Error::IndexFormat { .. }) if rebuild => {
            empty(data_dir, &["owner.lock"])?;
            Store::open(data_dir)
        }
        other => other,
    }
    .map_err(|error| fault::from_engine(&error))
}

/// Removes everything in `dir` but `keep`.
fn empty(dir: &Path, keep: &[&str]) -> Result<(), Fault> {
    let remove = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if keep.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| fault::io(&error, format!("cannot empty `{}`: {error}", dir.display())))
}

fn space_of(model: &Loaded) -> Space {
    // Sixteen hex digits of the file's SHA-256 tell any two files apart.
    Space { id: format!("{}:{}", model.info.name, &model.info.fingerprint[..16]), dim: model.info.dim }
}

/// The vector space's name, as results carry it.
pub fn space_id(model: &Loaded) -> String {
    space_of(model).id
}

fn hit(hit: Hit) -> offheap_protocol::message::Hit {
    offheap_protocol::message::Hit {
        path: hit.chunk.rel,
        first_line: hit.chunk.first_line,
        last_line: hit.chunk.last_line,
        score: hit.score,
        language: hit.chunk.language,
        scope: hit.chunk.scope,
        symbols: hit.chunk.symbols.into_iter().map(|(name, _)| name).collect(),
        text: hit.text,
        stale: hit.stale,
    }
}

struct ClearOnDrop<'a>(&'a AtomicBool);

impl Drop for ClearOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// An index run's surroundings.
struct Run<'a> {
    project: &'a Project,
    batcher: &'a Batcher,
    cancelled: &'a Arc<AtomicBool>,
    progress: &'a watch::Sender<Progress>,
    started: Instant,
    last: Option<Instant>,
    /// The space that the run began with: a model file that is replaced meanwhile must not be mixed in.
    space: Option<Space>,
}

/// An error of the run, already a fault.
struct RunError(Fault);

impl From<offheap_engine::Error> for RunError {
    fn from(error: offheap_engine::Error) -> Self {
        RunError(fault::from_engine(&error))
    }
}

impl Host for Run<'_> {
    type Error = RunError;

    fn space(&mut self) -> Result<Space, RunError> {
        let space = space_of(&self.batcher.load_blocking().map_err(RunError)?);
        self.space = Some(space.clone());
        Ok(space)
    }

    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), RunError> {
        let embedded = self.batcher.embed_blocking(texts, self.cancelled.clone()).map_err(RunError)?;
        if self.space.as_ref() != Some(&space_of(&embedded.model)) {
            let fault = Fault::new(Code::Leaving, "the model file changed during the run");
            return Err(RunError(fault.hint("run `offheap index` again")));
        }
        let tokens = embedded.tokens.iter().map(|n| u64::from(*n)).sum();
        Ok((embedded.rows, tokens))
    }

    fn progress(&mut self, phase: index::Phase, done: u64, total: u64, path: &str) {
        // Ten a second are seen; more would only be work.
        let fresh = |at: &Instant| at.elapsed() < Duration::from_millis(50);
        if done > 0 && done < total && self.last.as_ref().is_some_and(fresh) {
            return;
        }
        self.last = Some(Instant::now());
        let phase = match phase {
            index::Phase::Scan => Phase::Scan,
            index::Phase::Text => Phase::Text,
            index::Phase::Embed => Phase::Embed,
        };
        let elapsed_ms = millis(self.started.elapsed());
        self.progress.send_replace(Progress { phase, done, total, elapsed_ms, path: path.to_owned() });
    }

    fn committed(&mut self, store: &Store) {
        *self.project.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.project.stopping.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
