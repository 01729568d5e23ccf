//! Files of many languages, indexed as they are on disk: names and embedded languages are found where they stand.

use std::path::Path;

use offheap_engine::Error;
use offheap_engine::disk::Tree;
use offheap_engine::index::{self, Host, Phase, Settings};
use offheap_engine::kernel;
use offheap_engine::rank::Weights;
use offheap_engine::search::{self, Hit, Query};
use offheap_engine::store::{Filter, Snapshot, Space, Store};

/// Gives every text the same vector.
struct OneVector;

impl Host for OneVector {
    type Error = Error;

    fn space(&mut self) -> Result<Space, Error> {
        Ok(Space { id: "test:4".into(), dim: 4 })
    }

    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), Error> {
        Ok(([1.0, 0.0, 0.0, 0.0].repeat(texts.len()), 0))
    }

    fn progress(&mut self, _: Phase, _: u64, _: u64, _: &str) {}

    fn committed(&mut self, _: &Store) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// A project on disk, and its index.
struct Project {
    root: tempfile::TempDir,
    _data: tempfile::TempDir,
    store: Store,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let (root, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (rel, text) in files {
            let path = root.path().join(rel);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut store = Store::open(data.path().join("index").as_path()).unwrap();
        index::run(&mut store, &tree(root.path()), &Settings::default(), &mut OneVector).unwrap();
        Project { root, _data: data, store }
    }

    fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.store.snapshot()
    }

    /// `path:line name fit` of the best definition.
    fn symbol(&self, name: &str) -> String {
        let snapshot = self.snapshot();
        let (found, _) = search::symbols(&snapshot, &tree(self.root.path()), name, &Filter::default(), 5).unwrap();
        found.first().map_or("nothing".into(), |shown| {
            let (chunk, symbol) = (&shown.found.chunk, &shown.found.symbol);
            format!("{}:{} {} {}", chunk.rel, symbol.line, symbol.name, shown.found.fit.as_str())
        })
    }

    fn hits(&self, text: &str, with_vectors: bool) -> Vec<Hit> {
        let vector = [1.0, 0.0, 0.0, 0.0];
        let query = Query { vector: with_vectors.then_some(&vector[..]), ..query(text) };
        let kernel = kernel::choose(None).expect("portable always runs");
        search::search(&self.snapshot(), &tree(self.root.path()), &query, kernel).unwrap()
    }
}

fn tree(root: &Path) -> Tree {
    Tree::open(root).unwrap()
}

