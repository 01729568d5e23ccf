//! tantivy's files, as the owner and as readers see them.
//!
//! Both add a checksum to `meta.json`, the one file that tantivy writes without. The list of files that tantivy collects
//! garbage from is not stored: it is the directory's listing, which no crash can make wrong.
//!
//! tantivy's reader takes a lock whose file it opens for writing (its issue 557), which a read-only disk refuses; here
//! a reader's locks are dummies, and `store/pins.rs` keeps the files that it is about to open.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, INDEX_WRITER_LOCK, Lock, MmapDirectory, TerminatingWrite,
    WatchCallback, WatchHandle, WritePtr,
};

use crate::store::files::write_durably;
use crate::store::pins::Pins;
use crate::{Error, Result};

const META: &str = "meta.json";
/// tantivy's list of files to collect.
const MANAGED: &str = ".managed.json";
/// The last line of a sealed file: this and sixteen hexadecimal digits of the SHA-256 of what is before.
const SEAL: &str = "\noffheap ";
const SEAL_LEN: usize = SEAL.len() + 17;
/// How often, a millisecond apart, a name is waited for that readers may still be opening.
const NAME_ATTEMPTS: u32 = 2_000;

/// The directory of the index's owner.
#[derive(Clone, Debug)]
pub struct OwnedDirectory {
    files: MmapDirectory,
    dir: PathBuf,
    pins: Pins,
    failure: Failure,
}

/// The first write that failed. tantivy writes on other threads and loses the system's error on the way.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<Mutex<Option<(PathBuf, io::Error)>>>);

impl Failure {
    fn note(&self, path: &Path, error: &io::Error) {
        let copy = error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((path.to_path_buf(), copy));
    }

    /// What failed since this was asked before.
    pub fn take(&self) -> Option<Error> {
        let (path, source) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Error::Io { action: "write", path, source })
    }
}

impl OwnedDirectory {
    /// `dir` must exist. Files that readers are opening stay for as long as `pins` says.
    pub fn open(dir: &Path, pins: Pins) -> Result<OwnedDirectory, OpenDirectoryError> {
        Ok(OwnedDirectory {
            files: MmapDirectory::open(dir)?,
            dir: dir.to_path_buf(),
            pins,
            failure: Failure::default(),
        })
    }

    /// Where failed writes are noted.
    pub fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// All files that a commit may own, as tantivy's own list would have them.
    fn listing(&self) -> io::Result<Vec<u8>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string()
                && !name.starts_with('.')
                && !name.ends_with(".tmp")
            {
                names.push(name);
            }
        }
        Ok(serde_json::to_vec(&names)?)
    }
}

impl Directory for OwnedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(MANAGED) {
            return self.listing().map_err(|e| OpenReadError::wrap_io_error(e, path.to_path_buf()));
        }
        read_sealed(&self.files, path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(MANAGED) {
            return Ok(());
        }
        // Durable when this returns, the directory's entry included: tantivy itself would leave that to the system.
        write_durably(&self.dir.join(path), &sealed(data)).map_err(|e| match e {
            Error::Io { path, source, .. } => {
                self.failure.note(&path, &source);
                source
            }
            other => io::Error::other(other),
        })
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        if self.pins.may_delete(path) {
            return self.files.delete(path);
        }
        // tantivy asks again after the next commit.
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "a reader is opening the index");
        Err(DeleteError::IoError { io_error: Arc::new(busy), filepath: path.to_path_buf() })
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let mut attempt = 1;
        let inner = loop {
            match self.files.open_write(path) {
                // A commit that was killed used the name, and readers kept its file from being collected.
                Err(OpenWriteError::FileAlreadyExists(_)) if attempt < NAME_ATTEMPTS => {
                    if self.delete(path).is_err() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    attempt += 1;
                }
                other => break other,
            }
        };
        if let Err(OpenWriteError::IoError { io_error, .. }) = &inner {
            self.failure.note(&self.dir.join(path), io_error);
        }
        let noting = Noting { inner: inner?, path: self.dir.join(path), failure: self.failure.clone() };
        Ok(io::BufWriter::new(Box::new(noting)))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory().inspect_err(|e| self.failure.note(&self.dir, e))
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        // The owner's lock keeps other writers away, and an owner has one writer. A file lock would now and then be busy
        // for no reason: a child process shares it from its fork until its exec.
        if lock.filepath == INDEX_WRITER_LOCK.filepath {
            return Ok(DirectoryLock::from(Box::new(())));
        }
        self.files.acquire_lock(lock)
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty()) // readers are told, they need not look
    }
}

/// A file being written whose failure is noted.
struct Noting {
    inner: WritePtr,
    path: PathBuf,
    failure: Failure,
}

impl Write for Noting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).inspect_err(|e| self.failure.note(&self.path, e))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().inspect_err(|e| self.failure.note(&self.path, e))
    }
}

impl TerminatingWrite for Noting {
    fn terminate_ref(&mut self, token: AntiCallToken) -> io::Result<()> {
        self.inner.terminate_ref(token).inspect_err(|e| self.failure.note(&self.path, e))
    }
}

/// Mapped files that are never written to, of the commit that was the last when this was made.
#[derive(Clone, Debug)]
pub struct ReadOnlyDirectory {
    files: MmapDirectory,
    meta: Arc<[u8]>,
}

impl ReadOnlyDirectory {
    /// Reads which commit is the last; a later one does not show.
    pub fn open(dir: &Path) -> tantivy::Result<ReadOnlyDirectory> {
        let files = MmapDirectory::open(dir)?;
        let meta = read_sealed(&files, Path::new(META))?.into();
        Ok(ReadOnlyDirectory { files, meta })
    }
}

impl Directory for ReadOnlyDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(META) {
            return Ok(self.meta.to_vec());
        }
        Err(OpenReadError::FileDoesNotExist(path.to_path_buf()))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(refused()), filepath: path.to_path_buf() })
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::IoError { io_error: Arc::new(refused()), filepath: path.to_path_buf() })
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, _lock: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for reading only")
}

fn read_sealed(files: &MmapDirectory, path: &Path) -> Result<Vec<u8>, OpenReadError> {
    let bytes = files.atomic_read(path)?;
    match unsealed(&bytes) {
        Some(body) => Ok(body.to_vec()),
        None => {
            let damaged = io::Error::new(io::ErrorKind::InvalidData, "checksum");
            Err(OpenReadError::wrap_io_error(damaged, path.to_path_buf()))
        }
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, SEAL.as_bytes(), digits(body).as_bytes(), b"\n"].concat()
}

/// What was sealed; `None` when the seal is not there or not its own.
fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (body, seal) = bytes.split_at(bytes.len().checked_sub(SEAL_LEN)?);
    (seal == [SEAL.as_bytes(), digits(body).as_bytes(), b"\n"].concat()).then_some(body)
}

fn digits(body: &[u8]) -> String {
    Sha256::digest(body)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_breaks_the_seal() {
        let good = sealed(b"{\"segments\":[]}");
        assert_eq!(unsealed(&good), Some(&b"{\"segments\":[]}"[..]));
        for at in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(unsealed(&bytes), None, "bit {at}");
        }
        (0..good.len()).for_each(|len| assert_eq!(unsealed(&good[..len]), None, "length {len}"));
    }
}
