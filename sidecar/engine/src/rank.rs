//! Many ranked lists to one: what kind of question it is, which evidence counts, who is shown.
//!
//! Pure: candidates in, order out. The ideas and constants come from published ablations on code search, whose
//! figures are kept with the benchmark; each constant says what it is for.

use std::collections::HashMap;

/// A chunk that some list proposed, with the evidence for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The chunk.
    pub chunk_id: u64,
    /// Its file, relative to the project.
    pub path: String,
    /// Names that it defines.
    pub symbols: Vec<String>,
    /// BM25 score, where full text found it.
    pub text: Option<f32>,
    /// Cosine, where vectors found it.
    pub cosine: Option<f32>,
}

/// What kind of question a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One name: `HashMap`, `read_line`, `std::fs`.
    Symbol,
    /// A path or file name: `src/main.rs`.
    Path,
    /// Everything else.
    Prose,
}

/// Share of the vectors' score in the fused one. Names are matched, sentences are understood.
const DENSE_SYMBOL: f32 = 0.3;
const DENSE_PROSE: f32 = 0.5;
/// For the best chunk of a file whose other chunks match too.
const COHERENCE: f32 = 0.2;
/// For a chunk that defines the name asked for; half of it where the name is one word of a sentence.
const DEFINITION: f32 = 2.0;
/// More of the same where the file is called like the name.
const DEFINITION_IN_NAMESAKE: f32 = 1.5;
/// For a file whose name says what the sentence asks for, times the share of words that match.
const FILE_NAME: f32 = 1.0;
/// Smaller shares are chance.
const FILE_NAME_MIN_SHARE: f32 = 0.1;
/// Tests, examples and legacy code use what others define.
const SECONDARY_PATH: f32 = 0.3;
/// Indexes and declarations name everything and define little.
const INDEX_FILE: f32 = 0.5;
/// Each further chunk of a file that is already shown counts half.
const SATURATION: f32 = 0.5;

/// Names of a query that are looked up; a pasted log has thousands.
const MAX_NAMES: usize = 16;

/// Classifies a query by its shape.
pub fn classify(query: &str) -> Class {
    let query = query.trim();
    if query.split_whitespace().nth(1).is_some() || query.is_empty() {
        return Class::Prose;
    }
    let ident = |c: char| c.is_alphanumeric() || c == '_';
    let last = query.rsplit(['/', '\\']).next().unwrap_or_default();
    let has_extension = last.rsplit_once('.').is_some_and(|(stem, ext)| {
        !stem.is_empty()
            && (1..=4).contains(&ext.len())
            && ext.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    if query.contains('/') || (has_extension && query.chars().all(|c| ident(c) || "./-".contains(c))) {
        return Class::Path;
    }
    let parts: Vec<&str> = query.split("::").flat_map(|part| part.split(['.', '#'])).collect();
    let qualified = parts.len() > 1;
    let is_name = parts.iter().all(|part| !part.is_empty() && part.chars().all(ident));
    let marked = query.starts_with('_') || query.chars().any(char::is_uppercase) || query.contains('_');
    if is_name && (qualified || marked) { Class::Symbol } else { Class::Prose }
}

/// Names in a query that look like identifiers; for a symbol query, its last part.
pub fn names(query: &str, class: Class) -> Vec<String> {
    let last_part = |word: &str| word.rsplit(['.', ':', '#']).next().unwrap_or_default().to_owned();
    match class {
        Class::Path => Vec::new(),
        Class::Symbol => vec![last_part(query.trim())],
        Class::Prose => {
            let trim = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_').to_owned();
            let words = query.split_whitespace().map(trim);
            // A lone word may be a name as well as a topic; in a sentence only the spelling tells.
            let lone = query.split_whitespace().nth(1).is_none();
            let mixed = |word: &String| {
                lone && !word.is_empty()
                    || word.contains('_')
                    || word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase)
            };
            let mut names: Vec<String> = Vec::new();
            for name in words.filter(mixed).map(|word| last_part(&word)) {
                if names.len() < MAX_NAMES && !names.contains(&name) {
                    names.push(name);
                }
            }
            names
        }
    }
}

/// Orders candidates, best first, with their scores; at most `limit`.
pub fn rank(query: &str, candidates: &[Candidate], limit: usize) -> Vec<(u64, f32)> {
    let class = classify(query);
    let names = names(query, class);
    let words = words_of(query);
    let fused = fuse(class, candidates);
    let coherent = add_coherence(candidates, &fused);
    let mut scored: Vec<(usize, f32)> = candidates
        .iter()
        .zip(coherent)
        .enumerate()
        .map(|(i, (candidate, base))| {
            let score = base + definition(class, &names, candidate) + file_name(class, &words, query, &candidate.path);
            (i, score * path_factor(query, &candidate.path))
        })
        .collect();
    saturate(candidates, &mut scored);
    scored.truncate(limit);
    scored.into_iter().map(|(i, score)| (candidates[i].chunk_id, score)).collect()
}

fn fuse(class: Class, candidates: &[Candidate]) -> Vec<f32> {
    let dense = if class == Class::Prose { DENSE_PROSE } else { DENSE_SYMBOL };
    let text = normalised(candidates.iter().map(|c| c.text));
    let cosine = normalised(candidates.iter().map(|c| c.cosine));
    match (text, cosine) {
        (Some(text), Some(cosine)) => text.iter().zip(&cosine).map(|(t, c)| (1.0 - dense) * t + dense * c).collect(),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => vec![0.0; candidates.len()],
    }
}

/// Scores spread over 0..=1, absent ones at 0; `None` where the list found nothing.
///
/// The worst of a list stays a little above those that the list did not find at all.
fn normalised(scores: impl Iterator<Item = Option<f32>> + Clone) -> Option<Vec<f32>> {
    let (min, max) =
        scores.clone().flatten().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), s| (lo.min(s), hi.max(s)));
    if max < min {
        return None;
    }
    let floor = 0.05;
    let spread = (max - min).max(f32::MIN_POSITIVE);
    Some(
        scores
            .map(|s| s.map_or(0.0, |s| floor + (1.0 - floor) * if max > min { (s - min) / spread } else { 1.0 }))
            .collect(),
    )
}

