//! What is known about changed files: which paths changed, which run brings them in, which searches wait for that.
//!
//! Nothing here runs by itself. The system's events arrive through [`Watch::handle_event`], the thread in `follow` takes the changes
//! and reports its runs, searches ask with a [`Ticket`]. Where events cannot be had or were lost, the whole tree counts as
//! changed: always right, only slower.

mod events;
mod pending;

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use offheap_engine::disk::Tree;
use offheap_engine::walk::rule_folders;
use offheap_protocol::border::too_wide;
use offheap_protocol::message::WatchStatus;

use crate::UNPOISONED;
use crate::config::{self, Config};
pub use events::reason;
pub use pending::Changes;
use pending::Pending;

/// How often a tree that cannot be watched is looked at, and how soon after a failure changes are tried again.
pub const POLL_EVERY: Duration = Duration::from_secs(30);
/// How long a search waits for the event of its cookie file; one that takes longer never comes.
pub const COOKIE_PATIENCE: Duration = Duration::from_millis(250);
/// Beginning of the names of cookie files.
const COOKIE: &str = ".cookie-";

/// How far the run is that brings changes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Files are read; text search does not see them yet.
    Text,
    /// Text search sees them, vectors are being computed.
    Vectors,
}

/// How changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Not at all: the configuration says so, or the thread has not begun.
    Off,
    /// The system reports them.
    Watching,
    /// The whole tree is looked at every [`POLL_EVERY`], for the reason given.
    Polling(String),
}

/// A background run in progress.
struct Running {
    stage: Stage,
    changes: Changes,
}

struct State {
    source: Source,
    /// The thread was started.
    started: bool,
    /// The daemon is shutting down.
    stop: bool,
    pending: Pending,
    running: Option<Running>,
    /// A run has looked at the whole tree since it is watched.
    caught_up: bool,
    cookies_made: u64,
    cookies_seen: u64,
    /// Background runs that ended.
    finished_runs: u64,
    /// Why the last background run failed.
    problem: Option<String>,
    watched_folders: usize,
    /// Folders that were removed or moved: the system watches them no more.
    lost_folders: Vec<String>,
}

impl State {
    /// How many changed paths are not in the index yet; `None` where that is not known.
    fn n_pending(&self, text_only: bool) -> Option<u64> {
        let is_known = self.source == Source::Watching && self.caught_up;
        let running = self.running(text_only).map_or(Some(0), |running| running.changes.len());
        self.pending.changes.len().zip(running).map(|(pending, running)| pending + running).filter(|_| is_known)
    }

    /// The run in progress, unless a search of text alone need not wait for it.
    fn running(&self, text_only: bool) -> Option<&Running> {
        self.running.as_ref().filter(|running| !(text_only && running.stage == Stage::Vectors))
    }
}

/// The watch over one project.
pub struct Watch {
    root: PathBuf,
    /// The root directory, where it is held open.
    tree: Option<Tree>,
    /// Folders outside of the walk whose ignore files have a say in it.
    rule_folders: Vec<PathBuf>,
    state: Mutex<State>,
    /// Wakes the thread.
    wake: Condvar,
    /// Wakes the searches that wait: counts generations and steps of the watch.
    steps: tokio::sync::watch::Sender<u64>,
}

/// The moment up to which a search wants all changes indexed.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// Number of the cookie file made at that moment; 0 for none.
    cookie: u64,
    finished_runs: u64,
}

impl Watch {
    /// A watch that is off.
    pub fn new(root: PathBuf, tree: Option<Tree>) -> Self {
        let state = State {
            source: Source::Off,
            started: false,
            stop: false,
            pending: Pending::default(),
            running: None,
            caught_up: false,
            cookies_made: 0,
            cookies_seen: 0,
            finished_runs: 0,
            problem: None,
            watched_folders: 0,
            lost_folders: Vec::new(),
        };
        let rule_folders = rule_folders(&root);
        let steps = tokio::sync::watch::channel(0).0;
        Watch { root, tree, rule_folders, state: Mutex::new(state), wake: Condvar::new(), steps }
    }

    /// Claims the right to start the thread with `start`, once; `start` says whether it did.
    pub fn start_once(&self, start: impl FnOnce() -> bool) {
        let mut state = self.lock();
        if !state.started && !state.stop {
            state.started = start();
        }
    }

