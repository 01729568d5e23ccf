//! The walk itself: one folder after the other, and what is decided about each name.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use ignore::gitignore::Gitignore;

use super::names::{self, names_secret};
use super::rules::{Candidate, Rules, Ruling, Verdict};
use super::source::{reason_by_name, reason_of};
use super::{SkipReason, Skipped, SourceFile, Walk, WalkRules, globs, join, unreadable_rules};
use crate::Result;
use crate::disk::{Entry, Kind, Listing, Tree};

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
    /// The root lies within a repository, so rules of git end at the top of another repository below it.
    may_nest: bool,
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
    /// It holds secrets, and the project's globs ask for some.
    is_secret: bool,
}

/// Why a folder was not listed.
pub(super) enum NotListed {
    Cancelled,
    Failed(io::Error),
    /// The ignore file of this name cannot be read.
    Rules(String, SkipReason),
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
    /// It belongs to the project; the rule that brought it back, if one did.
    In(Option<Ruling<'a>>),
    /// A rule leaves it out.
    Ignored(Ruling<'a>),
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

    /// The folder of a name in this one, whose rules are `rules`.
    pub fn below(&self, name: Name, rules: &Arc<Rules>, ruling: Option<Ruling>) -> Folder {
        let is_secret = !is_asked_for(ruling) && (self.is_secret || names::secret(name.raw(), true).is_some());
        Folder { path: name.path, rel: name.rel, raw: name.raw, above: rules.clone(), is_secret }
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
        let include = globs(&rules.include)?;
        let exclude = globs(&rules.exclude)?;
        let asks_for_secrets = rules.include.iter().any(|glob| names_secret(glob.as_bytes()));
        let walker = Walker { tree, rules, part, include, exclude, asks_for_secrets, may_nest: !above.is_empty() };
        let above = Rules::above(tree.path(), &above).map_err(|(path, reason)| unreadable_rules(&path, reason))?;
        Ok((walker, Folder { path: PathBuf::new(), rel: String::new(), raw: None, above, is_secret: false }))
    }

    /// Lists a folder: adds what belongs to the project to `found`, and the folders in it to `folders`.
    pub fn visit(
        &self,
        folder: &Folder,
        folders: &mut Vec<Folder>,
        found: &mut Walk,
        cancelled: &dyn Fn() -> bool,
    ) -> std::result::Result<(), NotListed> {
        let (entries, rules) = self.list(folder, cancelled)?;
        if folder.is_exact() && self.part.is_none_or(|paths| is_within(paths, &folder.rel)) {
            found.folders.push(folder.rel.clone());
        }
        for (name, entry) in entries {
            if cancelled() {
                return Err(NotListed::Cancelled);
            }
            let is_folder = matches!(entry.kind, Ok(Kind::Directory));
            let name = folder.name(name, is_folder);
            let rel = name.rel.as_str();
            if self.part.is_some_and(|paths| !(is_within(paths, rel) || is_folder && leads_to(paths, rel))) {
                continue;
            }
            let mut brought_back = None;
            let reason = match self.decide(folder, &rules, &name) {
                Decision::Ignored(_) | Decision::Pruned | Decision::Excluded(_) | Decision::NotIncluded => continue,
                Decision::Hidden => Some(SkipReason::Hidden),
                Decision::Secret(_) => Some(SkipReason::Secret),
                Decision::TooCostly => Some(SkipReason::TooManyRules),
                Decision::In(_) if is_folder && self.is_too_long(&name) => Some(SkipReason::PathTooLong),
                Decision::In(ruling) => {
                    brought_back = ruling;
                    None
                }
            };
            if let Some(reason) = reason {
                found.skipped.push(Skipped { rel: name.rel, reason });
            } else if is_folder {
                folders.push(folder.below(name, &rules, brought_back));
            } else {
                match self.candidate(&name, &entry) {
                    Ok((size, mtime_ns)) => found.files.push(SourceFile { rel: name.rel, size, mtime_ns }),
                    Err(reason) => found.skipped.push(Skipped { rel: name.rel, reason }),
                }
            }
        }
        Ok(())
    }

    /// The names in a folder, and the rules that hold in it.
    pub fn list(
        &self,
        folder: &Folder,
        cancelled: &dyn Fn() -> bool,
    ) -> std::result::Result<(Vec<(OsString, Entry)>, Arc<Rules>), NotListed> {
        let listing: Listing = self.tree.list(&folder.path).map_err(NotListed::Failed)?;
        let mut entries = Vec::new();
        for entry in listing.entries().map_err(NotListed::Failed)? {
            if cancelled() {
                return Err(NotListed::Cancelled);
            }
            let entry = entry.map_err(NotListed::Failed)?;
            entries.push((entry.name(), entry));
        }
        let dotted: Vec<&OsStr> = entries
            .iter()
            .map(|(name, _)| name.as_os_str())
            .filter(|name| name.as_encoded_bytes()[0] == b'.')
            .collect();
        let has = |name: &str| dotted.iter().any(|dotted| *dotted == name);
        let rules = Rules::of_folder(&folder.above, &folder.rel, folder.raw().len(), &listing, self.may_nest, &has);
        let rules = rules.map_err(|(name, reason)| NotListed::Rules(name, reason))?;
        Ok((entries, rules))
    }

    /// Decides about a name in `folder`, whose rules are `rules`.
    pub fn decide<'r>(&self, folder: &Folder, rules: &'r Rules, name: &Name) -> Decision<'r> {
        let bytes = name.name.as_encoded_bytes();
        let candidate = Candidate { path: name.raw(), name: bytes, is_folder: name.is_folder, fold: false };
        if name.is_folder && names::is_pruned(&name.name) {
            return Decision::Pruned;
        }
        let Verdict::Said { own, git } = rules.judge(candidate) else { return Decision::TooCostly };
        let ruling = match own.or(git) {
            Some(ruling) if !ruling.is_negative() => return Decision::Ignored(ruling),
            ruling => ruling,
        };
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
        if ruling.is_none() && names::is_hidden(bytes) {
            return Decision::Hidden;
        }
        if folder.is_secret && !name.is_folder || names::secret(name.raw(), name.is_folder).is_some() {
            let by_glob = include.map_or(name.is_folder && self.asks_for_secrets, |glob| names_secret(glob.as_bytes()));
            if !by_glob && !is_asked_for(ruling) {
                let pattern = names::secret(name.raw(), name.is_folder);
                return Decision::Secret(pattern.unwrap_or_else(|| folder.rel.clone() + "/"));
            }
        }
        Decision::In(ruling)
    }

    /// Length and modification time of a file that may be source.
    pub fn candidate(&self, name: &Name, entry: &Entry) -> std::result::Result<(u64, i64), SkipReason> {
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
        let (length, mtime_ns) = entry.length_and_mtime().map_err(|error| reason_of(&error))?;
        if self.rules.longest() < length {
            return Err(SkipReason::TooLarge);
        }
        Ok((length, mtime_ns))
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
