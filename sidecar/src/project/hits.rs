//! Results of the engine as they go over the wire.

use offheap_engine::grep;
use offheap_engine::search;
use offheap_engine::store::StoredChunk;
use offheap_protocol::message::{Contribution, Hit, Span, SymbolMatch};

/// A chunk that was ranked.
pub fn ranked(hit: search::Hit) -> Hit {
    let why = hit.why.into_iter().map(|(name, value)| contribution(name, value)).collect();
    Hit { why, ..chunk(hit.chunk, hit.score, hit.text, hit.stale) }
}

/// A definition that was found by its name.
pub fn symbol(found: search::ShownSymbol, explain: bool) -> Hit {
    let search::ShownSymbol { found: hit, text, stale } = found;
    let why = if explain { vec![contribution(hit.fit.as_str(), hit.score)] } else { Vec::new() };
    let (name, kind, line) = (hit.symbol.name, hit.symbol.kind, hit.symbol.line);
    let symbol = SymbolMatch { name, kind, line, fit: hit.fit.as_str().to_owned() };
    Hit { symbol: Some(symbol), why, ..chunk(hit.chunk, hit.score, text, stale) }
}

/// A line that matched a regular expression.
pub fn line(line: grep::Line) -> Hit {
    let span = |(start, end): (u32, u32)| Span { line: line.line, start, end };
    Hit {
        language: line.language.to_owned(),
        matches: line.columns.into_iter().map(span).collect(),
        path: line.rel,
        first_line: line.first_line,
        last_line: line.last_line,
        score: 1.0,
        scope: String::new(),
        symbols: Vec::new(),
        text: line.text,
        stale: false,
        why: Vec::new(),
        symbol: None,
    }
}

fn chunk(chunk: StoredChunk, score: f32, text: String, stale: bool) -> Hit {
    Hit {
        path: chunk.rel,
        first_line: chunk.first_line,
        last_line: chunk.last_line,
        score,
        language: chunk.language,
        scope: chunk.scope,
        symbols: chunk.symbols.into_iter().map(|symbol| symbol.name).collect(),
        text,
        stale,
        why: Vec::new(),
        symbol: None,
        matches: Vec::new(),
    }
}

fn contribution(name: &str, value: f32) -> Contribution {
    Contribution { name: name.to_owned(), value }
}
