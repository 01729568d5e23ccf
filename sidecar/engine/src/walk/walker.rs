//! The walk itself: one folder after the other, and what is decided about each name.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use ignore::gitignore::Gitignore;

use super::git::Repository;
use super::names::{self, names_secret};
use super::rules::{Candidate, Rules, Ruling, Verdict};
use super::source::{reason_by_name, reason_of};
use super::{SkipReason, Skipped, SourceFile, Walk, WalkRules, globs, join, unreadable_rules};
use crate::Result;
use crate::disk::{Entry, Kind, Listing, Stat, Tree};

/// Longest absolute path, in bytes, that the system opens.
pub(super) const MAX_PATH_BYTES: usize = if cfg!(target_os = "macos") { 1023 } else { 4095 };

/// Globs of a project's configuration.
const MAX_GLOBS: usize = 100;

/// A walk under way.
pub(super) struct Walker<'a> {
    tree: &'a Tree,
    rules: &'a WalkRules,
    part: Option<&'a BTreeSet<String>>,
    include: Option<Gitignore>,
    exclude: Option<Gitignore>,
    /// A glob of `include` names a secret.
    asks_for_secrets: bool,
    /// Every repository that was met.
    repositories: RefCell<Vec<Arc<Repository>>>,
}

/// A folder to be listed.
pub(super) struct Folder {
    /// Below the root.
    pub path: PathBuf,
    /// `path` in UTF-8, separated by `/`.
    pub rel: String,
    /// `path` in bytes, where `rel` is not an exact copy of it because it is not UTF-8.
    raw: Option<Vec<u8>>,
    /// The rules of the folders above it.
    pub above: Arc<Rules>,
    /// The repository that it lies in, or is the top of if that is above the root.
    repository: Option<Arc<Repository>>,
    /// Why nothing in it belongs to the project but what is tracked.
    closed: Option<Arc<Closed>>,
    /// The file system of the folder above it; `None` for the root.
    above_device: Option<u64>,
    /// It holds secrets, and the project's globs ask for some.
    is_secret: bool,
}

/// Why a folder is out, which is entered only for the files in it that are tracked.
pub(super) enum Closed {
    /// By the rule of this file and line, as it is written.
    Ignored((String, u32, String)),
    /// It is a tool's.
    Hidden,
}

/// A folder that was listed.
pub(super) struct Listed {
    /// The names in it.
    pub entries: Vec<(OsString, Entry)>,
    /// The rules that hold in it.
    pub rules: Arc<Rules>,
    repository: Option<Arc<Repository>>,
    closed: Option<Arc<Closed>>,
    device: Option<u64>,
}

/// Why a folder was not listed.
pub(super) enum NotListed {
    Cancelled,
    /// The tree is beyond [`WalkRules::limit`].
    TooLarge,
    /// It is on a file system that is not entered.
    FileSystem,
    Failed(io::Error),
    /// This file of rules cannot be read.
    Rules(PathBuf, SkipReason),
    /// Its files are in the walk from elsewhere.
    Repeated(SkipReason),
}

/// A name in a folder, with its whole path.
pub(super) struct Name {
    /// Below the root.
    pub path: PathBuf,
    /// In UTF-8, separated by `/`.
    pub rel: String,
    raw: Option<Vec<u8>>,
    name: OsString,
    is_folder: bool,
}

/// What the rules, the project and the name itself say, before anything is opened.
pub(super) enum Decision<'a> {
    /// It belongs to the project.
    In(Wanted<'a>),
    /// A rule leaves it out.
    Ignored(Ruling<'a>),
    /// It is not tracked, in a folder that is out.
    Closed(Arc<Closed>),
    /// A folder that is never entered.
    Pruned,
    /// Out because a glob of `exclude` matches.
    Excluded(String),
    /// Out because no glob of `include` matches.
    NotIncluded,
    Hidden,
    /// The pattern of secrets that matches.
    Secret(String),
    /// Matching takes too long.
    TooCostly,
}

/// What is known of a name that belongs to the project.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    /// The rule that brings it back, if one does.
    pub ruling: Option<Ruling<'a>>,
    /// It is in only because it is tracked, or because something in it is: why it would be out.
    pub tracked_though: Option<Arc<Closed>>,
}