fn add_coherence(candidates: &[Candidate], fused: &[f32]) -> Vec<f32> {
    let mut files: HashMap<&str, (f32, usize)> = HashMap::new();
    for (i, candidate) in candidates.iter().enumerate() {
        let (sum, best) = files.entry(&candidate.path).or_insert((0.0, i));
        *sum += fused[i];
        if fused[i] > fused[*best] {
            *best = i;
        }
    }
    let most = files.values().map(|(sum, _)| *sum).fold(f32::MIN_POSITIVE, f32::max);
    let mut out = fused.to_vec();
    for (sum, best) in files.values() {
        out[*best] += COHERENCE * sum / most;
    }
    out
}

fn definition(class: Class, names: &[String], candidate: &Candidate) -> f32 {
    let defined = names.iter().find(|name| candidate.symbols.contains(name));
    let Some(name) = defined else { return 0.0 };
    let plain = |s: &str| s.to_lowercase().replace(['_', '-'], "");
    let namesake = plain(stem(&candidate.path)).trim_end_matches('s') == plain(name).trim_end_matches('s');
    let weight = if class == Class::Symbol { DEFINITION } else { DEFINITION / 2.0 };
    if namesake { weight * DEFINITION_IN_NAMESAKE } else { weight }
}

fn file_name(class: Class, words: &[String], query: &str, path: &str) -> f32 {
    match class {
        Class::Symbol => 0.0,
        Class::Path => {
            let (path, query) = (path.to_lowercase(), query.trim().to_lowercase().replace('\\', "/"));
            if path == query || path.ends_with(&format!("/{query}")) {
                2.0 * FILE_NAME
            } else if path.contains(&query) {
                FILE_NAME
            } else {
                0.0
            }
        }
        Class::Prose => {
            let mut parts = path.rsplit('/');
            let mut evidence = split_words(parts.next().map_or("", |file| file.split('.').next().unwrap_or(file)));
            evidence.extend(split_words(parts.next().unwrap_or_default()));
            let related =
                |a: &str, b: &str| a == b || (a.len().min(b.len()) >= 3 && (a.starts_with(b) || b.starts_with(a)));
            let hits = words.iter().filter(|word| evidence.iter().any(|part| related(part, word))).count();
            let share = hits as f32 / words.len().max(1) as f32;
            if share >= FILE_NAME_MIN_SHARE { FILE_NAME * share } else { 0.0 }
        }
    }
}

