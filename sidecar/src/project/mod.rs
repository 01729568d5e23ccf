//! The daemon's project: one writer, many readers.

mod maintain;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use offheap_engine::chunk::{ChunkLimits, Language};
use offheap_engine::disk::Tree;
use offheap_engine::grep;
use offheap_engine::index::{self, Host, Part, Settings};
use offheap_engine::kernel;
use offheap_engine::rank::Weights;
use offheap_engine::search::{self, Query};
use offheap_engine::store::{Check, Filter, Place, Snapshot, Space, Stamp, Store, StoredChunk};
use offheap_engine::walk::{Skipped, WalkRules};
use offheap_protocol::message::{
    Case, Contribution, Coverage, Hit, IndexReport, IndexStatus, Phase, Priority, Progress, SearchMode, SearchReport,
    SearchRequest, SkippedFile, Span, SymbolMatch,
};
use offheap_protocol::{Code, Fault};
use tokio::sync::watch::Sender;

use crate::config::{self, Config, IndexConfig};
use crate::failpoint;
use crate::fault;
use crate::log::log;
use crate::model::queue::{Batcher, Loaded};
use watch::{Changes, Stage, Watch};

/// One project, open or not.
pub struct Project {
    root: PathBuf,
    /// The root, open since the daemon began: what is at its path later may be another directory, or a link to one.
    tree: Option<Tree>,
    /// The owner's handle; held for the whole of an index run.
    store: Mutex<Option<Store>>,
    /// What searches use: always a committed generation.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// What cancels the index run that somebody asked for; none while there is no such run.
    run: Mutex<Option<Arc<AtomicBool>>>,
    /// The check of every byte that began when an index run opened the index.
    check: Mutex<Option<JoinHandle<()>>>,
    /// Requests that need the store: a run for nobody gives way to them.
    wanted: AtomicUsize,
    /// What stops the run for nobody that is in progress.
    background: Mutex<Option<Arc<AtomicBool>>>,
    /// The last index run was stopped by who asked for it: what it left is not computed unasked.
    paused: AtomicBool,
    /// A thread looks after large segments.
    tending: AtomicBool,
    /// The daemon is leaving: a run commits what it has and ends.
    stopping: Arc<AtomicBool>,
    /// The check after an unclean stop found damage: what is open is let go, and opening says so.
    damaged: Arc<AtomicBool>,
    /// When the index was last seen to be where it should be.
    looked: Mutex<Option<Instant>>,
    /// Another process owns the index: what of it is open here.
    guest: Mutex<Option<Visit>>,
    /// The same as a flag: opening holds the mutex.
    is_guest: AtomicBool,
    watch: Watch,
}

/// A committed generation of an index that another process owns.
struct Visit {
    snapshot: Arc<Snapshot>,
    /// When its commit point was written: another one there means a newer generation.
    stamp: Stamp,
    /// When it was last tried to own the index instead.
    tried: Instant,
}

/// How often a guest tries to become the owner: the other process may have left.
const TRY_TO_OWN: Duration = Duration::from_secs(2);

/// Needs the store, for as long as it lives.
struct Wanted<'a>(&'a Project);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Chunks that are embedded before bulk work although nobody waits for them.
const FEW_CHUNKS: u64 = 32;
/// For so long it is believed that the index is where it was: a search asks twice, and searches come in bursts.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often an index run is begun that finds its index damaged or gone.
const INDEX_ATTEMPTS: u32 = 3;
/// Skipped files that an answer names: all of them in an odd tree would not fit a frame.
const LISTED_SKIPS: usize = 5_000;
const LISTED_SKIP_BYTES: usize = 1 << 20;

