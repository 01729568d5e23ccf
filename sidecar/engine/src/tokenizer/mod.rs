//! Text to token ids, from the model file alone.
//!
//! The vocabulary stays in the mapped file: a tokenizer has offsets and a hash table of ids, no strings. The caller decides
//! whether text that spells a special token becomes that token: see [`Specials`].

mod wordpiece;
mod bpe;
mod pretokenize;
mod sections;
mod merges;
mod vocab;
mod category;
mod letters;

use crate::Result;
use crate::gguf::Gguf;
pub use bpe::Bpe;
pub use wordpiece::WordPiece;

/// The tokenizer that a model file asks for.
#[derive(Debug)]
pub enum Tokenizer {
    /// The tokenizer of BERT: words, or the longest known pieces of words; lower-cased and without accents if the file says
    /// so.
    WordPiece(WordPiece),
    /// Byte-level BPE, the tokenizer of GPT-2 and Qwen: the bytes of each piece of text, merged into tokens.
    Bpe(Box<Bpe>),
}

/// How the spelling of a special token in a text is read, such as `[SEP]` or `<|endoftext|>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// As the special token, which is the default of the models' own libraries. For texts that the caller trusts.
    Parse,
    /// As ordinary characters. For untrusted texts: files of a project, and queries.
    Text,
}

/// The token ids of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, special tokens included; each is less than [`Tokenizer::vocab_len`].
    pub ids: Vec<u32>,
    /// Whether the text has more tokens than `ids`.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads the metadata `tokenizer.ggml.*`. The tokenizer keeps the file mapped.
    ///
    /// Errors: [`Error::Unsupported`](crate::Error::Unsupported) for another kind of tokenizer,
    /// [`Error::Gguf`](crate::Error::Gguf) for an invalid vocabulary.
    pub fn from_gguf(file: &Gguf) -> Result<Tokenizer> {
        match file.require_str("tokenizer.ggml.model")? {
            "bert" => WordPiece::from_gguf(file).map(Tokenizer::WordPiece),
            "gpt2" => Bpe::from_gguf(file).map(|bpe| Tokenizer::Bpe(Box::new(bpe))),
            other => Err(file.unsupported("tokenizer", other, "bert, gpt2")),
        }
    }

    /// The token ids of `text`, at most `max_tokens`. The special tokens at the start and end count and are always present;
    /// there is at least one id.
    ///
    /// WordPiece has two special tokens. With BPE the file determines them; without any, an empty text becomes the end-of-text
    /// token, or else the padding token, the beginning-of-text token, or the token of a space.
    ///
    /// Reads only as much of the text as it needs to fill `max_tokens` and to know whether there are more tokens.
    pub fn encode(&self, text: &str, specials: Specials, max_tokens: usize) -> Encoding {
        match self {
            Tokenizer::WordPiece(tokenizer) => tokenizer.encode(text, specials, max_tokens),
            Tokenizer::Bpe(tokenizer) => tokenizer.encode(text, specials, max_tokens),
        }
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_len(&self) -> usize {
        match self {
            Tokenizer::WordPiece(tokenizer) => tokenizer.vocab_len(),
            Tokenizer::Bpe(tokenizer) => tokenizer.vocab_len(),
        }
    }
}
