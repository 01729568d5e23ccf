//! Which files belong to a project, and the text of each.
//!
//! The rules are those of `.gitignore`, `.ignore` and `.offheapignore`, in or out of a git repository, and do
//! not depend on the user's environment: a global git configuration is not read. Hidden files are left out.
//! Nothing but a regular file is ever opened, and no file is read past the limit.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{DirEntry, WalkBuilder};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// One candidate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path below the root, separated by `/` on every system.
    pub rel: String,
    /// The path to open.
    pub path: PathBuf,
    /// Length in bytes when the tree was walked.
    pub size: u64,
    /// Modification time, nanoseconds since 1970; 0 where the system has none.
    pub mtime_ns: i64,
}

/// Why a file is not source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// Longer than [`WalkRules::max_file_bytes`].
    TooLarge,
    /// Known by its extension, or a NUL in the first 8 KiB.
    Binary,
    /// Written by a tool and known by its name: a lockfile, a minified bundle, a source map.
    Generated,
    /// The content is not UTF-8.
    NotUtf8,
    /// The path is not UTF-8; `rel` is an approximation.
    NonUtf8Path,
    /// A symbolic link; links are not followed.
    Symlink,
    /// A pipe, socket or device, or a folder whose ignore file is one.
    NotAFile,
    /// The system refused.
    Unreadable,
    /// It was there a moment ago.
    Vanished,
}

/// A file that was seen and left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Path below the root, separated by `/`.
    pub rel: String,
    /// Why.
    pub reason: SkipReason,
}

/// What a project adds to the ignore files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkRules {
    /// Longest file that is read.
    pub max_file_bytes: u64,
    /// Gitignore-style globs; when there are any, only files that match one are source. They never bring back
    /// what an ignore file leaves out.
    pub include: Vec<String>,
    /// Gitignore-style globs of what to leave out besides.
    pub exclude: Vec<String>,
}

/// What a walk found. A file that a rule of the project leaves out is in neither list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Sorted by `rel`.
    pub files: Vec<SourceFile>,
    /// Sorted by `rel`.
    pub skipped: Vec<Skipped>,
    /// Folders that were looked into, sorted; the root is empty. Of a part of the tree, those at and below its paths.
    pub folders: Vec<String>,
}

/// SHA-256 of a file's bytes.
pub type ContentHash = [u8; 32];

/// Folders never entered, ignored or not.
pub const PRUNED: &[&str] = &[".git", ".hg", ".svn", ".offheap", "node_modules", "__pycache__"];

/// Files that tools write for tools, by whole name.
const GENERATED: &[&str] = &[
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "composer.lock",
    "flake.lock",
    "go.sum",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];

/// The same, by the end of the lower-cased name.
const GENERATED_ENDS: &[&str] =
    &[".min.js", ".min.mjs", ".min.cjs", ".min.css", ".bundle.js", ".js.map", ".mjs.map", ".cjs.map", ".css.map"];

/// Extensions that are never text: not opened to find out.
#[rustfmt::skip] // a table
const BINARY: &[&str] = &[
    "7z", "a", "avi", "avif", "bin", "bmp", "bz2", "class", "dat", "db", "dll", "dmg", "doc", "docx", "dylib", "eot",
    "exe", "flac", "gguf", "gif", "gz", "heic", "icns", "ico", "jar", "jpeg", "jpg", "lib", "lz4", "mkv", "mov",
    "mp3", "mp4", "node", "npy", "npz", "o", "obj", "ogg", "onnx", "otf", "parquet", "pdf", "png", "ppt", "pptx",
    "psd", "pt", "pth", "pyc", "pyd", "pyo", "rar", "rlib", "rmeta", "safetensors", "so", "sqlite", "sqlite3", "tar",
    "tgz", "tif", "tiff", "ttf", "war", "wasm", "wav", "webm", "webp", "woff", "woff2", "xls", "xlsx", "xz", "zip",
    "zst",
];

/// The names the walker reads rules from: a change of one may change what belongs to the project.
pub const IGNORE_FILES: &[&str] = &[".gitignore", ".ignore", ".offheapignore"];

/// How much of a file is searched for a NUL.
const BINARY_PROBE_BYTES: usize = 8 * 1024;