impl Project {
    /// Nothing is opened yet.
    pub fn new(root: PathBuf) -> Self {
        // Windows keeps an open directory from being moved and removed; there it is opened each time.
        let tree = if cfg!(windows) { None } else { Tree::open(&root).ok() };
        Project {
            watch: Watch::new(root.clone(), tree.clone()),
            tree,
            root,
            store: Mutex::new(None),
            snapshot: Mutex::new(None),
            run: Mutex::new(None),
            check: Mutex::new(None),
            looked: Mutex::new(None),
            stopping: Arc::default(),
            damaged: Arc::default(),
            guest: Mutex::new(None),
            is_guest: AtomicBool::new(false),
            wanted: AtomicUsize::new(0),
            background: Mutex::new(None),
            paused: AtomicBool::new(false),
            tending: AtomicBool::new(false),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the root is the directory that it was when the daemon began. Moved, deleted or made again, it is another
    /// project: what is open and watched here is none of its.
    pub fn is_in_place(&self) -> bool {
        let Ok(now) = Tree::open(&self.root).and_then(|tree| tree.identity()) else { return false };
        self.tree.as_ref().is_none_or(|tree| tree.identity().is_ok_and(|began| began == now))
    }

    /// The root.
    pub fn tree(&self) -> Result<Tree, Fault> {
        let gone = || Fault::new(Code::Io, format!("the project's directory `{}` is gone", self.root.display()));
        self.tree.clone().or_else(|| Tree::open(&self.root).ok()).ok_or_else(gone)
    }

    fn place(&self) -> Result<Place, Fault> {
        self.tree().map(|tree| config::place_in(&tree))
    }

    /// The watch over the tree.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// A request needs the store.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) > 0
    }

    /// Makes a run for nobody give way.
    fn want(&self) -> Wanted<'_> {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        self.interrupt();
        Wanted(self)
    }

    /// Ends a run for nobody; what it computed is kept, and the next run goes on from there.
    pub fn interrupt(&self) {
        if let Some(stop) = &*self.background.lock().expect(UNPOISONED) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Another process owns the index, and this one only reads it.
    pub fn is_guest(&self) -> bool {
        self.is_guest.load(Ordering::Relaxed)
    }

    fn no_guest(&self) {
        self.is_guest.store(false, Ordering::Relaxed);
        *self.guest.lock().expect(UNPOISONED) = None;
    }

    /// An index run that was asked for is in progress.
    pub fn is_indexing(&self) -> bool {
        self.run.lock().expect(UNPOISONED).is_some()
    }

    /// Makes a run commit and end, waits for that, and lets go of the index.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.watch.stop();
        let _wanted = self.want();
        *self.lock_store() = None;
    }

    /// Drops what is held in memory; `stored` also deletes the embedding cache. Gives the embeddings deleted.
    pub fn clear_cache(&self, stored: bool) -> Result<u64, Fault> {
        if self.is_indexing() {
            return Err(Fault::new(Code::IndexBusy, "this project is being indexed").hint("wait for it"));
        }
        let _wanted = self.want();
        let mut slot = self.lock_store();
        let place = self.place()?;
        self.let_go_of_lost(&mut slot, &place);
        let mut deleted = 0;
        if stored && config::has_index(&place)? {
            let store = match &mut *slot {
                Some(store) => store,
                empty => empty.insert(self.open(&place)?),
            };
            deleted = store.clear_embedding_cache().map_err(|error| fault::from_engine(&error))?;
        }
        *slot = None;
        *self.snapshot.lock().expect(UNPOISONED) = None;
        self.no_guest();
        Ok(deleted)
    }

