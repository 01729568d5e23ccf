//! One query against one snapshot: gather candidates, rank, read what is shown from disk.
//!
//! [`search`] is [`propose`], which needs no vector, and then [`complete`]: a caller whose vector is still being computed does the
//! first half meanwhile.

mod shown;

use std::collections::HashMap;

use crate::disk::Tree;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::rank::{self, Candidate, Question, Weights};
use crate::store::{Filter, Snapshot, StoredChunk, SymbolHit};
use crate::text::places::Place;
use crate::text::symbols::is_document;

/// Each list proposes this many candidates for each hit asked for.
const POOL_FACTOR: usize = 5;
/// Fewest candidates that each list proposes.
const MIN_POOL: usize = 100;
/// Most frames of a stack trace that are looked up; further callers say little about an error.
const MAX_FRAMES: usize = 8;
/// A caller counts this much of the frame that it called.
const CALLER: f32 = 0.7;

/// A query and what it is answered from.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The words.
    pub text: &'a str,
    /// Whether full text and definitions are searched.
    pub use_text: bool,
    /// The query's unit vector; `None` when vectors are not searched.
    pub vector: Option<&'a [f32]>,
    /// Applied before anything is ranked.
    pub filter: Filter,
    /// Most hits.
    pub limit: usize,
    /// Whether each hit says what its score is made of.
    pub explain: bool,
    /// How evidence is weighed.
    pub weights: Weights,
}

/// One ranked chunk.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Where it is and what it defines.
    pub chunk: StoredChunk,
    /// Higher is better; comparable within one answer only.
    pub score: f32,
    /// The chunk's text; empty where it is no longer what was indexed.
    pub text: String,
    /// The file changed since it was indexed.
    pub stale: bool,
    /// What the score is made of, as in [`rank::Ranked::why`]; empty unless asked for.
    pub why: Vec<(&'static str, f32)>,
}

/// What is known of a query before its vector is.
pub struct Proposed {
    question: Question,
    /// Chunks that some list proposed, with their BM25 score and their cosine.
    found: HashMap<u64, (Option<f32>, Option<f32>)>,
    /// How near the frame in a chunk is to the error, for queries that are stack traces.
    frames: HashMap<u64, f32>,
}

/// Hits, best first.
pub fn search(snapshot: &Snapshot, tree: &Tree, query: &Query<'_>, kernel: &Kernel) -> Result<Vec<Hit>> {
    complete(snapshot, tree, query, propose(snapshot, query)?, kernel)
}

/// Takes a query apart and looks up its words and names. Does not read [`Query::vector`].
pub fn propose(snapshot: &Snapshot, query: &Query<'_>) -> Result<Proposed> {
    let pool = pool(query);
    let mut question = Question::new(query.text, |word| snapshot.path_weight(word))?;
    let mut frames = HashMap::new();
    let mut found: HashMap<u64, (Option<f32>, Option<f32>)> = HashMap::new();
    if query.use_text {
        for (id, bm25) in snapshot.search_text(question.text_query(query.text), &query.filter, pool)? {
            found.entry(id).or_default().0 = Some(bm25);
        }
        frames = find_frames(snapshot, &mut question, &query.filter)?;
        for id in frames.keys() {
            found.entry(*id).or_default();
        }
        for name in &question.names {
            for id in snapshot.search_definitions(name, &query.filter, pool)? {
                found.entry(id).or_default();
            }
        }
    }
    Ok(Proposed { question, found, frames })
}

