//! Byte-level BPE, the tokenizer of GPT-2: split the text into pieces by rules, then merge the bytes of each piece into
//! tokens of the vocabulary.
//!
//! Gives the ids of Hugging Face `tokenizers` with the same vocabulary; [`Specials::Text`] is its
//! `encode_special_tokens`, so tokens that the file calls user-defined are found in every text, and control tokens only
//! with [`Specials::Parse`]. Options that a GGUF file cannot express are off: added tokens that include the white space
//! around them, or that must be whole words.
//! Sources: Neural Machine Translation of Rare Words with Subword Units, arXiv 1508.07909; GPT-2's byte alphabet.
//!
//! Reads the text once, a few kilobytes at a time, and only as far as needed. A piece of more than [`WINDOW`] bytes is merged
//! in windows, and only the tokens in the first half of a window are used. Text after a window can change tokens near its
//! end; to change the first half it would need a chain of pairs with falling ranks through the second half, which real
//! text does not have.

use super::merges::{MergeBuffer, Merges};
use super::pretokenize::{Piece, Rules, RunKind};
use super::sections::{AddedTokens, SectionReader};
use super::vocab::{Flooded, NORMAL, TOKENS, Table, Tokens, USER, hash_text};
use super::{Encoding, Specials};
use crate::Result;
use crate::gguf::Gguf;

/// Most bytes of a piece that are merged at once.
const WINDOW: usize = 64 << 10;

/// The tokenizer of GPT-2, Llama 3, Qwen and the embedding models made from them.
#[derive(Debug)]
pub struct Bpe {
    tokens: Tokens,
    added: AddedTokens,
    rules: Rules,
    /// Whether texts are converted to Unicode's composed form (NFC) first.
    compose: bool,
    /// The token of each byte.
    byte_ids: [u32; 256],
    merges: Merges,
    /// Ids by text, if the model uses a token for a piece with the token's text without applying merges.
    whole: Option<Table>,
    /// Special token at the start of every text.
    first: Option<u32>,
    /// Special token at the end of every text.
    last: Option<u32>,
    /// Token of a text without tokens, if there is neither a first nor a last special token.
    empty: u32,
}

/// Where the text that is ready starts, in terms of pieces.
#[derive(Clone, Copy)]
enum PiecePosition {
    /// At the start of a piece.
    Start,
    /// Inside a piece, after a window; the piece continues as long as this kind of run.
    InRun(RunKind),
    /// Inside a piece of white space that has this many bytes left.
    InSpaces(usize),
}

impl Bpe {
    pub(super) fn from_gguf(file: &Gguf) -> Result<Bpe> {
        let unsupported = |what, found: &str, supported| {
            Err(file.unsupported(what, found.chars().take(80).collect::<String>(), supported))
        };
        // The names of pre-tokenizers in the files; only those that are known to have these rules and normalisation.
        let (rules, compose, is_llama) = match file.require_str("tokenizer.ggml.pre")? {
            "qwen2" => (Rules::Cl100k { max_digits: 1 }, true, false),
            "llama-bpe" => (Rules::Cl100k { max_digits: 3 }, false, true),
            "gpt-2" => (Rules::Gpt2, false, false),
            "modern-bert" => (Rules::Gpt2, true, false),
            other => return unsupported("pre-tokenizer", other, "qwen2, llama-bpe, gpt-2, modern-bert"),
        };
        if file.bool("tokenizer.ggml.add_space_prefix")? == Some(true) {
            return unsupported("tokenizer.ggml.add_space_prefix", "true", "false");
        }
        let tokens = Tokens::from_gguf(file)?;
        let texts = texts(file, &tokens)?;
        let merges = Merges::from_gguf(file, &tokens, &texts)?;
        let byte_ids = byte_ids(file, &tokens, &texts)?;
        let added = AddedTokens::from_tokens(file, &tokens)?;

        let special = |switch: &str, default: bool, keys: &[&str]| match file.bool(switch)?.unwrap_or(default) {
            true => tokens.id_under(keys)?.map(Some).ok_or_else(|| file.damaged(keys[0], "missing")),
            false => Ok(None),
        };
        let (bos, eos) = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id");
        // The specification spells it "seperator"; some writers correct the spelling.
        let (sep, separator) = ("tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id");
        let first = special("tokenizer.ggml.add_bos_token", is_llama, &[bos, "tokenizer.ggml.cls_token_id"])?;
        // A text gets one token at its end: if the file also asks for a separator, that is meant for pairs of texts.
        let last = match special("tokenizer.ggml.add_eos_token", false, &[eos, sep, separator])? {
            Some(last) => Some(last),
            None => special("tokenizer.ggml.add_sep_token", false, &[sep, separator, eos])?,
        };
        let empty = tokens.id_under(&[eos, "tokenizer.ggml.padding_token_id", bos])?;
        let empty = empty.unwrap_or(byte_ids[usize::from(b' ')]);
        let whole = is_llama.then_some(texts);
        Ok(Bpe { tokens, added, rules, compose, byte_ids, merges, whole, first, last, empty })
    }

