//! Which files belong to a project, and the text of each.
//!
//! Within a git repository these are the files that git would list: those it tracks, and those that no rule ignores,
//! whether it stands in a `.gitignore`, in `info/exclude` or in the user's own file. The rules of `.offheapignore` and
//! `.ignore` are stronger. Outside of a repository the same ignore files count.
//!
//! What names tell to be a tool's or a secret is left out. Nothing but a regular file is ever opened, and no file is read
//! past a limit; of the project's own files none is reached through a link.

mod content;
mod explain;
mod git;
pub(crate) mod globs;
mod long;
mod names;
mod paths;
mod rules;
mod source;
#[cfg(test)]
mod tests;
mod walker;
mod wildcard;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::rules::Rules;
use self::source::reason_of;
use self::walker::{NotListed, Walker};
use crate::disk::{Stat, Tree};
use crate::{Error, Result};

/// One candidate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path below the root, separated by `/` on every system.
    pub rel: String,
    /// What the system said of it when the tree was walked.
    pub stat: Stat,
}

/// Why a file is not source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Longer than [`WalkRules::max_file_bytes`] and [`WalkRules::max_text_bytes`], or one long text more than
    /// [`MAX_LONG_BYTES`] have room for.
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
    /// A work tree of a repository whose files are in the project already, from another work tree.
    Worktree,
    /// The path is longer than the system can open.
    PathTooLong,
    /// A name that begins with a dot and is a tool's, not the project's.
    Hidden,
    /// Holds keys or passwords, by its name.
    Secret,
    /// The system refused to list or read it.
    Unreadable,
    /// It was removed between listing and reading.
    Vanished,
    /// A folder on another file system, which the system makes up or a network serves.
    FileSystem,
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
    /// Longest file that is read as a whole, parsed and embedded.
    pub max_file_bytes: u64,
    /// Longest text that is read in parts, found by its words and by regular expressions only. Where it is not above
    /// [`WalkRules::max_file_bytes`], there are no such texts.
    pub max_text_bytes: u64,
    /// Gitignore-style globs; when there are any, only files that match one are source. They never bring back
    /// what an ignore file leaves out.
    pub include: Vec<String>,
    /// Gitignore-style globs of what to leave out besides.
    pub exclude: Vec<String>,
    /// The user's git configuration.
    pub git: GitSettings,
    /// The largest tree that is walked; `None` for any.
    pub limit: Option<TreeLimit>,
}

/// How large a tree may be. A larger one ends the walk with [`Error::TreeTooLarge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimit {
    /// Files that may be source.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a walk found. A file that a rule of the project leaves out is in neither list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Sorted by `rel`.
    pub files: Vec<SourceFile>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Sorted by `rel`.
    pub skipped: Vec<Skipped>,
    /// Folders that were listed, sorted; the root is the empty string. When only some paths were walked, those at and
    /// below these paths.
    pub folders: Vec<String>,
}

/// The names the walker reads rules from: a change of one may change what belongs to the project.
pub const IGNORE_FILES: &[&str] = rules::OF_FOLDERS;

/// The name of a repository's own rules, in its `.git/info`.
pub const EXCLUDE: &str = "exclude";

pub use self::explain::{Because, PathDecision, PathKind, RulePlace, explain};
pub use self::git::GitSettings;
pub use self::long::{LongSource, PART_BYTES, Part, Parts};
pub use self::names::PRUNED;
pub use self::rules::{MAX_RULE_BYTES, MAX_RULES};
pub use self::source::{ContentHash, NotSource, Source, content_hash, read_source, source};
pub(crate) use self::walker::is_within;

/// Texts that are read in parts are indexed up to this sum, in the order of their paths: each MiB has a thousand chunks.
pub const MAX_LONG_BYTES: u64 = 128 << 20;

/// Gives each reason its name, and lists them.
macro_rules! names {
    ($(SkipReason::$reason:ident => $name:literal,)*) => {
        impl SkipReason {
            /// Every reason.
            pub const ALL: &[SkipReason] = &[$(SkipReason::$reason),*];

            /// A stable name for reports, and in the file table.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(SkipReason::$reason => $name,)*
                }
            }
        }
    };
}

