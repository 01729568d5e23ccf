//! Notices changes of the project and has them indexed, while the daemon lives and for nobody in particular.
//!
//! The system's events say which paths changed; they are gathered until it is quiet for a moment, then a thread of
//! its own has just these paths looked at. Where events cannot be had or were lost, the whole tree is looked at: always
//! right, only slower. Nothing here keeps the daemon alive, nothing here indexes a project that nobody indexed, and the
//! model is loaded only when a changed chunk needs a vector.
//!
//! Linux watches folders one by one, so only those that the walk looks into are watched: the number is limited and
//! `node_modules` would use it up. Elsewhere one watch covers the tree.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind, RemoveKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use offheap_engine::disk::Tree;
use offheap_engine::walk::{EXCLUDE, IGNORE_FILES, PRUNED, rule_folders};
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::message::WatchStatus;
use offheap_protocol::{Code, Fault};

use crate::config::{self, Config};
use crate::log::log;
use crate::model::queue::Batcher;
use crate::project::Project;

/// Changes are taken when none came for this long: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(40);
/// But no later than this after the first: a log that is written all the time must not hold up the rest.
const HOLD: Duration = Duration::from_millis(500);
/// More changed paths than this are a new tree: looking at all of it is cheaper.
const MAX_PATHS: usize = 1_000;
/// How often a tree is looked at that cannot be watched, and how soon after a failure changes are tried again.
const POLL_EVERY: Duration = Duration::from_secs(30);
/// Events that were lost are made up for at most this often: looking at a tree makes events too.
const RESCAN_EVERY: Duration = Duration::from_secs(2);
/// An event that does not come within this time never will.
const COOKIE_PATIENCE: Duration = Duration::from_millis(250);
/// Beginning of the names of files that are made to hear of them.
const COOKIE: &str = ".cookie-";

/// Paths below the root that changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Files, and folders with all they hold.
    pub paths: BTreeSet<String>,
    /// Anything may have changed.
    pub all: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.all
    }

    fn add(&mut self, rel: String) {
        if rel.is_empty() || self.paths.len() >= MAX_PATHS {
            self.add_all();
        } else if !self.all {
            self.paths.insert(rel);
        }
    }

    fn add_all(&mut self) {
        self.paths.clear();
        self.all = true;
    }

    fn merge(&mut self, other: Changes) {
        if other.all {
            self.add_all();
        }
        other.paths.into_iter().for_each(|rel| self.add(rel));
    }

    fn len(&self) -> Option<u64> {
        (!self.all).then_some(self.paths.len() as u64)
    }
}

/// How far the run is that brings changes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading files; text search does not see them yet.
    Text,
    /// Text search sees them, vectors are being computed.
    Vectors,
}

/// How changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Off,
    Watching,
    Polling(String),
}

struct State {
    source: Source,
    started: bool,
    stop: bool,
    changes: Changes,
    /// When the first and the last of `changes` came.
    since: Option<(Instant, Instant)>,
    /// What the run in progress takes care of.
    running: Option<(Stage, Changes)>,
    /// Somebody waits: take what is there at once.
    hurry: bool,
    /// The whole tree was looked at since it is watched.
    caught_up: bool,
    /// Events were lost: nothing before then.
    not_before: Option<Instant>,
    cookies_made: u64,
    cookies_seen: u64,
    /// Runs that ended, and whether the last one failed.
    finished: u64,
    problem: Option<String>,
    folders: usize,
    /// Folders that are gone or moved: they have no watch any more.
    lost_folders: Vec<String>,
}

/// The watch over one project.
pub struct Watch {
    root: PathBuf,
    /// The root, where it is held open.
    tree: Option<Tree>,
    /// Folders outside of the walk whose ignore files have a say in it.
    rule_folders: Vec<PathBuf>,
    state: Mutex<State>,
    wake: Condvar,
    /// Counts what may interest whoever waits without a thread.
    news: tokio::sync::watch::Sender<u64>,
}

/// A point in time after which a search wants to be.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    cookie: u64,
    finished: u64,
}

