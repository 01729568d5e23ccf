//! Notebooks of Jupyter. The file is JSON, with the code in strings and with pictures; what is cut, embedded and shown
//! is the text of its cells, with the lines of the file.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Language;
use super::embedded::Region;

/// A notebook as text.
pub(super) struct Notebook {
    /// The cells, with an empty line between them. Outputs are left out.
    pub text: String,
    /// For each line of `text`, the row of the file that it stands in, counted from 0.
    pub rows: Vec<u32>,
    /// The cells.
    pub cells: Vec<Region>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    cells: Vec<Cell<'a>>,
    /// Before version 4 of the format.
    #[serde(borrow, default)]
    worksheets: Vec<Worksheet<'a>>,
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Worksheet<'a> {
    #[serde(borrow, default)]
    cells: Vec<Cell<'a>>,
}

#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    kernelspec: Kernel<'a>,
    #[serde(borrow, default)]
    language_info: Kernel<'a>,
}

#[derive(Default, Deserialize)]
struct Kernel<'a> {
    #[serde(borrow, default)]
    language: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Cell<'a> {
    #[serde(borrow, default)]
    cell_type: Cow<'a, str>,
    #[serde(borrow, alias = "input")]
    source: Option<&'a RawValue>,
}

impl Notebook {
    /// The cells of a file; `None` for what is no notebook.
    pub fn read(file: &str) -> Option<Notebook> {
        let parsed: File<'_> = serde_json::from_str(file.trim_start_matches('\u{feff}')).ok()?;
        let language = language(&parsed.metadata);
        let mut notebook = Notebook { text: String::new(), rows: Vec::new(), cells: Vec::new() };
        let mut rows = Rows { file, seen: 0, row: 0 };
        let cells = parsed.cells.iter().chain(parsed.worksheets.iter().flat_map(|sheet| &sheet.cells));
        for (n, cell) in cells.enumerate() {
            let Some(source) = cell.source else { continue };
            let (start, n_rows) = (notebook.text.len(), notebook.rows.len());
            notebook.push(source.get(), &mut rows)?;
            if notebook.text[start..].trim().is_empty() {
                notebook.rows.truncate(n_rows);
                notebook.text.truncate(start);
                continue;
            }
            let code = match &*cell.cell_type {
                "markdown" | "heading" => Language::by_word("markdown")?,
                "raw" => Language::of(""),
                _ => language,
            };
            let end = notebook.text.len();
            notebook.cells.push(region(&notebook.text, start..end, code, n + 1));
            notebook.text.push('\n');
            notebook.rows.push(rows.row);
        }
        Some(notebook)
    }

    /// Adds the source of a cell, a string or a list of strings, and a line end where it has none.
    fn push(&mut self, source: &str, rows: &mut Rows<'_>) -> Option<()> {
        if source.starts_with('[') {
            let strings: Vec<&RawValue> = serde_json::from_str(source).ok()?;
            strings.iter().try_for_each(|string| self.push_string(string.get(), rows))?;
        } else if source.starts_with('"') {
            self.push_string(source, rows)?;
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        Some(())
    }

    fn push_string(&mut self, string: &str, rows: &mut Rows<'_>) -> Option<()> {
        let row = rows.of(string);
        let content: String = serde_json::from_str(string).ok()?;
        for line in content.split_inclusive('\n') {
            if self.text.is_empty() || self.text.ends_with('\n') {
                self.rows.push(row);
            }
            self.text.push_str(line);
        }
        Some(())
    }

    /// The line of the file, counted from 1, for a line of the text.
    pub fn line_in_file(&self, line: u32) -> u32 {
        let row = (line as usize).checked_sub(1).and_then(|row| self.rows.get(row));
        row.map_or(line, |row| row + 1)
    }
}

/// Rows of places in a file, asked for in order.
struct Rows<'a> {
    file: &'a str,
    seen: usize,
    row: u32,
}

impl Rows<'_> {
    /// The row of `part`, which is a part of the file.
    fn of(&mut self, part: &str) -> u32 {
        let at = (part.as_ptr() as usize).wrapping_sub(self.file.as_ptr() as usize);
        if let Some(passed) = self.file.get(self.seen..at) {
            self.row += passed.matches('\n').count() as u32;
            self.seen = at;
        }
        self.row
    }
}

/// The language of the kernel; Python where the file does not say.
fn language(metadata: &Metadata<'_>) -> Language {
    let words = [&metadata.language_info.name, &metadata.kernelspec.language, &metadata.kernelspec.name];
    let named = words.into_iter().flatten().find_map(|word| Language::by_word(word));
    named.or_else(|| Language::by_word("python")).unwrap_or_else(|| Language::of(""))
}

/// A cell. Its first line may ask for another language: `%%bash`. Lines that speak to the kernel are no code.
fn region(text: &str, bytes: Range<usize>, language: Language, number: usize) -> Region {
    let mut language = language;
    let mut inner = bytes.clone();
    let mut parts = Vec::new();
    if language.name() != "markdown" {
        let first = text[bytes.clone()].split_inclusive('\n').next().unwrap_or_default();
        if let Some(magic) = first.strip_prefix("%%") {
            language = language_of_magic(magic, language);
            inner.start += first.len();
        }
        let is_command = |line: &str| line.trim_start().starts_with(['%', '!']);
        if language.name() == "python" && text[inner.clone()].lines().any(is_command) {
            let mut start = inner.start;
            for line in text[inner.clone()].split_inclusive('\n') {
                if !is_command(line) {
                    parts.push(start..start + line.len());
                }
                start += line.len();
            }
            if parts.is_empty() {
                inner.start = inner.end;
            }
        }
    }
    Region { bytes, inner, parts, language, scope: Some(format!("cell {number}")), is_apart: true }
}

/// `bash`, `writefile tools/run.py`, `script ruby`; of another kind (`time`, `capture`) the language stays.
fn language_of_magic(magic: &str, language: Language) -> Language {
    let mut words = magic.split_whitespace().filter(|word| !word.starts_with('-'));
    let found = match words.next().unwrap_or_default() {
        "writefile" | "file" => words.next().map(Language::of),
        "script" => words.next().and_then(Language::by_word),
        "sx" | "system" | "!" => Language::by_word("shell"),
        "svg" => Language::by_word("xml"),
        "time" | "timeit" | "capture" | "prun" | "debug" | "cython" => None,
        word => Language::by_word(word),
    };
    found.unwrap_or(language)
}
