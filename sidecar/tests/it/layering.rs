//! Who may use what: the table of ARCHITECTURE.md, enforced.

use std::path::{Path, PathBuf};

use crate::support::repository;

/// One crate's direct dependencies. What is not allowed is forbidden; `never` says why for the likely ones.
struct Rule {
    name: &'static str,
    manifest: &'static str,
    allowed: &'static [&'static str],
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "the addon",
        manifest: "Cargo.toml",
        allowed: &["napi", "napi-derive", "offheap-protocol", "serde_json", "tokio"],
        never: &["offheap-engine", "candle-core", "candle-nn", "tantivy", "tokenizers"],
    },
    Rule {
        name: "protocol",
        manifest: "sidecar/protocol/Cargo.toml",
        allowed: &[
            "bincode",
            "getrandom",
            "interprocess",
            "rustix",
            "semver",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "windows-sys",
        ],
        never: &["offheap-engine", "napi", "clap"],
    },
    Rule {
        name: "engine",
        manifest: "sidecar/engine/Cargo.toml",
        allowed: &[
            "candle-core",
            "candle-nn",
            "cap-fs-ext",
            "cap-std",
            "gix-glob",
            "gix-ignore",
            "grep-matcher",
            "grep-regex",
            "grep-searcher",
            "half",
            "hmac",
            "ignore",
            "instant-distance",
            "libc",
            "memmap2",
            "miniz_oxide",
            "rayon",
            "redb",
            "rustix",
            "serde",
            "serde_json",
            "sha2",
            "stable_deref_trait",
            "tantivy",
            "thiserror",
            "tree-sitter",
            "unicode-normalization",
        ],
        never: &["tokio", "interprocess", "napi", "clap", "offheap-protocol", "bincode"],
    },
    Rule {
        name: "the sidecar",
        manifest: "sidecar/Cargo.toml",
        allowed: &[
            "anyhow",
            "clap",
            "getrandom",
            "hf-hub",
            "indicatif",
            "libc",
            "notify",
            "offheap-engine",
            "offheap-protocol",
            "rmcp",
            "rustix",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "windows-sys",
        ],
        never: &["napi", "napi-derive", "bincode", "interprocess"],
    },
];

/// What a manifest breaks, one line each.
fn violations(rule: &Rule, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    dependencies(&manifest)
        .into_iter()
        .filter(|name| !rule.allowed.contains(&name.as_str()))
        .map(|name| {
            let how = if rule.never.contains(&name.as_str()) { "must never use" } else { "may not use" };
            format!("{} {how} `{name}` (never: {})", rule.name, rule.never.join(", "))
        })
        .collect()
}

/// Direct normal dependencies by package name, those of single platforms included.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let tables = manifest.get("target").and_then(|target| target.as_table()).into_iter().flatten();
    let tables = tables.filter_map(|(_, table)| table.get("dependencies")).chain(manifest.get("dependencies"));
    let names = tables.filter_map(|table| table.as_table()).flatten();
    names.map(|(key, spec)| spec.get("package").and_then(|name| name.as_str()).unwrap_or(key).to_owned()).collect()
}

