//! Fuses ranked lists into one: classifies the query, weighs the evidence, orders the chunks.
//!
//! Pure: candidates in, order out. [`question`] takes the query apart, [`path`] reads file names. A candidate's score
//! is
//!
//! ```text
//! ( text and vectors, fused + coherence of its file + definition of a name + file name + frame of a stack trace )
//!   * demotions * repeat
//! ```
//!
//! Every term can be shown (`--explain`); every weight is in [`Weights`], and its ablation in `bench/NOTES.md`.

mod path;
mod question;
mod trace;

use std::collections::HashMap;

use crate::text::names::are_same;
use crate::text::tokens::normalised;

pub(crate) use path::implementations;
pub use question::{Class, Question};
pub use trace::{ErrorText, Frame};

/// A chunk that some list proposed, with the evidence for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The chunk.
    pub chunk_id: u64,
    /// Its file, relative to the project.
    pub path: String,
    /// The definitions around it.
    pub scope: String,
    /// Names that it defines.
    pub symbols: Vec<String>,
    /// Its file declares what another file of the index implements.
    pub is_declaration: bool,
    /// BM25 score, where full text found it.
    pub text: Option<f32>,
    /// Cosine, where vectors found it.
    pub cosine: Option<f32>,
    /// How near a frame of the query's stack trace that is in this chunk is to the error: 1 for the nearest, less for its
    /// callers, 0 where none is.
    pub frame: f32,
}

/// A candidate's place in the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The chunk.
    pub chunk_id: u64,
    /// Higher is better; comparable within one answer only.
    pub score: f32,
    /// What the score is made of, in order: terms that were added, then those named `factor:`, which multiply the sum.
    pub why: Vec<(&'static str, f32)>,
}

/// Every constant of the ranking. The defaults are what is used; others serve the ablations.
///
/// Scores of the two lists are spread over 0..=1 before they meet, so 1 is the most that text and vectors can give.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Share of the vectors in the fused score of a name or a path, which full text matches better.
    pub dense_symbol: f32,
    /// Share of the vectors in the fused score of an error: its words are mostly those of the source.
    pub dense_error: f32,
    /// Share of the vectors in the fused score of a sentence: vectors match meanings, full text only words.
    pub dense_prose: f32,
    /// For the best chunk of a file whose other chunks match too, times the file's share of the evidence.
    pub coherence: f32,
    /// For a chunk that defines the name asked for.
    pub definition: f32,
    /// For a chunk that defines a name which a sentence mentions.
    pub definition_in_sentence: f32,
    /// For a file whose name says what the sentence asks for, times the share of words that match.
    pub file_name: f32,
    /// For the chunk that the nearest frame of a stack trace is in.
    pub frame: f32,
    /// Factor for tests, examples, vendored and legacy code: they use what others define.
    pub secondary_path: f32,
    /// Factor for a chunk inside a test module of an ordinary file.
    pub test_scope: f32,
    /// Factor for files that gather a package's names and define little.
    pub package_file: f32,
    /// Factor for a header or stub whose implementation is in the index too.
    pub declaration: f32,
    /// Factor for `v3` beside `v4`.
    pub older_version: f32,
    /// Each further chunk of a file that is already shown counts this much of the one before.
    pub repeat: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            dense_symbol: 0.1,
            dense_error: 0.2,
            dense_prose: 0.5,
            coherence: 0.3,
            definition: 2.0,
            definition_in_sentence: 0.5,
            file_name: 1.5,
            frame: 2.0,
            secondary_path: 0.3,
            test_scope: 0.4,
            package_file: 0.5,
            declaration: 0.7,
            older_version: 0.3,
            repeat: 0.2,
        }
    }
}

/// Score of the worst chunk of a list, so that it stays above chunks that the list did not find.
const LIST_FLOOR: f32 = 0.05;

/// Orders candidates, best first; at most `limit`.
pub fn rank(question: &Question, candidates: &[Candidate], weights: &Weights, limit: usize) -> Vec<Ranked> {
    let mut scored: Vec<Scored<'_>> = candidates.iter().map(Scored::new).collect();
    fuse(question, weights, &mut scored);
    add_coherence(weights, &mut scored);
    for one in &mut scored {
        one.add("definition", definition(question, weights, one.candidate));
        one.add("file_name", file_name(question, weights, &one.candidate.path));
        one.add("frame", weights.frame * one.candidate.frame);
    }
    let newest = newest_versions(candidates);
    for one in &mut scored {
        let Candidate { path, scope, is_declaration, .. } = one.candidate;
        path::demotions(question, weights, path, scope, *is_declaration, |reason, factor| one.times(reason, factor));
        if let Some((root, version)) = path::version_folder(path)
            && version < newest[root]
            && !question.mentions(&format!("v{version}"))
        {
            one.times("factor:older_version", weights.older_version);
        }
    }
    demote_repeats(weights, &mut scored);
    scored.truncate(limit);
    scored.into_iter().map(|one| Ranked { chunk_id: one.candidate.chunk_id, score: one.score, why: one.why }).collect()
}

