//! Ignore files: read once for each folder, bounded, never through a link.
//!
//! A folder's rules are matched against all that lies below it; the nearest folder with a matching rule wins. Of the
//! kinds of files, `.offheapignore` beats `.ignore`, which beats `.gitignore`, which beats a repository's own
//! `info/exclude`, which beats the user's file (`core.excludesFile`).
//!
//! Each rule is matched by itself, as git does. A set of rules compiled into one automaton took gigabytes for an ignore
//! file of 66 KB.

mod pattern;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::pattern::{Pattern, Subject};
use super::SkipReason;
use super::git::{GitSettings, Repository};
use super::paths::raw;
use crate::disk::{Listing, Tree, is_link};

/// Most bytes of all ignore files that apply to one folder.
pub const MAX_RULE_BYTES: usize = 512 << 10;
/// Most rules of all ignore files that apply to one folder: each name is matched against each rule.
pub const MAX_RULES: usize = 10_000;
/// Most steps of matching wildcards for one name; the rules that people write take some thousands.
const MAX_STEPS: u32 = 4_000_000;

/// Names of the ignore files that any folder may have, strongest first.
pub const OF_FOLDERS: &[&str] = &[".offheapignore", ".ignore", ".gitignore"];
/// The kinds of ignore files: those of folders, a repository's `info/exclude`, the user's file for all repositories.
const N_KINDS: usize = OF_FOLDERS.len() + 2;
/// From this kind on they are git's own, whose rules end at the top of a repository.
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
    /// Below [`N_KINDS`]; a lower one is stronger.
    kind: usize,
    /// Where it is: below the root, or for one outside of it the whole path.
    place: String,
    rules: Vec<Pattern>,
}

/// An ignore file that cannot be read, and why.
pub type Unreadable = (PathBuf, SkipReason);

