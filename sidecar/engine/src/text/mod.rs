//! Full text: one tantivy document per chunk.
//!
//! The text itself is not stored, it is in the user's file; what is stored is the [`record::StoredChunk`]. Fields are
//! scored separately (`query.rs` has the weights): whole identifiers, their parts, names the chunk defines, path words.
//! Index and queries are split into words by [`tokens::code_tokens`].

pub(crate) mod directory;
pub mod filter;
pub mod names;
pub mod places;
pub mod query;
pub mod record;
pub mod symbols;
pub mod tokens;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::directory::error::{LockError, OpenReadError, OpenWriteError};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError};

use self::directory::{Failure, Key, OwnedDirectory, ReadOnlyDirectory};
use self::record::StoredChunk;
use self::tokens::{Token, code_tokens};
use crate::disk::Folder;
use crate::disk::pins::Pins;
use crate::{Error, Result};

/// Memory of the one indexing thread. tantivy's minimum is 15 MB; the daemon's whole budget is 50 MB.
const WRITER_HEAP_BYTES: usize = 18_000_000;
/// A text segment with a larger share of deleted documents is merged; tantivy's default never merges for that.
const DELETED_RATIO: f32 = 0.2;
/// Blocks of 16 KB that a segment's document store keeps in memory. Few are enough: hits are few and spread.
const STORE_CACHE_BLOCKS: usize = 8;

/// The language of files whose code is examples.
const DOCUMENT: &str = "markdown";

/// The fields of the schema.
#[derive(Clone, Copy, Debug)]
struct Fields {
    chunk_id: Field,
    path: Field,
    path_words: Field,
    ident: Field,
    sub: Field,
    def: Field,
    def_exact: Field,
    def_lower: Field,
    language: Field,
    record: Field,
}

fn schema() -> (Schema, Fields) {
    // Words arrive as tokens joined by spaces. No positions: nothing asks for phrases.
    let words = || {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default().set_tokenizer("whitespace").set_index_option(IndexRecordOption::WithFreqs),
        )
    };
    let mut builder = Schema::builder();
    let fields = Fields {
        chunk_id: builder.add_u64_field("chunk_id", INDEXED | FAST),
        path: builder.add_text_field("path", STRING),
        path_words: builder.add_text_field("path_words", words()),
        ident: builder.add_text_field("ident", words()),
        sub: builder.add_text_field("sub", words()),
        def: builder.add_text_field("def", words()),
        def_exact: builder.add_text_field("def_exact", STRING),
        def_lower: builder.add_text_field("def_lower", STRING),
        language: builder.add_text_field("language", STRING),
        record: builder.add_bytes_field("record", STORED),
    };
    (builder.build(), fields)
}

/// The full-text index on disk.
pub struct TextIndex {
    folder: Folder,
    /// The system's error of the first write that failed; tantivy reports it without the system's code.
    failure: Failure,
    index: Index,
    reader: IndexReader,
    fields: Fields,
    writer: Option<IndexWriter>,
}

impl TextIndex {
    /// Opens the index in `folder`; creates it when absent.
    pub fn open(folder: Folder, pins: Pins, key: Key) -> Result<TextIndex> {
        let dir = folder.path().to_path_buf();
        check_commit_point(&folder)?;
        catch_panics(&dir, || {
            let directory = OwnedDirectory::new(folder.clone(), pins, key);
            let failure = directory.failure();
            let exists = Index::exists(&directory).map_err(TantivyError::from)?;
            let index =
                if exists { Index::open(directory) } else { Index::create(directory, schema().0, Default::default()) };
            Self::with_index(folder, index.map_err(|e| damage(&dir, e))?, failure)
        })
    }

    /// Opens the last commit of the index in `folder` without a lock and without ever writing; later ones do not show.
    pub fn open_read_only(folder: Folder, key: Key) -> Result<TextIndex> {
        let dir = folder.path().to_path_buf();
        check_commit_point(&folder)?;
        catch_panics(&dir, || {
            let index = ReadOnlyDirectory::open(folder.clone(), key).and_then(Index::open);
            Self::with_index(folder, index.map_err(|e| damage(&dir, e))?, Failure::default())
        })
    }

