//! Which directory is a project: the one rule that every client and command follows.
//!
//! 1. The nearest directory upwards with `.offheap/config.json`. The climb ends at a directory with `.git`, a folder or (in
//!    linked worktrees and submodules) a file: a repository is never answered from an index around it.
//! 2. Else the directory where the climb met `.git`.
//! 3. Else the directory itself.
//!
//! A directory that holds more than a project ([`too_wide`]) is one only when it is named itself: an index of a home directory
//! does not answer for what lies below it.

use std::path::{Path, PathBuf};

use crate::endpoint::{PROJECT_DIR, canonical};
use crate::message::Fault;

/// A project's root, and why it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// It has `.offheap/config.json`.
    Marked(PathBuf),
    /// It is the top of a repository, or the directory itself, and has no configuration.
    Unmarked(PathBuf),
}

impl Root {
    /// The directory.
    pub fn into_path(self) -> PathBuf {
        match self {
            Root::Marked(path) | Root::Unmarked(path) => path,
        }
    }
}

/// The project of the directory `start`, with links resolved.
///
/// Errors: `INVALID_ARGUMENT` where `start` is not a directory that can be opened.
pub fn root_of(start: &Path) -> Result<Root, Fault> {
    let start = canonical(start)?;
    for dir in start.ancestors() {
        if dir != start && too_wide(dir).is_some() {
            break; // nothing above it is a project either
        }
        if is_marked(dir) {
            return Ok(Root::Marked(dir.to_path_buf()));
        }
        if std::fs::symlink_metadata(dir.join(".git")).is_ok_and(|git| !git.is_symlink()) {
            return Ok(Root::Unmarked(dir.to_path_buf()));
        }
    }
    Ok(Root::Unmarked(start))
}

/// The root of the project that the directory `start` is in; `None` where no directory around it has a configuration.
///
/// Errors as [`root_of`].
pub fn find_project(start: &Path) -> Result<Option<PathBuf>, Fault> {
    Ok(match root_of(start)? {
        Root::Marked(path) => Some(path),
        Root::Unmarked(_) => None,
    })
}

/// A project whose files hold `root`, beyond the border: for messages.
pub fn project_around(root: &Path) -> Option<PathBuf> {
    root.ancestors().skip(1).find(|dir| is_marked(dir)).map(Path::to_path_buf)
}

/// Whether a directory has a configuration. A link of that name counts, so that it is refused with its name later and no project
/// further up is taken instead. In a folder that all users share, only this user's own counts.
fn is_marked(dir: &Path) -> bool {
    let offheap = dir.join(PROJECT_DIR);
    let Ok(config) = std::fs::symlink_metadata(offheap.join("config.json")) else { return false };
    #[cfg(unix)]
    if is_shared(dir) {
        use std::os::unix::fs::MetadataExt;
        return !config.is_dir()
            && std::fs::symlink_metadata(&offheap).is_ok_and(|dir| dir.uid() == crate::unix::user());
    }
    !config.is_dir()
}

/// Why a directory, a canonical path, is too wide for a project unless the user insists: it is a root, a home directory, or
/// holds those of several users. `None` for any other.
pub fn too_wide(dir: &Path) -> Option<&'static str> {
    if dir.parent().is_none() {
        return Some("is the root of a file system");
    }
    if is_home(dir) {
        return Some("is your home directory");
    }
    let is_one_of = |names: &[&str]| names.iter().any(|name| dir == Path::new(name));
    if is_one_of(&["/root", "/var/root"]) {
        return Some("is the home directory of root");
    }
    let homes = ["/home", "/Users", r"C:\Users"];
    if is_one_of(&homes) || is_parent_of_home_named_users(dir) {
        return Some("holds the home directories of users");
    }
    let is_in_homes = dir.parent().is_some_and(|parent| homes.iter().any(|home| parent == Path::new(home)));
    if is_in_homes && std::fs::symlink_metadata(dir.join(".git")).is_err() {
        return Some("is a home directory");
    }
    if is_one_of(&["/proc", "/sys", "/dev", "/run"]) {
        return Some("holds what the system says of itself");
    }
    #[cfg(unix)]
    if is_shared(dir) {
        return Some("is a folder that all users share");
    }
    None
}

