//! One query against one snapshot: gather candidates, rank, read what is shown from disk.

mod shown;

use std::collections::HashMap;

use crate::disk::Tree;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::rank::{self, Candidate, Question, Weights};
use crate::store::{Filter, Snapshot, StoredChunk, SymbolHit};
use crate::text::symbols::is_document;

/// Each list proposes this many candidates for each hit asked for.
const POOL_FACTOR: usize = 5;
/// Fewest candidates that each list proposes.
const MIN_POOL: usize = 100;
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

/// Hits, best first.
pub fn search(snapshot: &Snapshot, tree: &Tree, query: &Query<'_>, kernel: &Kernel) -> Result<Vec<Hit>> {
    let pool = (query.limit * POOL_FACTOR).max(MIN_POOL);
    let question = Question::new(query.text, |word| snapshot.path_weight(word))?;
    let mut found: HashMap<u64, (Option<f32>, Option<f32>)> = HashMap::new();
    if query.use_text {
        for (id, bm25) in snapshot.search_text(query.text, &query.filter, pool)? {
            found.entry(id).or_default().0 = Some(bm25);
        }
        for name in &question.names {
            for id in snapshot.search_definitions(name, &query.filter, pool)? {
                found.entry(id).or_default();
            }
        }
    }
    if let Some(vector) = query.vector {
        for (id, cosine) in snapshot.search_vectors(vector, &query.filter, pool, kernel)? {
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
