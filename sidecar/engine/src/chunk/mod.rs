//! Cuts a file into chunks: pieces small enough to embed, cut where a reader would cut, each with what it defines.
//!
//! Three steps ([`cut`]). [`lines`] finds the lines that are not blank. An outline prices a cut before each line, and says which
//! definitions enclose it: [`syntax`] asks a grammar, [`plain`] reads indentation, blank
//! lines and Markdown headings. [`pack`] picks the cheapest set of cuts under the size cap. Whatever the input,
//! the chunks hold every byte that is not blank exactly once, in order, but for what [`payload()`] leaves out.
//! [`embedded`] finds code of other languages, which is cut along its own syntax, and [`mod@notebook`] reads notebooks.
//!
//! The idea of splitting along the syntax tree and merging small siblings is cAST, arXiv 2506.15655.

#[cfg(test)]
mod contents;
mod cut;
mod detect;
mod embedded;
mod find;
mod grammar;
mod languages;
mod lines;
mod pack;
mod packed;
mod plain;
mod rules;
#[cfg(test)]
mod names;
#[cfg(test)]
mod samples;
mod notebook;
mod payload;
mod syntax;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

pub use languages::{Language, languages, named};
pub use payload::payload;

use notebook::Notebook;

/// The language of notebooks, which are cut as the text of their cells.
const NOTEBOOK: &str = "jupyter-notebook";

/// How large a chunk may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// No chunk is longer (values below 16 count as 16).
    pub max_bytes: usize,
    /// Chunks are seldom shorter: small neighbours are merged, unless the cap or a large definition forbids it.
    pub min_bytes: usize,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it lies in the text, as [`shown`] gives it: from the start of its first line to the last byte that is not
    /// blank.
    pub bytes: Range<usize>,
    /// Its language: in the script of a page, that of the script.
    pub language: Language,
    /// Further languages that it has lines of, and that of the file around it.
    pub also: Vec<Language>,
    /// The first line, counted from 1.
    pub first_line: u32,
    /// The last line, inclusive.
    pub last_line: u32,
    /// The definitions around its first line, outermost first: `impl Client > fn connect`; empty at top level.
    /// In Markdown, the headings.
    pub scope: String,
    /// What is defined here, in order: each symbol belongs to the chunk in which its name starts.
    pub symbols: Vec<Symbol>,
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The name as its language writes it, with its marks: `valid?`, `#count`, `r#type`, `` `a name` ``,
    /// `operator->`. Of a string, what is in the quotes.
    pub name: String,
    /// Function, class, ...
    pub kind: SymbolKind,
    /// The line of the name, counted from 1.
    pub line: u32,
}

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    /// A function that belongs to no type.
    Function,
    /// A function that belongs to a type.
    Method,
    /// A class.
    Class,
    /// A struct or union.
    Struct,
    /// An enumeration.
    Enum,
    /// A Rust trait.
    Trait,
    /// A Go or TypeScript interface.
    Interface,
    /// A type alias, or another named type.
    Type,
    /// A value that does not change.
    Constant,
    /// A value that may change.
    Variable,
    /// A module or namespace.
    Module,
    /// A macro.
    Macro,
}

impl SymbolKind {
    /// A stable name for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            SymbolKind::Function => "function",
            SymbolKind::Method => "method",
            SymbolKind::Class => "class",
            SymbolKind::Struct => "struct",
            SymbolKind::Enum => "enum",
            SymbolKind::Trait => "trait",
            SymbolKind::Interface => "interface",
            SymbolKind::Type => "type",
            SymbolKind::Constant => "constant",
            SymbolKind::Variable => "variable",
            SymbolKind::Module => "module",
            SymbolKind::Macro => "macro",
        }
    }
}

impl Default for ChunkLimits {
    fn default() -> Self {
        ChunkLimits { max_bytes: 1_200, min_bytes: 200 }
    }
}

/// What of a file is cut, embedded and shown, in which [`Chunk::bytes`] are ranges: for a notebook its cells, otherwise
/// the text itself.
pub fn shown(text: &str, language: Language) -> Cow<'_, str> {
    match notebook(text, language) {
        Some(notebook) => notebook.text.into(),
        None => text.into(),
    }
}

fn notebook(text: &str, language: Language) -> Option<Notebook> {
    is_notebook(language).then(|| Notebook::read(text))?
}

/// Whether files of this language are cut as the text of their cells.
pub fn is_notebook(language: Language) -> bool {
    language.name() == NOTEBOOK
}

/// Whether a file of this language may hold code of others.
pub fn may_hold_others(language: Language) -> bool {
    is_notebook(language) || embedded::may_hold_others(language)
}

/// The lines of a file, counted from 1, that are of other languages than the file, in order.
pub fn embedded_lines(text: &str, language: Language) -> Vec<(Language, RangeInclusive<u32>)> {
    let notebook = notebook(text, language);
    let regions = match &notebook {
        Some(_) => Vec::new(),
        None => embedded::regions(text, language, &ChunkLimits::default()),
    };
    let (text, regions) = match &notebook {
        Some(notebook) => (notebook.text.as_str(), &notebook.cells),
        None => (text, &regions),
    };
    let line_in_file = |line: u32| notebook.as_ref().map_or(line, |notebook| notebook.line_in_file(line));
    let (mut seen, mut line) = (0, 1_u32);
    let mut line_at = |byte: usize| {
        line += text[seen..byte].matches('\n').count() as u32;
        seen = byte;
        line_in_file(line)
    };
    let lines = |region: &embedded::Region| {
        let last = region.bytes.start + text[region.bytes.clone()].trim_end().len();
        (region.language, line_at(region.bytes.start)..=line_at(last))
    };
    regions.iter().map(lines).collect()
}