#[test]
fn manifests_keep_to_the_table() {
    let broken: Vec<String> = RULES
        .iter()
        .flat_map(|rule| {
            let text = std::fs::read_to_string(repository().join(rule.manifest)).expect("each crate has a manifest");
            assert!(!dependencies(&text.parse().expect("TOML")).is_empty(), "{} has no dependencies?", rule.name);
            violations(rule, &text)
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn renames_would_hide_dependencies() {
    // `violations` reads one manifest at a time; a rename in the workspace's table would fool it.
    let root = std::fs::read_to_string(repository().join("Cargo.toml")).expect("exists");
    let root: toml::Table = root.parse().expect("TOML");
    let table = root["workspace"]["dependencies"].as_table().expect("a table");
    for (name, spec) in table {
        assert!(spec.get("package").is_none(), "workspace dependency `{name}` is renamed");
    }
}

#[test]
fn the_check_finds_what_it_looks_for() {
    let find = |name: &str, manifest: &str| {
        let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule");
        violations(rule, manifest)
    };
    let bad = find("engine", "[dependencies]\ntantivy.workspace = true\ntokio = { workspace = true }\n");
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].starts_with("engine must never use `tokio` (never: tokio, interprocess"), "{bad:?}");
    let bad = find("the addon", "[dependencies]\nnapi = \"3\"\n[target.'cfg(unix)'.dependencies]\ntantivy = \"1\"\n");
    assert!(bad.len() == 1 && bad[0].contains("`tantivy`"), "{bad:?}");
    let bad = find("the sidecar", "[dependencies]\nharmless = { package = \"napi\", version = \"3\" }\n");
    assert!(bad.len() == 1 && bad[0].contains("must never use `napi`"), "{bad:?}");
    assert_eq!(find("protocol", "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nclap = \"4\"\n"), [""; 0]);
}

/// Lines of product code below a directory: no comments, nothing from `#[cfg(test)]` on.
fn code(dir: &str) -> Vec<(PathBuf, usize, String)> {
    fn files(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("a source directory").flatten() {
            let path = entry.path();
            match path.extension() {
                _ if path.is_dir() => files(&path, out),
                Some(extension) if extension == "rs" => out.push(path),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    files(&repository().join(dir), &mut all);
    all.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    let mut lines = Vec::new();
    for path in all {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let product = text.split("\n#[cfg(test)]\nmod ").next().expect("split gives at least one");
        for (at, line) in product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            lines.push((path.clone(), at + 1, line.to_owned()));
        }
    }
    assert!(lines.len() > 100, "{dir} has only {} lines?", lines.len());
    lines
}

/// Fails where a line below `dir` holds one of `words`, except in the files of `but`.
#[track_caller]
fn nobody_says(dir: &str, words: &[&str], but: &[&str]) {
    let bad: Vec<String> = code(dir)
        .into_iter()
        .filter(|(path, ..)| !but.iter().any(|file| path.ends_with(file)))
        .filter(|(.., line)| words.iter().any(|word| line.contains(word)))
        .map(|(path, at, line)| format!("{}:{at}: {}", path.display(), line.trim()))
        .collect();
    assert!(bad.is_empty(), "only {but:?} below {dir} may say {words:?}:\n{}", bad.join("\n"));
}

#[test]
fn one_file_knows_the_encoding_and_two_the_socket() {
    nobody_says("sidecar/protocol/src", &["bincode"], &["protocol/src/codec.rs"]);
    let sockets = [
        "connection/mod.rs",
        "connection/frame.rs",
        "connection/local.rs",
        "connection/named_pipe.rs",
        "connection/stdio.rs",
        "connection/tcp.rs",
        "client/mod.rs",
        "client/shared.rs",
        "client/frames.rs",
        "client/keepalive.rs",
        "client/call.rs",
        "client/embed.rs",
        "client/connect.rs",
    ];
    nobody_says("sidecar/protocol/src", &["tokio", "interprocess"], &sockets);
}

#[test]
fn the_engine_neither_prints_nor_reads_the_environment() {
    let words = ["std::env", "env::var", "print!(", "println!(", "dbg!(", "tokio", "offheap_protocol"];
    nobody_says("sidecar/engine/src", &words, &[]);
}

#[test]
fn the_sidecar_knows_no_node_and_the_addon_no_engine() {
    nobody_says("sidecar/src", &["napi"], &[]);
    nobody_says("src", &["offheap_engine", "tantivy", "candle"], &[]);
}

/// Files of a project are reached through `engine/src/disk`, which follows no link; a path handed to the system anywhere
/// else could lead to a stranger's choice of file. Listed are the files that touch none of a project's, each with what it
/// touches instead.
#[test]
fn only_the_disk_module_reaches_into_a_project() {
    const ELSEWHERE: &[(&str, &str)] = &[
        ("engine/src/disk/", "the module itself"),
        ("engine/src/gguf/", "a model file that the user named"),
        ("engine/src/fingerprint.rs", "the runtime directory"),
        ("engine/src/store/place.rs", "a directory that the caller vouches for"),
        ("engine/src/vector/format_1.rs", "a path given by a test"),
        ("engine/src/vector/segment.rs", "a path given by a test or a bench"),
        ("engine/src/vector/write.rs", "a path given by a test or a bench"),
        ("engine/src/chunk/samples.rs", "the samples of a test"),
        ("engine/src/walk/tests.rs", "a test's own tree"),
        ("engine/src/grep.rs", "a test's own tree"),
        ("engine/src/kernel/tests/", "a test's own model"),
        ("engine/src/text/symbols.rs", "names in a test"),
        ("engine/src/rank/question.rs", "names in a test"),
        ("src/daemon/", "the runtime directory"),
        ("src/log.rs", "the runtime directory"),
        ("src/os/", "/proc/self, the null device"),
        ("src/secret.rs", "the user's state directory"),
        ("src/model/file.rs", "model files of packages and of the Hugging Face cache"),
        ("src/config/tests.rs", "a test's own files"),
        ("src/schema_file.rs", "tests only: the repository's schemas"),
        ("src/cli/doctor/", "the runtime directory, /proc/sys"),
        ("src/cli/restart.rs", "/proc"),
    ];
    const CALLS: &[&str] = &[
        "fs::read",
        "fs::write",
        "fs::remove",
        "fs::rename",
        "fs::create_dir",
        "fs::copy",
        "fs::hard_link",
        "File::open",
        "File::create",
        "OpenOptions::new",
        "remove_dir_all",
        "DirBuilder",
    ];
    let sidecar = repository().join("sidecar");
    let mut files = Vec::new();
    for folder in ["engine/src", "src"] {
        source_files(&sidecar.join(folder), &mut files);
    }
    assert!(files.len() > 80, "the source is found: {}", files.len());
    let mut found = Vec::new();
    for file in files {
        let rel = file.strip_prefix(&sidecar).expect("below it").to_str().expect("UTF-8").replace('\\', "/");
        if ELSEWHERE.iter().any(|(allowed, _)| rel == *allowed || allowed.ends_with('/') && rel.starts_with(allowed)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (n, line) in code.filter(|(_, line)| CALLS.iter().any(|call| line.contains(call))) {
            found.push(format!("{rel}:{}: {}", n + 1, line.trim()));
        }
    }
    assert!(found.is_empty(), "use offheap_engine::disk:\n{}", found.join("\n"));
}

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
