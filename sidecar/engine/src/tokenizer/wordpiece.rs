//! WordPiece, the tokenizer of BERT: normalise the text, split it into words, then divide each word greedily into the longest
//! known pieces.
//!
//! Gives the ids of Hugging Face `BertNormalizer` + `BertPreTokenizer` + `WordPiece`; [`Specials::Text`] is its
//! `encode_special_tokens`. Source: BERT, arXiv 1810.04805; the character classes are in `category.rs`.
//!
//! Reads the text once, one character at a time, and keeps one word in memory, at most 100 characters.

use unicode_normalization::char::{canonical_combining_class, decompose_canonical};

use super::category::{is_dropped, is_ideograph, is_nonspacing_mark, is_punctuation};
use super::vocab::{Flooded, HASH_SEED, NORMAL, TOKENS, Table, Tokens, USER, hash_step};
use super::{Encoding, Specials};
use crate::Result;
use crate::gguf::Gguf;

/// A word of more characters than this becomes one unknown token.
const MAX_WORD_CHARS: usize = 100;
/// The prefix of tokens in the file that start a word; tokens without it continue a word.
const WORD_START: &str = "\u{2581}";

/// The tokenizer of BERT and related models.
#[derive(Debug)]
pub struct WordPiece {
    vocab: Vocab,
    lowercase: bool,
    strip_accents: bool,
    cls: u32,
    sep: u32,
    unknown: u32,
    /// Spellings and ids of the special tokens that [`Specials::Parse`] recognises.
    specials: Vec<(String, u32)>,
}

