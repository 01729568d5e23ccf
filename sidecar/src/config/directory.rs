//! A project's `.offheap` directory: the configuration, and the index in `data`.

use std::path::Path;

use offheap_engine::Error;
use offheap_engine::disk::{Folder, Tree};
use offheap_engine::store::Place;
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};

use super::file::Config;
use crate::secret::secret;

/// Where a project's index lies.
pub fn place(project: &Path) -> Place {
    Place::below(project, &[PROJECT_DIR, "data"], secret())
}

/// Where the index of a project lies that is held open.
pub fn place_in(tree: &Tree) -> Place {
    Place::within(tree, &[PROJECT_DIR, "data"], secret())
}

/// Whether anybody indexed the project.
pub fn has_index(place: &Place) -> Result<bool, Fault> {
    place.has_index().map_err(|error| crate::fault::from_engine(&error))
}

/// The project's `.offheap`, made when there is none.
pub fn project_folder(tree: &Tree) -> offheap_engine::Result<Folder> {
    tree.folder().make_folder(PROJECT_DIR).map(|(folder, _)| folder)
}

/// Makes `.offheap` with its configuration and a `.gitignore` for everything else, leaving what is there.
///
/// Says whether the configuration is new.
pub fn init(project: &Path) -> Result<bool, Fault> {
    init_in(&Tree::open(project).map_err(|error| crate::fault::from_engine(&error))?)
}

/// As [`init`], of a project that is held open.
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
    write_new(".gitignore", "# The index is made from the tree; only the configuration is worth committing.\n*\n!.gitignore\n!config.json\n".into())
        .map_err(failed)?;
    let config = serde_json::to_string_pretty(&Config::default()).expect("plain data");
    write_new("config.json", config + "\n").map_err(failed)
}