impl SkipReason {
    /// A stable name for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::TooLarge => "too_large",
            SkipReason::Binary => "binary",
            SkipReason::Generated => "generated",
            SkipReason::NotUtf8 => "not_utf8",
            SkipReason::NonUtf8Path => "non_utf8_path",
            SkipReason::Symlink => "symlink",
            SkipReason::NotAFile => "not_a_file",
            SkipReason::Unreadable => "unreadable",
            SkipReason::Vanished => "vanished",
        }
    }
}

impl Default for WalkRules {
    fn default() -> Self {
        WalkRules { max_file_bytes: 1024 * 1024, include: Vec::new(), exclude: Vec::new() }
    }
}

/// Every file of the project at `root`, without opening one.
///
/// Fails with `Cancelled` when `cancelled` says so, and with `Io` when the root cannot be listed or a glob of
/// `rules` cannot be parsed. Trouble with one file is a [`Skipped`].
pub fn walk(root: &Path, rules: &WalkRules, cancelled: &dyn Fn() -> bool) -> Result<Walk> {
    walk_part(root, rules, None, cancelled)
}

/// The part of [`walk`] at and below `paths`, by the same rules: what is missing from it is not source, or is gone.
///
/// Only the folders above and below these paths are listed.
pub fn walk_paths(
    root: &Path,
    rules: &WalkRules,
    paths: &BTreeSet<String>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Walk> {
    let part = (!paths.contains("")).then(|| Arc::new(paths.clone()));
    walk_part(root, rules, part, cancelled)
}

/// Whether `rel` is one of `paths` or lies below one.
fn is_within(paths: &BTreeSet<String>, rel: &str) -> bool {
    paths.contains(rel) || rel.match_indices('/').any(|(at, _)| paths.contains(&rel[..at]))
}

/// Whether one of `paths` lies below the folder `rel`.
fn leads_to(paths: &BTreeSet<String>, rel: &str) -> bool {
    let below = format!("{rel}/");
    paths
        .range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded))
        .next()
        .is_some_and(|path| path.starts_with(&below))
}

fn walk_part(
    root: &Path,
    rules: &WalkRules,
    part: Option<Arc<BTreeSet<String>>>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Walk> {
    fs::read_dir(root).map_err(|source| Error::io("list", root, source))?;
    if has_odd_ignore_file(root) {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "an ignore file is not a regular file");
        return Err(Error::io("list", root, source));
    }
    let include = globs(root, &rules.include)?;
    let exclude = globs(root, &rules.exclude)?;
    let odd = Arc::new(Mutex::new(Vec::new())); // the filter must own what it writes to
    let mut found = Walk::default();

    for entry in walker(root, exclude, Arc::clone(&odd), part.clone()) {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        match entry {
            Ok(entry) if entry.depth() == 0 || entry.file_type().is_some_and(|kind| kind.is_dir()) => {
                let (rel, exact) = rel_of(root, entry.path());
                if exact && part.as_ref().is_none_or(|paths| is_within(paths, &rel)) {
                    found.folders.push(rel);
                }
            }
            Ok(entry) => {
                if include.as_ref().is_some_and(|globs| !covers(globs, root, entry.path(), false)) {
                    continue;
                }
                match candidate(root, &entry, rules) {
                    Ok(file) => found.files.push(file),
                    Err(skipped) => found.skipped.push(skipped),
                }
            }
            Err(error) => {
                if let Some(path) = path_of(&error) {
                    let reason = error.io_error().map_or(SkipReason::Unreadable, reason_of);
                    found.skipped.push(Skipped { rel: rel_of(root, path).0, reason });
                }
            }
        }
    }

    found.skipped.append(&mut odd.lock().unwrap_or_else(PoisonError::into_inner));
    found.files.sort_by(|a, b| a.rel.cmp(&b.rel));
    found.skipped.sort_by(|a, b| a.rel.cmp(&b.rel));
    found.folders.sort();
    Ok(found)
}