    /// Whether the commit point is in the directory, as it always is once there was a commit.
    pub fn is_there(&self) -> bool {
        self.folder.has(directory::META)
    }

    fn with_index(folder: Folder, index: Index, failure: Failure) -> Result<TextIndex> {
        let dir = folder.path();
        let (schema, fields) = schema();
        if index.schema() != schema {
            let problem = "its fields are not those of this format".into();
            return Err(Error::IndexDamaged { path: dir.to_path_buf(), problem });
        }
        // tantivy trusts the lengths in these files when it opens a segment: four changed bytes made it ask for 4 GB.
        for file in index.load_metas().map_err(|e| damage(dir, e))?.list_segment_files() {
            let is_trusted = file.extension().is_some_and(|ending| ending == "fast" || ending == "fieldnorm");
            if is_trusted && matches!(index.directory().validate_checksum(&file), Ok(false)) {
                return Err(Error::IndexDamaged { path: dir.join(file), problem: "checksum".into() });
            }
        }
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(STORE_CACHE_BLOCKS)
            .try_into()
            .map_err(|e| damage(dir, e))?;
        Ok(TextIndex { failure, index, reader, fields, writer: None, folder })
    }

    /// Payload of the last commit; `None` before the first.
    pub fn payload(&self) -> Result<Option<String>> {
        Ok(self.index.load_metas().map_err(|e| damage(self.folder.path(), e))?.payload)
    }

    /// Makes [`TextIndex::reader`] see the last commit.
    pub fn reload(&self) -> Result<()> {
        catch_panics(self.folder.path(), || self.reader.reload().map_err(|e| damage(self.folder.path(), e)))
    }

    /// A view of the commit that was loaded last.
    pub fn reader(&self) -> Result<TextReader> {
        catch_panics(self.folder.path(), || {
            TextReader::new(self.reader.searcher(), self.fields).map_err(|e| damage(self.folder.path(), e))
        })
    }

