//! Indexes whose text an earlier build cut into words: brought up to date without the model, the old one answering meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use offheap_engine::Error;
use offheap_engine::disk::Tree;
use offheap_engine::index::{self, Host, Phase, Report, Settings};
use offheap_engine::store::{Filter, Snapshot, Space, Store};

use crate::play::{copy_dir, kernel};

/// The project of the fixture; what is indexed of it must never change, or its embeddings are of something else.
const PROJECT: [(&str, &str); 5] = [
    ("src/config.rs", "/// Reads the configuration.\nfn parse_config(path: &Path) -> Config {\n    read(path)\n}\n"),
    ("src/orders.py", "def 获取用户订单列表(用户):\n    \"\"\"读取用户的全部订单。\"\"\"\n    return 用户.订单\n"),
    (
        "src/Preis.java",
        "class Preis {\n    // prüft den Preis, größer als null\n    boolean prüfePreis(int preis) {\n        return preis > 0;\n    }\n}\n",
    ),
    (
        "src/checker.ts",
        "// 入力データを検証する\nexport function 検証する(値: string): boolean {\n  return 値.length > 0;\n}\n",
    ),
    ("docs/guide.md", "# 가격\n\n할인을 계산하고 주문을 저장합니다.\n"),
];

/// A model of a few values that counts the texts it was given.
#[derive(Default)]
struct Model {
    n_texts: usize,
}

impl Host for Model {
    type Error = Error;

    fn space(&mut self) -> Result<Space, Error> {
        Ok(Space { id: "fixture:8".into(), dim: 8 })
    }

    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), Error> {
        self.n_texts += texts.len();
        let mut rows = Vec::with_capacity(texts.len() * 8);
        for text in &texts {
            rows.extend((0..8).map(|i| text.bytes().map(|b| u32::from(b) * (i + 3) % 31).sum::<u32>() as f32 + 1.0));
        }
        Ok((rows, texts.len() as u64))
    }

    fn progress(&mut self, _: Phase, _: u64, _: u64, _: &str) {}

    fn committed(&mut self, _: &Store) {}

    fn cancelled(&self) -> bool {
        false
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/index-content-1")
}

