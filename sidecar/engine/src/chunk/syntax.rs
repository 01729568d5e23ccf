//! An outline from a grammar: one walk over the tree, without recursion.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, Parser, Tree};

use super::find::{Definition, Name, Site};
use super::grammar::Grammar;
use super::lines::Line;
use super::pack::{GLUED, OWN_CHUNK};
use super::rules::Rule;
use super::{ChunkLimits, Language, Outline, Symbol, one_line};

/// Texts of more bytes are not parsed: a megabyte takes most of a second, and its tree many megabytes.
const MAX_PARSE_BYTES: usize = 1024 * 1024;

/// A parser that takes longer is stopped. Valid source never comes near: a megabyte takes most of a second.
const MAX_PARSE_TIME: Duration = Duration::from_secs(4);

/// Texts of languages with [`Language::angles_nest`] are not parsed when more `<` than this are open at once. Each may
/// begin type arguments or be a comparison. To recover from an error, tree-sitter pairs all readings without a report
/// in between: 2,000 take 70 MB, 16,000 more than 2 GB.
const MAX_OPEN_ANGLES: usize = 1_000;

/// Texts with more brackets than this open at once are not parsed: to recover from an error tree-sitter keeps every
/// reading of them, and a megabyte of `(a<` took 1.4 GB.
const MAX_NESTING: usize = 2_000;

/// Longest name of a symbol; a longer one is cut.
const MAX_NAME_BYTES: usize = 400;

/// Longest header of a definition, in lines, that is kept together.
const MAX_HEADER_LINES: usize = 16;

/// What is to be parsed, and what it may cost.
pub(super) struct Parse<'a> {
    /// The parts of the text that are of the language; empty for all of it.
    pub parts: &'a [Range<usize>],
    /// How long parsing took so far; the texts inside of one file have one limit together.
    pub spent: &'a mut Duration,
}

/// The outline, or `None` without a grammar or when the parser exceeds its budget.
pub(super) fn outline(
    text: &str,
    language: Language,
    lines: &[Line],
    limits: &ChunkLimits,
    how: &mut Parse<'_>,
) -> Option<Outline> {
    let grammar = language.grammar()?;
    if language.angles_nest() && MAX_OPEN_ANGLES < open_angles(text) {
        return None;
    }
    if MAX_NESTING < nesting(text) {
        return None;
    }
    let tree = parse(text, grammar, how)?;
    let blank = Facts { outer_nest: None, glued: false, starts_definition: false, lead_start: None };
    let mut reader = Reader {
        text,
        lines,
        limits,
        outline: Outline::empty(lines.len()),
        facts: vec![blank; lines.len()],
        lead: None,
        n_scoped: 0,
        last_scope: 0,
        clauses: (0, Vec::new()),
    };
    reader.read(&tree, grammar);
    Some(reader.finish())
}

/// The most brackets that are open at once.
fn nesting(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => continue,
        }
        most = most.max(open);
    }
    most
}

/// The most `<` that a statement leaves open.
fn open_angles(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'<' => open += 1,
            b'>' => open = open.saturating_sub(1),
            b';' | b'{' | b'}' => open = 0,
            _ => continue,
        }
        most = most.max(open);
    }
    most
}

fn parse(text: &str, grammar: &Grammar, how: &mut Parse<'_>) -> Option<Tree> {
    if MAX_PARSE_BYTES < text.len() {
        return None;
    }
    let mut parser = Parser::new();
    parser.set_language(&grammar.language).ok()?;
    if !how.parts.is_empty() {
        parser.set_included_ranges(&points(text, how.parts)).ok()?;
    }
    // Valid source takes about one report for 300 bytes; ambiguous text can take any number.
    let mut budget = 10_000 + text.len() / 20;
    // A report can take any time, too: tree-sitter recovers from 150,000 errors in a row in quadratic time (Lua, `a` on
    // each line).
    let start = Instant::now();
    let most = MAX_PARSE_TIME.saturating_sub(*how.spent);
    let mut progress = |_: &tree_sitter::ParseState| {
        budget = budget.saturating_sub(1);
        if budget == 0 || most < start.elapsed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut progress);
    let mut rest = |offset: usize, _| text.as_bytes().get(offset..).unwrap_or_default();
    let tree = parser.parse_with_options(&mut rest, None, Some(options));
    *how.spent += start.elapsed();
    tree
}

