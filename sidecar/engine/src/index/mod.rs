//! Brings a project's index up to date: text first, vectors next.
//!
//! 1. Walk the tree, compare with the file table, chunk what changed, commit: the first part of a large tree after half
//!    a second. Text search answers from there on.
//! 2. Compute vectors for every committed chunk that has none, from the embedding cache where it knows the
//!    content, and commit as they come.
//!
//! Both steps derive what is left to do from what is committed, so the next run continues one that was stopped or
//! killed anywhere.

mod look;
mod skips;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

pub use self::look::{Look, look};

use self::skips::Skips;
use self::texts::{Outcome, Texts};
use crate::chunk::{self, ChunkLimits, Language};
use crate::disk::Tree;
use crate::error::{Error, Result};
use crate::store::{PendingChunk, PendingFile, SkippedRecord, Space, Store};
use crate::walk::{self, ContentHash, Skipped, WalkRules};

/// How many texts are embedded together: half a second's work, the most that a stop can lose.
const GROUP: usize = 32;
/// Vectors are committed, and so become searchable, after this many.
const COMMIT_ROWS: usize = 4_096;
/// Vectors are committed after this time at the latest.
const COMMIT_EVERY: Duration = Duration::from_secs(20);
/// A large tree's text is committed for the first time after this long, so that searches answer within a second; then
/// whenever the time since the run began has doubled, which bounds what committing costs.
const FIRST_TEXT: Duration = Duration::from_millis(500);

/// What belongs to the index and how it is cut.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which files belong to the index.
    pub rules: WalkRules,
    /// How large a chunk is.
    pub limits: ChunkLimits,
    /// Whether everything is read anew. The last generation answers until the text of the next one is complete.
    pub rebuild: bool,
}

/// Steps of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking for files.
    Scan,
    /// Reading, chunking and storing text.
    Text,
    /// Text search answers; computing vectors.
    Embed,
}

/// What a run needs from its caller, and what it reports to it.
pub trait Host {
    /// The caller's error.
    type Error: From<Error>;
    /// The vector space of [`Host::embed`]; loads the model.
    fn space(&mut self) -> Result<Space, Self::Error>;
    /// Unit vectors, row after row, and how many tokens they were made from.
    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), Self::Error>;
    /// Called when the embedding cache was asked for the vectors of a file's chunks.
    fn looked_up(&mut self, _hits: u64, _misses: u64) {}
    /// `done` of `total` files or chunks; `total` is 0 while unknown.
    fn progress(&mut self, phase: Phase, done: u64, total: u64, path: &str);
    /// Called after each commit, with the generation that searches may use now.
    fn committed(&mut self, store: &Store);
    /// Called with the folders that the walk listed, before a file is read; the root is the empty string.
    fn walked(&mut self, _folders: &[String]) {}
    /// Whether to stop. Vectors computed so far are committed first.
    fn cancelled(&self) -> bool;
}

/// What a background run brings up to date; see [`refresh`].
#[derive(Clone, Copy, Debug)]
pub struct RefreshScope<'a> {
    /// Paths below the root that changed, folders with all they hold; `None` looks at the whole tree.
    pub changed: Option<&'a BTreeSet<String>>,
    /// Compute every vector that is missing; otherwise only those of files that this run put.
    pub all_vectors: bool,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The committed generation.
    pub generation: u64,
    /// Files in the index.
    pub files: u64,
    /// Files that were new or changed.
    pub files_changed: u64,
    /// Files that were removed from the index.
    pub files_removed: u64,
    /// Files that were left out.
    pub skipped: Vec<Skipped>,
    /// Vectors computed by the model.
    pub embedded: u64,
    /// Vectors that were there: of chunks of changed files, and in the cache.
    pub reused: u64,
    /// Tokens the model read.
    pub tokens: u64,
    /// Time until all of the text could be searched.
    pub text: Duration,
    /// Time of the whole run.
    pub total: Duration,
}

/// Runs both steps. A stop is `Err(Cancelled)`, after a commit of everything that was done; of a rebuild that has not
/// read all text yet, nothing is committed.
pub fn run<H: Host>(store: &mut Store, tree: &Tree, settings: &Settings, host: &mut H) -> Result<Report, H::Error> {
    let started = Instant::now();
    let mut report = Report::default();
    if settings.rebuild {
        store.clear()?;
    }
    sync_text(store, tree, settings, None, host, &mut report)?;
    report.text = started.elapsed();
    let space = host.space()?;
    store.set_space(&space)?;
    let pending = store.pending()?;
    fill_vectors(store, tree, settings, &space, pending, host, &mut report)?;
    report.total = started.elapsed();
    report.generation = store.snapshot().generation;
    Ok(report)
}

