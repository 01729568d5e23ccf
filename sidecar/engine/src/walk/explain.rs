//! Why one path belongs to a project or does not.

use std::path::Path;

use super::source::reason_of;
use super::walker::{Closed, Decision, Folder, NotListed, Walker};
use super::{SkipReason, WalkRules, unreadable_rules};
use crate::disk::{Kind, Tree, is_below};
use crate::{Error, Result};

/// What the walk decides about one path, before its content is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathDecision {
    /// The path below the root, separated by `/`; an approximation of one that is not UTF-8. Empty for the root.
    pub rel: String,
    /// The path that decides: `rel`, or the folder above it that is left out with all it holds.
    pub at: String,
    /// What is there; `None` when the path does not exist, and the decision is what it would be for a file, or when a folder
    /// above it decides.
    pub kind: Option<PathKind>,
    /// What decides.
    pub because: Because,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, pipe, socket or device.
    Other,
}

/// Why a path belongs to the project, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// It belongs to the project: nothing leaves it out.
    Wanted,
    /// It belongs to the project: this rule, which begins with `!`, brings it back.
    BroughtBack(RulePlace),
    /// It belongs to the project because git tracks it, or something in it.
    Tracked {
        /// Why it would be left out otherwise.
        though: Box<Because>,
    },
    /// A rule of an ignore file leaves it out.
    Ignored(RulePlace),
    /// A folder that is never entered: [`super::PRUNED`].
    Pruned,
    /// A glob of the project's `index.exclude` leaves it out.
    Excluded {
        /// The glob.
        glob: String,
    },
    /// The project's `index.include` has globs, and none matches.
    NotIncluded,
    /// It is a secret by its name.
    Secret {
        /// The pattern of names that it matches.
        pattern: String,
    },
    /// It was seen and left out for this reason, which is not [`SkipReason::Secret`].
    Skipped(SkipReason),
}

/// A rule of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlace {
    /// The ignore file: below the root and separated by `/`, or the whole path of one outside.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// The rule as it is written, without spaces at its end.
    pub pattern: String,
}

impl PathDecision {
    /// Whether the path belongs to the project, as far as its name and the rules say.
    pub fn is_wanted(&self) -> bool {
        matches!(self.because, Because::Wanted | Because::BroughtBack(_) | Because::Tracked { .. })
    }
}

impl RulePlace {
    fn of((file, line, pattern): (String, u32, String)) -> RulePlace {
        RulePlace { file, line, pattern }
    }
}

/// Says what [`super::walk`] decides about a path below the root, and which rule of which file says so.
///
/// Errors as [`super::walk`]; [`Error::UnsafePath`] for a path that is absolute or has `..` in it.
pub fn explain(tree: &Tree, rules: &WalkRules, rel: &Path) -> Result<PathDecision> {
    if !is_below(rel) {
        return Err(Error::UnsafePath { path: rel.to_path_buf(), found: "no path below the project's root".into() });
    }
    let (walker, mut folder) = Walker::new(tree, rules, None)?;
    let mut decision = PathDecision {
        rel: rel.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/"),
        at: String::new(),
        kind: Some(PathKind::Folder),
        because: Because::Wanted,
    };
    let n_parts = rel.iter().count();
    for (n, part) in (1..).zip(rel) {
        let is_last = n == n_parts;
        // Below a path that is missing, the rules of the last folder that exists hold.
        let mut listed = match decision.kind {
            None => folder.unlisted(),
            Some(_) => match walker.list(&folder, &|| false) {
                Ok(listed) => listed,
                Err(not_listed) => {
                    decision.because = Because::Skipped(why_not_listed(tree, &folder, not_listed)?);
                    break;
                }
            },
        };
        let entry =
            std::mem::take(&mut listed.entries).into_iter().find(|(name, _)| name == part).map(|(_, entry)| entry);
        decision.kind = entry.as_ref().map(|entry| match entry.kind {
            Ok(Kind::File) => PathKind::File,
            Ok(Kind::Directory) => PathKind::Folder,
            _ => PathKind::Other,
        });
        let name = folder.name(part.to_owned(), decision.kind.map_or(!is_last, |kind| kind == PathKind::Folder));
        decision.at.clone_from(&name.rel);
        let wanted = match walker.decide(&folder, &listed, &name) {
            Decision::In(wanted) => wanted,
            out => {
                decision.because = Because::of(out);
                break;
            }
        };
        decision.because = match (&wanted.tracked_though, wanted.ruling) {
            (Some(closed), _) => Because::Tracked { though: Box::new(Because::of_closed(closed)) },
            (None, Some(ruling)) => Because::BroughtBack(RulePlace::of(ruling.place())),
            (None, None) => Because::Wanted,
        };
        let skipped = match (decision.kind, entry) {
            (Some(PathKind::Folder), _) => walker.is_too_long(&name).then_some(SkipReason::PathTooLong),
            (_, Some(entry)) if is_last => walker.candidate(&name, &entry).err(),
            (Some(PathKind::File), _) => Some(SkipReason::Vanished), // nothing lies below a file
            (Some(PathKind::Other), _) => Some(SkipReason::Symlink),
            (None, _) => None,
        };
        if let Some(reason) = skipped {
            decision.because = Because::Skipped(reason);
            break;
        }
        folder = folder.below(name, &listed, wanted);
    }
    if decision.at != decision.rel {
        decision.kind = None;
    } else if decision.is_wanted()
        && decision.kind == Some(PathKind::Folder)
        && let Err(not_listed) = walker.list(&folder, &|| false)
    {
        decision.because = Because::Skipped(why_not_listed(tree, &folder, not_listed)?);
    }
    Ok(decision)
}

impl Because {
    /// The reason for a name that is left out.
    fn of(decision: Decision) -> Because {
        match decision {
            Decision::In(_) => Because::Wanted,
            Decision::Ignored(ruling) => Because::Ignored(RulePlace::of(ruling.place())),
            Decision::Closed(closed) => Because::of_closed(&closed),
            Decision::Pruned => Because::Pruned,
            Decision::Excluded(glob) => Because::Excluded { glob },
            Decision::NotIncluded => Because::NotIncluded,
            Decision::Hidden => Because::Skipped(SkipReason::Hidden),
            Decision::Secret(pattern) => Because::Secret { pattern },
            Decision::TooCostly => Because::Skipped(SkipReason::TooManyRules),
        }
    }
}

impl Because {
    /// The reason for what is not tracked in a folder that is out.
    fn of_closed(closed: &Closed) -> Because {
        match closed {
            Closed::Ignored(place) => Because::Ignored(RulePlace::of(place.clone())),
            Closed::Hidden => Because::Skipped(SkipReason::Hidden),
        }
    }
}

/// The reason for a folder that cannot be listed. Errors as the walk's, for the root.
fn why_not_listed(tree: &Tree, folder: &Folder, error: NotListed) -> Result<SkipReason> {
    match error {
        NotListed::FileSystem => Ok(SkipReason::FileSystem),
        NotListed::TooLarge => Ok(SkipReason::TooManyRules), // only a limit asks for it, and `explain` has none
        NotListed::Cancelled => Err(Error::Cancelled),
        NotListed::Rules(path, reason) if folder.rel.is_empty() => {
            Err(unreadable_rules(&tree.path().join(path), reason))
        }
        NotListed::Rules(_, reason) | NotListed::Repeated(reason) => Ok(reason),
        NotListed::Failed(source) if folder.rel.is_empty() => Err(Error::io("list", tree.path(), source)),
        NotListed::Failed(source) => Ok(reason_of(&source)),
    }
}
