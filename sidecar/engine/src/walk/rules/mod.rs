//! Ignore files: read once for each folder, bounded, never through a link.
//!
//! A folder's rules are matched against all that lies below it; the nearest folder with a matching rule wins. Of the
//! kinds of files, `.offheapignore` beats `.ignore`, which beats `.gitignore`, which beats a repository's own
//! `info/exclude`.
//!
//! Each rule is matched by itself, as git does. A set of rules compiled into one automaton took gigabytes for an ignore
//! file of 66 KB.

mod pattern;
mod wildcard;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::pattern::{Pattern, Subject};
use super::SkipReason;
use crate::disk::{Listing, Tree, is_link};

/// Most bytes of all ignore files that apply to one folder.
pub const MAX_RULE_BYTES: usize = 512 << 10;
/// Most rules of all ignore files that apply to one folder: each name is matched against each rule.
pub const MAX_RULES: usize = 10_000;
/// Most steps of matching wildcards for one name; the rules that people write take some thousands.
const MAX_STEPS: u32 = 4_000_000;

/// The kinds of ignore files, strongest first.
const KINDS: [&str; 4] = [".offheapignore", ".ignore", ".gitignore", ".git/info/exclude"];
/// Names of the ignore files that any folder may have.
pub const OF_FOLDERS: &[&str] = KINDS.split_at(3).0;
/// From this index on, [`KINDS`] are git's own, whose rules end at the top of a repository.
const OF_GIT: usize = 2;

/// The rules of a folder and of those above it.
pub struct Rules {
    above: Option<Arc<Rules>>,
    /// The files of this folder, strongest first.
    files: Vec<RuleFile>,
    /// Length of the path of the rules' folder below the root, with a `/` at its end; 0 for the root and for folders above it.
    base: usize,
    /// For a folder above the root: the path from it down to the root, with a `/` at its end.
    down: Vec<u8>,
    /// The folder is the top of a repository: git's rules of folders above it do not count.
    is_repository: bool,
    n_bytes: usize,
    n_rules: usize,
}

/// One ignore file.
struct RuleFile {
    /// Its place in [`KINDS`].
    kind: usize,
    /// Where it is: below the root, or for one outside of it the whole path.
    place: String,
    rules: Vec<Pattern>,
}

/// The rule that decides about a path.
#[derive(Clone, Copy)]
pub struct Ruling<'a> {
    file: &'a RuleFile,
    rule: &'a Pattern,
}

/// What the rules say of a path.
pub enum Verdict<'a> {
    /// A rule decides, or none matches.
    Said {
        /// Of offheap's own ignore files, which are stronger than git.
        own: Option<Ruling<'a>>,
        /// Of git's.
        git: Option<Ruling<'a>>,
    },
    /// Matching takes too long: nobody writes such rules for use.
    TooCostly,
}

/// A path below the root as rules see it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// In bytes, separated by `/`.
    pub path: &'a [u8],
    /// Its last part.
    pub name: &'a [u8],
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether letters of ASCII are compared without their case.
    pub fold: bool,
}

