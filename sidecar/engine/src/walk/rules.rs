//! Ignore files: read once for each folder, bounded, never through a link.
//!
//! A folder's rules are matched against all that lies below it; the nearest folder with a matching rule wins. Of the
//! kinds of files, `.offheapignore` beats `.ignore`, which beats `.gitignore`, which beats a repository's own
//! `info/exclude`.
//!
//! Each rule is matched by itself, as git does (gitoxide's matcher). A set of rules compiled into one automaton took
//! gigabytes for an ignore file of 66 KB.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix_glob::Pattern;
use gix_glob::pattern::Case;
use gix_glob::wildmatch::Mode;

use super::SkipReason;
use crate::disk::{Entry, Listing, Tree, is_link};

/// Most bytes of all ignore files that apply to one folder.
pub const MAX_RULE_BYTES: usize = 512 << 10;
/// Most rules of all ignore files that apply to one folder: each name is matched against each rule.
pub const MAX_RULES: usize = 10_000;
/// Most `**` in a rule: each doubles the time that matching can take.
const MAX_DOUBLE_STARS: usize = 8;

/// The kinds of ignore files, strongest first.
const KINDS: [&str; 4] = [".offheapignore", ".ignore", ".gitignore", ".git/info/exclude"];
/// Names of the ignore files that any folder may have.
pub const OF_FOLDERS: &[&str] = KINDS.split_at(3).0;
/// From this index on, [`KINDS`] are git's own, whose rules end at the top of a repository.
const OF_GIT: usize = 2;

/// The rules of a folder and of those above it.
pub struct Rules {
    above: Option<Arc<Rules>>,
    kinds: [Vec<Pattern>; KINDS.len()],
    /// Path of the rules' folder below the root, with a `/` at its end; empty for the root and for folders above it.
    base: String,
    /// For a folder above the root: the path from it down to the root, with a `/` at its end.
    down: String,
    /// The folder is the top of a repository: git's rules of folders above it do not count.
    is_repository: bool,
    n_bytes: usize,
    n_rules: usize,
}

/// What the rules decide about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ignored.
    Out,
    /// A rule brings it back.
    In,
    /// No rule matches it.
    None,
}

impl Rules {
    /// The folders above a root up to the top of its repository, nearest first; none where it is in none or is the top.
    pub fn folders_above(root: &Path) -> Vec<PathBuf> {
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        if is_repository(&root) {
            return Vec::new();
        }
        let folders: Vec<PathBuf> = root.ancestors().skip(1).map(Path::to_path_buf).collect();
        let n = folders.iter().position(|folder| is_repository(folder)).map_or(0, |top| top + 1);
        folders.into_iter().take(n).collect()
    }

    /// The rules of `folders`, which [`Rules::folders_above`] gave. Rules above a root count only up to the top of its
    /// repository: a `*` in the `.gitignore` of a home directory must not empty every project below it.
    ///
    /// Errors: the file that cannot be read, and why.
    pub fn above(root: &Path, folders: &[PathBuf]) -> Result<Arc<Rules>, (PathBuf, SkipReason)> {
        let mut rules = Arc::new(Rules::none());
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        for folder in folders.iter().rev() {
            let Ok(listing) = Tree::open(folder)
                .and_then(|tree| tree.list(Path::new("")).map_err(|e| crate::Error::io("list", folder, e)))
            else {
                continue; // a folder that this user may not read has no rules of the user
            };
            let down = root.strip_prefix(folder).unwrap_or(Path::new("")).to_string_lossy().replace('\\', "/") + "/";
            let made = Rules::read(&rules, "", &listing, &mut |_| true, false, &mut |_| {});
            let made = made.map_err(|(name, reason)| (folder.join(name), reason))?;
            rules = made.map_or(rules, |made| Arc::new(Rules { down, ..made }));
        }
        Ok(rules)
    }

    /// The rules that hold in the folder `rel`, whose names are `entries`. Ignore files that are links do not count, as
    /// in git; `linked` is called with their names.
    ///
    /// Errors: the file that cannot be read, and why.
    pub fn of_folder(
        above: &Arc<Rules>,
        rel: &str,
        listing: &Listing,
        entries: &[Entry],
        may_nest: bool,
        linked: &mut dyn FnMut(&str),
    ) -> Result<Arc<Rules>, (String, SkipReason)> {
        let has = |name: &str| entries.iter().any(|entry| entry.name() == name);
        let is_repository = may_nest && (has(".git") || has(".jj"));
        let mut has_kind = |kind: &str| has(kind.split('/').next().unwrap_or(kind));
        let made = Rules::read(above, rel, listing, &mut has_kind, is_repository, linked)?;
        Ok(made.map_or_else(|| above.clone(), Arc::new))
    }