    pub(super) fn vocab_len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn encode(&self, text: &str, specials: Specials, max_tokens: usize) -> Encoding {
        let n_specials = usize::from(self.first.is_some()) + usize::from(self.last.is_some());
        let end = max_tokens.max(n_specials).max(1) - usize::from(self.last.is_some());
        let mut output = Output { ids: self.first.into_iter().collect(), end, truncated: false };
        let mut reader = SectionReader::new(&self.tokens, &self.added, specials, self.compose, text);
        let mut buffer = MergeBuffer::default();
        while !output.truncated {
            self.section(&mut reader, &mut buffer, &mut output);
            match reader.next_section() {
                Some(id) => output.push(id),
                None => break,
            }
        }
        output.ids.extend(self.last);
        if output.ids.is_empty() {
            output.ids.push(self.empty);
        }
        Encoding { ids: output.ids, truncated: output.truncated }
    }

    /// Tokenises one section, the text up to the next added token, until the output is full.
    fn section(&self, reader: &mut SectionReader<'_>, buffer: &mut MergeBuffer, output: &mut Output) {
        let mut position = PiecePosition::Start;
        while !output.truncated {
            let text = reader.ready();
            if text.is_empty() {
                if reader.is_section_read() {
                    return;
                }
                reader.read();
                continue;
            }
            let Piece { len, is_open, run } = match position {
                PiecePosition::Start => self.rules.piece(text),
                PiecePosition::InRun(run) => self.rules.rest_of_piece(run, text),
                PiecePosition::InSpaces(n) => {
                    Piece { len: n.min(text.len()), is_open: text.len() < n, run: RunKind::Spaces }
                }
            };
            let is_whole = !is_open || reader.is_section_read();
            if !is_whole && text.len() < WINDOW {
                reader.read();
                continue;
            }
            if let (false, PiecePosition::Start, RunKind::Spaces) = (is_whole, position, run) {
                let (ahead, ends_text) = reader.spaces_ahead();
                position = PiecePosition::InSpaces(self.rules.len_of_spaces(reader.ready(), ahead, ends_text));
                continue;
            }
            if len == 0 {
                position = PiecePosition::Start; // the piece ended with the last window
                continue;
            }
            if output.ids.len() == output.end {
                output.truncated = true; // any piece is at least one token
                return;
            }
            let piece = &text[..len];
            if let (true, PiecePosition::Start, Some(id)) = (is_whole, position, self.whole(piece)) {
                output.push(id);
                reader.skip(len);
                continue;
            }
            buffer.set(piece.as_bytes(), &self.byte_ids);
            self.merges.apply(buffer);
            if is_whole {
                buffer.tokens().for_each(|(id, _)| output.push(id));
                reader.skip(len);
                position = PiecePosition::Start;
                continue;
            }
            let n_kept = n_kept(buffer, piece);
            let n_bytes = buffer.tokens().take(n_kept).map(|(_, n_bytes)| n_bytes).sum();
            buffer.tokens().take(n_kept).for_each(|(id, _)| output.push(id));
            position = match (position, run) {
                (PiecePosition::InSpaces(n), _) => PiecePosition::InSpaces(n - n_bytes),
                (_, RunKind::Others) if piece[..n_bytes].ends_with(['\r', '\n']) => {
                    PiecePosition::InRun(RunKind::LineEnds)
                }
                _ => PiecePosition::InRun(run),
            };
            reader.skip(n_bytes);
        }
    }

