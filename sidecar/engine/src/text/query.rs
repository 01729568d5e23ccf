//! Queries to the full-text index.

use std::collections::HashSet;
use std::sync::Arc;

use tantivy::collector::{FilterCollector, TopDocs};
use tantivy::query::{BooleanQuery, BoostQuery, FuzzyTermQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::{DocAddress, DocSet, TERMINATED, TantivyDocument, TantivyError, Term};

use super::TextReader;
use super::filter::Filter;
use super::names;
use super::record::StoredChunk;
use super::tokens::{Token, code_tokens, is_filler};
use crate::vector::Bitmap;
use crate::{Error, Result};

/// Weights of the fields. A word in a name that the chunk defines says more than the same word in its body; the path
/// lies between. Round numbers: the figures hardly move between half and twice of each (research/ranking.md 5).
const IDENT_WEIGHT: f32 = 1.0;
const SUB_WEIGHT: f32 = 1.0;
const DEF_WEIGHT: f32 = 2.5;
const PATH_WEIGHT: f32 = 1.5;

/// Most distinct words of a query that are searched. Of a longer query (a pasted stack trace), the rarest words are
/// kept.
const MAX_WORDS: usize = 64;
/// Most distinct words of which the frequency is looked up to find the rarest; it bounds the cost of a pasted file.
const MAX_WORDS_WEIGHED: usize = 1024;
/// Most runs of a script without spaces that are looked for as a whole.
const MAX_RUNS: usize = 8;
/// Most pairs of such a run; a longer one is a sentence.
const MAX_RUN_PAIRS: usize = 16;
/// Most single characters of such a script that are searched: each stands for hundreds of pairs.
const MAX_SINGLES: usize = 4;

impl TextReader {
    /// Living chunks.
    pub fn n_chunks(&self) -> u64 {
        self.searcher.num_docs()
    }

    /// The best `limit` chunks by BM25 over all fields, best first, ties by chunk id.
    ///
    /// A query without a word gives nothing.
    pub fn search(&self, query: &str, filter: &Filter, limit: usize) -> Result<Vec<(u64, f32)>> {
        let clauses = self.clauses(query)?;
        if clauses.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let query = BooleanQuery::new(clauses);
        let allowed = self.allowed(filter)?;
        let mut found: Vec<(u64, f32)> = self
            .top(&query, allowed, limit)?
            .into_iter()
            .filter_map(|(score, at)| Some((self.id_at(at)?, score)))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(found)
    }

    /// Scores every chunk that has a word of the query. tantivy's own top-k skips ahead by score bounds, which with the
    /// dozens of clauses of our queries cost 15 ms where this costs 2 (11 words, 20,000 chunks that share them all).
    fn top(&self, query: &dyn Query, allowed: Option<Bitmap>, limit: usize) -> Result<Vec<(f32, DocAddress)>> {
        let top = TopDocs::with_limit(limit).order_by_score();
        let allowed = Arc::new(allowed);
        let keep = move |id: u64| (*allowed).as_ref().is_none_or(|allowed| allowed.contains(id));
        Ok(self.searcher.search(query, &FilterCollector::new("chunk_id".into(), keep, top))?)
    }

    /// How rare `word` is among the paths of chunks, 0 to 1: near 0 where half of the paths have it.
    pub fn path_weight(&self, word: &str) -> Result<f32> {
        let n = self.searcher.doc_freq(&Term::from_field_text(self.fields.path_words, word))?;
        let all = self.searcher.num_docs().max(1) as f32;
        Ok((all / (1.0 + n as f32)).ln_1p() / all.ln_1p())
    }

    /// Whether a file of the index has this path.
    pub fn has_path(&self, rel: &str) -> Result<bool> {
        Ok(self.searcher.doc_freq(&Term::from_field_text(self.fields.path, rel))? > 0)
    }

    /// One clause per word and field that the index knows. Fillers are left out, unless there is nothing else.
    fn clauses(&self, query: &str) -> Result<Vec<(Occur, Box<dyn Query>)>> {
        let fields = self.fields;
        let wanted = Wanted::of(query);
        let mut weighed: Vec<(u64, Vec<(Term, f32)>)> = Vec::with_capacity(wanted.words.len());
        for word in &wanted.words {
            let weights: [(Field, f32, bool); 4] = [
                (fields.ident, IDENT_WEIGHT, wanted.idents.contains(word)),
                (fields.sub, SUB_WEIGHT, wanted.subs.contains(word)),
                (fields.def, DEF_WEIGHT, true),
                (fields.path_words, PATH_WEIGHT, true),
            ];
            let mut terms = Vec::new();
            let mut frequency = 0;
            for (field, weight, _) in weights.into_iter().filter(|(_, _, wanted)| *wanted) {
                let term = Term::from_field_text(field, word);
                let n = self.searcher.doc_freq(&term)?;
                if n > 0 {
                    frequency = frequency.max(n);
                    terms.push((term, weight));
                }
            }
            if !terms.is_empty() {
                weighed.push((frequency, terms));
            }
        }
        if weighed.len() > MAX_WORDS {
            weighed.sort_by_key(|(frequency, _)| *frequency); // stable: among equally rare words, the first stay
            weighed.truncate(MAX_WORDS);
        }
        let clause = |(term, weight): (Term, f32)| (Occur::Should, boosted(term_query(term), weight));
        let mut clauses: Vec<_> = weighed.into_iter().flat_map(|(_, terms)| terms).map(clause).collect();
        for run in &wanted.runs {
            self.push_whole_run(run, &mut clauses)?;
        }
        for (field, weight) in self.part_fields() {
            for single in &wanted.singles {
                let begins = FuzzyTermQuery::new_prefix(Term::from_field_text(field, single), 0, true);
                clauses.push((Occur::Should, boosted(Box::new(begins), weight)));
            }
        }
        Ok(clauses)
    }

    /// The fields that have the parts of words.
    fn part_fields(&self) -> [(Field, f32); 3] {
        let fields = self.fields;
        [(fields.sub, SUB_WEIGHT), (fields.def, DEF_WEIGHT), (fields.path_words, PATH_WEIGHT)]
    }

    /// A chunk with all pairs of a run most likely has the run itself: it counts once more.
    fn push_whole_run(&self, run: &[String], clauses: &mut Vec<(Occur, Box<dyn Query>)>) -> Result<()> {
        for (field, weight) in self.part_fields() {
            let mut all: Vec<(Occur, Box<dyn Query>)> = Vec::with_capacity(run.len());
            for pair in run {
                let term = Term::from_field_text(field, pair);
                if self.searcher.doc_freq(&term)? == 0 {
                    break;
                }
                all.push((Occur::Must, term_query(term)));
            }
            if all.len() == run.len() {
                clauses.push((Occur::Should, boosted(Box::new(BooleanQuery::new(all)), weight)));
            }
        }
        Ok(())
    }

    /// Chunks that define exactly `name`: those that spell it so first, then those that differ in case, then those with
    /// other marks, quotes or accents, each by chunk id.
    pub fn definitions(&self, name: &str, filter: &Filter, limit: usize) -> Result<Vec<u64>> {
        if name.len() > names::MAX_NAME_BYTES {
            return Ok(Vec::new());
        }
        let allowed = self.allowed(filter)?;
        let keep = |id: &u64| allowed.as_ref().is_none_or(|allowed| allowed.contains(*id));
        let mut found: Vec<u64> = Vec::new();
        let in_any_case = names::spellings(&names::lower(name)).into_iter();
        let in_any_case = in_any_case.map(|spelling| Term::from_field_text(self.fields.def_lower, &spelling));
        let written = Term::from_field_text(self.fields.def_exact, &names::written(name));
        for term in std::iter::once(written).chain(in_any_case) {
            let ids = self.ids_with(&term)?;
            let mut ids: Vec<u64> = ids.into_iter().filter(keep).filter(|id| !found.contains(id)).collect();
            ids.sort_unstable();
            ids.dedup();
            found.extend(ids);
            found.truncate(limit);
        }
        Ok(found)
    }

    /// Ids of the living chunks of a path.
    pub fn ids_of_path(&self, rel: &str) -> Result<Vec<u64>> {
        self.ids_with(&Term::from_field_text(self.fields.path, rel))
    }

    /// Ids of all living chunks, in no order.
    pub fn all_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.searcher
            .segment_readers()
            .iter()
            .zip(&self.ids)
            .flat_map(|(segment, ids)| segment.doc_ids_alive().filter_map(|doc| ids.first(doc)))
    }

    /// Whether `id` is a living chunk.
    pub fn contains(&self, id: u64) -> Result<bool> {
        Ok(self.address_of(id)?.is_some())
    }

    /// The stored record of each id, `None` for those that are gone.
    pub fn chunks(&self, ids: &[u64]) -> Result<Vec<Option<StoredChunk>>> {
        ids.iter().map(|&id| self.address_of(id)?.map(|at| self.record_at(at)).transpose()).collect()
    }

    /// Calls `each` with the record of every living chunk that `wanted` accepts by id.
    pub fn for_each(&self, wanted: impl Fn(u64) -> bool, mut each: impl FnMut(StoredChunk)) -> Result<()> {
        for (i, segment) in self.searcher.segment_readers().iter().enumerate() {
            for doc in segment.doc_ids_alive() {
                if self.ids[i].first(doc).is_some_and(&wanted) {
                    each(self.record_at(DocAddress::new(i as u32, doc))?);
                }
            }
        }
        Ok(())
    }

    pub(super) fn record_at(&self, at: DocAddress) -> Result<StoredChunk> {
        let doc: TantivyDocument = self.searcher.doc(at)?;
        let bytes = doc.get_first(self.fields.record).and_then(|value| value.as_bytes());
        bytes.and_then(StoredChunk::decode).ok_or_else(|| Error::IndexDamaged {
            path: "text".into(),
            problem: format!("the record of document {}/{} cannot be read", at.segment_ord, at.doc_id),
        })
    }

    pub(super) fn id_at(&self, at: DocAddress) -> Option<u64> {
        self.ids[at.segment_ord as usize].first(at.doc_id)
    }

    fn address_of(&self, id: u64) -> Result<Option<DocAddress>> {
        let mut found = None;
        self.each_with(&Term::from_field_u64(self.fields.chunk_id, id), |at| found = Some(at))?;
        Ok(found)
    }

    fn ids_with(&self, term: &Term) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        self.each_with(term, |at| found.extend(self.id_at(at)))?;
        Ok(found)
    }

    pub(super) fn each_with(&self, term: &Term, mut each: impl FnMut(DocAddress)) -> Result<()> {
        for (i, segment) in self.searcher.segment_readers().iter().enumerate() {
            let index = segment.inverted_index(term.field())?;
            let postings = index.read_postings(term, IndexRecordOption::Basic).map_err(TantivyError::from)?;
            let Some(mut postings) = postings else { continue };
            let mut doc = postings.doc();
            while doc != TERMINATED {
                if !segment.is_deleted(doc) {
                    each(DocAddress::new(i as u32, doc));
                }
                doc = postings.advance();
            }
        }
        Ok(())
    }
}

