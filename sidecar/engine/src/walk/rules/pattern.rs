//! One rule of an ignore file, as git reads and matches it.

use super::super::wildcard::{Mode, Wildcard};

/// A rule and its place in its file.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Without `!` and without the `/` at its end.
    text: Box<[u8]>,
    /// Counted from 1.
    line: u32,
    is_negative: bool,
    /// It ended in `/`.
    only_folders: bool,
    shape: Shape,
}

/// How a rule is compared, fastest first.
#[derive(Clone, Debug)]
enum Shape {
    /// The name is the text.
    Name,
    /// The name ends in the text behind its first byte, which is `*`.
    NameEnd,
    /// The name matches.
    NameWildcard(Wildcard),
    /// The path from the rule's folder on begins with the first `literal` bytes of the text, and its rest matches.
    Path { literal: usize, rest: Wildcard },
}

/// A path as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// From the rule's folder on, separated by `/`.
    pub path: &'a [u8],
    /// Its last part.
    pub name: &'a [u8],
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether letters of ASCII are compared without their case.
    pub fold: bool,
}

/// The rules of a file, in their order. A byte-order mark at its begin does not count.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Pattern> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    lines.filter_map(|(line, number)| Pattern::new(line, number))
}

impl Pattern {
    /// The rule of a line without its line feed; `None` for a comment or an empty line.
    fn new(line: &[u8], number: u32) -> Option<Pattern> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.split(|byte| *byte == 0).next().unwrap_or(line); // git's lines are strings of C
        if line.first().is_none_or(|byte| *byte == b'#') {
            return None;
        }
        let line = without_spaces_at_the_end(line);
        let (is_negative, text) = line.strip_prefix(b"!").map_or((false, line), |text| (true, text));
        let (only_folders, text) = text.strip_suffix(b"/").map_or((false, text), |text| (true, text));
        let shape = Shape::of(text);
        Some(Pattern { text: text.into(), line: number, is_negative, only_folders, shape })
    }

    /// Whether the rule brings back what it matches.
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// The line of its file that it stands in, counted from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The rule as it is written, without spaces at its end; bytes that are not UTF-8 are replaced.
    pub fn written(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        format!("{}{text}{}", if self.is_negative { "!" } else { "" }, if self.only_folders { "/" } else { "" })
    }

    /// Whether a path matches, whatever the rule says about it. `steps` is lowered by the work that wildcards take; at 0
    /// everything matches.
    pub fn matches(&self, subject: Subject, steps: &mut u32) -> bool {
        if self.only_folders && !subject.is_folder {
            return false;
        }
        let equal = |a: &[u8], b: &[u8]| if subject.fold { a.eq_ignore_ascii_case(b) } else { a == b };
        match &self.shape {
            Shape::Name => equal(&self.text, subject.name),
            Shape::NameEnd => {
                let end = &self.text[1..];
                subject.name.len().checked_sub(end.len()).is_some_and(|at| equal(end, &subject.name[at..]))
            }
            Shape::NameWildcard(wildcard) => {
                wildcard.matches(subject.name, Mode { fold: subject.fold, path: false }, steps)
            }
            Shape::Path { literal, rest } => {
                let text = self.text.strip_prefix(b"/").unwrap_or(&self.text);
                subject.path.len() >= *literal
                    && equal(&text[..*literal], &subject.path[..*literal])
                    && if *literal == text.len() {
                        subject.path.len() == *literal
                    } else {
                        rest.matches(&subject.path[*literal..], Mode { fold: subject.fold, path: true }, steps)
                    }
            }
        }
    }
}

impl Shape {
    fn of(text: &[u8]) -> Shape {
        let literal = |text: &[u8]| text.iter().position(|byte| b"*?[\\".contains(byte));
        if text.contains(&b'/') {
            let text = text.strip_prefix(b"/").unwrap_or(text);
            let literal = literal(text).unwrap_or(text.len());
            // As in git, what follows the literal part is a pattern of its own: `a**/b` matches `ab`.
            return Shape::Path { literal, rest: Wildcard::new(&text[literal..], true) };
        }
        match literal(text) {
            None => Shape::Name,
            Some(0) if text[0] == b'*' && literal(&text[1..]).is_none() => Shape::NameEnd,
            Some(_) => Shape::NameWildcard(Wildcard::new(text, false)),
        }
    }
}

/// A line without the spaces at its end. The last of them stays when a `\` stands before it, as all do when the line ends in
/// a `\` that escapes nothing.
fn without_spaces_at_the_end(line: &[u8]) -> &[u8] {
    let mut end = 0; // behind the last byte that is no space, or an escaped one
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' => {
                at += 1;
                continue;
            }
            b'\\' => at += 2,
            _ => at += 1,
        }
        end = at.min(line.len());
    }
    &line[..end]
}