fn make_project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    for (rel, text) in PROJECT {
        let path = project.path().join(rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    project
}

fn run(store: &mut Store, project: &Path, model: &mut Model) -> Report {
    let settings = Settings::default();
    index::run(store, &Tree::open(project).unwrap(), &settings, model).unwrap()
}

/// Writes the fixture of this build's words. Ignored: what is in the repository must stay what an old build wrote.
#[test]
#[ignore = "writes into the repository"]
fn make_content_fixture() {
    assert!(!fixture().exists(), "an old index cannot be made anew");
    let (project, made) = (make_project(), tempfile::tempdir().unwrap());
    let mut store = Store::open(made.path()).unwrap();
    std::fs::write(project.path().join("src/gone.py"), "def removed_later():\n    pass\n").unwrap();
    run(&mut store, project.path(), &mut Model::default());
    std::fs::remove_file(project.path().join("src/gone.py")).unwrap();
    run(&mut store, project.path(), &mut Model::default());
    store.release_writer().unwrap();
    drop(store);
    redb::Database::open(made.path().join("cache.redb")).unwrap().compact().unwrap();
    copy_dir(made.path(), &fixture());
}

/// The paths that a word finds.
fn paths(snapshot: &Snapshot, word: &str) -> BTreeSet<String> {
    let found = snapshot.search_text(word, &Filter::default(), 10).unwrap();
    let ids: Vec<u64> = found.into_iter().map(|(id, _)| id).collect();
    snapshot.chunks(&ids).unwrap().into_iter().map(|chunk| chunk.unwrap().rel).collect()
}

/// Every chunk's cosine with one vector, by path and first line.
fn cosines(snapshot: &Snapshot) -> BTreeMap<(String, u32), f32> {
    let found = snapshot.search_vectors(&[1.0; 8], &Filter::default(), 100, kernel()).unwrap();
    let place = |(id, cosine): (u64, f32)| {
        let chunk = snapshot.chunks(&[id]).unwrap().remove(0).unwrap();
        ((chunk.rel, chunk.first_line), cosine)
    };
    found.into_iter().map(place).collect()
}

/// Words that the build of the fixture did not find.
const NEW_WORDS: [(&str, &str); 4] =
    [("列表", "src/orders.py"), ("検証", "src/checker.ts"), ("할인", "docs/guide.md"), ("pruft", "src/Preis.java")];

fn check_upgraded(store: &Store) {
    let snapshot = store.snapshot();
    assert!(snapshot.is_current());
    for (word, rel) in NEW_WORDS {
        assert_eq!(paths(&snapshot, word), BTreeSet::from([rel.to_owned()]), "{word}");
    }
    assert_eq!(paths(&snapshot, "parse_config").len(), 1);
    assert!(paths(&snapshot, "removed_later").is_empty());
    let stats = snapshot.stats();
    assert_eq!((stats.files, stats.vectors), (PROJECT.len() as u64, stats.chunks));
    store.verify().unwrap();
}

/// The old generation answers until the new one is there, and no text is embedded again: neither with the cache nor
/// without it, and also where the run is stopped before any step of a commit.
#[test]
fn an_index_of_earlier_words_is_brought_up_to_date_without_the_model() {
    for (lose_cache, stop_at) in
        [(false, 0), (true, 0), (false, 1), (false, 2), (false, 3), (false, 4), (false, 5), (false, 6), (false, 7)]
    {
        let (project, index) = (make_project(), tempfile::tempdir().unwrap());
        copy_dir(&fixture(), index.path());
        if lose_cache {
            std::fs::remove_file(index.path().join("cache.redb")).unwrap();
        }
        let reader = Store::open_read_only(index.path()).unwrap();
        assert!(!reader.is_current());
        assert_eq!(paths(&reader, "列表"), BTreeSet::new(), "as the old build did");
        assert_eq!(paths(&reader, "parse_config").len(), 1);
        let before = cosines(&reader);

        let mut model = Model::default();
        let mut store = Store::open(index.path()).unwrap();
        if stop_at > 0 {
            let mut n_steps = 0;
            store.on_step(move |_| {
                n_steps += 1;
                if n_steps < stop_at { Ok(()) } else { Err(std::io::Error::other("stopped by the test")) }
            });
            let stopped =
                index::run(&mut store, &Tree::open(project.path()).unwrap(), &Settings::default(), &mut model);
            assert!(stopped.is_err());
            drop(store);
            let between = Store::open_read_only(index.path()).unwrap();
            assert_eq!(paths(&between, "parse_config").len(), 1, "stopped at {stop_at}");
            assert_eq!(cosines(&between), before, "stopped at {stop_at}: no vector is lost meanwhile");
            store = Store::open(index.path()).unwrap();
        }
        let report = run(&mut store, project.path(), &mut model);
        assert_eq!((model.n_texts, report.embedded), (0, 0), "stopped at {stop_at}");
        check_upgraded(&store);
        assert_eq!(cosines(&store.snapshot()), before);
        if stop_at == 0 {
            assert_eq!((report.files_changed, report.reused), (PROJECT.len() as u64, before.len() as u64));
        }
        assert!(
            paths(&reader, "列表").is_empty() && paths(&reader, "parse_config").len() == 1,
            "a reader keeps its generation"
        );

        let generation = store.snapshot().generation;
        let again = run(&mut store, project.path(), &mut model);
        assert_eq!((again.files_changed, again.generation), (0, generation), "once");
        drop(store);
        check_upgraded(&Store::open(index.path()).unwrap());
    }
}

/// What is true of the upgrade of an index holds for a file that changed or went meanwhile, too.
#[test]
fn what_changed_since_is_brought_in_with_the_upgrade() {
    let (project, index) = (make_project(), tempfile::tempdir().unwrap());
    copy_dir(&fixture(), index.path());
    std::fs::write(project.path().join("src/orders.py"), "def 支付(订单号):\n    return 订单号\n").unwrap();
    std::fs::remove_file(project.path().join("docs/guide.md")).unwrap();
    let (mut store, mut model) = (Store::open(index.path()).unwrap(), Model::default());
    let report = run(&mut store, project.path(), &mut model);
    assert_eq!((report.embedded, report.files_removed), (1, 1));
    let snapshot = store.snapshot();
    assert!(paths(&snapshot, "할인").is_empty() && paths(&snapshot, "用户").is_empty());
    assert_eq!(paths(&snapshot, "支付").len(), 1);
    store.verify().unwrap();
}