impl Folder {
    /// Its path in bytes.
    fn raw(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.rel.as_bytes())
    }

    /// Whether its path is UTF-8.
    pub fn is_exact(&self) -> bool {
        self.raw.is_none()
    }

    /// A name in it.
    pub fn name(&self, name: OsString, is_folder: bool) -> Name {
        let text = name.to_string_lossy();
        let rel = join(&self.rel, &text);
        let is_exact = self.is_exact() && name.to_str().is_some();
        let bytes = || match self.raw() {
            [] => name.as_encoded_bytes().to_vec(),
            above => [above, b"/", name.as_encoded_bytes()].concat(),
        };
        let raw = (!is_exact).then(bytes);
        Name { path: self.path.join(&name), rel, raw, name, is_folder }
    }

    /// The folder of a name in this one, which was listed.
    pub fn below(&self, name: Name, listed: &Listed, wanted: Wanted) -> Folder {
        let is_secret = !is_asked_for(wanted.ruling) && (self.is_secret || names::secret(name.raw(), true).is_some());
        Folder {
            path: name.path,
            rel: name.rel,
            raw: name.raw,
            above: listed.rules.clone(),
            repository: listed.repository.clone(),
            closed: wanted.tracked_though,
            above_device: listed.device,
            is_secret,
        }
    }

    /// The folder as if it were there and empty.
    pub fn unlisted(&self) -> Listed {
        let (rules, repository, closed) = (self.above.clone(), self.repository.clone(), self.closed.clone());
        Listed { entries: Vec::new(), rules, repository, closed, device: None }
    }
}

impl Name {
    /// Its path in bytes.
    fn raw(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.rel.as_bytes())
    }

    /// Whether its path is UTF-8.
    pub fn is_exact(&self) -> bool {
        self.raw.is_none()
    }
}

impl<'a> Walker<'a> {
    /// A walk and the root, from which it begins. Errors as [`super::walk`].
    pub fn new(
        tree: &'a Tree,
        rules: &'a WalkRules,
        part: Option<&'a BTreeSet<String>>,
    ) -> Result<(Walker<'a>, Folder)> {
        let above = Rules::folders_above(tree.path());
        let above = Rules::above(&rules.git, tree.path(), &above);
        let (above, repository) = above.map_err(|(path, reason)| unreadable_rules(&path, reason))?;
        let walker = Walker {
            tree,
            rules,
            part,
            include: globs(&rules.include)?,
            exclude: globs(&rules.exclude)?,
            asks_for_secrets: rules.include.iter().any(|glob| names_secret(glob.as_bytes())),
            repositories: RefCell::new(repository.iter().cloned().collect()),
        };
        let path = PathBuf::new();
        let root = Folder {
            path,
            rel: String::new(),
            raw: None,
            above,
            repository,
            closed: None,
            above_device: None,
            is_secret: false,
        };
        Ok((walker, root))
    }

    /// The indexes of git that were needed and cannot be read, as paths below the root where they are there.
    pub fn damaged_indexes(&self) -> Vec<String> {
        let damaged =
            self.repositories.borrow().iter().filter_map(|repository| repository.damaged_index()).collect::<Vec<_>>();
        let root = std::fs::canonicalize(self.tree.path()).unwrap_or_else(|_| self.tree.path().to_path_buf());
        let shown = |path: PathBuf| path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
        damaged.into_iter().map(shown).collect()
    }

    /// Lists a folder: adds what belongs to the project to `found`, and the folders in it to `folders`.
    pub fn visit(
        &self,
        folder: &Folder,
        folders: &mut Vec<Folder>,
        found: &mut Walk,
        cancelled: &dyn Fn() -> bool,
    ) -> std::result::Result<(), NotListed> {
        let mut listed = self.list(folder, cancelled)?;
        if folder.is_exact() && self.part.is_none_or(|paths| is_within(paths, &folder.rel)) {
            found.folders.push(folder.rel.clone());
        }
        for (name, entry) in std::mem::take(&mut listed.entries) {
            if cancelled() {
                return Err(NotListed::Cancelled);
            }
            let is_folder = matches!(entry.kind, Ok(Kind::Directory));
            let name = folder.name(name, is_folder);
            let rel = name.rel.as_str();
            if self.part.is_some_and(|paths| !(is_within(paths, rel) || is_folder && leads_to(paths, rel))) {
                continue;
            }
            let mut wanted = Wanted::default();
            let reason = match self.decide(folder, &listed, &name) {
                Decision::Ignored(_)
                | Decision::Closed(_)
                | Decision::Pruned
                | Decision::Excluded(_)
                | Decision::NotIncluded => continue,
                Decision::Hidden => Some(SkipReason::Hidden),
                Decision::Secret(_) => Some(SkipReason::Secret),
                Decision::TooCostly => Some(SkipReason::TooManyRules),
                Decision::In(_) if is_folder && self.is_too_long(&name) => Some(SkipReason::PathTooLong),
                Decision::In(found) => {
                    wanted = found;
                    None
                }
            };
            if let Some(reason) = reason {
                found.skipped.push(Skipped { rel: name.rel, reason });
            } else if is_folder {
                folders.push(folder.below(name, &listed, wanted));
            } else {
                match self.candidate(&name, &entry) {
                    Ok(stat) => {
                        found.bytes += stat.size;
                        found.files.push(SourceFile { rel: name.rel, stat });
                        if self.is_beyond_limit(found) {
                            return Err(NotListed::TooLarge);
                        }
                    }
                    Err(reason) => found.skipped.push(Skipped { rel: name.rel, reason }),
                }
            }
        }
        Ok(())
    }

