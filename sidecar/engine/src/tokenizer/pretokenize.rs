//! The splitting rules of byte-level BPE: no token extends across the boundary of a piece. One scanner for each family.
//!
//! The rules are published as regular expressions. A scanner tries the alternatives in the same order, but looks at most
//! two characters ahead of a run and never back. The scanned text may be the start of a longer text: a [`Piece`] says
//! whether more text could change the result.

use super::letters::{is_letter, is_number};

/// How a family of models splits texts. Each variant gives its regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
    /// \s+(?!\S)|\s+`, where the number of digits varies.
    Cl100k { max_digits: usize },
}

/// A piece at the start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Bytes: at least one, except for the rest of a piece.
    pub(super) len: usize,
    /// Whether the scan reached the end of the text, so that more text could change the length of the piece.
    pub(super) is_open: bool,
    /// The kind of characters at the end of the piece, with which an open piece may continue.
    pub(super) run: RunKind,
}

/// The kind of characters in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunKind {
    Letters,
    Numbers,
    /// Punctuation, symbols and marks, and line ends after them if the rules include those.
    Others,
    /// Line ends after [`RunKind::Others`].
    LineEnds,
    Spaces,
    /// No run: the piece is complete whatever text follows.
    Nothing,
}

/// The kind of a single character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    LineEnd,
    Space,
    Other,
}

fn class(c: char) -> Class {
    match c {
        '\r' | '\n' => Class::LineEnd,
        _ if c.is_whitespace() => Class::Space,
        _ if is_letter(c) => Class::Letter,
        _ if is_number(c) => Class::Number,
        _ => Class::Other,
    }
}

impl Rules {
    /// The first piece of `text`, which is not empty.
    pub(super) fn piece(self, text: &str) -> Piece {
        let mut scan = Scan { text, at: 0, saw_end: false };
        let (len, run) = match self {
            Rules::Gpt2 => scan.gpt2(),
            Rules::Cl100k { max_digits } => scan.cl100k(max_digits),
        };
        Piece { len, is_open: scan.saw_end, run }
    }

    /// The part of `text` that belongs to a piece that started before it and ended in `run`; not for spaces.
    pub(super) fn rest_of_piece(self, run: RunKind, text: &str) -> Piece {
        let mut scan = Scan { text, at: 0, saw_end: false };
        match run {
            RunKind::Letters => scan.eat(Class::Letter),
            RunKind::Numbers => scan.eat(Class::Number),
            RunKind::Others => {
                scan.eat(Class::Other);
                if self != Rules::Gpt2 {
                    scan.eat(Class::LineEnd);
                }
            }
            RunKind::LineEnds => scan.eat(Class::LineEnd),
            RunKind::Spaces | RunKind::Nothing => {}
        }
        Piece { len: scan.at, is_open: scan.saw_end, run }
    }

    /// Length of the first piece of a run of white space, which is `head` followed by `tail`.
    ///
    /// Implements `\s*[\r\n]+` if the rules have it, then `\s+(?!\S)`, then `\s+`.
    pub(super) fn len_of_spaces(self, head: &str, tail: &str, ends_text: bool) -> usize {
        let after_line_end = |text: &str| match self {
            Rules::Gpt2 => None,
            Rules::Cl100k { .. } => text.rfind(['\r', '\n']).map(|at| at + 1),
        };
        if let Some(len) = after_line_end(tail).map(|len| head.len() + len).or_else(|| after_line_end(head)) {
            return len;
        }
        let len = head.len() + tail.len();
        let last = tail.chars().next_back().or(head.chars().next_back()).map_or(0, char::len_utf8);
        if ends_text || last == len { len } else { len - last } // the last space belongs to the next piece
    }
}

/// A position in a text, and whether the scan has reached the end of the text.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    saw_end: bool,
}

