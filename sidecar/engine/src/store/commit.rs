//! The commit. Its steps are ordered so that an interruption after any of them leaves a whole generation.
//!
//! ```text
//! segment files   write, sync, rename, sync directory     nothing refers to them yet
//! manifest        write, sync, rename, sync directory     nothing refers to it yet
//! full text       commit with the payload                 THE COMMIT POINT; its directory is synced with it
//! cache           file table and embeddings               rebuilt at open when it is one generation behind
//! snapshot        readers of this process see it
//! garbage         files of neither this nor the previous generation, when no reader is opening them
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::Store;
use super::cache::{Cache, FileRecord, Tables, vector_key};
use super::change::Changes;
use super::content::CONTENT;
use super::files::is_vector_file;
use super::segments::{entry, living_entries, next_file, plan_merge};
use super::snapshot::{MANIFEST_BYTES, Snapshot, load};
use super::text_only::text_only;
use crate::vector::RowSource;
use crate::vector::bytes::checksum;
use crate::vector::manifest::{Manifest, Payload, SegmentEntry};
use crate::vector::search::{Part, Vectors};
use crate::vector::write::{self, Entry};
use crate::{Error, Result};

/// The steps of a commit, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// New vectors are about to be written.
    Segment,
    /// The manifest is about to be written.
    Manifest,
    /// The full-text segments are about to be written.
    Prepare,
    /// The commit point is next.
    CommitPoint,
    /// The commit point has passed; the cache is next.
    Cache,
    /// Readers are about to see the generation.
    Publish,
    /// Old files are about to be deleted.
    Garbage,
}

/// A function that crash tests have called before each step.
pub(super) type StepHook = Box<dyn FnMut(Step) -> std::io::Result<()> + Send>;

impl Store {
    /// Makes everything that was put since the last commit one new generation, durable and visible.
    ///
    /// Returns the generation, the current one when nothing changed. After an error the store stands at the newest
    /// generation on disk: the previous one, or the new one when only the cache could not be written.
    pub fn commit(&mut self) -> Result<u64> {
        if !self.unsound && self.changes.is_empty() {
            return Ok(self.manifest.generation);
        }
        self.changing(|store| {
            let changes = &store.changes;
            let rows_changed = !changes.rows.is_empty() || changes.replaced.is_some();
            let skips_changed = !changes.skipped.is_empty() && store.count_skipped()? != store.manifest.skipped;
            let content_changed = changes.all_read || changes.pretends || skips_changed;
            if changes.text || changes.cleared || changes.space.is_some() || rows_changed || content_changed {
                store.commit_generation()?;
            } else if !changes.files.is_empty() || !changes.skipped.is_empty() {
                let generation = store.manifest.generation;
                store.ask(|cache| cache.apply(generation, &changes.tables(), std::iter::empty()))?;
                store.forget_changes();
            }
            Ok(store.manifest.generation)
        })
    }

    fn commit_generation(&mut self) -> Result<()> {
        let snapshot = self.snapshot();

        self.step(Step::Segment)?;
        let mut manifest = self.next_manifest()?;
        manifest.segments = self.write_segments(&mut manifest.next_segment, manifest.dim as usize)?;

        self.step(Step::Manifest)?;
        let bytes = manifest.encode();
        self.vector_folder.write_durably(&Manifest::file_name(manifest.generation), &bytes)?;
        let vectors = Vectors::open(&self.vector_folder, &manifest, snapshot.vectors.parts())?;

        self.step(Step::Prepare)?;
        let payload = Payload { generation: manifest.generation, checksum: checksum(&bytes) };
        let hook = &mut self.hook;
        self.text.commit(&payload.encode(), || run_hook(hook, self.folder.path(), Step::CommitPoint))?;

        self.step(Step::Cache)?;
        let changes = std::mem::take(&mut self.changes);
        let space_id = manifest.space.as_deref().unwrap_or_default();
        let rows = changes.keys.iter().enumerate();
        let rows = rows.map(|(row, key)| (vector_key(space_id, key), changes.rows.f16_bytes(row)));
        let applied = self.cache.apply(manifest.generation, &changes.tables(), rows);
        let renewed = applied.is_err() && self.cache.was_renewed();
        if !renewed {
            applied?;
        }

        self.step(Step::Publish)?;
        self.publish(manifest, vectors)?;
        if renewed {
            self.reconciled.set(false); // it was damaged and begun again
            self.reconcile_files()?;
        }
        self.step(Step::Garbage)?;
        self.collect_garbage();
        Ok(())
    }