fn term_query(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

fn boosted(query: Box<dyn Query>, weight: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(query, weight))
}

/// The words that a query asks for.
#[derive(Default)]
struct Wanted {
    /// Each once, in the order of the query.
    words: Vec<String>,
    /// Those that are looked for among whole identifiers.
    idents: HashSet<String>,
    /// Those that are looked for among parts.
    subs: HashSet<String>,
    /// The pairs of each run of a script without spaces that has several.
    runs: Vec<Vec<String>>,
    /// Single characters of such a script: beginnings of pairs.
    singles: Vec<String>,
}

impl Wanted {
    fn of(query: &str) -> Wanted {
        let mut has_content = false;
        code_tokens(query, |token| has_content |= !is_filler(token.word()));
        let mut wanted = Wanted::default();
        let mut in_filler = false;
        let mut run: Vec<String> = Vec::new();
        code_tokens(query, |token| {
            let word = token.word();
            if matches!(token, Token::Ident(_)) {
                in_filler = has_content && is_filler(word);
            }
            if in_filler && is_filler(word) || wanted.words.len() >= MAX_WORDS_WEIGHED {
                return;
            }
            match token {
                Token::Ident(word) => wanted.push(word, true),
                Token::Sub(word) => wanted.push(word, false),
                Token::Pair(word) => {
                    wanted.push(word, false);
                    run.push(word.to_owned());
                }
                Token::Last(word) => {
                    let pairs = std::mem::take(&mut run);
                    if pairs.is_empty() && wanted.singles.len() < MAX_SINGLES {
                        wanted.singles.push(word.to_owned());
                    } else if (2..=MAX_RUN_PAIRS).contains(&pairs.len()) && wanted.runs.len() < MAX_RUNS {
                        wanted.runs.push(pairs);
                    }
                }
            }
        });
        wanted
    }

    fn push(&mut self, word: &str, is_ident: bool) {
        if !self.idents.contains(word) && !self.subs.contains(word) {
            self.words.push(word.to_owned());
        }
        let kind = if is_ident { &mut self.idents } else { &mut self.subs };
        if !kind.contains(word) {
            kind.insert(word.to_owned());
        }
    }
}
