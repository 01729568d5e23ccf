//! What each constant of the ranking is worth: `cargo bench -p offheap-engine --bench rank -- <folder>`.
//!
//! The folder is what `bench/eval.mjs` takes, and that has run on it: `corpora/<name>/.offheap` are its indexes,
//! `queries/<name>.json` the judged questions. Prints NDCG@10 of the defaults, then of each change, with the mean
//! difference to the defaults question by question, its standard error, and how many questions got better and worse.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offheap_engine::disk::Tree;
use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::kernel;
use offheap_engine::rank::Weights;
use offheap_engine::search::{Query, search};
use offheap_engine::store::{Filter, Place, Snapshot, Store};
use offheap_engine::tokenizer::Specials;
use serde::Deserialize;

const K: usize = 10;
const CATEGORIES: [&str; 3] = ["architecture", "semantic", "symbol"];

#[derive(Deserialize)]
struct Question {
    query: String,
    category: String,
    relevant: Vec<Target>,
    #[serde(default)]
    secondary: Vec<Target>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Target {
    File(String),
    Lines { path: String, start_line: Option<u32>, end_line: Option<u32> },
}

struct Repository {
    tree: Tree,
    snapshot: Arc<Snapshot>,
    questions: Vec<Question>,
    vectors: Vec<Vec<f32>>,
}

/// NDCG@10 of every question, with its category.
type Scores = Vec<(String, f64)>;

/// What this user's indexes are signed with, where `offheap` keeps it on Linux.
fn secret() -> [u8; 32] {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".local/state");
    let state = std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from);
    let bytes = std::fs::read(state.join("offheap/secret")).expect("the secret: index something first");
    bytes.try_into().expect("32 bytes")
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map(PathBuf::from);
    let Some(folder) = folder else { return println!("usage: cargo bench -p offheap-engine --bench rank -- <folder>") };
    let repositories = load(&folder);
    for (mode, use_text, use_vectors) in [("hybrid", true, true), ("text", true, false), ("semantic", false, true)] {
        let run = |weights: &Weights| evaluate(&repositories, use_text, use_vectors, weights);
        let base = run(&Weights::default());
        println!("\n{mode}: {}", summary(&base));
        if mode == "semantic" {
            continue;
        }
        for (label, weights) in variants() {
            let scores = run(&weights);
            println!("{label:34} {}  {}", summary(&scores), difference(&base, &scores));
        }
    }
}

/// The defaults with one thing changed.
fn variants() -> Vec<(String, Weights)> {
    type Set = fn(&mut Weights, f32);
    let table: [(&str, &[f32], Set); 12] = [
        ("dense_symbol", &[0.0, 0.5], |w, x| w.dense_symbol = x),
        ("dense_prose", &[0.3, 0.4, 0.6, 0.7], |w, x| w.dense_prose = x),
        ("coherence", &[0.0, 0.2, 0.5], |w, x| w.coherence = x),
        ("definition", &[0.0, 1.0, 4.0], |w, x| w.definition = x),
        ("definition_in_sentence", &[0.0, 0.5, 2.0], |w, x| w.definition_in_sentence = x),
        ("file_name", &[0.0, 1.0, 2.0], |w, x| w.file_name = x),
        ("secondary_path", &[1.0, 0.5], |w, x| w.secondary_path = x),
        ("test_scope", &[1.0, 0.3], |w, x| w.test_scope = x),
        ("package_file", &[1.0, 0.7], |w, x| w.package_file = x),
        ("declaration", &[1.0, 0.5], |w, x| w.declaration = x),
        ("older_version", &[1.0, 0.3], |w, x| w.older_version = x),
        ("repeat", &[1.0, 0.5, 0.2], |w, x| w.repeat = x),
    ];
    let one = |name: &str, value: f32, set: Set| {
        let mut weights = Weights::default();
        set(&mut weights, value);
        (format!("{name} = {value}"), weights)
    };
    table.iter().flat_map(|(name, values, set)| values.iter().map(|&value| one(name, value, *set))).collect()
}