    /// Lets go of the index; the next use opens it anew. Does nothing while an index run holds it.
    pub fn evict(&self) {
        let mut store = match self.store.try_lock() {
            Ok(store) => store,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        *store = None;
        *self.snapshot.lock().expect(UNPOISONED) = None;
        self.no_guest(); // the owner may have left: the next use finds out
    }

    /// Drops the owner's handle when what it has open is no longer the project's index. Nothing written there would be found.
    fn let_go_of_lost(&self, slot: &mut Option<Store>, place: &Place) {
        if slot.as_ref().is_some_and(|store| !store.is_at(place)) {
            log!("the index was taken away");
            *slot = None;
            self.forget();
        }
    }

    /// What is open for reading goes, and nobody knows any more what the index has.
    fn forget(&self) {
        *self.snapshot.lock().expect(UNPOISONED) = None;
        self.no_guest();
        self.watch.distrust();
    }

    /// Waits for an index run that its caller gave up; another one that is in progress is an error.
    fn begin_run(&self, cancelled: &Arc<AtomicBool>) -> Result<Indexing<'_>, Fault> {
        loop {
            let mut run = self.run.lock().expect(UNPOISONED);
            match &*run {
                None => {
                    *run = Some(cancelled.clone());
                    return Ok(Indexing(self));
                }
                Some(other) if other.load(Ordering::Relaxed) && !cancelled.load(Ordering::Relaxed) => {}
                Some(_) => {
                    return Err(Fault::new(Code::IndexBusy, "this project is being indexed already")
                        .hint("wait for it, or search what is there"));
                }
            }
            drop(run);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Brings the index up to date. Blocks for as long as that takes.
    pub fn index(
        &self,
        rebuild: bool,
        batcher: &Batcher,
        cancelled: &Arc<AtomicBool>,
        progress: &Sender<Progress>,
    ) -> Result<IndexReport, Fault> {
        let _run = self.begin_run(cancelled)?;
        if !self.root.is_dir() {
            let gone = format!("the project's directory `{}` is gone", self.root.display());
            return Err(Fault::new(Code::Io, gone).hint("stop its daemon: `offheap stop`"));
        }
        let tree = self.tree()?;
        let (config, notes) = Config::read_in(&tree)?;
        notes.iter().for_each(|note| log!("configuration: {note}"));
        config::init_in(&tree)?;
        let _wanted = self.want();
        let mut slot = self.lock_store();
        let place = self.place()?;
        self.let_go_of_lost(&mut slot, &place);
        let mut once = || self.index_once(&mut slot, &place, rebuild, &config.index, batcher, cancelled, progress);
        let mut outcome = once();
        // What a run finds damaged, or loses while it works, is begun again from the embedding cache.
        for _ in 1..INDEX_ATTEMPTS {
            match &outcome {
                Ok(_) if self.damaged.load(Ordering::Relaxed) => {}
                Err(fault) if fault.code == Code::IndexDamaged => {}
                Err(fault) if !matches!(fault.code, Code::Cancelled | Code::Leaving) && !self.is_whole(&place) => {}
                _ => break,
            }
            outcome = once();
        }
        if let Err(fault) = &mut outcome
            && fault.code == Code::IndexDamaged
        {
            // A whole one cannot be kept there: what an index run can say about damage is not that it should be run.
            *fault = Fault::new(Code::Io, format!("the index does not stay as it is written: {}", fault.message))
                .hint("look for what changes or removes files in .offheap/data; the disk may be failing");
        }
        if outcome.is_err() {
            self.watch.distrust(); // what the run has not reached, the watch brings in
        }
        crate::os::memory::give_back();
        outcome
    }

    /// Whether the index lies where it should, as far as can be told without its owner's handle.
    fn is_whole(&self, place: &Place) -> bool {
        self.published().is_none_or(|snapshot| snapshot.is_at(place))
            && place.open().is_ok_and(|folder| folder.is_some())
    }

    /// One attempt at an index run. After a fault the store is closed: its files hold the last commit.
    #[expect(clippy::too_many_arguments, reason = "an index run's surroundings")]
    fn index_once(
        &self,
        slot: &mut Option<Store>,
        place: &Place,
        rebuild: bool,
        config: &IndexConfig,
        batcher: &Batcher,
        cancelled: &Arc<AtomicBool>,
        progress: &Sender<Progress>,
    ) -> Result<IndexReport, Fault> {
        if rebuild || self.damaged.swap(false, Ordering::Relaxed) {
            *slot = None;
        }
        let mut foreign = false;
        let store = match &mut *slot {
            Some(store) => store,
            // Everything in there is made from the tree: a damaged index is begun again, its embeddings stay.
            empty => {
                let opened = Store::open_or_rebuild(place, rebuild);
                let (mut store, why) = opened.map_err(|error| fault::from_engine(&error))?;
                if let Some(why) = why {
                    log!("rebuilding the index: {}", fault::chain(&why));
                    foreign = matches!(why, offheap_engine::Error::IndexForeign { .. });
                    *self.snapshot.lock().expect(UNPOISONED) = None;
                }
                self.check_in_background(store.check());
                failpoint::watch_commits(&mut store);
                self.no_guest();
                empty.insert(store)
            }
        };
        store.keep_spare_embeddings(config.spare_embeddings);
        if store.snapshot().generation > 0 {
            // Searches go on over the last generation while this run holds the store.
            *self.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
        }
        failpoint::pass("index");
        let settings = Settings { rules: rules(config.clone()), limits: ChunkLimits::default(), rebuild };
        let mut host = Run {
            project: self,
            batcher,
            cancelled,
            progress: Some(progress),
            walked: &mut |_| {},
            priority: Priority::Bulk,
            started: Instant::now(),
            last: None,
            space: None,
            publish: !rebuild,
        };
        let outcome = index::run(store, &self.tree()?, &settings, &mut host);
        let stopped = matches!(&outcome, Err(RunError(fault)) if fault.code == Code::Cancelled);
        self.paused.store(stopped, Ordering::Relaxed);
        let report = match outcome {
            Ok(report) => report,
            Err(RunError(fault)) => {
                let left = fault.code == Code::Cancelled && !cancelled.load(Ordering::Relaxed);
                let fault =
                    if left { Fault::new(Code::Leaving, "the daemon is leaving; what is done is kept") } else { fault };
                if fault.code == Code::IndexDamaged {
                    let _ = store.note_damage(&fault.message);
                }
                // Searches go on over the last commit, if it can be trusted.
                let committed = store.snapshot();
                let is_sound = committed.generation > 0 && !matches!(fault.code, Code::IndexDamaged | Code::Io);
                *self.snapshot.lock().expect(UNPOISONED) = is_sound.then_some(committed);
                // A failed write may have left the writer half way; the files hold the last commit.
                *slot = None;
                return Err(fault);
            }
        };
        *self.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
        store.release_writer().map_err(|error| fault::from_engine(&error))?;
        if !store.is_at(place) {
            *slot = None;
            *self.snapshot.lock().expect(UNPOISONED) = None;
            let gone = format!("the index of `{}` was taken away while it was written", self.root.display());
            return Err(Fault::new(Code::Io, gone).hint("run `offheap index` again"));
        }
        let stats = store.snapshot().stats();
        self.wait_for_check(cancelled);
        Ok(IndexReport {
            generation: report.generation,
            files: report.files,
            files_changed: report.files_changed,
            files_removed: report.files_removed,
            skipped_total: report.skipped.len() as u64,
            skipped: listed(report.skipped),
            chunks: stats.chunks,
            vectors: stats.vectors,
            embedded: report.embedded,
            reused: report.reused,
            tokens: report.tokens,
            text_ms: millis(report.text),
            total_ms: millis(report.total),
            foreign,
        })
    }

    fn open(&self, place: &Place) -> Result<Store, Fault> {
        let store = Store::open(place).map_err(|error| fault::from_engine(&error))?;
        if store.was_unclean() {
            self.check_in_background(store.check());
        }
        if self.is_guest() {
            log!("the index is owned here from now on");
            self.no_guest();
        }
        Ok(store)
    }

    /// After an owner was killed, and once in the life of a daemon that indexes, everything that was left is read. Searches
    /// go on meanwhile.
    fn check_in_background(&self, check: Check) {
        let (damaged, stopping) = (self.damaged.clone(), self.stopping.clone());
        let run = move || {
            lower_priority();
            if let Err(error) = check.run(&|| stopping.load(Ordering::Relaxed)) {
                log!("the check of the index: {}", fault::chain(&error));
                damaged.store(matches!(error, offheap_engine::Error::IndexDamaged { .. }), Ordering::Relaxed);
            }
        };
        // Without a thread the next open tries again.
        *self.check.lock().expect(UNPOISONED) = std::thread::Builder::new().name("index-check".into()).spawn(run).ok();
    }

    /// Waits until the check of what the run began with is done, so that damage is repaired by the run that met it.
    fn wait_for_check(&self, cancelled: &AtomicBool) {
        let Some(check) = self.check.lock().expect(UNPOISONED).take() else { return };
        while !check.is_finished() && !cancelled.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Brings in what changed, for nobody: gives way (`INDEX_BUSY`) to whoever asks for the store. `walked` hears of the
    /// folders. Does nothing where there is no index.
    pub fn refresh(
        &self,
        changes: &Changes,
        batcher: &Batcher,
        walked: &mut dyn FnMut(&[String]),
    ) -> Result<(), Fault> {
        let tree = self.tree()?;
        let (config, _) = Config::read_in(&tree)?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut slot = self.lock_store();
        *self.background.lock().expect(UNPOISONED) = Some(cancelled.clone());
        if self.is_wanted() {
            return Err(watch::preempted());
        }
        let place = self.place()?;
        self.let_go_of_lost(&mut slot, &place);
        if !config::has_index(&place)? {
            return Ok(());
        }
        let store = match &mut *slot {
            Some(store) => store,
            empty => empty.insert(self.open(&place)?),
        };
        if store.snapshot().generation == 0 {
            return Ok(());
        }
        *self.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
        let settings = Settings { rules: rules(config.index), limits: ChunkLimits::default(), rebuild: false };
        let part = Part {
            changed: (!changes.all).then_some(&changes.paths),
            all_vectors: !self.paused.load(Ordering::Relaxed),
        };
        let mut host = Run {
            project: self,
            batcher,
            cancelled: &cancelled,
            progress: None,
            walked,
            priority: Priority::Bulk,
            started: Instant::now(),
            last: None,
            space: None,
            publish: true,
        };
        let outcome = index::refresh(store, &tree, &settings, part, &mut host);
        match outcome {
            Ok(_) => store.release_writer().map_err(|error| fault::from_engine(&error)),
            // It stands at its last commit; whoever is next goes on from there.
            Err(RunError(fault)) if fault.code == Code::Cancelled => Err(watch::preempted()),
            Err(RunError(fault)) => {
                *slot = None;
                Err(fault)
            }
        }
    }

    /// The owner's handle, when nobody else uses it.
    fn lock_store(&self) -> MutexGuard<'_, Option<Store>> {
        match self.store.lock() {
            Ok(slot) => slot,
            Err(poisoned) => {
                self.store.clear_poison();
                repaired(poisoned.into_inner())
            }
        }
    }

    fn published(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.lock().expect(UNPOISONED).clone()
    }

    /// The owner's handle, waited for while another request opens it; `None` when a generation was published meanwhile,
    /// or while the first index run of all holds it and has committed nothing yet.
    fn store_for_reading(&self) -> Option<MutexGuard<'_, Option<Store>>> {
        loop {
            if self.published().is_some() {
                return None;
            }
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
        if self.damaged.load(Ordering::Relaxed) && !self.is_indexing() {
            self.evict();
        }
        let place = self.place()?;
        if let Some(snapshot) = self.published() {
            let mut looked = self.looked.lock().expect(UNPOISONED);
            if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
                return Ok(snapshot);
            }
            *looked = snapshot.is_at(&place).then(Instant::now);
            if looked.is_some() {
                return Ok(snapshot);
            }
            drop(looked);
            self.evict();
            self.forget();
        }
        let no_index = || self.no_index();
        if !config::has_index(&place)? {
            return Err(no_index());
        }
        let due = |visit: &mut Visit| visit.tried.elapsed() > TRY_TO_OWN;
        let visiting = self.is_guest() && !self.guest.lock().expect(UNPOISONED).as_mut().is_some_and(due);
        if visiting {
            return self.visit(&place);
        }
        let Some(mut slot) = self.store_for_reading() else { return self.published().ok_or_else(no_index) };
        if let Some(snapshot) = self.published() {
            return Ok(snapshot); // another request opened it meanwhile
        }
        self.let_go_of_lost(&mut slot, &place);
        let store = match &mut *slot {
            Some(store) => store,
            empty => match self.open(&place) {
                Ok(store) => empty.insert(store),
                // Whoever owns it cannot be asked from here, or we would be talking to it; its commits can be read. So can
                // those on a disk that cannot be written.
                Err(fault) if fault.code == Code::IndexLocked || is_read_only(&place) => {
                    drop(slot);
                    if let Some(visit) = &mut *self.guest.lock().expect(UNPOISONED) {
                        visit.tried = Instant::now();
                    }
                    return self.visit(&place);
                }
                Err(fault) => return Err(fault),
            },
        };
        let snapshot = store.snapshot();
        if snapshot.stats().chunks == 0 && snapshot.generation == 0 {
            return Err(no_index());
        }
        *self.snapshot.lock().expect(UNPOISONED) = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Reads the index. Where that panics, which the libraries below do over some damaged files, every byte is checked, and
    /// what is found is said and noted for the next run, which builds the index again.
    fn sound<T>(&self, read: impl FnOnce() -> offheap_engine::Result<T>) -> Result<T, Fault> {
        use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
        let panic = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(outcome) => {
                return outcome.map_err(|error| fault::from_engine(&error)).inspect_err(|fault| {
                    // The next index run checks every byte and begins what is damaged again.
                    self.damaged.fetch_or(fault.code == Code::IndexDamaged, Ordering::Relaxed);
                });
            }
            Err(panic) => panic,
        };
        let stop = || self.stopping.load(Ordering::Relaxed);
        let place = self.place()?;
        let check = || Store::check_of(&place)?.run(&stop);
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(Err(error)) => {
                log!("a search panicked over a damaged index: {}", fault::chain(&error));
                self.damaged.store(true, Ordering::Relaxed);
                Err(fault::from_engine(&error))
            }
            _ => resume_unwind(panic),
        }
    }

