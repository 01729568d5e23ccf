//! Byte-level BPE, as GPT-2 began it: cut the text by a rule, then merge the bytes of each piece into known tokens.
//!
//! Gives the ids of Hugging Face `tokenizers` with the same vocabulary; [`Specials::Text`] is its
//! `encode_special_tokens`, so tokens that the file calls user-defined are found in every text, and control tokens only
//! with [`Specials::Parse`]. What a GGUF file cannot say is taken to be off: added tokens that swallow the white space
//! around them or must be whole words.
//! Sources: Neural Machine Translation of Rare Words with Subword Units, arXiv 1508.07909; GPT-2's byte alphabet.
//!
//! One pass, a few kilobytes of the text in memory, and nothing read that is not needed. A piece of more than
//! [`WINDOW`] bytes is merged in windows, of which the first half is kept: what follows a window can change its end, but
//! reaches back through the other half only along a chain of pairs whose ranks fall all the way, which no text has.

use super::merges::{Merges, Symbols};
use super::pretokenize::{Piece, Rules, Run};
use super::source::{Added, Source};
use super::vocab::{Flooded, NORMAL, TOKENS, Table, Tokens, USER, hash_text};
use super::{Encoding, Specials};
use crate::gguf::Gguf;
use crate::{Error, Result};

/// Bytes of one piece that are merged together.
const WINDOW: usize = 64 << 10;

/// The tokenizer of GPT-2, Llama 3, Qwen and the embedding models made from them.
#[derive(Debug)]
pub struct Bpe {
    tokens: Tokens,
    added: Added,
    rules: Rules,
    /// Whether texts are brought into Unicode's composed form first.
    compose: bool,
    /// Of each byte.
    byte_ids: [u32; 256],
    merges: Merges,
    /// Where a piece that is a token is that token, whatever the merges say: ids by their text.
    whole: Option<Table>,
    first: Option<u32>,
    last: Option<u32>,
    /// What stands for a text without tokens where there is neither a first nor a last one.
    empty: u32,
}

/// Where in a piece the text that is ready begins.
#[derive(Clone, Copy)]
enum Place {
    Start,
    /// Behind a window, in a piece that goes on as long as this does.
    Run(Run),
    /// Behind a window or before the first one, in a piece that goes on for so many bytes.
    Bytes(usize),
}

