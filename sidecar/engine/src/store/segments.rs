//! Which segments a generation consists of: their sizes, when a commit merges them, when maintenance does, and how a
//! segment that maintenance built takes its place.

use std::sync::Arc;

use super::Store;
use super::files::BUILT;
use crate::Result;
use crate::disk::Folder;
use crate::vector::manifest::SegmentEntry;
use crate::vector::search::Part;
use crate::vector::segment::Segment;
use crate::vector::write::Entry;
use crate::vector::{Bitmap, RowSource};

/// Most entries of a segment, so that a build is bounded: 77 MB of links and some minutes.
const MAX_ENTRIES: usize = 250_000;

/// Small segments beyond this number are merged: each costs a binary search per lookup, and the start of a scan per
/// query.
const MAX_SEGMENTS: usize = 8;
/// A segment is rewritten when more than one entry in this many is dead.
const DEAD_SHARE: usize = 5;
/// Segments with more entries are left to maintenance: new vectors must not wait until old ones are copied.
const COMMIT_MERGE_ENTRIES: usize = 1 << 16;

/// A segment that maintenance built, to be installed. Its file is deleted when it is dropped without that.
pub struct Built {
    pub(super) building: Folder,
    pub(super) segment: Arc<Segment>,
    /// File names and checksums of what it was made from.
    pub(super) sources: Vec<(String, u64)>,
}

impl Built {
    /// Whether `part` was merged into this.
    pub(super) fn replaces(&self, part: &Part) -> bool {
        self.sources.iter().any(|(file, checksum)| *file == part.file && *checksum == part.segment.checksum())
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        let _ = self.building.remove(BUILT); // nothing is there when it was installed
    }
}

impl Store {
    /// Moves a built file among the segments. Chunks that died since the build began are marked dead in it.
    pub(super) fn place_built(&self, built: &Built, next_segment: &mut u64) -> Result<Part> {
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

pub(super) fn entry(part: &Part) -> SegmentEntry {
    SegmentEntry {
        file: part.file.clone(),
        entries: part.segment.entries() as u64,
        checksum: part.segment.checksum(),
        dead: part.dead.runs(),
    }
}

/// The name of the next segment.
pub(super) fn next_file(next_segment: &mut u64) -> String {
    let file = format!("seg-{next_segment}.vec");
    *next_segment += 1;
    file
}

/// The entries of a segment that are not dead.
pub(super) fn living_entries(part: &Part) -> impl Iterator<Item = Entry<'_>> {
    let segment = &*part.segment;
    (0..segment.entries()).filter(|&entry| !part.dead.contains(entry as u64)).map(move |entry| Entry {
        chunk_id: segment.chunk_id(entry),
        source: segment as &dyn RowSource,
        row: segment.row_of(entry),
    })
}

/// Indexes of the segments that a commit rewrites together with `n_new` entries; large ones are left to maintenance.
///
/// Segments with many dead entries are always rewritten. When too many segments would remain, the smallest are too, and
/// further ones while the next has at most twice the entries merged so far, so that a large segment is not rewritten
/// for a few entries.
pub(super) fn plan_merge(parts: &[Part], n_new: usize) -> Vec<usize> {
    let small: Vec<usize> = (0..parts.len()).filter(|&i| parts[i].living() <= COMMIT_MERGE_ENTRIES).collect();
    let (mut merged, mut kept): (Vec<usize>, Vec<usize>) =
        small.iter().partition(|&&i| parts[i].dead.len() * DEAD_SHARE > parts[i].segment.entries());
    if kept.len() + 1 > MAX_SEGMENTS {
        kept.sort_by_key(|&i| parts[i].living());
        let mut n_entries = n_new;
        for i in kept.iter().copied() {
            let n_left = small.len() - merged.len();
            let enough = n_left < MAX_SEGMENTS && parts[i].living() > 2 * n_entries;
            if enough || n_entries + parts[i].living() > MAX_ENTRIES {
                break;
            }
            n_entries += parts[i].living();
            merged.push(i);
        }
    }
    merged
}

/// The segments that maintenance merges next, and whether the result gets a graph.
///
/// First a large segment with many dead entries. Then segments without a graph, largest first, once together they are
/// large enough for one; segments with a smaller graph join, so that a graph is built again only when it at least
/// doubles.
pub(super) fn plan_maintenance(parts: &[Part], graph_entries: usize) -> Option<(Vec<Part>, bool)> {
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
