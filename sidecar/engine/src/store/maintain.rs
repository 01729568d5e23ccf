//! Work on large segments that no commit should wait for: building graphs, and copying without the dead.
//!
//! ```text
//! let Some(job) = store.maintenance() else { ... };   // the store is free again
//! let built = job.run(kernel, threads, &cancelled)?;   // minutes, on mapped files of its own; no lock is held
//! store.install(built)?;                              // one short commit
//! ```
//!
//! In between the store may commit as it likes. What died meanwhile is dead in the new segment too, and when a segment
//! that was read is gone altogether, the work is dropped. Call again until there is no job left.

use std::io::ErrorKind;
use std::sync::Arc;

use super::Store;
use super::commit::{COMMIT_MERGE_ENTRIES, DEAD_SHARE, living_entries, next_file};
use super::files::{BUILDING, BUILT};
use crate::disk::Folder;
use crate::kernel::Kernel;
use crate::vector::Bitmap;
use crate::vector::graph::GraphPlan;
use crate::vector::search::{GRAPH_ENTRIES, Part};
use crate::vector::segment::Segment;
use crate::vector::write;
use crate::{Error, Result};

/// No segment is built with more entries, so that one build has an end: 77 MB of links and some minutes.
pub(super) const MAX_ENTRIES: usize = 250_000;

/// One thing to do, apart from the store.
pub struct Maintenance {
    folder: Folder,
    dim: usize,
    parts: Vec<Part>,
    graph: bool,
}

/// What was done, to be installed. Its file is deleted when it is not.
pub struct Built {
    building: Folder,
    segment: Arc<Segment>,
    /// File names and checksums of what it was made from.
    sources: Vec<(String, u64)>,
}

impl Store {
    /// What would make searches faster or the index smaller, if anything; looks only at what is committed.
    pub fn maintenance(&self) -> Option<Maintenance> {
        self.maintenance_from(GRAPH_ENTRIES)
    }

    /// The same with another crossover. For tests and benches.
    #[doc(hidden)]
    pub fn maintenance_from(&self, graph_entries: usize) -> Option<Maintenance> {
        let (parts, graph) = plan(self.snapshot().vectors.parts(), graph_entries)?;
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

    /// Moves a built file to its place. Chunks that died since it was begun are dead in it.
    pub(super) fn place(&self, built: &Built, next_segment: &mut u64) -> Result<Part> {
        let file = next_file(next_segment);
        let segment = built.segment.clone();
        let snapshot = self.snapshot();
        let sources: Vec<&Part> = snapshot.vectors.parts().iter().filter(|part| built.replaces(part)).collect();
        let lives = |id: u64| {
            sources.iter().any(|part| part.segment.entry_of(id).is_some_and(|entry| !part.dead.contains(entry as u64)))
        };
        let mut dead = Bitmap::default();
        let gone = (0..segment.entries()).filter(|&entry| !lives(segment.chunk_id(entry)));
        gone.for_each(|entry| dead.insert(entry as u64));
        built.building.rename_durably(BUILT, &self.vector_folder, &file)?;
        Ok(Part { file, segment, dead })
    }
}

impl Maintenance {
    /// Does it. Needs nothing of the store; the files it reads stay mapped whatever is committed meanwhile.
    ///
    /// `cancelled` is asked all the time, from `threads` threads. Errors: [`Error::Cancelled`], [`Error::Io`].
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

impl Built {
    /// Whether this takes the place of `part`.
    pub(super) fn replaces(&self, part: &Part) -> bool {
        self.sources.iter().any(|(file, checksum)| *file == part.file && *checksum == part.segment.checksum())
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        let _ = self.building.remove(BUILT); // nothing is there when it was installed
    }
}

/// Deletes what a process that died was building.
pub(super) fn clear(folder: &Folder) -> Result<()> {
    let Some(building) = folder.folder(BUILDING)? else { return Ok(()) };
    match building.remove(BUILT) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(building.refusal("remove", BUILT, false, e)),
        _ => Ok(()),
    }
}

/// The segments to be made one, and whether with a graph.
///
/// First a large segment with many dead. Then segments without a graph, largest first, once together they are worth one;
/// a smaller graph joins in, so that what is built again has at least doubled.
fn plan(parts: &[Part], graph_entries: usize) -> Option<(Vec<Part>, bool)> {
    let is_large = |part: &&Part| part.living() > COMMIT_MERGE_ENTRIES;
    let decays = |part: &&Part| part.dead.len() * DEAD_SHARE > part.segment.entries();
    if let Some(part) = parts.iter().filter(is_large).find(decays) {
        return Some((vec![part.clone()], part.living() >= graph_entries));
    }
    let (mut with, mut without): (Vec<&Part>, Vec<&Part>) =
        parts.iter().partition(|part| part.segment.graph().is_some());
    without.sort_by_key(|part| std::cmp::Reverse(part.living()));
    with.sort_by_key(|part| part.living());
    let (mut chosen, mut n_entries) = (Vec::new(), 0);
    for part in without {
        if n_entries + part.living() <= MAX_ENTRIES {
            n_entries += part.living();
            chosen.push(part.clone());
        }
    }
    if n_entries < graph_entries {
        return None;
    }
    for part in with {
        if part.living() <= n_entries && n_entries + part.living() <= MAX_ENTRIES {
            n_entries += part.living();
            chosen.push(part.clone());
        }
    }
    Some((chosen, true))
}
