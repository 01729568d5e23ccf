//! Which project, and which daemon, a command works for.

use std::path::{Path, PathBuf};

use offheap_protocol::border::{Root, root_of};
use offheap_protocol::endpoint::canonical;
use offheap_protocol::{Endpoint, Fault};

use crate::args::Common;
use crate::config;

/// The root of the project that `index` works for, as [`root_of`] finds it. It becomes a project if it is none.
pub fn project(common: &Common) -> Result<PathBuf, Fault> {
    let dir = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    root_of(&dir).map(Root::into_path)
}

/// The endpoint of the daemon that all other commands talk to: that of the project that contains the directory. Outside of
/// projects, that of DIR with `--project DIR`, else that of the user's daemon without a project.
pub fn endpoint(common: &Common) -> Result<Endpoint, Fault> {
    let dir = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    match (root_of(&dir)?, &common.project) {
        // A project that cannot be written has no mark, but may have an index in the cache.
        (Root::Unmarked(root), None) if !config::place(&root).has_index().unwrap_or(false) => Endpoint::new(None),
        (Root::Marked(root) | Root::Unmarked(root), _) => Endpoint::new(Some(root)),
    }
}

/// As [`endpoint`], but also for a directory that was moved or deleted while its daemon runs.
pub fn endpoint_or_gone(common: &Common) -> Result<Endpoint, Fault> {
    endpoint(common).or_else(|fault| {
        let dir = common.project.as_deref().unwrap_or(Path::new("."));
        let endpoint = canonical_path_of_missing(dir).map(|dir| Endpoint::new(Some(dir))).transpose()?;
        // Without a lock file no daemon ever ran there: the path is a mistake.
        endpoint.filter(|endpoint| endpoint.lock().exists()).ok_or(fault)
    })
}

/// The canonical path that a missing directory had; `None` if the directory exists.
fn canonical_path_of_missing(dir: &Path) -> Option<PathBuf> {
    let shell = || std::env::var_os("PWD").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let path = std::path::absolute(dir).ok().or_else(|| Some(shell()?.join(dir)))?;
    let path: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    let there = path.ancestors().skip(1).find(|path| path.is_dir())?;
    let rest = path.strip_prefix(there).expect("an ancestor of it");
    (std::fs::symlink_metadata(&path).is_err()).then(|| canonical(there).map(|there| there.join(rest)).ok()).flatten()
}