impl Watch {
    /// Nothing is watched yet.
    pub fn new(root: PathBuf, tree: Option<Tree>) -> Self {
        let state = State {
            source: Source::Off,
            started: false,
            stop: false,
            changes: Changes::default(),
            since: None,
            running: None,
            hurry: false,
            caught_up: false,
            not_before: None,
            cookies_made: 0,
            cookies_seen: 0,
            finished: 0,
            problem: None,
            folders: 0,
            lost_folders: Vec::new(),
        };
        let rule_folders = rule_folders(&root);
        Watch {
            root,
            tree,
            rule_folders,
            state: Mutex::new(state),
            wake: Condvar::new(),
            news: tokio::sync::watch::channel(0).0,
        }
    }

    /// Starts the thread, once. The index must exist.
    pub fn start(project: &Arc<Project>, batcher: &Arc<Batcher>) {
        let watch = project.watch();
        if project.is_guest() {
            return; // the owner watches
        }
        let mut state = watch.lock();
        if state.started || state.stop {
            return;
        }
        let (project, batcher) = (project.clone(), batcher.clone());
        let thread = std::thread::Builder::new().name("offheap-watch".into());
        match thread.spawn(move || Thread { project, batcher, watcher: None, watched: BTreeSet::new() }.run()) {
            Ok(_) => state.started = true,
            Err(error) => log!("cannot start the watching thread: {error}"),
        }
    }