/// Each name is found exactly, by each spelling, and is the first hit of text and hybrid search.
#[test]
fn names_are_found_as_their_language_writes_them() {
    const FILES: &[(&str, &str)] = &[
        (
            "ptr.cpp",
            "struct Ptr {\n  T* operator->() const { return p; }\n  operator std::string const&() const { return s; }\n  bool operator==(const Ptr& o) const { return true; }\n};\nlong double operator\"\"_km(long double v) { return v; }\nvoid* operator new[](size_t n) { return 0; }\n",
        ),
        (
            "user.rb",
            "class User\n  def name=(value)\n    @name = value\n  end\n  def valid?\n    true\n  end\n  def <=>(other)\n    0\n  end\nend\n",
        ),
        ("fold.hs", "module Fold where\n\nfoldl' f z [] = z\n\n(<$$>) xs f = fmap f xs\n\nx `plus` y = x + y\n"),
        ("api.kt", "class ApiTest {\n  fun `returns 404 when missing`() {\n    check(1)\n  }\n}\n"),
        ("raw.rs", "pub fn r#type() {}\n\npub fn r#match() {}\n"),
        (
            "counter.js",
            "class Counter {\n  #priv() { return 1 }\n  'content-type'() { return 2 }\n  [Symbol.iterator]() { return 3 }\n}\n",
        ),
        ("lib.sh", "ns::do_it() {\n  echo 1\n}\n\nmy-func() {\n  echo 2\n}\n"),
        ("list.scala", "class Item {\n  def unary_! : Boolean = true\n  def `odd name`(x: Int) = 1\n}\n"),
        (
            "event.cs",
            "class @event {\n  public int this[int i] { get { return 1; } }\n  public static V operator +(V a, V b) => a;\n}\n",
        ),
        ("odd.zig", "pub fn @\"quoted name\"() void {}\n"),
        (
            "other.py",
            "def other():\n    return 'type, name, valid, priv, missing, plus, event'\n\n\ndef operator_name():\n    pass\n",
        ),
    ];
    const LONG: &str = "returns the page of the last order that was paid when the customer has no open orders left and the shop is closed on that day";
    let long = format!("fun `{LONG}`() = 1\n");
    let project = Project::new(&[FILES, &[("long.kt", &long)]].concat());
    for (asked, expected) in [
        ("operator->", "ptr.cpp:2 operator->"),
        ("Ptr::operator->", "ptr.cpp:2 operator->"),
        ("operator std::string const&", "ptr.cpp:3 operator std::string const&"),
        ("operator ==", "ptr.cpp:4 operator=="),
        ("operator\"\"_km", "ptr.cpp:6 operator\"\"_km"),
        ("operator new[]", "ptr.cpp:7 operator new[]"),
        ("name=", "user.rb:2 name="),
        ("User#name=", "user.rb:2 name="),
        ("valid?", "user.rb:5 valid?"),
        ("<=>", "user.rb:8 <=>"),
        ("foldl'", "fold.hs:3 foldl'"),
        ("Fold.foldl'", "fold.hs:3 foldl'"),
        ("<$$>", "fold.hs:5 <$$>"),
        ("(<$$>)", "fold.hs:5 <$$>"),
        ("`plus`", "fold.hs:7 plus"),
        ("returns 404 when missing", "api.kt:2 `returns 404 when missing`"),
        ("`returns 404 when missing`", "api.kt:2 `returns 404 when missing`"),
        ("r#type", "raw.rs:1 r#type"),
        ("type", "raw.rs:1 r#type"),
        ("match", "raw.rs:3 r#match"),
        ("#priv", "counter.js:2 #priv"),
        ("priv", "counter.js:2 #priv"),
        ("content-type", "counter.js:3 content-type"),
        ("'content-type'", "counter.js:3 content-type"),
        ("Symbol.iterator", "counter.js:4 [Symbol.iterator]"),
        ("[Symbol.iterator]", "counter.js:4 [Symbol.iterator]"),
        ("ns::do_it", "lib.sh:1 ns::do_it"),
        ("my-func", "lib.sh:5 my-func"),
        ("unary_!", "list.scala:2 unary_!"),
        ("odd name", "list.scala:3 `odd name`"),
        ("event", "event.cs:1 @event"),
        ("@event", "event.cs:1 @event"),
        ("this[]", "event.cs:2 this[]"),
        ("operator +", "event.cs:3 operator +"),
        ("quoted name", "odd.zig:1 @\"quoted name\""),
        ("@\"quoted name\"", "odd.zig:1 @\"quoted name\""),
        ("operator_name", "other.py:5 operator_name"),
    ] {
        assert_eq!(project.symbol(asked), format!("{expected} exact"), "{asked}");
        let file = expected.split(':').next().unwrap();
        for with_vectors in [false, true] {
            let hits = project.hits(asked, with_vectors);
            assert_eq!(hits.first().map(|hit| hit.chunk.rel.as_str()), Some(file), "{asked}, vectors: {with_vectors}");
        }
    }
    assert_eq!(project.symbol(LONG), format!("long.kt:1 `{LONG}` exact"));
    assert_eq!(project.symbol("VALID?"), "user.rb:5 valid? case");
    assert_eq!(project.symbol("returns 404"), "api.kt:2 `returns 404 when missing` prefix");
    assert_eq!(project.symbol("name"), "user.rb:2 name= prefix");
}

/// `language first-last path` of the first hit under a filter, with its text.
fn first(project: &Project, text: &str, languages: &[&str]) -> (String, String) {
    let filter = Filter { languages: languages.iter().map(|name| (*name).to_owned()).collect(), ..Filter::default() };
    let query = Query { filter, ..query(text) };
    let kernel = kernel::choose(None).expect("portable always runs");
    let hits = search::search(&project.snapshot(), &tree(project.root.path()), &query, kernel).unwrap();
    hits.first().map_or_else(Default::default, |hit| {
        let chunk = &hit.chunk;
        (format!("{} {}-{} {}", chunk.language, chunk.first_line, chunk.last_line, chunk.rel), hit.text.clone())
    })
}

