//! Searches of one project.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offheap_engine::grep;
use offheap_engine::kernel::{self, Kernel};
use offheap_engine::rank::Weights;
use offheap_engine::search::{self, Query};
use offheap_engine::store::{Filter, Snapshot, Stats};
use offheap_engine::walk::{GitSettings, WalkRules};
use offheap_protocol::message::{Case, Coverage, SearchMode, SearchReport, SearchRequest, SkipCount};
use offheap_protocol::{Code, Fault};

use super::width::UNINDEXED;
use super::{Project, filter, hits};
use crate::config::{self, Config, IndexConfig};
use crate::model::Loaded;
use crate::{failpoint, fault};

/// Longest query: far beyond what a model reads, far below what would slow a search.
const MAX_QUERY_BYTES: usize = 64 << 10;
/// Most hits of one search.
const MAX_HITS: u32 = 1_000;
/// Most lines of context around a match: more is reading the file.
const MAX_CONTEXT: u32 = 20;

/// Longer words were not in indexes of content 1.
const LONG_WORD_BYTES: usize = 64;

/// The query's vector, for the modes that use one.
pub enum QueryVector {
    /// The mode compares no vectors.
    NotNeeded,
    /// A unit vector and the model that computed it.
    Of(Vec<f32>, Loaded),
    /// Why there is no vector.
    Unavailable(Fault),
}

/// A search over chunks whose words were looked up and whose vector is still to come.
pub struct Begun {
    /// What both halves of the search read.
    snapshot: Arc<Snapshot>,
    /// Which chunks of it may answer.
    filter: Filter,
    /// The places of the globs that no file fits.
    unmatched: Vec<usize>,
    proposed: search::Proposed,
    took: Duration,
}

/// How a search over chunks uses vectors.
#[derive(Default)]
struct VectorUse {
    /// The query's vector; `None` searches text alone.
    row: Option<Vec<f32>>,
    kernel: Option<&'static Kernel>,
    /// The vector space that was searched.
    space: Option<String>,
    /// What the answer lacks, in words for the user.
    degraded: Option<String>,
}

/// Refuses a search whose numbers are out of range, before anything is opened.
///
/// Errors: `TOO_LARGE`, `INVALID_ARGUMENT`.
pub fn check_search(search: &SearchRequest) -> Result<(), Fault> {
    let length = search.query.len();
    if length > MAX_QUERY_BYTES {
        let message = format!("the query has {length} bytes, the limit is {MAX_QUERY_BYTES}");
        return Err(Fault::new(Code::TooLarge, message));
    }
    if search.limit == 0 || search.limit > MAX_HITS {
        return Err(Fault::new(Code::InvalidArgument, format!("limit must be 1 to {MAX_HITS}")));
    }
    filter::languages(&search.languages)?;
    if search.context > MAX_CONTEXT {
        return Err(Fault::new(Code::InvalidArgument, format!("context must be 0 to {MAX_CONTEXT}")));
    }
    Ok(())
}

impl Project {
    /// Looks up the words of a search over chunks: the part of it that needs no vector.
    pub fn begin_search(&self, search: &SearchRequest, snapshot: Arc<Snapshot>) -> Result<Begun, Fault> {
        let started = Instant::now();
        let filter = filter::filter(&self.root, search)?;
        let (filter, unmatched) = self.read_checked(|| snapshot.narrow(filter))?;
        let proposed = self.read_checked(|| search::propose(&snapshot, &query(search, filter.clone(), None)))?;
        Ok(Begun { snapshot, filter, unmatched, proposed, took: started.elapsed() })
    }