/// Brings a part of the index up to date. Asks for the vector space, which loads the model, only where a vector is
/// missing. A stop is `Err(Cancelled)`, as in [`run`].
pub fn refresh<H: Host>(
    store: &mut Store,
    tree: &Tree,
    settings: &Settings,
    scope: RefreshScope<'_>,
    host: &mut H,
) -> Result<Report, H::Error> {
    let started = Instant::now();
    let mut report = Report::default();
    let put = sync_text(store, tree, settings, scope.changed, host, &mut report)?;
    report.text = started.elapsed();
    let needs_vectors = |file: &PendingFile| scope.all_vectors || put.contains(&file.rel);
    if store.pending()?.iter().any(needs_vectors) {
        let space = host.space()?;
        store.set_space(&space)?;
        let mut pending = store.pending()?; // of this space, which may be new
        pending.retain(needs_vectors);
        fill_vectors(store, tree, settings, &space, pending, host, &mut report)?;
    }
    report.total = started.elapsed();
    report.generation = store.snapshot().generation;
    Ok(report)
}

fn commit<H: Host>(store: &mut Store, host: &mut H) -> Result<(), H::Error> {
    store.commit()?;
    host.committed(store);
    Ok(())
}

/// Ends a run that is to stop: what was done is kept, but for a rebuild.
fn stop<T, H: Host>(store: &mut Store, settings: &Settings, host: &mut H) -> Result<T, H::Error> {
    if !settings.rebuild {
        commit(store, host)?;
    }
    Err(Error::Cancelled.into())
}

/// Fails when changed paths bring an index beyond the limit: a data set that is unpacked into a project is no edit.
fn check_growth<R>(
    store: &Store,
    tree: &Tree,
    rules: &WalkRules,
    known: &BTreeMap<String, R>,
    walk: &walk::Walk,
) -> Result<()> {
    let Some(limit) = rules.limit else { return Ok(()) };
    let new = walk.files.iter().filter(|file| !known.contains_key(&file.rel)).count() as u64;
    let files = store.snapshot().stats().files + new;
    if new == 0 || files <= limit.files {
        return Ok(());
    }
    Err(Error::TreeTooLarge { path: tree.path().to_path_buf(), files, bytes: walk.bytes, busiest: String::new() })
}

/// Brings the text of the whole tree, or of the changed paths, up to date; returns the files that were put.
fn sync_text<H: Host>(
    store: &mut Store,
    tree: &Tree,
    settings: &Settings,
    changed: Option<&BTreeSet<String>>,
    host: &mut H,
    report: &mut Report,
) -> Result<BTreeSet<String>, H::Error> {
    host.progress(Phase::Scan, 0, 0, "");
    let (known, walk) = match changed {
        None => (store.files()?, walk::walk(tree, &settings.rules, &|| host.cancelled())?),
        Some(paths) => {
            (store.files_within(paths)?, walk::walk_paths(tree, &settings.rules, paths, &|| host.cancelled())?)
        }
    };
    if changed.is_some() {
        check_growth(store, tree, &settings.rules, &known, &walk)?;
    }
    host.walked(&walk.folders);
    let mut skips = Skips::begin(store, changed)?;
    walk.skipped.into_iter().for_each(|skipped| skips.add(store, skipped.rel, SkippedRecord::of(skipped.reason)));
    let mut texts = Texts::begin(store, tree, settings, changed);
    let mut put = BTreeSet::new();
    let total = walk.files.len() as u64;
    let mut present = BTreeSet::new();
    let (started, mut next_commit) = (Instant::now(), FIRST_TEXT);
    for (done, file) in walk.files.iter().enumerate() {
        if host.cancelled() {
            return stop(store, settings, host);
        }
        host.progress(Phase::Text, done as u64, total, &file.rel);
        let old = known.get(&file.rel);
        // The system reported a change, so that nothing but the content proves that it is equal.
        let reported = changed.is_some_and(|paths| paths.contains(&file.rel));
        if !reported && old.is_some_and(|old| old.stat == file.stat) && texts.is_as_before(file) {
            present.insert(file.rel.as_str());
            continue;
        }
        if !reported && skips.is_as_before(file) {
            continue;
        }
        let read_at = SystemTime::now();
        match texts.put(store, file, old, &|| host.cancelled())? {
            Outcome::Skipped(reason) => {
                skips.add(store, file.rel.clone(), SkippedRecord { reason, stat: file.stat.as_read_at(read_at) });
                continue;
            }
            Outcome::Cancelled => return stop(store, settings, host),
            Outcome::Unchanged => {}
            Outcome::Put { n_kept } => {
                report.reused += n_kept;
                put.insert(file.rel.clone());
                report.files_changed += 1;
            }
        }
        present.insert(file.rel.as_str());
        // A rebuild commits nothing before its end: the last generation answers until then.
        if !settings.rebuild && started.elapsed() >= next_commit {
            commit(store, host)?;
            next_commit = started.elapsed() * 2;
        }
    }
    for gone in known.keys().filter(|rel| !present.contains(rel.as_str())) {
        store.remove_file(gone)?;
        report.files_removed += 1;
    }
    report.skipped = skips.end(store);
    if changed.is_none() {
        store.note_all_read();
    }
    let n_present = present.len() as u64;
    commit(store, host)?;
    report.files = if changed.is_none() { n_present } else { store.snapshot().stats().files };
    Ok(put)
}

