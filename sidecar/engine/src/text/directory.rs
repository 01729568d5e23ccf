//! tantivy's files, as the owner and as readers see them.
//!
//! Owner and readers add a checksum to `meta.json`, the one file that tantivy writes without one. The list of files
//! that tantivy collects garbage from is not stored: it is the directory's listing, which no crash can make wrong.
//!
//! tantivy's reader takes a lock whose file it opens for writing (its issue 557), which a read-only disk refuses; here
//! a reader takes no locks, and `disk/pins.rs` keeps the files that it is about to open.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use hmac::{Hmac, Mac};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use stable_deref_trait::StableDeref;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, Lock, META_LOCK, OwnedBytes, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};

use crate::disk::Folder;
use crate::disk::pins::Pins;
use crate::fingerprint::hex;
use crate::{Error, Result};

/// The commit point.
pub const META: &str = "meta.json";
/// Longest commit point: a few names for each segment.
const META_BYTES: usize = 64 << 20;
/// tantivy's list of files to collect.
const MANAGED: &str = ".managed.json";
/// A sealed file ends with this, sixteen hexadecimal digits and a line end. The digits are of the SHA-256 of the bytes
/// before, or with a key of their HMAC.
const SEAL: &str = "\noffheap ";
const SEAL_LEN: usize = SEAL.len() + 17;
/// How often, a millisecond apart, creating a file is tried while readers may still be opening an old one of its name.
const NAME_ATTEMPTS: u32 = 2_000;

/// Whether a name in the index's directory is one that tantivy or [`Folder::write_durably`] gives.
pub fn is_text_file(name: &str) -> bool {
    const ENDINGS: [&str; 7] = ["idx", "pos", "term", "store", "store.temp", "fast", "fieldnorm"];
    let is_segment = |id: &str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_deletions = |rest: &str| {
        let number = rest.strip_suffix(".del");
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let of_segment = |(id, rest): (&str, &str)| is_segment(id) && (ENDINGS.contains(&rest) || is_deletions(rest));
    [META, "meta.json.tmp", ".tantivy-meta.lock", ".tantivy-writer.lock"].contains(&name)
        || name.split_once('.').is_some_and(of_segment)
}

/// The key that the commit point is signed with; `None` where any index is trusted.
pub type Key = Option<[u8; 32]>;

/// The files of an index, mapped. Clones share the maps.
#[derive(Clone, Debug)]
struct MappedFiles {
    folder: Folder,
    key: Key,
    /// Files that are mapped somewhere: a commit opens every segment again.
    mapped: Arc<Mutex<HashMap<String, Weak<Mmap>>>>,
}

/// A map as tantivy wants it.
struct Mapped(Arc<Mmap>);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

// SAFETY: the bytes are where the system mapped them, and stay there for as long as the map lives.
unsafe impl StableDeref for Mapped {}

impl MappedFiles {
    fn new(folder: Folder, key: Key) -> MappedFiles {
        MappedFiles { folder, key, mapped: Arc::default() }
    }

    fn file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let name = name_of(path);
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = mapped.get(name).and_then(Weak::upgrade) {
            return Ok(Arc::new(OwnedBytes::new(Mapped(map))));
        }
        let file = self.folder.open(name).map_err(|e| read_error(path, e))?;
        let wrap = |e| OpenReadError::wrap_io_error(e, path.to_path_buf());
        if file.metadata().map_err(wrap)?.len() == 0 {
            return Ok(Arc::new(OwnedBytes::empty())); // which cannot be mapped
        }
        // SAFETY: tantivy writes a file once and from then on only unlinks it, which leaves the map valid; directory
        // and file belong to this user, who must not change them in place.
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(wrap)?);
        mapped.retain(|_, map| map.strong_count() > 0);
        mapped.insert(name.to_owned(), Arc::downgrade(&map));
        Ok(Arc::new(OwnedBytes::new(Mapped(map))))
    }

    /// A sealed file's content.
    fn read_sealed(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let bytes = self.folder.read(name_of(path), META_BYTES).map_err(|e| read_error(path, e))?;
        let bytes = bytes.ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_path_buf()))?;
        match unsealed(&bytes, self.key) {
            Some(body) => Ok(body.to_vec()),
            None => {
                let damaged = io::Error::new(io::ErrorKind::InvalidData, "checksum");
                Err(OpenReadError::wrap_io_error(damaged, path.to_path_buf()))
            }
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.folder.has(name_of(path))
    }
}

