//! The owner's own state: embeddings by content, and the file table.
//!
//! Nothing here is the truth. Embeddings can be computed again; the table can be read off the full-text index, and is,
//! when its generation is not the index's. A database that cannot be read is moved aside and begun again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use sha2::{Digest, Sha256};

use crate::vector::f16_values;
use crate::{Error, Result};

/// Key: 8 bytes of the space's hash, 32 bytes of the caller's content key. Value: f16 row.
const VECTORS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("vectors");
const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const GENERATION: &str = "generation";

/// redb's page cache; its default of 1 GB is twenty times the daemon's budget.
const PAGE_CACHE_BYTES: usize = 4 << 20;

/// What is known about a file, so that an unchanged one is not read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Content hash.
    pub hash: [u8; 32],
    /// Size in bytes; 0 together with `mtime_ns` 0 when the table was rebuilt, which never equals a real file's.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Chunks made of it.
    pub n_chunks: u32,
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
    db: Database,
}

impl Cache {
    /// Opens `path`; a damaged database is renamed to `<path>.damaged` and replaced by an empty one.
    pub fn open(path: &Path) -> Result<Cache> {
        match Self::try_open(path) {
            Ok(db) => Ok(Cache { db }),
            Err(e) if is_damage(&e) => {
                let aside = path.with_extension("redb.damaged");
                std::fs::rename(path, &aside).map_err(|e| Error::io("move aside", path, e))?;
                Ok(Cache { db: Self::try_open(path).map_err(cache_error)? })
            }
            Err(e) => Err(cache_error(e)),
        }
    }

    fn try_open(path: &Path) -> Result<Database, redb::Error> {
        let db = Database::builder().set_cache_size(PAGE_CACHE_BYTES).create(path)?;
        let read = db.begin_read()?;
        let has_tables =
            read.open_table(VECTORS).is_ok() && read.open_table(FILES).is_ok() && read.open_table(META).is_ok();
        read.close()?;
        if !has_tables {
            let write = db.begin_write()?;
            write.open_table(VECTORS)?;
            write.open_table(FILES)?;
            write.open_table(META)?;
            write.commit()?;
        }
        Ok(db)
    }

    /// The generation that the file table belongs to.
    pub fn generation(&self) -> Result<Option<u64>> {
        let run = || -> Result<_, redb::Error> {
            Ok(self.db.begin_read()?.open_table(META)?.get(GENERATION)?.map(|value| value.value()))
        };
        run().map_err(cache_error)
    }

    /// The file table.
    pub fn files(&self) -> Result<BTreeMap<String, FileRecord>> {
        let run = || -> Result<_, redb::Error> {
            let mut files = BTreeMap::new();
            for entry in self.db.begin_read()?.open_table(FILES)?.iter()? {
                let (rel, record) = entry?;
                // A record of another length was not written by this format: the file is hashed again.
                if let Some(record) = decode(record.value()) {
                    files.insert(rel.value().to_string(), record);
                }
            }
            Ok(files)
        };
        run().map_err(cache_error)
    }

    /// The part of the file table at and below `paths`.
    pub fn files_within(&self, paths: &BTreeSet<String>) -> Result<BTreeMap<String, FileRecord>> {
        if paths.contains("") {
            return self.files();
        }
        let run = || -> Result<_, redb::Error> {
            let table = self.db.begin_read()?.open_table(FILES)?;
            let mut files = BTreeMap::new();
            for path in paths {
                if let Some(record) = table.get(path.as_str())?.and_then(|record| decode(record.value())) {
                    files.insert(path.clone(), record);
                }
                // `0` follows `/`: what lies between begins with the path and a slash.
                let (from, to) = (format!("{path}/"), format!("{path}0"));
                for entry in table.range(from.as_str()..to.as_str())? {
                    let (rel, record) = entry?;
                    if let Some(record) = decode(record.value()) {
                        files.insert(rel.value().to_string(), record);
                    }
                }
            }
            Ok(files)
        };
        run().map_err(cache_error)
    }

    /// Number of files in the table.
    pub fn n_files(&self) -> Result<u64> {
        let run = || -> Result<_, redb::Error> { Ok(self.db.begin_read()?.open_table(FILES)?.len()?) };
        run().map_err(cache_error)
    }

    /// Whether the table has `rel`.
    pub fn has_file(&self, rel: &str) -> Result<bool> {
        let run = || -> Result<_, redb::Error> { Ok(self.db.begin_read()?.open_table(FILES)?.get(rel)?.is_some()) };
        run().map_err(cache_error)
    }

    /// The vectors of `keys`, `None` where there is none of `dim` values.
    pub fn vectors(&self, keys: &[VectorKey], dim: usize) -> Result<Vec<Option<Vec<f32>>>> {
        let run = || -> Result<_, redb::Error> {
            let table = self.db.begin_read()?.open_table(VECTORS)?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let row = table.get(key.as_slice())?;
                let row = row.filter(|row| row.value().len() == dim * 2);
                found.push(row.map(|row| f16_values(row.value()).collect()));
            }
            Ok(found)
        };
        run().map_err(cache_error)
    }

    /// Writes one generation's changes in one transaction. `None` removes a file; `replace` empties the table first.
    pub fn apply<'a>(
        &self,
        generation: u64,
        replace: bool,
        files: &BTreeMap<String, Option<FileRecord>>,
        rows: impl Iterator<Item = (VectorKey, &'a [u8])>,
    ) -> Result<()> {
        let run = || -> Result<_, redb::Error> {
            let write = self.db.begin_write()?;
            if replace {
                write.delete_table(FILES)?;
            }
            {
                let mut table = write.open_table(FILES)?;
                for (rel, record) in files {
                    match record {
                        Some(record) => table.insert(rel.as_str(), encode(record).as_slice())?,
                        None => table.remove(rel.as_str())?,
                    };
                }
                let mut vectors = write.open_table(VECTORS)?;
                for (key, row) in rows {
                    vectors.insert(key.as_slice(), row)?;
                }
                write.open_table(META)?.insert(GENERATION, generation)?;
            }
            Ok(write.commit()?)
        };
        run().map_err(cache_error)
    }

    /// Deletes every stored vector; gives how many there were.
    pub fn clear_vectors(&self) -> Result<u64> {
        let run = || -> Result<_, redb::Error> {
            let write = self.db.begin_write()?;
            let n = write.open_table(VECTORS)?.len()?;
            write.delete_table(VECTORS)?;
            write.open_table(VECTORS)?;
            write.commit()?;
            Ok(n)
        };
        run().map_err(cache_error)
    }
}

fn cache_error(e: redb::Error) -> Error {
    Error::Cache(Box::new(e))
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

fn encode(record: &FileRecord) -> [u8; 52] {
    let mut bytes = [0; 52];
    bytes[..32].copy_from_slice(&record.hash);
    bytes[32..40].copy_from_slice(&record.size.to_le_bytes());
    bytes[40..48].copy_from_slice(&record.mtime_ns.to_le_bytes());
    bytes[48..].copy_from_slice(&record.n_chunks.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<FileRecord> {
    let bytes: &[u8; 52] = bytes.try_into().ok()?;
    Some(FileRecord {
        hash: bytes[..32].try_into().ok()?,
        size: u64::from_le_bytes(bytes[32..40].try_into().ok()?),
        mtime_ns: i64::from_le_bytes(bytes[40..48].try_into().ok()?),
        n_chunks: u32::from_le_bytes(bytes[48..].try_into().ok()?),
    })
}
