//! Canaries: files outside of a project that no command may change or read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A word of every canary's text, which no output may contain.
pub const SECRET: &str = "canary7secret";

/// The canaries of some directories, with their metadata from before the attack.
pub struct Canaries {
    before: BTreeMap<PathBuf, Snapshot>,
    access_times_are_recorded: bool,
}

/// A file's metadata, read without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    kind_and_mode: u32,
    inode: u64,
    size: u64,
    links: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// The time of the last read. Not compared where the file system does not record it.
    accessed: (i64, i64),
}

/// Writes canaries into `dir`: keys, sources, and files that are named like those of an index, which a misdirected index run would
/// open.
pub fn plant(dir: &Path) {
    let id = "0123456789abcdef0123456789abcdef";
    let segment = |ending: &str| format!("text/{id}.{ending}");
    let mut names: Vec<String> = ["keys/id", "keys/gen-1.json", "keys/seg-0.vec", "keys/1-1", "meta.json", "secret.py"]
        .into_iter()
        .chain(["format", "clean", "damaged", "seal", "cache.redb", "owner.lock", "config.json", "text/meta.json"])
        .chain(["vectors/gen-1.json", "vectors/seg-0.vec", "vectors/notes", "readers/1-1", "building/seg.vec"])
        .chain([".gitignore", ".offheap/config.json", ".offheap/data/format", "deep/er/file.py"])
        .map(str::to_owned)
        .collect();
    names.extend(["idx", "term", "store", "fast"].map(segment));
    for name in names {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("below a directory")).expect("writable");
        std::fs::write(path, format!("def {SECRET}():\n    return '{SECRET}'\n")).expect("writable");
    }
}

impl Canaries {
    /// Records the metadata of everything below `dirs`, after setting access times back so that a read changes them.
    pub fn watch(dirs: &[&Path]) -> Canaries {
        let mut paths = Vec::new();
        dirs.iter().for_each(|dir| list(dir, &mut paths));
        // Reading a control file shows whether the file system records access times.
        let control = tempfile::NamedTempFile::new_in(dirs[0].parent().expect("below a directory")).expect("writable");
        std::fs::write(control.path(), "x").expect("writable");
        paths.iter().for_each(|path| set_access_time_back(path));
        set_access_time_back(control.path());
        let before = snapshot(control.path()).accessed;
        std::fs::read(control.path()).expect("readable");
        let access_times_are_recorded = snapshot(control.path()).accessed != before;
        let before = paths.into_iter().map(|path| (path.clone(), snapshot(&path))).collect();
        Canaries { before, access_times_are_recorded }
    }

    /// The canaries that were changed, read or removed, one line each.
    pub fn changed(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, before) in &self.before {
            let Ok(metadata) = std::fs::symlink_metadata(path) else {
                found.push(format!("{} is gone", path.display()));
                continue;
            };
            let mut now = Snapshot::of(&metadata);
            if !self.access_times_are_recorded {
                now.accessed = before.accessed;
            }
            if now != *before {
                found.push(format!("{}: {before:?} became {now:?}", path.display()));
            }
        }
        found
    }

    /// Whether [`Canaries::changed`] can see reads.
    pub fn access_times_are_recorded(&self) -> bool {
        self.access_times_are_recorded
    }
}

fn list(path: &Path, paths: &mut Vec<PathBuf>) {
    paths.push(path.to_path_buf());
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        std::fs::read_dir(path).expect("readable").flatten().for_each(|entry| list(&entry.path(), paths));
    }
}

/// Sets the access time far back, so that the next read is recorded on file systems mounted with `relatime`, too.
fn set_access_time_back(path: &Path) {
    let old = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: omit };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .expect("owned by this user");
}

fn snapshot(path: &Path) -> Snapshot {
    Snapshot::of(&std::fs::symlink_metadata(path).expect("the file exists"))
}

impl Snapshot {
    fn of(metadata: &std::fs::Metadata) -> Snapshot {
        Snapshot {
            kind_and_mode: metadata.mode(),
            inode: metadata.ino(),
            size: metadata.size(),
            links: metadata.nlink(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            accessed: (metadata.atime(), metadata.atime_nsec()),
        }
    }
}
