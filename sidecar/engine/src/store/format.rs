//! Two numbers: of the layout on disk, and of what the files of a project are made into.
//!
//! | Format | What is new | From the one before |
//! |---|---|---|
//! | 1 | | |
//! | 2 | `text/meta.json` ends with its checksum, tantivy's list of files is not stored; a chunk's record has the lines of its symbols; equal vectors are stored once, a segment can have a graph; a row of the cache carries its checksum | emptied, the cache in place |
//!
//! A step either changes files in place or empties the directory but for the cache (`files::reset`), so that the next
//! index run fills it again without embedding anything. Each may be interrupted anywhere and begun again: the number is
//! written last.

use super::cache;
use super::files::{FORMAT_FILE, TEXT, reset};
use crate::disk::Folder;
use crate::{Error, Result};

/// Version of the layout on disk.
pub const FORMAT: u32 = 2;
/// Longest format file, in bytes.
const FORMAT_BYTES: usize = 1 << 10;

/// Makes `dir` an index of this format: a new one, an upgraded one, or what it is already. Only the owner may.
///
/// Errors: [`Error::IndexFormat`] for a newer index, and for one whose number cannot be read (`found` is 0 then).
pub fn prepare(folder: &Folder) -> Result<()> {
    let found = match read(folder)? {
        Some(FORMAT) => return Ok(()),
        Some(found) if found == 0 || found > FORMAT => return Err(other(folder, found)),
        found => found,
    };
    for from in found.unwrap_or(FORMAT)..FORMAT {
        upgrade(folder, from)?;
    }
    folder.write_durably(FORMAT_FILE, format!("{FORMAT}\n").as_bytes())
}

/// Checks that `dir` is an index of this format; `Ok(false)` when nothing has been written there.
pub fn check(folder: &Folder) -> Result<bool> {
    match read(folder)? {
        None => Ok(false),
        Some(FORMAT) => Ok(true),
        Some(found) => Err(other(folder, found)),
    }
}

fn other(folder: &Folder, found: u32) -> Error {
    Error::IndexFormat { path: folder.path().to_path_buf(), found, expected: FORMAT }
}

/// The number on disk; 0 when it is not one or is missing beside an index, `None` when there is no index.
fn read(folder: &Folder) -> Result<Option<u32>> {
    match folder.read(FORMAT_FILE, FORMAT_BYTES)? {
        Some(text) => Ok(Some(String::from_utf8_lossy(&text).trim().parse().unwrap_or(0))),
        None => Ok(folder.folder(TEXT)?.is_some_and(|text| text.has("meta.json")).then_some(0)),
    }
}

fn upgrade(folder: &Folder, from: u32) -> Result<()> {
    match from {
        1 => {
            cache::add_checksums(folder)?;
            reset(folder, true)
        }
        _ => unreachable!("every number below {FORMAT} has its step"),
    }
}
