//! Which crate may use which, and which files may use what, as ARCHITECTURE.md says.

use crate::source::{SourceFile, source_files};
use crate::support::repository;

const ADDON: &str = "src/lib.rs";
const PROTOCOL: &str = "sidecar/protocol/src/lib.rs";
const ENGINE: &str = "sidecar/engine/src/lib.rs";
const SIDECAR: &str = "sidecar/src/main.rs";

/// The direct dependencies of one crate.
struct Rule {
    name: &'static str,
    manifest: &'static str,
    /// Every dependency. Adding one to the manifest alone fails the test, and so does removing one.
    allowed: &'static [&'static str],
    /// Crates that the architecture forbids. The failure says so, because a crate that is merely new may be added to `allowed`.
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
            "cap-fs-ext",
            "cap-std",
            "chardetng",
            "encoding_rs",
            "gix-glob",
            "gix-ignore",
            "globset",
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
        never: &["tokio", "interprocess", "napi", "clap", "offheap-protocol", "bincode", "candle-core", "candle-nn"],
    },
    Rule {
        name: "the sidecar",
        manifest: "sidecar/Cargo.toml",
        allowed: &[
            "clap",
            "getrandom",
            "hf-hub",
            "indicatif",
            "libc",
            "notify",
            "offheap-engine",
            "offheap-protocol",
            "rustix",
            "serde",
            "serde_json",
            "sha2",
            "strsim",
            "time",
            "tokio",
            "windows-sys",
        ],
        never: &["napi", "napi-derive", "bincode", "interprocess"],
    },
];

/// Every difference between a manifest and its rule, one line each.
fn violations(rule: &Rule, manifest: &str) -> Vec<String> {
    let used = dependencies(&manifest.parse().expect("a manifest is TOML"));
    let not_allowed = used.iter().filter(|name| !rule.allowed.contains(&name.as_str())).map(|name| {
        let how = if rule.never.contains(&name.as_str()) { "must never use" } else { "may not use" };
        format!("{} {how} `{name}`", rule.name)
    });
    let stale = rule.allowed.iter().filter(|name| !used.iter().any(|used| used == *name));
    let stale = stale.map(|name| format!("{} does not use `{name}`, which is allowed to it", rule.name));
    not_allowed.chain(stale).collect()
}

/// The names of the packages that a manifest lists as normal dependencies, including those for single platforms.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let tables = manifest.get("target").and_then(|target| target.as_table()).into_iter().flatten();
    let tables = tables.filter_map(|(_, table)| table.get("dependencies")).chain(manifest.get("dependencies"));
    let names = tables.filter_map(|table| table.as_table()).flatten();
    let packages = names.map(|(key, spec)| spec.get("package").and_then(|name| name.as_str()).unwrap_or(key));
    packages.map(str::to_owned).collect()
}

