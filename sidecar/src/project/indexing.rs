//! Index runs: one that a client asks for brings in everything, a background run brings in changed paths.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offheap_engine::chunk::ChunkLimits;
use offheap_engine::disk::Tree;
use offheap_engine::index::{self, Host, RefreshScope, Settings};
use offheap_engine::store::{Place, Space, Store};
use offheap_engine::walk::{Skipped, WalkRules, walk};
use offheap_protocol::message::{IndexReport, Phase, Priority, Progress, SkippedFile};
use offheap_protocol::{Code, Fault};
use tokio::sync::watch::Sender;

use super::Project;
use super::opening::Index;
use super::runs::gave_way;
use super::search::{skip_counts, walk_rules};
use super::watch::{Changes, Stage, Watch};
use super::width::{self, check_width};
use crate::config::{self, Config, IndexConfig};
use crate::log::{info, warn};
use crate::model::Batcher;
use crate::{failpoint, fault, os};

/// A background run with at most this many chunks embeds them before bulk work: they are what somebody is editing.
const FEW_CHUNKS: u64 = 32;
/// Attempts of one index run; each further one builds a damaged or lost index again.
const INDEX_ATTEMPTS: u32 = 3;
/// Least time between two reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// How many skipped files a report names, and how many bytes their paths may have: it must fit a frame.
const LISTED_SKIPS: usize = 5_000;
const LISTED_SKIP_BYTES: usize = 1 << 20;

/// What a client asks an index run to do.
pub struct IndexRequest<'a> {
    /// Begin with an empty index; embeddings that are still right are reused.
    pub rebuild: bool,
    /// Index a home directory, a root or a very large tree, too.
    pub force: bool,
    /// Computes the vectors.
    pub batcher: &'a Batcher,
    /// Set by the caller to end the run.
    pub cancelled: &'a Arc<AtomicBool>,
    /// Gets the run's progress.
    pub progress: &'a Sender<Progress>,
}

/// Wakes the searches that wait for an index run, when the run is over.
struct WakeWaiting<'a>(&'a Watch);

impl Drop for WakeWaiting<'_> {
    fn drop(&mut self) {
        self.0.wake_waiting();
    }
}

impl Project {
    /// Brings the index up to date with the whole tree. Blocks until it is.
    ///
    /// Errors: `INDEX_BUSY` during another such run, `CANCELLED`, `LEAVING`, and whatever the engine meets.
    pub fn index(&self, request: &IndexRequest<'_>) -> Result<IndexReport, Fault> {
        let _wake = WakeWaiting(&self.watch);
        let _run = self.runs.begin_requested(request.cancelled)?;
        if !self.root.is_dir() {
            let gone = format!("the project's directory `{}` is gone", self.root.display());
            return Err(Fault::new(Code::Io, gone).hint("stop its daemon: `offheap stop`"));
        }
        check_width(&self.root, request.force)?;
        let tree = self.tree()?;
        let (config, notes) = Config::read_in(&tree)?;
        notes.iter().for_each(|note| warn!("configuration: {note}"));
        if !request.force && !config::has_index(&self.place()?)? {
            self.check_size(&tree, &config.index, request.cancelled)?;
        }
        config::init_in(&tree)?;
        let _wanted = self.runs.want_store();
        let mut slot = self.lock_store();
        let place = config::place_to_write(&tree)?;
        self.drop_lost_store(&mut slot, &place);
        let mut once = || self.index_once(&mut slot, &place, &config.index, request);
        let mut outcome = once();
        for _ in 1..INDEX_ATTEMPTS {
            if !self.is_worth_repeating(&outcome, &place) {
                break;
            }
            outcome = once();
        }
        if let Err(fault) = &mut outcome
            && fault.code == Code::IndexDamaged
        {
            // The usual remedy for damage is an index run, and this was one.
            *fault = Fault::new(Code::Io, format!("the index was damaged again while it was built: {}", fault.message))
                .hint("look for what changes or removes files in .offheap/data; the disk may be failing");
        }
        if outcome.is_err() {
            self.watch.distrust(); // background runs index what this run did not reach
        }
        os::memory::give_back();
        outcome
    }

    /// Refuses a first index of a tree that is far larger than a project, before anything is made in it.
    fn check_size(&self, tree: &Tree, config: &IndexConfig, cancelled: &AtomicBool) -> Result<(), Fault> {
        let rules = WalkRules { limit: width::limit(None, false), ..walk_rules(config.clone()) };
        let is_cancelled = || cancelled.load(Ordering::Relaxed) || self.runs.is_shutting_down();
        walk(tree, &rules, &is_cancelled).map(drop).map_err(|error| fault::from_engine(&error))
    }

    /// Whether a run met a damaged index, or lost its files: the next one builds the index from the embedding cache.
    fn is_worth_repeating(&self, outcome: &Result<IndexReport, Fault>, place: &Place) -> bool {
        match outcome {
            Ok(_) => self.health.is_damaged(),
            Err(fault) => match fault.code {
                Code::IndexDamaged => true,
                Code::Cancelled | Code::Leaving => false,
                _ => !self.is_whole(place),
            },
        }
    }

