//! How often a daemon began at this endpoint, and how often one ended without a word. Only the lock's holder writes it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::log;

/// Counted since the file was first made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runs {
    /// Daemons that became owner.
    pub starts: u64,
    /// Of them, those that died: killed, crashed, or the machine went down.
    pub crashes: u64,
    /// When the last of these was found, seconds since 1970.
    pub last_crash: Option<u64>,
    /// One is there now, or was when it died.
    pub running: bool,
}

impl Runs {
    /// What is known; nothing, where the file is missing or says something else. Never an obstacle.
    pub fn read(path: &Path) -> Runs {
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// A new owner begins.
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

    /// The owner leaves in order.
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
