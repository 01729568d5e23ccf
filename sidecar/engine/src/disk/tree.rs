//! A project's own files, of any owner, reached without following a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, FileType, OpenOptions};

use super::{Identity, Stat};
use crate::{Error, Result};

/// The system's answer to a link that it was told not to follow.
#[cfg(unix)]
const STOPPED_ON_LINK: i32 = libc::ELOOP;
#[cfg(windows)]
const STOPPED_ON_LINK: i32 = 681; // ERROR_STOPPED_ON_SYMLINK

/// The root of a project, held open for reading. Paths are relative to it and never lead through a link.
///
/// Clones share the handle: they mean the same directory, whatever its path names by now.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Dir>,
    path: PathBuf,
}

/// An open directory of a [`Tree`].
pub struct Listing {
    dir: Dir,
}

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, or on Windows any reparse point.
    Link,
    /// A pipe, socket or device.
    Other,
}

/// A name in a directory.
pub struct Entry {
    inner: cap_std::fs::DirEntry,
    /// What it is; of a name that vanished meanwhile, an error.
    pub kind: io::Result<Kind>,
}

impl Tree {
    /// Opens a root. Links in `path` itself are followed: it is what the user named.
    pub fn open(path: &Path) -> Result<Tree> {
        let root = Dir::open_ambient_dir(path, cap_std::ambient_authority());
        let root = root.map_err(|e| Error::io("open", path, e))?;
        Ok(Tree { root: Arc::new(root), path: path.to_path_buf() })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root as a directory in which the project's index may be made. The root may have any owner, unlike the
    /// directories of the index.
    pub fn folder(&self) -> super::Folder {
        super::Folder::of(self.root.clone(), &self.path)
    }

    /// Which directory this is, whatever its path names by now.
    pub fn identity(&self) -> Result<Identity> {
        let metadata = self.root.dir_metadata().map_err(|e| Error::io("stat", &self.path, e))?;
        Ok(Identity::of(&metadata))
    }

    /// The name of the root's file system, where it is an unusual one: see [`Listing::file_system`].
    pub fn file_system(&self) -> Option<&'static str> {
        super::file_system::unusual(&self.root)
    }

    /// Opens a regular file for reading.
    ///
    /// Errors: `InvalidInput` for a path that is absolute or has `..` in it; whatever the system answers to a link on
    /// the way, for which see [`is_link`]; `Unsupported` for anything that is not a regular file.
    pub fn open_file(&self, rel: &Path) -> io::Result<File> {
        let (folder, name) = (rel.parent().unwrap_or(Path::new("")), rel.file_name());
        let name = name.filter(|_| is_below(rel)).ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        #[cfg(target_os = "linux")]
        if let Some(opened) = beneath::open(&self.root, rel, false) {
            return regular(opened?);
        }
        read_only(&step_down(&self.root, folder)?, name)
    }

    /// The content of a regular file, when it is no longer than `limit` bytes.
    ///
    /// Errors as [`Tree::open_file`]; `FileTooLarge` for a longer one.
    pub fn read(&self, rel: &Path, limit: u64) -> io::Result<Vec<u8>> {
        read_all(self.open_file(rel)?, limit)
    }

    /// Opens a directory; the empty path is the root.
    pub fn list(&self, rel: &Path) -> io::Result<Listing> {
        if !is_below(rel) {
            return Err(ErrorKind::InvalidInput.into());
        }
        #[cfg(target_os = "linux")]
        if !rel.as_os_str().is_empty()
            && let Some(opened) = beneath::open(&self.root, rel, true)
        {
            return Ok(Listing { dir: Dir::from_std_file(opened?) });
        }
        Ok(Listing { dir: step_down(&self.root, rel)? })
    }
}

/// Opens one directory after the other, for systems that cannot do it in one call.
fn step_down(root: &Dir, rel: &Path) -> io::Result<Dir> {
    let mut dir = root.try_clone()?;
    for part in rel.components() {
        dir = dir.open_dir_nofollow(part.as_os_str()).map_err(|e| match dir.symlink_metadata(part.as_os_str()) {
            Ok(metadata) if metadata.is_symlink() => link_error(),
            _ => e,
        })?;
    }
    Ok(dir)
}

impl Listing {
    /// The names in it, in no order.
    pub fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        let with_kind = |entry: io::Result<cap_std::fs::DirEntry>| {
            let inner = entry?;
            let kind = inner.file_type().and_then(|kind| match Kind::of(kind) {
                Some(kind) => Ok(kind),
                // Some file systems do not tell with the name.
                None => inner.metadata().map(|metadata| Kind::of(metadata.file_type()).unwrap_or(Kind::Other)),
            });
            Ok(Entry { inner, kind })
        };
        Ok(self.dir.entries()?.map(with_kind))
    }

    /// The number of its file system; 0 where it is not known.
    pub fn device(&self) -> u64 {
        self.dir.dir_metadata().map_or(0, |metadata| Identity::of(&metadata).device)
    }

    /// The name of its file system, where that is one on which no project's files lie: one that the system makes up, or
    /// one that a network serves.
    pub fn file_system(&self) -> Option<&'static str> {
        super::file_system::unusual(&self.dir)
    }

    /// Whether a directory has this name.
    pub fn is_folder(&self, name: &str) -> bool {
        self.dir.symlink_metadata(name).is_ok_and(|metadata| metadata.is_dir())
    }

    /// The content of the regular file at `rel` below it, when it is no longer than `limit` bytes. Errors as
    /// [`Tree::read`].
    pub fn read(&self, rel: &str, limit: u64) -> io::Result<Vec<u8>> {
        let (folder, name) = rel.rsplit_once('/').unwrap_or(("", rel));
        read_all(read_only(&step_down(&self.dir, Path::new(folder))?, OsStr::new(name))?, limit)
    }
}

