//! Files that a run leaves out, and those that earlier runs left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::store::{SkippedRecord, Store};
use crate::walk::{SkipReason, Skipped, SourceFile};

/// What is left out of the tree, or of the paths that a run looks at.
pub struct Skips {
    /// From earlier runs.
    known: BTreeMap<String, SkippedRecord>,
    /// Of them, those that are still left out.
    kept: BTreeSet<String>,
    found: Vec<Skipped>,
}

impl Skips {
    /// Reads what earlier runs left out, of the changed paths only.
    pub fn begin(store: &Store, changed: Option<&BTreeSet<String>>) -> Result<Skips> {
        let known = changed.map_or_else(|| store.skipped(), |paths| store.skipped_within(paths))?;
        Ok(Skips { known, kept: BTreeSet::new(), found: Vec::new() })
    }

    /// Notes that a file is left out.
    pub fn add(&mut self, store: &mut Store, rel: String, record: SkippedRecord) {
        let reason = record.reason;
        // What is gone was not left out.
        if reason != SkipReason::Vanished {
            if self.known.get(&rel) != Some(&record) {
                store.skip_file(&rel, Some(record));
            }
            self.kept.insert(rel.clone());
        }
        self.found.push(Skipped { rel, reason });
    }

    /// Whether a file that was left out for its content has not changed since, so that it need not be read again; it is
    /// noted then.
    pub fn is_as_before(&mut self, file: &SourceFile) -> bool {
        let Some(known) = self.known.get(&file.rel) else { return false };
        let by_content = matches!(known.reason, SkipReason::Binary | SkipReason::UnknownEncoding);
        let is_same = by_content && known.stat == file.stat;
        if is_same {
            self.kept.insert(file.rel.clone());
            self.found.push(Skipped { rel: file.rel.clone(), reason: known.reason });
        }
        is_same
    }

    /// Forgets files that are no longer left out; all that are, by path.
    pub fn end(self, store: &mut Store) -> Vec<Skipped> {
        self.known.keys().filter(|rel| !self.kept.contains(*rel)).for_each(|rel| store.skip_file(rel, None));
        let mut found = self.found;
        found.sort_by(|a, b| a.rel.cmp(&b.rel));
        found
    }
}
