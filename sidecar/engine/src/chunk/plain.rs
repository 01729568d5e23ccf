//! An outline without a grammar: blank lines, indentation, and in Markdown the headings.

use super::lines::Line;
use super::pack::{GLUED, OWN_CHUNK};
use super::{Language, Outline, one_line};

/// The outline of any text.
pub(super) fn outline(text: &str, language: Language, lines: &[Line]) -> Outline {
    let mut outline = Outline::empty(lines.len());
    for (place, line) in outline.cut_points.iter_mut().zip(lines) {
        place.closer = line.closes(text);
        let indent = line.indent().min(8) as u32;
        place.cut = match line {
            _ if line.continues => 80,
            _ if line.after_blank => 5 + 3 * indent,
            _ if place.closer => GLUED,
            _ => 35 + 3 * indent,
        };
    }
    match language.name() {
        "markdown" => add_headings(text, lines, &mut outline),
        name @ ("toml" | "ini" | "yaml" | "json" | "css") => add_sections(text, name, lines, &mut outline),
        _ => {}
    }
    outline
}

/// Adds the scopes of data files and style sheets: a line that opens one is the scope of the deeper lines below it.
fn add_sections(text: &str, language: &str, lines: &[Line], outline: &mut Outline) {
    let mut open: Vec<(usize, usize)> = Vec::new(); // (indentation, scope)
    for (idx, line) in lines.iter().enumerate() {
        let content = &text[line.text_start..line.end];
        let header = if line.continues { None } else { section(content, language) };
        let tables = matches!(language, "toml" | "ini");
        let ends = |above: usize| if tables { header.is_some() } else { line.indent() <= above };
        while open.last().is_some_and(|&(above, _)| ends(above) && !line.continues) {
            open.pop();
        }
        let parent = open.last().map_or(0, |&(_, scope)| scope);
        outline.cut_points[idx].scope = parent;
        if let Some(label) = header.filter(|label| !label.is_empty()) {
            open.push((line.indent(), outline.open(parent, one_line(label, 80))));
        }
    }
}

/// What a line opens: `[table]`, `key:`, `"key": {`, `selector {`.
fn section<'a>(content: &'a str, language: &str) -> Option<&'a str> {
    match language {
        "toml" | "ini" => content.strip_prefix('[')?.trim_start_matches('[').split(']').next(),
        "yaml" => content.strip_suffix(':').map(|key| key.trim_start_matches("- ")),
        "json" => {
            let key = content.strip_suffix(['{', '['])?.trim_end().strip_suffix(':')?;
            Some(key.trim_end().trim_matches('"'))
        }
        _ => content.strip_suffix('{').map(str::trim_end),
    }
}

fn add_headings(text: &str, lines: &[Line], outline: &mut Outline) {
    let mut open: Vec<(usize, usize)> = Vec::new(); // (level, scope)
    let mut fence: Option<&str> = None;
    let mut below_heading = false;
    for (idx, line) in lines.iter().enumerate() {
        let content = &text[line.text_start..line.end];
        let scope = |open: &[(usize, usize)]| open.last().map_or(0, |&(_, scope)| scope);
        outline.cut_points[idx].scope = scope(&open);
        let in_fence = fence.is_some();
        match fence {
            Some(mark) if content.starts_with(mark) => fence = None,
            None => fence = ["```", "~~~"].into_iter().find(|mark| content.starts_with(mark)),
            Some(_) => {}
        }
        if in_fence {
            outline.cut_points[idx].cut = 60;
        } else if let Some((level, title)) = heading(content).filter(|_| !line.continues) {
            while open.last().is_some_and(|&(above, _)| level <= above) {
                open.pop();
            }
            let parent = scope(&open);
            // A chunk of one title says little, so a heading just below another stays with it.
            outline.cut_points[idx].cut = if below_heading { GLUED } else { 0 };
            outline.cut_points[idx].keep = if below_heading { 0 } else { OWN_CHUNK / 2 };
            outline.cut_points[idx].scope = parent;
            open.push((level, outline.open(parent, one_line(title, 80))));
            below_heading = true;
            continue;
        } else if below_heading {
            outline.cut_points[idx].cut = GLUED;
        }
        below_heading = false;
    }
}

fn heading(content: &str) -> Option<(usize, &str)> {
    let title = content.trim_start_matches('#');
    let level = content.len() - title.len();
    let spaced = title.starts_with([' ', '\t']);
    (spaced && (1..=6).contains(&level)).then(|| (level, title.trim().trim_end_matches('#').trim_end()))
}
