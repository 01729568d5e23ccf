//! Packs the grammars. A parser is mostly tables: 40 MB for these languages, which compress to a twentieth.
//!
//! The crates of the grammars are build dependencies: cargo fetches and pins them, and only their C sources are used.
//! Their large tables are cut out of `parser.c`, evaluated and compressed; what remains (the lexer, the small tables)
//! is compiled with empty large tables, which `chunk/packed.rs` fills at the first use of a language.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Grammars that a crate of the build dependencies holds besides the one that is wanted: PHP without the HTML around
/// it.
const LEFT_OUT: &[&str] = &["php_only"];

/// The tables that are packed, as `parser.c` declares them, and the bytes of an entry.
const TABLES: [(&str, &str, usize); 3] = [
    ("uint16_t", "ts_parse_table[LARGE_STATE_COUNT][SYMBOL_COUNT]", 2),
    ("uint16_t", "ts_small_parse_table[]", 2),
    ("uint32_t", "ts_small_parse_table_map[]", 4),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut declared = String::from("unsafe extern \"C\" {\n");
    let mut statics = String::new();
    for (name, sources) in &grammars() {
        let lengths = pack(sources, name, &out);
        let _ = writeln!(declared, "    fn tree_sitter_{name}() -> *const tree_sitter::ffi::TSLanguage;");
        let _ = writeln!(declared, "    fn offheap_{name}_table(which: u32) -> *mut u8;");
        let _ = writeln!(
            statics,
            "pub(super) static {}: Packed = Packed {{ language: tree_sitter_{name}, table: offheap_{name}_table, \
             lengths: {lengths:?}, \
             packed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.tables\")), filled: Once::new() }};",
            name.to_uppercase(),
        );
    }
    fs::write(out.join("grammars.rs"), format!("{declared}}}\n{statics}")).expect("the build folder is writable");
}

/// The grammars in the `tree-sitter-*` crates that this crate builds with: the name of the C function after
/// `tree_sitter_`, and the folder of its sources.
fn grammars() -> BTreeMap<String, PathBuf> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let package = |name: &str| packages.iter().find(|package| package["name"] == name).expect("a package of the graph");
    let own = package(&env::var("CARGO_PKG_NAME").expect("cargo sets CARGO_PKG_NAME"));
    let dependencies = own["dependencies"].as_array().expect("a list of dependencies");
    let mut grammars = BTreeMap::new();
    for dependency in dependencies.iter().filter(|dependency| dependency["kind"] == "build") {
        let name = dependency["name"].as_str().expect("a name");
        if !name.starts_with("tree-sitter-") {
            continue;
        }
        let manifest = Path::new(package(name)["manifest_path"].as_str().expect("a path"));
        let found = in_folder(manifest.parent().expect("a manifest is in a folder"));
        assert!(!found.is_empty(), "{name} has no parser.c");
        grammars.extend(found);
    }
    grammars.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    grammars
}

/// The grammars of one crate: in `src`, or in a folder for each.
fn in_folder(folder: &Path) -> Vec<(String, PathBuf)> {
    let inner = fs::read_dir(folder).expect("the sources of a crate").flatten().map(|entry| entry.path().join("src"));
    let sources = inner.chain([folder.join("src")]).filter(|sources| sources.join("parser.c").is_file());
    let named = |sources: PathBuf| {
        let parser = fs::read_to_string(sources.join("parser.c")).expect("readable");
        let (_, rest) = parser.rsplit_once("TSLanguage *tree_sitter_").expect("a parser has its function");
        let name = rest.split('(').next().expect("split gives at least one");
        (name.to_owned(), sources)
    };
    sources.map(named).collect()
}

/// Cargo's metadata of the packages of this build.
fn metadata() -> serde_json::Value {
    let host = env::var("HOST").expect("cargo sets HOST");
    let output = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &host])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

