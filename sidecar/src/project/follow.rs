//! The thread that has changes indexed while the daemon lives, without a client that asks for it.
//!
//! It keeps no daemon alive, indexes no project that was never indexed, gives way to every request, and loads the model
//! only when a changed chunk needs a vector.
//!
//! Linux watches folders one by one, so only those that the walk looks into are watched: the number is limited, and
//! `node_modules` would use it up. On other systems one watch covers the tree.

use std::collections::BTreeSet;
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use offheap_protocol::Code;
use offheap_protocol::endpoint::PROJECT_DIR;

use super::Project;
use super::watch::{Changes, RunOutcome, Source, Watch, reason, wants_watch};
use crate::log::{self, error, warn};
use crate::model::Batcher;

/// Starts the thread, once. The index must exist; where another process owns it, that process watches.
pub fn start(project: &Arc<Project>, batcher: &Arc<Batcher>) {
    if project.is_borrowed() {
        return;
    }
    project.watch().start_once(|| {
        let (project, batcher) = (project.clone(), batcher.clone());
        let thread = std::thread::Builder::new().name("offheap-watch".into());
        let follower = move || Follower { project, batcher, watcher: None, watched: BTreeSet::new() }.run();
        thread.spawn(follower).inspect_err(|error| error!("cannot start the watching thread: {error}")).is_ok()
    });
}

struct Follower {
    project: Arc<Project>,
    batcher: Arc<Batcher>,
    /// The system's watch, while there is one.
    watcher: Option<RecommendedWatcher>,
    /// Folders that are watched one by one; Linux only.
    watched: BTreeSet<String>,
}

impl Follower {
    fn run(mut self) {
        let project = self.project.clone();
        let watch = project.watch();
        self.follow_config();
        if project.is_outdated() {
            watch.distrust(); // also where nothing is watched: the run over the whole tree is the upgrade
        }
        while let Some((changes, lost_folders)) = watch.take(|| project.is_store_wanted()) {
            if matches!(watch.source(), Source::Polling(_)) {
                self.unwatch(); // a watch that misses folders is worth nothing
            }
            self.forget_folders(&lost_folders);
            if changes.all {
                self.follow_config();
            }
            let batcher = self.batcher.clone();
            let outcome = project.index_changes(&changes, &batcher, &mut |walked| {
                let new_folders = self.watch_folders(watch, walked);
                if !new_folders.is_empty() {
                    // Events of these folders before now are missing. This run has not seen their files either, and must not
                    // pass for up to date while it computes vectors.
                    watch.add(new_folders);
                }
            });
            let outcome = match outcome {
                Ok(()) => RunOutcome::Done,
                Err(fault) if fault.code == Code::IndexBusy => RunOutcome::GaveWay,
                Err(fault) => {
                    warn!("changes could not be indexed: {}", log::Masked(&fault));
                    RunOutcome::Failed(format!("{} ({})", fault.message, fault.code))
                }
            };
            watch.finished(changes, outcome, self.watched.len());
        }
    }

    fn unwatch(&mut self) {
        self.watcher = None;
        self.watched.clear();
    }

    /// Forgets folders that are watched no more, with all below them.
    fn forget_folders(&mut self, lost: &[String]) {
        for rel in lost {
            let below = format!("{rel}/");
            self.watched.retain(|folder| folder != rel && !folder.starts_with(&below));
        }
    }

    /// Watches, or does not, as the project's configuration says.
    fn follow_config(&mut self) {
        let project = self.project.clone();
        let watch = project.watch();
        if !wants_watch(project.root()) {
            self.unwatch();
            return watch.set_source(Source::Off);
        }
        if watch.source() != Source::Off {
            return;
        }
        let listener = project.clone();
        let config = notify::Config::default().with_follow_symlinks(false);
        let opened = RecommendedWatcher::new(move |event| listener.watch().handle_event(event), config);
        watch.set_source(match opened.and_then(|watcher| self.open(watcher)) {
            Ok(()) => Source::Watching,
            Err(error) => Source::Polling(reason(&error)),
        });
    }

    fn open(&mut self, mut watcher: RecommendedWatcher) -> notify::Result<()> {
        let root = self.project.root();
        if cfg!(target_os = "linux") {
            if root.join(PROJECT_DIR).is_dir() {
                watcher.watch(&root.join(PROJECT_DIR), RecursiveMode::NonRecursive)?;
            }
            if std::fs::symlink_metadata(root.join(".git")).is_ok_and(|git| git.is_dir()) {
                watcher.watch(&root.join(".git"), RecursiveMode::NonRecursive)?;
            }
        } else {
            watcher.watch(root, RecursiveMode::Recursive)?;
        }
        for folder in self.project.watch().rule_folders() {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        self.watcher = Some(watcher);
        Ok(())
    }

    /// Watches those of `folders` that are not watched yet, and returns these.
    fn watch_folders(&mut self, watch: &Watch, folders: &[String]) -> Changes {
        let mut new = Changes::default();
        let Some(watcher) = self.watcher.as_mut().filter(|_| cfg!(target_os = "linux")) else { return new };
        for rel in folders {
            if self.watched.contains(rel) {
                continue;
            }
            match watcher.watch(&self.project.root().join(rel), RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(rel.clone());
                    new.add(rel.clone());
                }
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {} // removed meanwhile
                Err(error) => {
                    let why = reason(&error);
                    warn!("the project cannot be watched: {why}");
                    watch.watch_failed(why);
                    return Changes::default();
                }
            }
        }
        new
    }
}
