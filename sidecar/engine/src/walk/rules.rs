//! Ignore files: read once for each folder, bounded, never through a link.
//!
//! A folder's rules are matched against all that lies below it; the nearest folder that has a say wins. Of the kinds,
//! `.offheapignore` beats `.ignore`, which beats `.gitignore`, which beats a repository's own `info/exclude`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::SkipReason;
use crate::disk::{Entry, Listing, Tree, is_link};

/// Bytes of all ignore files that apply to one folder. A compiled rule takes some fifty times its text.
pub const MAX_RULE_BYTES: usize = 512 << 10;
/// Rules of all ignore files that apply to one folder.
pub const MAX_RULES: usize = 20_000;

/// The kinds of ignore files, strongest first.
const KINDS: [&str; 4] = [".offheapignore", ".ignore", ".gitignore", ".git/info/exclude"];
/// Kinds from here on are git's own, and end at the top of a repository.
const OF_GIT: usize = 2;

/// The rules of a folder and of those above it.
pub struct Rules {
    above: Option<Arc<Rules>>,
    kinds: [Option<Gitignore>; KINDS.len()],
    /// The root of the project where the rules were made for absolute paths, those of a folder above it.
    absolute_root: Option<PathBuf>,
    /// Git's rules of the folders above do not count here.
    is_repository: bool,
    n_bytes: usize,
    n_rules: usize,
}

/// What the rules say of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ignored.
    Out,
    /// A rule brings it back.
    In,
    /// No rule is about it.
    None,
}

impl Rules {
    /// Whether a root is within a git repository and not its top.
    pub fn is_below_repository(root: &Path) -> bool {
        let top = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        !top.join(".git").exists() && top.ancestors().skip(1).any(|folder| folder.join(".git").exists())
    }

    /// The rules of the folders above a root, which count inside a repository only, and only up to its top: a `*` in the
    /// `.gitignore` of a home directory must not empty every project below it.
    ///
    /// Errors: the file that cannot be read, and why.
    pub fn above(root: &Path, is_below_repository: bool) -> Result<Arc<Rules>, (PathBuf, SkipReason)> {
        let mut rules = Arc::new(Rules::none());
        if !is_below_repository {
            return Ok(rules);
        }
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        let mut folders: Vec<&Path> = root.ancestors().skip(1).collect();
        folders.truncate(folders.iter().position(|folder| folder.join(".git").exists()).map_or(0, |top| top + 1));
        for folder in folders.into_iter().rev() {
            let Ok(listing) = Tree::open(folder)
                .and_then(|tree| tree.list(Path::new("")).map_err(|e| crate::Error::io("list", folder, e)))
            else {
                continue; // not ours to see, and so no rules of the user's
            };
            let base = folder.to_string_lossy();
            let made = Rules::read(&rules, &base, &listing, &mut |_| true, false, &mut |_| {});
            let made = made.map_err(|(name, reason)| (folder.join(name), reason))?;
            rules = match made {
                Some(made) => Arc::new(Rules { absolute_root: Some(root.clone()), ..made }),
                None => rules,
            };
        }
        Ok(rules)
    }

    /// The rules that hold in the folder `rel`, whose names are `entries`. `linked` hears of ignore files that are links;
    /// git takes no notice of those, and neither does this.
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
            kinds: [const { None }; 4],
            absolute_root: None,
            is_repository: false,
            n_bytes: 0,
            n_rules: 0,
        }
    }

    /// `None` when the folder has no rules and is no repository.
    fn read(
        above: &Arc<Rules>,
        base: &str,
        listing: &Listing,
        has_kind: &mut dyn FnMut(&str) -> bool,
        is_repository: bool,
        linked: &mut dyn FnMut(&str),
    ) -> Result<Option<Rules>, (String, SkipReason)> {
        let mut rules = Rules {
            above: Some(above.clone()),
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
                    // Also for a folder of that name, which is no file of rules.
                    io::ErrorKind::Unsupported if listing.is_folder(name) => continue,
                    io::ErrorKind::Unsupported => return Err(((*name).to_owned(), SkipReason::NotAFile)),
                    _ => return Err(((*name).to_owned(), SkipReason::Unreadable)),
                },
            };
            let too_many = || ((*name).to_owned(), SkipReason::TooManyRules);
            let text = String::from_utf8_lossy(&bytes);
            let mut builder = GitignoreBuilder::new(base);
            rules.n_bytes += bytes.len();
            for line in text.trim_start_matches('\u{feff}').lines() {
                rules.n_rules += 1;
                if rules.n_rules > MAX_RULES {
                    return Err(too_many());
                }
                // A line that is not a glob matches nothing, as in git.
                let _ = builder.add_line(None, line);
            }
            // What does not compile is too large as a whole.
            rules.kinds[kind] = Some(builder.build().map_err(|_| too_many())?);
        }
        let has_rules = rules.kinds.iter().flatten().any(|rules| !rules.is_empty());
        Ok((has_rules || is_repository).then_some(rules))
    }

    /// What the rules say of a path below the root.
    pub fn judge(&self, rel: &str, is_folder: bool) -> Verdict {
        let mut said = [Verdict::None; KINDS.len()];
        let mut level = Some(self);
        let mut within_repository = true;
        let mut absolute = None;
        while let Some(rules) = level {
            let path = match &rules.absolute_root {
                None => Path::new(rel),
                Some(root) => absolute.get_or_insert_with(|| root.join(rel)).as_path(),
            };
            let kinds = if within_repository { KINDS.len() } else { OF_GIT };
            for (said, matcher) in said.iter_mut().zip(&rules.kinds).take(kinds) {
                if let (Verdict::None, Some(matcher)) = (*said, matcher) {
                    *said = match matcher.matched(path, is_folder) {
                        Match::None => Verdict::None,
                        Match::Ignore(_) => Verdict::Out,
                        Match::Whitelist(_) => Verdict::In,
                    };
                }
            }
            within_repository &= !rules.is_repository;
            level = rules.above.as_deref();
        }
        said.into_iter().find(|said| *said != Verdict::None).unwrap_or(Verdict::None)
    }
}
