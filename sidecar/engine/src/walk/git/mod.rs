//! What git knows about a folder: which repository it is the top of, which paths are tracked, which rules hold besides
//! those of the ignore files.
//!
//! A repository may be a stranger's, and so may what its `.git` leads to. Whatever is read there is a regular file, within
//! limits, and says at most which files of the project are ignored or tracked.

mod config;
mod index;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use self::config::Config;
use self::index::Tracked;
use super::SkipReason;
use super::paths::path_of;
use crate::disk::{Tree, read_outside};

/// Longest `.git` file, and longest file in which git notes a path.
const MAX_LINK_BYTES: u64 = 16 << 10;
/// Most work trees of a repository that are looked at.
const MAX_WORKTREES: usize = 1_000;

/// Where the user's git configuration is. Without any, git's defaults hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSettings {
    /// The user's home, for paths that begin with `~/`.
    pub home: Option<PathBuf>,
    /// Configurations that hold for every repository, weakest first. They need not exist.
    pub config_files: Vec<PathBuf>,
    /// Keys, as `core.excludesfile`, and values that are stronger than every file.
    pub config_values: Vec<(String, String)>,
    /// The file of rules that holds where `core.excludesFile` is not set.
    pub default_excludes: Option<PathBuf>,
}

impl GitSettings {
    /// The settings of a user, as git finds them by the variables of the environment, which `variable` gives.
    pub fn of_environment(variable: impl Fn(&str) -> Option<PathBuf>) -> GitSettings {
        let set = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
        let home = set("HOME").or_else(|| set("USERPROFILE"));
        let xdg = set("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let mut config_files = Vec::new();
        match set("GIT_CONFIG_SYSTEM") {
            _ if set("GIT_CONFIG_NOSYSTEM")
                .is_some_and(|value| value != Path::new("0") && value != Path::new("false")) => {}
            Some(system) => config_files.push(system),
            None => config_files.extend(SYSTEM_CONFIGS.iter().map(PathBuf::from)),
        }
        match variable("GIT_CONFIG_GLOBAL") {
            Some(global) => config_files.push(global),
            None => {
                config_files.extend(xdg.as_ref().map(|xdg| xdg.join("git/config")));
                config_files.extend(home.as_ref().map(|home| home.join(".gitconfig")));
            }
        }
        let text = |name: String| variable(&name).and_then(|value| value.into_os_string().into_string().ok());
        let n = text("GIT_CONFIG_COUNT".to_owned()).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let value =
            |n: usize| Some((lower(&text(format!("GIT_CONFIG_KEY_{n}"))?), text(format!("GIT_CONFIG_VALUE_{n}"))?));
        let config_values = (0..n.min(1_000)).map_while(value).collect();
        GitSettings { home, config_files, config_values, default_excludes: xdg.map(|xdg| xdg.join("git/ignore")) }
    }
}

/// Where packages of git have the configuration for all users.
const SYSTEM_CONFIGS: &[&str] = if cfg!(windows) {
    &["C:/ProgramData/Git/config", "C:/Program Files/Git/etc/gitconfig"]
} else {
    &["/etc/gitconfig", "/usr/local/etc/gitconfig", "/opt/homebrew/etc/gitconfig"]
};

/// A key with its section and its name in small letters.
fn lower(key: &str) -> String {
    let (Some(first), Some(last)) = (key.find('.'), key.rfind('.')) else { return key.to_ascii_lowercase() };
    format!("{}{}{}", key[..first].to_ascii_lowercase(), &key[first..last], key[last..].to_ascii_lowercase())
}

/// Place and content of a file of rules.
pub type Excludes = (PathBuf, Vec<u8>);

/// A repository, seen from the root of a walk.
pub struct Repository {
    /// The folder with the `.git`.
    top: PathBuf,
    git_dir: PathBuf,
    /// Where what all work trees share is; `git_dir` itself for the first.
    common: PathBuf,
    config: Config,
    /// Length of the path of its top below the root, with a `/` at its end; 0 where the top is the root or above it.
    base: usize,
    /// Where the top is above the root: the path from the top down to the root, with a `/` at its end.
    down: Vec<u8>,
    tracked: OnceLock<Result<Tracked, ()>>,
    /// The repository in which it lies.
    outer: Option<Arc<Repository>>,
}

impl Repository {
    /// The repository whose top is the folder `top`. `base` and `down` say where it is, as in [`Repository`]'s fields.
    ///
    /// `None` where the `.git` in it is nothing that git would work with.
    pub fn open(
        settings: &GitSettings,
        top: &Path,
        base: usize,
        down: Vec<u8>,
        outer: Option<Arc<Repository>>,
    ) -> Option<Repository> {
        let git_dir = git_dir(top)?;
        let common = match noted_path(&git_dir.join("commondir"), &git_dir) {
            Some(common) => std::fs::canonicalize(&common).ok()?,
            None => git_dir.clone(),
        };
        let has = |folder: &Path, name: &str| std::fs::metadata(folder.join(name)).is_ok_and(|found| found.is_dir());
        let has_head = std::fs::symlink_metadata(git_dir.join("HEAD")).is_ok();
        // What has rules of its own counts with less than git asks for: they may be about something private.
        let has_rules = std::fs::symlink_metadata(common.join("info/exclude")).is_ok();
        if !(has_rules || has_head && has(&common, "objects") && has(&common, "refs")) {
            return None;
        }
        let config = Config::read(settings, &git_dir, &common);
        Some(Repository {
            top: top.to_path_buf(),
            git_dir,
            common,
            config,
            base,
            down,
            tracked: OnceLock::new(),
            outer,
        })
    }

