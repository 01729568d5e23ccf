//! The owner's own state: embeddings by content, and the file table.
//!
//! All of it can be made again: embeddings are computed anew, and the table is read off the full-text index when its
//! generation is not the index's. A database that turns out to be damaged is moved aside and replaced by an empty one.
//! redb checks checksums only in a repair, so each row carries its own, and a panic inside redb counts as damage.
//!
//! Embeddings that no chunk of the index has any more are kept for the next branch switch, up to a limit; beyond it,
//! the least recently used are deleted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use sha2::{Digest, Sha256};

use super::content::CONTENT;
use super::files::{CACHE, DAMAGED_CACHE};
use super::skipped::{self, SKIPPED, SkippedRecord};
use crate::disk::{Folder, Stat};
use crate::vector::f16_values;
use crate::{Error, Result};

/// Key: 8 bytes of the space's hash, 32 bytes of the caller's content key. Value: f16 row, 8 bytes of checksum.
const VECTORS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("vectors");
/// Key as in [`VECTORS`]. Value: the number of the commit that used the row last.
const USED: TableDefinition<&[u8], u64> = TableDefinition::new("used");
const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const GENERATION: &str = "generation";
/// Commits so far, for [`USED`].
const CLOCK: &str = "clock";
const SUM_LEN: usize = 8;

/// Rows that are deleted or rewritten in one transaction.
const BATCH: usize = 4_096;

/// redb's page cache; its default of 1 GB is twenty times the daemon's budget.
const PAGE_CACHE_BYTES: usize = 4 << 20;

/// What is known about a file, so that an unchanged one is not read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRecord {
    /// Content hash.
    pub hash: [u8; 32],
    /// What the system said of the file when it was read; [`Stat::UNKNOWN`] where that proves nothing, and when the
    /// table was rebuilt.
    pub stat: Stat,
    /// Chunks made of it.
    pub n_chunks: u32,
}

impl FileRecord {
    /// A file that is in the index and of which nothing else is known: it is read and cut again.
    pub const UNKNOWN: FileRecord = FileRecord { hash: [0; 32], stat: Stat::UNKNOWN, n_chunks: 0 };
}

/// Changes of what is known about files. `None` removes one.
pub struct Tables<'a> {
    /// Files of the index.
    pub files: &'a BTreeMap<String, Option<FileRecord>>,
    /// That table is emptied first.
    pub replace_files: bool,
    /// Files that are left out.
    pub skipped: &'a BTreeMap<String, Option<SkippedRecord>>,
    /// That table is emptied first.
    pub replace_skipped: bool,
}

/// The key of a vector in the cache.
pub type VectorKey = [u8; 40];

/// The key of content `key` in the space named `space_id`.
pub fn vector_key(space_id: &str, key: &[u8; 32]) -> VectorKey {
    let mut full = [0; 40];
    full[..8].copy_from_slice(&Sha256::digest(space_id)[..8]);
    full[8..].copy_from_slice(key);
    full
}

/// The database.
pub struct Cache {
    folder: Folder,
    /// `None` after an error, until the next use opens it again.
    db: RefCell<Option<Database>>,
    /// The database was replaced by an empty one.
    renewed: Cell<bool>,
}

impl Cache {
    /// The database in `folder`, opened at its first use.
    pub fn new(folder: &Folder) -> Cache {
        Cache { folder: folder.clone(), db: RefCell::new(None), renewed: Cell::new(false) }
    }

    /// Whether the database was replaced by an empty one since the last call.
    pub fn was_renewed(&self) -> bool {
        self.renewed.take()
    }