    /// Ranks chunks by text, by vectors, or by both. `is_current`: every change made before the search is indexed.
    pub fn search(
        &self,
        search: &SearchRequest,
        begun: Begun,
        vector: QueryVector,
        is_current: bool,
    ) -> Result<SearchReport, Fault> {
        failpoint::pass("search");
        let started = Instant::now();
        let Begun { snapshot, filter, unmatched, proposed, took } = begun;
        let VectorUse { row, kernel, space, degraded } = vector_use(search.mode, vector, &snapshot.stats())?;
        let query = query(search, filter, row.as_deref());
        let kernel = kernel.unwrap_or_else(|| kernel::choose(None).expect("portable always runs"));
        let tree = self.tree()?;
        let found = self.read_checked(|| search::complete(&snapshot, &tree, &query, proposed, kernel))?;
        let mode = match (query.use_text, row.is_some()) {
            (true, true) => SearchMode::Hybrid,
            (false, _) => SearchMode::Semantic,
            (true, false) => SearchMode::Text,
        };
        Ok(SearchReport {
            hits: found.into_iter().map(hits::ranked).collect(),
            mode: mode.as_str().to_owned(),
            degraded: degraded.or_else(|| outdated(&snapshot, &search.query)),
            space,
            unmatched: filter::unmatched(search, &unmatched),
            read_only: self.is_borrowed(),
            generation: snapshot.generation,
            coverage: self.coverage(&snapshot, search.mode == SearchMode::Text, is_current),
            search_us: (took + started.elapsed()).as_micros() as u64,
            ..SearchReport::default()
        })
    }

    /// Finds definitions by name.
    pub fn symbols(&self, search: &SearchRequest, is_current: bool) -> Result<SearchReport, Fault> {
        let started = Instant::now();
        let snapshot = self.snapshot()?;
        let tree = self.tree()?;
        let filter = filter::filter(&self.root, search)?;
        let (filter, unmatched) = self.read_checked(|| snapshot.narrow(filter))?;
        let find = || search::symbols(&snapshot, &tree, &search.query, &filter, search.limit as usize);
        let (found, truncated) = self.read_checked(find)?;
        Ok(SearchReport {
            hits: found.into_iter().map(|symbol| hits::symbol(symbol, search.explain)).collect(),
            mode: SearchMode::Symbol.as_str().to_owned(),
            degraded: outdated(&snapshot, &search.query),
            read_only: self.is_borrowed(),
            generation: snapshot.generation,
            coverage: self.coverage(&snapshot, true, is_current),
            unmatched: filter::unmatched(search, &unmatched),
            truncated,
            search_us: started.elapsed().as_micros() as u64,
            ..SearchReport::default()
        })
    }

    /// Finds lines that match a regular expression, in the files as they are now. Needs no index.
    pub fn grep(&self, search: &SearchRequest, cancelled: &AtomicBool) -> Result<SearchReport, Fault> {
        let started = Instant::now();
        let tree = self.tree()?;
        let limit = self.published().is_none().then_some(UNINDEXED);
        let rules = WalkRules { limit, ..walk_rules(Config::read_in(&tree)?.0.index) };
        let query = grep::Query {
            pattern: &search.query,
            case: match search.case {
                Case::Smart => grep::Case::Smart,
                Case::Sensitive => grep::Case::Sensitive,
                Case::Insensitive => grep::Case::Insensitive,
            },
            filter: &filter::filter(&self.root, search)?,
            limit: search.limit as usize,
            context: search.context as usize,
        };
        let stop = || cancelled.load(Ordering::Relaxed) || self.runs.is_shutting_down();
        let found =
            grep::grep(&tree, &rules, &query, config::threads(), &stop).map_err(|error| fault::from_engine(&error))?;
        Ok(SearchReport {
            hits: found.lines.into_iter().map(hits::line).collect(),
            mode: SearchMode::Regex.as_str().to_owned(),
            coverage: Coverage {
                files: found.files,
                fresh: true,
                skipped_by_reason: skip_counts(found.skipped.iter().map(|(reason, n)| (reason.as_str(), n))),
                ..Coverage::default()
            },
            unmatched: filter::unmatched(search, &found.unmatched),
            truncated: found.truncated,
            search_us: started.elapsed().as_micros() as u64,
            ..SearchReport::default()
        })
    }

