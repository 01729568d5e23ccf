//! Files around a project that nothing may change or read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// In every canary's text; no output may hold it.
pub const SECRET: &str = "canary7secret";

/// Canaries below a directory, as they were.
pub struct Canaries {
    before: BTreeMap<PathBuf, Look>,
    /// The file system notes reading, so that it can be looked for.
    notes_reading: bool,
}

/// What the system tells of a file without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    kind_and_mode: u32,
    inode: u64,
    size: u64,
    links: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Ignored where the file system does not note reading.
    read: (i64, i64),
}

/// Plants canaries in `dir`: keys, sources, and files whose names an index has, so that it is not the names that save them.
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
    /// Looks at everything below `dirs`, and makes reading show.
    pub fn watch(dirs: &[&Path]) -> Canaries {
        let mut paths = Vec::new();
        dirs.iter().for_each(|dir| list(dir, &mut paths));
        // A control: reading it must show, or reading the others would not either.
        let control = tempfile::NamedTempFile::new_in(dirs[0].parent().expect("below a directory")).expect("writable");
        std::fs::write(control.path(), "x").expect("writable");
        paths.iter().for_each(|path| age(path));
        age(control.path());
        let before = look(control.path()).read;
        std::fs::read(control.path()).expect("readable");
        let notes_reading = look(control.path()).read != before;
        let before = paths.into_iter().map(|path| (path.clone(), look(&path))).collect();
        Canaries { before, notes_reading }
    }

    /// What became of the canaries; empty when nothing did.
    pub fn changed(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, before) in &self.before {
            let Ok(metadata) = std::fs::symlink_metadata(path) else {
                found.push(format!("{} is gone", path.display()));
                continue;
            };
            let mut now = of(&metadata);
            if !self.notes_reading {
                now.read = before.read;
            }
            // A directory's own time of reading changes when its path is resolved on some file systems; listing it counts.
            if now != *before {
                found.push(format!("{}: {before:?} became {now:?}", path.display()));
            }
        }
        found
    }

    /// Whether reading shows here.
    pub fn notes_reading(&self) -> bool {
        self.notes_reading
    }
}

fn list(path: &Path, paths: &mut Vec<PathBuf>) {
    paths.push(path.to_path_buf());
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        std::fs::read_dir(path).expect("readable").flatten().for_each(|entry| list(&entry.path(), paths));
    }
}

/// Sets the time of the last reading far back, so that the next one is noted even where most are not (`relatime`).
fn age(path: &Path) {
    let old = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: omit };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("ours");
}

fn look(path: &Path) -> Look {
    of(&std::fs::symlink_metadata(path).expect("there"))
}

fn of(metadata: &std::fs::Metadata) -> Look {
    Look {
        kind_and_mode: metadata.mode(),
        inode: metadata.ino(),
        size: metadata.size(),
        links: metadata.nlink(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        read: (metadata.atime(), metadata.atime_nsec()),
    }
}
