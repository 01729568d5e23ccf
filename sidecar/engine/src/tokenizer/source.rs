//! Text as byte-level BPE reads it: added tokens taken out, the rest in Unicode's composed form, a block at a time.
//!
//! A text is a row of sections with an added token between each and the next, as Hugging Face's `AddedVocabulary` cuts
//! it: wherever one begins, the leftmost first, and of those the longest. Normalisation and the splitting rules see each
//! section as a text of its own.

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::Specials;
use super::letters::is_too_young_to_compose;
use super::vocab::{CONTROL, TOKENS, Tokens, USER};
use crate::Result;
use crate::gguf::Gguf;

/// Bytes to read at once: a few hundred tokens.
const BLOCK: usize = 4 << 10;
/// An added token of more could be looked for, but slowly: at each place of the text, to its end.
const MAX_ADDED: usize = 256;
/// Marks that go on for longer than this are not composed across the place where it ends.
const MAX_MARKS: usize = 64 << 10;

/// The tokens that are found in a text before it is split: control and user-defined ones, by their spelling.
#[derive(Debug)]
pub(super) struct Added {
    /// With whether it is a control token; in the order of their texts, then of their ids.
    ids: Vec<(u32, bool)>,
    /// Bytes that one of them begins with.
    starts: [bool; 256],
}

impl Added {
    pub(super) fn from_tokens(file: &Gguf, tokens: &Tokens) -> Result<Added> {
        let is_added = |&(id, kind): &(u32, i32)| matches!(kind, CONTROL | USER) && !tokens.get(id).is_empty();
        let mut ids: Vec<_> = tokens.kinds()?.filter(is_added).map(|(id, kind)| (id, kind == CONTROL)).collect();
        if let Some((id, _)) = ids.iter().find(|&&(id, _)| MAX_ADDED < tokens.get(id).len()) {
            let problem = format!("token {id} is not of the text, and has more than {MAX_ADDED} bytes");
            return Err(file.damaged(TOKENS, problem));
        }
        ids.shrink_to_fit();
        ids.sort_by(|a, b| tokens.get(a.0).cmp(tokens.get(b.0)));
        let mut starts = [false; 256];
        ids.iter().for_each(|&(id, _)| starts[usize::from(tokens.get(id)[0])] = true);
        Ok(Added { ids, starts })
    }

    /// The longest one that `text` begins with: its bytes, its id, and whether it is a control token.
    fn longest(&self, tokens: &Tokens, text: &[u8]) -> Option<(usize, u32, bool)> {
        if !self.starts[usize::from(*text.first()?)] {
            return None;
        }
        let mut longest = None;
        let mut ids = &self.ids[..]; // those that begin with the first `len` bytes
        for len in 0.. {
            let &(first, is_control) = ids.first()?;
            if tokens.get(first).len() == len {
                longest = Some((len, first, is_control));
            }
            let Some(byte) = text.get(len) else { break };
            let byte_of = |id: u32| tokens.get(id).get(len); // none sorts first
            let start = ids.partition_point(|&(id, _)| byte_of(id) < Some(byte));
            let end = ids.partition_point(|&(id, _)| byte_of(id) <= Some(byte));
            ids = &ids[start..end];
            if ids.is_empty() {
                break;
            }
        }
        longest
    }
}

/// What is left of a text.
pub(super) struct Source<'a> {
    tokens: &'a Tokens,
    added: &'a Added,
    specials: Specials,
    compose: bool,
    /// Not yet in `ready`.
    rest: &'a str,
    /// So many bytes of `rest` are of this section.
    known: usize,
    /// The added token after them: its bytes and its id.
    found: Option<(usize, u32)>,
    buffer: String,
    start: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        tokens: &'a Tokens,
        added: &'a Added,
        specials: Specials,
        compose: bool,
        text: &'a str,
    ) -> Source<'a> {
        Source { tokens, added, specials, compose, rest: text, known: 0, found: None, buffer: String::new(), start: 0 }
    }

    /// Text of this section, normalised; more of it may follow.
    pub(super) fn ready(&self) -> &str {
        &self.buffer[self.start..]
    }

    /// Drops `n_bytes` of what is ready.
    pub(super) fn skip(&mut self, n_bytes: usize) {
        self.start += n_bytes;
    }

    /// Whether what is ready is all that is left of this section.
    pub(super) fn is_section_read(&self) -> bool {
        self.known == 0 && (self.found.is_some() || self.rest.is_empty())
    }

    /// The added token after a section that has been read; `None` if the text has been read.
    pub(super) fn next_section(&mut self) -> Option<u32> {
        let (len, id) = self.found.take()?;
        self.rest = &self.rest[len..];
        Some(id)
    }

    /// Makes at least twice as much ready, or as much as there is.
    pub(super) fn read(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let len = self.len_of_block(BLOCK.max(self.buffer.len()));
        let (block, rest) = self.rest.split_at(len);
        if !self.compose || block.is_ascii() || is_nfc_quick(block.chars()) == IsNormalized::Yes {
            self.buffer.push_str(block);
        } else {
            let mut block = block;
            while let Some((at, young)) = block.char_indices().find(|&(_, c)| is_too_young_to_compose(c)) {
                self.buffer.extend(block[..at].nfc());
                self.buffer.push(young);
                block = &block[at + young.len_utf8()..];
            }
            self.buffer.extend(block.nfc());
        }
        self.rest = rest;
        self.known -= len;
    }

    /// Ends where the text before and the text after can be normalised each for itself.
    fn len_of_block(&mut self, mut wanted: usize) -> usize {
        loop {
            self.look_ahead(wanted);
            let end = self.rest.floor_char_boundary(wanted.min(self.known));
            if end == self.known && (self.found.is_some() || end == self.rest.len()) || !self.compose {
                return end;
            }
            let starts = self.rest[..end].char_indices().rev().filter(|&(_, c)| is_composed_with_nothing_before(c));
            if let Some((at, _)) = starts.into_iter().find(|&(at, _)| at != 0) {
                return at;
            }
            if MAX_MARKS <= wanted {
                return end;
            }
            wanted *= 2;
        }
    }

    /// The white space that follows what is ready, and whether the section ends with it.
    pub(super) fn spaces_ahead(&mut self) -> (&'a str, bool) {
        let len = self.rest.find(|c: char| !c.is_whitespace()).unwrap_or(self.rest.len());
        self.look_ahead(len + 1);
        let len = len.min(self.known);
        (&self.rest[..len], len == self.known && (self.found.is_some() || len == self.rest.len()))
    }

    /// Looks for the section's end among the next `wanted` bytes.
    fn look_ahead(&mut self, wanted: usize) {
        let text = self.rest.as_bytes();
        while self.found.is_none() && self.known < text.len().min(wanted) {
            match self.added.longest(self.tokens, &text[self.known..]) {
                Some((len, _, true)) if self.specials == Specials::Text => self.known += len,
                Some((len, id, _)) => self.found = Some((len, id)),
                None => self.known += 1,
            }
        }
    }
}

fn is_composed_with_nothing_before(c: char) -> bool {
    c < '\u{300}' || (canonical_combining_class(c) == 0 && is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes)
}