    /// What is said where nobody indexed the project.
    pub fn no_index(&self) -> Fault {
        Fault::new(Code::NoIndex, format!("`{}` has no index yet", self.root.display()))
            .hint("run `offheap index`, or call client.index()")
    }

    /// The last generation that the index's owner, another process, has committed.
    fn visit(&self, place: &Place) -> Result<Arc<Snapshot>, Fault> {
        let now = place.stamp();
        let mut guest = self.guest.lock().expect(UNPOISONED);
        if let Some(visit) = guest.as_ref().filter(|visit| visit.stamp == now) {
            return Ok(visit.snapshot.clone());
        }
        // Stamped before it was opened: what is committed in between is opened the next time.
        let snapshot = match (Store::open_read_only(place), guest.as_ref()) {
            (Ok(snapshot), _) => snapshot,
            (Err(error), None) => return Err(fault::from_engine(&error)),
            (Err(error), Some(visit)) => {
                log!("a newer generation cannot be opened: {}", fault::chain(&error));
                return Ok(visit.snapshot.clone());
            }
        };
        if snapshot.stats().chunks == 0 && snapshot.generation == 0 {
            return Err(self.no_index());
        }
        if guest.is_none() {
            log!("another process owns the index, or it cannot be written; it is read only here");
        }
        *guest = Some(Visit { snapshot: snapshot.clone(), stamp: now, tried: Instant::now() });
        self.is_guest.store(true, Ordering::Relaxed);
        Ok(snapshot)
    }

