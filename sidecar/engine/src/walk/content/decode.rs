//! Bytes of a known encoding become UTF-8.

use std::io;

use encoding_rs::{CoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::survey::is_cut_off;
use super::{Blocks, Encoding};

/// How much is decoded at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Gives `sink` the text, in pieces, without the first `mark` bytes. Returns how many errors were replaced by U+FFFD.
pub fn decode(blocks: &mut dyn Blocks, encoding: Encoding, mark: usize, sink: &mut dyn FnMut(&str)) -> io::Result<u64> {
    let (mut decoder, mut errors) = (Decoder::new(encoding, mark), 0);
    blocks.each_block(&mut |block| errors += decoder.feed(block, false, sink))?;
    errors += decoder.feed(b"", true, sink);
    Ok(errors)
}

/// A text whose bytes come block by block.
pub struct Decoder {
    /// What is left of the byte-order mark.
    mark: usize,
    state: State,
}

enum State {
    /// The beginning of a character at the end of the last block.
    Utf8(Vec<u8>),
    /// The same, and how four bytes make a number.
    Utf32(Vec<u8>, fn([u8; 4]) -> u32),
    Standard(encoding_rs::Decoder),
}

impl Decoder {
    /// Begins with a text whose first `mark` bytes say how it is encoded.
    pub fn new(encoding: Encoding, mark: usize) -> Decoder {
        let state = match encoding {
            Encoding::Utf8 => State::Utf8(Vec::new()),
            Encoding::Utf16Le => State::Standard(UTF_16LE.new_decoder_without_bom_handling()),
            Encoding::Utf16Be => State::Standard(UTF_16BE.new_decoder_without_bom_handling()),
            Encoding::Utf32Le => State::Utf32(Vec::new(), u32::from_le_bytes),
            Encoding::Utf32Be => State::Utf32(Vec::new(), u32::from_be_bytes),
            Encoding::Legacy(encoding) => State::Standard(encoding.new_decoder_without_bom_handling()),
        };
        Decoder { mark, state }
    }

    /// Decodes the next block; returns how many errors it had.
    pub fn feed(&mut self, block: &[u8], last: bool, sink: &mut dyn FnMut(&str)) -> u64 {
        let skipped = self.mark.min(block.len());
        self.mark -= skipped;
        let block = &block[skipped..];
        match &mut self.state {
            State::Utf8(rest) => {
                let joined = [std::mem::take(rest).as_slice(), block].concat();
                *rest = utf8(&joined, last, sink);
                0
            }
            State::Utf32(rest, number) => {
                let joined = [std::mem::take(rest).as_slice(), block].concat();
                let (units, cut_off) = joined.as_chunks::<4>();
                *rest = cut_off.to_vec();
                let mut errors = u64::from(last && !cut_off.is_empty());
                let mut text = String::with_capacity(units.len());
                for unit in units {
                    let char = char::from_u32(number(*unit));
                    errors += u64::from(char.is_none());
                    text.push(char.unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                sink(&text);
                errors
            }
            State::Standard(decoder) => standard(decoder, block, last, sink),
        }
    }
}

/// Well-formed UTF-8 as it is, every other byte as in windows-1252. Returns what may go on in the next block.
fn utf8(bytes: &[u8], last: bool, sink: &mut dyn FnMut(&str)) -> Vec<u8> {
    let mut at = 0;
    for piece in bytes.utf8_chunks() {
        sink(piece.valid());
        at += piece.valid().len() + piece.invalid().len();
        if at == bytes.len() && !last && is_cut_off(piece.invalid()) {
            return piece.invalid().to_vec();
        }
        if !piece.invalid().is_empty() {
            sink(&WINDOWS_1252.decode_without_bom_handling(piece.invalid()).0);
        }
    }
    Vec::new()
}

fn standard(decoder: &mut encoding_rs::Decoder, block: &[u8], last: bool, sink: &mut dyn FnMut(&str)) -> u64 {
    let mut errors = 0;
    let mut text = String::with_capacity(PIECE_BYTES);
    let mut rest = block;
    loop {
        let (result, n_read, had_errors) = decoder.decode_to_string(rest, &mut text, last);
        if had_errors {
            // Characters of this kind in the text itself are few, and count as errors too.
            errors += text.matches(char::REPLACEMENT_CHARACTER).count() as u64;
        }
        sink(&text);
        text.clear();
        rest = &rest[n_read..];
        if result == CoderResult::InputEmpty {
            return errors;
        }
    }
}
