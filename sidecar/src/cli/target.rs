//! Which project, and which daemon, a command works for.

use std::path::{Path, PathBuf};

use offheap_protocol::endpoint::{canonical, find_project};
use offheap_protocol::{Endpoint, Fault};

use crate::args::Common;

/// The project that `index` works for: the one around the directory, or the directory itself, which becomes one.
pub fn project(common: &Common) -> Result<PathBuf, Fault> {
    let dir = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    Ok(find_project(&dir)?.unwrap_or(canonical(&dir)?))
}

/// The daemon that every other command talks to: the one of the project around the directory; where there is none, the
/// user's, or with `--project DIR` the one of DIR.
pub fn endpoint(common: &Common) -> Result<Endpoint, Fault> {
    let dir = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    match (find_project(&dir)?, &common.project) {
        (None, Some(dir)) => Endpoint::new(Some(canonical(dir)?)),
        (found, _) => Endpoint::new(found),
    }
}

/// As [`endpoint`], also for a directory that was moved or deleted while its daemon runs.
pub fn endpoint_or_gone(common: &Common) -> Result<Endpoint, Fault> {
    endpoint(common).or_else(|fault| {
        let dir = common.project.as_deref().unwrap_or(Path::new("."));
        let endpoint = gone(dir).map(|dir| Endpoint::new(Some(dir))).transpose()?;
        // Where no daemon ever was, the path is a mistake.
        endpoint.filter(|endpoint| endpoint.lock().exists()).ok_or(fault)
    })
}

/// The canonical path that a directory had which is not there any more; `None` when it is there.
fn gone(dir: &Path) -> Option<PathBuf> {
    let shell = || std::env::var_os("PWD").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let path = std::path::absolute(dir).ok().or_else(|| Some(shell()?.join(dir)))?;
    let path: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    let there = path.ancestors().skip(1).find(|path| path.is_dir())?;
    let rest = path.strip_prefix(there).expect("an ancestor of it");
    (std::fs::symlink_metadata(&path).is_err()).then(|| canonical(there).map(|there| there.join(rest)).ok()).flatten()
}