    /// Ranks chunks. `embedded` is the query's vector, or why there is none.
    pub fn search(
        &self,
        search: &SearchRequest,
        embedded: Option<Result<(Vec<f32>, Loaded), Fault>>,
        brought_in: bool,
    ) -> Result<SearchReport, Fault> {
        failpoint::pass("search");
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
            filter: filter(search),
            limit: search.limit as usize,
            explain: search.explain,
            weights: Weights::default(),
        };
        let kernel = scan.unwrap_or_else(|| kernel::choose(None).expect("portable always runs"));
        let tree = self.tree()?;
        let hits = self.sound(|| search::search(&snapshot, &tree, &query, kernel))?;
        Ok(SearchReport {
            hits: hits.into_iter().map(ranked_hit).collect(),
            mode: match (use_text, vector.is_some()) {
                (true, true) => "hybrid",
                (false, _) => "semantic",
                (true, false) => "text",
            }
            .to_owned(),
            degraded,
            space,
            read_only: self.is_guest(),
            generation: snapshot.generation,
            coverage: self.coverage(&snapshot, search.mode == SearchMode::Text, brought_in),
            search_us: micros(started.elapsed()),
            ..SearchReport::default()
        })
    }

    /// Definitions by name.
    pub fn symbols(&self, search: &SearchRequest, brought_in: bool) -> Result<SearchReport, Fault> {
        let started = Instant::now();
        let snapshot = self.snapshot()?;
        let tree = self.tree()?;
        let (hits, truncated) =
            self.sound(|| search::symbols(&snapshot, &tree, &search.query, &filter(search), search.limit as usize))?;
        let hits = hits.into_iter().map(|search::Symbol { found: hit, text, stale }| {
            let why = if search.explain { vec![contribution(hit.fit.as_str(), hit.score)] } else { Vec::new() };
            let (name, kind, line) = (hit.symbol.name, hit.symbol.kind, hit.symbol.line);
            let symbol = SymbolMatch { name, kind, line, fit: hit.fit.as_str().to_owned() };
            Hit { symbol: Some(symbol), why, ..chunk_hit(hit.chunk, hit.score, text, stale) }
        });
        Ok(SearchReport {
            hits: hits.collect(),
            mode: SearchMode::Symbol.as_str().to_owned(),
            read_only: self.is_guest(),
            generation: snapshot.generation,
            coverage: self.coverage(&snapshot, true, brought_in),
            truncated,
            search_us: micros(started.elapsed()),
            ..SearchReport::default()
        })
    }

    /// Lines of the files as they are now.
    pub fn grep(&self, search: &SearchRequest, cancelled: &AtomicBool) -> Result<SearchReport, Fault> {
        let started = Instant::now();
        let tree = self.tree()?;
        let rules = rules(Config::read_in(&tree)?.0.index);
        let query = grep::Query {
            pattern: &search.query,
            case: match search.case {
                Case::Smart => grep::Case::Smart,
                Case::Sensitive => grep::Case::Sensitive,
                Case::Insensitive => grep::Case::Insensitive,
            },
            filter: &filter(search),
            limit: search.limit as usize,
            context: search.context as usize,
        };
        let stop = || cancelled.load(Ordering::Relaxed) || self.stopping.load(Ordering::Relaxed);
        let found =
            grep::grep(&tree, &rules, &query, config::threads(), &stop).map_err(|error| fault::from_engine(&error))?;
        Ok(SearchReport {
            hits: found.lines.into_iter().map(line_hit).collect(),
            mode: SearchMode::Regex.as_str().to_owned(),
            coverage: Coverage { files: found.files, fresh: true, ..Coverage::default() },
            truncated: found.truncated,
            search_us: micros(started.elapsed()),
            ..SearchReport::default()
        })
    }

    /// `brought_in`: all that had changed when the search came is in.
    fn coverage(&self, snapshot: &Snapshot, text_only: bool, brought_in: bool) -> Coverage {
        let stats = snapshot.stats();
        let (known_fresh, pending_files) = self.watch.freshness(text_only);
        let fresh = brought_in || (known_fresh && !self.is_indexing());
        Coverage { files: stats.files, chunks: stats.chunks, vectors: stats.vectors, fresh, pending_files }
    }

    /// For `status`, which keeps nothing open that was not.
    pub fn status(&self) -> Option<IndexStatus> {
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
        })
    }
}