/// Whether `dir` is the home directory, by path or by what is there.
fn is_home(dir: &Path) -> bool {
    let Some(home) = std::env::home_dir().filter(|home| home.is_absolute()) else { return false };
    if std::fs::canonicalize(&home).unwrap_or(home.clone()) == dir || home == dir {
        return true;
    }
    #[cfg(windows)]
    return canonical(&home).is_ok_and(|home| home == dir);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        identity(dir).is_some_and(|found| identity(&home) == Some(found))
    }
    #[cfg(not(any(unix, windows)))]
    false
}

/// Homes may lie on another drive: `D:\Users`.
fn is_parent_of_home_named_users(dir: &Path) -> bool {
    cfg!(windows)
        && dir.file_name().is_some_and(|name| name.eq_ignore_ascii_case("users"))
        && dir.parent().is_some_and(|parent| parent.parent().is_none())
}

/// Whether every user may make files in a directory, as in `/tmp`.
#[cfg(unix)]
fn is_shared(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    const STICKY_AND_OPEN: u32 = 0o1002;
    std::fs::metadata(dir).is_ok_and(|meta| meta.mode() & STICKY_AND_OPEN == STICKY_AND_OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(dir: &Path) {
        std::fs::create_dir_all(dir.join(PROJECT_DIR)).expect("directory");
        std::fs::write(dir.join(PROJECT_DIR).join("config.json"), "{}").expect("file");
    }

    #[test]
    fn the_nearest_marked_directory_is_the_project() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let deep = temp.path().join("a/b/c");
        std::fs::create_dir_all(&deep).expect("directories");
        assert_eq!(find_project(&deep).expect("readable"), None);
        mark(&temp.path().join("a"));
        let root = canonical(&temp.path().join("a")).expect("exists");
        assert_eq!(find_project(&deep).expect("readable"), Some(root));
    }

    #[test]
    fn a_repository_ends_the_climb() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let outer = canonical(temp.path()).expect("exists").join("outer");
        mark(&outer);
        let (repository, worktree, plain) =
            (outer.join("repository"), outer.join("worktree"), outer.join("plain/deep"));
        for dir in [repository.join(".git"), repository.join("src"), worktree.join("src"), plain.clone()] {
            std::fs::create_dir_all(dir).expect("directories");
        }
        std::fs::write(worktree.join(".git"), "gitdir: ../elsewhere\n").expect("file");
        assert_eq!(root_of(&repository.join("src")).expect("readable"), Root::Unmarked(repository.clone()));
        assert_eq!(root_of(&worktree.join("src")).expect("readable"), Root::Unmarked(worktree));
        assert_eq!(root_of(&plain).expect("readable"), Root::Marked(outer.clone()));
        assert_eq!(project_around(&repository), Some(outer));
        // A part of a repository that is a project of its own stays one, and so does the repository.
        mark(&repository.join("src"));
        assert_eq!(root_of(&repository.join("src")).expect("readable"), Root::Marked(repository.join("src")));
        mark(&repository);
        assert_eq!(root_of(&repository).expect("readable"), Root::Marked(repository));
    }

    #[test]
    fn roots_and_shared_folders_are_too_wide() {
        let temp = tempfile::tempdir().expect("temporary directory");
        assert_eq!(too_wide(&canonical(temp.path()).expect("exists")), None);
        let root = canonical(temp.path()).expect("exists").ancestors().last().expect("a root").to_path_buf();
        assert!(too_wide(&root).is_some());
        if let Some(home) = std::env::home_dir().and_then(|home| canonical(&home).ok()) {
            assert!(too_wide(&home).is_some(), "{}", home.display());
        }
        #[cfg(unix)]
        {
            assert!(too_wide(Path::new("/home")).is_some() && too_wide(Path::new("/root")).is_some());
            let shared = temp.path().join("shared");
            std::fs::create_dir(&shared).expect("directory");
            std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).expect("chmod");
            assert!(too_wide(&shared).is_some());
            // What is named itself is a project; what lies below is not part of it.
            mark(&shared);
            let inner = canonical(&shared).expect("exists").join("inner");
            std::fs::create_dir(&inner).expect("directory");
            assert_eq!(root_of(&inner).expect("readable"), Root::Unmarked(inner.clone()));
            assert!(matches!(root_of(&shared).expect("readable"), Root::Marked(_)));
        }
    }
}