    /// Ends the thread; a run in progress ends by itself.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
        self.tell();
    }

    /// Begins to watch where the configuration has come to allow it: a project that is not watched cannot tell.
    pub fn recheck(&self) {
        let mut state = self.lock();
        if state.started && state.source == Source::Off && wanted(&self.root) {
            state.changes.add_all();
            self.noticed(state);
        }
    }

    /// Nothing is known to be in any more: the whole tree is looked at, and until then nothing is fresh.
    pub fn distrust(&self) {
        let mut state = self.lock();
        state.caught_up = false;
        state.changes.add_all();
        self.noticed(state);
    }

    fn make_cookie(&self, name: &str) -> bool {
        let Ok(folder) = self
            .tree
            .as_ref()
            .map_or_else(|| Tree::open(&self.root), |tree| Ok(tree.clone()))
            .and_then(|tree| config::project_folder(&tree))
        else {
            return false;
        };
        let _ = folder.remove(name); // of a daemon that died
        let made = folder.create_new(name).is_ok();
        let _ = folder.remove(name);
        made
    }

    /// For those who wait: changes with every generation and every step of the watch.
    pub fn news(&self) -> tokio::sync::watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Tells those who wait that something happened.
    pub fn tell(&self) {
        self.news.send_modify(|n| *n += 1);
    }

    /// The run in progress is that far.
    pub fn reached(&self, stage: Stage) {
        if let Some((reached, _)) = &mut self.lock().running {
            *reached = stage;
        }
        self.tell();
    }

    /// Asks for all that has changed until now. Blocks for the time of making a file.
    ///
    /// Events come in order, so when the event of a file made now has come, all earlier ones have.
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
                state.changes.add_all(); // a tree that cannot be written to
                cookie = 0;
            }
        } else {
            state.changes.add_all();
        }
        state.hurry = true;
        let ticket = Ticket { cookie, finished: state.finished };
        self.noticed(state);
        ticket
    }

    /// The ticket's event did not come: looks at everything instead.
    pub fn give_up_waiting(&self, ticket: &mut Ticket) {
        let mut state = self.lock();
        if state.cookies_seen < ticket.cookie {
            ticket.cookie = 0;
            state.changes.add_all();
            state.hurry = true;
            self.noticed(state);
        }
    }

    /// Whether all that changed before the ticket is in: `Some(false)` when it cannot be had.
    pub fn is_in(&self, ticket: Ticket, text_only: bool) -> Option<bool> {
        let state = self.lock();
        let running = state.running.as_ref().is_some_and(|(stage, _)| !(text_only && *stage == Stage::Vectors));
        if state.stop || (state.problem.is_some() && state.finished > ticket.finished && !running) {
            return Some(false);
        }
        (state.cookies_seen >= ticket.cookie && state.changes.is_empty() && !running).then_some(true)
    }

    /// Whether changes wait for a run whose own text is in and that computes vectors: text goes first.
    pub fn is_held_up(&self) -> bool {
        let state = self.lock();
        !state.changes.is_empty() && matches!(state.running, Some((Stage::Vectors, _)))
    }

    /// How long the ticket's event is worth waiting for.
    pub fn patience(&self) -> Duration {
        COOKIE_PATIENCE
    }

    /// Whether no change is known that is not in, and how many are where that is known.
    pub fn freshness(&self, text_only: bool) -> (bool, Option<u64>) {
        let state = self.lock();
        let known = state.source == Source::Watching && state.caught_up && state.problem.is_none();
        let running = state.running.as_ref().filter(|(stage, _)| !(text_only && *stage == Stage::Vectors));
        let running = running.map_or(Some(0), |(_, changes)| changes.len());
        let pending = state.changes.len().zip(running).map(|(a, b)| a + b).filter(|_| known);
        (pending == Some(0), pending)
    }

    /// For `status`.
    pub fn status(&self) -> WatchStatus {
        let state = self.lock();
        let (name, why) = match &state.source {
            Source::Off => ("off", None),
            Source::Watching => ("watching", None),
            Source::Polling(why) => ("polling", Some(why)),
        };
        let running = state.running.as_ref().map_or(Some(0), |(_, changes)| changes.len());
        WatchStatus {
            state: name.to_owned(),
            folders: state.folders as u64,
            pending: state
                .changes
                .len()
                .zip(running)
                .map(|(a, b)| a + b)
                .filter(|_| state.source == Source::Watching && state.caught_up),
            busy: state.running.is_some(),
            problem: why.or(state.problem.as_ref()).cloned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    fn noticed(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        state.since = Some((state.since.map_or(now, |(first, _)| first), now));
        drop(state);
        self.wake.notify_all();
        self.tell();
    }

    /// One event of the system.
    fn heard(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let mut state = self.lock();
                if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
                    state.source = Source::Polling(reason(&error));
                }
                state.changes.add_all();
                return self.noticed(state);
            }
        };
        if event.need_rescan() {
            log!("events were lost; the whole tree is looked at");
            let mut state = self.lock();
            state.not_before = Some(Instant::now() + RESCAN_EVERY);
            state.changes.add_all();
            return self.noticed(state);
        }
        // Reading a file is an event too, and this daemon reads what changed.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return;
        }
        let folder_gone = matches!(
            event.kind,
            EventKind::Remove(RemoveKind::Folder | RemoveKind::Any | RemoveKind::Other)
                | EventKind::Modify(ModifyKind::Name(_))
        );
        let mut state = self.lock();
        let mut any = false;
        for path in &event.paths {
            let Some(news) = self.judge(path) else { continue };
            any = true;
            match news {
                News::Path(rel) => {
                    if folder_gone {
                        state.lost_folders.push(rel.clone());
                    }
                    state.changes.add(rel);
                }
                News::Rules => state.changes.add_all(),
                News::Cookie(n) => state.cookies_seen = state.cookies_seen.max(n),
            }
        }
        if any {
            self.noticed(state);
        }
    }

    /// What a path means; `None` for what is no part of any project.
    fn judge(&self, path: &Path) -> Option<News> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_rules = IGNORE_FILES.contains(&name) || name == EXCLUDE;
        if is_rules && path.parent().is_some_and(|folder| self.rule_folders.iter().any(|rules| rules == folder)) {
            return Some(News::Rules);
        }
        let below = path.strip_prefix(&self.root).ok()?;
        let parts: Vec<&str> = below
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect::<Option<_>>()?;
        match parts[..] {
            [PROJECT_DIR, "config.json"] | [".git", "HEAD"] => return Some(News::Rules),
            [PROJECT_DIR, name] => return name.strip_prefix(COOKIE)?.parse().ok().map(News::Cookie),
            _ => {}
        }
        if parts.iter().any(|part| PRUNED.contains(part)) {
            return None;
        }
        if parts.last().is_some_and(|name| IGNORE_FILES.contains(name)) {
            return Some(News::Rules);
        }
        Some(News::Path(parts.join("/")))
    }
}

const UNPOISONED: &str = "no code that panics runs under this lock";

/// Whether the user and the project want it watched. A configuration that cannot be read is reported by index runs.
fn wanted(root: &Path) -> bool {
    config::may_watch() && Config::read(root).is_ok_and(|config| config.index.watch)
}

