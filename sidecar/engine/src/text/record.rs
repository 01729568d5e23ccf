//! What the full-text index stores with each chunk, as bytes.
//!
//! Little endian; a string is its length as u32 and its UTF-8. The document store does not compress, so the record is
//! kept short.

use std::ops::Range;
use std::path::Path;

/// Everything about a chunk except its text, which stays in the user's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    /// Unique for the index's life.
    pub chunk_id: u64,
    /// Path relative to the project, `/`-separated.
    pub rel: String,
    /// Language as the caller named it.
    pub language: String,
    /// Content hash of the file that the chunk was cut from.
    pub file_hash: [u8; 32],
    /// Bytes of that file.
    pub bytes: Range<u64>,
    /// First line, as the caller counts.
    pub first_line: u32,
    /// Last line, inclusive.
    pub last_line: u32,
    /// Enclosing scope.
    pub scope: String,
    /// Symbols that the chunk defines, in order.
    pub symbols: Vec<StoredSymbol>,
    /// Content key of what is embedded.
    pub key: [u8; 32],
}

/// A definition in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSymbol {
    /// The name, as its language writes it.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Line of the name, as the caller counts.
    pub line: u32,
}

impl StoredChunk {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend(self.chunk_id.to_le_bytes());
        out.extend(self.file_hash);
        out.extend(self.key);
        out.extend(self.bytes.start.to_le_bytes());
        out.extend(self.bytes.end.to_le_bytes());
        out.extend(self.first_line.to_le_bytes());
        out.extend(self.last_line.to_le_bytes());
        put_text(&mut out, &self.rel);
        put_text(&mut out, &self.language);
        put_text(&mut out, &self.scope);
        for symbol in &self.symbols {
            put_text(&mut out, &symbol.name);
            put_text(&mut out, &symbol.kind);
            out.extend(symbol.line.to_le_bytes());
        }
        out
    }

    /// The record in `bytes`; `None` when they are not one, or one of a file that is not below the project's root.
    pub fn decode(bytes: &[u8]) -> Option<StoredChunk> {
        let mut input = bytes;
        let mut chunk = StoredChunk {
            chunk_id: u64::from_le_bytes(take(&mut input)?),
            file_hash: take(&mut input)?,
            key: take(&mut input)?,
            bytes: u64::from_le_bytes(take(&mut input)?)..u64::from_le_bytes(take(&mut input)?),
            first_line: u32::from_le_bytes(take(&mut input)?),
            last_line: u32::from_le_bytes(take(&mut input)?),
            rel: take_text(&mut input)?,
            language: take_text(&mut input)?,
            scope: take_text(&mut input)?,
            symbols: Vec::new(),
        };
        while !input.is_empty() {
            let (name, kind) = (take_text(&mut input)?, take_text(&mut input)?);
            chunk.symbols.push(StoredSymbol { name, kind, line: u32::from_le_bytes(take(&mut input)?) });
        }
        let is_below = !chunk.rel.is_empty() && crate::disk::is_below(Path::new(&chunk.rel));
        is_below.then_some(chunk)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // A name longer than 4 GB cannot come from a file that the walk accepts.
    out.extend(u32::try_from(text.len()).expect("names fit in 4 GB").to_le_bytes());
    out.extend(text.as_bytes());
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn take_text(input: &mut &[u8]) -> Option<String> {
    let len = u32::from_le_bytes(take(input)?) as usize;
    let (head, rest) = input.split_at_checked(len)?;
    *input = rest;
    String::from_utf8(head.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_no_panic_on_any_prefix() {
        let chunk = StoredChunk {
            chunk_id: 9,
            rel: "src/ä.rs".into(),
            language: "rust".into(),
            file_hash: [1; 32],
            bytes: 3..77,
            first_line: 1,
            last_line: 4,
            scope: String::new(),
            symbols: vec![
                StoredSymbol { name: "main".into(), kind: "function".into(), line: 2 },
                StoredSymbol { name: "A".into(), kind: "struct".into(), line: 4 },
            ],
            key: [2; 32],
        };
        let bytes = chunk.encode();
        assert_eq!(StoredChunk::decode(&bytes).as_ref(), Some(&chunk));
        for len in 0..bytes.len() {
            assert_ne!(StoredChunk::decode(&bytes[..len]).as_ref(), Some(&chunk), "length {len}");
        }
        for rel in ["", "/etc/passwd", "../x", "a/../../x", ".."] {
            let outside = StoredChunk { rel: rel.into(), ..chunk.clone() };
            assert_eq!(StoredChunk::decode(&outside.encode()), None, "{rel}");
        }
    }
}