/// The file's text, byte for byte (a byte-order mark stays), or why it is not source.
pub fn read_source(path: &Path, rules: &WalkRules) -> std::result::Result<String, SkipReason> {
    check_kind(&fs::symlink_metadata(path).map_err(|error| reason_of(&error))?)?;
    let file = open_without_waiting(path).map_err(|error| reason_of(&error))?;
    let metadata = file.metadata().map_err(|error| reason_of(&error))?;
    check_kind(&metadata)?; // it may have been replaced between the two
    if rules.max_file_bytes < metadata.len() {
        return Err(SkipReason::TooLarge);
    }

    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    let limit = rules.max_file_bytes.saturating_add(1); // one more, to notice a file that grows meanwhile
    file.take(limit).read_to_end(&mut bytes).map_err(|error| reason_of(&error))?;
    if rules.max_file_bytes < bytes.len() as u64 {
        return Err(SkipReason::TooLarge);
    }
    if bytes[..bytes.len().min(BINARY_PROBE_BYTES)].contains(&0) {
        return Err(SkipReason::Binary);
    }
    String::from_utf8(bytes).map_err(|_| SkipReason::NotUtf8)
}

/// The identity of a file's content.
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    Sha256::digest(bytes).into()
}

fn walker(
    root: &Path,
    exclude: Option<Gitignore>,
    odd: Arc<Mutex<Vec<Skipped>>>,
    part: Option<Arc<BTreeSet<String>>>,
) -> ignore::Walk {
    // Rules above the root count inside a repository only, and only up to its top: a `*` in the `.gitignore` of
    // a home directory must not empty every project below it.
    let top = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let below_repository =
        !top.join(".git").exists() && top.ancestors().skip(1).any(|folder| folder.join(".git").exists());
    let owned_root = root.to_path_buf();
    WalkBuilder::new(root)
        .follow_links(false)
        .git_global(false)
        .parents(below_repository)
        .require_git(below_repository)
        .add_custom_ignore_filename(".offheapignore")
        .filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            if let Some(paths) = &part {
                let (rel, _) = rel_of(&owned_root, entry.path());
                if !(is_within(paths, &rel) || is_dir && leads_to(paths, &rel)) {
                    return false;
                }
            }
            if is_dir && PRUNED.iter().any(|name| entry.file_name() == OsStr::new(name)) {
                return false;
            }
            if exclude.as_ref().is_some_and(|globs| covers(globs, &owned_root, entry.path(), is_dir)) {
                return false;
            }
            if is_dir && has_odd_ignore_file(entry.path()) {
                let skipped = Skipped { rel: rel_of(&owned_root, entry.path()).0, reason: SkipReason::NotAFile };
                odd.lock().unwrap_or_else(PoisonError::into_inner).push(skipped);
                return false;
            }
            true
        })
        .build()
}

fn candidate(root: &Path, entry: &DirEntry, rules: &WalkRules) -> std::result::Result<SourceFile, Skipped> {
    let (rel, exact) = rel_of(root, entry.path());
    let judge = || {
        if !exact {
            return Err(SkipReason::NonUtf8Path);
        }
        if let Some(kind) = entry.file_type() {
            if kind.is_symlink() {
                return Err(SkipReason::Symlink);
            }
            if !kind.is_file() {
                return Err(SkipReason::NotAFile);
            }
        }
        if let Some(reason) = reason_by_name(&rel) {
            return Err(reason);
        }
        let metadata = entry.metadata().map_err(|error| error.io_error().map_or(SkipReason::Unreadable, reason_of))?;
        check_kind(&metadata)?;
        if rules.max_file_bytes < metadata.len() {
            return Err(SkipReason::TooLarge);
        }
        Ok((metadata.len(), mtime_ns(&metadata)))
    };
    match judge() {
        Ok((size, mtime_ns)) => Ok(SourceFile { rel, path: entry.path().to_path_buf(), size, mtime_ns }),
        Err(reason) => Err(Skipped { rel, reason }),
    }
}

fn reason_by_name(rel: &str) -> Option<SkipReason> {
    let name = rel.rsplit('/').next().unwrap_or(rel);
    let lower = name.to_ascii_lowercase();
    if GENERATED.contains(&name) || GENERATED_ENDS.iter().any(|end| lower.ends_with(end)) {
        return Some(SkipReason::Generated);
    }
    let (_, extension) = lower.rsplit_once('.')?;
    BINARY.binary_search(&extension).is_ok().then_some(SkipReason::Binary)
}