    /// Whether the index is where it should be, as far as can be told without its writing handle.
    fn is_whole(&self, place: &Place) -> bool {
        self.published().is_none_or(|snapshot| snapshot.is_at(place))
            && place.open().is_ok_and(|folder| folder.is_some())
    }

    /// One attempt at an index run. After a fault the index is closed: its files hold the last commit.
    fn index_once(
        &self,
        slot: &mut Option<Store>,
        place: &Place,
        config: &IndexConfig,
        request: &IndexRequest<'_>,
    ) -> Result<IndexReport, Fault> {
        if self.health.take_damaged() || request.rebuild {
            *slot = None;
        }
        let (store, was_foreign) = match &mut *slot {
            Some(store) => (store, false),
            empty => {
                let (store, was_foreign) = self.open_for_run(place, request.rebuild)?;
                (empty.insert(store), was_foreign)
            }
        };
        store.keep_spare_embeddings(config.spare_embeddings);
        if store.snapshot().generation > 0 {
            self.publish(store.snapshot()); // searches use the last generation while this run holds the store
        }
        failpoint::pass("index");
        let limit = width::limit(Some(&store.snapshot().stats()), request.force);
        let rules = WalkRules { limit, ..walk_rules(config.clone()) };
        let settings = Settings { rules, limits: ChunkLimits::default(), rebuild: request.rebuild };
        let mut host = IndexHost {
            progress: Some(request.progress),
            publish: !request.rebuild,
            ..IndexHost::new(self, request.batcher, request.cancelled)
        };
        let outcome = index::run(store, &self.tree()?, &settings, &mut host);
        self.runs.set_paused(matches!(&outcome, Err(HostError(fault)) if fault.code == Code::Cancelled));
        let report = match outcome {
            Ok(report) => report,
            Err(HostError(fault)) => {
                let fault = self.end_failed_run(store, fault, request.cancelled);
                *slot = None; // a failed write may have left the writer half way
                return Err(fault);
            }
        };
        self.publish(store.snapshot());
        store.release_writer().map_err(|error| fault::from_engine(&error))?;
        if !store.is_at(place) {
            *slot = None;
            self.set_index(Index::Closed);
            let gone = format!(
                "the index directory of `{}` was moved, deleted or replaced while it was written",
                self.root.display()
            );
            return Err(Fault::new(Code::Io, gone).hint("run `offheap index` again"));
        }
        let stats = store.snapshot().stats();
        let skipped_by_reason = skip_counts(store.snapshot().skipped());
        self.wait_for_check(request.cancelled);
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
            text_ms: report.text.as_millis() as u64,
            total_ms: report.total.as_millis() as u64,
            foreign: was_foreign,
            skipped_by_reason,
            text_only: stats.text_only,
        })
    }

    /// Opens the index for a requested run, replacing one that is damaged or that another user's build made: everything in
    /// it is made from the tree. Says whether it was such a foreign one.
    fn open_for_run(&self, place: &Place, rebuild: bool) -> Result<(Store, bool), Fault> {
        let opened = Store::open_or_rebuild(place, rebuild);
        let (mut store, why) = opened.map_err(|error| fault::from_engine(&error))?;
        let mut was_foreign = false;
        if let Some(why) = why {
            warn!("rebuilding the index: {}", fault::chain(&why));
            was_foreign = matches!(why, offheap_engine::Error::IndexForeign { .. });
            self.set_index(Index::Closed);
        }
        self.check_in_background(store.check());
        failpoint::watch_commits(&mut store);
        self.end_borrowing();
        Ok((store, was_foreign))
    }

    /// Notes what a failed run left, for searches and for the next run. Returns the fault for the caller.
    fn end_failed_run(&self, store: &mut Store, fault: Fault, cancelled: &AtomicBool) -> Fault {
        if fault.code == Code::IndexDamaged {
            let _ = store.note_damage(&fault.message);
        }
        // Searches go on over the last commit, if it can be trusted.
        let committed = store.snapshot();
        let can_be_trusted = committed.generation > 0 && !matches!(fault.code, Code::IndexDamaged | Code::Io);
        self.set_index(if can_be_trusted { Index::Owned(committed) } else { Index::Closed });
        if fault.code == Code::Cancelled && !cancelled.load(Ordering::Relaxed) {
            return Fault::new(Code::Leaving, "the daemon is leaving; what is done is kept");
        }
        fault
    }

    /// Background run: brings in changed paths while no client waits for it. `walked` gets the folders that the run looks
    /// into. Does nothing where there is no index.
    ///
    /// Errors: `INDEX_BUSY` when a request needs the store; the changes are then still to be brought in.
    pub fn index_changes(&self, changes: &Changes, batcher: &Batcher, walked: OnWalked<'_>) -> Result<(), Fault> {
        check_width(&self.root, false)?;
        let tree = self.tree()?;
        let (config, _) = Config::read_in(&tree)?;
        let mut slot = self.lock_store();
        let cancelled = self.runs.begin_background()?;
        let place = self.place()?;
        self.drop_lost_store(&mut slot, &place);
        if !config::has_index(&place)? {
            return Ok(());
        }
        let store = match &mut *slot {
            Some(store) => store,
            empty => empty.insert(self.open_store(&place)?),
        };
        if store.snapshot().generation == 0 {
            return Ok(());
        }
        self.publish(store.snapshot());
        if changes.all && !store.snapshot().is_current() {
            info!(
                "an earlier version made the index: every file is read again, nothing that is the same is embedded again"
            );
        }
        let limit = width::limit(Some(&store.snapshot().stats()), false);
        let rules = WalkRules { limit, ..walk_rules(config.index) };
        let settings = Settings { rules, limits: ChunkLimits::default(), rebuild: false };
        let scope =
            RefreshScope { changed: (!changes.all).then_some(&changes.paths), all_vectors: !self.runs.is_paused() };
        let mut host = IndexHost { walked: Some(walked), ..IndexHost::new(self, batcher, &cancelled) };
        match index::refresh(store, &tree, &settings, scope, &mut host) {
            Ok(_) => store.release_writer().map_err(|error| fault::from_engine(&error)),
            // The store stands at its last commit, and the next run continues there.
            Err(HostError(fault)) if fault.code == Code::Cancelled => Err(gave_way()),
            Err(HostError(fault)) => {
                *slot = None;
                Err(fault)
            }
        }
    }
}

