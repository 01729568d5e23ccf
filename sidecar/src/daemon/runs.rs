//! How many daemons were started at this endpoint and how many crashed, in a file that only the lock's holder writes.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::log;

/// Starts and crashes since the file was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runs {
    /// Daemons that became owner.
    pub starts: u64,
    /// Daemons that did not leave in order: killed, crashed, or the machine went down.
    pub crashes: u64,
    /// When the last crash was noticed, seconds since 1970.
    pub last_crash: Option<u64>,
    /// A daemon runs now, or has crashed since.
    pub running: bool,
}

impl Runs {
    /// Reads the file; zeros where it is missing or damaged, because counting must not keep a daemon from starting.
    pub fn read(path: &Path) -> Runs {
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Counts the start of a new owner, and the crash of the one before if it did not leave in order.
    pub fn begin(path: &Path) -> Runs {
        let mut runs = Runs::read(path);
        runs.starts += 1;
        if runs.running {
            runs.crashes += 1;
            let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            runs.last_crash = since_1970.ok().map(|since| since.as_secs());
        }
        runs.running = true;
        runs.write(path);
        runs
    }

    /// Notes that the owner leaves in order.
    pub fn end(path: &Path) {
        Runs { running: false, ..Runs::read(path) }.write(path);
    }

    fn write(&self, path: &Path) {
        let beside: PathBuf = path.with_extension("runs.new");
        let text = serde_json::to_vec(self).expect("plain data");
        let write = || {
            let mut file = log::open_private(&beside)?;
            file.set_len(0)?;
            file.write_all(&text)?;
            std::fs::rename(&beside, path)
        };
        let _ = write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_a_word_is_a_crash() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let path = temp.path().join("x.runs");
        assert_eq!(Runs::begin(&path).crashes, 0);
        Runs::end(&path);
        assert_eq!(Runs::begin(&path).crashes, 0);
        let third = Runs::begin(&path);
        assert_eq!((third.starts, third.crashes), (3, 1));
        assert!(third.last_crash.is_some());
        std::fs::write(&path, "garbage").expect("writable");
        assert_eq!(Runs::begin(&path).starts, 1);
    }
}