/// Hits of a query of which [`propose`] gave the first half, on the same snapshot.
pub fn complete(
    snapshot: &Snapshot,
    tree: &Tree,
    query: &Query<'_>,
    proposed: Proposed,
    kernel: &Kernel,
) -> Result<Vec<Hit>> {
    let Proposed { question, mut found, frames } = proposed;
    if let Some(vector) = query.vector {
        for (id, cosine) in snapshot.search_vectors(vector, &query.filter, pool(query), kernel)? {
            found.entry(id).or_default().1 = Some(cosine);
        }
    }
    let mut ids: Vec<u64> = found.keys().copied().collect();
    ids.sort_unstable(); // the map's order is random, ties must not be
    let stored = snapshot.chunks(&ids)?;
    let mut chunks: HashMap<u64, StoredChunk> =
        ids.iter().copied().zip(stored).filter_map(|(id, chunk)| Some((id, chunk?))).collect();
    let mut declaring: HashMap<&str, bool> = HashMap::new();
    let mut candidates: Vec<Candidate> = Vec::with_capacity(chunks.len());
    for (id, chunk) in ids.iter().filter_map(|id| Some((*id, chunks.get(id)?))) {
        let is_declaration = match declaring.get(chunk.rel.as_str()) {
            Some(&known) => known,
            None => {
                let known = is_implemented(snapshot, &chunk.rel)?;
                declaring.insert(&chunk.rel, known);
                known
            }
        };
        let (text, cosine) = found[&id];
        candidates.push(Candidate {
            chunk_id: id,
            path: chunk.rel.clone(),
            scope: chunk.scope.clone(),
            symbols: match is_document(&chunk.rel) {
                true => Vec::new(), // an example is no definition that a name asks for
                false => chunk.symbols.iter().map(|symbol| symbol.name.clone()).collect(),
            },
            is_declaration,
            text,
            cosine,
            frame: frames.get(&id).copied().unwrap_or_default(),
        });
    }
    let ranked = rank::rank(&question, &candidates, &query.weights, query.limit);
    let chunk_of = |ranked: &rank::Ranked| {
        chunks.remove(&ranked.chunk_id).expect("ranked ids come from the candidates, each once")
    };
    let chunks: Vec<StoredChunk> = ranked.iter().map(chunk_of).collect();
    let texts = shown::read(tree, snapshot, &chunks.iter().collect::<Vec<_>>());
    let hit = |((rank::Ranked { score, why, .. }, chunk), (text, stale))| {
        let why = if query.explain { why } else { Vec::new() };
        Hit { chunk, score, text, stale, why }
    };
    Ok(ranked.into_iter().zip(chunks).zip(texts).map(hit).collect())
}

/// The chunks that the frames of a stack trace are in, by how near they are to the error. Adds the names of their functions to
/// those that are looked up: of frames in the index, or of the first ones where none is.
fn find_frames(snapshot: &Snapshot, question: &mut Question, filter: &Filter) -> Result<HashMap<u64, f32>> {
    let Some(error) = question.error.take() else { return Ok(HashMap::new()) };
    let places: Vec<Place<'_>> = error
        .frames
        .iter()
        .map(|frame| Place { path: &frame.path, line: frame.line, function: frame.function.as_deref() })
        .collect();
    let chunks = snapshot.search_places(&places, filter, MAX_FRAMES)?;
    let mut near: HashMap<u64, f32> = HashMap::new();
    let mut value = 1.0;
    for ids in chunks.iter().filter(|ids| !ids.is_empty()) {
        for id in ids {
            near.entry(*id).or_insert(value);
        }
        value *= CALLER;
    }
    let is_shown = |at: usize| near.is_empty() || !chunks[at].is_empty();
    let functions = places.iter().enumerate().filter(|(at, _)| is_shown(*at)).filter_map(|(_, place)| place.function);
    question.add_names(functions.take(MAX_FRAMES));
    question.error = Some(error);
    Ok(near)
}

/// How many candidates each list proposes.
fn pool(query: &Query<'_>) -> usize {
    (query.limit * POOL_FACTOR).max(MIN_POOL)
}

/// Whether `rel` only declares what another file of the index implements.
fn is_implemented(snapshot: &Snapshot, rel: &str) -> Result<bool> {
    for other in rank::implementations(rel) {
        if snapshot.has_path(&other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A definition whose name fits, with its chunk.
#[derive(Clone, Debug)]
pub struct ShownSymbol {
    /// What was found.
    pub found: SymbolHit,
    /// The chunk's text; empty where it is no longer what was indexed.
    pub text: String,
    /// The file changed since it was indexed.
    pub stale: bool,
}

/// Definitions whose name fits, best first, and whether there are more.
pub fn symbols(
    snapshot: &Snapshot,
    tree: &Tree,
    name: &str,
    filter: &Filter,
    limit: usize,
) -> Result<(Vec<ShownSymbol>, bool)> {
    let (hits, more) = snapshot.search_symbols(name, filter, limit)?;
    let texts = shown::read(tree, snapshot, &hits.iter().map(|hit| &hit.chunk).collect::<Vec<_>>());
    let shown = |(found, (text, stale))| ShownSymbol { found, text, stale };
    Ok((hits.into_iter().zip(texts).map(shown).collect(), more))
}