    /// The next generation's manifest, without its segments.
    fn next_manifest(&self) -> Result<Manifest> {
        let Changes { cleared, all_read, files, space, next_chunk_id, .. } = &self.changes;
        let is_current = *cleared || *all_read || self.manifest.generation == 0;
        let mut manifest = Manifest {
            generation: self.manifest.generation + 1,
            next_chunk_id: *next_chunk_id,
            content: match is_current {
                _ if self.changes.pretends => CONTENT - 1,
                true => CONTENT,
                false => self.manifest.content,
            },
            segments: Vec::new(),
            skipped: self.count_skipped()?,
            text_only: text_only(&self.manifest.text_only, &self.changes),
            ..self.manifest.clone()
        };
        if let Some(space) = space {
            manifest.dim = u32::try_from(space.dim)
                .map_err(|_| crate::vector::search::dimension_error("space", u32::MAX as usize, space.dim))?;
            manifest.space = Some(space.id.clone());
        }
        manifest.files = if *cleared { 0 } else { self.ask(Cache::n_files)? };
        for (rel, record) in files {
            let existed = !*cleared && self.ask(|cache| cache.has_file(rel))?;
            manifest.files += u64::from(record.is_some());
            manifest.files -= u64::from(existed);
        }
        Ok(manifest)
    }

    /// Writes the new rows and what must be merged with them; returns all segments of the generation.
    fn write_segments(&self, next_segment: &mut u64, dim: usize) -> Result<Vec<SegmentEntry>> {
        let Changes { cleared, removed, space, rows, replaced, .. } = &self.changes;
        let snapshot = self.snapshot();
        let mut parts: Vec<Part> =
            if *cleared || space.is_some() { Vec::new() } else { snapshot.vectors.parts().to_vec() };
        if let Some(built) = replaced {
            parts.retain(|part| !built.replaces(part));
            parts.push(self.place_built(built, next_segment)?);
        }
        for part in &mut parts {
            removed.iter().filter_map(|&id| part.segment.entry_of(id)).for_each(|entry| part.dead.insert(entry as u64));
        }
        parts.retain(|part| part.living() > 0);

        let mut fresh: Vec<Entry<'_>> = (0..rows.len())
            .map(|row| Entry { chunk_id: rows.chunk_id(row), source: rows as &dyn RowSource, row })
            .filter(|entry| !*cleared && !removed.contains(&entry.chunk_id))
            .collect();
        let merged = plan_merge(&parts, fresh.len());
        fresh.extend(merged.iter().flat_map(|&i| living_entries(&parts[i])));
        fresh.sort_unstable_by_key(|entry| entry.chunk_id);

        let mut entries: Vec<SegmentEntry> =
            (0..parts.len()).filter(|i| !merged.contains(i)).map(|i| entry(&parts[i])).collect();
        if !fresh.is_empty() {
            let file = next_file(next_segment);
            let temporary = file.replace(".vec", ".tmp");
            let path = self.vector_folder.path_of(&temporary);
            let _ = self.vector_folder.remove(&temporary); // of a commit that failed
            let opened = self.vector_folder.create_new(&temporary);
            let opened = opened.map_err(|e| self.vector_folder.refusal("write", &temporary, false, e))?;
            let checksum = write::write_to(opened, &path, dim, &fresh, None)?;
            self.vector_folder.rename_durably(&temporary, &self.vector_folder, &file)?;
            entries.push(SegmentEntry { file, entries: fresh.len() as u64, checksum, dead: Vec::new() });
        }
        Ok(entries)
    }