impl Ruling<'_> {
    /// Whether the rule brings the path back.
    pub fn is_negative(&self) -> bool {
        self.rule.is_negative()
    }

    /// Whether the rule stands in an `.offheapignore`.
    pub fn is_of_offheap(&self) -> bool {
        self.file.kind == 0
    }

    /// The rule's file, its line counted from 1, and the rule as it is written.
    pub fn place(&self) -> (String, u32, String) {
        (self.file.place.clone(), self.rule.line(), self.rule.written())
    }
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
            let mut down = raw(root.strip_prefix(folder).unwrap_or(Path::new("")));
            down.push(b'/');
            let place = |name: &str| folder.join(name).display().to_string();
            let made = Rules::read(&rules, 0, &listing, &|_| true, false, &place);
            let made = made.map_err(|(name, reason)| (folder.join(name), reason))?;
            rules = made.map_or(rules, |made| Arc::new(Rules { down, ..made }));
        }
        Ok(rules)
    }

    /// The rules that hold in the folder `rel`, whose path has `n_raw` bytes. Ignore files that are links do not count, as
    /// in git. `has` says whether it has a name.
    ///
    /// Errors: the file that cannot be read, and why.
    pub fn of_folder(
        above: &Arc<Rules>,
        rel: &str,
        n_raw: usize,
        listing: &Listing,
        may_nest: bool,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<Arc<Rules>, (String, SkipReason)> {
        let is_repository = may_nest && (has(".git") || has(".jj"));
        let has_kind = |kind: &str| has(kind.split('/').next().unwrap_or(kind));
        let base = if n_raw == 0 { 0 } else { n_raw + 1 };
        let place = |name: &str| super::join(rel, name);
        let made = Rules::read(above, base, listing, &has_kind, is_repository, &place)?;
        Ok(made.map_or_else(|| above.clone(), Arc::new))
    }

    fn none() -> Rules {
        Rules {
            above: None,
            files: Vec::new(),
            base: 0,
            down: Vec::new(),
            is_repository: false,
            n_bytes: 0,
            n_rules: 0,
        }
    }

    /// `None` when the folder has no rules and is no repository.
    fn read(
        above: &Arc<Rules>,
        base: usize,
        listing: &Listing,
        has_kind: &dyn Fn(&str) -> bool,
        is_repository: bool,
        place: &dyn Fn(&str) -> String,
    ) -> Result<Option<Rules>, (String, SkipReason)> {
        let mut rules = Rules {
            above: Some(above.clone()),
            base,
            is_repository,
            n_bytes: above.n_bytes,
            n_rules: above.n_rules,
            ..Rules::none()
        };
        for (kind, name) in KINDS.iter().enumerate().filter(|(_, name)| has_kind(name)) {
            let room = (MAX_RULE_BYTES - rules.n_bytes) as u64;
            let bytes = match listing.read(name, room) {
                Ok(bytes) => bytes,
                Err(error) if is_link(&error) => continue,
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => continue,
                    io::ErrorKind::FileTooLarge => return Err(((*name).to_owned(), SkipReason::TooManyRules)),
                    // A folder of that name has no rules.
                    io::ErrorKind::Unsupported if listing.is_folder(name) => continue,
                    io::ErrorKind::Unsupported => return Err(((*name).to_owned(), SkipReason::NotAFile)),
                    _ => return Err(((*name).to_owned(), SkipReason::Unreadable)),
                },
            };
            rules.n_bytes += bytes.len();
            let room = MAX_RULES - rules.n_rules;
            let patterns: Vec<Pattern> = pattern::parse(&bytes).take(room + 1).collect();
            if patterns.len() > room {
                return Err(((*name).to_owned(), SkipReason::TooManyRules));
            }
            rules.n_rules += patterns.len();
            if !patterns.is_empty() {
                rules.files.push(RuleFile { kind, place: place(name), rules: patterns });
            }
        }
        Ok((!rules.files.is_empty() || is_repository).then_some(rules))
    }

    /// What the rules say of a path below the root, alone: whether a folder above it is ignored is not looked at.
    pub fn judge(&self, candidate: Candidate) -> Verdict<'_> {
        let mut said: [Option<Ruling>; KINDS.len()] = [None; KINDS.len()];
        let mut steps = MAX_STEPS;
        let mut level = Some(self);
        let mut within_repository = true;
        while let Some(rules) = level {
            let joined = (!rules.down.is_empty()).then(|| [&rules.down, candidate.path].concat());
            let path = joined.as_deref().unwrap_or_else(|| candidate.path.get(rules.base..).unwrap_or_default());
            let Candidate { name, is_folder, fold, .. } = candidate;
            let kinds = if within_repository { KINDS.len() } else { OF_GIT };
            for file in rules.files.iter().filter(|file| file.kind < kinds) {
                if said[file.kind].is_none() {
                    let subject = Subject { path, name, is_folder, fold };
                    let rule = file.rules.iter().rev().find(|rule| rule.matches(subject, &mut steps));
                    said[file.kind] = rule.map(|rule| Ruling { file, rule });
                }
            }
            within_repository &= !rules.is_repository;
            level = rules.above.as_deref();
        }
        if steps == 0 {
            return Verdict::TooCostly;
        }
        Verdict::Said {
            own: said[..OF_GIT].iter().find_map(|said| *said),
            git: said[OF_GIT..].iter().find_map(|said| *said),
        }
    }
}

/// The bytes of a path, separated by `/` on every system.
pub fn raw(path: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.iter().map(|part| part.as_encoded_bytes()).collect();
    parts.join(&b'/')
}

/// Whether a folder is the top of a repository. A link named `.git` counts and is not followed.
fn is_repository(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join(".git")).is_ok()
}
