//! Files become chunks: short ones as a whole, along their syntax; long ones in parts, by lines.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::SystemTime;

use super::{Settings, model_input};
use crate::chunk::{self, Chunk, Language};
use crate::disk::Tree;
use crate::error::Result;
use crate::store::{AddChunk, FileRecord, NewChunk, Store};
use crate::walk::{self, LongSource, MAX_LONG_BYTES, Part, SkipReason, SourceFile, WalkRules};

/// The files of a run.
pub struct Texts<'a> {
    tree: &'a Tree,
    settings: &'a Settings,
    /// Long texts of the index and their lengths.
    long: BTreeMap<String, u64>,
    /// Room for further long texts.
    room: u64,
}

/// What became of a file.
pub enum Outcome {
    /// Its text is what is in the index.
    Unchanged,
    /// Its chunks were put; so many have their vector already.
    Put { n_kept: u64 },
    /// It is left out.
    Skipped(SkipReason),
    /// The run is to stop.
    Cancelled,
}

impl<'a> Texts<'a> {
    /// Begins a run over the whole tree, or over the changed paths.
    pub fn begin(
        store: &Store,
        tree: &'a Tree,
        settings: &'a Settings,
        changed: Option<&BTreeSet<String>>,
    ) -> Texts<'a> {
        let long: BTreeMap<String, u64> = store.text_only().into_iter().map(|(rel, file)| (rel, file.bytes)).collect();
        // A run over the whole tree deals the room out again, so that it is the same whatever was there before.
        let is_elsewhere = |rel: &str| changed.is_some_and(|paths| !walk::is_within(paths, rel));
        let taken: u64 = long.iter().filter(|(rel, _)| is_elsewhere(rel)).map(|(_, bytes)| bytes).sum();
        Texts { tree, settings, long, room: MAX_LONG_BYTES.saturating_sub(taken) }
    }

    /// Whether an unchanged file is in the index in the way that its length asks for now.
    pub fn is_as_before(&mut self, file: &SourceFile) -> bool {
        if is_notebook(&file.rel) && !self.long.contains_key(&file.rel) {
            return true; // the text of its cells is short, however long the file
        }
        let is_long = self.settings.rules.is_long(file.stat.size);
        is_long == self.long.contains_key(&file.rel) && (!is_long || self.take_room(file.stat.size))
    }

    /// Brings one file up to date. `old` is what is known about it.
    pub fn put(
        &mut self,
        store: &mut Store,
        file: &SourceFile,
        old: Option<&FileRecord>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Outcome> {
        let read_at = SystemTime::now();
        let text = match self.settings.rules.is_long(file.stat.size) {
            false => walk::read_source(self.tree, &file.rel, &self.settings.rules),
            true => match long_notebook(self.tree, &file.rel, &self.settings.rules) {
                Some(text) => Ok(text),
                None => return self.put_long(store, file, old, cancelled),
            },
        };
        let text = match text {
            Ok(text) => text,
            Err(reason) => return Ok(Outcome::Skipped(reason)),
        };
        let hash = walk::content_hash(text.as_bytes());
        let old = old.filter(|_| !self.long.contains_key(&file.rel));
        match known(store, file, read_at, old, hash) {
            Known::Same => Ok(Outcome::Unchanged),
            Known::Other(record) => {
                let n_kept = put_file(store, &file.rel, &text, record, &self.settings.limits)?;
                Ok(Outcome::Put { n_kept })
            }
        }
    }

    fn put_long(
        &mut self,
        store: &mut Store,
        file: &SourceFile,
        old: Option<&FileRecord>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Outcome> {
        let read_at = SystemTime::now();
        if self.room < file.stat.size {
            return Ok(Outcome::Skipped(SkipReason::TooLarge));
        }
        let source = match LongSource::open(self.tree, &file.rel, &self.settings.rules) {
            Ok(source) => source,
            Err(not) => return Ok(Outcome::Skipped(not.reason)),
        };
        if !self.take_room(source.length()) {
            return Ok(Outcome::Skipped(SkipReason::TooLarge));
        }
        let hash = match source.hash(cancelled) {
            Ok(Some(hash)) => hash,
            Ok(None) => return Ok(Outcome::Cancelled),
            Err(_) => return Ok(Outcome::Skipped(SkipReason::Unreadable)),
        };
        let old = old.filter(|_| self.long.contains_key(&file.rel));
        let Known::Other(record) = known(store, file, read_at, old, hash) else { return Ok(Outcome::Unchanged) };
        let language = Language::of(&file.rel);
        let mut end = Ok(true);
        store.put_text_only(&file.rel, language.name(), record, source.length(), &mut |add| {
            end = self.give_chunks(&file.rel, &source, cancelled, add)?;
            Ok(())
        })?;
        match end {
            Ok(true) => return Ok(Outcome::Put { n_kept: 0 }),
            Ok(false) | Err(_) => store.remove_file(&file.rel)?, // what is there of it is not the whole
        }
        Ok(if end.is_ok() { Outcome::Cancelled } else { Outcome::Skipped(SkipReason::Unreadable) })
    }

    /// Gives every chunk of a long text, as pieces of lines: no parser reads it. `Ok(Ok(false))` when `cancelled` said so.
    fn give_chunks(
        &self,
        rel: &str,
        source: &LongSource,
        cancelled: &dyn Fn() -> bool,
        add: &mut AddChunk<'_>,
    ) -> Result<std::io::Result<bool>> {
        let mut parts = match source.parts() {
            Ok(parts) => parts,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            if cancelled() {
                return Ok(Ok(false));
            }
            let part = match parts.next_part() {
                Ok(Some(part)) => part,
                Ok(None) => return Ok(Ok(true)),
                Err(error) => return Ok(Err(error)),
            };
            for chunk in chunk::chunk(part.text, Language::plain(), &self.settings.limits) {
                add(&of_part(rel, &part, &chunk))?;
            }
        }
    }

    fn take_room(&mut self, bytes: u64) -> bool {
        let has_room = bytes <= self.room;
        self.room -= if has_room { bytes } else { 0 };
        has_room
    }
}

/// Longest notebook that is read as a whole: most of one are pictures, which are in no chunk.
const MAX_NOTEBOOK_BYTES: u64 = 16 << 20;

fn is_notebook(rel: &str) -> bool {
    chunk::is_notebook(Language::of(rel))
}

/// The rules for reading a file whose chunks are in the index: a notebook may be long.
pub fn rules_of(rel: &str, rules: &WalkRules) -> WalkRules {
    let max_file_bytes = match is_notebook(rel) {
        true => rules.max_file_bytes.max(MAX_NOTEBOOK_BYTES.min(rules.max_text_bytes)),
        false => rules.max_file_bytes,
    };
    WalkRules { max_file_bytes, ..rules.clone() }
}

/// A file that is too long to be parsed, where it is a notebook whose cells are not.
pub fn long_notebook(tree: &Tree, rel: &str, rules: &WalkRules) -> Option<String> {
    let text = is_notebook(rel).then(|| walk::read_source(tree, rel, &rules_of(rel, rules)).ok())??;
    let cells = chunk::shown(&text, Language::of(rel));
    let is_short = matches!(&cells, Cow::Owned(cells) if !rules.is_long(cells.len() as u64));
    is_short.then_some(text)
}

/// What a hash says about a file of the index.
enum Known {
    Same,
    /// To be put with this record.
    Other(FileRecord),
}

fn known(
    store: &mut Store,
    file: &SourceFile,
    read_at: SystemTime,
    old: Option<&FileRecord>,
    hash: walk::ContentHash,
) -> Known {
    let mut record = FileRecord { hash, stat: file.stat.as_read_at(read_at), n_chunks: 0 };
    let Some(old) = old.filter(|old| old.hash == hash) else { return Known::Other(record) };
    record.n_chunks = old.n_chunks;
    if record != *old {
        store.touch_file(&file.rel, record);
    }
    Known::Same
}

/// A chunk of a part, where it is in the whole text.
fn of_part<'a>(rel: &str, part: &Part<'a>, chunk: &Chunk) -> NewChunk<'a> {
    let Range { start, end } = chunk.bytes;
    let body = &part.text[start..end];
    NewChunk {
        bytes: part.offset + start as u64..part.offset + end as u64,
        first_line: part.line.saturating_add(chunk.first_line),
        last_line: part.line.saturating_add(chunk.last_line),
        languages: Vec::new(),
        scope: "",
        symbols: Vec::new(),
        text: body,
        key: walk::content_hash(model_input(rel, "", body).as_bytes()),
    }
}

fn put_file(
    store: &mut Store,
    rel: &str,
    text: &str,
    mut record: FileRecord,
    limits: &chunk::ChunkLimits,
) -> Result<u64> {
    let language = Language::detect(rel, text);
    let chunks = chunk::chunk(text, language, limits);
    let text = chunk::shown(text, language);
    record.n_chunks = chunks.len() as u32;
    let chunks: Vec<NewChunk<'_>> = chunks
        .iter()
        .map(|chunk| {
            let body = &text[chunk.bytes.clone()];
            NewChunk {
                bytes: chunk.bytes.start as u64..chunk.bytes.end as u64,
                first_line: chunk.first_line,
                last_line: chunk.last_line,
                languages: std::iter::once(&chunk.language)
                    .chain(&chunk.also)
                    .map(|language| language.name())
                    .collect(),
                scope: &chunk.scope,
                symbols: chunk.symbols.iter().map(|s| (s.name.as_str(), s.kind.as_str(), s.line)).collect(),
                text: body,
                key: walk::content_hash(model_input(rel, &chunk.scope, body).as_bytes()),
            }
        })
        .collect();
    store.put_file(rel, language.name(), record, &chunks)
}