    /// Loads the last committed generation from disk. Changes that were not committed are gone.
    pub(super) fn recover(&mut self) -> Result<()> {
        self.text.abandon();
        let (manifest, vectors) = load(&self.vector_folder, self.text.payload()?.as_deref(), &self.snapshot().vectors)?;
        self.publish(manifest, vectors)?;
        self.reconciled.set(false);
        self.reconcile_files()?;
        self.collect_garbage();
        self.unsound = false;
        Ok(())
    }

    fn publish(&mut self, manifest: Manifest, vectors: Vectors) -> Result<()> {
        self.text.reload()?;
        let snapshot = Snapshot {
            generation: manifest.generation,
            folder: self.folder.clone(),
            manifest: manifest.clone(),
            text: self.text.reader()?,
            vectors,
        };
        self.manifest = manifest;
        self.reader.publish(snapshot);
        self.forget_changes();
        Ok(())
    }

    /// Reads the file table off the full-text index when it does not belong to this generation. What the system said
    /// of them is unknown then, so every file is hashed again once.
    pub(super) fn reconcile_files(&self) -> Result<()> {
        if self.reconciled.get() {
            return Ok(());
        }
        let found = match self.cache.generation() {
            Err(_) if self.cache.was_renewed() => None,
            found => found?,
        };
        if found == Some(self.manifest.generation) {
            self.reconciled.set(true);
            return Ok(());
        }
        let mut files: BTreeMap<String, Option<FileRecord>> = BTreeMap::new();
        let snapshot = self.snapshot();
        let is_current = snapshot.is_current();
        snapshot.text.for_each(
            |_| true,
            |chunk| {
                // Which files were cut by an earlier build is not known any more, so all are read again.
                let hash = if is_current { chunk.file_hash } else { FileRecord::UNKNOWN.hash };
                let new = || Some(FileRecord { hash, ..FileRecord::UNKNOWN });
                if let Some(record) = files.entry(chunk.rel).or_insert_with(new) {
                    record.n_chunks += 1;
                }
            },
        )?;
        // What is known about files that are left out depends on no generation.
        let nothing = BTreeMap::new();
        let tables = Tables { files: &files, replace_files: true, skipped: &nothing, replace_skipped: false };
        let apply = || self.cache.apply(self.manifest.generation, &tables, std::iter::empty());
        match apply() {
            Err(_) if self.cache.was_renewed() => apply()?,
            applied => applied?,
        }
        self.reconciled.set(true);
        Ok(())
    }

    /// Asks the cache. When it turns out to be damaged, it has been replaced by an empty one: the file table is read
    /// off the full-text index, and the question is asked once more.
    pub(super) fn ask<T>(&self, question: impl Fn(&Cache) -> Result<T>) -> Result<T> {
        match question(&self.cache) {
            Err(_) if self.cache.was_renewed() => {
                self.reconciled.set(false);
                self.reconcile_files()?;
                question(&self.cache)
            }
            answer => answer,
        }
    }

    /// Deletes vector files that neither this generation nor the one before names.
    ///
    /// What cannot be deleted (Windows, while it is mapped) is tried again next time.
    pub(super) fn collect_garbage(&self) {
        let previous_name = Manifest::file_name(self.manifest.generation.wrapping_sub(1));
        let previous = self.vector_folder.read(&previous_name, MANIFEST_BYTES).ok().flatten();
        let previous: Option<Manifest> = previous.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let kept = |name: &str| {
            name == Manifest::file_name(self.manifest.generation)
                || name == previous_name
                || std::iter::once(&self.manifest)
                    .chain(&previous)
                    .any(|manifest| manifest.segments.iter().any(|segment| segment.file == name))
        };
        let names = self.vector_folder.names().unwrap_or_default();
        for name in names.iter().filter(|name| is_vector_file(name) && !kept(name)) {
            if self.pins.may_delete(name) {
                let _ = self.vector_folder.remove(name);
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<()> {
        run_hook(&mut self.hook, self.folder.path(), step)
    }
}

fn run_hook(hook: &mut Option<StepHook>, dir: &Path, step: Step) -> Result<()> {
    match hook {
        Some(hook) => hook(step).map_err(|e| Error::io("commit", dir, e)),
        None => Ok(()),
    }
}
