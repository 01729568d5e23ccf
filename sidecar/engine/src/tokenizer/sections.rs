//! The first step of byte-level BPE: finds added tokens, and converts the text between them to Unicode's composed form, a
//! block at a time.
//!
//! A text is a sequence of sections with one added token between two sections, divided like Hugging Face's
//! `AddedVocabulary` does: the leftmost added token first, and of several at one place the longest. Normalisation and
//! splitting treat each section as a text of its own.

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::Specials;
use super::letters::is_composed_only_since_unicode_9;
use super::vocab::{CONTROL, TOKENS, Tokens, USER};
use crate::Result;
use crate::gguf::Gguf;

/// Bytes of text that are normalised at once: a few hundred tokens.
const BLOCK: usize = 4 << 10;
/// Most bytes in an added token. Searching for long ones is slow, because each place of the text may start one.
const MAX_ADDED: usize = 256;
/// A sequence of combining marks with more bytes than this is divided there, and not composed across the division.
const MAX_MARKS: usize = 64 << 10;

/// The control and user-defined tokens, which are found by their spelling before a text is split.
#[derive(Debug)]
pub(super) struct AddedTokens {
    /// Ids, and whether each is a control token; sorted by spelling, then by id.
    ids: Vec<(u32, bool)>,
    /// For each byte, whether a spelling starts with it.
    starts: [bool; 256],
}

impl AddedTokens {
    /// Collects the added tokens of a file.
    pub(super) fn from_tokens(file: &Gguf, tokens: &Tokens) -> Result<AddedTokens> {
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
        Ok(AddedTokens { ids, starts })
    }

    /// The longest added token at the start of `text`: its length in bytes, its id, and whether it is a control token.
    fn longest(&self, tokens: &Tokens, text: &[u8]) -> Option<(usize, u32, bool)> {
        if !self.starts[usize::from(*text.first()?)] {
            return None;
        }
        let mut longest = None;
        let mut ids = &self.ids[..]; // tokens that start with the first `len` bytes of `text`
        for len in 0.. {
            let &(first, is_control) = ids.first()?;
            if tokens.get(first).len() == len {
                longest = Some((len, first, is_control));
            }
            let Some(byte) = text.get(len) else { break };
            let byte_of = |id: u32| tokens.get(id).get(len); // `None`, the end of a spelling, sorts first
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

/// Reads a text section by section.
pub(super) struct SectionReader<'a> {
    tokens: &'a Tokens,
    added: &'a AddedTokens,
    specials: Specials,
    compose: bool,
    /// The text that was not read yet.
    rest: &'a str,
    /// How many bytes of `rest` are known to belong to this section.
    known: usize,
    /// The added token after the known bytes: its length in bytes and its id.
    found: Option<(usize, u32)>,
    /// Normalised text of this section.
    buffer: String,
    /// Where the unused part of `buffer` starts.
    start: usize,
}

impl<'a> SectionReader<'a> {
    /// A reader of `text`. `compose`: whether to convert to the composed form.
    pub(super) fn new(
        tokens: &'a Tokens,
        added: &'a AddedTokens,
        specials: Specials,
        compose: bool,
        text: &'a str,
    ) -> SectionReader<'a> {
        SectionReader {
            tokens,
            added,
            specials,
            compose,
            rest: text,
            known: 0,
            found: None,
            buffer: String::new(),
            start: 0,
        }
    }

    /// The normalised text of this section that was read and not skipped; the section may have more.
    pub(super) fn ready(&self) -> &str {
        &self.buffer[self.start..]
    }

    /// Removes `n_bytes` from the start of [`SectionReader::ready`].
    pub(super) fn skip(&mut self, n_bytes: usize) {
        self.start += n_bytes;
    }

    /// Whether [`SectionReader::ready`] is all that is left of this section.
    pub(super) fn is_section_read(&self) -> bool {
        self.known == 0 && (self.found.is_some() || self.rest.is_empty())
    }

    /// After a section was read: moves to the next section and returns the added token before it; `None` at the end of the
    /// text.
    pub(super) fn next_section(&mut self) -> Option<u32> {
        let (len, id) = self.found.take()?;
        self.rest = &self.rest[len..];
        Some(id)
    }

    /// Reads more of this section: at least as much as is ready now, or all of it.
    pub(super) fn read(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let len = self.len_of_block(BLOCK.max(self.buffer.len()));
        let (block, rest) = self.rest.split_at(len);
        if !self.compose || block.is_ascii() || is_nfc_quick(block.chars()) == IsNormalized::Yes {
            self.buffer.push_str(block);
        } else {
            let mut block = block;
            while let Some((at, newer)) = block.char_indices().find(|&(_, c)| is_composed_only_since_unicode_9(c)) {
                self.buffer.extend(block[..at].nfc());
                self.buffer.push(newer);
                block = &block[at + newer.len_utf8()..];
            }
            self.buffer.extend(block.nfc());
        }
        self.rest = rest;
        self.known -= len;
    }

    /// Length of the next block, at least about `min_bytes`: it ends where the text before and after can be normalised
    /// separately.
    fn len_of_block(&mut self, mut min_bytes: usize) -> usize {
        loop {
            self.look_ahead(min_bytes);
            let end = self.rest.floor_char_boundary(min_bytes.min(self.known));
            if end == self.known && (self.found.is_some() || end == self.rest.len()) || !self.compose {
                return end;
            }
            let starts = self.rest[..end].char_indices().rev().filter(|&(_, c)| is_composed_with_nothing_before(c));
            if let Some((at, _)) = starts.into_iter().find(|&(at, _)| at != 0) {
                return at;
            }
            if MAX_MARKS <= min_bytes {
                return end;
            }
            min_bytes *= 2;
        }
    }

    /// The white space after the text that is ready, and whether the section ends with it.
    pub(super) fn spaces_ahead(&mut self) -> (&'a str, bool) {
        let len = self.rest.find(|c: char| !c.is_whitespace()).unwrap_or(self.rest.len());
        self.look_ahead(len + 1);
        let len = len.min(self.known);
        (&self.rest[..len], len == self.known && (self.found.is_some() || len == self.rest.len()))
    }

    /// Searches the next `n_bytes` of the text for the end of the section.
    fn look_ahead(&mut self, n_bytes: usize) {
        let text = self.rest.as_bytes();
        while self.found.is_none() && self.known < text.len().min(n_bytes) {
            match self.added.longest(self.tokens, &text[self.known..]) {
                Some((len, _, true)) if self.specials == Specials::Text => self.known += len,
                Some((len, id, _)) => self.found = Some((len, id)),
                None => self.known += 1,
            }
        }
    }
}

/// Whether the character is never reordered with or composed with the characters before it.
fn is_composed_with_nothing_before(c: char) -> bool {
    c < '\u{300}' || (canonical_combining_class(c) == 0 && is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes)
}