    /// The token with the text of the piece, if the model uses such tokens without merging.
    fn whole(&self, piece: &str) -> Option<u32> {
        let texts = self.whole.as_ref()?;
        let spelled: String = piece.bytes().map(spelling).collect();
        texts.find(hash_text(spelled.bytes()), |id| self.tokens.get(id) == spelled.as_bytes())
    }
}

/// How many tokens of a window to use: those of its first half, up to the end of a character. All of them if no token of
/// the first half ends at the end of a character.
fn n_kept(buffer: &MergeBuffer, window: &str) -> usize {
    let mut end = 0;
    let mut kept = buffer.tokens().count();
    for (n_tokens, (_, n_bytes)) in (1..).zip(buffer.tokens()) {
        end += n_bytes;
        if window.len() / 2 < end {
            break;
        }
        if window.is_char_boundary(end) {
            kept = n_tokens;
        }
    }
    kept
}

/// The ids so far.
struct Output {
    ids: Vec<u32>,
    /// Length of `ids` after which only the last special token fits.
    end: usize,
    truncated: bool,
}

impl Output {
    /// Appends an id, or notes that it does not fit.
    fn push(&mut self, id: u32) {
        self.truncated |= self.ids.len() == self.end;
        if !self.truncated {
            self.ids.push(id);
        }
    }
}

/// The ids of normal and user-defined tokens by their text. Control tokens are left out, so merges cannot produce them.
fn texts(file: &Gguf, tokens: &Tokens) -> Result<Table> {
    let mut table = Table::with_room_for(tokens.len());
    for token_kind in [NORMAL, USER] {
        for (id, _) in tokens.kinds()?.filter(|&(_, kind)| kind == token_kind) {
            let text = tokens.get(id);
            match table.insert(hash_text(text.iter().copied()), id, |other| tokens.get(other) == text) {
                Ok(Some(other)) if token_kind == NORMAL => {
                    return Err(file.damaged(TOKENS, format!("tokens {other} and {id} have the same text")));
                }
                Ok(_) => {}
                Err(Flooded) => {
                    let problem = format!("more than {} tokens have the same hash", Table::MAX_REACH);
                    return Err(file.damaged(TOKENS, problem));
                }
            }
        }
    }
    Ok(table)
}

/// The token of each byte; an error if the vocabulary lacks one, because it could not encode every text.
fn byte_ids(file: &Gguf, tokens: &Tokens, texts: &Table) -> Result<[u32; 256]> {
    let mut ids = [0; 256];
    for (byte, id) in (0..=u8::MAX).zip(&mut ids) {
        let spelled = spelling(byte).to_string();
        let found = texts.find(hash_text(spelled.bytes()), |id| tokens.get(id) == spelled.as_bytes());
        *id = found.ok_or_else(|| file.damaged(TOKENS, format!("no token is the byte {byte:#04x}")))?;
    }
    Ok(ids)
}

/// The character that represents a byte in the texts of tokens: printable characters of Latin-1 represent themselves, the
/// other bytes are represented, in order, by the characters from U+0100 on. Source: GPT-2.
fn spelling(byte: u8) -> char {
    let n = u32::from(byte);
    let spelled = match byte {
        0..=0x20 => 0x100 + n,
        0x7f..=0xa0 => 0x121 + n - 0x7f,
        0xad => 0x143,
        _ => n,
    };
    char::from_u32(spelled).expect("at most U+0143")
}
