//! The open file: mapped, checked once, cheap to clone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(not(miri))]
use memmap2::Mmap as Map;

use super::parse::{self, TensorEntry, ValueEntry};
use crate::{Error, Result};

/// An open model file. Cheap to clone: all clones share one map, which is unmapped when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Gguf {
    pub(super) inner: Arc<Inner>,
}

/// The bytes of the file, read instead of mapped: Miri cannot map files.
#[cfg(miri)]
type Map = Vec<u8>;

/// What all clones of a [`Gguf`] share.
#[derive(Debug)]
pub(super) struct Inner {
    path: PathBuf,
    map: Map,
    stamp: Stamp,
    /// Time of the last change of the file's data or attributes, which programs cannot set: seconds and nanoseconds
    /// since 1970.
    #[cfg(unix)]
    changed: (i64, i64),
    /// Metadata, sorted by key.
    pub(super) values: Vec<ValueEntry>,
    /// Tensors, sorted by name.
    pub(super) tensors: Vec<TensorEntry>,
}

impl Gguf {
    /// Maps the file and checks everything in it except the weights, which are not read.
    ///
    /// Errors: [`Error::Io`] if it cannot be opened; [`Error::Unsupported`] for a version of the format that this build
    /// does not read; [`Error::Gguf`] for any other defect.
    pub fn open(path: &Path) -> Result<Gguf> {
        let metadata = fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if !metadata.is_file() {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::io("open", path, source));
        }
        Self::map(File::open(path).map_err(|e| Error::io("open", path, e))?, path)
    }

    /// Maps a file that was opened at `path`. Checks and errors are those of [`Gguf::open`].
    pub fn map(file: File, path: &Path) -> Result<Gguf> {
        let metadata = file.metadata().map_err(|e| Error::io("open", path, e))?;
        if metadata.len() == 0 {
            // An empty file cannot be mapped.
            return Err(Error::Gguf { path: path.into(), field: "magic".into(), problem: "the file is empty".into() });
        }
        // SAFETY: the map is private and read-only. This code cannot prevent another process from changing the file while
        // it is mapped: writing to it would change borrowed bytes, truncating it makes reads end in SIGBUS. So a model
        // file must never be modified in place; replace it by renaming a new file over it (the map then keeps the old
        // file alive). `unchanged` lets the owner detect either between two batches.
        #[cfg(not(miri))]
        let map = unsafe { Map::map(&file) }.map_err(|e| Error::io("map", path, e))?;
        #[cfg(miri)]
        let map = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let (values, tensors) = parse::parse(path, &map)?;
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let inner = Inner {
            path: path.into(),
            map,
            stamp: Stamp::of(&metadata),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            values,
            tensors,
        };
        Ok(Gguf { inner: Arc::new(inner) })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.inner.map
    }

    /// Whether the path still names the file that was mapped, with the same size and modification time.
    ///
    /// Costs one `stat` call, so it can be asked before each batch.
    pub fn unchanged(&self) -> bool {
        fs::metadata(&self.inner.path).is_ok_and(|now| Stamp::of(&now) == self.inner.stamp)
    }

    /// A text that differs for every file and for every state of a file, its path not included; and the time of its
    /// last change of any kind, in seconds since 1970.
    #[cfg(unix)]
    pub(crate) fn identity(&self) -> (String, i64) {
        let inner = &self.inner;
        (format!("{:?} {:?}", inner.stamp, inner.changed), inner.changed.0)
    }

    /// An [`Error::Gguf`] about a metadata key or a tensor of this file.
    pub fn damaged(&self, field: &str, problem: impl Into<String>) -> Error {
        Error::Gguf { path: self.path().into(), field: field.into(), problem: problem.into() }
    }

    /// An [`Error::Unsupported`]: the file asks for the `what` named `found`, this build offers `supported`.
    pub fn unsupported(&self, what: &'static str, found: impl Into<String>, supported: &'static str) -> Error {
        Error::Unsupported { path: self.path().into(), what, found: found.into(), supported }
    }
}

/// File attributes that differ between two files and between two states of one file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Stamp {
            #[cfg(unix)]
            device_and_inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}