impl WordPiece {
    pub(super) fn from_gguf(file: &Gguf) -> Result<WordPiece> {
        let vocab = Vocab::from_gguf(file)?;
        let special = |keys: &[&str], text: &str| special_id(file, &vocab.tokens, keys, text);
        let cls = special(&["tokenizer.ggml.cls_token_id", "tokenizer.ggml.bos_token_id"], "[CLS]")?;
        // The specification spells it "seperator"; some writers correct the spelling.
        let sep = special(&["tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id"], "[SEP]")?;
        let unknown = special(&["tokenizer.ggml.unknown_token_id"], "[UNK]")?;
        let lowercase = file.bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
        let strip_accents = file.bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
        let mut specials = Vec::new();
        for spelled in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] {
            let id = file.strings(TOKENS)?.and_then(|mut tokens| tokens.position(|token| token == spelled));
            specials.extend(id.map(|id| (spelled.to_owned(), id as u32)));
        }
        Ok(WordPiece { vocab, lowercase, strip_accents, cls, sep, unknown, specials })
    }

    pub(super) fn vocab_len(&self) -> usize {
        self.vocab.len()
    }

    pub(super) fn encode(&self, text: &str, specials: Specials, max_tokens: usize) -> Encoding {
        let mut output = Output {
            tokenizer: self,
            ids: vec![self.cls],
            end: max_tokens.max(2) - 1,
            truncated: false,
            word: Word::new(),
        };
        let mut rest = text;
        while let Some(c) = rest.chars().next()
            && !output.truncated
        {
            match (specials == Specials::Parse && c == '[').then(|| self.special(rest)).flatten() {
                Some((spelled, id)) => {
                    output.special(*id);
                    rest = &rest[spelled.len()..];
                }
                None => {
                    output.raw(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        output.end_word();
        output.ids.push(self.sep);
        Encoding { ids: output.ids, truncated: output.truncated }
    }
}

impl WordPiece {
    /// The special token at the start of `text`.
    fn special(&self, text: &str) -> Option<&(String, u32)> {
        self.specials.iter().find(|(spelled, _)| text.starts_with(spelled.as_str()))
    }
}

/// The id under the first of `keys` that the file has, or else the id of the token with this text.
fn special_id(file: &Gguf, tokens: &Tokens, keys: &[&str], text: &str) -> Result<u32> {
    if let Some(id) = tokens.id_under(keys)? {
        return Ok(id);
    }
    let found = file.strings(TOKENS)?.and_then(|mut tokens| tokens.position(|token| token == text));
    found.map(|id| id as u32).ok_or_else(|| file.damaged(keys[0], format!("missing, and no token is spelled {text}")))
}

/// The state of one [`WordPiece::encode`]: ids of finished words, and the current word.
struct Output<'a> {
    tokenizer: &'a WordPiece,
    ids: Vec<u32>,
    /// Length of `ids` after which only the last special token fits.
    end: usize,
    truncated: bool,
    word: Word,
}

impl Output<'_> {
    /// Appends a special token that the text spells.
    fn special(&mut self, id: u32) {
        self.end_word();
        self.truncated |= self.ids.len() == self.end;
        if !self.truncated {
            self.ids.push(id);
        }
    }

    /// Reads a character of the text: removes control characters, splits at white space and around ideographs.
    fn raw(&mut self, c: char) {
        if is_dropped(c) {
        } else if c.is_whitespace() {
            self.end_word();
        } else if is_ideograph(c) {
            self.end_word();
            self.decomposed(c);
            self.end_word();
        } else {
            self.decomposed(c);
        }
    }

    /// Decomposes a character and removes combining marks, if accents are to be removed.
    fn decomposed(&mut self, c: char) {
        if c.is_ascii() || !self.tokenizer.strip_accents {
            return self.lowered(c);
        }
        decompose_canonical(c, |c| {
            if !is_nonspacing_mark(c) {
                self.lowered(c);
            }
        });
    }

    /// Converts a character to lower case, if the file says so.
    fn lowered(&mut self, c: char) {
        match (self.tokenizer.lowercase, c.is_ascii()) {
            (false, _) => self.normal(c),
            (true, true) => self.normal(c.to_ascii_lowercase()),
            (true, false) => c.to_lowercase().for_each(|c| self.normal(c)),
        }
    }

    /// Adds a normalised character to the word; punctuation is a word of its own.
    fn normal(&mut self, c: char) {
        if c.is_whitespace() {
            return self.end_word();
        }
        if is_punctuation(c) {
            self.end_word();
            self.word.push(c, false);
            return self.end_word();
        }
        if self.word.n_chars == 0 && self.ids.len() == self.end {
            self.truncated = true; // any word is at least one token
        }
        self.word.push(c, self.tokenizer.strip_accents);
    }

    /// Appends the ids of the current word and starts a new one.
    fn end_word(&mut self) {
        if self.word.n_chars != 0 && !self.truncated {
            let before = self.ids.len();
            if !self.tokenizer.vocab.pieces(&self.word, &mut self.ids) {
                self.ids.truncate(before);
                self.ids.push(self.tokenizer.unknown);
            }
            self.truncated = self.end < self.ids.len();
            self.ids.truncate(self.end);
        }
        self.word.clear();
    }
}

/// The current word: its text up to [`MAX_WORD_CHARS`], and its length in characters.
struct Word {
    text: String,
    n_chars: usize,
}

impl Word {
    fn new() -> Word {
        Word { text: String::with_capacity(4 * MAX_WORD_CHARS), n_chars: 0 }
    }

    /// Appends a character; with `reorder`, combining marks are kept in Unicode's canonical order.
    ///
    /// That order is a stable sort within each run of marks, so it also holds if marks of category Mn were removed before.
    fn push(&mut self, c: char, reorder: bool) {
        self.n_chars += 1;
        if MAX_WORD_CHARS < self.n_chars {
            return; // the word is unknown whatever it contains
        }
        let class = if c.is_ascii() || !reorder { 0 } else { canonical_combining_class(c) };
        if class == 0 {
            return self.text.push(c);
        }
        let after = self.text.char_indices().rev().take_while(|&(_, before)| class < canonical_combining_class(before));
        let at = after.last().map_or(self.text.len(), |(at, _)| at);
        self.text.insert(at, c);
    }

    fn clear(&mut self) {
        self.text.clear();
        self.n_chars = 0;
    }
}

/// The tokens that text can become, by their text.
#[derive(Debug)]
struct Vocab {
    tokens: Tokens,
    table: Table,
    /// Bytes of the longest piece, without the prefix [`WORD_START`].
    max_bytes: usize,
}

impl Vocab {
    fn from_gguf(file: &Gguf) -> Result<Vocab> {
        let tokens = Tokens::from_gguf(file)?;
        let mut table = Table::with_room_for(tokens.len());
        let mut max_bytes = 0;
        let mut any_start = false;
        for (id, kind) in tokens.kinds()? {
            let token = tokens.get(id);
            let is_bracketed = 2 < token.len() && token.starts_with(b"[") && token.ends_with(b"]");
            if !matches!(kind, NORMAL | USER) || is_bracketed || token.is_empty() {
                continue;
            }
            let (is_start, piece) = split_prefix(token);
            let hash = piece.iter().fold(seed(is_start), |hash, &byte| hash_step(hash, byte));
            // If two tokens have the same text, the first is used.
            table.insert(hash, id, |other| split_prefix(tokens.get(other)) == (is_start, piece)).map_err(
                |Flooded| file.damaged(TOKENS, format!("more than {} tokens have the same hash", Table::MAX_REACH)),
            )?;
            any_start |= is_start;
            max_bytes = max_bytes.max(piece.len());
        }
        if !any_start {
            return Err(file.damaged(TOKENS, "no token has the U+2581 that begins a word"));
        }
        Ok(Vocab { tokens, table, max_bytes })
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Appends the ids of the word's pieces; returns false if the word is unknown.
    fn pieces(&self, word: &Word, ids: &mut Vec<u32>) -> bool {
        if MAX_WORD_CHARS < word.n_chars {
            return false;
        }
        let mut rest = word.text.as_str();
        while !rest.is_empty() {
            let is_start = rest.len() == word.text.len();
            let Some((id, len)) = self.longest_prefix(rest, is_start) else { return false };
            ids.push(id);
            rest = &rest[len..];
        }
        true
    }

    /// The longest piece at the start of `text`: its id and its length in bytes. `is_start`: whether it starts a word.
    fn longest_prefix(&self, text: &str, is_start: bool) -> Option<(u32, usize)> {
        // Hash all prefixes in one pass, then look them up from the longest to the shortest.
        let mut ends = [(0_u64, 0_usize); MAX_WORD_CHARS];
        let mut n_ends = 0;
        let mut hash = seed(is_start);
        for (idx, &byte) in text.as_bytes().iter().enumerate().take(self.max_bytes) {
            hash = hash_step(hash, byte);
            if text.is_char_boundary(idx + 1) {
                ends[n_ends] = (hash, idx + 1);
                n_ends += 1;
            }
        }
        ends[..n_ends].iter().rev().find_map(|&(hash, end)| {
            let piece = &text.as_bytes()[..end];
            let id = self.table.find(hash, |id| split_prefix(self.tokens.get(id)) == (is_start, piece))?;
            Some((id, end))
        })
    }
}

/// Whether the token starts a word, and its text without [`WORD_START`]. A token that consists of the prefix only continues
/// a word.
fn split_prefix(token: &[u8]) -> (bool, &[u8]) {
    match token.strip_prefix(WORD_START.as_bytes()) {
        Some(piece) if !piece.is_empty() => (true, piece),
        _ => (false, token),
    }
}

/// The initial hash of a piece: pieces that start a word differ from those that continue one.
fn seed(is_start: bool) -> u64 {
    HASH_SEED ^ u64::from(is_start)
}
