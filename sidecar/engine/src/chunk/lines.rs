//! The lines of a text that are not blank.

use std::ops::Range;

/// A line, or a part of a line that is longer than a chunk may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Byte offset where the line starts.
    pub start: usize,
    /// Its first byte that is not white space.
    pub text_start: usize,
    /// Just past its last byte that is not white space.
    pub end: usize,
    /// Counted from 0; the parts of a long line share it.
    pub row: u32,
    /// A blank line lies above.
    pub after_blank: bool,
    /// Not the first part of its line.
    pub continues: bool,
}

impl Line {
    /// Bytes of white space in front.
    pub fn indent(&self) -> usize {
        self.text_start - self.start
    }

    /// Whether it begins with a closing bracket.
    pub fn closes(&self, text: &str) -> bool {
        matches!(text.as_bytes()[self.text_start], b'}' | b')' | b']')
    }
}

/// All lines that are not blank, without the ranges of `left_out`, which are in order and apart; none spans more than
/// `max_bytes`, which is at least 16.
pub(super) fn split(text: &str, max_bytes: usize, left_out: &[Range<usize>]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut after_blank = false;
    let mut start = 0;
    let mut left_out = left_out;
    for (row, raw) in text.split('\n').enumerate() {
        let trimmed = raw.trim_end();
        let text_len = trimmed.trim_start().len();
        while left_out.first().is_some_and(|range| range.end <= start) {
            left_out = &left_out[1..];
        }
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        if left_out.first().is_some_and(|range| range.start < start + trimmed.len()) {
            let whole =
                Line { start, text_start: start, end: start + trimmed.len(), row, after_blank, continues: false };
            after_blank = !push_rest(&mut lines, text, &whole, max_bytes, left_out);
        } else if text_len == 0 {
            after_blank = true;
        } else {
            let line = Line {
                start,
                text_start: start + trimmed.len() - text_len,
                end: start + trimmed.len(),
                row,
                after_blank,
                continues: false,
            };
            push_parts(&mut lines, text, line, max_bytes);
            after_blank = false;
        }
        start += raw.len() + 1;
    }
    lines
}

/// What `left_out` leaves of a line; says whether that is anything.
fn push_rest(lines: &mut Vec<Line>, text: &str, whole: &Line, max_bytes: usize, left_out: &[Range<usize>]) -> bool {
    let n_before = lines.len();
    let mut start = whole.start;
    let inside = left_out.iter().take_while(|range| range.start < whole.end);
    for range in inside.cloned().chain(std::iter::once(whole.end..whole.end)) {
        let part = text.get(start..range.start).unwrap_or_default();
        let (indent, trimmed) = (part.len() - part.trim_start().len(), part.trim_end());
        if indent < part.len() {
            let continues = n_before < lines.len();
            let begin = if continues || whole.start < start { start + indent } else { start };
            let line = Line {
                start: begin,
                text_start: start + indent,
                end: start + trimmed.len(),
                after_blank: whole.after_blank && !continues,
                continues,
                ..whole.clone()
            };
            push_parts(lines, text, line, max_bytes);
        }
        start = range.end.max(start);
    }
    n_before < lines.len()
}

fn push_parts(lines: &mut Vec<Line>, text: &str, mut line: Line, max_bytes: usize) {
    if max_bytes < line.end - line.start && max_bytes / 2 < line.indent() {
        line.start = line.text_start; // more indentation than text: leave it to the gap before
    }
    while max_bytes < line.end - line.start {
        let cut = cut_before(text, line.start, max_bytes);
        let head = &text[line.start..cut];
        lines.push(Line { end: line.start + head.trim_end().len(), ..line });
        let rest = &text[cut..line.end];
        let start = line.end - rest.trim_start().len();
        line = Line { start, text_start: start, after_blank: false, continues: true, ..line };
    }
    lines.push(line);
}

/// Where to end a part that starts at `start`: after a space or a separator in its last quarter, else at the cap.
fn cut_before(text: &str, start: usize, max_bytes: usize) -> usize {
    let end = floor_char(text, start + max_bytes);
    let from = floor_char(text, start + max_bytes - max_bytes / 4);
    let tail = &text[from..end];
    let after = |found: Option<usize>| found.map(|at| from + at + 1); // all separators are one byte
    after(tail.rfind([';', '}', '\t', ' '])).or_else(|| after(tail.rfind([',', ')', '>']))).unwrap_or(end)
}

/// The last char boundary at or before `at`.
pub(super) fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
