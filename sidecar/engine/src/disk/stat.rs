//! What the system says of a file without opening it, and when that proves that the content is what it was.
//!
//! A size and a time of modification prove nothing: `cp -p`, `tar x`, `rsync -t` and `touch -r` set the time, Nix and
//! Bazel set the same one everywhere, and two files change places with `mv`. No program can set the time of the last
//! change of the inode, so it decides where there is one. It has a granularity: what is written within the same tick
//! has the same time, so a file that was read right after it changed is not trusted, as in git's index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest tick of a file system's clock: two seconds on FAT, one on HFS+ and ext3, milliseconds elsewhere. Also
/// the most that the clock of a file server may be behind.
const TICK: Duration = Duration::from_secs(2);

/// The year 2000, in seconds. A file that says to have been changed before is of an image whose maker set all times to
/// the same value, or of a machine without a clock: its time proves nothing.
const CREDIBLE_SECONDS: u64 = 946_684_800;

/// A file as its directory describes it. The default, [`Stat::UNKNOWN`], is equal to no file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content, nanoseconds since 1970, as the system or some program set it; 0 where
    /// the system has none.
    pub mtime_ns: i64,
    /// Time of the last change of content, name or attributes, nanoseconds since 1970, which no program can set. On
    /// Windows, where a directory does not tell it, the time when the file was made.
    pub ctime_ns: i64,
    /// Number of the inode; 0 on Windows, where a directory does not tell it.
    pub inode: u64,
}

impl Stat {
    /// Of a file whose content has to be looked at.
    pub const UNKNOWN: Stat = Stat { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0 };

    /// Of a name in a directory, not of what a link leads to.
    pub(super) fn of(metadata: &cap_std::fs::Metadata) -> Stat {
        let mtime_ns = metadata.modified().map_or(0, |time| since_epoch(time.into_std()));
        #[cfg(unix)]
        let (ctime_ns, inode) = {
            use cap_std::fs::MetadataExt;
            let whole = metadata.ctime().saturating_mul(1_000_000_000);
            (whole.saturating_add(metadata.ctime_nsec()), metadata.ino())
        };
        #[cfg(not(unix))]
        let (ctime_ns, inode) = (metadata.created().map_or(0, |time| since_epoch(time.into_std())), 0);
        Stat { size: metadata.len(), mtime_ns, ctime_ns, inode }
    }

    /// Size and time of modification, then time of the inode and its number, each in eight bytes.
    pub(crate) fn encode(self) -> ([u8; 16], [u8; 16]) {
        let pair = |a: u64, b: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&a.to_le_bytes());
            bytes[8..].copy_from_slice(&b.to_le_bytes());
            bytes
        };
        (pair(self.size, self.mtime_ns as u64), pair(self.ctime_ns as u64, self.inode))
    }

    /// What [`Stat::encode`] wrote; `None` for another length.
    pub(crate) fn decode(size_and_mtime: &[u8], ctime_and_inode: &[u8]) -> Option<Stat> {
        let pair = |bytes: &[u8]| {
            let bytes: &[u8; 16] = bytes.try_into().ok()?;
            let (a, b) = bytes.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*a), u64::from_le_bytes(b.try_into().ok()?)))
        };
        let ((size, mtime_ns), (ctime_ns, inode)) = (pair(size_and_mtime)?, pair(ctime_and_inode)?);
        Some(Stat { size, mtime_ns: mtime_ns as i64, ctime_ns: ctime_ns as i64, inode })
    }

    /// What to remember of a file that was read at `read_at`: itself, where a later change is sure to make it another,
    /// else [`Stat::UNKNOWN`].
    pub fn as_read_at(self, read_at: SystemTime) -> Stat {
        let changed_ns = if cfg!(unix) { self.ctime_ns } else { self.mtime_ns };
        let settled_ns = since_epoch(read_at.checked_sub(TICK).unwrap_or(UNIX_EPOCH));
        let credible_ns = since_epoch(UNIX_EPOCH + Duration::from_secs(CREDIBLE_SECONDS));
        if (credible_ns..settled_ns).contains(&changed_ns) { self } else { Stat::UNKNOWN }
    }
}

/// Nanoseconds since 1970.
fn since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_trusted_once_its_last_change_is_older_than_a_tick() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ago = |age: Duration| {
            let changed_ns = since_epoch(now - age);
            Stat { size: 7, mtime_ns: changed_ns, ctime_ns: changed_ns, inode: 3 }
        };
        for (stat, is_trusted) in [
            (ago(Duration::from_secs(3600)), true),
            (ago(TICK + Duration::from_nanos(1)), true),
            (ago(TICK), false),
            (ago(Duration::ZERO), false),
            (Stat { ctime_ns: i64::MAX, mtime_ns: i64::MAX, ..ago(TICK) }, false), // a clock that goes ahead
            (Stat { ctime_ns: 0, mtime_ns: 0, ..ago(TICK) }, false),
            (Stat { ctime_ns: 1_000_000_000, mtime_ns: 1_000_000_000, ..ago(TICK) }, false),
            (Stat { ctime_ns: i64::MIN, mtime_ns: i64::MIN, ..ago(TICK) }, false),
        ] {
            assert_eq!(stat.as_read_at(now) == stat, is_trusted, "{stat:?}");
            assert!(is_trusted || stat.as_read_at(now) == Stat::UNKNOWN);
        }
        // A program may set any time of modification; the inode's own time decides.
        #[cfg(unix)]
        for mtime_ns in [0, 1_000_000_000, i64::MAX, i64::MIN] {
            let stat = Stat { mtime_ns, ..ago(Duration::from_secs(3600)) };
            assert_eq!(stat.as_read_at(now), stat);
        }
        assert_eq!(ago(TICK).as_read_at(UNIX_EPOCH), Stat::UNKNOWN);
    }
}
