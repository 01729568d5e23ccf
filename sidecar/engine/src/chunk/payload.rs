//! Data inside of text: base64, hex dumps, tables of numbers, paths of pictures, minified lines. No reader searches
//! them by meaning or by words, so they belong to no chunk; a regular expression finds them in the file.
//!
//! Only what is large and looks like nothing else counts. A line that holds code as well keeps its code.

use std::ops::Range;

use super::{Language, lines};

/// Shortest run of base64 or hexadecimal digits that is payload by itself; a SHA-512 in base64 has 88 characters.
const MIN_RUN: usize = 256;
/// Shortest run behind `;base64,`, which says what it is.
const MIN_DATA_URI: usize = 120;
/// Shortest run of numbers on one line.
const MIN_NUMBERS: usize = 1_500;
/// Shortest table of numbers over several lines, in bytes without its white space.
const MIN_TABLE: usize = 2_500;
/// Fewest lines of a block of lines that are all base64, or all of a hex dump.
const MIN_BLOCK_LINES: usize = 8;
/// Shortest minified line.
const MIN_MINIFIED: usize = 5_000;
/// What is left of a line behind payload goes with it when it is shorter and has no letter or digit.
const MAX_REST: usize = 16;
/// A line of base64 in a block is at least this long; shorter ones may be words or hashes.
const MIN_BLOCK_LINE: usize = 48;

/// How much of `text` is payload: bytes, and lines of which nothing else is left.
pub fn payload(text: &str, language: Language) -> (usize, usize) {
    let found = find(text, language);
    let mut ranges = found.as_slice();
    let (mut start, mut n_lines) = (0, 0);
    for line in text.split_inclusive('\n') {
        let whole = start + (line.len() - line.trim_start().len())..start + line.trim_end().len();
        while ranges.first().is_some_and(|range| range.end < whole.end) {
            ranges = &ranges[1..];
        }
        let is_inside = ranges.first().is_some_and(|range| range.start <= whole.start);
        n_lines += usize::from(is_inside && whole.start < whole.end);
        start += line.len();
    }
    (found.iter().map(Range::len).sum(), n_lines)
}

/// The ranges of `text` that are payload, in order and apart.
pub(super) fn find(text: &str, language: Language) -> Vec<Range<usize>> {
    let kinds = Kinds::of(language);
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut blocks =
        [Block::new(is_base64_line, false), Block::new(is_dump_line, false), Block::new(is_number_line, true)];
    let mut start = 0;
    let mut in_pem = false;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        let content = line.trim();
        // PEM: its first and last line stay, because people look for them.
        if content.starts_with("-----BEGIN ") || content.starts_with("-----END ") {
            in_pem = content.starts_with("-----BEGIN ") && !content.contains("-----END ");
            blocks.iter_mut().for_each(|block| block.end(text, &mut found));
            push_within(line, range.start, kinds, &mut found);
            continue;
        }
        if in_pem && content.len() <= 76 && content.bytes().all(is_base64_byte) {
            found.push(range);
            continue;
        }
        in_pem = in_pem && content.contains(": "); // `Proc-Type: 4,ENCRYPTED`
        for block in &mut blocks {
            if block.is_numbers && !kinds.tables {
                continue;
            }
            if !block.takes(content, range.clone()) {
                block.end(text, &mut found);
            }
        }
        push_within(line, range.start, kinds, &mut found);
    }
    blocks.iter_mut().for_each(|block| block.end(text, &mut found));
    merged(text, found)
}

/// Which kinds of payload a language may have.
#[derive(Clone, Copy)]
struct Kinds {
    /// Tables of numbers. In plain text, CSV and settings they may be what the project is about.
    tables: bool,
    /// Lines without white space: in prose they are a script without spaces, or one long address.
    minified: bool,
}

impl Kinds {
    fn of(language: Language) -> Kinds {
        let prose = ["text", "markdown", "restructuredtext", "asciidoc", "latex"].contains(&language.name());
        let settings = ["yaml", "toml", "ini"].contains(&language.name());
        Kinds { tables: !prose && !settings, minified: !prose }
    }
}

/// Lines of one kind, one below the other.
struct Block {
    /// How much of a line is payload of this kind; `None` ends the block.
    is_line: fn(&str) -> Option<Line>,
    is_numbers: bool,
    range: Range<usize>,
    lines: usize,
    bytes: usize,
    /// A line of base64 that ends in `=` is the last.
    closed: bool,
    /// Lines of one length, the last excepted.
    length: usize,
}

/// A line that may belong to a block.
struct Line {
    /// Bytes that count.
    bytes: usize,
    closes: bool,
}

