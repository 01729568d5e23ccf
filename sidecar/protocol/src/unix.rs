//! The current user on Unix, and what only that user can reach.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The effective user id of this process.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a file or directory belongs to the current user and grants nothing to its group and to others.
pub fn is_private(meta: &Metadata) -> bool {
    meta.uid() == user() && meta.mode() & 0o077 == 0
}

/// For root: the other user that `path`, or the nearest directory above it that exists, belongs to. What root made there, its
/// owner could not use or remove. `None` for everybody else, whom the system keeps from that.
pub fn foreign_owner(path: &Path) -> Option<u32> {
    let there = path.ancestors().find_map(|path| std::fs::metadata(path).ok())?;
    let is_shared = there.mode() & 0o1002 == 0o1002; // as /tmp, whoever owns it in a container
    (user() == 0 && there.uid() != 0 && !is_shared).then(|| there.uid())
}