const UNPOISONED: &str = "no code that panics runs under this lock";

/// The skipped files that an answer names.
fn listed(skipped: Vec<Skipped>) -> Vec<SkippedFile> {
    let mut bytes = 0;
    skipped
        .into_iter()
        .take(LISTED_SKIPS)
        .map(|skipped| SkippedFile { path: skipped.rel, reason: skipped.reason.as_str().to_owned() })
        .take_while(|file| {
            bytes += file.path.len();
            bytes <= LISTED_SKIP_BYTES
        })
        .collect()
}

/// Whether the system lets nobody, or not this user, make a file there.
fn is_read_only(place: &Place) -> bool {
    let Ok(Some(folder)) = place.open() else { return false };
    let probe = format!("writable-{}", std::process::id());
    let _ = folder.remove(&probe);
    match folder.create_new(&probe) {
        Ok(_) => {
            let _ = folder.remove(&probe);
            false
        }
        Err(error) => {
            matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
        }
    }
}

/// After a panic the store is in an unknown state, its files are not.
fn repaired(mut slot: MutexGuard<'_, Option<Store>>) -> MutexGuard<'_, Option<Store>> {
    *slot = None;
    slot
}

/// On Linux a thread has a priority of its own, and the threads it starts have it too. Elsewhere the count must do.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: changes a number of the calling thread; a refusal changes nothing.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}

fn space_of(model: &Loaded) -> Space {
    // Sixteen hex digits of the file's SHA-256 tell any two files apart.
    Space { id: format!("{}:{}", model.info.name, &model.info.fingerprint[..16]), dim: model.info.dim }
}

/// The vector space's name, as results carry it.
pub fn space_id(model: &Loaded) -> String {
    space_of(model).id
}

/// Which files belong to a project.
fn rules(config: IndexConfig) -> WalkRules {
    let IndexConfig { max_file_bytes, include, exclude, .. } = config;
    WalkRules { max_file_bytes, include, exclude }
}

fn filter(search: &SearchRequest) -> Filter {
    Filter { globs: search.globs.clone(), languages: search.languages.clone() }
}

fn ranked_hit(hit: search::Hit) -> Hit {
    let why = hit.why.into_iter().map(|(name, value)| contribution(name, value)).collect();
    Hit { why, ..chunk_hit(hit.chunk, hit.score, hit.text, hit.stale) }
}

fn contribution(name: &str, value: f32) -> Contribution {
    Contribution { name: name.to_owned(), value }
}

fn chunk_hit(chunk: StoredChunk, score: f32, text: String, stale: bool) -> Hit {
    Hit {
        path: chunk.rel,
        first_line: chunk.first_line,
        last_line: chunk.last_line,
        score,
        language: chunk.language,
        scope: chunk.scope,
        symbols: chunk.symbols.into_iter().map(|symbol| symbol.name).collect(),
        text,
        stale,
        why: Vec::new(),
        symbol: None,
        matches: Vec::new(),
    }
}

fn line_hit(line: grep::Line) -> Hit {
    let span = |(start, end): (u32, u32)| Span { line: line.line, start, end };
    Hit {
        language: Language::of(&line.rel).name().to_owned(),
        matches: line.columns.into_iter().map(span).collect(),
        path: line.rel,
        first_line: line.first_line,
        last_line: line.last_line,
        score: 1.0,
        scope: String::new(),
        symbols: Vec::new(),
        text: line.text,
        stale: false,
        why: Vec::new(),
        symbol: None,
    }
}

/// While an index run that somebody asked for is going on.
struct Indexing<'a>(&'a Project);

