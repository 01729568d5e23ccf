//! Text to token ids, from the model file alone.
//!
//! The vocabulary stays in the map: a tokenizer holds positions and a hash table of ids, not strings. Whether text that
//! spells a special token becomes one is the caller's choice: see [`Specials`].

mod wordpiece;
mod bpe;
mod pretokenize;
mod source;
mod merges;
mod vocab;
mod category;
mod letters;

use crate::gguf::Gguf;
use crate::{Error, Result};
pub use bpe::Bpe;
pub use wordpiece::WordPiece;

/// The tokenizer that a model file asks for.
#[derive(Debug)]
pub enum Tokenizer {
    /// BERT's: whole words and pieces of words, lower-cased and without accents if the model wants it.
    WordPiece(WordPiece),
    /// GPT-2's and Qwen's: pieces of text as bytes, and the merges that make tokens of them.
    Bpe(Box<Bpe>),
}

/// What `[SEP]` or `<|endoftext|>` in a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// The special token, as the models' own libraries read it by default. For texts of the caller's own.
    Parse,
    /// Characters like any others. For texts of strangers: files of a project, queries over them.
    Text,
}

/// A text as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Rows of the token table, special tokens included; each is less than [`Tokenizer::vocab_len`].
    pub ids: Vec<u32>,
    /// Whether the text has tokens that are not in `ids`.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.ggml.*`. The file stays mapped as long as the tokenizer lives.
    ///
    /// Errors: [`Error::Unsupported`] for another kind of tokenizer, [`Error::Gguf`] for a vocabulary that cannot be.
    pub fn from_gguf(file: &Gguf) -> Result<Tokenizer> {
        match file.require_str("tokenizer.ggml.model")? {
            "bert" => WordPiece::from_gguf(file).map(Tokenizer::WordPiece),
            "gpt2" => Bpe::from_gguf(file).map(|bpe| Tokenizer::Bpe(Box::new(bpe))),
            other => Err(Error::Unsupported {
                path: file.path().into(),
                what: "tokenizer",
                found: other.to_owned(),
                supported: "bert, gpt2",
            }),
        }
    }

    /// The first `max_tokens` ids of `text`, special tokens counted and always there, and never none at all.
    ///
    /// WordPiece has two special tokens. With BPE the file says which; an empty text in a model without any is its end
    /// of text, or else its padding, beginning of text, or the token of a space.
    ///
    /// Reads no more of the text than it needs to fill `max_tokens` and to find whether anything follows.
    pub fn encode(&self, text: &str, specials: Specials, max_tokens: usize) -> Encoding {
        match self {
            Tokenizer::WordPiece(tokenizer) => tokenizer.encode(text, specials, max_tokens),
            Tokenizer::Bpe(tokenizer) => tokenizer.encode(text, specials, max_tokens),
        }
    }

    /// How many ids there are.
    pub fn vocab_len(&self) -> usize {
        match self {
            Tokenizer::WordPiece(tokenizer) => tokenizer.vocab_len(),
            Tokenizer::Bpe(tokenizer) => tokenizer.vocab_len(),
        }
    }
}