names! {
    SkipReason::TooLarge => "too_large",
    SkipReason::Binary => "binary",
    SkipReason::Generated => "generated",
    SkipReason::UnknownEncoding => "unknown_encoding",
    SkipReason::NonUtf8Path => "non_utf8_path",
    SkipReason::Symlink => "symlink",
    SkipReason::NotAFile => "not_a_file",
    SkipReason::TooManyRules => "too_many_rules",
    SkipReason::Worktree => "worktree",
    SkipReason::PathTooLong => "path_too_long",
    SkipReason::Hidden => "hidden",
    SkipReason::Secret => "secret",
    SkipReason::Unreadable => "unreadable",
    SkipReason::Vanished => "vanished",
    SkipReason::FileSystem => "file_system",
}

impl SkipReason {
    /// The reason of that name.
    pub fn named(name: &str) -> Option<SkipReason> {
        SkipReason::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }
}

impl Default for WalkRules {
    fn default() -> Self {
        WalkRules {
            max_file_bytes: 1 << 20,
            max_text_bytes: 32 << 20,
            include: Vec::new(),
            exclude: Vec::new(),
            git: GitSettings::default(),
            limit: None,
        }
    }
}

impl WalkRules {
    /// Longest file that is read at all.
    pub fn longest(&self) -> u64 {
        self.max_file_bytes.max(self.max_text_bytes)
    }

    /// Whether a file of this length is read in parts.
    pub fn is_long(&self, length: u64) -> bool {
        self.max_file_bytes < length
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

/// The error for a tree beyond the limit, with the folder of the root that has most of what was found.
fn too_large(tree: &Tree, found: &Walk) -> Error {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for file in &found.files {
        *counts.entry(file.rel.split_once('/').map_or("", |(top, _)| top)).or_default() += 1;
    }
    let busiest = counts.into_iter().max_by_key(|(_, n)| *n).map_or("", |(top, _)| top).to_owned();
    Error::TreeTooLarge {
        path: tree.path().to_path_buf(),
        files: found.files.len() as u64,
        bytes: found.bytes,
        busiest: if busiest.is_empty() { busiest } else { busiest + "/" },
    }
}

fn walk_part(
    tree: &Tree,
    rules: &WalkRules,
    part: Option<&BTreeSet<String>>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Walk> {
    let (walker, top) = Walker::new(tree, rules, part)?;
    let mut found = Walk::default();
    let mut folders = vec![top];
    while let Some(folder) = folders.pop() {
        match walker.visit(&folder, &mut folders, &mut found, cancelled) {
            Err(NotListed::Cancelled) => return Err(Error::Cancelled),
            Err(NotListed::TooLarge) => return Err(too_large(tree, &found)),
            Err(NotListed::FileSystem) => {
                found.skipped.push(Skipped { rel: folder.rel, reason: SkipReason::FileSystem })
            }
            Err(NotListed::Failed(source)) if folder.rel.is_empty() => {
                return Err(Error::io("list", tree.path(), source));
            }
            Err(NotListed::Failed(source)) => {
                found.skipped.push(Skipped { rel: folder.rel, reason: reason_of(&source) })
            }
            Err(NotListed::Rules(path, reason)) if folder.rel.is_empty() => {
                return Err(unreadable_rules(&tree.path().join(path), reason));
            }
            Err(NotListed::Rules(_, reason) | NotListed::Repeated(reason)) => {
                found.skipped.push(Skipped { rel: folder.rel, reason })
            }
            Ok(()) => {}
        }
    }
    if part.is_none() {
        let damaged = walker.damaged_indexes().into_iter();
        found.skipped.extend(damaged.map(|rel| Skipped { rel, reason: SkipReason::Unreadable }));
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
            format!("longer than {MAX_RULE_BYTES} bytes or {MAX_RULES} rules")
        }
        SkipReason::NotAFile => "no regular file".to_owned(),
        other => format!("not readable ({})", other.as_str()),
    };
    Error::UnsafePath { path: path.to_path_buf(), found }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