impl Scan<'_> {
    /// The first piece by [`Rules::Gpt2`].
    fn gpt2(&mut self) -> (usize, RunKind) {
        if let Some(len) = self.contraction(|c| c) {
            return (len, RunKind::Nothing);
        }
        let (first, width) = self.first();
        self.at = if first == ' ' { width } else { 0 };
        let run = match self.peek().map(class) {
            Some(class @ Class::Letter) => (class, RunKind::Letters),
            Some(class @ Class::Number) => (class, RunKind::Numbers),
            Some(class @ Class::Other) => (class, RunKind::Others),
            _ => return self.spaces(Rules::Gpt2),
        };
        self.eat(run.0);
        (self.at, run.1)
    }

    /// The first piece by [`Rules::Cl100k`].
    fn cl100k(&mut self, max_digits: usize) -> (usize, RunKind) {
        // Case folding of the contractions' letters: besides capitals, only the long s (U+017F) folds to one of them.
        let fold = |c: char| if c == '\u{17f}' { 's' } else { c.to_ascii_lowercase() };
        if let Some(len) = self.contraction(fold) {
            return (len, RunKind::Nothing);
        }
        let (first, width) = self.first();
        let class_of_first = class(first);
        self.at = width;
        if class_of_first == Class::Number {
            for _ in 1..max_digits {
                match self.peek() {
                    Some(c) if class(c) == Class::Number => self.at += c.len_utf8(),
                    _ => break,
                }
            }
            return (self.at, RunKind::Nothing);
        }
        let next = if class_of_first == Class::LineEnd { None } else { self.peek().map(class) };
        match (class_of_first, next) {
            (Class::Letter, _) | (_, Some(Class::Letter)) => {
                self.eat(Class::Letter);
                (self.at, RunKind::Letters)
            }
            (Class::Other, _) => self.others(),
            (Class::Space, Some(Class::Other)) if first == ' ' => self.others(),
            _ => self.spaces(Rules::Cl100k { max_digits }),
        }
    }

    /// Characters of [`Class::Other`], then line ends.
    fn others(&mut self) -> (usize, RunKind) {
        self.eat(Class::Other);
        self.eat(Class::LineEnd);
        (self.at, RunKind::Others)
    }

    /// White space at the start of the text, after no other alternative has matched.
    fn spaces(&mut self, rules: Rules) -> (usize, RunKind) {
        self.at = 0;
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
        (rules.len_of_spaces(&self.text[..self.at], "", self.at == self.text.len()), RunKind::Spaces)
    }

    /// Length of a contraction at the start of the text: one of `'s 't 'm 'd 're 've 'll`.
    fn contraction(&mut self, fold: impl Fn(char) -> char) -> Option<usize> {
        let rest = self.text.strip_prefix('\'')?;
        let mut chars = rest.chars();
        let len = match chars.next().map(&fold) {
            Some('s' | 't' | 'm' | 'd') => rest.len() - chars.as_str().len(),
            Some(first @ ('r' | 'v' | 'l')) => {
                let second = chars.next().map(fold);
                self.saw_end |= second.is_none();
                let is_one = matches!((first, second), ('r' | 'v', Some('e')) | ('l', Some('l')));
                is_one.then(|| rest.len() - chars.as_str().len())?
            }
            first => {
                self.saw_end |= first.is_none();
                return None;
            }
        };
        Some(1 + len)
    }

    /// The first character and its length.
    fn first(&self) -> (char, usize) {
        let first = self.text.chars().next().unwrap_or_default();
        (first, first.len_utf8())
    }

    /// The next character, without moving; notes the end of the text.
    fn peek(&mut self) -> Option<char> {
        let next = self.text[self.at..].chars().next();
        self.saw_end |= next.is_none();
        next
    }

    /// Moves past all characters of a class.
    fn eat(&mut self, expected: Class) {
        while let Some(c) = self.peek()
            && class(c) == expected
        {
            self.at += c.len_utf8();
        }
    }
}