impl Block {
    fn new(is_line: fn(&str) -> Option<Line>, is_numbers: bool) -> Block {
        Block { is_line, is_numbers, range: 0..0, lines: 0, bytes: 0, closed: false, length: 0 }
    }

    fn takes(&mut self, content: &str, range: Range<usize>) -> bool {
        if content.is_empty() {
            return self.is_numbers && self.lines > 0; // white space between rows
        }
        let Some(line) = (self.is_line)(content) else { return false };
        if line.bytes == 0 {
            return self.lines > 0; // brackets belong to the table between its rows, not around it
        }
        if self.closed || (!self.is_numbers && self.lines > 1 && content.len() > self.length) {
            return false;
        }
        if self.lines == 0 {
            self.range.start = range.start;
        }
        self.length = self.length.max(content.len());
        self.range.end = range.end;
        self.lines += 1;
        self.bytes += line.bytes;
        self.closed = line.closes;
        true
    }

    fn end(&mut self, text: &str, found: &mut Vec<Range<usize>>) {
        let large = if self.is_numbers { MIN_TABLE <= self.bytes } else { MIN_BLOCK_LINES <= self.lines };
        if large && !(self.is_numbers && self.lines < 4) {
            found.push(self.range.start..self.range.start + text[self.range.clone()].trim_end().len());
        }
        (self.lines, self.bytes, self.closed, self.length) = (0, 0, false, 0);
    }
}

/// A line of nothing but base64, perhaps in quotes.
fn is_base64_line(content: &str) -> Option<Line> {
    let inside = content.trim_matches(|c: char| "\"'+,;()\\ ".contains(c));
    let inside = inside.strip_suffix("\\n").unwrap_or(inside);
    let fits = MIN_BLOCK_LINE <= inside.len() && inside.bytes().all(is_base64_byte) && is_encoded(inside.as_bytes());
    let is_hash = inside.bytes().all(|byte| byte.is_ascii_hexdigit());
    (fits && !is_hash).then(|| Line { bytes: inside.len(), closes: inside.ends_with('=') })
}

/// A line of a hex dump: an address, groups of digits, perhaps the same as characters.
fn is_dump_line(content: &str) -> Option<Line> {
    let is_hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut groups = 0;
    for (n, word) in content.split_whitespace().enumerate() {
        let address = n == 0 && is_hex(word.trim_end_matches(':')) && 4 <= word.trim_end_matches(':').len();
        if is_hex(word) && matches!(word.len(), 2 | 4 | 8) {
            groups += 1;
        } else if !address {
            break; // what is behind the groups are their characters
        }
    }
    (8 <= groups && content.contains(|c: char| c.is_ascii_digit()))
        .then_some(Line { bytes: content.len(), closes: false })
}

/// A line of nothing but numbers and what separates them.
fn is_number_line(content: &str) -> Option<Line> {
    if content.len() > 20_000 {
        return None; // such a line is looked at by itself
    }
    let only_brackets = content.bytes().all(|byte| b"[]{}(),;".contains(&byte));
    let bytes = if only_brackets { 0 } else { content.bytes().filter(|byte| !byte.is_ascii_whitespace()).count() };
    (only_brackets || numbers_end(content.as_bytes(), 0) == content.len()).then_some(Line { bytes, closes: false })
}

/// Where the numbers end that begin at `start`.
fn numbers_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() {
        let before = at.checked_sub(1).filter(|&before| start <= before).map(|before| bytes[before]);
        let is_part = match bytes[at] {
            b'0'..=b'9' | b' ' | b'\t' | b',' | b'.' | b'+' | b'-' | b'[' | b']' | b'{' | b'}' | b'(' | b')' | b';' => {
                true
            }
            b'x' | b'X' if before == Some(b'0') => {
                at += 1;
                while bytes.get(at).is_some_and(u8::is_ascii_hexdigit) {
                    at += 1;
                }
                while bytes.get(at).is_some_and(|byte| b"uUlL".contains(byte)) {
                    at += 1;
                }
                continue;
            }
            // An exponent, a suffix, or a command of a path: no letter stands beside another.
            byte if byte.is_ascii_alphabetic() => {
                before.is_none_or(|before| !before.is_ascii_alphabetic())
                    && b"eEfFuUlLdMmHhVvCcSsQqTtAaZzxX".contains(&byte)
                    && !bytes.get(at + 1).is_some_and(|next| next.is_ascii_alphabetic() && !b"lLuU".contains(next))
            }
            _ => false,
        };
        if !is_part {
            break;
        }
        at += 1;
    }
    at
}

fn is_base64_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

