//! Code as words: the one tokenizer of both the index and the query.
//!
//! An identifier gives itself, lower-cased and whole, and its parts (camelCase, snake_case, digits), each with a crude
//! stem beside it. Additive, never replacing: `parseHTTPHeaders` is found by itself, by `http` and by `header`.
//!
//! Beyond ASCII a word is normalised first (`fold.rs`), and each part gives its form without accents beside the exact one.
//! Scripts without spaces between words (`script.rs`) give every two neighbouring characters, so that a word is found
//! inside a longer run without a dictionary of the language.
//!
//! What this module makes of a text is stored in every index: a change of it raises `CONTENT` in `store/format.rs`.

mod fold;
mod script;

#[cfg(test)]
mod tests;

use unicode_normalization::char::is_combining_mark;

pub(crate) use self::fold::{fold, normalised, push_lower};
pub(crate) use self::script::{is_unspaced, is_word_char};

/// One word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A whole identifier or word, lower-cased.
    Ident(&'a str),
    /// A part of an identifier, or the stem or the form without accents of one, lower-cased. A word without parts is its
    /// own part.
    Sub(&'a str),
    /// Two neighbouring characters of a script without spaces.
    Pair(&'a str),
    /// The last character of such a run, or its only one: with the pairs, every character begins a token.
    Last(&'a str),
}

impl<'a> Token<'a> {
    /// The word.
    pub fn word(self) -> &'a str {
        let (Token::Ident(word) | Token::Sub(word) | Token::Pair(word) | Token::Last(word)) = self;
        word
    }
}

/// Longer words, in characters, may be data (base64, minified lines, hashes), which would only fill the dictionary.
const MAX_PLAIN_CHARS: usize = 64;
/// Longer words, in characters, are not indexed whole.
const MAX_WHOLE_CHARS: usize = 256;
/// Longer runs of an unspaced script are sentences, which nobody asks for letter by letter.
const MAX_WHOLE_UNSPACED: usize = 16;
/// Of a longer word, only the beginning is cut into parts.
const MAX_CUT_BYTES: usize = 4 << 10;
/// A long word that changes between letters and digits more often than once in so many characters is data. Base64 does so
/// every fourth character, hexadecimal digits every second.
const MIN_CHARS_PER_DIGIT_CHANGE: usize = 8;
/// Longest unit of an unspaced script, in characters: a letter with its marks.
const MAX_UNIT_CHARS: usize = 8;

/// Shortest word, in bytes, that gets a stem.
const MIN_STEMMED_BYTES: usize = 5;
/// Shortest stem, in bytes.
const MIN_STEM_BYTES: usize = 3;

/// Suffixes in the order tried; the first that fits is cut (`ies` becomes `y`).
const SUFFIXES: [&str; 11] = ["tion", "ity", "ing", "ness", "ment", "ies", "ers", "ed", "er", "es", "s"];

/// Words of a query that say nothing about the code. Code has few of them, so that BM25 would weigh them highly.
const FILLERS: [&str; 56] = [
    "a", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "did", "do", "does", "for", "from", "has",
    "have", "how", "i", "if", "in", "into", "is", "it", "its", "not", "of", "on", "or", "our", "per", "so", "than",
    "that", "the", "then", "there", "this", "to", "use", "used", "via", "was", "we", "were", "what", "when", "where",
    "which", "who", "why", "will", "with", "you", "your",
];

/// Whether a lower-case word says nothing about the code: `how`, `the`.
pub fn is_filler(word: &str) -> bool {
    FILLERS.binary_search(&word).is_ok()
}

/// Hands every token of `text` to `emit`, in order.
pub fn code_tokens(text: &str, mut emit: impl FnMut(Token<'_>)) {
    let mut cutter = Cutter::default();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && IS_ASCII_WORD[usize::from(bytes[at])] {
            at += 1;
        }
        if at == bytes.len() || bytes[at].is_ascii() {
            if start < at {
                cutter.ascii(&text[start..at], &mut emit);
            }
            at += 1;
            continue;
        }
        at += word_end(&text[at..], start < at);
        let word = &text[start..at];
        if word.is_ascii() {
            cutter.ascii(word, &mut emit);
        } else {
            cutter.other(word, &mut emit);
        }
        if let Some(c) = text[at..].chars().next() {
            if script::is_picture(c) {
                emit(Token::Ident(&text[at..at + c.len_utf8()])); // it ends a word, and is one
            }
            at += c.len_utf8();
        }
    }
}

/// Whether a byte is an ASCII letter, digit or underscore.
const IS_ASCII_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

/// How many bytes of `text` go on with a word, which has begun before it or begins with it.
fn word_end(text: &str, has_begun: bool) -> usize {
    let mut before = has_begun.then_some('_');
    for (at, c) in text.char_indices() {
        if !is_word_char(c) && !script::is_optional_space(c, before) {
            return at;
        }
        before = Some(c);
    }
    text.len()
}

/// Cuts words, with the memory for what it makes of them.
#[derive(Default)]
struct Cutter {
    lower: String,
    folded: String,
}

impl Cutter {
    /// A word of ASCII letters, digits and underscores.
    fn ascii(&mut self, word: &str, emit: &mut impl FnMut(Token<'_>)) {
        let name = word.trim_matches('_');
        if name.is_empty() {
            return;
        }
        let word = if word.len() <= MAX_PLAIN_CHARS {
            word
        } else if is_data(word) {
            return;
        } else {
            &word[..word.len().min(MAX_CUT_BYTES)]
        };
        if name.len() <= MAX_WHOLE_CHARS {
            emit(Token::Ident(self.lowered_ascii(name)));
        }
        let longest = if name.len() <= MAX_WHOLE_CHARS { MAX_WHOLE_CHARS } else { MAX_PLAIN_CHARS };
        for part in parts(word, ascii_part_end).filter(|part| part.len() <= longest) {
            emit(Token::Sub(self.lowered_ascii(part)));
            if let Some(stemmed) = stem(&mut self.lower) {
                emit(Token::Sub(stemmed));
            }
        }
    }

    /// A word with other characters in it.
    fn other(&mut self, word: &str, emit: &mut impl FnMut(Token<'_>)) {
        let word = normalised(word);
        // A character that is a letter to Unicode may become more than letters: `⑴` is `(1)`.
        for word in word.split(|c| !is_word_char(c)) {
            if word.is_ascii() {
                self.ascii(word, emit);
                continue;
            }
            let name = word.trim_matches('_');
            let n_chars = name.chars().count();
            if n_chars > MAX_PLAIN_CHARS && is_data(word) {
                continue;
            }
            let is_whole = n_chars <= MAX_WHOLE_CHARS;
            if is_whole && name.chars().filter(|&c| is_unspaced(c)).count() <= MAX_WHOLE_UNSPACED {
                emit(Token::Ident(self.lowered(name)));
            }
            let longest = if is_whole { MAX_WHOLE_CHARS } else { MAX_PLAIN_CHARS };
            let mut n_bytes = 0;
            for part in parts(word, part_end) {
                n_bytes += part.len();
                if part.starts_with(is_unspaced) {
                    self.pairs(part, emit);
                } else if part.chars().nth(longest).is_none() && n_bytes <= MAX_CUT_BYTES {
                    self.part(part, emit);
                }
            }
        }
    }

    /// A part with its stem, and the same without its accents.
    fn part(&mut self, part: &str, emit: &mut impl FnMut(Token<'_>)) {
        emit(Token::Sub(self.lowered(part)));
        if fold(&self.lower, &mut self.folded) {
            emit(Token::Sub(&self.folded));
            std::mem::swap(&mut self.lower, &mut self.folded);
        }
        if self.lower.is_ascii()
            && let Some(stemmed) = stem(&mut self.lower)
        {
            emit(Token::Sub(stemmed));
        }
    }

    /// Every two neighbours of a run, then its last character.
    fn pairs(&mut self, run: &str, emit: &mut impl FnMut(Token<'_>)) {
        let mut units = units(run).peekable();
        while let Some(unit) = units.next() {
            let Some(next) = units.peek() else { return emit(Token::Last(unit)) };
            self.lower.clear();
            self.lower.push_str(unit);
            self.lower.push_str(next);
            emit(Token::Pair(&self.lower));
        }
    }

    fn lowered_ascii(&mut self, word: &str) -> &str {
        self.lower.clear();
        self.lower.push_str(word);
        self.lower.make_ascii_lowercase();
        &self.lower
    }

    fn lowered(&mut self, word: &str) -> &str {
        self.lower.clear();
        push_lower(word, &mut self.lower);
        &self.lower
    }
}

/// Whether a long word is data rather than a name: it keeps changing between letters and digits, or has no letter.
fn is_data(word: &str) -> bool {
    let (mut n_chars, mut n_changes, mut has_letter) = (0, 0, false);
    let mut before = None;
    for c in word.chars().take(MAX_CUT_BYTES) {
        let is_digit = (c != '_' && !is_unspaced(c)).then(|| c.is_numeric());
        n_chars += 1;
        n_changes += usize::from(matches!((before, is_digit), (Some(a), Some(b)) if a != b));
        has_letter |= is_digit == Some(false) || is_unspaced(c);
        before = is_digit;
    }
    !has_letter || n_changes * MIN_CHARS_PER_DIGIT_CHANGE > n_chars
}

/// The pieces of an identifier: between underscores, at lower-to-upper (`parse|Url`), before the last capital of a run
/// (`HTTP|Server`), where letters and digits meet (`utf|8`), and where scripts with and without spaces meet.
fn parts(word: &str, end: impl Fn(&str) -> usize) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('_');
        if rest.is_empty() {
            return None;
        }
        let (part, after) = rest.split_at(end(rest));
        rest = after;
        Some(part)
    })
}

fn ascii_part_end(word: &str) -> usize {
    let word = word.as_bytes();
    for at in 1..word.len() {
        let (before, c) = (word[at - 1], word[at]);
        let boundary = c == b'_'
            || before.is_ascii_digit() != c.is_ascii_digit()
            || (c.is_ascii_uppercase()
                && (before.is_ascii_lowercase()
                    || (before.is_ascii_uppercase() && word.get(at + 1).is_some_and(u8::is_ascii_lowercase))));
        if boundary {
            return at;
        }
    }
    word.len()
}

/// Marks belong to the letter before them.
fn part_end(word: &str) -> usize {
    let mut chars = word.char_indices().filter(|(_, c)| !is_combining_mark(*c)).peekable();
    let Some((_, mut before)) = chars.next() else { return word.len() };
    while let Some((at, c)) = chars.next() {
        let next_is_lower = chars.peek().is_some_and(|(_, next)| next.is_lowercase());
        let boundary = c == '_'
            || is_unspaced(before) != is_unspaced(c)
            || (!is_unspaced(c) && before.is_numeric() != c.is_numeric())
            || (before.is_lowercase() && c.is_uppercase())
            || (before.is_uppercase() && c.is_uppercase() && next_is_lower);
        if boundary {
            return at;
        }
        before = c;
    }
    word.len()
}

/// The letters of a run, each with the marks that follow it.
fn units(run: &str) -> impl Iterator<Item = &str> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let mut chars = rest.char_indices();
        chars.next()?;
        let mut marks = chars.take_while(|(_, c)| is_combining_mark(*c));
        let end_of = |(at, c): (usize, char)| at + c.len_utf8();
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let kept = marks.by_ref().take(MAX_UNIT_CHARS - 1).last().map_or(first, end_of);
        let all = marks.last().map_or(kept, end_of);
        let unit = &rest[..kept];
        rest = &rest[all..];
        Some(unit)
    })
}

/// Cuts an ASCII word in place to its stem; `None` when it has none.
fn stem(word: &mut String) -> Option<&str> {
    if word.len() < MIN_STEMMED_BYTES {
        return None;
    }
    let suffix = SUFFIXES.iter().find(|suffix| word.ends_with(**suffix))?;
    let kept = word.len() - suffix.len();
    if kept < MIN_STEM_BYTES {
        return None;
    }
    word.truncate(kept);
    if *suffix == "ies" {
        word.push('y');
    }
    Some(word)
}
