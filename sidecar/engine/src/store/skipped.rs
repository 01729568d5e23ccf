//! Files that were left out, remembered so that an unchanged one is not read again, and counted.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::Store;
use crate::Result;
use crate::disk::Stat;
use crate::walk::SkipReason;

/// Key: path. Value: as in [`encode`].
pub const SKIPPED: TableDefinition<&str, &[u8]> = TableDefinition::new("skipped");

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRecord {
    /// Why.
    pub reason: SkipReason,
    /// What the system said of it when it was read; [`Stat::UNKNOWN`] where it was not, or where that proves nothing.
    pub stat: Stat,
}

impl SkippedRecord {
    /// A file that was not read.
    pub fn of(reason: SkipReason) -> SkippedRecord {
        SkippedRecord { reason, stat: Stat::UNKNOWN }
    }
}

impl Store {
    /// The files that were left out, with what was put since the last commit.
    pub fn skipped(&self) -> Result<BTreeMap<String, SkippedRecord>> {
        let mut table = if self.changes.cleared { BTreeMap::new() } else { self.ask(|cache| cache.skipped(None))? };
        for (rel, record) in &self.changes.skipped {
            match record {
                Some(record) => table.insert(rel.clone(), record.clone()),
                None => table.remove(rel),
            };
        }
        Ok(table)
    }

    /// The committed ones at and below `paths`.
    pub fn skipped_within(&self, paths: &BTreeSet<String>) -> Result<BTreeMap<String, SkippedRecord>> {
        self.ask(|cache| cache.skipped(Some(paths)))
    }

    /// Notes that a file is left out; `None` that it no longer is.
    pub fn skip_file(&mut self, rel: &str, record: Option<SkippedRecord>) {
        self.changes.skipped.insert(rel.to_owned(), record);
    }

    /// How many files are left out once the changes are committed, by the name of the reason.
    pub(super) fn count_skipped(&self) -> Result<BTreeMap<String, u64>> {
        if self.changes.skipped.is_empty() && !self.changes.cleared {
            return Ok(self.manifest.skipped.clone());
        }
        let mut counts = BTreeMap::new();
        self.skipped()?.into_values().for_each(|skip| *counts.entry(skip.reason.as_str().to_owned()).or_default() += 1);
        Ok(counts)
    }
}

/// The table, or its part at and below `paths`.
pub fn read(db: &Database, paths: Option<&BTreeSet<String>>) -> Result<BTreeMap<String, SkippedRecord>, redb::Error> {
    let paths = paths.filter(|paths| !paths.contains(""));
    let table = db.begin_read()?.open_table(SKIPPED)?;
    let mut found = BTreeMap::new();
    let mut take = |rel: &str, record: &[u8]| {
        // What another build wrote and is not known here is looked at again.
        if let Some(record) = decode(record) {
            found.insert(rel.to_owned(), record);
        }
    };
    let Some(paths) = paths else {
        for entry in table.iter()? {
            let (rel, record) = entry?;
            take(rel.value(), record.value());
        }
        return Ok(found);
    };
    for path in paths {
        if let Some(record) = table.get(path.as_str())? {
            take(path, record.value());
        }
        // `0` follows `/`: what lies between begins with the path and a slash.
        let (from, to) = (format!("{path}/"), format!("{path}0"));
        for entry in table.range(from.as_str()..to.as_str())? {
            let (rel, record) = entry?;
            take(rel.value(), record.value());
        }
    }
    Ok(found)
}

/// Writes changes of the table; `replace` empties it first.
pub fn write(
    write: &WriteTransaction,
    replace: bool,
    changes: &BTreeMap<String, Option<SkippedRecord>>,
) -> Result<(), redb::Error> {
    if replace {
        write.delete_table(SKIPPED)?;
    }
    let mut table = write.open_table(SKIPPED)?;
    for (rel, record) in changes {
        match record {
            Some(record) => table.insert(rel.as_str(), encode(record).as_slice())?,
            None => table.remove(rel.as_str())?,
        };
    }
    Ok(())
}

/// What the system said, then the name of the reason.
fn encode(record: &SkippedRecord) -> Vec<u8> {
    let (first, second) = record.stat.encode();
    [&first[..], &second, record.reason.as_str().as_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<SkippedRecord> {
    let (first, rest) = bytes.split_at_checked(16)?;
    let (second, reason) = rest.split_at_checked(16)?;
    let reason = SkipReason::named(std::str::from_utf8(reason).ok()?)?;
    Some(SkippedRecord { reason, stat: Stat::decode(first, second)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        for reason in SkipReason::ALL {
            let record = SkippedRecord { reason: *reason, stat: Stat { size: 5, mtime_ns: -7, ctime_ns: 9, inode: 3 } };
            assert_eq!(decode(&encode(&record)), Some(record));
        }
        assert_eq!(decode(b"12345678123456781234567812345678a reason of the future"), None);
        assert_eq!(decode(b"too short"), None);
    }
}