enum News {
    /// It changed.
    Path(String),
    /// What belongs to the project may have changed, or a branch was switched.
    Rules,
    /// A file of ours.
    Cookie(u64),
}

fn reason(error: &notify::Error) -> String {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system's limit of watched folders is reached (fs.inotify.max_user_watches)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The thread that brings changes in.
struct Thread {
    project: Arc<Project>,
    batcher: Arc<Batcher>,
    watcher: Option<RecommendedWatcher>,
    /// Folders with a watch of their own; Linux only.
    watched: BTreeSet<String>,
}

impl Thread {
    fn run(mut self) {
        let project = self.project.clone();
        let watch = project.watch();
        self.follow_config();
        while let Some(changes) = self.next() {
            if changes.all {
                self.follow_config();
            }
            let batcher = self.batcher.clone();
            let outcome = project.refresh(&changes, &batcher, &mut |walked| {
                let news = self.watch_folders(walked);
                if !news.is_empty() {
                    // What appeared in them before they were watched was not told. This run did not see it either, and
                    // must not pass for up to date while it computes vectors.
                    let mut state = watch.lock();
                    state.changes.merge(news);
                    watch.noticed(state);
                }
            });
            let mut state = watch.lock();
            state.running = None;
            state.finished += 1;
            state.folders = self.watched.len();
            state.not_before = None;
            match outcome {
                Ok(()) => {
                    state.problem = None;
                    state.caught_up |= changes.all;
                }
                // Somebody else needed the index; this is done after.
                Err(fault) if fault.code == Code::IndexBusy => state.changes.merge(changes),
                Err(fault) => {
                    log!("changes could not be indexed: {} {}", fault.code, fault.message);
                    state.problem = Some(format!("{} ({})", fault.message, fault.code));
                    state.changes.merge(changes);
                    state.not_before = Some(Instant::now() + POLL_EVERY);
                }
            }
            if state.changes.is_empty() {
                state.since = None;
                state.hurry = false;
            } else {
                let now = Instant::now();
                state.since.get_or_insert((now, now));
            }
            drop(state);
            watch.tell();
        }
    }

    /// Waits for changes and takes them; `None` ends the thread.
    fn next(&mut self) -> Option<Changes> {
        let project = self.project.clone();
        let watch = project.watch();
        let mut state = watch.lock();
        let mut polled = Instant::now();
        loop {
            if state.stop {
                return None;
            }
            if matches!(state.source, Source::Polling(_)) {
                self.watcher = None; // half a watch is none
                self.watched.clear();
                state.folders = 0;
                if polled.elapsed() >= POLL_EVERY {
                    state.changes.add_all();
                    polled = Instant::now();
                }
            }
            let now = Instant::now();
            let ready_at = match state.since {
                _ if state.changes.is_empty() => None,
                _ if state.hurry => Some(now),
                Some((first, last)) => Some((last + QUIET).min(first + HOLD)),
                None => Some(now),
            };
            let ready_at = match (ready_at, state.not_before) {
                (Some(at), Some(not_before)) if !state.hurry => Some(at.max(not_before)),
                (at, _) => at,
            };
            // Whoever asked for a run of its own goes first, and will have brought in most of it.
            let ready_at =
                if project.is_wanted() { ready_at.map(|_| now + Duration::from_millis(20)) } else { ready_at };
            match ready_at {
                Some(at) if at <= now => {
                    let changes = std::mem::take(&mut state.changes);
                    for rel in std::mem::take(&mut state.lost_folders) {
                        self.watched.retain(|folder| *folder != rel && !folder.starts_with(&format!("{rel}/")));
                    }
                    state.since = None;
                    state.hurry = false;
                    state.running = Some((Stage::Text, changes.clone()));
                    return Some(changes);
                }
                at => {
                    let poll = matches!(state.source, Source::Polling(_)).then(|| POLL_EVERY);
                    let wait = at.map(|at| at - now).into_iter().chain(poll).min();
                    state = match wait {
                        Some(wait) => watch.wake.wait_timeout(state, wait).expect(UNPOISONED).0,
                        None => watch.wake.wait(state).expect(UNPOISONED),
                    };
                }
            }
        }
    }

    /// Watches, or does not, as the project's configuration says.
    fn follow_config(&mut self) {
        let project = self.project.clone();
        let watch = project.watch();
        let source = watch.lock().source.clone();
        match (wanted(project.root()), source) {
            (false, _) => {
                self.watcher = None;
                self.watched.clear();
                let mut state = watch.lock();
                (state.source, state.folders, state.caught_up) = (Source::Off, 0, false);
            }
            (true, Source::Off) => {
                let listener = project.clone();
                let config = notify::Config::default().with_follow_symlinks(false);
                let opened = RecommendedWatcher::new(move |event| listener.watch().heard(event), config);
                let source = match opened.and_then(|watcher| self.open(watcher)) {
                    Ok(()) => Source::Watching,
                    Err(error) => Source::Polling(reason(&error)),
                };
                let mut state = watch.lock();
                state.source = source;
                state.changes.add_all(); // nobody told of what happened before
                watch.noticed(state);
            }
            (true, _) => {}
        }
    }

    fn open(&mut self, mut watcher: RecommendedWatcher) -> notify::Result<()> {
        let root = self.project.root();
        if cfg!(target_os = "linux") {
            watcher.watch(&root.join(PROJECT_DIR), RecursiveMode::NonRecursive)?;
            if std::fs::symlink_metadata(root.join(".git")).is_ok_and(|git| git.is_dir()) {
                watcher.watch(&root.join(".git"), RecursiveMode::NonRecursive)?;
            }
        } else {
            watcher.watch(root, RecursiveMode::Recursive)?;
        }
        for folder in &self.project.watch().rule_folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        self.watcher = Some(watcher);
        Ok(())
    }

    /// Watches folders that are not yet watched, and gives these.
    fn watch_folders(&mut self, folders: &[String]) -> Changes {
        let mut news = Changes::default();
        let Some(watcher) = &mut self.watcher else { return news };
        if !cfg!(target_os = "linux") {
            return news;
        }
        for rel in folders {
            if self.watched.contains(rel) {
                continue;
            }
            match watcher.watch(&self.project.root().join(rel), RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(rel.clone());
                    news.add(rel.clone());
                }
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {} // gone again
                Err(error) => {
                    let why = reason(&error);
                    log!("the project cannot be watched: {why}");
                    self.project.watch().lock().source = Source::Polling(why);
                    return Changes::default();
                }
            }
        }
        news
    }
}