/// Ranges of bytes, in order, as tree-sitter wants them: with rows and columns.
fn points(text: &str, parts: &[Range<usize>]) -> Vec<tree_sitter::Range> {
    let (mut row, mut line_start, mut seen) = (0, 0, 0);
    let mut point = |byte: usize| {
        let passed = text.get(seen..byte).unwrap_or_default();
        row += passed.matches('\n').count();
        line_start = passed.rfind('\n').map_or(line_start, |at| seen + at + 1);
        seen = byte;
        tree_sitter::Point { row, column: byte - line_start }
    };
    let range = |part: &Range<usize>| tree_sitter::Range {
        start_byte: part.start,
        start_point: point(part.start),
        end_byte: part.end,
        end_point: point(part.end),
    };
    parts.iter().map(range).collect()
}

/// The content of a string in quotes. A quote at one end only belongs to the name: `foldl'`, `@"a b"`.
fn without_quotes(name: &str) -> &str {
    let inside = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(name)
}

struct Reader<'t> {
    text: &'t str,
    lines: &'t [Line],
    limits: &'t ChunkLimits,
    outline: Outline,
    facts: Vec<Facts>,
    lead: Option<Lead>,
    /// Lines whose scope is set.
    n_scoped: usize,
    /// The scope inside the node visited last.
    last_scope: usize,
    /// Scope and names of the last function, to recognise its further clauses.
    clauses: (usize, Vec<&'t str>),
}

/// What the syntax tree says about a line.
#[derive(Clone)]
struct Facts {
    /// Depth inside its definition of the outermost node that starts on the line; `None` when the line begins inside a
    /// token.
    outer_nest: Option<u32>,
    /// A cut before this line is paid with [`GLUED`].
    glued: bool,
    starts_definition: bool,
    /// First line of the comments above that belong to this line.
    lead_start: Option<usize>,
}

/// The comments and attributes just above the current line.
#[derive(Clone, Copy)]
struct Lead {
    first_idx: usize,
    last_row: usize,
}

/// What a node's children need to know of it.
#[derive(Clone, Copy)]
struct Context {
    scope: usize,
    nest: u32,
    in_function: bool,
    in_type: bool,
    in_object: bool,
    /// The parent is a definition, so that its body does not count as a further level.
    below_definition: bool,
    /// The parent is a `const` declaration.
    constant: bool,
}

impl<'t> Reader<'t> {
    fn read(&mut self, tree: &'t Tree, grammar: &Grammar) {
        let mut cursor = tree.walk();
        let root = Context {
            scope: 0,
            nest: 0,
            in_function: false,
            in_type: false,
            in_object: false,
            below_definition: true,
            constant: false,
        };
        let mut contexts = vec![root]; // for the children of each ancestor
        if !cursor.goto_first_child() {
            return;
        }
        while let Some(&context) = contexts.last() {
            let inner = self.visit(cursor.node(), grammar, context);
            if cursor.goto_first_child() {
                contexts.push(inner);
                continue;
            }
            while !cursor.goto_next_sibling() {
                contexts.pop();
                if contexts.is_empty() || !cursor.goto_parent() {
                    return;
                }
            }
        }
    }

