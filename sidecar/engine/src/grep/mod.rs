//! Regular expressions over the files as they are now, with ripgrep's crates. Needs no index.
//!
//! The files are those of [`walk`], narrowed like a search of the index; the order is by path and line, whatever the
//! number of threads.

mod long;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use grep_matcher::{LineTerminator, Matcher};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};

use crate::chunk::{self, Language};
use crate::disk::Tree;
use crate::error::shortened;
use crate::filter::{Cursor, Filter, Globs, Visit};
use crate::walk::{self, LongSource, SkipReason, SourceFile, WalkRules};
use crate::{Error, Result};

/// Most memory of a compiled pattern.
const PATTERN_BYTES: usize = 4 << 20;
/// Most memory of a pattern's lazily built automaton, on each thread.
const AUTOMATON_BYTES: usize = 4 << 20;
/// Deepest nesting of groups in a pattern; the parser needs stack for each level.
const NESTING: u32 = 100;
/// Longest line that is shown whole; of longer lines the beginning is shown.
const SHOWN_LINE_BYTES: usize = 500;
/// Most bytes that are shown in all; further lines count as not found.
const SHOWN_BYTES: usize = 2 << 20;
/// Most matches of one line that are reported.
const MAX_SPANS: usize = 50;

/// Whether upper and lower case are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// Only where the pattern has an upper-case letter.
    #[default]
    Smart,
    /// Always.
    Sensitive,
    /// Never.
    Insensitive,
}

/// A pattern and where it is searched.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// In the syntax of the `regex` crate. A match never spans lines.
    pub pattern: &'a str,
    /// Whether upper and lower case are told apart.
    pub case: Case,
    /// Which files.
    pub filter: &'a Filter,
    /// Most lines.
    pub limit: usize,
    /// Lines shown before and after each.
    pub context: usize,
}

/// A line that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Path below the root.
    pub rel: String,
    /// Name of the file's language.
    pub language: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// First line of `text`.
    pub first_line: u32,
    /// Last line of `text`.
    pub last_line: u32,
    /// Columns of each match, from 1, the last one exclusive, in UTF-16 units; of a line with very many, the first.
    pub columns: Vec<(u32, u32)>,
    /// The line with its context; a line that is too long ends with `…`.
    pub text: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By path, then by line.
    pub lines: Vec<Line>,
    /// There are more.
    pub truncated: bool,
    /// Files that were read.
    pub files: u64,
    /// Files of the project that were left out, by reason; of those that are left out by their content, the ones that
    /// were looked at.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// The places of the globs that no file fits.
    pub unmatched: Vec<usize>,
}

