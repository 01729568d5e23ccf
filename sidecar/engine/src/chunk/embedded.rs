//! Languages inside of languages: scripts and styles of a page, fenced code in Markdown.

use std::ops::Range;

use super::{ChunkLimits, Language};

/// A part of a text that is of another language.
pub(super) struct Region {
    /// All of it in whole lines, with the lines that open and close it.
    pub bytes: Range<usize>,
    /// Its code.
    pub inner: Range<usize>,
    /// The parts of the code that its language can read, without indentation of a list around it; empty for all of it.
    pub parts: Vec<Range<usize>>,
    /// The language of the code.
    pub language: Language,
    /// What it is called in scopes, if anything.
    pub scope: Option<String>,
    /// It has chunks of its own. Of a small one only the names are taken: it stays with the words around it.
    pub is_apart: bool,
}

/// Most regions of one text; the rest of it is read as the outer language.
const MAX_REGIONS: usize = 2_000;

/// Longest opening tag.
const MAX_TAG_BYTES: usize = 2_000;

/// Whether a text of this language may have regions.
pub(super) fn may_hold_others(language: Language) -> bool {
    ["markdown", "vue", "svelte", "html", "template", "astro"].contains(&language.name())
}

/// The regions of a text, in order.
pub(super) fn regions(text: &str, language: Language, limits: &ChunkLimits) -> Vec<Region> {
    match language.name() {
        "markdown" => fences(text, limits),
        "vue" | "svelte" | "html" | "template" => tags(text, language, 0, limits),
        "astro" => {
            let front = front_matter(text);
            let from = front.as_ref().map_or(0, |front| front.bytes.end);
            front.into_iter().chain(tags(text, language, from, limits)).collect()
        }
        _ => Vec::new(),
    }
}

/// The TypeScript between `---` and `---` at the head of a page.
fn front_matter(text: &str) -> Option<Region> {
    let first = text.split_inclusive('\n').next().filter(|line| line.trim_end() == "---")?;
    let mut end = first.len();
    for line in text[first.len()..].split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(Region {
                bytes: 0..end + line.len(),
                inner: first.len()..end,
                parts: Vec::new(),
                language: Language::by_word("typescript")?,
                scope: None,
                is_apart: true,
            });
        }
        end += line.len();
    }
    None
}

/// `<script>` and `<style>` over several lines, outside of comments.
fn tags(text: &str, outer: Language, from: usize, limits: &ChunkLimits) -> Vec<Region> {
    let lower = text.to_ascii_lowercase();
    let mut regions: Vec<Region> = Vec::new();
    let mut at = from;
    let mut never_closed: Vec<&str> = Vec::new(); // tags that nothing closes from here on
    while regions.len() < MAX_REGIONS {
        let Some(open) = lower[at..].find('<').map(|open| at + open) else { break };
        let rest = &lower[open..];
        at = open + 1;
        if rest.starts_with("<!--") {
            at = rest.find("-->").map_or(text.len(), |end| open + end);
            continue;
        }
        let Some(name) = ["script", "style"].into_iter().find(|name| is_tag(&rest[1..], name)) else { continue };
        let Some(head) = tag_end(&text[open..]) else { continue };
        let inner_start = open + head;
        if never_closed.contains(&name) {
            continue;
        }
        let close = lower[inner_start..].find(if name == "script" { "</script" } else { "</style" });
        let Some(inner_end) = close.map(|close| inner_start + close) else {
            never_closed.push(name);
            continue;
        };
        at = inner_end;
        if !text[inner_start..inner_end].contains('\n') {
            continue;
        }
        let tag = &text[open..inner_start];
        let language = if name == "style" { style_language(tag) } else { script_language(tag, outer) };
        let line_start = text[..open].rfind('\n').map_or(0, |end| end + 1);
        let line_end = text[inner_end..].find('\n').map_or(text.len(), |end| inner_end + end + 1);
        let is_large = outer.name() != "html" || limits.min_bytes <= inner_end - inner_start;
        let is_free = regions.last().is_none_or(|last| last.bytes.end <= line_start) && from <= line_start;
        if let Some(language) = language.filter(|_| is_free) {
            regions.push(Region {
                bytes: line_start..line_end,
                inner: inner_start..inner_end,
                parts: Vec::new(),
                language,
                scope: None,
                is_apart: is_large,
            });
        }
    }
    regions
}

fn is_tag(rest: &str, name: &str) -> bool {
    rest.strip_prefix(name).is_some_and(|after| after.starts_with(|c: char| c == '>' || c.is_ascii_whitespace()))
}

/// Just behind the `>` that ends a tag; one in quotes does not.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate().take(MAX_TAG_BYTES) {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

