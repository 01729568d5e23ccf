//! Changed paths that wait for a run, and when it may begin.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Changes are taken when none came for this long: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(40);
/// Changes are taken this long after the first at the latest: a log that is always written must not hold up the rest.
const HOLD: Duration = Duration::from_millis(500);
/// How long changes are put off while a request needs the store.
const PUT_OFF: Duration = Duration::from_millis(20);
/// With more changed paths than this, looking at the whole tree is cheaper.
pub const MAX_PATHS: usize = 1_000;

/// Paths below the root that changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Files, and folders with all they hold.
    pub paths: BTreeSet<String>,
    /// Anything may have changed.
    pub all: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.all
    }

    /// Adds one path; the root, or one path too many, stands for the whole tree.
    pub fn add(&mut self, rel: String) {
        if rel.is_empty() || self.paths.len() >= MAX_PATHS {
            self.add_all();
        } else if !self.all {
            self.paths.insert(rel);
        }
    }

    /// Says that anything may have changed.
    pub fn add_all(&mut self) {
        self.paths.clear();
        self.all = true;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Changes) {
        if other.all {
            self.add_all();
        }
        other.paths.into_iter().for_each(|rel| self.add(rel));
    }

    /// How many paths changed; `None` where anything may have.
    pub fn len(&self) -> Option<u64> {
        (!self.all).then_some(self.paths.len() as u64)
    }
}

/// Changes that wait for a run.
#[derive(Default)]
pub struct Pending {
    /// What is to be looked at.
    pub changes: Changes,
    /// A search waits: take the changes at once.
    pub hurry: bool,
    /// No run begins earlier, unless a search waits.
    pub not_before: Option<Instant>,
    /// When the first and the last of `changes` came.
    since: Option<(Instant, Instant)>,
}

impl Pending {
    /// Notes that changes came.
    pub fn touch(&mut self, now: Instant) {
        self.since = Some((self.since.map_or(now, |(first, _)| first), now));
    }

    /// When the changes may be taken; `None` where there are none.
    pub fn due(&self, now: Instant, is_store_wanted: bool) -> Option<Instant> {
        if self.changes.is_empty() {
            return None;
        }
        if is_store_wanted {
            return Some(now + PUT_OFF);
        }
        if self.hurry {
            return Some(now);
        }
        let at = self.since.map_or(now, |(first, last)| (last + QUIET).min(first + HOLD));
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// Takes the changes for a run.
    pub fn take(&mut self) -> Changes {
        self.since = None;
        self.hurry = false;
        std::mem::take(&mut self.changes)
    }

    /// Begins to count the time anew after a run that left changes, or none.
    pub fn settle(&mut self) {
        if self.changes.is_empty() {
            self.since = None;
            self.hurry = false;
        } else {
            let now = Instant::now();
            self.since.get_or_insert((now, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_paths_are_the_whole_tree() {
        let mut many = Changes::default();
        (0..=MAX_PATHS).for_each(|i| many.add(i.to_string()));
        assert!(many.all && many.paths.is_empty());
    }

    #[test]
    fn changes_are_due_when_it_is_quiet_or_a_search_waits() {
        let began = Instant::now();
        let mut pending = Pending::default();
        pending.touch(began);
        assert_eq!(pending.due(began, false), None, "nothing changed");
        pending.changes.add("a.rs".to_owned());
        assert_eq!(pending.due(began, false), Some(began + QUIET));
        pending.touch(began + QUIET / 2);
        assert_eq!(pending.due(began, false), Some(began + QUIET / 2 + QUIET));
        pending.touch(began + 2 * HOLD);
        assert_eq!(pending.due(began, false), Some(began + HOLD), "no longer than that after the first");
        pending.not_before = Some(began + 3 * HOLD);
        assert_eq!(pending.due(began, false), Some(began + 3 * HOLD));
        pending.hurry = true;
        assert_eq!(pending.due(began, false), Some(began));
        assert_eq!(pending.due(began, true), Some(began + PUT_OFF), "a request's own run goes first");
        assert_eq!(pending.take().len(), Some(1));
        assert_eq!(pending.due(began, false), None);
    }
}