/// Compiles one grammar without its large tables and writes these, compressed, to `out`; returns the bytes of each.
fn pack(sources: &Path, name: &str, out: &Path) -> [usize; 3] {
    let parser = fs::read_to_string(sources.join("parser.c")).expect("every grammar has a parser.c");
    let mut cut = parser.clone();
    let names = constants(&parser);
    let large_states = names["LARGE_STATE_COUNT"];
    let mut tables = Vec::new();
    let lengths = TABLES.map(|(of, declaration, size)| {
        let head = format!("static const {of} {declaration} = {{\n");
        let start = parser.find(&head).unwrap_or_else(|| panic!("{name}: no `{head}`"));
        let length = parser[start..].find("\n};\n").expect("a table ends");
        let body = &parser[start + head.len()..start + length];
        let row = if size == 2 && declaration.contains("][") { names["SYMBOL_COUNT"] } else { 1 };
        let mut values = evaluate(body, row, &names, large_states);
        if 1 < row {
            values.resize(large_states * row, 0); // rows may end in zeros
        }
        for value in &values {
            tables.extend_from_slice(&value.to_le_bytes()[..size]);
        }
        let (word, _) = declaration.split_once('[').expect("tables are arrays");
        let room = if 1 < row {
            format!("static {of} {declaration};\n")
        } else {
            format!("static {of} {word}[{}];\n", values.len())
        };
        cut = cut.replacen(&parser[start..start + length + 4], &room, 1);
        values.len() * size
    });
    let _ = write!(
        cut,
        "\nvoid *offheap_{name}_table(uint32_t which) {{\n  switch (which) {{\n    case 0: return ts_parse_table;\n    \
         case 1: return ts_small_parse_table;\n    default: return ts_small_parse_table_map;\n  }}\n}}\n"
    );
    fs::write(out.join(format!("{name}.tables")), miniz_oxide::deflate::compress_to_vec(&tables, 9)).expect("writable");
    let small = out.join(format!("{name}.c"));
    fs::write(&small, cut).expect("writable");

    let mut build = cc::Build::new();
    // Not -O3: nearly all of it is tables and one big switch.
    build.std("c11").opt_level(2).flag_if_supported("-utf-8").warnings(false).include(sources).file(small);
    if sources.join("scanner.c").exists() {
        build.file(sources.join("scanner.c"));
    }
    build.compile(&format!("offheap_grammar_{name}"));
    lengths
}

/// The numbers that `parser.c` gives names: `#define NAME 1` and `name = 1,` in an enumeration.
fn constants(parser: &str) -> HashMap<&str, usize> {
    let mut names = HashMap::from([("ts_builtin_sym_end", 0)]);
    for line in parser.lines() {
        let defined = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '));
        let listed = || line.strip_prefix("  ")?.strip_suffix(',')?.split_once(" = ");
        if let Some((name, value)) = defined.or_else(listed)
            && let Ok(value) = value.trim().parse()
        {
            names.insert(name, value);
        }
    }
    names
}

/// The entries of a table, from its text: `[index] = value, value, …`, in rows of `row` entries where it has rows.
/// `SMALL_STATE(n)` counts from the first state that is not large; `STATE(n)` and `ACTIONS(n)` are `n`.
fn evaluate(body: &str, row: usize, names: &HashMap<&str, usize>, large_states: usize) -> Vec<u32> {
    let number = |text: &str| -> usize {
        let text = text.trim();
        if let Ok(value) = text.parse() {
            return value;
        }
        match text.strip_suffix(')').and_then(|call| call.split_once('(')) {
            Some(("SMALL_STATE", of)) => of.parse::<usize>().expect("a state") - large_states,
            Some(("STATE" | "ACTIONS", of)) => of.parse().expect("a number"),
            _ => *names.get(text).unwrap_or_else(|| panic!("`{text}` has no value")),
        }
    };
    let mut values: Vec<u32> = Vec::new();
    let (mut row_start, mut at) = (0, 0);
    for item in body.split(',') {
        let mut item = item.trim().trim_start_matches('}').trim();
        while let Some((index, rest)) = item.strip_prefix('[').and_then(|rest| rest.split_once("] =")) {
            let rest = rest.trim();
            if let Some(rest) = rest.strip_prefix('{') {
                (row_start, at, item) = (number(index) * row, 0, rest.trim());
            } else {
                (at, item) = (number(index), rest);
            }
        }
        if item.is_empty() {
            continue;
        }
        if values.len() <= row_start + at {
            values.resize(row_start + at + 1, 0);
        }
        values[row_start + at] = u32::try_from(number(item)).expect("entries are small");
        at += 1;
    }
    values
}