fn check_kind(metadata: &Metadata) -> std::result::Result<(), SkipReason> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_symlink() => Err(SkipReason::Symlink),
        _ => Err(SkipReason::NotAFile),
    }
}

/// Opens for reading; a pipe put in the file's place a moment ago does not make this wait.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC,
    );
    options.open(path)
}

/// The walker opens ignore files itself, so one that is a pipe would hang it.
fn has_odd_ignore_file(folder: &Path) -> bool {
    IGNORE_FILES.iter().any(|name| fs::metadata(folder.join(name)).is_ok_and(|m| !m.is_file() && !m.is_dir()))
}

fn globs(root: &Path, patterns: &[String]) -> Result<Option<Gitignore>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let refuse = |glob: &str, error: ignore::Error| Error::Glob { glob: glob.to_owned(), problem: error.to_string() };
    let mut builder = GitignoreBuilder::new(root);
    for glob in patterns {
        builder.add_line(None, glob).map_err(|error| refuse(glob, error))?;
    }
    builder.build().map(Some).map_err(|error| refuse(&patterns.join(", "), error))
}

/// Whether a glob matches the path or a folder above it, up to `root`.
fn covers(globs: &Gitignore, root: &Path, path: &Path, is_dir: bool) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    !below.has_root() && globs.matched_path_or_any_parents(below, is_dir).is_ignore()
}

/// The path below `root` with `/`, and whether it is exact.
fn rel_of(root: &Path, path: &Path) -> (String, bool) {
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut rel = String::new();
    let mut exact = true;
    for part in below.components() {
        if !rel.is_empty() {
            rel.push('/');
        }
        exact &= part.as_os_str().to_str().is_some();
        rel.push_str(&part.as_os_str().to_string_lossy());
    }
    (rel, exact)
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        _ => None,
    }
}