/// The text that the model embeds for a chunk: path and scope in the first line, then the chunk.
pub(crate) fn model_input(rel: &str, scope: &str, text: &str) -> String {
    if scope.is_empty() { format!("{rel}\n{text}") } else { format!("{rel} > {scope}\n{text}") }
}

/// Texts that wait to be embedded, and the chunks that they belong to.
#[derive(Default)]
struct Tail {
    texts: Vec<String>,
    chunks: Vec<(u64, ContentHash)>,
}

fn fill_vectors<H: Host>(
    store: &mut Store,
    tree: &Tree,
    settings: &Settings,
    space: &Space,
    pending: Vec<PendingFile>,
    host: &mut H,
    report: &mut Report,
) -> Result<(), H::Error> {
    let total: u64 = pending.iter().map(|file| file.chunks.len() as u64).sum();
    let mut done = 0u64;
    let mut uncommitted = 0;
    let mut last_commit = Instant::now();
    let mut tail = Tail::default();
    host.progress(Phase::Embed, 0, total, "");
    let outcome = (|| {
        for file in &pending {
            let keys: Vec<ContentHash> = file.chunks.iter().map(|chunk| chunk.key).collect();
            let cached = store.cached(space, &keys)?;
            let hits: Vec<_> = file
                .chunks
                .iter()
                .zip(&cached)
                .filter_map(|(c, row)| Some((c.chunk_id, c.key, row.as_deref()?)))
                .collect();
            store.put_vectors(&hits)?;
            host.looked_up(hits.len() as u64, (file.chunks.len() - hits.len()) as u64);
            report.reused += hits.len() as u64;
            uncommitted += hits.len();
            done += hits.len() as u64;
            let missing = file.chunks.iter().zip(&cached).filter(|(_, row)| row.is_none()).map(|(chunk, _)| chunk);
            for (chunk, text) in read_chunks(tree, settings, file, missing) {
                tail.texts.push(text);
                tail.chunks.push((chunk.chunk_id, chunk.key));
                if tail.texts.len() == GROUP {
                    let n = flush(store, host, &mut tail, space.dim, report)?;
                    uncommitted += n;
                    done += n as u64;
                    host.progress(Phase::Embed, done, total, &file.rel);
                    if host.cancelled() {
                        return Err(Error::Cancelled.into());
                    }
                }
            }
            if host.cancelled() {
                return Err(Error::Cancelled.into());
            }
            if uncommitted >= COMMIT_ROWS || (uncommitted > 0 && last_commit.elapsed() >= COMMIT_EVERY) {
                commit(store, host)?;
                uncommitted = 0;
                last_commit = Instant::now();
            }
        }
        done += flush(store, host, &mut tail, space.dim, report)? as u64;
        Ok(())
    })();
    // Also after a stop or an error of the model: vectors that were computed are kept.
    commit(store, host)?;
    host.progress(Phase::Embed, done, total, "");
    outcome
}

fn flush<H: Host>(
    store: &mut Store,
    host: &mut H,
    tail: &mut Tail,
    dim: usize,
    report: &mut Report,
) -> Result<usize, H::Error> {
    if tail.texts.is_empty() {
        return Ok(0);
    }
    let (rows, tokens) = host.embed(std::mem::take(&mut tail.texts))?;
    let chunks = std::mem::take(&mut tail.chunks);
    assert!(rows.len() == chunks.len() * dim, "the host gives one row per text");
    let rows: Vec<_> = chunks.iter().zip(rows.chunks_exact(dim)).map(|((id, key), row)| (*id, *key, row)).collect();
    store.put_vectors(&rows)?;
    report.embedded += rows.len() as u64;
    report.tokens += tokens;
    Ok(rows.len())
}

/// The texts of a file's chunks, as they were committed. A file that changed in between gives none: the next run
/// chunks it anew.
fn read_chunks<'a>(
    tree: &Tree,
    settings: &Settings,
    file: &PendingFile,
    missing: impl Iterator<Item = &'a PendingChunk>,
) -> Vec<(&'a PendingChunk, String)> {
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let rules = texts::rules_of(&file.rel, &settings.rules);
    let Ok(text) = walk::read_source(tree, &file.rel, &rules) else { return Vec::new() };
    if walk::content_hash(text.as_bytes()) != file.file_hash {
        return Vec::new();
    }
    let text = chunk::shown(&text, Language::detect(&file.rel, &text));
    let input = |chunk: &'a PendingChunk| {
        let body = text.get(chunk.bytes.start as usize..chunk.bytes.end as usize)?;
        Some((chunk, model_input(&file.rel, &chunk.scope, body)))
    };
    missing.into_iter().filter_map(input).collect()
}