impl Drop for Indexing<'_> {
    fn drop(&mut self) {
        *self.0.run.lock().expect(UNPOISONED) = None;
        self.0.watch.tell();
    }
}

/// An index run's surroundings.
struct Run<'a> {
    project: &'a Project,
    batcher: &'a Batcher,
    cancelled: &'a Arc<AtomicBool>,
    /// Who is told how far it is; none when the run is for nobody.
    progress: Option<&'a Sender<Progress>>,
    walked: &'a mut dyn FnMut(&[String]),
    priority: Priority,
    started: Instant,
    last: Option<Instant>,
    /// The space that the run began with: a model file that is replaced meanwhile must not be mixed in.
    space: Option<Space>,
    /// Searches see each commit; not those of a rebuild, which are less than what was there until it ends.
    publish: bool,
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
        let embedded = self.batcher.embed_blocking(texts, self.priority, self.cancelled.clone()).map_err(RunError)?;
        if self.space.as_ref() != Some(&space_of(&embedded.model)) {
            let fault = Fault::new(Code::Leaving, "the model file changed during the run");
            return Err(RunError(fault.hint("run `offheap index` again")));
        }
        let tokens = embedded.tokens.iter().map(|n| u64::from(*n)).sum();
        Ok((embedded.rows, tokens))
    }

    fn progress(&mut self, phase: index::Phase, done: u64, total: u64, path: &str) {
        let Some(progress) = self.progress else {
            if phase == index::Phase::Embed && done == 0 {
                // A few chunks are what somebody is editing, and may be about to ask for.
                self.priority = if total <= FEW_CHUNKS { Priority::Interactive } else { Priority::Bulk };
                self.project.watch.reached(Stage::Vectors);
            }
            return;
        };
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
        progress.send_replace(Progress { phase, done, total, elapsed_ms, path: path.to_owned() });
    }

    fn committed(&mut self, store: &Store) {
        if !self.publish {
            return;
        }
        *self.project.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
        self.project.watch.tell();
    }

    fn walked(&mut self, folders: &[String]) {
        (self.walked)(folders);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.project.stopping.load(Ordering::Relaxed)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
