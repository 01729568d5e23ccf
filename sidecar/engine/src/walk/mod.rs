//! Which files belong to a project, and the text of each.
//!
//! The rules are those of `.gitignore`, `.ignore` and `.offheapignore`, in or out of a git repository, and do
//! not depend on the user's environment: a global git configuration is not read. Hidden files are left out.
//! Nothing but a regular file is ever opened, never through a link, and no file is read past a limit.

mod content;
pub(crate) mod globs;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::Gitignore;

use self::rules::{Rules, Verdict};
use self::source::{reason_by_name, reason_of};
use crate::disk::{Entry, Kind, Tree};
use crate::{Error, Result};

/// One candidate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path below the root, separated by `/` on every system.
    pub rel: String,
    /// Length in bytes when the tree was walked.
    pub size: u64,
    /// Modification time, nanoseconds since 1970; 0 where the system has none.
    pub mtime_ns: i64,
}

/// Why a file is not source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Longer than [`WalkRules::max_file_bytes`].
    TooLarge,
    /// The content is not text: it has the beginning of another format, or bytes that text does not have.
    Binary,
    /// Written by a tool and known by its name: a lockfile.
    Generated,
    /// The content is neither Unicode nor in another encoding in which it could be read.
    UnknownEncoding,
    /// The path is not UTF-8; `rel` is an approximation.
    NonUtf8Path,
    /// A symbolic link; links are not followed.
    Symlink,
    /// A pipe, socket or device, or a folder whose ignore file is one.
    NotAFile,
    /// A folder whose ignore files, with those above it, are longer than any that people write: [`MAX_RULE_BYTES`],
    /// [`MAX_RULES`].
    TooManyRules,
    /// The path is longer than the system can open.
    PathTooLong,
    /// The system refused to list or read it.
    Unreadable,
    /// It was removed between listing and reading.
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
    /// Folders that were listed, sorted; the root is the empty string. When only some paths were walked, those at and
    /// below these paths.
    pub folders: Vec<String>,
}

/// Folders never entered, ignored or not.
pub const PRUNED: &[&str] = &[".git", ".hg", ".svn", ".offheap", "node_modules", "__pycache__"];

/// The names the walker reads rules from: a change of one may change what belongs to the project.
pub const IGNORE_FILES: &[&str] = rules::OF_FOLDERS;

/// The name of a repository's own rules, in its `.git/info`.
pub const EXCLUDE: &str = "exclude";

pub use self::rules::{MAX_RULE_BYTES, MAX_RULES};
pub use self::source::{ContentHash, NotSource, Source, content_hash, read_source, source};

/// Longest absolute path, in bytes, that the system opens.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "macos") { 1023 } else { 4095 };

impl SkipReason {
    /// A stable name for reports, and in the file table.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::TooLarge => "too_large",
            SkipReason::Binary => "binary",
            SkipReason::Generated => "generated",
            SkipReason::UnknownEncoding => "unknown_encoding",
            SkipReason::NonUtf8Path => "non_utf8_path",
            SkipReason::Symlink => "symlink",
            SkipReason::NotAFile => "not_a_file",
            SkipReason::TooManyRules => "too_many_rules",
            SkipReason::PathTooLong => "path_too_long",
            SkipReason::Unreadable => "unreadable",
            SkipReason::Vanished => "vanished",
        }
    }

    /// The reason of that name.
    pub fn named(name: &str) -> Option<SkipReason> {
        SkipReason::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Every reason.
    pub const ALL: [SkipReason; 11] = [
        SkipReason::TooLarge,
        SkipReason::Binary,
        SkipReason::Generated,
        SkipReason::UnknownEncoding,
        SkipReason::NonUtf8Path,
        SkipReason::Symlink,
        SkipReason::NotAFile,
        SkipReason::TooManyRules,
        SkipReason::PathTooLong,
        SkipReason::Unreadable,
        SkipReason::Vanished,
    ];
}

impl Default for WalkRules {
    fn default() -> Self {
        WalkRules { max_file_bytes: 1024 * 1024, include: Vec::new(), exclude: Vec::new() }
    }
}

/// Lists every file of the project, without opening one.
///
/// Fails with `Cancelled` when `cancelled` says so, with `Io` when the root cannot be listed, with `UnsafePath` when
/// its rules cannot be read, and with `Glob` when one of `rules` cannot be parsed. Trouble with one file is a
/// [`Skipped`].
pub fn walk(tree: &Tree, rules: &WalkRules, cancelled: &dyn Fn() -> bool) -> Result<Walk> {
    walk_part(tree, rules, None, cancelled)
}

