//! The daemon's project: its index, opened by one writer and read by many searches, and the watch over its files.
//!
//! - `opening`: which index is open and who owns it: this process, or another one whose commits are read.
//! - `runs`: index runs that clients ask for, background runs, and which gives way to which.
//! - `indexing`: one run, from the configuration to the committed generation.
//! - `check`: damage, and the background check that looks for it.
//! - `search` and `hits`: questions, and answers as they go over the wire.
//! - `watch`: which paths changed and which searches wait for them; `follow`: the thread that indexes these changes.
//! - `maintain`: graphs of large segments, built while no request needs the index.

mod check;
mod filter;
pub mod follow;
mod hits;
mod indexing;
mod maintain;
mod opening;
mod runs;
pub mod search;
pub mod watch;
pub mod why;
pub mod width;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use offheap_engine::disk::Tree;
use offheap_engine::store::{Place, Space, Store};
use offheap_protocol::message::{CacheStatus, IndexStatus};
use offheap_protocol::{Code, Fault};

use crate::config;
use crate::fault;
use check::Health;
pub use indexing::IndexRequest;
use opening::Index;
use runs::Runs;
use watch::Watch;

/// One project, with its index open or not.
pub struct Project {
    root: PathBuf,
    /// The root directory, held open since the daemon began: what is at its path later may be another directory, or a link.
    tree: Option<Tree>,
    /// The handle that can write the index, while this process owns it. Locked for the whole of an index run.
    store: Mutex<Option<Store>>,
    /// What searches read. Locked for moments only.
    index: Mutex<Index>,
    /// Held while another process's index is opened, so that searches which arrive together open it once.
    borrowing: Mutex<()>,
    runs: Runs,
    health: Health,
    watch: Watch,
    /// Vectors that index runs found in the embedding cache.
    cache_hits: AtomicU64,
    /// Vectors that index runs did not find there.
    cache_misses: AtomicU64,
}

impl Project {
    /// A project whose index the first request opens (the rule of starting, `daemon/mod.rs`).
    pub fn new(root: PathBuf) -> Self {
        // Windows keeps an open directory from being moved or removed, so there it is opened for each use.
        let tree = if cfg!(windows) { None } else { Tree::open(&root).ok() };
        Project {
            watch: Watch::new(root.clone(), tree.clone()),
            tree,
            root,
            store: Mutex::new(None),
            index: Mutex::new(Index::Closed),
            borrowing: Mutex::new(()),
            runs: Runs::default(),
            health: Health::default(),
            cache_hits: AtomicU64::new(0),
            cache_misses: AtomicU64::new(0),
        }
    }

    /// Path of the project's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the path still leads to the directory that was there when the daemon began. If it was moved, deleted or
    /// replaced, the open index and the watch belong to another project than the path does.
    pub fn is_in_place(&self) -> bool {
        let Ok(now) = Tree::open(&self.root).and_then(|tree| tree.identity()) else { return false };
        self.tree.as_ref().is_none_or(|tree| tree.identity().is_ok_and(|began| began == now))
    }

    /// The project's directory, opened.
    pub fn tree(&self) -> Result<Tree, Fault> {
        let gone = || Fault::new(Code::Io, format!("the project's directory `{}` is gone", self.root.display()));
        self.tree.clone().or_else(|| Tree::open(&self.root).ok()).ok_or_else(gone)
    }

    fn place(&self) -> Result<Place, Fault> {
        self.tree().map(|tree| config::place_in(&tree))
    }

    /// What is known about changed files.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Whether an index run that a client asked for is in progress.
    pub fn is_indexing(&self) -> bool {
        self.runs.is_requested()
    }

    /// Whether a request needs the store; background runs give way to it.
    pub fn is_store_wanted(&self) -> bool {
        self.runs.is_store_wanted()
    }

    /// Stops a background run. What it computed is kept, and the next run continues there.
    pub fn stop_background_run(&self) {
        self.runs.stop_background();
    }

    /// Makes a run commit and end, waits for that, and closes the index. The daemon is shutting down.
    pub fn close(&self) {
        self.runs.shut_down();
        self.watch.stop();
        let _wanted = self.runs.want_store();
        *self.lock_store() = None;
    }

    /// Closes the index; with `stored` also deletes its embedding cache. Returns how many embeddings were deleted.
    ///
    /// Errors: `INDEX_BUSY` during an index run that a client asked for.
    pub fn clear_cache(&self, stored: bool) -> Result<u64, Fault> {
        if self.is_indexing() {
            return Err(Fault::new(Code::IndexBusy, "this project is being indexed").hint("wait for it"));
        }
        let _wanted = self.runs.want_store();
        let mut slot = self.lock_store();
        let place = self.place()?;
        self.drop_lost_store(&mut slot, &place);
        let mut deleted = 0;
        if stored && config::has_index(&place)? {
            let store = match &mut *slot {
                Some(store) => store,
                empty => empty.insert(self.open_store(&place)?),
            };
            deleted = store.clear_embedding_cache().map_err(|error| fault::from_engine(&error))?;
        }
        *slot = None;
        self.set_index(Index::Closed);
        Ok(deleted)
    }

    /// How often index runs found a vector in the embedding cache.
    pub fn cache_counts(&self) -> CacheStatus {
        CacheStatus { hits: self.cache_hits.load(Ordering::Relaxed), misses: self.cache_misses.load(Ordering::Relaxed) }
    }

    fn count_cache(&self, hits: u64, misses: u64) {
        self.cache_hits.fetch_add(hits, Ordering::Relaxed);
        self.cache_misses.fetch_add(misses, Ordering::Relaxed);
    }

    /// Numbers about the index for `status`, which opens nothing for longer than the call. `loaded` is the vector space of the
    /// loaded model.
    pub fn status(&self, loaded: Option<&Space>) -> Option<IndexStatus> {
        let place = self.place().ok()?;
        let snapshot = match self.published().filter(|snapshot| snapshot.is_at(&place)) {
            Some(snapshot) => snapshot,
            None => Store::open_read_only(&place).ok().filter(|snapshot| snapshot.generation > 0)?,
        };
        let stats = snapshot.stats();
        Some(IndexStatus {
            generation: snapshot.generation,
            files: stats.files,
            chunks: stats.chunks,
            vectors: stats.vectors,
            bytes: snapshot.bytes_on_disk(),
            text_only: stats.text_only,
            skipped_by_reason: search::skip_counts(snapshot.skipped()),
            text_search: stats.chunks > 0,
            vector_search: stats.vectors > 0 && loaded.is_none_or(|loaded| stats.space.as_ref() == Some(loaded)),
        })
    }
}