/// Why a run for nobody gave way.
pub fn preempted() -> Fault {
    Fault::new(Code::IndexBusy, "another request needs the index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged() {
        let watch = Watch::new(PathBuf::from("/p"), None);
        for (path, expected) in [
            ("/p/src/a.rs", "src/a.rs"),
            ("/p", ""),
            ("/p/src/.gitignore", "rules"),
            ("/p/.offheapignore", "rules"),
            ("/p/.git/HEAD", "rules"),
            ("/p/.git/index.lock", "none"),
            ("/p/.git/refs/heads/main", "none"),
            ("/p/.offheap/config.json", "rules"),
            ("/p/.offheap/.cookie-7", "cookie 7"),
            ("/p/.offheap/.cookie-x", "none"),
            ("/p/.offheap/data/text/x.idx", "none"),
            ("/p/a/node_modules/b/c.js", "none"),
            ("/other/a.rs", "none"),
        ] {
            let judged = match watch.judge(Path::new(path)) {
                Some(News::Path(rel)) => rel,
                Some(News::Rules) => "rules".into(),
                Some(News::Cookie(n)) => format!("cookie {n}"),
                None => "none".into(),
            };
            assert_eq!(judged, expected, "{path}");
        }
    }

    #[test]
    fn reading_is_no_change_and_losing_events_is_all() {
        use notify::event::{CreateKind, Flag};
        let watch = Watch::new(PathBuf::from("/p"), None);
        let event = |kind| Ok(Event::new(kind).add_path("/p/a.rs".into()));
        watch.heard(event(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        watch.heard(event(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(watch.lock().changes.is_empty());
        watch.heard(event(EventKind::Create(CreateKind::File)));
        assert_eq!(watch.lock().changes.len(), Some(1));
        watch.heard(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(watch.lock().changes.len(), None);
        let mut many = Changes::default();
        (0..=MAX_PATHS).for_each(|i| many.add(i.to_string()));
        assert!(many.all && many.paths.is_empty());
    }
}