    /// Adds a chunk, which filters find by its language and by those of `also`; visible after the next commit.
    pub fn add<'a>(&mut self, chunk: &StoredChunk, text: &str, also: impl Iterator<Item = &'a str>) -> Result<()> {
        let fields = self.fields;
        let mut doc = TantivyDocument::default();
        doc.add_u64(fields.chunk_id, chunk.chunk_id);
        doc.add_text(fields.path, &chunk.rel);
        doc.add_text(fields.language, &chunk.language);
        let mut is_document = chunk.language == DOCUMENT;
        for language in also {
            doc.add_text(fields.language, language);
            is_document |= language == DOCUMENT;
        }
        doc.add_text(fields.path_words, path_words(&chunk.rel));
        let (mut ident, mut sub) = (String::with_capacity(text.len()), String::with_capacity(text.len() * 2));
        code_tokens(text, |token| match token {
            Token::Ident(word) => push_word(&mut ident, word),
            Token::Sub(word) | Token::Pair(word) | Token::Last(word) => push_word(&mut sub, word),
        });
        doc.add_text(fields.ident, ident);
        doc.add_text(fields.sub, sub);
        let mut def = String::new();
        for name in chunk.symbols.iter().map(|symbol| &symbol.name) {
            doc.add_text(fields.def_exact, names::written(name));
            names::keys(name).iter().for_each(|key| doc.add_text(fields.def_lower, key));
            // What an example in a document defines is no better answer than the words around it.
            if !is_document {
                push_all_words(&mut def, name);
            }
        }
        doc.add_text(fields.def, def);
        doc.add_bytes(fields.record, &chunk.encode());
        let added = self.writer()?.add_document(doc);
        added.map(|_| ()).map_err(|e| self.system_error_or(e))
    }

    /// Deletes the chunks of a path that were added before.
    pub fn remove_path(&mut self, rel: &str) -> Result<()> {
        let term = tantivy::Term::from_field_text(self.fields.path, rel);
        self.writer()?.delete_term(term);
        Ok(())
    }

    /// Deletes every chunk.
    pub fn remove_all(&mut self) -> Result<()> {
        // Not `delete_all_documents`: it acts at once and keeps what is still queued.
        let deleted = self.writer()?.delete_query(Box::new(tantivy::query::AllQuery));
        deleted.map(|_| ()).map_err(|e| self.system_error_or(e))
    }

    /// Commits with `payload`, durably. `between` runs after the segments are on disk and before the commit point.
    pub fn commit(&mut self, payload: &str, between: impl FnOnce() -> Result<()>) -> Result<()> {
        self.writer()?;
        let failure = self.failure.clone();
        let dir = self.folder.path().to_path_buf();
        let system_error_or = |e| system_error_or(&failure, &dir, e);
        let mut prepared = self.writer()?.prepare_commit().map_err(system_error_or)?;
        prepared.set_payload(payload);
        if let Err(e) = between() {
            self.abandon();
            return Err(e);
        }
        prepared.commit().map_err(system_error_or)?;
        // A failed write of a background merge does not belong to this commit.
        self.failure.take();
        Ok(())
    }

    /// Drops the writer and all that was not committed.
    pub fn abandon(&mut self) {
        self.writer = None;
    }

    /// Ends the writer and frees its memory once running merges are done. Only call with nothing uncommitted.
    pub fn release(&mut self) -> Result<()> {
        match self.writer.take() {
            Some(writer) => writer.wait_merging_threads().map_err(|e| self.system_error_or(e)),
            None => Ok(()),
        }
    }

    /// Reads every file of the commit that was loaded last and compares checksums; `Ok(false)` when `stop` said so.
    ///
    /// Only for an index opened with [`TextIndex::open_read_only`], whose files do not change meanwhile.
    pub fn verify(&self, stop: &dyn Fn() -> bool) -> Result<bool> {
        let metas = self.index.load_metas().map_err(|e| damage(self.folder.path(), e))?;
        for file in metas.list_segment_files() {
            if stop() {
                return Ok(false);
            }
            match catch_panics(self.folder.path(), || Ok(self.index.directory().validate_checksum(&file)))? {
                Ok(true) => {}
                Ok(false) => {
                    return Err(Error::IndexDamaged {
                        path: self.folder.path().join(file),
                        problem: "checksum".into(),
                    });
                }
                // The list has names of files that a segment need not have.
                Err(OpenReadError::FileDoesNotExist(_)) if !is_required(&file) => {}
                Err(e) => return Err(damage(self.folder.path(), e.into())),
            }
        }
        Ok(true)
    }

    fn system_error_or(&self, error: TantivyError) -> Error {
        system_error_or(&self.failure, self.folder.path(), error)
    }

    fn writer(&mut self) -> Result<&mut IndexWriter> {
        if self.writer.is_none() {
            self.failure.take();
            let options = IndexWriterOptions::builder()
                .num_worker_threads(1)
                .memory_budget_per_thread(WRITER_HEAP_BYTES)
                .num_merge_threads(1)
                .build();
            let writer: IndexWriter = self.index.writer_with_options(options).map_err(|e| self.system_error_or(e))?;
            let mut policy = LogMergePolicy::default();
            policy.set_del_docs_ratio_before_merge(DELETED_RATIO);
            writer.set_merge_policy(Box::new(policy));
            // A killed commit leaves files whose names the next commit uses again: a deletion file is named after the
            // segment and the operation count. tantivy deletes unused files only after a commit, so do it here too.
            writer.garbage_collect_files().wait().map_err(|e| self.system_error_or(e))?;
            self.writer = Some(writer);
        }
        Ok(self.writer.as_mut().expect("just created"))
    }
}

/// One commit's chunks, searchable from any thread.
pub struct TextReader {
    searcher: Searcher,
    fields: Fields,
    /// Chunk id column of each segment.
    ids: Vec<Column<u64>>,
}