/// A candidate while it is scored.
struct Scored<'a> {
    candidate: &'a Candidate,
    score: f32,
    why: Vec<(&'static str, f32)>,
}

impl<'a> Scored<'a> {
    fn new(candidate: &'a Candidate) -> Self {
        Scored { candidate, score: 0.0, why: Vec::new() }
    }

    fn add(&mut self, what: &'static str, value: f32) {
        if value != 0.0 {
            self.score += value;
            self.why.push((what, value));
        }
    }

    fn times(&mut self, reason: &'static str, factor: f32) {
        if factor != 1.0 {
            self.score *= factor;
            self.why.push((reason, factor));
        }
    }
}

fn fuse(question: &Question, weights: &Weights, scored: &mut [Scored<'_>]) {
    let text = spread(scored.iter().map(|one| one.candidate.text));
    let cosine = spread(scored.iter().map(|one| one.candidate.cosine));
    let dense = match (&text, &cosine) {
        (None, _) => 1.0,
        (_, None) => 0.0,
        _ => match question.class {
            Class::Prose => weights.dense_prose,
            Class::Error => weights.dense_error,
            Class::Symbol | Class::Path => weights.dense_symbol,
        },
    };
    for (i, one) in scored.iter_mut().enumerate() {
        one.add("text", text.as_ref().map_or(0.0, |text| (1.0 - dense) * text[i]));
        one.add("vectors", cosine.as_ref().map_or(0.0, |cosine| dense * cosine[i]));
    }
}

/// Scores spread over [`LIST_FLOOR`]..=1, absent ones at 0; `None` where the list found nothing.
fn spread(scores: impl Iterator<Item = Option<f32>> + Clone) -> Option<Vec<f32>> {
    let (min, max) =
        scores.clone().flatten().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), s| (lo.min(s), hi.max(s)));
    if max < min {
        return None;
    }
    let place = |s: f32| if max > min { (s - min) / (max - min) } else { 1.0 };
    Some(scores.map(|s| s.map_or(0.0, |s| LIST_FLOOR + (1.0 - LIST_FLOOR) * place(s))).collect())
}

