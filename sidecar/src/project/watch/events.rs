//! What the system's events mean for the index.

use std::path::{Component, Path};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind, RemoveKind};
use offheap_engine::walk::{EXCLUDE, IGNORE_FILES, PRUNED};
use offheap_protocol::endpoint::PROJECT_DIR;

use super::{COOKIE, Source, Watch};
use crate::log::warn;

/// After lost events the whole tree is looked at, at most this often: looking at a tree causes events too.
const RESCAN_EVERY: Duration = Duration::from_secs(2);

/// What a changed path means.
enum Meaning {
    /// A file or folder of the project changed; its path below the root.
    Changed(String),
    /// Which files belong to the project may have changed, or a branch was switched.
    RulesChanged,
    /// The event of the cookie file of this number.
    Cookie(u64),
}

/// Why a folder cannot be watched, in words for the user.
pub fn reason(error: &notify::Error) -> String {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system's limit of watched folders is reached (fs.inotify.max_user_watches)".to_owned()
        }
        _ => error.to_string(),
    }
}

impl Watch {
    /// Takes in one event of the system.
    pub fn handle_event(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let mut state = self.lock();
                if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
                    state.source = Source::Polling(reason(&error));
                }
                state.pending.changes.add_all();
                return self.wake_thread(state);
            }
        };
        if event.need_rescan() {
            warn!("events were lost; the whole tree is looked at");
            let mut state = self.lock();
            state.pending.not_before = Some(Instant::now() + RESCAN_EVERY);
            state.pending.changes.add_all();
            return self.wake_thread(state);
        }
        // Reading a file is an event too, and this daemon reads what changed.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return;
        }
        let may_lose_folder = matches!(
            event.kind,
            EventKind::Remove(RemoveKind::Folder | RemoveKind::Any | RemoveKind::Other)
                | EventKind::Modify(ModifyKind::Name(_))
        );
        let meanings: Vec<Meaning> = event.paths.iter().filter_map(|path| self.meaning(path)).collect();
        if meanings.is_empty() {
            return;
        }
        let mut state = self.lock();
        for meaning in meanings {
            match meaning {
                Meaning::Changed(rel) => {
                    if may_lose_folder {
                        state.lost_folders.push(rel.clone());
                    }
                    state.pending.changes.add(rel);
                }
                Meaning::RulesChanged => state.pending.changes.add_all(),
                Meaning::Cookie(n) => state.cookies_seen = state.cookies_seen.max(n),
            }
        }
        self.wake_thread(state);
    }

    /// What a path means; `None` for one that belongs to no project.
    fn meaning(&self, path: &Path) -> Option<Meaning> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_rules = IGNORE_FILES.contains(&name) || name == EXCLUDE;
        if is_rules && path.parent().is_some_and(|folder| self.rule_folders.iter().any(|rules| rules == folder)) {
            return Some(Meaning::RulesChanged);
        }
        let below = path.strip_prefix(&self.root).ok()?;
        let names: Vec<&str> = below
            .components()
            .map(|component| match component {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect::<Option<_>>()?;
        match names[..] {
            [PROJECT_DIR, "config.json"] | [".git", "HEAD"] => return Some(Meaning::RulesChanged),
            [PROJECT_DIR, name] => return name.strip_prefix(COOKIE)?.parse().ok().map(Meaning::Cookie),
            _ => {}
        }
        if names.iter().any(|name| PRUNED.contains(name)) {
            return None;
        }
        if names.last().is_some_and(|name| IGNORE_FILES.contains(name)) {
            return Some(Meaning::RulesChanged);
        }
        Some(Meaning::Changed(names.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn paths_have_their_meaning() {
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
            let meaning = match watch.meaning(Path::new(path)) {
                Some(Meaning::Changed(rel)) => rel,
                Some(Meaning::RulesChanged) => "rules".into(),
                Some(Meaning::Cookie(n)) => format!("cookie {n}"),
                None => "none".into(),
            };
            assert_eq!(meaning, expected, "{path}");
        }
    }

    #[test]
    fn reading_is_no_change_and_lost_events_change_everything() {
        use notify::event::{CreateKind, Flag};
        let watch = Watch::new(PathBuf::from("/p"), None);
        let event = |kind| Ok(Event::new(kind).add_path("/p/a.rs".into()));
        watch.handle_event(event(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        watch.handle_event(event(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(watch.lock().pending.changes.is_empty());
        watch.handle_event(event(EventKind::Create(CreateKind::File)));
        assert_eq!(watch.lock().pending.changes.len(), Some(1));
        watch.handle_event(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(watch.lock().pending.changes.len(), None);
    }
}
