//! Maintenance of large segments, apart from commits: builds graphs, and copies segments without their dead entries.
//!
//! ```text
//! let Some(job) = store.maintenance() else { ... };   // the store can be used meanwhile
//! let built = job.run(kernel, threads, &cancelled)?;   // minutes, on mapped files of its own; no lock is held
//! store.install(built)?;                              // one short commit
//! ```
//!
//! The store may commit meanwhile. Entries that died since are dead in the new segment too; when a segment that was
//! read is gone, the new one is dropped. Repeat until there is no job left.

use std::io::ErrorKind;
use std::sync::Arc;

use super::Store;
use super::files::{BUILDING, BUILT};
use super::segments::{Built, living_entries, plan_maintenance};
use crate::disk::Folder;
use crate::kernel::Kernel;
use crate::vector::graph::GraphPlan;
use crate::vector::search::{GRAPH_ENTRIES, Part};
use crate::vector::segment::Segment;
use crate::vector::write;
use crate::{Error, Result};

/// A segment to be built, independent of the store.
pub struct Maintenance {
    folder: Folder,
    dim: usize,
    parts: Vec<Part>,
    graph: bool,
}

impl Store {
    /// The next segment whose building would make searches faster or the index smaller. Considers committed segments
    /// only.
    pub fn maintenance(&self) -> Option<Maintenance> {
        self.maintenance_from(GRAPH_ENTRIES)
    }

    /// [`Store::maintenance`] with another number of entries from which on a graph is built. For tests and benches.
    #[doc(hidden)]
    pub fn maintenance_from(&self, graph_entries: usize) -> Option<Maintenance> {
        let (parts, graph) = plan_maintenance(self.snapshot().vectors.parts(), graph_entries)?;
        Some(Maintenance { folder: self.folder.clone(), dim: self.manifest.dim as usize, parts, graph })
    }

    /// Commits what maintenance built as a new generation; `false` when the index went on without the segments that it
    /// was made from. Call it with nothing uncommitted, else that is committed too.
    pub fn install(&mut self, built: Built) -> Result<bool> {
        let snapshot = self.snapshot();
        let parts = snapshot.vectors.parts();
        let fits = |(file, checksum): &(String, u64)| {
            parts.iter().any(|part| part.file == *file && part.segment.checksum() == *checksum)
        };
        if self.changes.cleared || self.changes.space.is_some() || !built.sources.iter().all(fits) {
            return Ok(false);
        }
        self.changing(|store| {
            store.changes.replaced = Some(built);
            Ok(())
        })?;
        self.commit()?;
        Ok(true)
    }
}

impl Maintenance {
    /// Builds the new segment. It needs nothing of the store: the files that it reads stay mapped whatever is committed
    /// meanwhile.
    ///
    /// `cancelled` is called often, from `threads` threads. Errors: [`Error::Cancelled`], [`Error::Io`].
    pub fn run(self, kernel: &Kernel, threads: usize, cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Built> {
        let Maintenance { folder, dim, parts, graph } = self;
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let building = folder.make_folder(BUILDING)?.0;
        let path = building.path_of(BUILT);
        clear(&folder)?; // of a run that failed
        let mut entries: Vec<_> = parts.iter().flat_map(living_entries).collect();
        entries.sort_unstable_by_key(|entry| entry.chunk_id);
        let plan = GraphPlan { kernel, threads, cancelled };
        let file = building.create_new(BUILT).map_err(|e| building.refusal("create", BUILT, false, e))?;
        let written = write::write_to(file, &path, dim, &entries, graph.then_some(&plan));
        let opened = written.and_then(|_| Segment::map(building.open(BUILT)?, &path)).inspect_err(|_| {
            let _ = building.remove(BUILT);
        })?;
        let sources = parts.iter().map(|part| (part.file.clone(), part.segment.checksum())).collect();
        Ok(Built { building, segment: Arc::new(opened), sources })
    }
}

/// Deletes the file that a killed process was building.
pub(super) fn clear(folder: &Folder) -> Result<()> {
    let Some(building) = folder.folder(BUILDING)? else { return Ok(()) };
    match building.remove(BUILT) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(building.refusal("remove", BUILT, false, e)),
        _ => Ok(()),
    }
}
