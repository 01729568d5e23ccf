//! The texts of hits, read from the files as they are now.
//!
//! Only text that was indexed is shown: a path may lead to another file by now, which may be private.

use std::collections::BTreeMap;

use crate::chunk::{self, Language};
use crate::disk::Tree;
use crate::index::model_input;
use crate::store::{Snapshot, StoredChunk};
use crate::walk::{self, LongSource, WalkRules};

/// Longest file that is read to show its hits. A longer one has grown since it was indexed, so its hits are stale
/// anyway.
const MAX_SHOWN_FILE: u64 = 64 << 20;

/// A chunk's text, empty where it is no longer what was indexed, and whether its file changed since.
pub type Shown = (String, bool);

/// The texts of `chunks`, in their order. Each file is read once.
pub fn read(tree: &Tree, snapshot: &Snapshot, chunks: &[&StoredChunk]) -> Vec<Shown> {
    let mut shown = vec![(String::new(), true); chunks.len()];
    let mut by_file: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, chunk) in chunks.iter().enumerate() {
        by_file.entry(&chunk.rel).or_default().push(i);
    }
    let rules = WalkRules { max_file_bytes: MAX_SHOWN_FILE, max_text_bytes: MAX_SHOWN_FILE, ..WalkRules::default() };
    for (rel, places) in by_file {
        if snapshot.is_text_only(rel) {
            let wanted: Vec<&StoredChunk> = places.iter().map(|&i| chunks[i]).collect();
            let pieces = long_pieces(tree, rel, &rules, &wanted).unwrap_or_default();
            places.into_iter().zip(pieces).for_each(|(i, piece)| shown[i] = piece);
        } else if let Ok(text) = walk::read_source(tree, rel, &rules) {
            let hash = walk::content_hash(text.as_bytes());
            let text = chunk::shown(&text, Language::detect(rel, &text));
            places.iter().for_each(|&i| shown[i] = piece(&text, hash == chunks[i].file_hash, chunks[i]));
        }
    }
    shown
}

fn piece(text: &str, is_same_file: bool, chunk: &StoredChunk) -> Shown {
    let body = text.get(chunk.bytes.start as usize..chunk.bytes.end as usize).unwrap_or_default();
    let body = if is_same_file || is_indexed(chunk, body) { body } else { "" };
    (body.to_owned(), !is_same_file)
}

fn is_indexed(chunk: &StoredChunk, body: &str) -> bool {
    walk::content_hash(model_input(&chunk.rel, &chunk.scope, body).as_bytes()) == chunk.key
}

/// Pieces of a file that is read in parts, as far as the last of them. A piece that is where it was, at the same line,
/// is not stale, whatever was added behind it.
fn long_pieces(tree: &Tree, rel: &str, rules: &WalkRules, chunks: &[&StoredChunk]) -> Option<Vec<Shown>> {
    let source = LongSource::open(tree, rel, rules).ok()?;
    let end = chunks.iter().map(|chunk| chunk.bytes.end).max()?;
    let mut found = vec![(String::new(), 0u32); chunks.len()];
    let mut parts = source.parts().ok()?;
    while let Some(part) = parts.next_part().ok()?
        && part.offset < end
    {
        let within = |at: u64| at.clamp(part.offset, part.offset + part.text.len() as u64) - part.offset;
        for (chunk, (body, first_line)) in chunks.iter().zip(&mut found) {
            let (from, to) = (within(chunk.bytes.start) as usize, within(chunk.bytes.end) as usize);
            let Some(text) = part.text.get(from..to).filter(|text| !text.is_empty()) else { continue };
            if body.is_empty() {
                let above = part.text.as_bytes()[..from].iter().filter(|byte| **byte == b'\n').count();
                *first_line = part.line.saturating_add(above as u32).saturating_add(1);
            }
            body.push_str(text);
        }
    }
    let shown = |((body, first_line), chunk): ((String, u32), &&StoredChunk)| match is_indexed(chunk, &body) {
        true => (body, first_line != chunk.first_line),
        false => (String::new(), true),
    };
    Some(found.into_iter().zip(chunks).map(shown).collect())
}