impl TextReader {
    fn new(searcher: Searcher, fields: Fields) -> Result<TextReader, TantivyError> {
        let ids = searcher
            .segment_readers()
            .iter()
            .map(|segment| segment.fast_fields().u64("chunk_id"))
            .collect::<Result<_, TantivyError>>()?;
        Ok(TextReader { searcher, fields, ids })
    }
}

/// The path words of a chunk: the stem of the file's name twice, its last three folders once each.
fn path_words(rel: &str) -> String {
    let mut folders: Vec<&str> = rel.split('/').collect();
    let name = folders.pop().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    let mut words = String::new();
    for part in [stem, stem].into_iter().chain(folders.iter().rev().take(3).copied()) {
        push_all_words(&mut words, part);
    }
    words
}

/// Appends the distinct tokens of `text`, whole identifiers and their parts.
fn push_all_words(words: &mut String, text: &str) {
    let mut seen: Vec<String> = Vec::new();
    code_tokens(text, |token| {
        let word = token.word();
        if !seen.iter().any(|known| known == word) {
            push_word(words, word);
            seen.push(word.to_string());
        }
    });
}

fn push_word(words: &mut String, word: &str) {
    words.push_str(word);
    words.push(' ');
}

/// Refuses a commit point that is a link or no regular file: tantivy would only say that it cannot read it.
fn check_commit_point(folder: &Folder) -> Result<()> {
    match folder.open(directory::META) {
        Err(e @ Error::UnsafePath { .. }) => Err(e),
        _ => Ok(()),
    }
}

/// The system's error of a failed write, where one was noted; otherwise tantivy's error.
fn system_error_or(failure: &Failure, dir: &Path, error: TantivyError) -> Error {
    failure.take().unwrap_or_else(|| damage(dir, error))
}

/// Whether every segment has a file of this ending. A missing deletion file is found when the segment is opened.
fn is_required(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["fast", "fieldnorm", "idx", "pos", "store", "term"].contains(&extension))
}

/// Runs `read`, which reads files of `dir`, and turns a panic into [`Error::IndexDamaged`]: tantivy trusts its files
/// and may panic where one has changed.
fn catch_panics<T>(dir: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let problem = "a file of the full-text index makes no sense".into();
        Err(Error::IndexDamaged { path: dir.to_path_buf(), problem })
    })
}

/// Turns tantivy's errors about changed files into [`Error::IndexDamaged`].
fn damage(dir: &Path, error: TantivyError) -> Error {
    let damaged = |path: &Path, problem: String| Error::IndexDamaged { path: path.to_path_buf(), problem };
    let is_content = |e: &Arc<std::io::Error>| {
        matches!(e.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData)
    };
    // tantivy shares its `io::Error`s and does not name them as its source.
    let system = |action, path: &Path, e: &std::io::Error| {
        if let Some(Error::UnsafePath { path, found }) = e.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Error::UnsafePath { path: path.clone(), found: found.clone() };
        }
        let source = e.raw_os_error().map_or_else(|| e.kind().into(), std::io::Error::from_raw_os_error);
        Error::io(action, path, source)
    };
    match &error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_)
        | TantivyError::DeserializeError(_) => damaged(dir, error.to_string()),
        TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(file)) => {
            damaged(&dir.join(file), "the file is missing".into())
        }
        TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_)) => damaged(dir, error.to_string()),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, filepath }) if is_content(io_error) => {
            damaged(&dir.join(filepath), io_error.to_string())
        }
        TantivyError::IoError(io_error) if is_content(io_error) => damaged(dir, io_error.to_string()),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, filepath })
        | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, filepath }) => {
            system("open", &dir.join(filepath), io_error)
        }
        TantivyError::IoError(io_error) => system("read or write", dir, io_error),
        TantivyError::LockFailure(LockError::IoError(io_error), _) => system("lock", dir, io_error),
        _ => Error::Text(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_words_repeat_the_stem_and_stop_at_three_folders() {
        assert_eq!(
            path_words("a/b/src/http/userParser.rs"),
            "userparser user parser pars userparser user parser pars http src b "
        );
        assert_eq!(path_words(".gitignore"), "gitignore gitignore ");
    }
}
