//! The current user on Unix, and what only that user can reach.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// The effective user id of this process.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a file or directory belongs to the current user and grants nothing to its group and to others.
pub fn is_private(meta: &Metadata) -> bool {
    meta.uid() == user() && meta.mode() & 0o077 == 0
}