/// Lists the files at and below `paths`, by the rules of [`walk`]. A path that is missing from the result is not
/// source, or is gone. Only the folders above and below these paths are listed.
pub fn walk_paths(
    tree: &Tree,
    rules: &WalkRules,
    paths: &BTreeSet<String>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Walk> {
    walk_part(tree, rules, (!paths.contains("")).then_some(paths), cancelled)
}

/// Folders outside the walk whose ignore files count for it, so that they can be watched: those above the root within
/// its repository, and `.git/info`. Only those that exist.
pub fn rule_folders(root: &Path) -> Vec<PathBuf> {
    let above = Rules::folders_above(root);
    let info = above.iter().map(|folder| folder.as_path()).chain([root]).map(|folder| folder.join(".git").join("info"));
    let is_folder = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let info: Vec<PathBuf> = info.filter(|info| is_folder(&info.with_file_name("")) && is_folder(info)).collect();
    above.into_iter().chain(info).collect()
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
    tree: &Tree,
    rules: &WalkRules,
    part: Option<&BTreeSet<String>>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Walk> {
    let above = Rules::folders_above(tree.path());
    let walker = Walker {
        tree,
        rules,
        part,
        include: globs(&rules.include)?,
        exclude: globs(&rules.exclude)?,
        may_nest: !above.is_empty(),
    };
    let mut found = Walk::default();
    let top = Rules::above(tree.path(), &above).map_err(|(path, reason)| unreadable_rules(&path, reason))?;
    let mut folders = vec![Folder { path: PathBuf::new(), rel: String::new(), exact: true, above: top }];
    while let Some(folder) = folders.pop() {
        match walker.visit(&folder, &mut folders, &mut found, cancelled) {
            Err(NotListed::Cancelled) => return Err(Error::Cancelled),
            Err(NotListed::Failed(source)) if folder.rel.is_empty() => {
                return Err(Error::io("list", tree.path(), source));
            }
            Err(NotListed::Failed(source)) => {
                found.skipped.push(Skipped { rel: folder.rel, reason: reason_of(&source) })
            }
            Err(NotListed::Rules(name, reason)) if folder.rel.is_empty() => {
                return Err(unreadable_rules(&tree.path().join(name), reason));
            }
            Err(NotListed::Rules(_, reason)) => found.skipped.push(Skipped { rel: folder.rel, reason }),
            Ok(()) => {}
        }
    }
    found.files.sort_by(|a, b| a.rel.cmp(&b.rel));
    found.skipped.sort_by(|a, b| a.rel.cmp(&b.rel));
    found.folders.sort();
    Ok(found)
}

/// The error for rules that cannot be read. The walk fails: without them it might index what is private.
fn unreadable_rules(path: &Path, reason: SkipReason) -> Error {
    let found = match reason {
        SkipReason::TooManyRules => {
            format!("longer than {MAX_RULE_BYTES} bytes or {MAX_RULES} rules, or has a rule of too many `**`")
        }
        SkipReason::NotAFile => "no regular file".to_owned(),
        other => format!("not readable ({})", other.as_str()),
    };
    Error::UnsafePath { path: path.to_path_buf(), found }
}

/// A walk under way.
struct Walker<'a> {
    tree: &'a Tree,
    rules: &'a WalkRules,
    part: Option<&'a BTreeSet<String>>,
    include: Option<Gitignore>,
    exclude: Option<Gitignore>,
    /// The root lies within a repository, so rules of git end at the top of another repository below it.
    may_nest: bool,
}

/// A folder to be listed.
struct Folder {
    /// Below the root.
    path: PathBuf,
    /// `path` in UTF-8, separated by `/`.
    rel: String,
    /// Whether `rel` is an exact copy of `path`, which may not be UTF-8.
    exact: bool,
    /// The rules of the folders above it.
    above: Arc<Rules>,
}

/// Why a folder was not listed.
enum NotListed {
    Cancelled,
    Failed(io::Error),
    /// The ignore file of this name cannot be read.
    Rules(String, SkipReason),
}

impl Walker<'_> {
    fn visit(
        &self,
        folder: &Folder,
        folders: &mut Vec<Folder>,
        found: &mut Walk,
        cancelled: &dyn Fn() -> bool,
    ) -> std::result::Result<(), NotListed> {
        let listing = self.tree.list(&folder.path).map_err(NotListed::Failed)?;
        let mut entries = Vec::new();
        for entry in listing.entries().map_err(NotListed::Failed)? {
            if cancelled() {
                return Err(NotListed::Cancelled);
            }
            entries.push(entry.map_err(NotListed::Failed)?);
        }
        let links = &mut found.skipped;
        let mut linked = |name: &str| links.push(Skipped { rel: join(&folder.rel, name), reason: SkipReason::Symlink });
        let rules = Rules::of_folder(&folder.above, &folder.rel, &listing, &entries, self.may_nest, &mut linked);
        let rules = rules.map_err(|(name, reason)| NotListed::Rules(name, reason))?;
        if folder.exact && self.part.is_none_or(|paths| is_within(paths, &folder.rel)) {
            found.folders.push(folder.rel.clone());
        }
        for entry in entries {
            if cancelled() {
                return Err(NotListed::Cancelled);
            }
            let name = entry.name();
            let exact = folder.exact && name.to_str().is_some();
            let rel = join(&folder.rel, &name.to_string_lossy());
            let is_folder = matches!(entry.kind, Ok(Kind::Directory));
            if !self.is_wanted(&rules, &rel, &name, is_folder) {
                continue;
            }
            let path = folder.path.join(&name);
            if is_folder {
                if self.tree.path().as_os_str().len() + 1 + path.as_os_str().len() > MAX_PATH_BYTES {
                    found.skipped.push(Skipped { rel, reason: SkipReason::PathTooLong });
                } else {
                    folders.push(Folder { path, rel, exact, above: rules.clone() });
                }
            } else if self.include.as_ref().is_none_or(|globs| covers(globs, &rel, false)) {
                match self.candidate(&rel, exact, &entry) {
                    Ok((size, mtime_ns)) => found.files.push(SourceFile { rel, size, mtime_ns }),
                    Err(reason) => found.skipped.push(Skipped { rel, reason }),
                }
            }
        }
        Ok(())
    }

    /// Whether the part that is walked, the ignore rules and the project let a name in.
    fn is_wanted(&self, rules: &Rules, rel: &str, name: &OsStr, is_folder: bool) -> bool {
        if self.part.is_some_and(|paths| !(is_within(paths, rel) || is_folder && leads_to(paths, rel))) {
            return false;
        }
        if is_folder && PRUNED.iter().any(|pruned| name == OsStr::new(pruned)) {
            return false;
        }
        let is_hidden = name.as_encoded_bytes().first() == Some(&b'.');
        match rules.judge(rel, is_folder) {
            Verdict::Out => return false,
            Verdict::None if is_hidden => return false,
            Verdict::None | Verdict::In => {}
        }
        !self.exclude.as_ref().is_some_and(|globs| covers(globs, rel, is_folder))
    }

    /// Length and modification time of a file that may be source.
    fn candidate(&self, rel: &str, exact: bool, entry: &Entry) -> std::result::Result<(u64, i64), SkipReason> {
        if !exact {
            return Err(SkipReason::NonUtf8Path);
        }
        match &entry.kind {
            Ok(Kind::File) => {}
            Ok(Kind::Link) => return Err(SkipReason::Symlink),
            Ok(_) => return Err(SkipReason::NotAFile),
            Err(error) => return Err(reason_of(error)),
        }
        if let Some(reason) = reason_by_name(rel) {
            return Err(reason);
        }
        let (length, mtime_ns) = entry.length_and_mtime().map_err(|error| reason_of(&error))?;
        if self.rules.max_file_bytes < length {
            return Err(SkipReason::TooLarge);
        }
        Ok((length, mtime_ns))
    }
}

/// Globs of a project's configuration.
const MAX_GLOBS: usize = 100;

/// The matcher of a project's globs; `None` without any.
fn globs(globs: &[String]) -> Result<Option<Gitignore>> {
    (!globs.is_empty()).then(|| globs::compile(globs, MAX_GLOBS, false)).transpose()
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Whether a glob matches the path or a folder above it.
fn covers(globs: &Gitignore, rel: &str, is_dir: bool) -> bool {
    globs.matched_path_or_any_parents(rel, is_dir).is_ignore()
}
