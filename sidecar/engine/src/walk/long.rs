//! Texts that are too long to be in memory, in parts.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::content::{self, BLOCK_BYTES, Decoder, Encoding, FileBlocks, HEAD_BYTES};
use super::source::{ContentHash, NotSource, ends_lines_with_returns};
use super::{SkipReason, WalkRules};
use crate::disk::Tree;

/// Longest part, in bytes: no more of a text is in memory.
pub const PART_BYTES: usize = 1 << 20;

/// A long text, decoded like the short ones of [`super::read_source`].
pub struct LongSource {
    file: File,
    /// Length of the file when it was opened; what is written later is not read.
    length: u64,
    encoding: Encoding,
    mark: usize,
}

/// A part of a long text. It ends where a line ends, unless the line is longer than a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The text.
    pub text: &'a str,
    /// Bytes of the text before it.
    pub offset: u64,
    /// Line ends before it.
    pub line: u32,
    /// UTF-16 units of its first line before it.
    pub column: u32,
}

/// The parts of a text, in order.
pub struct Parts<'a> {
    file: io::Take<&'a File>,
    decoder: Decoder,
    block: Vec<u8>,
    /// What was decoded; it begins with the part that was given last.
    buffer: String,
    /// Length of that part.
    given: usize,
    /// Whether carriage returns end lines; known from the first part on.
    returns: Option<bool>,
    offset: u64,
    line: u32,
    column: u32,
    ended: bool,
}

impl LongSource {
    /// Opens a text of any length up to the limit of `rules`, and finds out how it is encoded.
    pub fn open(tree: &Tree, rel: &str, rules: &WalkRules) -> Result<LongSource, NotSource> {
        let file = tree.open_file(Path::new(rel))?;
        let length = file.metadata()?.len();
        let limit = rules.longest();
        if limit < length {
            let detail = format!("{length} bytes, the limit is {limit}");
            return Err(NotSource { reason: SkipReason::TooLarge, detail });
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        if length as usize > head.len() {
            content::detect_head(&head)?;
        }
        let (encoding, mark) = content::detect(&mut FileBlocks { file: &file, length })??;
        Ok(LongSource { file, length, encoding, mark })
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The usual name of the file's encoding.
    pub fn encoding(&self) -> &'static str {
        self.encoding.name()
    }

    /// The text from its beginning.
    pub fn parts(&self) -> io::Result<Parts<'_>> {
        let mut file = &self.file;
        file.rewind()?;
        Ok(Parts {
            file: file.take(self.length),
            decoder: Decoder::new(self.encoding, self.mark),
            block: vec![0; BLOCK_BYTES],
            buffer: String::with_capacity(PART_BYTES + 2 * BLOCK_BYTES),
            given: 0,
            returns: None,
            offset: 0,
            line: 0,
            column: 0,
            ended: false,
        })
    }

    /// The identity of the text; `None` when `cancelled` said so.
    pub fn hash(&self, cancelled: &dyn Fn() -> bool) -> io::Result<Option<ContentHash>> {
        let mut digest = Sha256::new();
        let mut parts = self.parts()?;
        while let Some(part) = parts.next_part()? {
            if cancelled() {
                return Ok(None);
            }
            digest.update(part.text);
        }
        Ok(Some(digest.finalize().into()))
    }
}

impl Parts<'_> {
    /// The next part; `None` at the end.
    pub fn next_part(&mut self) -> io::Result<Option<Part<'_>>> {
        self.step_over();
        while self.buffer.len() < PART_BYTES && !self.ended {
            self.read_block()?;
        }
        let returns = *self.returns.get_or_insert_with(|| ends_lines_with_returns(&self.buffer));
        if returns {
            // One byte for one byte, and what was replaced before is not found again.
            self.buffer = std::mem::take(&mut self.buffer).replace('\r', "\n");
        }
        self.given = match self.buffer.len() {
            length if self.ended && length <= PART_BYTES => length,
            _ => {
                let end = self.buffer.floor_char_boundary(PART_BYTES);
                self.buffer[..end].rfind('\n').map_or(end, |at| at + 1)
            }
        };
        let part = Part { text: &self.buffer[..self.given], offset: self.offset, line: self.line, column: self.column };
        Ok((self.given > 0).then_some(part))
    }

    /// Leaves the part that was given last behind.
    fn step_over(&mut self) {
        let part = &self.buffer[..self.given];
        let rest = part.rsplit_once('\n').map_or(part, |(_, rest)| rest);
        if rest.len() < part.len() {
            self.column = 0;
        }
        let units = rest.encode_utf16().count();
        self.column = self.column.saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
        let lines = part.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.offset += self.given as u64;
        self.buffer.drain(..self.given);
        self.given = 0;
    }

    fn read_block(&mut self) -> io::Result<()> {
        let n_read = loop {
            match self.file.read(&mut self.block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.ended = n_read == 0;
        let buffer = &mut self.buffer;
        self.decoder.feed(&self.block[..n_read], self.ended, &mut |text| buffer.push_str(text));
        Ok(())
    }
}