    /// Runs `work` on the open database.
    ///
    /// After an I/O error redb refuses everything until it is opened again, so it is closed. After damage it is moved
    /// aside as well; the error is returned all the same, since what `work` relied on is gone.
    fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T> {
        let mut slot = self.db.borrow_mut();
        let path = self.folder.path_of(CACHE);
        // A link in its place is not damage, and nothing is moved aside for it.
        let file = if slot.is_none() { Some(self.folder.open_to_write(CACHE)?) } else { None };
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let db = match (&mut *slot, file) {
                (empty, Some(file)) => empty.insert(open_tables(file)?),
                (slot, None) => slot.as_mut().expect("opened before"),
            };
            work(db)
        }));
        let (error, is_damage) = match guarded {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(e)) => {
                let is_damage = is_damage(&e);
                (cache_error(&path, e), is_damage)
            }
            Err(_) => (damaged(&path, "a page makes no sense"), true),
        };
        let is_closed = close(slot.take());
        if is_damage || !is_closed {
            self.move_aside().map_err(|e| Error::io("move aside", &path, e))?;
            self.renewed.set(true);
        }
        Err(error)
    }

    fn move_aside(&self) -> std::io::Result<()> {
        self.folder.rename(CACHE, &self.folder, DAMAGED_CACHE)
    }

    /// The generation that the file table belongs to.
    pub fn generation(&self) -> Result<Option<u64>> {
        self.run(|db| Ok(db.begin_read()?.open_table(META)?.get(GENERATION)?.map(|value| value.value())))
    }

    /// The files that were left out, or those at and below `paths`.
    pub fn skipped(&self, paths: Option<&BTreeSet<String>>) -> Result<BTreeMap<String, SkippedRecord>> {
        self.run(|db| skipped::read(db, paths))
    }

    /// The file table.
    pub fn files(&self) -> Result<BTreeMap<String, FileRecord>> {
        self.run(|db| {
            let mut files = BTreeMap::new();
            for entry in db.begin_read()?.open_table(FILES)?.iter()? {
                let (rel, record) = entry?;
                files.insert(rel.value().to_string(), decode(record.value()));
            }
            Ok(files)
        })
    }

    /// The part of the file table at and below `paths`.
    pub fn files_within(&self, paths: &BTreeSet<String>) -> Result<BTreeMap<String, FileRecord>> {
        if paths.contains("") {
            return self.files();
        }
        self.run(|db| {
            let table = db.begin_read()?.open_table(FILES)?;
            let mut files = BTreeMap::new();
            for path in paths {
                if let Some(record) = table.get(path.as_str())? {
                    files.insert(path.clone(), decode(record.value()));
                }
                // `0` follows `/`: what lies between begins with the path and a slash.
                let (from, to) = (format!("{path}/"), format!("{path}0"));
                for entry in table.range(from.as_str()..to.as_str())? {
                    let (rel, record) = entry?;
                    files.insert(rel.value().to_string(), decode(record.value()));
                }
            }
            Ok(files)
        })
    }

    /// Number of files in the table.
    pub fn n_files(&self) -> Result<u64> {
        self.run(|db| Ok(db.begin_read()?.open_table(FILES)?.len()?))
    }

    /// Whether the table has `rel`.
    pub fn has_file(&self, rel: &str) -> Result<bool> {
        self.run(|db| Ok(db.begin_read()?.open_table(FILES)?.get(rel)?.is_some()))
    }

    /// Number of stored vectors.
    pub fn n_vectors(&self) -> Result<u64> {
        self.run(|db| Ok(db.begin_read()?.open_table(VECTORS)?.len()?))
    }

    /// The vectors of `keys`, `None` where there is none of `dim` values with the right checksum.
    pub fn vectors(&self, keys: &[VectorKey], dim: usize) -> Result<Vec<Option<Vec<f32>>>> {
        self.run(|db| {
            let table = db.begin_read()?.open_table(VECTORS)?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let value = table.get(key.as_slice())?;
                let row = value.as_ref().and_then(|value| checked_row(key, value.value()));
                let row = row.filter(|row| row.len() == dim * 2);
                found.push(row.map(|row| f16_values(row).collect()));
            }
            Ok(found)
        })
    }

    /// Writes one generation's changes in one transaction.
    pub fn apply<'a>(
        &self,
        generation: u64,
        tables: &Tables<'_>,
        rows: impl Iterator<Item = (VectorKey, &'a [u8])>,
    ) -> Result<()> {
        self.run(|db| {
            let write = db.begin_write()?;
            if tables.replace_files {
                write.delete_table(FILES)?;
            }
            skipped::write(&write, tables.replace_skipped, tables.skipped)?;
            {
                let mut table = write.open_table(FILES)?;
                for (rel, record) in tables.files {
                    match record {
                        Some(record) => table.insert(rel.as_str(), encode(record).as_slice())?,
                        None => table.remove(rel.as_str())?,
                    };
                }
                let mut meta = write.open_table(META)?;
                let clock = meta.get(CLOCK)?.map_or(0, |clock| clock.value()) + 1;
                meta.insert(CLOCK, clock)?;
                meta.insert(GENERATION, generation)?;
                let (mut vectors, mut used) = (write.open_table(VECTORS)?, write.open_table(USED)?);
                for (key, row) in rows {
                    vectors.insert(key.as_slice(), with_sum(&key, row).as_slice())?;
                    used.insert(key.as_slice(), clock)?;
                }
            }
            Ok(write.commit()?)
        })
    }

    /// Deletes the vectors used longest ago, but for those that `living` says the index has, until `limit` of the
    /// others are left; gives how many went.
    pub fn trim(&self, limit: usize, living: impl Fn(&VectorKey) -> bool) -> Result<u64> {
        self.run(|db| {
            let mut spare: Vec<(u64, VectorKey)> = Vec::new();
            for entry in db.begin_read()?.open_table(USED)?.iter()? {
                let (key, used) = entry?;
                if let Ok(key) = VectorKey::try_from(key.value())
                    && !living(&key)
                {
                    spare.push((used.value(), key));
                }
            }
            spare.sort_unstable();
            spare.truncate(spare.len().saturating_sub(limit));
            for batch in spare.chunks(BATCH) {
                let write = db.begin_write()?;
                {
                    let (mut vectors, mut used) = (write.open_table(VECTORS)?, write.open_table(USED)?);
                    for (_, key) in batch {
                        vectors.remove(key.as_slice())?;
                        used.remove(key.as_slice())?;
                    }
                }
                write.commit()?;
            }
            Ok(spare.len() as u64)
        })
    }

    /// Deletes every stored vector; gives how many there were.
    pub fn clear_vectors(&self) -> Result<u64> {
        self.run(|db| {
            let write = db.begin_write()?;
            let n = write.open_table(VECTORS)?.len()?;
            write.delete_table(VECTORS)?;
            write.delete_table(USED)?;
            write.open_table(VECTORS)?;
            write.open_table(USED)?;
            write.commit()?;
            Ok(n)
        })
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if !close(self.db.get_mut().take()) {
            let _ = self.move_aside(); // if that fails, the next owner finds the damage
        }
    }
}