impl Bpe {
    pub(super) fn from_gguf(file: &Gguf) -> Result<Bpe> {
        let unsupported = |what, found: &str, supported| {
            let found = found.chars().take(80).collect();
            Err(Error::Unsupported { path: file.path().into(), what, found, supported })
        };
        // Names as in the files. Only those whose rules, normalisation included, are known to be these.
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
        let added = Added::from_tokens(file, &tokens)?;

        let special = |switch: &str, default: bool, keys: &[&str]| match file.bool(switch)?.unwrap_or(default) {
            true => tokens.id_under(keys)?.map(Some).ok_or_else(|| file.damaged(keys[0], "missing")),
            false => Ok(None),
        };
        let (bos, eos) = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id");
        // The format's own spelling; the right one is for writers that know better.
        let (sep, separator) = ("tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id");
        let first = special("tokenizer.ggml.add_bos_token", is_llama, &[bos, "tokenizer.ggml.cls_token_id"])?;
        // One text has one end: where a file asks for a separator too, that is for pairs of texts.
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
        let mut source = Source::new(&self.tokens, &self.added, specials, self.compose, text);
        let mut symbols = Symbols::default();
        while !output.truncated {
            self.section(&mut source, &mut symbols, &mut output);
            match source.next_section() {
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

    /// The text up to the next added token, or as much of it as there is room for.
    fn section(&self, source: &mut Source<'_>, symbols: &mut Symbols, output: &mut Output) {
        let mut place = Place::Start;
        while !output.truncated {
            let text = source.ready();
            if text.is_empty() {
                if source.is_section_read() {
                    return;
                }
                source.read();
                continue;
            }
            let Piece { len, is_open, run } = match place {
                Place::Start => self.rules.piece(text),
                Place::Run(run) => self.rules.rest_of_piece(run, text),
                Place::Bytes(n) => Piece { len: n.min(text.len()), is_open: text.len() < n, run: Run::Spaces },
            };
            let is_whole = !is_open || source.is_section_read();
            if !is_whole && text.len() < WINDOW {
                source.read();
                continue;
            }
            if let (false, Place::Start, Run::Spaces) = (is_whole, place, run) {
                let (ahead, ends_text) = source.spaces_ahead();
                place = Place::Bytes(self.rules.len_of_spaces(source.ready(), ahead, ends_text));
                continue;
            }
            if len == 0 {
                place = Place::Start; // the piece ended with its last window
                continue;
            }
            if output.ids.len() == output.end {
                output.truncated = true; // whatever the piece is, it is at least one token
                return;
            }
            let piece = &text[..len];
            if let (true, Place::Start, Some(id)) = (is_whole, place, self.whole(piece)) {
                output.push(id);
                source.skip(len);
                continue;
            }
            symbols.set(piece.as_bytes(), &self.byte_ids);
            self.merges.apply(symbols);
            if is_whole {
                symbols.tokens().for_each(|(id, _)| output.push(id));
                source.skip(len);
                place = Place::Start;
                continue;
            }
            let n_kept = n_kept(symbols, piece);
            let n_bytes = symbols.tokens().take(n_kept).map(|(_, n_bytes)| n_bytes).sum();
            symbols.tokens().take(n_kept).for_each(|(id, _)| output.push(id));
            place = match (place, run) {
                (Place::Bytes(n), _) => Place::Bytes(n - n_bytes),
                (_, Run::Others) if piece[..n_bytes].ends_with(['\r', '\n']) => Place::Run(Run::LineEnds),
                _ => Place::Run(run),
            };
            source.skip(n_bytes);
        }
    }

    /// The id of a piece that needs no merging.
    fn whole(&self, piece: &str) -> Option<u32> {
        let texts = self.whole.as_ref()?;
        let spelled: String = piece.bytes().map(spelling).collect();
        texts.find(hash_text(spelled.bytes()), |id| self.tokens.get(id) == spelled.as_bytes())
    }
}

/// How many tokens of a window to keep: those of its first half, up to a character's end. One that has none there is a
/// text of tokens that all end within characters, or a single giant token; it is kept as it is.
fn n_kept(symbols: &Symbols, window: &str) -> usize {
    let mut end = 0;
    let mut kept = symbols.tokens().count();
    for (n_tokens, (_, n_bytes)) in (1..).zip(symbols.tokens()) {
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

struct Output {
    ids: Vec<u32>,
    end: usize, // length of `ids` at which only the last special token may follow
    truncated: bool,
}

impl Output {
    fn push(&mut self, id: u32) {
        self.truncated |= self.ids.len() == self.end;
        if !self.truncated {
            self.ids.push(id);
        }
    }
}

/// The ids of the tokens that text may become, by their bytes. A control token is not among them, whatever a merge says.
fn texts(file: &Gguf, tokens: &Tokens) -> Result<Table> {
    let mut table = Table::with_room_for(tokens.len());
    for wanted in [NORMAL, USER] {
        for (id, _) in tokens.kinds()?.filter(|&(_, kind)| kind == wanted) {
            let text = tokens.get(id);
            match table.insert(hash_text(text.iter().copied()), id, |other| tokens.get(other) == text) {
                Ok(Some(other)) if wanted == NORMAL => {
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

/// The token that each byte is: a vocabulary without one of them could not read every text.
fn byte_ids(file: &Gguf, tokens: &Tokens, texts: &Table) -> Result<[u32; 256]> {
    let mut ids = [0; 256];
    for (byte, id) in (0..=u8::MAX).zip(&mut ids) {
        let spelled = spelling(byte).to_string();
        let found = texts.find(hash_text(spelled.bytes()), |id| tokens.get(id) == spelled.as_bytes());
        *id = found.ok_or_else(|| file.damaged(TOKENS, format!("no token is the byte {byte:#04x}")))?;
    }
    Ok(ids)
}

/// How the tokens of the file spell a byte: the printable characters of Latin-1 stand for themselves, and the others, in
/// their order, are the characters from U+0100 on. Source: GPT-2.
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
