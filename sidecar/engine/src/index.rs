//! Brings a project's index up to date: text first, vectors next.
//!
//! 1. Walk the tree, compare with the file table, chunk what changed, commit: the first part of a large tree after half a
//!    second. Text search answers from there on.
//! 2. Compute vectors for every committed chunk that has none, from the embedding cache where it knows the
//!    content, and commit as they come.
//!
//! Both steps derive what is left to do from what is committed. That is all the resuming there is: a run that was
//! stopped or killed anywhere is continued by the next one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::chunk::{self, ChunkLimits, Language};
use crate::disk::Tree;
use crate::error::{Error, Result};
use crate::store::{FileRecord, NewChunk, PendingChunk, PendingFile, Space, Store};
use crate::walk::{self, ContentHash, Skipped, WalkRules};

/// Texts that are embedded together: half a second's work, which is what a stop can lose.
const GROUP: usize = 32;
/// Vectors become searchable at least this often.
const COMMIT_ROWS: usize = 4_096;
const COMMIT_EVERY: Duration = Duration::from_secs(20);
/// A large tree's text is committed for the first time after this long, so that searches answer within a second; then
/// whenever the time since the run began has doubled, which bounds what committing costs.
const FIRST_TEXT: Duration = Duration::from_millis(500);

/// What belongs to the index and how it is cut.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which files.
    pub rules: WalkRules,
    /// How large a chunk is.
    pub limits: ChunkLimits,
    /// Read everything anew. The last generation stays until the text of its successor is whole.
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

/// What the run needs from its surroundings, and tells them.
pub trait Host {
    /// How the surroundings fail.
    type Error: From<Error>;
    /// The vector space of [`Host::embed`]; loads the model.
    fn space(&mut self) -> Result<Space, Self::Error>;
    /// Unit vectors, row after row, and how many tokens they were made from.
    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), Self::Error>;
    /// `done` of `total` files or chunks; `total` is 0 while unknown.
    fn progress(&mut self, phase: Phase, done: u64, total: u64, path: &str);
    /// A generation was committed: searches may use it.
    fn committed(&mut self, store: &Store);
    /// Folders that the walk looked into, before anything of them is read; the root is empty.
    fn walked(&mut self, _folders: &[String]) {}
    /// Whether to stop. What is computed is committed first.
    fn cancelled(&self) -> bool;
}

/// What a run that nobody asked for takes care of; see [`refresh`].
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
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
    /// Files that were gone.
    pub files_removed: u64,
    /// Files that were left out.
    pub skipped: Vec<Skipped>,
    /// Vectors computed by the model.
    pub embedded: u64,
    /// Vectors found in the cache.
    pub reused: u64,
    /// Tokens the model read.
    pub tokens: u64,
    /// Time until all of the text could be searched.
    pub text: Duration,
    /// Time in all.
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
    part: Part<'_>,
    host: &mut H,
) -> Result<Report, H::Error> {
    let started = Instant::now();
    let mut report = Report::default();
    let put = sync_text(store, tree, settings, part.changed, host, &mut report)?;
    report.text = started.elapsed();
    let wanted = |file: &PendingFile| part.all_vectors || put.contains(&file.rel);
    if store.pending()?.iter().any(wanted) {
        let space = host.space()?;
        store.set_space(&space)?;
        let mut pending = store.pending()?; // of this space, which may be new
        pending.retain(wanted);
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

/// Text of the whole tree, or of what changed. Gives the files that were put.
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
    host.walked(&walk.folders);
    let mut put = BTreeSet::new();
    report.skipped = walk.skipped;
    let total = walk.files.len() as u64;
    let mut present = BTreeSet::new();
    let (started, mut next_commit) = (Instant::now(), FIRST_TEXT);
    for (done, file) in walk.files.iter().enumerate() {
        if host.cancelled() {
            if !settings.rebuild {
                commit(store, host)?;
            }
            return Err(Error::Cancelled.into());
        }
        host.progress(Phase::Text, done as u64, total, &file.rel);
        let old = known.get(&file.rel);
        // Where the system told of a change, neither size nor time is proof of the contrary.
        let told = changed.is_some_and(|paths| paths.contains(&file.rel));
        if !told && old.is_some_and(|old| old.size == file.size && old.mtime_ns == file.mtime_ns) {
            present.insert(file.rel.as_str());
            continue;
        }
        let text = match walk::read_source(tree, &file.rel, &settings.rules) {
            Ok(text) => text,
            Err(reason) => {
                report.skipped.push(Skipped { rel: file.rel.clone(), reason });
                continue;
            }
        };
        present.insert(file.rel.as_str());
        let hash = walk::content_hash(text.as_bytes());
        let mut record = FileRecord { hash, size: file.size, mtime_ns: file.mtime_ns, n_chunks: 0 };
        if let Some(old) = old.filter(|old| old.hash == hash) {
            record.n_chunks = old.n_chunks;
            if record != *old {
                store.touch_file(&file.rel, record);
            }
            continue;
        }
        put_file(store, &file.rel, &text, record, &settings.limits)?;
        put.insert(file.rel.clone());
        report.files_changed += 1;
        // What is there answers until all of its successor is in.
        if !settings.rebuild && started.elapsed() >= next_commit {
            commit(store, host)?;
            next_commit = started.elapsed() * 2;
        }
    }
    for gone in known.keys().filter(|rel| !present.contains(rel.as_str())) {
        store.remove_file(gone)?;
        report.files_removed += 1;
    }
    let n_present = present.len() as u64;
    commit(store, host)?;
    report.files = if changed.is_none() { n_present } else { store.snapshot().stats().files };
    Ok(put)
}

fn put_file(store: &mut Store, rel: &str, text: &str, mut record: FileRecord, limits: &ChunkLimits) -> Result<()> {
    let language = Language::detect(rel, text);
    let chunks = chunk::chunk(text, language, limits);
    record.n_chunks = chunks.len() as u32;
    let chunks: Vec<NewChunk<'_>> = chunks
        .iter()
        .map(|chunk| {
            let body = &text[chunk.bytes.clone()];
            NewChunk {
                bytes: chunk.bytes.start as u64..chunk.bytes.end as u64,
                first_line: chunk.first_line,
                last_line: chunk.last_line,
                scope: &chunk.scope,
                symbols: chunk.symbols.iter().map(|s| (s.name.as_str(), s.kind.as_str(), s.line)).collect(),
                text: body,
                key: walk::content_hash(model_input(rel, &chunk.scope, body).as_bytes()),
            }
        })
        .collect();
    store.put_file(rel, language.name(), record, &chunks)
}

/// What the model reads of a chunk: where it is, then what it says.
pub(crate) fn model_input(rel: &str, scope: &str, text: &str) -> String {
    if scope.is_empty() { format!("{rel}\n{text}") } else { format!("{rel} > {scope}\n{text}") }
}

/// Vectors that wait for their commit.
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
    // Also after a stop or a failing model: what was computed is kept.
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
    let Ok(text) = walk::read_source(tree, &file.rel, &settings.rules) else { return Vec::new() };
    if walk::content_hash(text.as_bytes()) != file.file_hash {
        return Vec::new();
    }
    let input = |chunk: &'a PendingChunk| {
        let body = text.get(chunk.bytes.start as usize..chunk.bytes.end as usize)?;
        Some((chunk, model_input(&file.rel, &chunk.scope, body)))
    };
    missing.into_iter().filter_map(input).collect()
}
