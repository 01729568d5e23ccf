//! The format number of the layout, and how an older index becomes one of this build.
//!
//! | Format | What is new | From the one before |
//! |---|---|---|
//! | 1 | | |
//! | 2 | `text/meta.json` ends with its checksum, tantivy's list of files is not stored; a chunk's record has the lines of its symbols; equal vectors are stored once, a segment can have a graph; a row of the cache carries its checksum | emptied, the cache in place |
//!
//! A step either changes files in place or empties the directory but for the cache (`files::reset`), so that the next
//! index run fills it again without embedding anything. Each may be interrupted anywhere and begun again: the number is
//! written last.

use std::io::ErrorKind;
use std::path::Path;

use super::cache;
use super::files::{CACHE, reset, write_durably};
use crate::{Error, Result};

/// Version of the layout on disk.
pub const FORMAT: u32 = 2;

/// Makes `dir` an index of this format: a new one, an upgraded one, or what it is already. Only the owner may.
///
/// Errors: [`Error::IndexFormat`] for a newer index, and for one whose number cannot be read (`found` is 0 then).
pub fn prepare(dir: &Path) -> Result<()> {
    let found = match read(dir)? {
        Some(FORMAT) => return Ok(()),
        Some(found) if found == 0 || found > FORMAT => return Err(other(dir, found)),
        found => found,
    };
    for from in found.unwrap_or(FORMAT)..FORMAT {
        upgrade(dir, from)?;
    }
    write_durably(&dir.join("format"), format!("{FORMAT}\n").as_bytes())
}

/// Checks that `dir` is an index of this format; `Ok(false)` when nothing has been written there.
pub fn check(dir: &Path) -> Result<bool> {
    match read(dir)? {
        None => Ok(false),
        Some(FORMAT) => Ok(true),
        Some(found) => Err(other(dir, found)),
    }
}

fn other(dir: &Path, found: u32) -> Error {
    Error::IndexFormat { path: dir.to_path_buf(), found, expected: FORMAT }
}

/// The number on disk; 0 when it is not one or is missing beside an index, `None` when there is no index.
fn read(dir: &Path) -> Result<Option<u32>> {
    let path = dir.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().parse().unwrap_or(0))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(dir.join("text").join("meta.json").exists().then_some(0)),
        Err(e) if e.kind() == ErrorKind::InvalidData => Ok(Some(0)),
        Err(e) => Err(Error::io("read", &path, e)),
    }
}

fn upgrade(dir: &Path, from: u32) -> Result<()> {
    match from {
        1 => {
            cache::add_checksums(&dir.join(CACHE))?;
            reset(dir, true)
        }
        _ => unreachable!("every number below {FORMAT} has its step"),
    }
}