    fn none() -> Rules {
        Rules {
            above: None,
            kinds: Default::default(),
            base: String::new(),
            down: String::new(),
            is_repository: false,
            n_bytes: 0,
            n_rules: 0,
        }
    }

    /// `None` when the folder has no rules and is no repository.
    fn read(
        above: &Arc<Rules>,
        folder: &str,
        listing: &Listing,
        has_kind: &mut dyn FnMut(&str) -> bool,
        is_repository: bool,
        linked: &mut dyn FnMut(&str),
    ) -> Result<Option<Rules>, (String, SkipReason)> {
        let mut rules = Rules {
            above: Some(above.clone()),
            base: if folder.is_empty() { String::new() } else { format!("{folder}/") },
            is_repository,
            n_bytes: above.n_bytes,
            n_rules: above.n_rules,
            ..Rules::none()
        };
        for (kind, name) in KINDS.iter().enumerate().filter(|(_, name)| has_kind(name)) {
            let room = (MAX_RULE_BYTES - rules.n_bytes) as u64;
            let bytes = match listing.read(name, room) {
                Ok(bytes) => bytes,
                Err(error) if is_link(&error) => {
                    linked(name);
                    continue;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => continue,
                    io::ErrorKind::FileTooLarge => return Err(((*name).to_owned(), SkipReason::TooManyRules)),
                    // A folder of that name has no rules.
                    io::ErrorKind::Unsupported if listing.is_folder(name) => continue,
                    io::ErrorKind::Unsupported => return Err(((*name).to_owned(), SkipReason::NotAFile)),
                    _ => return Err(((*name).to_owned(), SkipReason::Unreadable)),
                },
            };
            let too_many = || ((*name).to_owned(), SkipReason::TooManyRules);
            rules.n_bytes += bytes.len();
            for (pattern, ..) in gix_ignore::parse(&bytes, false) {
                rules.n_rules += 1;
                let double_stars = pattern.text.windows(2).filter(|pair| pair == b"**").count();
                if rules.n_rules > MAX_RULES || double_stars > MAX_DOUBLE_STARS {
                    return Err(too_many());
                }
                rules.kinds[kind].push(pattern);
            }
        }
        let has_rules = rules.kinds.iter().any(|rules| !rules.is_empty());
        Ok((has_rules || is_repository).then_some(rules))
    }

    /// What the rules say of a path below the root.
    pub fn judge(&self, rel: &str, is_folder: bool) -> Verdict {
        let mut said = [Verdict::None; KINDS.len()];
        let mut level = Some(self);
        let mut within_repository = true;
        while let Some(rules) = level {
            let joined = (!rules.down.is_empty()).then(|| format!("{}{rel}", rules.down));
            let path = joined.as_deref().unwrap_or_else(|| rel.strip_prefix(&rules.base).unwrap_or(rel));
            let kinds = if within_repository { KINDS.len() } else { OF_GIT };
            for (said, patterns) in said.iter_mut().zip(&rules.kinds).take(kinds) {
                if *said == Verdict::None {
                    *said = last_match(patterns, path, is_folder);
                }
            }
            within_repository &= !rules.is_repository;
            level = rules.above.as_deref();
        }
        said.into_iter().find(|said| *said != Verdict::None).unwrap_or(Verdict::None)
    }
}

/// Whether a folder is the top of a repository. A link named `.git` counts and is not followed.
fn is_repository(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join(".git")).is_ok()
}

/// What the last rule of a file that matches a path decides.
fn last_match(patterns: &[Pattern], path: &str, is_folder: bool) -> Verdict {
    let name = path.rfind('/').map(|slash| slash + 1);
    let mode = Mode::NO_MATCH_SLASH_LITERAL;
    let matches = |pattern: &&Pattern| {
        pattern.matches_repo_relative_path(path.into(), name, Some(is_folder), Case::Sensitive, mode)
    };
    match patterns.iter().rev().find(matches) {
        None => Verdict::None,
        Some(pattern) if pattern.is_negative() => Verdict::In,
        Some(_) => Verdict::Out,
    }
}
