//! What is not indexed without being asked twice: home directories, roots, and trees that are far larger than a project.

use std::path::Path;

use offheap_engine::store::Stats;
use offheap_engine::walk::TreeLimit;
use offheap_protocol::border::too_wide;
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};

/// The largest tree that is indexed without `force`. The largest public repositories have 100,000 files and 2 GB of text.
const LIMIT: TreeLimit = TreeLimit { files: 200_000, bytes: 4 << 30 };
/// An index of this many chunks is of a tree beyond the limit in bytes.
const MANY_CHUNKS: u64 = 1_000_000;
/// The largest tree that a regular expression is searched in without an index: its names are held in memory.
pub const UNINDEXED: TreeLimit = TreeLimit { files: 2_000_000, bytes: u64::MAX };

/// Refuses a directory that is too wide for a project, unless the user insists.
///
/// Errors: `NEEDS_FORCE`.
pub fn check_width(root: &Path, force: bool) -> Result<(), Fault> {
    let Some(why) = too_wide(root).filter(|_| !force) else { return Ok(()) };
    let message = format!("`{}` {why}: it is not indexed as one project", root.display());
    let mut hint = "run in a project's directory; if you mean all of it, `offheap index --force` or \
                    `client.index({ force: true })`"
        .to_owned();
    if root.join(PROJECT_DIR).is_dir() {
        hint += &format!(
            "; remove `{}` to be rid of the index that is there, which does not answer for the projects below",
            root.join(PROJECT_DIR).display()
        );
    }
    Err(Fault::new(Code::NeedsForce, message).hint(hint))
}

/// How large a tree may be for an index run. A tree whose index is beyond the limit already was asked for.
pub fn limit(stats: Option<&Stats>, force: bool) -> Option<TreeLimit> {
    let was_asked_for = stats.is_some_and(|stats| stats.files > LIMIT.files || stats.chunks > MANY_CHUNKS);
    (!force && !was_asked_for).then(|| test_limit().unwrap_or(LIMIT))
}

/// Tests set `OFFHEAP_MAX_TREE_FILES`: it can only make the limit smaller.
fn test_limit() -> Option<TreeLimit> {
    let files: u64 = std::env::var("OFFHEAP_MAX_TREE_FILES").ok()?.parse().ok()?;
    Some(TreeLimit { files: files.min(LIMIT.files), ..LIMIT })
}