fn reason_of(error: &io::Error) -> SkipReason {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ELOOP) {
        return SkipReason::Symlink; // what O_NOFOLLOW answers
    }
    match error.kind() {
        io::ErrorKind::NotFound => SkipReason::Vanished,
        _ => SkipReason::Unreadable,
    }
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    let Ok(time) = metadata.modified() else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes `tree` (a name ending in `/` is a folder), walks it, and compares "rel" and "rel: reason" lines.
    fn check(tree: &[(&str, &[u8])], rules: &WalkRules, expected: &str) {
        let root = tempfile::tempdir().unwrap();
        plant(root.path(), tree);
        assert_eq!(render(root.path(), rules), expected);
    }

    fn plant(root: &Path, tree: &[(&str, &[u8])]) {
        for (name, content) in tree {
            let path = root.join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// The walk, then the reading of every candidate: what an indexer sees.
    fn render(root: &Path, rules: &WalkRules) -> String {
        let found = walk(root, rules, &|| false).unwrap();
        assert!(found.files.is_sorted_by(|a, b| a.rel < b.rel));
        let mut lines: Vec<String> =
            found.skipped.iter().map(|skipped| format!("{}: {}", skipped.rel, skipped.reason.as_str())).collect();
        for file in &found.files {
            match read_source(&file.path, rules) {
                Ok(text) => {
                    assert_eq!(text.len() as u64, file.size);
                    lines.push(file.rel.clone());
                }
                Err(reason) => lines.push(format!("{}: read {}", file.rel, reason.as_str())),
            }
        }
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn ignore_files_count_outside_a_repository() {
        let tree: &[(&str, &[u8])] = &[
            (".gitignore", b"target/\n*.log\n!keep.log\n"),
            (".offheapignore", b"secret.txt\n"),
            (".ignore", b"quiet.rs\n"),
            ("a.log", b"x"),
            ("keep.log", b"x"),
            ("secret.txt", b"x"),
            ("quiet.rs", b"x"),
            ("src/main.rs", b"fn main() {}"),
            ("src/.gitignore", b"gen.rs\n"),
            ("src/gen.rs", b"x"),
            ("target/x.rs", b"x"),
            ("node_modules/p/index.js", b"x"),
            (".offheap/config.json", b"{}"),
            (".hidden.rs", b"x"),
            ("empty.rs", b""),
        ];
        check(tree, &WalkRules::default(), "empty.rs\nkeep.log\nsrc/main.rs");
    }

    #[test]
    fn what_is_not_source_says_why() {
        let nul = [b'a'; 100].iter().copied().chain([0]).collect::<Vec<u8>>();
        let late_nul = [b'a'; 9000].iter().copied().chain([0]).collect::<Vec<u8>>();
        let tree: &[(&str, &[u8])] = &[
            ("Cargo.lock", b"x"),
            ("app.min.js", b"x"),
            ("bin.rs", &nul),
            ("late.rs", &late_nul),
            ("bom.rs", b"\xef\xbb\xbffn main() {}"),
            ("latin1.txt", b"caf\xe9"),
            ("limit.txt", &[b'x'; 10_000]),
            ("logo.PNG", b"x"),
            ("long.txt", &[b'x'; 10_001]),
        ];
        let rules = WalkRules { max_file_bytes: 10_000, ..WalkRules::default() };
        let expected = "Cargo.lock: generated\napp.min.js: generated\nbin.rs: read binary\nbom.rs\nlate.rs\n\
            latin1.txt: read not_utf8\nlimit.txt\nlogo.PNG: binary\nlong.txt: too_large";
        check(tree, &rules, expected);
    }

    #[test]
    fn globs_narrow_and_never_bring_back() {
        let tree: &[(&str, &[u8])] = &[
            (".gitignore", b"ignored.rs\n"),
            ("a.rs", b""),
            ("b.py", b""),
            ("ignored.rs", b""),
            ("docs/c.rs", b""),
            ("vendor/deep/d.rs", b""),
        ];
        let rules = |include: &[&str], exclude: &[&str]| WalkRules {
            include: include.iter().map(|s| s.to_string()).collect(),
            exclude: exclude.iter().map(|s| s.to_string()).collect(),
            ..WalkRules::default()
        };
        check(tree, &rules(&["*.rs"], &[]), "a.rs\ndocs/c.rs\nvendor/deep/d.rs");
        check(tree, &rules(&["*.rs"], &["vendor/", "/a.rs"]), "docs/c.rs");
        check(tree, &rules(&["docs/", "*.py"], &[]), "b.py\ndocs/c.rs");
        check(tree, &rules(&[], &["**/deep/**"]), "a.rs\nb.py\ndocs/c.rs");

        let root = tempfile::tempdir().unwrap();
        assert!(matches!(walk(root.path(), &rules(&["a{b"], &[]), &|| false), Err(Error::Glob { .. })));
    }

    #[test]
    fn a_part_is_what_the_whole_has_there() {
        let root = tempfile::tempdir().unwrap();
        let tree: &[(&str, &[u8])] = &[
            (".gitignore", b"gen/\n*.log\n/a/skip.rs\n"),
            ("a/b/c.rs", b""),
            ("a/b/.gitignore", b"!keep.log\nd.rs\n"),
            ("a/b/keep.log", b""),
            ("a/b/d.rs", b""),
            ("a/skip.rs", b""),
            ("a-b.rs", b""),
            ("a/x.log", b""),
            ("a/gen/y.rs", b""),
            ("z/.git/HEAD", b""),
            ("z/logo.png", b""),
            ("top.rs", b""),
        ];
        plant(root.path(), tree);
        let rules = WalkRules::default();
        let whole = walk(root.path(), &rules, &|| false).unwrap();
        assert_eq!(whole.folders, ["", "a", "a/b", "z"]);
        for paths in [
            &["a/b/c.rs", "a/b/d.rs", "a/b/keep.log", "a/x.log"][..],
            &["a"],
            &["a/b", "top.rs", "gone.rs", "gone/x.rs"],
            &["a/gen/y.rs", "a/gen"],
            &["z"],
            &["z/.git/HEAD"],
            &["a-b.rs"],
            &[""],
            &[],
        ] {
            let paths: BTreeSet<String> = paths.iter().map(|path| path.to_string()).collect();
            let part = walk_paths(root.path(), &rules, &paths, &|| false).unwrap();
            let within = |rel: &str| paths.contains("") || is_within(&paths, rel);
            let files: Vec<&str> = whole.files.iter().map(|f| f.rel.as_str()).filter(|rel| within(rel)).collect();
            assert_eq!(part.files.iter().map(|f| f.rel.as_str()).collect::<Vec<_>>(), files, "{paths:?}");
            let skipped: Vec<&Skipped> = whole.skipped.iter().filter(|s| within(&s.rel)).collect();
            assert_eq!(part.skipped.iter().collect::<Vec<_>>(), skipped, "{paths:?}");
            let folders: Vec<&String> = whole.folders.iter().filter(|rel| within(rel)).collect();
            assert_eq!(part.folders.iter().collect::<Vec<_>>(), folders, "{paths:?}");
        }
    }

    #[test]
    fn rules_above_the_root_end_at_the_repository() {
        let outside: &[(&str, &[u8])] = &[(".gitignore", b"*\n"), ("home/project/a.rs", b"")];
        let root = tempfile::tempdir().unwrap();
        plant(root.path(), outside);
        assert_eq!(render(&root.path().join("home/project"), &WalkRules::default()), "a.rs");

        plant(root.path(), &[("home/.git/HEAD", b""), ("home/.gitignore", b"b.rs\n"), ("home/project/b.rs", b"")]);
        assert_eq!(render(&root.path().join("home/project"), &WalkRules::default()), "a.rs");
        assert_eq!(render(&root.path().join("home"), &WalkRules::default()), "project/a.rs");
    }

    #[test]
    fn cancelled_and_missing_roots_are_errors() {
        let root = tempfile::tempdir().unwrap();
        plant(root.path(), &[("a.rs", b"")]);
        assert!(matches!(walk(root.path(), &WalkRules::default(), &|| true), Err(Error::Cancelled)));
        let missing = root.path().join("missing");
        assert!(matches!(walk(&missing, &WalkRules::default(), &|| false), Err(Error::Io { .. })));
        let file = root.path().join("a.rs");
        assert!(matches!(walk(&file, &WalkRules::default(), &|| false), Err(Error::Io { .. })));
        assert_eq!(read_source(&missing, &WalkRules::default()), Err(SkipReason::Vanished));
        assert_eq!(read_source(root.path(), &WalkRules::default()), Err(SkipReason::NotAFile));
    }

    #[test]
    fn tables_are_sorted_and_hashes_are_sha256() {
        assert!(BINARY.is_sorted(), "binary_search needs it");
        let hex: String = content_hash(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_links_and_loops_are_never_opened() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        plant(root.path(), &[("a.rs", b"x"), ("dir/b.rs", b"x"), ("trap/c.rs", b"x"), ("locked.rs", b"x")]);
        for name in ["pipe.rs", "trap/.gitignore"] {
            assert!(std::process::Command::new("mkfifo").arg(at(name)).status().unwrap().success());
        }
        let _socket = std::os::unix::net::UnixListener::bind(at("socket.rs")).unwrap();
        std::os::unix::fs::symlink(root.path(), at("dir/loop")).unwrap();
        std::os::unix::fs::symlink("a.rs", at("link.rs")).unwrap();
        fs::set_permissions(at("locked.rs"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let mut expected = vec![
            "a.rs",
            "dir/b.rs",
            "dir/loop: symlink",
            "link.rs: symlink",
            if File::open(at("locked.rs")).is_ok() { "locked.rs" } else { "locked.rs: read unreadable" },
            "pipe.rs: not_a_file",
            "socket.rs: not_a_file",
            "trap: not_a_file",
        ];
        if fs::write(root.path().join(OsStr::from_bytes(b"z\xff.rs")), b"x").is_ok() {
            expected.push("z\u{fffd}.rs: non_utf8_path"); // some file systems refuse such names
        }
        assert_eq!(render(root.path(), &WalkRules::default()), expected.join("\n"));

        let outside = tempfile::tempdir().unwrap();
        let linked_root = outside.path().join("project");
        std::os::unix::fs::symlink(root.path(), &linked_root).unwrap();
        assert_eq!(render(&linked_root, &WalkRules::default()), expected.join("\n"), "the root itself may be a link");
        assert_eq!(read_source(&at("pipe.rs"), &WalkRules::default()), Err(SkipReason::NotAFile));
        assert_eq!(read_source(&at("link.rs"), &WalkRules::default()), Err(SkipReason::Symlink));
    }
}