impl Kind {
    /// `None` where it is not known.
    fn of(kind: FileType) -> Option<Kind> {
        match kind {
            kind if kind.is_file() => Some(Kind::File),
            kind if kind.is_dir() => Some(Kind::Directory),
            kind if kind.is_symlink() => Some(Kind::Link),
            kind if kind == FileType::unknown() => None,
            _ => Some(Kind::Other),
        }
    }
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> OsString {
        self.inner.file_name()
    }

    /// What the system says of the name itself, not of what a link leads to.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::of(&self.inner.metadata()?))
    }
}

/// Whether an error says that a link stood where a file or directory was to be opened.
pub fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(STOPPED_ON_LINK)
}

fn link_error() -> io::Error {
    io::Error::from_raw_os_error(STOPPED_ON_LINK)
}

/// Whether a path is a plain one below a root: neither absolute nor with `.` or `..` in it.
pub fn is_below(rel: &Path) -> bool {
    rel.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Opens a name of `dir` for reading, when it is a regular file.
fn read_only(dir: &Dir, name: &OsStr) -> io::Result<File> {
    // Checked before opening: opening some devices has an effect.
    match Kind::of(dir.symlink_metadata(name)?.file_type()) {
        Some(Kind::File) => {}
        Some(Kind::Link) => return Err(link_error()),
        _ => return Err(ErrorKind::Unsupported.into()),
    }
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    #[cfg(unix)]
    cap_fs_ext::OpenOptionsSyncExt::nonblock(&mut options, true); // a pipe put there a moment ago must not make this wait
    regular(dir.open_with(name, &options)?.into_std())
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::Unsupported.into()) }
}

fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(length as usize + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?; // one more, to notice a file that grows meanwhile
    if bytes.len() as u64 > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Linux resolves a whole path below a directory in one call, and refuses links on the way.
#[cfg(target_os = "linux")]
mod beneath {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::Errno;

    use super::*;

    /// How often a path is tried: the kernel asks to try again while anything on the machine is renamed.
    const ATTEMPTS: u32 = 8;

    /// `None` where the kernel is too old (before 5.6) or a sandbox forbids the call.
    pub fn open(root: &Dir, rel: &Path, directory: bool) -> Option<io::Result<File>> {
        static UNAVAILABLE: AtomicBool = AtomicBool::new(false);
        if UNAVAILABLE.load(Ordering::Relaxed) {
            return None;
        }
        let kind = if directory { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW | kind;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(root, rel, flags, Mode::empty(), resolve) {
                Ok(file) => return Some(Ok(File::from(file))),
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    UNAVAILABLE.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(Errno::PERM) => return None, // some sandboxes forbid the call this way
                Err(error) => return Some(Err(error.into())),
            }
        }
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_read_below_the_root_and_never_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let (root, outside) = (temp.path().join("root"), temp.path().join("outside"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("a/b/c.txt"), "content").unwrap();
        fs::write(outside.join("secret.txt"), "secret").unwrap();
        symlink(&outside, root.join("a/out")).unwrap();
        symlink("b", root.join("a/in")).unwrap();
        symlink("c.txt", root.join("a/b/link.txt")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let pipe = root.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let tree = Tree::open(&root).unwrap();
        // The fallback for other systems must give the same answers as the kernel's own call.
        let step = |rel: &Path| read_only(&step_down(&tree.root, rel.parent().unwrap())?, rel.file_name().unwrap());
        for (rel, expected) in [
            ("a/b/c.txt", Ok(())),
            ("a/out/secret.txt", Err("link")),
            ("a/in/c.txt", Err("link")),
            ("a/b/link.txt", Err("link")),
            ("magic/etc/passwd", Err("link")),
            ("a/b/absent", Err("NotFound")),
            ("a", Err("Unsupported")),
            ("pipe", Err("Unsupported")),
        ] {
            for opened in [tree.open_file(Path::new(rel)), step(Path::new(rel))] {
                let said = opened.map(drop).map_err(|e| match is_link(&e) {
                    true => "link".to_owned(),
                    false => format!("{:?}", e.kind()),
                });
                assert_eq!(said, expected.map_err(str::to_owned), "{rel}");
            }
        }
        for rel in ["../outside/secret.txt", "a/../../outside/secret.txt", "/etc/passwd", "", ".", "a/.."] {
            assert_eq!(tree.open_file(Path::new(rel)).unwrap_err().kind(), ErrorKind::InvalidInput, "{rel}");
        }
        assert_eq!(tree.read(Path::new("a/b/c.txt"), 7).unwrap(), b"content");
        assert_eq!(tree.read(Path::new("a/b/c.txt"), 6).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(tree.list(Path::new("a/out")).is_err_and(|e| is_link(&e) || e.kind() == ErrorKind::NotADirectory));
        let listing = tree.list(Path::new("a")).unwrap();
        let mut names: Vec<_> = listing
            .entries()
            .unwrap()
            .map(|e| e.map(|e| (e.name(), e.kind.unwrap())))
            .collect::<io::Result<_>>()
            .unwrap();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(names, [("b".into(), Kind::Directory), ("in".into(), Kind::Link), ("out".into(), Kind::Link)]);
    }
}
