//! Lines that match in a text that is read in parts.

use std::collections::BTreeMap;
use std::io;

use grep_regex::RegexMatcher;
use grep_searcher::Searcher;

use super::{Line, Lines, MAX_SPANS, Query, shown};
use crate::walk::{LongSource, Part};

/// Lines that match: number, and columns of the matches.
type Matches = Vec<(u32, Vec<(u32, u32)>)>;

/// The lines of one file, at most one more than the query's limit; `None` when `cancelled` said so.
///
/// A match across two parts of a line that is longer than a part is not found.
pub fn lines_of(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    (rel, language): (&str, &'static str),
    source: &LongSource,
    query: &Query<'_>,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Option<Vec<Line>>> {
    let limit = query.limit + 1;
    let mut found: Matches = Vec::new();
    let mut parts = source.parts()?;
    while found.len() < limit
        && let Some(part) = parts.next_part()?
    {
        if cancelled() {
            return Ok(None);
        }
        let mut sink = Lines { matcher, limit: limit - found.len(), only: None, found: Vec::new() };
        searcher.search_slice(matcher, part.text.as_bytes(), &mut sink).expect("neither memory nor this sink fails");
        sink.found.into_iter().for_each(|line| add(&mut found, line, &part));
    }
    if found.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let shown = shown_lines(source, &found, query.context)?;
    let line = |(line, columns): (u32, Vec<(u32, u32)>)| {
        let around = shown.range(line.saturating_sub(query.context as u32)..=line.saturating_add(query.context as u32));
        let numbers: Vec<u32> = around.clone().map(|(number, _)| *number).collect();
        let text: Vec<&str> = around.map(|(_, text)| text.as_str()).collect();
        let (first_line, last_line) =
            (numbers.first().copied().unwrap_or(line), numbers.last().copied().unwrap_or(line));
        Line { rel: rel.to_owned(), language, line, first_line, last_line, columns, text: text.join("\n") }
    };
    Ok(Some(found.into_iter().map(line).collect()))
}

/// Adds a line of a part, whose first line may have begun in the part before.
fn add(found: &mut Matches, (line, mut columns): (u32, Vec<(u32, u32)>), part: &Part<'_>) {
    if line == 1 {
        let shift = |column: &mut u32| *column = column.saturating_add(part.column);
        columns.iter_mut().for_each(|(start, end)| [start, end].into_iter().for_each(shift));
    }
    let number = part.line.saturating_add(line);
    match found.last_mut() {
        Some((last, known)) if *last == number => {
            let room = MAX_SPANS.saturating_sub(known.len());
            known.extend(columns.into_iter().take(room));
        }
        _ => found.push((number, columns)),
    }
}

/// The lines that matched with their context, shortened; read in a second pass, because most files have none.
fn shown_lines(
    source: &LongSource,
    found: &[(u32, Vec<(u32, u32)>)],
    context: usize,
) -> io::Result<BTreeMap<u32, String>> {
    let context = context as u32;
    let is_wanted = |number: u32| {
        let next = found.partition_point(|(line, _)| line.saturating_add(context) < number);
        found.get(next).is_some_and(|(line, _)| line.saturating_sub(context) <= number)
    };
    let last = found.last().map_or(0, |(line, _)| line.saturating_add(context));
    let mut lines = BTreeMap::new();
    let mut parts = source.parts()?;
    while let Some(part) = parts.next_part()?
        && part.line < last
    {
        for (number, line) in (part.line.saturating_add(1)..).zip(part.text.lines()) {
            if is_wanted(number) {
                lines.entry(number).or_insert_with(|| shown(line));
            }
        }
    }
    Ok(lines)
}