/// Cuts `text` into chunks, in order. Equal input gives equal chunks on every machine, unless the parser is stopped
/// after seconds.
///
/// A language without a grammar, or a text its grammar cannot parse within a budget of steps and time, is cut at blank
/// lines instead. A line longer than the cap is cut at spaces or punctuation. Code inside of a page, a document or a
/// notebook is cut along its own syntax; payload ([`payload()`]) is left out.
pub fn chunk(text: &str, language: Language, limits: &ChunkLimits) -> Vec<Chunk> {
    let max_bytes = limits.max_bytes.max(16);
    let limits = ChunkLimits { max_bytes, min_bytes: limits.min_bytes.min(max_bytes / 2) };
    let Some(notebook) = notebook(text, language) else {
        let regions = embedded::regions(text, language, &limits);
        return cut::cut(text, language, &regions, &limits);
    };
    let mut chunks = cut::cut(&notebook.text, language, &notebook.cells, &limits);
    for chunk in &mut chunks {
        let lines = [&mut chunk.first_line, &mut chunk.last_line];
        let names = chunk.symbols.iter_mut().map(|symbol| &mut symbol.line);
        lines.into_iter().chain(names).for_each(|line| *line = notebook.line_in_file(*line));
    }
    chunks
}

/// What is known about a text beyond its lines.
struct Outline {
    /// One for each line.
    cut_points: Vec<CutPoint>,
    /// Where each name starts, in order, and the symbol.
    symbols: Vec<(usize, Symbol)>,
    /// All definitions that enclose lines; 0 stands for the file.
    scopes: Vec<Scope>,
}

/// What a cut before a line costs.
#[derive(Clone, Copy, Debug, Default)]
struct CutPoint {
    /// The innermost definition around the line; the line that opens a definition lies outside it.
    scope: usize,
    /// The price of a cut before the line, in the units of [`pack`].
    cut: u32,
    /// The price of no cut before the line, in the units of [`pack`]: a large definition should begin a chunk.
    keep: u32,
    /// The line only closes a bracket that was opened above.
    closer: bool,
}

struct Scope {
    parent: usize,
    depth: u32,
    label: String,
}

/// Where a text lies that is a part of another.
#[derive(Clone, Copy)]
struct Place {
    /// Its first line, among all.
    first_idx: usize,
    /// Its first byte.
    start: usize,
    /// The row of its first byte.
    row: u32,
    /// The definition around it.
    scope: usize,
}

impl Outline {
    fn empty(n_lines: usize) -> Self {
        let file = Scope { parent: 0, depth: 0, label: String::new() };
        Outline { cut_points: vec![CutPoint::default(); n_lines], symbols: Vec::new(), scopes: vec![file] }
    }

    fn open(&mut self, parent: usize, label: String) -> usize {
        let depth = self.scopes[parent].depth + 1;
        self.scopes.push(Scope { parent, depth, label });
        self.scopes.len() - 1
    }

    /// Takes over what is known about a part of the text: its lines from `first`, its bytes from `start`, in `row`,
    /// inside of `scope`. Without `is_apart` only the names.
    fn merge(&mut self, inner: Outline, place: Place, is_apart: bool) {
        let symbols = inner
            .symbols
            .into_iter()
            .map(|(offset, symbol)| (offset + place.start, Symbol { line: symbol.line + place.row, ..symbol }));
        self.symbols.extend(symbols);
        if !is_apart {
            return;
        }
        let n_before = self.scopes.len() - 1; // the inner file's own scope is `place.scope`
        let depth = self.scopes[place.scope].depth;
        let moved = |scope: usize| if scope == 0 { place.scope } else { scope + n_before };
        for scope in inner.scopes.into_iter().skip(1) {
            self.scopes.push(Scope { parent: moved(scope.parent), depth: scope.depth + depth, label: scope.label });
        }
        for (idx, point) in inner.cut_points.into_iter().enumerate() {
            self.cut_points[place.first_idx + idx] = CutPoint { scope: moved(point.scope), ..point };
        }
    }

    /// The labels from the outermost to the innermost scope; in very deep nesting, the innermost eight.
    fn scope_path(&self, mut scope: usize) -> String {
        const MAX_LABELS: usize = 8;
        let mut labels = Vec::new();
        while scope != 0 && labels.len() < MAX_LABELS {
            labels.push(self.scopes[scope].label.as_str());
            scope = self.scopes[scope].parent;
        }
        labels.reverse();
        labels.join(" > ")
    }
}

/// `text` in one line of at most `max_bytes`, for labels and names.
fn one_line(text: &str, max_bytes: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if max_bytes < line.len() {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word[..lines::floor_char(word, max_bytes)]);
    }
    line.truncate(lines::floor_char(&line, max_bytes));
    line
}