    /// Ends the thread; a run in progress ends by itself.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
        self.wake_waiting();
    }

    /// Begins to watch if the configuration has come to allow it, which a project that is not watched cannot notice.
    pub fn recheck(&self) {
        let mut state = self.lock();
        if state.started && state.source == Source::Off && wants_watch(&self.root) {
            state.pending.changes.add_all();
            self.wake_thread(state);
        }
    }

    /// Has the whole tree looked at again; until then no answer counts as fresh.
    pub fn distrust(&self) {
        let mut state = self.lock();
        state.caught_up = false;
        state.pending.changes.add_all();
        self.wake_thread(state);
    }

    /// A receiver that changes with every generation and every step of the watch.
    pub fn steps(&self) -> tokio::sync::watch::Receiver<u64> {
        self.steps.subscribe()
    }

    /// Wakes the searches that wait.
    pub fn wake_waiting(&self) {
        self.steps.send_modify(|n| *n += 1);
    }

    /// Asks for all changes up to now to be indexed. Blocks for the time of making a file.
    ///
    /// Events come in order, so once the event of a file made now (a cookie) has come, all earlier ones have.
    pub fn ask(&self) -> Ticket {
        let mut state = self.lock();
        let mut cookie = 0;
        if state.source == Source::Watching {
            state.cookies_made += 1;
            cookie = state.cookies_made;
            drop(state);
            let made = self.make_cookie(&format!("{COOKIE}{cookie}"));
            state = self.lock();
            if !made {
                state.pending.changes.add_all(); // the tree cannot be written to
                cookie = 0;
            }
        } else {
            state.pending.changes.add_all();
        }
        state.pending.hurry = true;
        let ticket = Ticket { cookie, finished_runs: state.finished_runs };
        self.wake_thread(state);
        ticket
    }

    /// Stops waiting for the ticket's event and has the whole tree looked at instead.
    pub fn stop_waiting_for_event(&self, ticket: &mut Ticket) {
        let mut state = self.lock();
        if state.cookies_seen < ticket.cookie {
            ticket.cookie = 0;
            state.pending.changes.add_all();
            state.pending.hurry = true;
            self.wake_thread(state);
        }
    }

    /// `Some(true)` once every change made before the ticket is indexed, `Some(false)` if that failed, `None` while pending.
    pub fn is_indexed(&self, ticket: Ticket, text_only: bool) -> Option<bool> {
        let state = self.lock();
        let is_running = state.running(text_only).is_some();
        let failed_since = state.problem.is_some() && state.finished_runs > ticket.finished_runs && !is_running;
        if state.stop || failed_since {
            return Some(false);
        }
        (state.cookies_seen >= ticket.cookie && state.pending.changes.is_empty() && !is_running).then_some(true)
    }

    /// Whether changes wait for a run that is computing vectors of earlier ones; text goes first.
    pub fn waits_for_vectors(&self) -> bool {
        let state = self.lock();
        !state.pending.changes.is_empty() && matches!(&state.running, Some(running) if running.stage == Stage::Vectors)
    }

    /// Whether all known changes are indexed, and how many are not, where that is known.
    pub fn freshness(&self, text_only: bool) -> (bool, Option<u64>) {
        let state = self.lock();
        let pending = state.n_pending(text_only).filter(|_| state.problem.is_none());
        (pending == Some(0), pending)
    }

    /// What `status` says about the watch.
    pub fn status(&self) -> WatchStatus {
        let state = self.lock();
        let (name, why) = match &state.source {
            Source::Off => ("off", None),
            Source::Watching => ("watching", None),
            Source::Polling(why) => ("polling", Some(why)),
        };
        WatchStatus {
            state: name.to_owned(),
            folders: state.watched_folders as u64,
            pending: state.n_pending(false),
            busy: state.running.is_some(),
            problem: why.or(state.problem.as_ref()).cloned(),
        }
    }

    /// How changes are noticed now.
    pub fn source(&self) -> Source {
        self.lock().source.clone()
    }

    /// Switches between events, polling and off. Earlier changes were not reported, so the whole tree counts as changed.
    pub fn set_source(&self, source: Source) {
        let mut state = self.lock();
        if source == Source::Off {
            (state.watched_folders, state.caught_up) = (0, false);
            state.source = source;
            return;
        }
        state.source = source;
        state.pending.changes.add_all();
        self.wake_thread(state);
    }

    /// Switches to polling because a folder cannot be watched.
    pub fn watch_failed(&self, why: String) {
        self.lock().source = Source::Polling(why);
    }

    /// Folders outside of the walk whose ignore files have a say in it.
    pub fn rule_folders(&self) -> &[PathBuf] {
        &self.rule_folders
    }

    /// Adds changes that a run found while it was in progress.
    pub fn add(&self, changes: Changes) {
        let mut state = self.lock();
        state.pending.changes.merge(changes);
        self.wake_thread(state);
    }

    /// Takes the changes for a run, and the folders that are watched no more, as soon as they are due. `is_store_wanted` puts
    /// them off: a request's own run goes first, and will have brought in most of them. `None` once the daemon shuts down.
    pub fn take(&self, is_store_wanted: impl Fn() -> bool) -> Option<(Changes, Vec<String>)> {
        let mut state = self.lock();
        let mut polled = Instant::now();
        loop {
            if state.stop {
                return None;
            }
            let is_polling = matches!(state.source, Source::Polling(_));
            if is_polling {
                state.watched_folders = 0;
                if polled.elapsed() >= POLL_EVERY {
                    state.pending.changes.add_all();
                    polled = Instant::now();
                }
            }
            let now = Instant::now();
            let due = state.pending.due(now, is_store_wanted());
            if due.is_some_and(|at| at <= now) {
                let changes = state.pending.take();
                state.running = Some(Running { stage: Stage::Text, changes: changes.clone() });
                return Some((changes, std::mem::take(&mut state.lost_folders)));
            }
            let until_due = due.map(|at| at - now);
            let wait = until_due.into_iter().chain(is_polling.then_some(POLL_EVERY)).min();
            state = match wait {
                Some(wait) => self.wake.wait_timeout(state, wait).expect(UNPOISONED).0,
                None => self.wake.wait(state).expect(UNPOISONED),
            };
        }
    }

    /// The run in progress has reached a stage.
    pub fn reached(&self, stage: Stage) {
        if let Some(running) = &mut self.lock().running {
            running.stage = stage;
        }
        self.wake_waiting();
    }

    /// The run over `changes` has ended.
    pub fn finished(&self, changes: Changes, outcome: RunOutcome, watched_folders: usize) {
        let mut state = self.lock();
        state.running = None;
        state.finished_runs += 1;
        state.watched_folders = watched_folders;
        state.pending.not_before = None;
        match outcome {
            RunOutcome::Done => {
                state.problem = None;
                state.caught_up |= changes.all;
            }
            RunOutcome::GaveWay => state.pending.changes.merge(changes),
            RunOutcome::Failed(why) => {
                state.problem = Some(why);
                state.pending.changes.merge(changes);
                state.pending.not_before = Some(Instant::now() + POLL_EVERY);
            }
        }
        state.pending.settle();
        drop(state);
        self.wake_waiting();
    }

    /// Makes a file whose event tells that all earlier events have come. Says whether that succeeded.
    fn make_cookie(&self, name: &str) -> bool {
        let tree = self.tree.as_ref().map_or_else(|| Tree::open(&self.root), |tree| Ok(tree.clone()));
        let Ok(Some(folder)) = tree.and_then(|tree| config::project_folder(&tree)) else { return false };
        let _ = folder.remove(name); // left by a daemon that died
        let made = folder.create_new(name).is_ok();
        let _ = folder.remove(name);
        made
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Notes that changes came now; wakes the thread and the searches that wait.
    fn wake_thread(&self, mut state: MutexGuard<'_, State>) {
        state.pending.touch(Instant::now());
        drop(state);
        self.wake.notify_all();
        self.wake_waiting();
    }
}

/// How a background run ended.
pub enum RunOutcome {
    /// Its changes are indexed.
    Done,
    /// A request needed the store; the changes are still to be indexed.
    GaveWay,
    /// Why its changes could not be indexed.
    Failed(String),
}

/// Whether the user and the project's configuration allow watching, and the root is no home directory and no file system's. A configuration that cannot be read allows nothing;
/// index runs report what is wrong with it.
pub fn wants_watch(root: &Path) -> bool {
    config::may_watch() && too_wide(root).is_none() && Config::read(root).is_ok_and(|config| config.index.watch)
}