    fn is_beyond_limit(&self, found: &Walk) -> bool {
        self.rules.limit.is_some_and(|limit| found.files.len() as u64 > limit.files || found.bytes > limit.bytes)
    }

    /// The names in a folder, and the rules that hold in it.
    pub fn list(&self, folder: &Folder, cancelled: &dyn Fn() -> bool) -> std::result::Result<Listed, NotListed> {
        let listing: Listing = self.tree.list(&folder.path).map_err(NotListed::Failed)?;
        let device = listing.device();
        if folder.above_device.is_some_and(|above| above != device) && listing.file_system().is_some() {
            return Err(NotListed::FileSystem);
        }
        let mut entries = Vec::new();
        for entry in listing.entries().map_err(NotListed::Failed)? {
            if cancelled() {
                return Err(NotListed::Cancelled);
            }
            let entry = entry.map_err(NotListed::Failed)?;
            entries.push((entry.name(), entry));
            // One folder of millions of names must not be held in memory before they are counted.
            if self.rules.limit.is_some_and(|limit| entries.len() as u64 / 8 > limit.files) {
                return Err(NotListed::TooLarge);
            }
        }
        let dotted: Vec<&OsStr> = entries
            .iter()
            .map(|(name, _)| name.as_os_str())
            .filter(|name| name.as_encoded_bytes()[0] == b'.')
            .collect();
        let has = |name: &str| dotted.iter().any(|dotted| *dotted == name);
        let top = if has(".git") { self.repository(folder)? } else { None };
        let path = (folder.rel.as_str(), folder.raw().len());
        let rules = Rules::of_folder(&folder.above, &self.rules.git, path, &listing, &has, top.as_deref());
        let rules = rules.map_err(|(path, reason)| NotListed::Rules(path, reason))?;
        let closed = folder.closed.clone().filter(|_| top.is_none());
        let repository = top.or_else(|| folder.repository.clone());
        Ok(Listed { entries, rules, repository, closed, device: Some(device) })
    }

    /// The repository whose top is this folder, which has a `.git`.
    fn repository(&self, folder: &Folder) -> std::result::Result<Option<Arc<Repository>>, NotListed> {
        let n_raw = folder.raw().len();
        let base = if n_raw == 0 { 0 } else { n_raw + 1 };
        let top = self.tree.path().join(&folder.path);
        let opened = Repository::open(&self.rules.git, &top, base, Vec::new(), folder.repository.clone());
        let Some(repository) = opened.map(Arc::new) else { return Ok(None) };
        if !folder.rel.is_empty() && repository.is_repeated(self.tree.path()) {
            return Err(NotListed::Repeated(SkipReason::Worktree));
        }
        self.repositories.borrow_mut().push(repository.clone());
        Ok(Some(repository))
    }