/// Closes the database, which writes to it; `false` when that panicked because of damage.
fn close(db: Option<Database>) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok()
}

/// After a kill redb reads the file through. Its quick repair would save 0.2 s of 0.5 s then, at 100,000 rows, and cost
/// 10 ms on each of the small commits that follow an edit (`tests/durability/upkeep.rs` measures both): not taken.
fn open_tables(file: File) -> Result<Database, redb::Error> {
    let db = Database::builder().set_cache_size(PAGE_CACHE_BYTES).create_file(file)?;
    let read = db.begin_read()?;
    let has_tables = read.open_table(VECTORS).is_ok()
        && read.open_table(USED).is_ok()
        && read.open_table(FILES).is_ok()
        && read.open_table(SKIPPED).is_ok()
        && read.open_table(META).is_ok();
    read.close()?;
    if !has_tables {
        let write = db.begin_write()?;
        write.open_table(VECTORS)?;
        write.open_table(USED)?;
        write.open_table(FILES)?;
        write.open_table(SKIPPED)?;
        write.open_table(META)?;
        write.commit()?;
    }
    Ok(db)
}

/// Format 1 to 2: gives every row its checksum. A database that cannot be read is begun again.
pub fn add_checksums(folder: &Folder) -> Result<()> {
    if !folder.has(CACHE) {
        return Ok(());
    }
    let cache = Cache::new(folder);
    let mut after: Option<VectorKey> = None;
    loop {
        let batch = match cache.run(|db| add_checksums_after(db, after)) {
            Err(_) if cache.was_renewed() => return Ok(()),
            batch => batch?,
        };
        match batch {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Gives one batch of rows their checksums; returns its last key, or `None` at the end. A row that has its checksum
/// already is left as it is.
fn add_checksums_after(db: &Database, after: Option<VectorKey>) -> Result<Option<VectorKey>, redb::Error> {
    let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
    let mut rows: Vec<(VectorKey, Vec<u8>)> = Vec::new();
    for entry in db.begin_read()?.open_table(VECTORS)?.range::<&[u8]>((from, Bound::Unbounded))?.take(BATCH) {
        let (key, value) = entry?;
        if let Ok(key) = VectorKey::try_from(key.value()) {
            rows.push((key, value.value().to_vec()));
        }
    }
    let write = db.begin_write()?;
    {
        let (mut vectors, mut used) = (write.open_table(VECTORS)?, write.open_table(USED)?);
        for (key, value) in rows.iter().filter(|(key, value)| checked_row(key, value).is_none()) {
            vectors.insert(key.as_slice(), with_sum(key, value).as_slice())?;
            used.insert(key.as_slice(), 0)?;
        }
    }
    write.commit()?;
    Ok(rows.last().map(|(key, _)| *key))
}

fn with_sum(key: &VectorKey, row: &[u8]) -> Vec<u8> {
    [row, &row_sum(key, row)].concat()
}

/// The row in a value, when its checksum is right.
fn checked_row<'a>(key: &VectorKey, value: &'a [u8]) -> Option<&'a [u8]> {
    let (row, sum) = value.split_at(value.len().checked_sub(SUM_LEN)?);
    (sum == row_sum(key, row)).then_some(row)
}

fn row_sum(key: &VectorKey, row: &[u8]) -> [u8; SUM_LEN] {
    let digest = Sha256::new().chain_update(key).chain_update(row).finalize();
    digest[..SUM_LEN].try_into().expect("a digest is longer")
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::IndexDamaged { path: path.to_path_buf(), problem: problem.into() }
}

fn cache_error(path: &Path, e: redb::Error) -> Error {
    if is_damage(&e) { damaged(path, &e.to_string()) } else { Error::Cache(Box::new(e)) }
}

/// Whether the file's content is at fault, not the disk or another process.
fn is_damage(e: &redb::Error) -> bool {
    match e {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => true,
        redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(e) => matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}

/// Bytes of a row of the file table: the record, then the version of the content that was made of the file.
const RECORD_LEN: usize = 72;

fn encode(record: &FileRecord) -> [u8; RECORD_LEN] {
    let mut bytes = [0; RECORD_LEN];
    let (size_and_mtime, ctime_and_inode) = record.stat.encode();
    bytes[..32].copy_from_slice(&record.hash);
    bytes[32..48].copy_from_slice(&size_and_mtime);
    bytes[48..64].copy_from_slice(&ctime_and_inode);
    bytes[64..68].copy_from_slice(&record.n_chunks.to_le_bytes());
    bytes[68..].copy_from_slice(&CONTENT.to_le_bytes());
    bytes
}

/// The record of a file. One that another build wrote says nothing but that the file is there, so it is read again.
fn decode(bytes: &[u8]) -> FileRecord {
    let of_this_content = || {
        let (bytes, content) = bytes.split_last_chunk()?;
        let bytes: &[u8; RECORD_LEN - 4] = bytes.try_into().ok()?;
        (u32::from_le_bytes(*content) == CONTENT).then_some(())?;
        Some(FileRecord {
            hash: bytes[..32].try_into().ok()?,
            stat: Stat::decode(&bytes[32..48], &bytes[48..64])?,
            n_chunks: u32::from_le_bytes(bytes[64..].try_into().ok()?),
        })
    };
    of_this_content().unwrap_or(FileRecord::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written_and_no_others() {
        let stat = Stat { size: 1, mtime_ns: -2, ctime_ns: 3, inode: 4 };
        let record = FileRecord { hash: [9; 32], stat, n_chunks: 5 };
        let bytes = encode(&record);
        assert_eq!(decode(&bytes), record);
        for length in 0..RECORD_LEN {
            assert_eq!(decode(&bytes[..length]), FileRecord::UNKNOWN, "{length}");
        }
    }
}
