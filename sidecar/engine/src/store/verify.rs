//! Reading every byte of an index beside its owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::files::{READERS, VECTORS, mark_damaged};
use super::snapshot::Snapshot;
use crate::disk::Folder;
use crate::disk::pins::Pin;
use crate::vector::Bitmap;
use crate::{Error, Result};

/// The check that is due after an owner was killed: run it on a thread of its own, at low priority.
pub struct Check {
    pub(super) folder: Folder,
    pub(super) secret: Option<[u8; 32]>,
    pub(super) passed: Arc<AtomicBool>,
}

impl Check {
    /// Reads every byte of the last committed generation and compares checksums; returns early when `stop` says so.
    ///
    /// Damage is noted in the data directory: from then on every open fails with it, until
    /// [`super::Store::open_or_rebuild`]. Errors: [`Error::IndexDamaged`], [`Error::Io`].
    pub fn run(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        match verify(&self.folder, self.secret, stop) {
            Ok(whole) => {
                self.passed.fetch_or(whole, Ordering::Relaxed);
                Ok(())
            }
            Err(e) => {
                mark_damaged(&self.folder, &e)?;
                Err(e)
            }
        }
    }
}

/// Compares all checksums, then whether text and vectors belong together; `Ok(false)` when `stop` ended it.
pub fn verify(folder: &Folder, secret: Option<[u8; 32]>, stop: &dyn Fn() -> bool) -> Result<bool> {
    let pin = folder.folder(READERS)?.and_then(|readers| Pin::take(&readers));
    if pin.is_none() {
        // Without one, a file that the owner collects would look like damage.
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        return Err(Error::io("pin", &folder.path_of(READERS), refused));
    }
    let (snapshot, text) = Snapshot::open_pinned(folder, secret)?;
    for part in snapshot.vectors.parts() {
        if stop() {
            return Ok(false);
        }
        part.segment.verify()?;
    }
    if !text.verify(stop)? {
        return Ok(false);
    }
    let mut living = Bitmap::default();
    snapshot.text.all_ids().for_each(|id| living.insert(id));
    let stray = snapshot.vectors.chunk_ids().find(|&id| !living.contains(id));
    let problem = match stray {
        Some(id) => format!("has a vector for chunk {id}, which does not exist"),
        None if living.iter().any(|id| id >= snapshot.manifest.next_chunk_id) => "chunk ids beyond its counter".into(),
        None => return Ok(true),
    };
    Err(Error::IndexDamaged { path: folder.path_of(VECTORS), problem })
}