    /// Whether letters of ASCII are compared without their case.
    pub fn fold(&self) -> bool {
        self.config.fold
    }

    /// The rules that hold in all of it besides those of ignore files, strongest first: place and content of `info/exclude`
    /// and of the user's file. Either may be missing.
    ///
    /// Errors: a file of more than `limit` bytes, or an `info/exclude` that is no file; nothing is known of what it
    /// would leave out.
    pub fn excludes(&self, settings: &GitSettings, limit: u64) -> Result<[Option<Excludes>; 2], (PathBuf, SkipReason)> {
        let read = |path: PathBuf, is_own: bool| match read_outside(&path, limit) {
            Ok(bytes) => Ok(Some((path, bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err((path, SkipReason::TooManyRules)),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported && is_own && !path.is_dir() => {
                Err((path, SkipReason::NotAFile))
            }
            Err(_) => Ok(None), // as git: missing, a folder, `/dev/null`, another user's
        };
        let user = self.config.excludes.as_ref().or(settings.default_excludes.as_ref());
        let user = user.filter(|path| !path.as_os_str().is_empty());
        let user = user.map(|path| self.top.join(path)).map_or(Ok(None), |path| read(path, false))?;
        Ok([read(self.common.join("info").join("exclude"), true)?, user])
    }

    /// Whether a path below the root is tracked, or for a folder anything in it; `false` where the index is damaged.
    pub fn tracks(&self, path: &[u8], is_folder: bool) -> bool {
        let Some(tracked) = self.tracked() else { return false };
        let path = match self.down.is_empty() {
            true => path.get(self.base..).unwrap_or_default().to_vec(),
            false => [&self.down, path].concat(),
        };
        let path = if self.fold() { path.to_ascii_lowercase() } else { path };
        tracked.has(&path) || is_folder && tracked.has_below(&path)
    }

    /// The index, where it was needed and cannot be read.
    pub fn damaged_index(&self) -> Option<PathBuf> {
        matches!(self.tracked.get(), Some(Err(()))).then(|| self.git_dir.join("index"))
    }

    fn tracked(&self) -> Option<&Tracked> {
        let hash_bytes = if self.config.is_sha256 { 32 } else { 20 };
        let read = || Tracked::read(&self.git_dir, hash_bytes, self.fold()).map_err(|_| ());
        self.tracked.get_or_init(read).as_ref().ok()
    }

    /// Whether the files of this work tree are in the walk of `root` already, from another work tree of the same repository:
    /// from one around it; from the main one, if that lies below the root; or else from the first by its path.
    pub fn is_repeated(&self, root: &Path) -> bool {
        let mut outer = self.outer.as_deref();
        while let Some(repository) = outer {
            if repository.common == self.common {
                return true;
            }
            outer = repository.outer.as_deref();
        }
        if self.common == self.git_dir {
            return false;
        }
        let Ok(root) = std::fs::canonicalize(root) else { return false };
        if self.common.file_name() == Some(OsStr::new(".git")) && self.common.starts_with(&root) {
            return true;
        }
        let folder = self.common.join("worktrees");
        let Ok(others) = Tree::open(&folder) else { return false };
        let Ok(listing) = others.list(Path::new("")) else { return false };
        let Ok(entries) = listing.entries() else { return false };
        let tops = entries.take(MAX_WORKTREES).flatten().filter_map(|other| {
            let git_dir = std::fs::canonicalize(folder.join(other.name())).ok()?;
            let git_file = noted_path(&git_dir.join("gitdir"), &git_dir)?;
            let is_there = git_file.starts_with(&root) && std::fs::symlink_metadata(&git_file).is_ok();
            is_there.then_some((git_file, git_dir))
        });
        tops.min().is_some_and(|(_, first)| first != self.git_dir)
    }
}

/// Where git keeps what belongs to the work tree at `top`: `.git`, a link to a folder, or what a file of that name says.
fn git_dir(top: &Path) -> Option<PathBuf> {
    let path = top.join(".git");
    let found = if std::fs::metadata(&path).ok()?.is_dir() {
        path
    } else {
        let bytes = read_outside(&path, MAX_LINK_BYTES).ok()?;
        top.join(path_of(bytes.strip_prefix(b"gitdir:")?.trim_ascii())?)
    };
    std::fs::canonicalize(found).ok()
}

/// The path that a file of git holds, relative to `from`.
fn noted_path(file: &Path, from: &Path) -> Option<PathBuf> {
    let bytes = read_outside(file, MAX_LINK_BYTES).ok()?;
    Some(from.join(path_of(bytes.trim_ascii_end())?))
}