    /// What the answer covers. `is_current`: every change made before the search is indexed.
    fn coverage(&self, snapshot: &Snapshot, text_only: bool, is_current: bool) -> Coverage {
        let stats = snapshot.stats();
        let (known_fresh, pending_files) = self.watch.freshness(text_only);
        let fresh = is_current || (known_fresh && !self.is_indexing());
        Coverage {
            files: stats.files,
            chunks: stats.chunks,
            vectors: stats.vectors,
            fresh,
            pending_files,
            text_only: stats.text_only,
            skipped_by_reason: skip_counts(snapshot.skipped()),
        }
    }
}

/// A search over chunks, as the engine takes it.
fn query<'a>(search: &'a SearchRequest, filter: Filter, vector: Option<&'a [f32]>) -> Query<'a> {
    Query {
        text: &search.query,
        use_text: search.mode != SearchMode::Semantic,
        vector,
        filter,
        limit: search.limit as usize,
        explain: search.explain,
        weights: Weights::default(),
    }
}

/// Decides whether the query's vector can be compared with those of the index.
///
/// Errors: in mode `semantic`, whatever keeps vectors from being compared. Mode `hybrid` goes on with text and says so.
fn vector_use(mode: SearchMode, vector: QueryVector, stats: &Stats) -> Result<VectorUse, Fault> {
    let text_only = |why: &str| VectorUse { degraded: Some(format!("text only: {why}")), ..VectorUse::default() };
    let (row, model) = match vector {
        QueryVector::NotNeeded => return Ok(VectorUse::default()),
        QueryVector::Unavailable(fault) if mode == SearchMode::Semantic => return Err(fault),
        QueryVector::Unavailable(fault) => return Ok(text_only(&format!("{} ({})", fault.message, fault.code))),
        QueryVector::Of(row, model) => (row, model),
    };
    let space = model.space();
    match &stats.space {
        Some(indexed) if *indexed == space => {
            let n_chunks = stats.chunks.saturating_sub(stats.text_only);
            let degraded = (stats.vectors < n_chunks)
                .then(|| format!("{} of {n_chunks} chunks have vectors so far", stats.vectors));
            Ok(VectorUse { row: Some(row), kernel: Some(model.kernel.0), space: Some(space.id), degraded })
        }
        None if mode == SearchMode::Hybrid => Ok(text_only("no vectors yet")),
        Some(_) if mode == SearchMode::Hybrid => {
            Ok(text_only("the index holds another model's vectors; run `offheap index`"))
        }
        _ => Err(Fault::new(Code::NoIndex, "the index holds no vectors of the present model")
            .hint("run `offheap index`, or search with mode text")),
    }
}

/// What an answer from an index that another build made may lack, where the query asks for what that build did not know.
fn outdated(snapshot: &Snapshot, query: &str) -> Option<String> {
    let is_affected = !query.is_ascii() || query.split_whitespace().any(|word| word.len() > LONG_WORD_BYTES);
    (is_affected && !snapshot.is_current()).then(|| {
        "an earlier version made this index, so words of other scripts and long names may be missing until it is brought up \
         to date, which has begun or is done by `offheap index`"
            .to_owned()
    })
}

/// Which files belong to a project, as its configuration says.
pub fn walk_rules(config: IndexConfig) -> WalkRules {
    // Each key is named, so that a new one is not forgotten here.
    let IndexConfig { max_file_bytes, max_text_bytes, include, exclude, spare_embeddings: _, watch: _ } = config;
    let git = GitSettings::of_environment(|name| std::env::var_os(name).map(PathBuf::from));
    WalkRules { max_file_bytes, max_text_bytes, include, exclude, git, limit: None }
}

/// Counts of files that were left out, for a report.
pub fn skip_counts<'a, R: AsRef<str>>(counts: impl IntoIterator<Item = (R, &'a u64)>) -> Vec<SkipCount> {
    let count = |(reason, files): (R, &u64)| SkipCount { reason: reason.as_ref().to_owned(), files: *files };
    counts.into_iter().map(count).collect()
}
