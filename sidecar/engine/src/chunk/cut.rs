//! Cuts a text, with the texts of other languages in it.

use std::ops::Range;
use std::time::Duration;

use super::embedded::Region;
use super::lines::{self, Line};
use super::syntax::{self, Parse};
use super::{Chunk, ChunkLimits, Language, Outline, Place, pack, payload, plain};

/// Lines that become chunks by themselves: those of one language, between two pieces of payload.
struct Section {
    lines: Range<usize>,
    language: Language,
}

/// The chunks of a text in `language`, with `regions` of others.
pub(super) fn cut(text: &str, language: Language, regions: &[Region], limits: &ChunkLimits) -> Vec<Chunk> {
    let left_out = payload::find(text, language);
    let lines = lines::split(text, limits.max_bytes, &left_out);
    let mut spent = Duration::ZERO;
    let mut outline = outline(text, language, &lines, limits, &[], &mut spent);
    let mut sections: Vec<Section> = Vec::new();
    let (mut next, mut seen, mut row) = (0, 0, 0_u32);
    for region in regions {
        row += text[seen..region.inner.start].matches('\n').count() as u32;
        seen = region.inner.start;
        let all = lines_within(&lines, &region.bytes);
        merge_region(text, region, &lines, all.clone(), row, limits, &mut outline, &mut spent);
        if region.is_apart && !all.is_empty() {
            sections.push(Section { lines: next..all.start, language });
            next = all.end;
            sections.push(Section { lines: all, language: region.language });
        }
    }
    sections.push(Section { lines: next..lines.len(), language });
    outline.symbols.sort_by_key(|(start, _)| *start);
    outline.symbols.retain(|(start, _)| !is_within(&left_out, *start));

    let mut symbols = outline.symbols.iter().peekable();
    let mut chunks = Vec::new();
    for section in sections.into_iter().flat_map(|section| parts(section, &lines, &left_out)) {
        let cut_points = &outline.cut_points[section.lines.clone()];
        for run in pack::pack(&lines[section.lines.clone()], cut_points, &outline.scopes, limits) {
            let run = section.lines.start + run.start..section.lines.start + run.end;
            let (first, last) = (&lines[run.start], &lines[run.end - 1]);
            let bytes = first.start..last.end;
            let mut held = Vec::new();
            while let Some((_, symbol)) = symbols.next_if(|(offset, _)| *offset < bytes.end) {
                held.push(symbol.clone());
            }
            let is_small = |region: &&Region| !region.is_apart && overlap(&region.bytes, &bytes);
            let inside = first_at(regions, bytes.start).iter().take_while(|region| region.bytes.start < bytes.end);
            let mut also: Vec<Language> = inside.filter(is_small).map(|region| region.language).collect();
            also.push(language);
            also.sort_by_key(|language| language.name());
            also.dedup_by_key(|language| language.name());
            also.retain(|language| language.name() != section.language.name());
            let scope = outline.scope_path(outline.cut_points[run.start].scope);
            let (first_line, last_line) = (first.row + 1, last.row + 1);
            chunks.push(Chunk { bytes, language: section.language, also, first_line, last_line, scope, symbols: held });
        }
    }
    chunks
}

fn outline(
    text: &str,
    language: Language,
    lines: &[Line],
    limits: &ChunkLimits,
    parts: &[Range<usize>],
    spent: &mut Duration,
) -> Outline {
    let parsed = syntax::outline(text, language, lines, limits, &mut Parse { parts, spent });
    parsed.unwrap_or_else(|| plain::outline(text, language, lines))
}

/// Puts the outline of a region's code into that of the whole.
#[allow(clippy::too_many_arguments)] // all of them change from region to region, or belong to the whole text
fn merge_region(
    text: &str,
    region: &Region,
    lines: &[Line],
    all: Range<usize>,
    row: u32,
    limits: &ChunkLimits,
    outline: &mut Outline,
    spent: &mut Duration,
) {
    if all.is_empty() {
        return;
    }
    let around = outline.cut_points[all.start].scope;
    let scope = match &region.scope {
        Some(label) if region.is_apart => outline.open(around, label.clone()),
        _ => around,
    };
    let inner = lines_within(lines, &region.inner);
    let start = region.inner.start;
    let moved = |line: &Line| Line {
        start: line.start - start,
        text_start: line.text_start - start,
        end: line.end - start,
        ..line.clone()
    };
    let inner_lines: Vec<Line> = lines[inner.clone()].iter().map(moved).collect();
    let parts: Vec<Range<usize>> = region.parts.iter().map(|part| part.start - start..part.end - start).collect();
    let found = self::outline(&text[region.inner.clone()], region.language, &inner_lines, limits, &parts, spent);
    outline.merge(found, Place { first_idx: inner.start, start, row, scope }, region.is_apart);
    if !region.is_apart {
        return;
    }
    // The lines that open and close a region stay with what is inside.
    for idx in all.clone().filter(|idx| !inner.contains(idx) || *idx == inner.start) {
        let point = &mut outline.cut_points[idx];
        if !inner.contains(&idx) {
            point.scope = scope;
            point.closer = inner.end <= idx;
        }
        point.cut = if idx == all.start { point.cut } else { pack::GLUED };
        point.keep = if idx == all.start { point.keep } else { 0 };
    }
}

/// The parts of a section between payload.
fn parts(section: Section, lines: &[Line], left_out: &[Range<usize>]) -> Vec<Section> {
    let Section { lines: all, language } = section;
    let mut parts = Vec::new();
    let mut start = all.start;
    for idx in all.clone().skip(1) {
        let gap = lines[idx - 1].end..lines[idx].start;
        let at = left_out.partition_point(|range| range.end <= gap.start);
        if left_out.get(at).is_some_and(|range| range.start < gap.end) {
            parts.push(Section { lines: start..idx, language });
            start = idx;
        }
    }
    parts.push(Section { lines: start..all.end, language });
    parts
}

/// The lines that lie within a range of bytes.
fn lines_within(lines: &[Line], bytes: &Range<usize>) -> Range<usize> {
    let start = lines.partition_point(|line| line.start < bytes.start);
    let end = lines.partition_point(|line| line.end <= bytes.end);
    start..end.max(start)
}

/// The regions from the first that ends behind `byte`.
fn first_at(regions: &[Region], byte: usize) -> &[Region] {
    &regions[regions.partition_point(|region| region.bytes.end <= byte)..]
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn is_within(ranges: &[Range<usize>], byte: usize) -> bool {
    let at = ranges.partition_point(|range| range.end <= byte);
    ranges.get(at).is_some_and(|range| range.start <= byte)
}