/// Whether a run looks drawn by chance from its alphabet, as encoded bytes do: words keep to one kind of letter for
/// long, encoded bytes change it all the time.
fn is_encoded(run: &[u8]) -> bool {
    let kind = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let sample = &run[..run.len().min(4_096)];
    let mut count = [0_usize; 4];
    sample.iter().for_each(|&byte| count[kind(byte)] += 1);
    let changes = sample.windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count();
    let is_hex = sample.iter().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        return count[2] * 4 > sample.len() && count[2] < sample.len() && changes * 5 > sample.len();
    }
    let each = sample.len() / 20; // an even draw gives 26, 26 and 10 of 64
    each <= count[0] && each <= count[1] && sample.len() / 40 <= count[2] && changes * 3 > sample.len()
}

/// Payload inside of one line.
fn push_within(line: &str, start: usize, kinds: Kinds, found: &mut Vec<Range<usize>>) {
    let content = line.trim_end();
    if content.len() < MIN_DATA_URI {
        return;
    }
    let n_before = found.len();
    push_data_uris(content, start, found);
    push_runs(content, start, found);
    if kinds.tables {
        push_numbers(content, start, found);
    }
    let cut: usize = found[n_before..].iter().map(Range::len).sum();
    if kinds.minified && MIN_MINIFIED <= content.len() - cut.min(content.len()) && is_minified(content) {
        found.truncate(n_before);
        found.push(start..start + content.len());
    }
}

/// `data:image/png;base64,…`, and other data behind `data:` that is written with `%`.
fn push_data_uris(line: &str, start: usize, found: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(at) = line[from..].find("data:").map(|at| from + at) {
        let rest = &line[at..];
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`)<>".contains(c)).unwrap_or(rest.len());
        let uri = &rest[..end];
        from = at + "data:".len();
        let Some(comma) = uri.find(',').filter(|&comma| comma < 100) else { continue };
        let (head, body) = uri.split_at(comma + 1);
        let encoded = head.ends_with(";base64,") && MIN_DATA_URI <= body.len();
        let escaped = MIN_RUN <= body.len() && body.matches('%').count() * 12 > body.len();
        if encoded || escaped {
            found.push(start + at + head.len()..start + at + end);
            from = at + end;
        }
    }
}

/// Runs of base64 or hexadecimal digits. A line end that is written as `\n` does not end one.
fn push_runs(line: &str, start: usize, found: &mut Vec<Range<usize>>) {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_base64_byte(bytes[at]) {
            at += 1;
            continue;
        }
        let from = at;
        loop {
            match bytes.get(at) {
                Some(&byte) if is_base64_byte(byte) => at += 1,
                Some(b'\\') if matches!(bytes.get(at + 1), Some(b'n' | b'r')) => at += 2,
                _ => break,
            }
        }
        if MIN_RUN <= at - from && is_encoded(&bytes[from..at]) {
            found.push(start + from..start + at);
        }
    }
}

/// Long runs of numbers: arrays on one line, the paths of an SVG picture.
fn push_numbers(line: &str, start: usize, found: &mut Vec<Range<usize>>) {
    let bytes = line.as_bytes();
    if bytes.len() < MIN_NUMBERS {
        return;
    }
    let mut at = 0;
    while at < bytes.len() {
        let end = numbers_end(bytes, at);
        let run = &bytes[at..end];
        let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        if MIN_NUMBERS <= run.len() && run.len() < digits * 3 {
            found.push(start + at..start + end);
        }
        at = end.max(at + 1);
    }
}

/// Code or data without the white space that people write.
fn is_minified(line: &str) -> bool {
    let spaces = line.bytes().filter(u8::is_ascii_whitespace).count();
    let marks = line.bytes().filter(|byte| b"{}()[];:,=\"'<>".contains(byte)).count();
    let blocks = line.bytes().filter(|byte| b"{};<".contains(byte)).count();
    let ascii = line.bytes().filter(u8::is_ascii).count();
    // A long list that people can read has a space behind each comma.
    let (commas, spaced) = (line.matches(',').count(), line.matches(", ").count());
    let is_dense = spaces * 10 < line.len() && line.len() < marks * 20 && line.len() < blocks * 200;
    is_dense && line.len() * 9 < ascii * 10 && spaced * 4 <= commas
}

/// In order, without overlap, with the rest of a line that has no letter or digit.
fn merged(text: &str, mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for mut range in found {
        let rest = &text[range.end..lines::floor_char(text, range.end + MAX_REST)];
        let line = rest.split('\n').next().unwrap_or_default();
        let is_all = line.len() < rest.len() || range.end + rest.len() == text.len();
        if is_all && !line.contains(char::is_alphanumeric) {
            let rest = line;
            range.end += rest.trim_end().len();
        }
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