/// tantivy's paths are plain names. One that is not UTF-8, from a damaged file, becomes the empty name, which no file
/// has.
fn name_of(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn read_error(path: &Path, error: Error) -> OpenReadError {
    match error {
        error if error.is_absent() => OpenReadError::FileDoesNotExist(path.to_path_buf()),
        Error::Io { source, .. } => OpenReadError::wrap_io_error(source, path.to_path_buf()),
        other => OpenReadError::wrap_io_error(io::Error::other(other), path.to_path_buf()),
    }
}

/// The directory of the index's owner.
#[derive(Clone, Debug)]
pub struct OwnedDirectory {
    files: MappedFiles,
    pins: Pins,
    failure: Failure,
    collecting: Arc<CollectionLock>,
}

/// A lock of this process: while it is held, no file is deleted between listing the files and opening them. Readers in
/// other processes hold pins.
#[derive(Debug, Default)]
struct CollectionLock {
    taken: Mutex<bool>,
    free: Condvar,
}

impl CollectionLock {
    fn take(lock: &Arc<CollectionLock>) -> CollectionGuard {
        let taken = lock.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = lock.free.wait_while(taken, |taken| *taken).unwrap_or_else(PoisonError::into_inner);
        *taken = true;
        CollectionGuard(lock.clone())
    }
}

struct CollectionGuard(Arc<CollectionLock>);

impl Drop for CollectionGuard {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

/// The first write that failed. tantivy writes on threads of its own and loses the system's error.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<Mutex<Option<(PathBuf, io::Error)>>>);

impl Failure {
    fn note(&self, path: &Path, error: &io::Error) {
        let copy = error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((path.to_path_buf(), copy));
    }

    /// The first failure since the last call.
    pub fn take(&self) -> Option<Error> {
        let (path, source) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Error::Io { action: "write", path, source })
    }
}

impl OwnedDirectory {
    /// Files that readers are opening stay for as long as `pins` says.
    pub fn new(folder: Folder, pins: Pins, key: Key) -> OwnedDirectory {
        OwnedDirectory {
            files: MappedFiles::new(folder, key),
            pins,
            failure: Failure::default(),
            collecting: Arc::default(),
        }
    }

    /// Where failed writes are noted.
    pub fn failure(&self) -> Failure {
        self.failure.clone()
    }

    fn folder(&self) -> &Folder {
        &self.files.folder
    }

    /// All files that a commit may own, as tantivy's own list would have them.
    fn listing(&self) -> io::Result<Vec<u8>> {
        let mut names = self.folder().names()?;
        names.retain(|name| is_text_file(name) && !name.starts_with('.') && !name.ends_with(".tmp"));
        Ok(serde_json::to_vec(&names)?)
    }
}

impl Directory for OwnedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.file_handle(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.exists(path))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(MANAGED) {
            return self.listing().map_err(|e| OpenReadError::wrap_io_error(e, path.to_path_buf()));
        }
        self.files.read_sealed(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(MANAGED) {
            return Ok(());
        }
        // Durable when this returns, the directory's entry included: tantivy itself would leave that to the system.
        self.folder().write_durably(name_of(path), &sealed(data, self.files.key)).map_err(|e| match e {
            Error::Io { path, source, .. } => {
                self.failure.note(&path, &source);
                source
            }
            other => io::Error::other(other),
        })
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let failed = |e| DeleteError::IoError { io_error: Arc::new(e), filepath: path.to_path_buf() };
        if !is_text_file(name_of(path)) {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        }
        if !self.pins.may_delete(name_of(path)) {
            // tantivy asks again after the next commit.
            return Err(failed(io::Error::new(io::ErrorKind::ResourceBusy, "a reader is opening the index")));
        }
        self.folder().remove(name_of(path)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => DeleteError::FileDoesNotExist(path.to_path_buf()),
            _ => failed(e),
        })
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let mut attempt = 1;
        let created = loop {
            match self.folder().create_new(name_of(path)) {
                // A commit that was killed used the name, and readers kept its file from being collected.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < NAME_ATTEMPTS => {
                    if self.delete(path).is_err() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    attempt += 1;
                }
                other => break other,
            }
        };
        let full = self.folder().path().join(path);
        let file = created.map_err(|e| {
            if e.kind() == io::ErrorKind::AlreadyExists {
                return OpenWriteError::FileAlreadyExists(path.to_path_buf());
            }
            self.failure.note(&full, &e);
            OpenWriteError::wrap_io_error(e, path.to_path_buf())
        })?;
        Ok(io::BufWriter::new(Box::new(NewFile { file, path: full, failure: self.failure.clone() })))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.folder().sync().map_err(|e| match e {
            Error::Io { path, source, .. } => {
                self.failure.note(&path, &source);
                source
            }
            other => io::Error::other(other),
        })
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        // No file locks: the owner's lock keeps other writers away, and an owner has one writer. A file lock could also
        // be busy without reason, because a child process shares it from its fork until its exec.
        if lock.filepath == META_LOCK.filepath {
            return Ok(DirectoryLock::from(Box::new(CollectionLock::take(&self.collecting))));
        }
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty()) // readers are told of commits, and need not poll
    }
}

