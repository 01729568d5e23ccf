//! Where may a token of byte-level BPE not reach across? The splitting rules of the model families, as scanners.
//!
//! Each rule is published as a regular expression; its alternatives are tried in order, here as there, but by looking
//! at most two characters ahead of a run and never back. The text of a scan may be the beginning of a longer one: a
//! [`Piece`] says whether more of it could have changed the answer.

use super::letters::{is_letter, is_number};

/// How a model family splits its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
    /// \s+(?!\S)|\s+`, where the number of digits is given.
    Cl100k { max_digits: usize },
}

/// What a text begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Bytes. At least one, unless it is the rest of a piece.
    pub(super) len: usize,
    /// The scan saw the end of the text: more text might make the piece longer, or end it elsewhere.
    pub(super) is_open: bool,
    /// What the piece ends with, which an open one may go on with.
    pub(super) run: Run,
}

/// Characters of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Letters,
    Numbers,
    /// Punctuation, symbols, marks, and then line ends if the rules have them there.
    Others,
    /// Line ends after others.
    LineEnds,
    Spaces,
    /// A piece that ends where it does, whatever follows.
    Nothing,
}

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

    /// How much of `text` still belongs to a piece that began before it and was in `run`, not one of spaces.
    pub(super) fn rest_of_piece(self, run: Run, text: &str) -> Piece {
        let mut scan = Scan { text, at: 0, saw_end: false };
        match run {
            Run::Letters => scan.eat(Class::Letter),
            Run::Numbers => scan.eat(Class::Number),
            Run::Others => {
                scan.eat(Class::Other);
                if self != Rules::Gpt2 {
                    scan.eat(Class::LineEnd);
                }
            }
            Run::LineEnds => scan.eat(Class::LineEnd),
            Run::Spaces | Run::Nothing => {}
        }
        Piece { len: scan.at, is_open: scan.saw_end, run }
    }

    /// How long the piece is that begins a run of white space, which is `head` and then `tail`.
    ///
    /// `\s*[\r\n]+` where the rules have it, then `\s+(?!\S)`, then `\s+`.
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
        if ends_text || last == len { len } else { len - last } // the last one goes with what follows
    }
}

/// A place in a text, and whether anybody has wanted to know what stands behind its end.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    saw_end: bool,
}

impl Scan<'_> {
    fn gpt2(&mut self) -> (usize, Run) {
        if let Some(len) = self.contraction(|c| c) {
            return (len, Run::Nothing);
        }
        let (first, width) = self.first();
        self.at = if first == ' ' { width } else { 0 };
        let run = match self.peek().map(class) {
            Some(class @ Class::Letter) => (class, Run::Letters),
            Some(class @ Class::Number) => (class, Run::Numbers),
            Some(class @ Class::Other) => (class, Run::Others),
            _ => return self.spaces(Rules::Gpt2),
        };
        self.eat(run.0);
        (self.at, run.1)
    }

    fn cl100k(&mut self, max_digits: usize) -> (usize, Run) {
        // Besides its own capital, the only other spelling of a letter of these is that of the long s.
        let fold = |c: char| if c == '\u{17f}' { 's' } else { c.to_ascii_lowercase() };
        if let Some(len) = self.contraction(fold) {
            return (len, Run::Nothing);
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
            return (self.at, Run::Nothing);
        }
        let next = if class_of_first == Class::LineEnd { None } else { self.peek().map(class) };
        match (class_of_first, next) {
            (Class::Letter, _) | (_, Some(Class::Letter)) => {
                self.eat(Class::Letter);
                (self.at, Run::Letters)
            }
            (Class::Other, _) => self.others(),
            (Class::Space, Some(Class::Other)) if first == ' ' => self.others(),
            _ => self.spaces(Rules::Cl100k { max_digits }),
        }
    }

    fn others(&mut self) -> (usize, Run) {
        self.eat(Class::Other);
        self.eat(Class::LineEnd);
        (self.at, Run::Others)
    }

    /// The text begins with white space, which nothing has claimed.
    fn spaces(&mut self, rules: Rules) -> (usize, Run) {
        self.at = 0;
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
        (rules.len_of_spaces(&self.text[..self.at], "", self.at == self.text.len()), Run::Spaces)
    }

    /// One of `'s 't 'm 'd 're 've 'll`.
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

    fn first(&self) -> (char, usize) {
        let first = self.text.chars().next().unwrap_or_default();
        (first, first.len_utf8())
    }

    fn peek(&mut self) -> Option<char> {
        let next = self.text[self.at..].chars().next();
        self.saw_end |= next.is_none();
        next
    }

    fn eat(&mut self, wanted: Class) {
        while let Some(c) = self.peek()
            && class(c) == wanted
        {
            self.at += c.len_utf8();
        }
    }
}