/// The value of an attribute, in lower case.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut from = 0;
    while let Some(at) = tag[from..].find(name).map(|at| from + at) {
        from = at + name.len();
        let before = tag[..at].chars().next_back();
        let value = tag[from..].trim_start().strip_prefix('=').map(str::trim_start);
        if let Some(value) = value.filter(|_| before.is_some_and(char::is_whitespace)) {
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let ends = |c: char| quote.map_or(c.is_whitespace() || c == '>', |quote| c == quote);
            let value = quote.map_or(value, |_| &value[1..]);
            return Some(value.split(ends).next().unwrap_or_default().to_ascii_lowercase());
        }
    }
    None
}

fn script_language(tag: &str, outer: Language) -> Option<Language> {
    let default = if outer.name() == "astro" { "typescript" } else { "javascript" };
    if let Some(word) = attribute(tag, "lang") {
        return Language::by_word(&word);
    }
    let kind = attribute(tag, "type").unwrap_or_default();
    let of = kind.rsplit('/').next().unwrap_or_default().trim_start_matches("x-");
    match of {
        "" | "module" | "javascript" | "ecmascript" | "babel" => Language::by_word(default),
        _ if of.ends_with("json") || of.ends_with("importmap") => Language::by_word("json"),
        _ => Language::by_word(of).filter(|language| language.grammar().is_some()),
    }
}

/// All that are written as style sheets are.
fn style_language(tag: &str) -> Option<Language> {
    match attribute(tag, "lang").as_deref() {
        None | Some("css" | "postcss" | "scss" | "sass" | "less") => Language::by_word("css"),
        Some(_) => None,
    }
}

/// Code between fences whose first word names a language with a grammar.
fn fences(text: &str, limits: &ChunkLimits) -> Vec<Region> {
    let mut regions = Vec::new();
    let mut open: Option<Fence> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        match &open {
            None => open = Fence::open(line, range),
            Some(fence) if fence.closes(line) => {
                regions.extend(open.take().and_then(|fence| fence.region(text, range, limits)));
            }
            Some(_) => {}
        }
        if regions.len() == MAX_REGIONS {
            return regions;
        }
    }
    regions.extend(open.and_then(|fence| fence.region(text, text.len()..text.len(), limits)));
    regions
}

/// An open fence.
struct Fence {
    line: Range<usize>,
    mark: char,
    length: usize,
    /// White space, the signs of a quotation, or what begins the entry of a list, before the fence.
    indent: usize,
    language: Option<Language>,
}

impl Fence {
    fn open(line: &str, range: Range<usize>) -> Option<Fence> {
        let mut content = line.trim_start_matches(is_indent);
        if let Some(rest) = list_entry(content) {
            content = rest.trim_start();
        }
        let mark = content.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = content.trim_start_matches(mark);
        let length = content.len() - info.len();
        if length < 3 || (mark == '`' && info.contains('`')) {
            return None;
        }
        let language = language_of_info(info).filter(|language| language.grammar().is_some());
        Some(Fence { indent: line.len() - content.len(), line: range, mark, length, language })
    }

    fn closes(&self, line: &str) -> bool {
        let content = line.trim_start_matches(is_indent).trim_end();
        self.length <= content.len() && content.chars().all(|c| c == self.mark)
    }

    fn region(self, text: &str, close: Range<usize>, limits: &ChunkLimits) -> Option<Region> {
        let inner = self.line.end..close.start;
        let mut parts = Vec::new();
        let mut start = inner.start;
        for line in text[inner.clone()].split_inclusive('\n').filter(|_| 0 < self.indent) {
            let indent = line.chars().take(self.indent).take_while(|c| is_indent(*c)).count();
            parts.push(start + indent..start + line.len());
            start += line.len();
        }
        Some(Region {
            bytes: self.line.start..close.end,
            is_apart: limits.max_bytes / 2 <= inner.len(),
            inner,
            parts,
            language: self.language?,
            scope: None,
        })
    }
}

/// What may stand before a line of a fence: white space, or the sign of a quotation.
fn is_indent(c: char) -> bool {
    matches!(c, ' ' | '\t' | '>')
}

/// What follows the mark of an entry in a list: `- `, `* `, `+ `, `1. `.
fn list_entry(content: &str) -> Option<&str> {
    let rest = content.trim_start_matches(|c: char| c.is_ascii_digit());
    let marks: &[char] = if rest.len() < content.len() { &['.', ')'] } else { &['-', '*', '+'] };
    rest.strip_prefix(marks).filter(|rest| rest.starts_with(' '))
}

/// `ts`, `ts title="x"`, `{.python .number-lines}`, `js{1,3}`, `rust,no_run`, `ts:src/a.ts`.
fn language_of_info(info: &str) -> Option<Language> {
    let info = info.trim().trim_start_matches(['{', '.', ' ']);
    let is_word = |c: char| c.is_alphanumeric() || "+#-_".contains(c);
    let end = info.find(|c| !is_word(c)).unwrap_or(info.len());
    Language::by_word(&info[..end])
}