/// A file being written, durable once it is terminated; a failure is noted.
struct NewFile {
    file: File,
    path: PathBuf,
    failure: Failure,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).inspect_err(|e| self.failure.note(&self.path, e))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for NewFile {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.file.sync_data().inspect_err(|e| self.failure.note(&self.path, e))
    }
}

/// Mapped files that are never written to, of the commit that was the last when this was made.
#[derive(Clone, Debug)]
pub struct ReadOnlyDirectory {
    files: MappedFiles,
    meta: Arc<[u8]>,
}

impl ReadOnlyDirectory {
    /// Reads which commit is the last; a later one does not show.
    pub fn open(folder: Folder, key: Key) -> tantivy::Result<ReadOnlyDirectory> {
        let files = MappedFiles::new(folder, key);
        let meta = files.read_sealed(Path::new(META))?.into();
        Ok(ReadOnlyDirectory { files, meta })
    }
}

impl Directory for ReadOnlyDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.file_handle(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.exists(path))
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

fn sealed(body: &[u8], key: Key) -> Vec<u8> {
    [body, SEAL.as_bytes(), digits(body, key).as_bytes(), b"\n"].concat()
}

/// The bytes that were sealed; `None` when the seal is missing or belongs to other bytes.
fn unsealed(bytes: &[u8], key: Key) -> Option<&[u8]> {
    let (body, seal) = bytes.split_at(bytes.len().checked_sub(SEAL_LEN)?);
    (seal == [SEAL.as_bytes(), digits(body, key).as_bytes(), b"\n"].concat()).then_some(body)
}

fn digits(body: &[u8], key: Key) -> String {
    let digest = match key {
        None => Sha256::digest(body),
        Some(key) => {
            let mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
            mac.chain_update(b"offheap commit\0").chain_update(body).finalize().into_bytes()
        }
    };
    hex(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_tantivy_gives_are_ours() {
        let id = "0123456789abcdef0123456789abcdef";
        for name in ["meta.json", "meta.json.tmp", ".tantivy-meta.lock"] {
            assert!(is_text_file(name), "{name}");
        }
        for ending in ["idx", "pos", "term", "store", "store.temp", "fast", "fieldnorm", "17.del"] {
            assert!(is_text_file(&format!("{id}.{ending}")), "{ending}");
        }
        for name in ["id_rsa", "config", "a.idx", ".tmp", "credentials.json", "meta.json.bak", "x.del"] {
            assert!(!is_text_file(name), "{name}");
        }
        assert!(!is_text_file(&format!("{id}.txt")) && !is_text_file(&format!("{id}.del")) && !is_text_file(id));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_breaks_the_seal() {
        let good = sealed(b"{\"segments\":[]}", Some([7; 32]));
        assert_eq!(unsealed(&good, None), None, "a stranger's");
        assert_eq!(unsealed(&sealed(b"x", None), Some([7; 32])), None, "a seal without a key");
        assert_eq!(unsealed(&good, Some([7; 32])), Some(&b"{\"segments\":[]}"[..]));
        for at in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(unsealed(&bytes, Some([7; 32])), None, "bit {at}");
        }
        (0..good.len()).for_each(|len| assert_eq!(unsealed(&good[..len], Some([7; 32])), None, "length {len}"));
    }
}
