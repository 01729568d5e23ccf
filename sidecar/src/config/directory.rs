//! A project's `.offheap` directory: the configuration, and the index in `data`.

use std::path::Path;

use offheap_engine::Error;
use offheap_engine::disk::{Folder, Tree};
use offheap_engine::store::Place;
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};

use super::cache;
use super::file::Config;
use crate::secret::secret;

/// The place of a project's index.
pub fn place(project: &Path) -> Place {
    match Tree::open(project) {
        Ok(tree) => place_in(&tree),
        Err(_) => Place::below(project, &[PROJECT_DIR, "data"], secret()),
    }
}

/// The place of the index of a project whose directory is open.
pub fn place_in(tree: &Tree) -> Place {
    let inside = Place::within(tree, &[PROJECT_DIR, "data"], secret());
    if !cache::is_used(tree) {
        return inside;
    }
    let Some(cached) = cache::place(tree.path()) else { return inside };
    // An index that came with a tree that cannot be written answers until this user has one.
    let is_only = !cached.has_index().unwrap_or(false) && inside.has_index().unwrap_or(false) && inside.is_ours();
    if is_only { inside } else { cached }
}

/// The place that an index run writes to, prepared for it.
pub fn place_to_write(tree: &Tree) -> Result<Place, Fault> {
    if !cache::is_used(tree) {
        return Ok(Place::within(tree, &[PROJECT_DIR, "data"], secret()));
    }
    cache::prepare(tree.path())?;
    cache::place(tree.path()).ok_or_else(|| Fault::new(Code::Io, "the cache directory vanished"))
}

/// Whether the project has an index.
pub fn has_index(place: &Place) -> Result<bool, Fault> {
    place.has_index().map_err(|error| crate::fault::from_engine(&error))
}

/// The project's `.offheap` directory; `None` where there is none.
pub fn project_folder(tree: &Tree) -> offheap_engine::Result<Option<Folder>> {
    tree.folder().folder(PROJECT_DIR)
}

/// Creates `.offheap` with a configuration, and a `.gitignore` for everything else. Existing files stay as they are.
///
/// Returns whether the configuration is new.
pub fn init(project: &Path) -> Result<bool, Fault> {
    init_in(&Tree::open(project).map_err(|error| crate::fault::from_engine(&error))?)
}

/// As [`init`], for a project whose directory is open. Does nothing where the project cannot be written.
pub fn init_in(tree: &Tree) -> Result<bool, Fault> {
    if !cache::is_writable(tree.path()) {
        return Ok(false);
    }
    let dir = tree.path().join(PROJECT_DIR);
    let failed = |error: Error| match error {
        error @ Error::UnsafePath { .. } => crate::fault::from_engine(&error),
        error => {
            let text = format!("cannot write in `{}`: {}", dir.display(), crate::fault::chain(&error));
            let fault = match &error {
                Error::Io { source, .. } => crate::fault::io(source, text),
                _ => Fault::new(Code::Io, text),
            };
            fault.hint("offheap keeps a project's index in its .offheap directory, which must be writable")
        }
    };
    let (folder, _) = tree.folder().make_folder(PROJECT_DIR).map_err(failed)?;
    let write_new = |name: &str, content: String| {
        folder.write_new(name, content.as_bytes(), false).map_err(|error| Error::io("write", &dir.join(name), error))
    };
    write_new(
        ".gitignore",
        "# The index can be built again at any time: commit only the configuration.\n*\n!.gitignore\n!config.json\n"
            .into(),
    )
    .map_err(failed)?;
    let config = serde_json::to_string_pretty(&Config::default()).expect("plain data");
    write_new("config.json", config + "\n").map_err(failed)
}
