//! A directory of the index, held open.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions};

use crate::{Error, Result};

/// Ending of a file that is being written and not yet renamed to its name.
const TEMPORARY: &str = ".tmp";

/// Device and inode: they tell a directory or file from every other one that exists at the same time.
///
/// Zeros on Windows, where an open directory cannot be replaced by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl Identity {
    /// Of an open file.
    pub fn of_file(file: &File) -> io::Result<Identity> {
        Ok(Identity::of(&cap_std::fs::File::from_std(file.try_clone()?).metadata()?))
    }

    /// Of something that was looked at through a handle.
    #[cfg(unix)]
    pub(super) fn of(metadata: &cap_std::fs::Metadata) -> Identity {
        use cap_std::fs::MetadataExt;
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }

    #[cfg(not(unix))]
    pub(super) fn of(_: &cap_std::fs::Metadata) -> Identity {
        Identity::default()
    }
}

/// A directory of this user, held open. Clones share the handle.
///
/// Every name given to its methods is a single component.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: Arc<Dir>,
    /// Where it was when it was opened; for messages.
    path: Arc<Path>,
}

impl Folder {
    /// Opens a directory that the caller trusts: links in `path` are followed, and any owner will do.
    pub fn trusted(path: &Path) -> Result<Folder> {
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority());
        let dir = dir.map_err(|e| Error::io("open", path, e))?;
        Ok(Folder { dir: Arc::new(dir), path: path.into() })
    }

    /// A directory that is open already, at `path`.
    pub(super) fn of(dir: Arc<Dir>, path: &Path) -> Folder {
        Folder { dir, path: path.into() }
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Which directory this is, whatever its path names by now.
    pub fn identity(&self) -> Result<Identity> {
        let metadata = self.dir.dir_metadata().map_err(|e| Error::io("stat", &self.path, e))?;
        Ok(Identity::of(&metadata))
    }

    /// A directory in it; `None` when there is none.
    ///
    /// Errors: [`Error::UnsafePath`] when it is a link, something else, or another user's.
    pub fn folder(&self, name: &str) -> Result<Option<Folder>> {
        match self.dir.open_dir_nofollow(name) {
            Ok(dir) => {
                let folder = Folder { dir: Arc::new(dir), path: self.path_of(name).into() };
                folder.check_owner()?;
                Ok(Some(folder))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.refusal("open", name, true, e)),
        }
    }

    /// A directory in it, made when there is none, and whether it was made. Errors as [`Folder::folder`].
    pub fn make_folder(&self, name: &str) -> Result<(Folder, bool)> {
        let made = match self.dir.create_dir(name) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(Error::io("create", &self.path_of(name), e)),
        };
        let vanished = || Error::io("open", &self.path_of(name), ErrorKind::NotFound.into());
        Ok((self.folder(name)?.ok_or_else(vanished)?, made))
    }

    /// Opens a regular file for reading.
    ///
    /// Errors: [`Error::UnsafePath`] for a link, anything but a regular file, or another user's; [`Error::Io`].
    pub fn open(&self, name: &str) -> Result<File> {
        self.open_with(name, OpenOptions::new().read(true))
    }

    /// Opens a regular file for reading and writing, made when there is none. Errors as [`Folder::open`]; a file that
    /// has another name (a hard link) is refused too, because writing would change that one.
    pub fn open_to_write(&self, name: &str) -> Result<File> {
        let file = self.open_with(name, OpenOptions::new().read(true).write(true).create(true))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let metadata = file.metadata().map_err(|e| Error::io("stat", &self.path_of(name), e))?;
            if metadata.nlink() > 1 {
                return Err(Error::UnsafePath { path: self.path_of(name), found: "a file with other names".into() });
            }
        }
        Ok(file)
    }

    fn open_with(&self, name: &str, options: &mut OpenOptions) -> Result<File> {
        options.follow(FollowSymlinks::No);
        #[cfg(unix)]
        cap_fs_ext::OpenOptionsSyncExt::nonblock(options, true); // a pipe in its place must not make this wait
        let file = self.dir.open_with(name, options).map_err(|e| self.refusal("open", name, false, e))?.into_std();
        let metadata = file.metadata().map_err(|e| Error::io("stat", &self.path_of(name), e))?;
        if !metadata.is_file() {
            return Err(Error::UnsafePath { path: self.path_of(name), found: kind_of(&metadata).into() });
        }
        #[cfg(unix)]
        check_owner(&self.path_of(name), std::os::unix::fs::MetadataExt::uid(&metadata))?;
        Ok(file)
    }

    /// Makes a file that must not exist, for writing. Errors: [`io::ErrorKind::AlreadyExists`] also for a link.
    pub fn create_new(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(self.dir.open_with(name, &options)?.into_std())
    }

    /// The content of a regular file of at most `limit` bytes; `None` when there is none.
    ///
    /// Errors as [`Folder::open`]; [`Error::UnsafePath`] for a longer one.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let file = match self.open(name) {
            Err(e) if e.is_absent() => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|e| Error::io("read", &self.path_of(name), e))?;
        if bytes.len() > limit {
            return Err(Error::UnsafePath { path: self.path_of(name), found: format!("longer than {limit} bytes") });
        }
        Ok(Some(bytes))
    }

    /// Whether anything has this name, a link included.
    pub fn has(&self, name: &str) -> bool {
        self.dir.symlink_metadata(name).is_ok()
    }

    /// Device and inode of the regular file of this name; `None` when there is none.
    pub fn identity_of(&self, name: &str) -> Option<Identity> {
        let metadata = self.dir.symlink_metadata(name).ok().filter(|metadata| metadata.is_file())?;
        Some(Identity::of(&metadata))
    }

    /// Modification time, length and identity of the regular file of this name: they tell its versions apart without
    /// reading.
    pub fn stamp_of(&self, name: &str) -> Option<(std::time::SystemTime, u64, Identity)> {
        let metadata = self.dir.symlink_metadata(name).ok().filter(|metadata| metadata.is_file())?;
        let modified = metadata.modified().ok()?.into_std();
        Some((modified, metadata.len(), Identity::of(&metadata)))
    }

    /// Names of what is in it. Names that are not UTF-8 are left out: the index makes none.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<cap_std::fs::DirEntry>| entry.map(|entry| entry.file_name());
        let names: Vec<OsString> = self.dir.entries()?.map(name).collect::<io::Result<_>>()?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Bytes of the regular files in it, not of what is in its directories.
    pub fn bytes_on_disk(&self) -> u64 {
        let bytes = |name: String| match self.dir.symlink_metadata(&name) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => 0, // a link does not count, and a file may be deleted between the listing and this
        };
        self.names().unwrap_or_default().into_iter().map(bytes).sum()
    }

    /// Removes a file, or a link itself; never a directory.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.dir.remove_file_or_symlink(name)
    }

    /// Renames, replacing what has the name `to` in `target`.
    pub fn rename(&self, from: &str, target: &Folder, to: &str) -> io::Result<()> {
        self.dir.rename(from, &target.dir, to)
    }

    /// Gives a file a second name, which must not exist.
    fn hard_link(&self, from: &str, to: &str) -> io::Result<()> {
        self.dir.hard_link(from, &self.dir, to)
    }

    /// Makes the directory's entries durable. Windows needs no call for that.
    pub fn sync(&self) -> Result<()> {
        if cfg!(windows) {
            return Ok(());
        }
        let synced = self.dir.open(".").and_then(|dir| dir.sync_all());
        synced.map_err(|e| Error::io("sync", &self.path, e))
    }

    /// Takes an advisory lock on the directory itself, which, unlike a lock file, cannot be removed and made again.
    ///
    /// `Ok(None)` where the system has no such locks.
    #[cfg(unix)]
    pub fn lock(&self) -> Result<Option<File>, std::fs::TryLockError> {
        let Ok(dir) = self.dir.open(".") else { return Ok(None) };
        let dir = dir.into_std();
        match dir.try_lock() {
            Ok(()) => Ok(Some(dir)),
            Err(std::fs::TryLockError::Error(_)) => Ok(None), // NFS locks only what is open for writing
            Err(busy) => Err(busy),
        }
    }

    /// Replaces `name` with `bytes` so that a crash leaves the old file or the new one.
    pub fn write_durably(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!("{name}{TEMPORARY}");
        let write = || {
            let mut file = self.create_over(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| self.refusal("write", &temporary, false, e))?;
        self.rename_durably(&temporary, self, name)
    }

    /// Creates a file for writing, and removes one of its name that an earlier attempt left.
    fn create_over(&self, name: &str) -> io::Result<File> {
        match self.remove(name) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.create_new(name)
    }

    /// Creates the file `name` with `bytes`, completely and durably or not at all; `false` when it exists already. Only
    /// its owner can read a `private` file.
    ///
    /// The file is written under a temporary name and then linked to `name`, which fails when another process has made
    /// it meanwhile.
    pub fn write_new(&self, name: &str, bytes: &[u8], private: bool) -> io::Result<bool> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if self.has(name) {
            return Ok(false);
        }
        let temporary = format!("{name}.{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let write = || {
            let mut file = self.create_over(&temporary)?;
            #[cfg(unix)]
            if private {
                file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            }
            #[cfg(not(unix))]
            let _ = private;
            file.write_all(bytes)?;
            file.sync_all()?;
            match self.hard_link(&temporary, name) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
                // A file system without links: rename instead, which could only replace a file that another process
                // wrote just now.
                Err(_) => self.rename(&temporary, self, name).map(|()| true),
                Ok(()) => Ok(true),
            }
        };
        let made = write();
        let _ = self.remove(&temporary);
        made
    }

    /// Renames and makes the directory entry durable.
    pub fn rename_durably(&self, from: &str, target: &Folder, to: &str) -> Result<()> {
        self.rename(from, target, to).map_err(|e| target.refusal("replace", to, false, e))?;
        target.sync()
    }

    fn check_owner(&self) -> Result<()> {
        #[cfg(unix)]
        {
            let metadata = self.dir.dir_metadata().map_err(|e| Error::io("stat", &self.path, e))?;
            check_owner(&self.path, cap_std::fs::MetadataExt::uid(&metadata))?;
        }
        Ok(())
    }

    /// The error for a name that could not be used: it says what the name is, because systems answer differently to
    /// links.
    pub fn refusal(&self, action: &'static str, name: &str, wants_directory: bool, error: io::Error) -> Error {
        let path = self.path_of(name);
        match self.dir.symlink_metadata(name) {
            Ok(metadata) if metadata.is_symlink() => Error::UnsafePath { path, found: "a link".into() },
            Ok(metadata) if wants_directory && !metadata.is_dir() => {
                Error::UnsafePath { path, found: "no directory".into() }
            }
            Ok(metadata) if !wants_directory && metadata.is_dir() => {
                Error::UnsafePath { path, found: "a directory".into() }
            }
            Ok(metadata) if !wants_directory && !metadata.is_file() => {
                Error::UnsafePath { path, found: "no regular file".into() }
            }
            _ => Error::io(action, &path, error),
        }
    }
}