    fn visit(&mut self, node: Node<'t>, grammar: &Grammar, context: Context) -> Context {
        let rule = grammar.rule(node.kind_id());
        let is_lead = matches!(rule, Rule::Lead) || (matches!(rule, Rule::Note(_)) && !context.in_function);
        let row = node.start_position().row;
        let end = node.end_position();
        let last_row = if end.column == 0 && row < end.row { end.row - 1 } else { end.row };
        let idx = self.line_at(node.start_byte(), context.scope);
        let opens_line = idx
            .is_some_and(|idx| self.lines[idx].text_start == node.start_byte() && self.facts[idx].outer_nest.is_none());
        if let Some(idx) = idx.filter(|_| opens_line) {
            self.facts[idx].outer_nest = Some(context.nest);
            self.follow_lead(idx, row, is_lead);
        }
        if let Some(idx) = idx.filter(|&idx| is_lead && self.lines[idx].text_start == node.start_byte()) {
            // The line may be known already: a decorator opens the definition it decorates.
            self.lead = Some(Lead { first_idx: self.facts[idx].lead_start.unwrap_or(idx), last_row });
        }
        if matches!(rule, Rule::HeadedWrapper)
            && let Some(idx) = idx.filter(|_| opens_line)
            && let Some(inside) = node.named_child_count().checked_sub(1).and_then(|last| node.named_child(last as u32))
            && row < inside.start_position().row
        {
            let first_idx = self.facts[idx].lead_start.unwrap_or(idx);
            self.lead = Some(Lead { first_idx, last_row: inside.start_position().row - 1 });
        }
        self.last_scope = context.scope;

        let Context { in_function, in_type, in_object, constant, .. } = context;
        let site = Site { text: self.text, in_function, in_type, in_object, constant };
        let found = rule.definition(&site, node);
        let spans_lines = row < last_row;
        let transparent = context.below_definition || matches!(rule, Rule::Wrapper | Rule::HeadedWrapper);
        let mut inner = Context {
            nest: context.nest + u32::from(spans_lines && !transparent && found.is_none()),
            below_definition: matches!(rule, Rule::Wrapper | Rule::HeadedWrapper) && context.below_definition,
            constant: matches!(rule, Rule::Names)
                && node.child_by_field_name("kind").is_some_and(|kind| kind.kind() == "const"),
            ..context
        };
        let Some(mut found) = found else { return inner };
        let goes_on = self.goes_on(&found, context);
        if goes_on {
            found.names.clear();
            if let Some(idx) = idx.filter(|_| opens_line) {
                self.facts[idx].outer_nest = Some(context.nest + 2);
            }
        }

        let start_idx = idx.map(|idx| self.facts[idx].lead_start.unwrap_or(idx));
        if let Some(start_idx) = start_idx.filter(|_| !found.only_names && !goes_on) {
            self.mark_definition(node, &found, start_idx, context);
        }
        for Name { range, kind, row, spelling } in found.names {
            let written = spelling.as_deref().or_else(|| self.text.get(range.clone())).unwrap_or_default();
            let name = without_quotes(&one_line(written, MAX_NAME_BYTES)).to_owned();
            if !name.is_empty() {
                self.outline.symbols.push((range.start, Symbol { name, kind, line: row + 1 }));
            }
        }
        if found.only_names {
            return inner;
        }
        if let Some(label) = found.label.filter(|_| spans_lines) {
            inner.scope = self.outline.open(context.scope, label);
            self.last_scope = inner.scope;
        }
        inner.nest = context.nest + u32::from(found.is_function) * 3;
        inner.in_function |= found.is_function;
        inner.in_type = found.is_type || (context.in_type && !found.is_function);
        inner.in_object = found.is_object || (context.in_object && !found.is_type && !found.is_function);
        inner.below_definition = true;
        inner
    }

    /// Whether a clause continues the function above it, to which the symbol belongs already.
    fn goes_on(&mut self, found: &Definition<'t>, context: Context) -> bool {
        if found.group.is_empty() && context.in_function {
            return false; // what is defined inside a clause does not end the function
        }
        let text = self.text;
        let names: Vec<_> = found.group.iter().filter_map(|range| text.get(range.clone())).collect();
        let (scope, above) = &self.clauses;
        if !names.is_empty() && *scope == context.scope && names.iter().all(|name| above.contains(name)) {
            return true;
        }
        self.clauses = (context.scope, names);
        false
    }