/// Less for files that rarely hold the answer, unless the query asks for just such files.
fn path_factor(query: &str, path: &str) -> f32 {
    const SECONDARY: [&str; 14] = [
        "test",
        "tests",
        "__tests__",
        "__test__",
        "testing",
        "spec",
        "specs",
        "fixtures",
        "examples",
        "example",
        "legacy",
        "compat",
        "benches",
        "vendor",
    ];
    let query = query.to_lowercase();
    let asked = |word: &str| query.contains(word.trim_matches('_').trim_end_matches('s'));
    let lower = path.to_lowercase();
    let (folders, file) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let mut factor = 1.0;
    if let Some(folder) = folders.split('/').find(|folder| SECONDARY.contains(folder))
        && !asked(folder)
    {
        factor *= SECONDARY_PATH;
    } else if !asked("test") && is_test_file(file) {
        factor *= SECONDARY_PATH;
    }
    if ["__init__.py", "mod.rs", "index.d.ts"].contains(&file) || file.ends_with(".d.ts") {
        factor *= INDEX_FILE;
    }
    factor
}

fn is_test_file(file: &str) -> bool {
    let stem = file.split('.').next().unwrap_or(file);
    stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || file.contains(".test.")
        || file.contains(".spec.")
}

/// Sorts, each further chunk of a file at half of what it was.
fn saturate(candidates: &[Candidate], scored: &mut [(usize, f32)]) {
    let by_score = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    scored.sort_by(by_score);
    let mut shown: HashMap<&str, i32> = HashMap::new();
    for (i, score) in scored.iter_mut() {
        let n = shown.entry(&candidates[*i].path).or_default();
        *score *= SATURATION.powi(*n);
        *n += 1;
    }
    scored.sort_by(by_score);
}

/// Words of a sentence that carry meaning, lower case.
fn words_of(query: &str) -> Vec<String> {
    const STOP: [&str; 36] = [
        "the", "and", "for", "are", "how", "what", "where", "which", "who", "why", "when", "does", "did", "was",
        "were", "with", "from", "into", "that", "this", "there", "than", "then", "can", "will", "its", "our", "has",
        "have", "not", "all", "any", "you", "your", "use", "used",
    ];
    let mut words = split_words(query);
    words.retain(|word| word.chars().count() > 2 && !STOP.contains(&word.as_str()));
    words.dedup();
    words
}

/// Lower-case words, cut at case changes and everything that is no letter or digit.
fn split_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_classified_by_shape() {
        for (query, class) in [
            ("HashMap", Class::Symbol),
            ("read_line", Class::Symbol),
            ("std::fs::read", Class::Symbol),
            ("socket.connect", Class::Symbol),
            ("_private", Class::Symbol),
            ("socket", Class::Prose),
            ("where is the socket opened", Class::Prose),
            ("src/main.rs", Class::Path),
            ("main.rs", Class::Path),
            ("", Class::Prose),
            ("  ", Class::Prose),
            ("?!", Class::Prose),
        ] {
            assert_eq!(classify(query), class, "{query:?}");
        }
        assert_eq!(names("how does parseFloat round, or read_line()?", Class::Prose), ["parseFloat", "read_line"]);
        assert_eq!(names("std::fs::read", Class::Symbol), ["read"]);
        assert_eq!(names("namedtuple", Class::Prose), ["namedtuple"]);
        assert_eq!(names("?!", Class::Prose), [""; 0]);
    }

    fn candidate(chunk_id: u64, path: &str, symbols: &[&str], text: Option<f32>, cosine: Option<f32>) -> Candidate {
        let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
        Candidate { chunk_id, path: path.to_owned(), symbols, text, cosine }
    }

    fn order(query: &str, candidates: &[Candidate]) -> Vec<u64> {
        rank(query, candidates, 10).into_iter().map(|(id, _)| id).collect()
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
    fn one_file_does_not_fill_the_page() {
        let mut list: Vec<_> = (0..5).map(|i| candidate(i, "big.rs", &[], Some(9.0 - i as f32 * 0.1), None)).collect();
        list.push(candidate(9, "other.rs", &[], Some(6.5), None));
        list.push(candidate(10, "least.rs", &[], Some(1.0), None));
        assert!(order("anything at all", &list)[..3].contains(&9));
    }

    #[test]
    fn no_candidates_no_panic() {
        assert!(order("x", &[]).is_empty());
        assert_eq!(order("x", &[candidate(1, "", &[], None, Some(0.0))]), [1]);
    }
}
