//! A project's `.offheap` directory: the configuration, and the index in `data`.

use std::path::Path;

use offheap_engine::Error;
use offheap_engine::disk::{Folder, Tree};
use offheap_engine::store::Place;
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};

use super::file::Config;
use crate::secret::secret;

/// The place of a project's index.
pub fn place(project: &Path) -> Place {
    Place::below(project, &[PROJECT_DIR, "data"], secret())
}

/// The place of the index of a project whose directory is open.
pub fn place_in(tree: &Tree) -> Place {
    Place::within(tree, &[PROJECT_DIR, "data"], secret())
}

/// Whether the project has an index.
pub fn has_index(place: &Place) -> Result<bool, Fault> {
    place.has_index().map_err(|error| crate::fault::from_engine(&error))
}

/// Opens the project's `.offheap` directory, creating it if needed.
pub fn project_folder(tree: &Tree) -> offheap_engine::Result<Folder> {
    tree.folder().make_folder(PROJECT_DIR).map(|(folder, _)| folder)
}

/// Creates `.offheap` with a configuration, and a `.gitignore` for everything else. Existing files stay as they are.
///
/// Returns whether the configuration is new.
pub fn init(project: &Path) -> Result<bool, Fault> {
    init_in(&Tree::open(project).map_err(|error| crate::fault::from_engine(&error))?)
}

/// As [`init`], for a project whose directory is open.
pub fn init_in(tree: &Tree) -> Result<bool, Fault> {
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
    let folder = project_folder(tree).map_err(failed)?;
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