    /// Decides about a name in `folder`, which was listed.
    pub fn decide<'r>(&self, folder: &Folder, listed: &'r Listed, name: &Name) -> Decision<'r> {
        let bytes = name.name.as_encoded_bytes();
        if names::is_pruned(&name.name, name.is_folder) {
            return Decision::Pruned;
        }
        let fold = listed.repository.as_ref().is_some_and(|repository| repository.fold());
        let candidate = Candidate { path: name.raw(), name: bytes, is_folder: name.is_folder, fold };
        let Verdict::Said { own, git } = listed.rules.judge(candidate) else { return Decision::TooCostly };
        let ruling = match own.or(git) {
            Some(ruling) if own.is_some() && !ruling.is_negative() => return Decision::Ignored(ruling),
            ruling => ruling.filter(|ruling| ruling.is_negative()),
        };
        // Why it is out unless it is tracked.
        let closed = match (&listed.closed, git) {
            (Some(closed), _) => Some(closed.clone()),
            (None, Some(git)) if ruling.is_none() => Some(Arc::new(Closed::Ignored(git.place()))),
            (None, None) if ruling.is_none() && names::is_hidden(bytes) => Some(Arc::new(Closed::Hidden)),
            _ => None,
        };
        if let Some(closed) = &closed {
            let repository = listed.repository.as_ref();
            if !repository.is_some_and(|repository| repository.tracks(name.raw(), name.is_folder)) {
                return match (&listed.closed, git, &**closed) {
                    (None, Some(git), _) => Decision::Ignored(git),
                    (None, _, Closed::Hidden) if self.is_included(name) => Decision::Hidden,
                    _ => Decision::Closed(closed.clone()),
                };
            }
        }
        if let Some(glob) = self.exclude.as_ref().and_then(|globs| covering(globs, &name.rel, name.is_folder)) {
            return Decision::Excluded(glob);
        }
        let include = match &self.include {
            Some(globs) if !name.is_folder => match covering(globs, &name.rel, false) {
                Some(glob) => Some(glob),
                None => return Decision::NotIncluded,
            },
            _ => None,
        };
        if folder.is_secret && !name.is_folder || names::secret(name.raw(), name.is_folder).is_some() {
            let by_glob = include.map_or(name.is_folder && self.asks_for_secrets, |glob| names_secret(glob.as_bytes()));
            if !by_glob && !is_asked_for(ruling) {
                let pattern = names::secret(name.raw(), name.is_folder);
                return Decision::Secret(pattern.unwrap_or_else(|| folder.rel.clone() + "/"));
            }
        }
        Decision::In(Wanted { ruling, tracked_though: closed })
    }

    /// Whether the project's globs let a name in.
    fn is_included(&self, name: &Name) -> bool {
        let covers = |globs: &Gitignore| covering(globs, &name.rel, name.is_folder).is_some();
        !self.exclude.as_ref().is_some_and(covers) && (name.is_folder || self.include.as_ref().is_none_or(covers))
    }

    /// What the system says of a file that may be source.
    pub fn candidate(&self, name: &Name, entry: &Entry) -> std::result::Result<Stat, SkipReason> {
        if !name.is_exact() {
            return Err(SkipReason::NonUtf8Path);
        }
        match &entry.kind {
            Ok(Kind::File) => {}
            Ok(Kind::Link) => return Err(SkipReason::Symlink),
            Ok(_) => return Err(SkipReason::NotAFile),
            Err(error) => return Err(reason_of(error)),
        }
        if let Some(reason) = reason_by_name(&name.rel) {
            return Err(reason);
        }
        let stat = entry.stat().map_err(|error| reason_of(&error))?;
        if self.rules.longest() < stat.size {
            return Err(SkipReason::TooLarge);
        }
        Ok(stat)
    }

    /// Whether a folder's path is longer than the system can open.
    pub fn is_too_long(&self, name: &Name) -> bool {
        self.tree.path().as_os_str().len() + 1 + name.path.as_os_str().len() > MAX_PATH_BYTES
    }
}

/// Whether `rel` is one of `paths` or lies below one.
pub(crate) fn is_within(paths: &BTreeSet<String>, rel: &str) -> bool {
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

/// Whether a rule that brings a path back asks for secrets: it stands in an `.offheapignore` and names one.
fn is_asked_for(ruling: Option<Ruling>) -> bool {
    ruling.is_some_and(|ruling| ruling.is_of_offheap() && names_secret(ruling.place().2.as_bytes()))
}

/// The matcher of a project's globs; `None` without any.
fn globs(globs: &[String]) -> Result<Option<Gitignore>> {
    (!globs.is_empty()).then(|| globs::compile(globs, MAX_GLOBS, false)).transpose()
}

/// The glob that matches the path or a folder above it.
fn covering(globs: &Gitignore, rel: &str, is_folder: bool) -> Option<String> {
    match globs.matched_path_or_any_parents(rel, is_folder) {
        ignore::Match::Ignore(glob) => Some(glob.original().to_owned()),
        ignore::Match::None | ignore::Match::Whitelist(_) => None,
    }
}