/// The rules above a root, and its repository.
pub type Above = (Arc<Rules>, Option<Arc<Repository>>);

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

    /// The rules of `folders`, which [`Rules::folders_above`] gave, and the repository whose top is the last of them. Rules
    /// above a root count only up to the top of its repository: a `*` in the `.gitignore` of a home directory must not
    /// empty every project below it.
    ///
    /// Errors: the file that cannot be read, and why.
    pub fn above(settings: &GitSettings, root: &Path, folders: &[PathBuf]) -> Result<Above, Unreadable> {
        let mut rules = Arc::new(Rules::none());
        let mut repository = None;
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        for (n, folder) in folders.iter().rev().enumerate() {
            let Ok(listing) = Tree::open(folder)
                .and_then(|tree| tree.list(Path::new("")).map_err(|e| crate::Error::io("list", folder, e)))
            else {
                continue; // a folder that this user may not read has no rules of the user
            };
            let mut down = raw(root.strip_prefix(folder).unwrap_or(Path::new("")));
            down.push(b'/');
            if n == 0 {
                repository = Repository::open(settings, folder, 0, down.clone(), None).map(Arc::new);
            }
            let of_top = repository.as_deref().filter(|_| n == 0);
            let place = |name: &str| folder.join(name);
            let made = Rules::read(&rules, 0, &listing, &|_| true, &place)
                .and_then(|made| made.with_excludes(settings, of_top))?;
            if !made.files.is_empty() {
                rules = Arc::new(Rules { down, ..made });
            }
        }
        Ok((rules, repository))
    }

    /// The rules that hold in the folder `rel`, whose path has `n_raw` bytes. Ignore files that are links do not count, as
    /// in git. `has` says whether it has a name. Where it is the top of a repository, git's rules of the folders above it
    /// do not count; `of_top` is the repository, if git knows it as one.
    ///
    /// Errors: the file that cannot be read, and why.
    pub fn of_folder(
        above: &Arc<Rules>,
        settings: &GitSettings,
        (rel, n_raw): (&str, usize),
        listing: &Listing,
        has: &dyn Fn(&str) -> bool,
        of_top: Option<&Repository>,
    ) -> Result<Arc<Rules>, Unreadable> {
        let is_repository = of_top.is_some() || has(".jj");
        let base = if n_raw == 0 { 0 } else { n_raw + 1 };
        let place = |name: &str| PathBuf::from(super::join(rel, name));
        let made = Rules::read(above, base, listing, has, &place)?.with_excludes(settings, of_top)?;
        let counts = is_repository || !made.files.is_empty();
        Ok(if counts { Arc::new(Rules { is_repository, ..made }) } else { above.clone() })
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

    /// The rules of a folder's own ignore files.
    fn read(
        above: &Arc<Rules>,
        base: usize,
        listing: &Listing,
        has: &dyn Fn(&str) -> bool,
        place: &dyn Fn(&str) -> PathBuf,
    ) -> Result<Rules, Unreadable> {
        let (n_bytes, n_rules) = (above.n_bytes, above.n_rules);
        let mut rules = Rules { above: Some(above.clone()), base, n_bytes, n_rules, ..Rules::none() };
        for (kind, name) in OF_FOLDERS.iter().enumerate().filter(|(_, name)| has(name)) {
            let room = (MAX_RULE_BYTES - rules.n_bytes) as u64;
            let reason = match listing.read(name, room) {
                Ok(bytes) => {
                    rules.add(kind, place(name), &bytes)?;
                    continue;
                }
                Err(error) if is_link(&error) => continue,
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => continue,
                    io::ErrorKind::FileTooLarge => SkipReason::TooManyRules,
                    // A folder of that name has no rules.
                    io::ErrorKind::Unsupported if listing.is_folder(name) => continue,
                    io::ErrorKind::Unsupported => SkipReason::NotAFile,
                    _ => SkipReason::Unreadable,
                },
            };
            return Err((place(name), reason));
        }
        Ok(rules)
    }

    /// These rules and those that hold for a whole repository: its `info/exclude` and the user's global file.
    fn with_excludes(mut self, settings: &GitSettings, of_top: Option<&Repository>) -> Result<Rules, Unreadable> {
        let Some(repository) = of_top else { return Ok(self) };
        for (kind, excludes) in (OF_FOLDERS.len()..).zip(repository.excludes(settings, MAX_RULE_BYTES as u64)?) {
            if let Some((place, bytes)) = excludes {
                self.add(kind, place, &bytes)?;
            }
        }
        Ok(self)
    }

    /// Adds a file.
    fn add(&mut self, kind: usize, place: PathBuf, bytes: &[u8]) -> Result<(), Unreadable> {
        self.n_bytes += bytes.len();
        let room = MAX_RULES - self.n_rules;
        let rules: Vec<Pattern> = pattern::parse(bytes).take(room + 1).collect();
        if self.n_bytes > MAX_RULE_BYTES || rules.len() > room {
            return Err((place, SkipReason::TooManyRules));
        }
        self.n_rules += rules.len();
        if !rules.is_empty() {
            self.files.push(RuleFile { kind, place: place.to_string_lossy().into_owned(), rules });
        }
        Ok(())
    }

    /// What the rules say of a path below the root, alone: whether a folder above it is ignored is not looked at.
    pub fn judge(&self, candidate: Candidate) -> Verdict<'_> {
        let mut said: [Option<Ruling>; N_KINDS] = [None; N_KINDS];
        let mut steps = MAX_STEPS;
        let mut level = Some(self);
        let mut within_repository = true;
        while let Some(rules) = level {
            let joined = (!rules.down.is_empty()).then(|| [&rules.down, candidate.path].concat());
            let path = joined.as_deref().unwrap_or_else(|| candidate.path.get(rules.base..).unwrap_or_default());
            let Candidate { name, is_folder, fold, .. } = candidate;
            let kinds = if within_repository { N_KINDS } else { OF_GIT };
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

/// Whether a folder is the top of a repository. A link named `.git` counts and is not followed.
fn is_repository(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join(".git")).is_ok()
}