/// The skipped files that a report names.
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

/// Gets the folders that a background run looks into.
type OnWalked<'a> = &'a mut dyn FnMut(&[String]);

/// What the engine asks of this process during an index run.
struct IndexHost<'a> {
    project: &'a Project,
    batcher: &'a Batcher,
    cancelled: &'a Arc<AtomicBool>,
    /// Gets the progress of a requested run; `None` for a background run.
    progress: Option<&'a Sender<Progress>>,
    /// Gets the folders that a background run looks into.
    walked: Option<OnWalked<'a>>,
    priority: Priority,
    started: Instant,
    last_progress: Option<Instant>,
    /// The vector space that the run began with. A model file that is replaced meanwhile has another one.
    space: Option<Space>,
    /// Whether searches see each commit. Those of a rebuild hold less than the index before it, until it ends.
    publish: bool,
}

impl<'a> IndexHost<'a> {
    fn new(project: &'a Project, batcher: &'a Batcher, cancelled: &'a Arc<AtomicBool>) -> Self {
        IndexHost {
            project,
            batcher,
            cancelled,
            progress: None,
            walked: None,
            priority: Priority::Bulk,
            started: Instant::now(),
            last_progress: None,
            space: None,
            publish: true,
        }
    }
}

/// An error of the host, as the fault that the client gets.
struct HostError(Fault);

impl From<offheap_engine::Error> for HostError {
    fn from(error: offheap_engine::Error) -> Self {
        HostError(fault::from_engine(&error))
    }
}

impl Host for IndexHost<'_> {
    type Error = HostError;

    fn space(&mut self) -> Result<Space, HostError> {
        let space = self.batcher.load_blocking().map_err(HostError)?.space();
        self.space = Some(space.clone());
        Ok(space)
    }

    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), HostError> {
        let embedded = self.batcher.embed_blocking(texts, self.priority, self.cancelled.clone()).map_err(HostError)?;
        if self.space.as_ref() != Some(&embedded.model.space()) {
            let fault = Fault::new(Code::Leaving, "the model file changed during the run");
            return Err(HostError(fault.hint("run `offheap index` again")));
        }
        let tokens = embedded.tokens.iter().map(|n| u64::from(*n)).sum();
        Ok((embedded.rows, tokens))
    }

    fn looked_up(&mut self, hits: u64, misses: u64) {
        self.project.count_cache(hits, misses);
    }

    fn progress(&mut self, phase: index::Phase, done: u64, total: u64, path: &str) {
        let Some(progress) = self.progress else {
            if phase == index::Phase::Embed && done == 0 {
                self.priority = if total <= FEW_CHUNKS { Priority::Interactive } else { Priority::Bulk };
                self.project.watch.reached(Stage::Vectors);
            }
            return;
        };
        let is_recent = |at: &Instant| at.elapsed() < PROGRESS_EVERY;
        if done > 0 && done < total && self.last_progress.as_ref().is_some_and(is_recent) {
            return;
        }
        self.last_progress = Some(Instant::now());
        let phase = match phase {
            index::Phase::Scan => Phase::Scan,
            index::Phase::Text => Phase::Text,
            index::Phase::Embed => Phase::Embed,
        };
        let elapsed_ms = self.started.elapsed().as_millis() as u64;
        progress.send_replace(Progress { phase, done, total, elapsed_ms, path: path.to_owned() });
    }

    fn committed(&mut self, store: &Store) {
        if self.publish {
            self.project.publish(store.snapshot());
            self.project.watch.wake_waiting();
        }
    }

    fn walked(&mut self, folders: &[String]) {
        if let Some(walked) = &mut self.walked {
            walked(folders);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.project.runs.is_shutting_down()
    }
}