fn add_coherence(weights: &Weights, scored: &mut [Scored<'_>]) {
    let mut files: HashMap<&str, (f32, usize)> = HashMap::new();
    for (i, one) in scored.iter().enumerate() {
        let (sum, best) = files.entry(&one.candidate.path).or_insert((0.0, i));
        *sum += one.score;
        if one.score > scored[*best].score {
            *best = i;
        }
    }
    let most = files.values().map(|(sum, _)| *sum).fold(f32::MIN_POSITIVE, f32::max);
    for (sum, best) in files.into_values() {
        scored[best].add("coherence", weights.coherence * sum / most);
    }
}

fn definition(question: &Question, weights: &Weights, candidate: &Candidate) -> f32 {
    let defines = |name: &String| candidate.symbols.iter().any(|symbol| are_same(name, symbol));
    match question.class {
        _ if question.marked_name.as_ref().is_some_and(defines) => weights.definition,
        _ if !question.names.iter().any(defines) => 0.0,
        Class::Symbol => weights.definition,
        _ => weights.definition_in_sentence,
    }
}

fn file_name(question: &Question, weights: &Weights, path: &str) -> f32 {
    match question.class {
        Class::Symbol => 0.0,
        Class::Prose | Class::Error => weights.file_name * path::name_share(question, path),
        Class::Path => {
            let (path, asked) = (normalised(path).to_lowercase(), normalised(&question.text).replace('\\', "/"));
            if path == asked || path.ends_with(&format!("/{asked}")) {
                2.0 * weights.file_name
            } else if path.contains(&asked) {
                weights.file_name
            } else {
                0.0
            }
        }
    }
}

/// Where versions lie side by side, the newest of them that any candidate is from.
fn newest_versions(candidates: &[Candidate]) -> HashMap<&str, u32> {
    let mut newest: HashMap<&str, u32> = HashMap::new();
    for (root, version) in candidates.iter().filter_map(|candidate| path::version_folder(&candidate.path)) {
        let known = newest.entry(root).or_default();
        *known = version.max(*known);
    }
    newest
}

/// Sorts by score, and multiplies each further chunk of a file by [`Weights::repeat`] once more than the one before.
fn demote_repeats(weights: &Weights, scored: &mut [Scored<'_>]) {
    let by_score = |a: &Scored<'_>, b: &Scored<'_>| {
        b.score.total_cmp(&a.score).then(a.candidate.chunk_id.cmp(&b.candidate.chunk_id))
    };
    scored.sort_by(by_score);
    let mut shown: HashMap<&str, i32> = HashMap::new();
    for one in scored.iter_mut() {
        let n = shown.entry(&one.candidate.path).or_default();
        one.times("factor:repeat", weights.repeat.powi(*n));
        *n += 1;
    }
    scored.sort_by(by_score);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(chunk_id: u64, path: &str, symbols: &[&str], text: Option<f32>, cosine: Option<f32>) -> Candidate {
        let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
        let (path, scope) = (path.to_owned(), String::new());
        Candidate { chunk_id, path, scope, symbols, is_declaration: false, text, cosine, frame: 0.0 }
    }

    fn ranked(query: &str, candidates: &[Candidate]) -> Vec<Ranked> {
        let question = Question::new(query, |_| Ok::<_, ()>(1.0)).unwrap();
        rank(&question, candidates, &Weights::default(), 10)
    }

    fn order(query: &str, candidates: &[Candidate]) -> Vec<u64> {
        ranked(query, candidates).into_iter().map(|one| one.chunk_id).collect()
    }

    #[test]
    fn a_definition_beats_its_uses() {
        let list = [
            candidate(1, "a.py", &[], Some(9.0), Some(0.8)),
            candidate(2, "b.py", &["read_line"], Some(4.0), Some(0.2)),
            candidate(3, "c.py", &[], Some(5.0), None),
        ];
        assert_eq!(order("read_line", &list)[0], 2);
    }

    #[test]
    fn tests_step_back_unless_asked_for() {
        let list = [
            candidate(1, "tests/retry.py", &[], Some(9.0), Some(0.8)),
            candidate(2, "net/client.py", &[], Some(6.0), Some(0.7)),
            candidate(3, "net/zzz.py", &[], Some(1.0), Some(0.1)),
        ];
        assert_eq!(order("how are requests repeated", &list)[0], 2);
        assert_eq!(order("which test covers repeated requests", &list)[0], 1);
    }

    #[test]
    fn the_newest_version_goes_first_unless_another_is_named() {
        let list = [
            candidate(1, "pkg/v3/types.ts", &[], Some(9.0), None),
            candidate(2, "pkg/v4/types.ts", &[], Some(8.0), None),
            candidate(3, "pkg/v4/least.ts", &[], Some(1.0), None),
        ];
        assert_eq!(order("string formats", &list)[0], 2);
        assert_eq!(order("v3 string formats", &list)[0], 1);
    }

    #[test]
    fn one_file_does_not_fill_the_page() {
        let mut list: Vec<_> = (0..5).map(|i| candidate(i, "big.rs", &[], Some(9.0 - i as f32 * 0.1), None)).collect();
        list.push(candidate(9, "other.rs", &[], Some(6.5), None));
        list.push(candidate(10, "least.rs", &[], Some(1.0), None));
        assert!(order("anything at all", &list)[..3].contains(&9));
    }

    #[test]
    fn the_reasons_make_the_score() {
        let list = [
            candidate(1, "tests/socket.py", &["read_line"], Some(9.0), Some(0.8)),
            candidate(2, "net/socket.py", &["read_line"], Some(4.0), Some(0.2)),
            candidate(3, "net/socket.py", &[], Some(5.0), None),
        ];
        for one in ranked("where read_line meets the socket", &list) {
            let (factors, terms): (Vec<_>, Vec<_>) = one.why.iter().partition(|(name, _)| name.starts_with("factor:"));
            let sum: f32 = terms.iter().map(|(_, value)| value).sum();
            let score = factors.iter().fold(sum, |score, (_, factor)| score * factor);
            assert!((score - one.score).abs() < 1e-6, "{one:?}");
        }
    }

    #[test]
    fn no_candidates_no_panic() {
        assert!(order("x", &[]).is_empty());
        assert!(order("", &[]).is_empty());
    }
}