/// Searches the project on up to `threads` threads.
///
/// Errors: [`Error::Pattern`], [`Error::Glob`], [`Error::Cancelled`] soon after `cancelled` says so, [`Error::Io`] when
/// the root cannot be listed. A file that cannot be read is passed over.
pub fn grep(
    tree: &Tree,
    rules: &WalkRules,
    query: &Query<'_>,
    threads: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Found> {
    let matcher = matcher(query)?;
    let walk::Walk { mut files, skipped, .. } = walk::walk(tree, rules, &|| cancelled())?;
    let Filter { globs, folder, languages, .. } = query.filter;
    let each_path = |visit: &mut Visit<'_>| files.iter().try_for_each(|file| visit(&file.rel, &mut || Ok(true)));
    let (globs, unmatched) = Globs::choose(globs, folder, each_path)?;
    let mut cursor = Cursor::default();
    files.retain(|file| {
        let may_be_wanted = || {
            let language = Language::of(&file.rel);
            !Language::is_certain(&file.rel) || is_wanted(languages, language) || chunk::may_hold_others(language)
        };
        globs.allow(&mut cursor, &file.rel) && may_be_wanted()
    });
    let mut counts: BTreeMap<SkipReason, u64> = BTreeMap::new();
    let seen = skipped.iter().filter(|skipped| skipped.reason != SkipReason::Vanished);
    seen.for_each(|skipped| *counts.entry(skipped.reason).or_default() += 1);

    // Threads take files in order, so those taken are always a beginning of the list: when it holds enough lines, the
    // first of them are the answer.
    let next = AtomicUsize::new(0);
    let (n_read, n_found) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stopped = AtomicBool::new(false);
    let found: Mutex<Vec<(usize, Vec<Line>)>> = Mutex::new(Vec::new());
    let skipped = Mutex::new(counts);
    let work = || {
        let mut searcher = searcher(query.context);
        while n_found.load(Ordering::Relaxed) <= query.limit {
            if cancelled() {
                stopped.store(true, Ordering::Relaxed);
                return;
            }
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(i) else { return };
            let lines = match search_file(&mut searcher, &matcher, tree, file, rules, query, cancelled) {
                Ok(Some(lines)) => lines,
                Ok(None) => continue,
                Err(reason) => {
                    *skipped.lock().expect(UNPOISONED).entry(reason).or_default() += 1;
                    continue;
                }
            };
            n_read.fetch_add(1, Ordering::Relaxed);
            if !lines.is_empty() {
                n_found.fetch_add(lines.len(), Ordering::Relaxed);
                found.lock().expect(UNPOISONED).push((i, lines));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    if stopped.into_inner() {
        return Err(Error::Cancelled);
    }
    let mut found = found.into_inner().expect(UNPOISONED);
    found.sort_unstable_by_key(|(i, _)| *i);
    let mut lines: Vec<Line> = found.into_iter().flat_map(|(_, lines)| lines).collect();
    let mut shown = 0;
    let fits = |line: &&Line| {
        shown += line.text.len() + line.rel.len();
        shown <= SHOWN_BYTES
    };
    let n_shown = lines.iter().take(query.limit).take_while(fits).count();
    let truncated = n_shown < lines.len();
    lines.truncate(n_shown);
    let skipped = skipped.into_inner().expect(UNPOISONED);
    Ok(Found { lines, truncated, files: n_read.into_inner() as u64, skipped, unmatched })
}

/// Whether a search wants files of a language.
fn is_wanted(languages: &[String], language: Language) -> bool {
    languages.is_empty() || languages.iter().any(|name| name == language.name())
}

/// The lines of one file, `None` where its language is not asked for, or why it was left out. When `cancelled` says so meanwhile, what was found does not matter.
fn search_file(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    tree: &Tree,
    file: &SourceFile,
    rules: &WalkRules,
    query: &Query<'_>,
    cancelled: &dyn Fn() -> bool,
) -> std::result::Result<Option<Vec<Line>>, SkipReason> {
    let languages = &query.filter.languages;
    if !rules.is_long(file.stat.size) {
        let text = walk::read_source(tree, &file.rel, rules)?;
        let language = Language::detect(&file.rel, &text);
        let mut only = None;
        if !is_wanted(languages, language) {
            // Code of a language that is wanted, in a file that is not: a script in a page.
            let mut inside = chunk::embedded_lines(&text, language);
            inside.retain(|(language, _)| is_wanted(languages, *language));
            if inside.is_empty() {
                return Ok(None);
            }
            only = Some(inside);
        }
        let source = Text { rel: &file.rel, text: &text, language, only };
        return Ok(Some(lines_of(searcher, matcher, &source, query)));
    }
    let language = Language::of(&file.rel);
    if !is_wanted(languages, language) {
        return Ok(None);
    }
    let source = LongSource::open(tree, &file.rel, rules).map_err(|not| not.reason)?;
    match long::lines_of(searcher, matcher, (&file.rel, language.name()), &source, query, cancelled) {
        Ok(lines) => Ok(Some(lines.unwrap_or_default())),
        Err(_) => Err(SkipReason::Unreadable),
    }
}

const UNPOISONED: &str = "no code that panics runs under this lock";

fn matcher(query: &Query<'_>) -> Result<RegexMatcher> {
    RegexMatcherBuilder::new()
        .case_smart(query.case == Case::Smart)
        .case_insensitive(query.case == Case::Insensitive)
        .multi_line(true) // `^` and `$` are those of lines
        .crlf(true)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(AUTOMATON_BYTES)
        .nest_limit(NESTING)
        .build(query.pattern)
        .map_err(|error| Error::Pattern { pattern: shortened(query.pattern), problem: shortened(&error.to_string()) })
}

fn searcher(context: usize) -> Searcher {
    SearcherBuilder::new()
        .line_terminator(LineTerminator::crlf())
        .line_number(true)
        .before_context(context)
        .after_context(context)
        .binary_detection(BinaryDetection::none()) // what is binary was not read
        .bom_sniffing(false)
        .multi_line(false)
        .build()
}

/// A text that is searched.
struct Text<'a> {
    rel: &'a str,
    text: &'a str,
    language: Language,
    /// The lines that may be found; `None` for all.
    only: Option<Vec<Part>>,
}

/// Lines of a file, counted from 1, in another language than the file.
type Part = (Language, RangeInclusive<u32>);

/// The part that holds a line, of parts in order.
fn part_at(parts: &[Part], line: u32) -> Option<&Part> {
    let at = parts.partition_point(|(_, lines)| *lines.end() < line);
    parts.get(at).filter(|(_, lines)| lines.contains(&line))
}

/// The lines of one file, at most one more than the query's limit.
fn lines_of(searcher: &mut Searcher, matcher: &RegexMatcher, source: &Text<'_>, query: &Query<'_>) -> Vec<Line> {
    let Text { rel, text, language, only } = source;
    let mut sink = Lines { matcher, limit: query.limit + 1, only: only.as_deref(), found: Vec::new() };
    searcher.search_slice(matcher, text.as_bytes(), &mut sink).expect("neither reading memory nor this sink fails");
    let numbers = sink.found;
    if numbers.is_empty() {
        return Vec::new();
    }
    let all: Vec<&str> = text.lines().collect();
    let inside = match only {
        Some(inside) => Cow::Borrowed(inside),
        None => Cow::Owned(chunk::embedded_lines(text, *language)),
    };
    let line = |(line, columns): (u32, Vec<(u32, u32)>)| {
        let at = (line as usize - 1).min(all.len().saturating_sub(1));
        let (first, last) = (at.saturating_sub(query.context), (at + query.context).min(all.len().saturating_sub(1)));
        let shown: Vec<String> = all.get(first..=last).unwrap_or_default().iter().map(|line| shown(line)).collect();
        let (first_line, last_line) = (first as u32 + 1, last as u32 + 1);
        let language = part_at(&inside, line).map_or(*language, |(language, _)| *language).name();
        Line { rel: (*rel).to_owned(), language, line, first_line, last_line, columns, text: shown.join("\n") }
    };
    numbers.into_iter().map(line).collect()
}

fn shown(line: &str) -> String {
    if line.len() <= SHOWN_LINE_BYTES {
        return line.to_owned();
    }
    let end = (0..=SHOWN_LINE_BYTES).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &line[..end])
}

/// Collects the numbers of lines that match, with their columns.
struct Lines<'a> {
    matcher: &'a RegexMatcher,
    limit: usize,
    /// The lines that may be found; `None` for all.
    only: Option<&'a [Part]>,
    found: Vec<(u32, Vec<(u32, u32)>)>,
}

impl Sink for Lines<'_> {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> std::io::Result<bool> {
        let Some(number) = found.line_number().and_then(|n| u32::try_from(n).ok()) else { return Ok(true) };
        if self.only.is_some_and(|only| part_at(only, number).is_none()) {
            return Ok(true);
        }
        let bytes = found.bytes();
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut columns = Vec::new();
        let (mut at, mut column) = (0, 1);
        // Counts on from the last column: a line may be a megabyte.
        let mut column_of = |offset: usize| {
            column += String::from_utf8_lossy(&line[at..offset.max(at)]).encode_utf16().count() as u32;
            at = offset.max(at);
            column
        };
        self.matcher
            .find_iter(line, |span| {
                columns.push((column_of(span.start()), column_of(span.end())));
                columns.len() < MAX_SPANS
            })
            .map_err(std::io::Error::other)?;
        self.found.push((number, columns));
        Ok(self.found.len() < self.limit)
    }

    fn context(&mut self, _: &Searcher, _: &SinkContext<'_>) -> std::io::Result<bool> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn ask<'a>(pattern: &'a str, filter: &'a Filter) -> Query<'a> {
        Query { pattern, case: Case::Smart, filter, limit: 100, context: 0 }
    }

    fn rendered(root: &Path, query: &Query<'_>) -> String {
        let found = grep(&Tree::open(root).unwrap(), &WalkRules::default(), query, 3, &|| false).unwrap();
        let line = |l: &Line| {
            let columns: Vec<String> = l.columns.iter().map(|(a, b)| format!("{a}-{b}")).collect();
            format!("{}:{}:{} {:?}", l.rel, l.line, columns.join(","), l.text)
        };
        let mut lines: Vec<String> = found.lines.iter().map(line).collect();
        if found.truncated {
            lines.push("...".into());
        }
        lines.join("\n")
    }

    #[test]
    fn lines_in_order_with_columns_and_context() {
        let root = tree(&[
            ("b.rs", "fn one() {}\r\nfn two() { one(); one() }\r\n"),
            ("a/x.py", "# naïve 😀 one\nONE = 1\n"),
            ("target/y.rs", "one\n"),
            (".gitignore", "target/\n"),
            ("bin.rs", "one\0\0\0\0\n"),
        ]);
        let all = Filter::default();
        assert_eq!(
            rendered(root.path(), &ask("one", &all)),
            "a/x.py:1:12-15 \"# naïve 😀 one\"\na/x.py:2:1-4 \"ONE = 1\"\nb.rs:1:4-7 \"fn one() {}\"\n\
             b.rs:2:12-15,19-22 \"fn two() { one(); one() }\""
        );
        assert_eq!(rendered(root.path(), &ask("ONE", &all)), "a/x.py:2:1-4 \"ONE = 1\"", "smart case");
        let sensitive = Query { case: Case::Sensitive, ..ask(r"^one|\}$", &all) };
        assert_eq!(
            rendered(root.path(), &sensitive),
            "b.rs:1:11-12 \"fn one() {}\"\nb.rs:2:25-26 \"fn two() { one(); one() }\""
        );
        let context = Query { context: 1, limit: 1, ..ask("two", &all) };
        assert_eq!(rendered(root.path(), &context), "b.rs:2:4-7 \"fn one() {}\\nfn two() { one(); one() }\"");
        let python = Filter { languages: vec!["python".into()], ..Filter::default() };
        assert_eq!(rendered(root.path(), &ask("naïve", &python)), "a/x.py:1:3-8 \"# naïve 😀 one\"");
        let not_a = Filter { globs: vec!["!a/".into()], ..Filter::default() };
        assert_eq!(rendered(root.path(), &ask("two", &not_a)).lines().count(), 1);
        assert_eq!(rendered(root.path(), &ask("naïve", &not_a)), "");
    }

    #[test]
    fn a_language_is_found_inside_of_files_of_another() {
        let cart = "<script lang=\"ts\">\nconst total = 1\n</script>\n<template>\n  <p>total</p>\n</template>\n";
        let readme = "The total.\n\n```python\ntotal = 2\n```\n";
        let notebook = "{\"cells\": [{\"cell_type\": \"code\", \"source\": [\n\"total = 3\"]}],\n\"total\": 4}\n";
        let root = tree(&[("Cart.vue", cart), ("README.md", readme), ("a.ipynb", notebook), ("a.py", "total = 5\n")]);
        let found = |languages: &[&str]| {
            let languages = languages.iter().map(|name| (*name).to_owned()).collect();
            let filter = Filter { languages, ..Filter::default() };
            let tree = Tree::open(root.path()).unwrap();
            let found = grep(&tree, &WalkRules::default(), &ask("total", &filter), 2, &|| false).unwrap();
            let line = |line: &Line| format!("{}:{} {}", line.rel, line.line, line.language);
            found.lines.iter().map(line).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(found(&["typescript"]), "Cart.vue:2 typescript");
        assert_eq!(found(&["python"]), "README.md:4 python, a.ipynb:2 python, a.py:1 python");
        assert_eq!(found(&["vue"]), "Cart.vue:2 typescript, Cart.vue:5 vue");
        assert_eq!(found(&["markdown"]), "README.md:1 markdown, README.md:4 python");
        assert_eq!(found(&["jupyter-notebook"]), "a.ipynb:2 python, a.ipynb:3 jupyter-notebook");
        assert_eq!(found(&[]).split(", ").count(), 7);
        assert_eq!(found(&["rust"]), "");
    }

    #[test]
    fn the_limit_keeps_the_first_lines_and_says_so() {
        let files: Vec<(String, String)> = (0..40).map(|i| (format!("f{i:02}.txt"), "x\nx\nx\n".repeat(3))).collect();
        let root = tree(&files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>());
        let all = Filter::default();
        for limit in [1, 8, 9, 10, 100, 359] {
            let found = grep(
                &Tree::open(root.path()).unwrap(),
                &WalkRules::default(),
                &Query { limit, ..ask("x", &all) },
                4,
                &|| false,
            )
            .unwrap();
            assert!(found.truncated && found.lines.len() == limit, "{limit}");
            let last = &found.lines[limit - 1];
            assert_eq!((last.rel.as_str(), last.line), (files[(limit - 1) / 9].0.as_str(), (limit as u32 - 1) % 9 + 1));
        }
        let found = grep(
            &Tree::open(root.path()).unwrap(),
            &WalkRules::default(),
            &Query { limit: 360, ..ask("x", &all) },
            4,
            &|| false,
        )
        .unwrap();
        assert_eq!((found.lines.len(), found.truncated, found.files), (360, false, 40));
    }

    #[test]
    fn bad_patterns_huge_patterns_and_cancels() {
        let root = tree(&[("a.txt", "x\n")]);
        let all = Filter::default();
        for (pattern, part) in [("a(", "unclosed group"), (r"(\w{1000}){1000}", "size limit"), ("a\\nb", "\\n")] {
            match grep(&Tree::open(root.path()).unwrap(), &WalkRules::default(), &ask(pattern, &all), 1, &|| false) {
                Err(Error::Pattern { problem, .. }) => assert!(problem.contains(part), "{pattern}: {problem}"),
                other => panic!("{pattern}: {other:?}"),
            }
        }
        let cancelled = grep(&Tree::open(root.path()).unwrap(), &WalkRules::default(), &ask("x", &all), 1, &|| true);
        assert!(matches!(cancelled, Err(Error::Cancelled)));
        assert_eq!(rendered(root.path(), &ask("", &all)), "a.txt:1:1-1,2-2 \"x\"", "matches everywhere");
    }

    #[test]
    fn long_lines_are_shown_by_their_beginning() {
        let root = tree(&[("a.txt", &format!("{}end\n", "ä".repeat(1_000)))]);
        let all = Filter::default();
        let found =
            grep(&Tree::open(root.path()).unwrap(), &WalkRules::default(), &ask("end", &all), 1, &|| false).unwrap();
        assert_eq!(found.lines[0].columns, [(1_001, 1_004)]);
        assert_eq!(found.lines[0].text, format!("{}…", "ä".repeat(250)));
    }
}