fn query(text: &str) -> Query<'_> {
    Query {
        text,
        use_text: true,
        vector: None,
        filter: Filter::default(),
        limit: 5,
        explain: false,
        weights: Weights::default(),
    }
}

#[test]
fn code_inside_of_other_files_is_found_under_both_languages() {
    let notebook = concat!(
        "{\n \"cells\": [\n  {\n   \"cell_type\": \"code\",\n   \"outputs\": [{\"text\": \"output_only\"}],\n   \"source\": [\n",
        "    \"def load_stations(path):\\n\",\n    \"    return read(\\\"a\\\", path)\"\n   ]\n  }\n ],\n \"metadata\": {}\n}\n"
    );
    let cart = "<script lang=\"ts\">\nexport function totalPrice(rate: number) {\n  return rate\n}\n</script>\n\n<template>\n  <p>Nothing here</p>\n</template>\n";
    let readme = "# Cart\n\nUse it so:\n\n```ts\nfunction totalPrice(rate: string) {}\nfunction onlyShown() {}\n```\n";
    let project = Project::new(&[("weather.ipynb", notebook), ("src/Cart.vue", cart), ("README.md", readme)]);

    let (place, text) = first(&project, "load_stations", &[]);
    assert_eq!(place, "python 7-8 weather.ipynb");
    assert_eq!(text, "def load_stations(path):\n    return read(\"a\", path)", "code, not JSON");
    for languages in [["python"], ["jupyter-notebook"]] {
        assert_eq!(first(&project, "load_stations", &languages).0, place, "{languages:?}");
    }
    assert_eq!(first(&project, "output_only", &["python"]).0, "", "outputs are left out");
    assert_eq!(project.symbol("load_stations"), "weather.ipynb:7 load_stations exact");

    for languages in [&[][..], &["typescript"], &["vue"]] {
        assert_eq!(first(&project, "totalPrice", languages).0, "typescript 1-5 src/Cart.vue", "{languages:?}");
    }
    assert_eq!(project.symbol("totalPrice"), "src/Cart.vue:2 totalPrice exact", "before the example");
    assert_eq!(project.symbol("onlyShown"), "README.md:7 onlyShown exact");
    for languages in [["typescript"], ["markdown"]] {
        assert_eq!(first(&project, "onlyShown", &languages).0, "markdown 1-8 README.md", "{languages:?}");
    }
}

/// Pictures make most notebooks longer than what is parsed; their cells are short.
#[test]
fn a_long_notebook_counts_by_its_cells() {
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ".repeat(40_000);
    let notebook = format!(
        "{{\"cells\": [{{\"cell_type\": \"code\", \"outputs\": [{{\"data\": {{\"image/png\": \"{picture}\"}}}}],\n\"source\": \
         [\"def plot_rain(rows):\\n\", \"    return draw(rows)\"]}}], \"metadata\": {{}}}}"
    );
    let mut project = Project::new(&[("rain.ipynb", &notebook)]);
    assert_eq!(project.symbol("plot_rain"), "rain.ipynb:2 plot_rain exact");
    let (place, text) = first(&project, "plot_rain", &["python"]);
    assert_eq!(
        (place.as_str(), text.as_str()),
        ("python 2-2 rain.ipynb", "def plot_rain(rows):\n    return draw(rows)")
    );
    assert!(project.store.pending().unwrap().is_empty(), "it has its vector");
    let root = tree(project.root.path());
    let report = index::run(&mut project.store, &root, &Settings::default(), &mut OneVector).unwrap();
    assert_eq!((report.files, report.files_changed, report.embedded), (1, 0, 0));
}

#[test]
fn payload_is_found_by_no_word() {
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ".repeat(20);
    let style = format!(".logo {{ background: url(data:image/png;base64,{picture}); }}\n.after {{ top: 0 }}\n");
    let project = Project::new(&[("logo.css", &style)]);
    let (place, text) = first(&project, "logo background", &[]);
    assert!(place.starts_with("css 1-") && !text.contains("iVBOR"), "{place}: {text}");
    assert!(!first(&project, "after", &[]).0.is_empty());
}