#[test]
fn each_manifest_lists_exactly_the_allowed_dependencies() {
    let broken: Vec<String> = RULES
        .iter()
        .flat_map(|rule| {
            let text = std::fs::read_to_string(repository().join(rule.manifest)).expect("each crate has a manifest");
            violations(rule, &text)
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn workspace_dependencies_are_not_renamed() {
    // The check of a crate's manifest sees only the name that the workspace table gives to a dependency.
    let root = std::fs::read_to_string(repository().join("Cargo.toml")).expect("the workspace has a manifest");
    let root: toml::Table = root.parse().expect("a manifest is TOML");
    let table = root["workspace"]["dependencies"].as_table().expect("a table");
    for (name, spec) in table {
        assert!(spec.get("package").is_none(), "workspace dependency `{name}` is renamed");
    }
}

#[test]
fn the_check_of_manifests_finds_each_kind_of_difference() {
    let rule = Rule { name: "a crate", manifest: "", allowed: &["serde", "libc"], never: &["napi"] };
    let both = "[dependencies]\nserde.workspace = true\n[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n";
    let find = |more: &str| violations(&rule, &format!("{both}{more}"));
    assert_eq!(find("[dev-dependencies]\nnapi = \"3\"\n"), [""; 0]);
    assert_eq!(find("tantivy = { workspace = true }\n"), ["a crate may not use `tantivy`"]);
    assert_eq!(find("napi = \"3\"\n"), ["a crate must never use `napi`"]);
    assert_eq!(find("harmless = { package = \"napi\", version = \"3\" }\n"), ["a crate must never use `napi`"]);
    let stale = violations(&rule, "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nlibc = \"1\"\n");
    assert_eq!(stale, ["a crate does not use `libc`, which is allowed to it"]);
}

/// A file that a check leaves out, or a folder (with `/` at its end), by its path from the repository; and the reason.
type Exception = (&'static str, &'static str);

fn matches(exception: &Exception, path: &str) -> bool {
    path == exception.0 || exception.0.ends_with('/') && path.starts_with(exception.0)
}

/// Lines of code outside `exceptions` that contain one of `words`, and exceptions that no such line needs. Test code and
/// comments do not count.
fn misplaced(files: &[SourceFile], words: &[&str], exceptions: &[Exception]) -> Vec<String> {
    let mut needed = vec![false; exceptions.len()];
    let mut found = Vec::new();
    for file in files {
        let path = file.relative_path();
        let excepted = exceptions.iter().position(|exception| matches(exception, &path));
        for (number, line) in file.code_lines() {
            if words.iter().any(|word| line.contains(word)) {
                match excepted {
                    Some(i) => needed[i] = true,
                    None => found.push(format!("{path}:{number}: {}", line.trim())),
                }
            }
        }
    }
    let stale = exceptions.iter().zip(needed).filter(|(_, needed)| !needed);
    found.extend(stale.map(|((path, reason), _)| format!("remove the exception {path} ({reason}): nothing needs it")));
    found
}

/// Fails where code of the crate with this root file contains one of `words` outside `exceptions`.
#[track_caller]
fn assert_only_in(exceptions: &[Exception], root: &str, words: &[&str]) {
    let found = misplaced(&source_files(root), words, exceptions);
    assert!(found.is_empty(), "{words:?} in the crate of {root}:\n{}", found.join("\n"));
}

#[test]
fn the_check_of_sources_finds_misplaced_lines_and_stale_exceptions() {
    let parse = |path: &str, text: &str| SourceFile::parse(path.into(), Vec::new(), text.to_owned());
    let files = [
        parse("a.rs", "use tokio::io;\n"),
        parse("folder/b.rs", "use tokio::fs;\n"),
        parse("c.rs", "// tokio\n#[cfg(test)]\nmod tests {\n    use tokio::net;\n}\n"),
    ];
    assert_eq!(misplaced(&files, &["tokio"], &[("folder/", "a reason")]), ["a.rs:1: use tokio::io;"]);
    assert_eq!(misplaced(&files, &["tokio"], &[("folder/b.rs", "a reason"), ("a.rs", "another")]), [""; 0]);
    let stale = misplaced(&files, &["tokio"], &[("folder/", "a reason"), ("a.rs", "another"), ("c.rs", "none")]);
    assert_eq!(stale, ["remove the exception c.rs (none): nothing needs it"]);
}

#[test]
fn only_the_codec_uses_the_encoding() {
    assert_only_in(&[("sidecar/protocol/src/codec.rs", "the encoding")], PROTOCOL, &["bincode"]);
}

#[test]
fn only_the_connection_and_the_client_are_asynchronous() {
    let exceptions = &[("sidecar/protocol/src/connection/", "the socket"), ("sidecar/protocol/src/client/", "calls")];
    assert_only_in(exceptions, PROTOCOL, &["tokio", "interprocess"]);
}

#[test]
fn the_engine_neither_prints_nor_reads_the_environment() {
    let words = ["std::env", "env::var", "print!(", "println!(", "dbg!(", "tokio", "offheap_protocol"];
    assert_only_in(&[], ENGINE, &words);
}

#[test]
fn the_sidecar_does_not_use_node() {
    assert_only_in(&[], SIDECAR, &["napi"]);
}

#[test]
fn the_addon_does_not_use_the_engine() {
    assert_only_in(&[], ADDON, &["offheap_engine", "tantivy", "candle"]);
}

/// Files of a project are opened through `engine/src/disk`, which does not follow symbolic links. Code that opens a file by
/// its path could be led to another file by a link in the repository. The exceptions open no file of a project by its path.
#[test]
fn only_the_disk_module_reaches_into_a_project() {
    const ENGINE_EXCEPTIONS: &[Exception] = &[
        ("sidecar/engine/src/disk/", "the disk module"),
        ("sidecar/engine/src/gguf/file.rs", "a model file that the user named"),
        ("sidecar/engine/src/fingerprint.rs", "the runtime directory"),
        ("sidecar/engine/src/store/place.rs", "a directory that the caller checked"),
        ("sidecar/engine/src/vector/segment.rs", "a path given by a test or a benchmark"),
        ("sidecar/engine/src/vector/write.rs", "a path given by a test or a benchmark"),
    ];
    const SIDECAR_EXCEPTIONS: &[Exception] = &[
        ("sidecar/src/config/cache.rs", "the user's cache directory, which only the user can write"),
        ("sidecar/src/daemon/ownership.rs", "the runtime directory"),
        ("sidecar/src/daemon/runs.rs", "the runtime directory"),
        ("sidecar/src/daemon/sweep.rs", "the runtime directory"),
        ("sidecar/src/log.rs", "the runtime directory"),
        ("sidecar/src/os/", "/proc/self, the null device"),
        ("sidecar/src/secret.rs", "the user's state directory"),
        ("sidecar/src/model/file.rs", "model files of packages and of the Hugging Face cache"),
        ("sidecar/src/cli/doctor/", "the runtime directory, /proc/sys"),
        ("sidecar/src/cli/restart.rs", "/proc"),
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
        "File::options",
        "OpenOptions::new",
        "remove_dir_all",
        "DirBuilder",
    ];
    assert_only_in(ENGINE_EXCEPTIONS, ENGINE, CALLS);
    assert_only_in(SIDECAR_EXCEPTIONS, SIDECAR, CALLS);
}