fn kind_of(metadata: &std::fs::Metadata) -> &'static str {
    if metadata.is_dir() { "a directory" } else { "no regular file" }
}

/// Refuses files of another user, who could change them while they are used or mapped.
#[cfg(unix)]
fn check_owner(path: &Path, owner: u32) -> Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if owner == user {
        return Ok(());
    }
    Err(Error::UnsafePath { path: path.to_path_buf(), found: format!("owned by user {owner}, not by you ({user})") })
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_reached_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let (outside, inside) = (temp.path().join("outside"), temp.path().join("inside"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&inside).unwrap();
        fs::write(outside.join("secret"), "s").unwrap();
        symlink(&outside, inside.join("folder")).unwrap();
        symlink(outside.join("secret"), inside.join("file")).unwrap();
        symlink(outside.join("new"), inside.join("dangling")).unwrap();
        symlink(outside.join("secret"), inside.join("written.tmp")).unwrap();
        let folder = Folder::trusted(&inside).unwrap();
        let is_link = |e: &Error| matches!(e, Error::UnsafePath { found, .. } if found == "a link");
        assert!(folder.folder("folder").is_err_and(|e| is_link(&e)));
        assert!(folder.make_folder("folder").is_err_and(|e| is_link(&e)));
        assert!(folder.open("file").is_err_and(|e| is_link(&e)));
        assert!(folder.open_to_write("file").is_err_and(|e| is_link(&e)));
        assert!(folder.open_to_write("dangling").is_err_and(|e| is_link(&e)));
        assert!(folder.read("file", 10).is_err_and(|e| is_link(&e)));
        assert_eq!(folder.create_new("dangling").unwrap_err().kind(), ErrorKind::AlreadyExists);
        folder.write_durably("written", b"new").unwrap();
        folder.write_durably("file", b"new").unwrap();
        folder.remove("folder").unwrap();
        assert_eq!(fs::read(inside.join("written")).unwrap(), b"new");
        assert_eq!(fs::read(inside.join("file")).unwrap(), b"new", "the link was replaced");
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"s");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_of_ours_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::trusted(temp.path()).unwrap();
        fs::create_dir(temp.path().join("d")).unwrap();
        fs::write(temp.path().join("f"), "text").unwrap();
        fs::hard_link(temp.path().join("f"), temp.path().join("g")).unwrap();
        let pipe = temp.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let found = |e: Error| match e {
            Error::UnsafePath { found, .. } => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(folder.open("d").unwrap_err()), "a directory");
        assert_eq!(found(folder.open("pipe").unwrap_err()), "no regular file");
        assert_eq!(found(folder.folder("f").unwrap_err()), "no directory");
        assert_eq!(found(folder.open_to_write("g").unwrap_err()), "a file with other names");
        assert_eq!(found(folder.read("f", 3).unwrap_err()), "longer than 3 bytes");
        assert_eq!(folder.read("f", 4).unwrap().unwrap(), b"text");
        assert_eq!(folder.read("absent", 4).unwrap(), None);
        assert!(folder.folder("absent").unwrap().is_none());
    }
}