    /// The line that holds a byte. Lines skipped on the way get the scope of the node before, because they lie inside
    /// it.
    fn line_at(&mut self, byte: usize, scope: usize) -> Option<usize> {
        let idx = self.lines.partition_point(|line| line.text_start <= byte).checked_sub(1)?;
        while self.n_scoped <= idx {
            let starts_here = self.n_scoped == idx && self.lines[idx].text_start == byte;
            self.outline.cut_points[self.n_scoped].scope = if starts_here { scope } else { self.last_scope };
            self.n_scoped += 1;
        }
        Some(idx)
    }

    /// Glues a line to the comments just above it.
    fn follow_lead(&mut self, idx: usize, row: usize, is_lead: bool) {
        let above = self.lead.filter(|lead| lead.last_row + 1 == row && !self.lines[idx].closes(self.text));
        let small =
            |lead: &Lead| self.lines[idx].text_start - self.lines[lead.first_idx].start <= self.limits.max_bytes / 2;
        let above = above.filter(small);
        if let Some(lead) = above {
            self.facts[idx].glued = true;
            self.facts[idx].lead_start = Some(lead.first_idx);
            if !is_lead {
                let scope = self.outline.cut_points[idx].scope;
                self.outline.cut_points[lead.first_idx..idx].iter_mut().for_each(|place| place.scope = scope);
            }
        }
        if !is_lead && self.lead.is_some_and(|lead| lead.last_row < row) {
            self.lead = None;
        }
    }

    /// Prices the line `start_idx`, where a definition with its comments starts, and glues the lines of its header.
    fn mark_definition(&mut self, node: Node<'t>, found: &Definition<'t>, start_idx: usize, context: Context) {
        let start = self.lines[start_idx].start;
        let facts = &mut self.facts[start_idx];
        facts.starts_definition = true;
        let n_bytes = node.end_byte().saturating_sub(start);
        if !context.in_function && !facts.glued && self.limits.max_bytes / 2 <= n_bytes {
            self.outline.cut_points[start_idx].keep = OWN_CHUNK;
        }
        let header_end = found.body.map_or(node.start_byte(), |body| body.start_byte());
        let row = |byte: usize| self.lines.partition_point(|line| line.text_start <= byte);
        let after_name = row(node.start_byte());
        let after_header = row(header_end); // the first line below the one that opens the body
        let body_opens_line = after_header
            .checked_sub(1)
            .is_some_and(|idx| self.lines[idx].text_start == header_end && !self.text[header_end..].starts_with('{'));
        let end = if body_opens_line { after_header } else { after_header + 1 };
        for idx in after_name..end.min(after_name + MAX_HEADER_LINES).min(self.lines.len()) {
            let line = &self.lines[idx];
            if node.end_byte() <= line.text_start || self.limits.max_bytes / 2 < line.text_start - start {
                break;
            }
            self.facts[idx].glued = true;
        }
    }

    fn finish(mut self) -> Outline {
        while self.n_scoped < self.lines.len() {
            self.outline.cut_points[self.n_scoped].scope = self.last_scope;
            self.n_scoped += 1;
        }
        for (idx, (facts, line)) in self.facts.iter().zip(self.lines).enumerate() {
            let place = &mut self.outline.cut_points[idx];
            place.closer = line.closes(self.text) && facts.outer_nest.is_some();
            let bonus = 15 * u32::from(line.after_blank) + 5 * u32::from(facts.starts_definition);
            place.cut = match facts.outer_nest {
                _ if facts.glued || place.closer => GLUED,
                Some(nest) => (5 + 10 * nest.min(8)).saturating_sub(bonus),
                None if line.continues => 80,
                None => 100 - bonus,
            };
        }
        self.outline.symbols.sort_by_key(|(start, _)| *start);
        self.outline
    }
}