fn load(folder: &Path) -> Vec<Repository> {
    let model =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../npm/model-all-minilm-l6-v2/all-minilm-l6-v2.Q8_0.gguf");
    let options = Options { kernel: None, threads: 2, sha256: None, ..Options::default() };
    let mut embedder = Embedder::open(&model, &options).expect("the default model opens");
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder.join("queries"))
        .expect("<folder>/queries is readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    let secret = secret();
    let mut repositories = Vec::new();
    for file in names {
        let root = folder.join("corpora").join(file.file_stem().expect("has a name"));
        let Ok(snapshot) = Store::open_read_only(Place::below(&root, &[".offheap", "data"], secret)) else {
            println!("{}: not indexed, left out", root.display());
            continue;
        };
        let stats = snapshot.stats();
        if stats.vectors < stats.chunks {
            println!("{}: {} of {} chunks have vectors", root.display(), stats.vectors, stats.chunks);
        }
        let text = std::fs::read(&file).expect("the questions are readable");
        let questions: Vec<Question> = serde_json::from_slice(&text).expect("the questions are in the format");
        let vectors = questions.iter().map(|question| embed(&mut embedder, &question.query)).collect();
        let tree = Tree::open(&root).expect("the repository is there");
        repositories.push(Repository { tree, snapshot, questions, vectors });
    }
    repositories
}

fn embed(embedder: &mut Embedder, text: &str) -> Vec<f32> {
    let encoding = embedder.encode(text, Specials::Text);
    let mut row = vec![0.0; embedder.info().dim];
    embedder.embed(&[&encoding.ids], &mut row).expect("finite");
    row
}

fn evaluate(repositories: &[Repository], use_text: bool, use_vectors: bool, weights: &Weights) -> Scores {
    let kernel = kernel::choose(None).expect("portable always runs");
    let mut scores = Vec::new();
    for repository in repositories {
        for (question, vector) in repository.questions.iter().zip(&repository.vectors) {
            let query = Query {
                text: &question.query,
                use_text,
                vector: use_vectors.then_some(vector.as_slice()),
                filter: Filter::default(),
                limit: K,
                explain: false,
                weights: weights.clone(),
            };
            let hits = search(&repository.snapshot, &repository.tree, &query, kernel).expect("the index is whole");
            let hits: Vec<(&str, u32, u32)> =
                hits.iter().map(|hit| (hit.chunk.rel.as_str(), hit.chunk.first_line, hit.chunk.last_line)).collect();
            let targets = [question.relevant.as_slice(), question.secondary.as_slice()].concat();
            scores.push((question.category.clone(), ndcg(&hits, &targets)));
        }
    }
    scores
}

/// Binary NDCG over the first ten chunks: a target counts at the first that meets it, a rank counts once.
fn ndcg(hits: &[(&str, u32, u32)], targets: &[Target]) -> f64 {
    let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let mut ranks: Vec<usize> =
        targets.iter().filter_map(|target| hits.iter().take(K).position(|hit| meets(*hit, target))).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let ideal: f64 = (0..targets.len().min(K)).map(gain).sum();
    ranks.into_iter().map(gain).sum::<f64>() / ideal
}

fn meets((path, first, last): (&str, u32, u32), target: &Target) -> bool {
    let same = |a: &str, b: &str| a == b || a.ends_with(&format!("/{b}")) || b.ends_with(&format!("/{a}"));
    match target {
        Target::File(file) => same(path, file),
        Target::Lines { path: file, start_line: Some(start), end_line: Some(end) } => {
            same(path, file) && first <= *end && *start <= last
        }
        Target::Lines { path: file, .. } => same(path, file),
    }
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count().max(1) as f64
}

fn summary(scores: &Scores) -> String {
    let of = |category: &str| mean(scores.iter().filter(|(c, _)| c == category).map(|(_, score)| *score));
    let parts = CATEGORIES.map(|category| format!("{category} {:.3}", of(category)));
    format!("{:.4} ({}) n {}", mean(scores.iter().map(|(_, score)| *score)), parts.join(", "), scores.len())
}

fn difference(base: &Scores, other: &Scores) -> String {
    let each = base.iter().zip(other).map(|((_, a), (_, b))| b - a);
    let centre = mean(each.clone());
    let error = (mean(each.clone().map(|d| (d - centre).powi(2))) / base.len() as f64).sqrt();
    let count = |wanted: fn(f64) -> bool| each.clone().filter(|d| wanted(*d)).count();
    format!("{centre:+.4} ±{error:.4}, {} better, {} worse", count(|d| d > 1e-9), count(|d| d < -1e-9))
}
