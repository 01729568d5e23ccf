//! Removes the files of endpoints that were not used for weeks from the runtime directory.
//!
//! Each project leaves a lock, a log and a count of its daemons there. A lock file is removed only by its holder; a process that
//! had opened it before sees, once it has the lock, that the file is gone from its path, and opens the new one
//! (`ownership::become_owner`).

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Files older than this belong to no daemon in use: each writes to its log when it starts and when it leaves.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// File name endings of an endpoint's files, without the lock, which is removed last.
const BESIDE: [&str; 5] = ["log", "log.1", "runs", "sock", "tcp"];
/// Number of hexadecimal digits in an endpoint's name.
const ID_LEN: usize = 16;

/// Removes unused endpoints' files from a runtime directory, as far as it can.
pub fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let id = name.strip_suffix(".lock").filter(|id| id.len() == ID_LEN);
        if let Some(id) = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            remove_unused(dir, id);
        }
    }
}

fn remove_unused(dir: &Path, id: &str) {
    let file = |ending: &str| dir.join(format!("{id}.{ending}"));
    let is_old = |ending: &&str| {
        let age = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or_default();
        match std::fs::symlink_metadata(file(ending)).and_then(|meta| meta.modified()) {
            Ok(modified) => age(modified) > UNUSED,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    };
    if !BESIDE.iter().chain(&["lock"]).all(is_old) {
        return;
    }
    let Ok(lock) = File::open(file("lock")) else { return };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return,
    }
    for ending in BESIDE.iter().chain(&["lock"]) {
        let _ = std::fs::remove_file(file(ending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_endpoints_are_removed_and_nothing_else() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let old = SystemTime::now() - UNUSED - Duration::from_secs(60);
        let make = |name: &str, at: SystemTime| {
            let file = File::create(temp.path().join(name)).expect("writable");
            file.set_modified(at).expect("settable");
            file
        };
        let (unused, recent, held) = ("0123456789abcdef", "1123456789abcdef", "2123456789abcdef");
        for ending in ["lock", "log", "log.1", "runs"] {
            make(&format!("{unused}.{ending}"), old);
            make(&format!("{recent}.{ending}"), if ending == "log" { SystemTime::now() } else { old });
        }
        let lock = make(&format!("{held}.lock"), old);
        lock.lock().expect("free");
        make("0123456789abcdef.sha256", old);
        make("notes.lock", old);
        make("zzzzzzzzzzzzzzzz.lock", old);
        sweep(temp.path());
        let mut left: Vec<_> = std::fs::read_dir(temp.path())
            .expect("listed")
            .map(|entry| entry.expect("listed").file_name().into_string().expect("ours"))
            .collect();
        left.sort();
        let recent = ["lock", "log", "log.1", "runs"].map(|ending| format!("{recent}.{ending}"));
        let mut expected = vec![format!("{held}.lock"), "0123456789abcdef.sha256".into(), "notes.lock".into()];
        expected.extend(recent);
        expected.push("zzzzzzzzzzzzzzzz.lock".into());
        expected.sort();
        assert_eq!(left, expected);
    }
}
