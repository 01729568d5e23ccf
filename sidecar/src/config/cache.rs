//! Indexes in the user's cache: of projects that cannot be written, and of those whose configuration says so.
//!
//! `<cache>/offheap/indexes/<id>` is the data directory of one project, `<id>.root` beside it names the project. The id is a hash
//! of the project's path. A repository can choose between the two places and names neither.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use offheap_engine::disk::Tree;
use offheap_engine::store::Place;
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Endpoint, Fault};

use super::file::{Config, DataDir};
use crate::secret::secret;

/// How long the index of a project that is gone is kept: its disk may only be unplugged.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest path of a project in an `<id>.root` file.
const ROOT_BYTES: u64 = 64 << 10;

/// Whether the index of a project is in the cache.
pub fn is_used(tree: &Tree) -> bool {
    let is_chosen = Config::read_in(tree).is_ok_and(|(config, _)| config.data_dir == DataDir::Cache);
    is_chosen || !is_writable(tree.path())
}

/// The place of the index of the project at `root` in the cache.
pub fn place(root: &Path) -> Option<Place> {
    Some(Place::below(&folder()?, &[&id(root)?], secret()))
}

/// Makes the folder of indexes in the cache, for this user alone, and notes which project the index of `root` belongs to.
///
/// Errors: `IO` where there is no place for it.
pub fn prepare(root: &Path) -> Result<(), Fault> {
    let none = || {
        Fault::new(Code::Io, format!("`{}` cannot be written, and there is no cache directory to use", root.display()))
            .hint("set XDG_CACHE_HOME to a directory of yours")
    };
    let (dir, id) = folder().zip(id(root)).ok_or_else(none)?;
    let failed = |error: std::io::Error| {
        crate::fault::io(&error, format!("cannot keep an index in `{}`: {error}", dir.display()))
            .hint("set XDG_CACHE_HOME to a directory of yours")
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&dir).map_err(failed)?;
    std::fs::write(dir.join(format!("{id}.root")), root.as_os_str().as_encoded_bytes()).map_err(failed)
}

/// The folder of all indexes in the cache: the first of a few that this user may make.
fn folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = std::env::home_dir();
    let of_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let bases = if cfg!(windows) {
        vec![var("LOCALAPPDATA")]
    } else if cfg!(target_os = "macos") {
        vec![of_home("Library/Caches")]
    } else {
        vec![var("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()), of_home(".cache")]
    };
    let fallback = Endpoint::new(None).ok().map(|endpoint| endpoint.dir().join("cache"));
    let dirs = bases.into_iter().flatten().map(|base| base.join("offheap")).chain(fallback);
    dirs.map(|dir| dir.join("indexes")).find(|dir| is_ours(dir))
}

/// Whether a directory, or what is nearest above it, may be used by this user.
fn is_ours(dir: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let us = offheap_protocol::unix::user();
        let there = dir.ancestors().find_map(|dir| Some((dir, std::fs::metadata(dir).ok()?)));
        there.is_some_and(|(at, meta)| meta.is_dir() && meta.uid() == us && can_write(at))
    }
    #[cfg(not(unix))]
    dir.is_absolute()
}

/// Whether the index can be made or changed in the project. Root makes none in a user's directory, which would be of no use to them.
pub fn is_writable(root: &Path) -> bool {
    #[cfg(unix)]
    {
        let (offheap, data) = (root.join(PROJECT_DIR), root.join(PROJECT_DIR).join("data"));
        let there = [&data, &offheap, &root.to_path_buf()]
            .into_iter()
            .find(|dir| std::fs::symlink_metadata(dir).is_ok())
            .cloned();
        // A link in its place is refused with its name by those who open it.
        let Some(there) = there.filter(|there| !there.is_symlink()) else { return true };
        offheap_protocol::unix::foreign_owner(&there).is_none() && can_write(&there)
    }
    #[cfg(not(unix))]
    {
        let _ = root;
        true
    }
}

#[cfg(unix)]
fn can_write(dir: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// The project's id, as in the names of its endpoint's files.
fn id(root: &Path) -> Option<String> {
    let lock = Endpoint::under(PathBuf::from("/"), Some(root.to_path_buf())).ok()?.lock();
    Some(lock.file_stem()?.to_str()?.to_owned())
}

/// Removes indexes of projects that have been gone for weeks.
pub fn sweep() {
    let Some(dir) = folder() else { return };
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        if let Some(id) = name.strip_suffix(".root").filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            remove_if_gone(&dir, id, SystemTime::now());
        }
    }
}

fn remove_if_gone(dir: &Path, id: &str, now: SystemTime) {
    let note = dir.join(format!("{id}.root"));
    let Ok(meta) = std::fs::symlink_metadata(&note) else { return };
    let is_old = meta.modified().is_ok_and(|at| now.duration_since(at).unwrap_or_default() > KEPT);
    if !is_old || !meta.is_file() || meta.len() > ROOT_BYTES {
        return;
    }
    let Ok(root) = std::fs::read_to_string(&note) else { return };
    let is_gone = std::fs::symlink_metadata(&root).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if is_gone && std::fs::remove_dir_all(dir.join(id)).is_ok() {
        let _ = std::fs::remove_file(note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_indexes_of_projects_that_are_gone_are_removed() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let make = |id: &str, root: &Path| {
            std::fs::create_dir(temp.path().join(id)).expect("fresh");
            std::fs::write(temp.path().join(id).join("format"), "1").expect("writable");
            std::fs::write(temp.path().join(format!("{id}.root")), root.as_os_str().as_encoded_bytes())
                .expect("writable");
        };
        make("aa", temp.path());
        make("bb", &temp.path().join("gone"));
        let later = SystemTime::now() + KEPT + Duration::from_secs(60);
        for id in ["aa", "bb"] {
            remove_if_gone(temp.path(), id, SystemTime::now());
            assert!(temp.path().join(id).exists(), "{id} is not old");
            remove_if_gone(temp.path(), id, later);
        }
        assert!(temp.path().join("aa").exists() && !temp.path().join("bb").exists());
        assert!(!temp.path().join("bb.root").exists());
    }
}
