//! Tests of the tokenizers against the reference libraries, and with texts and vocabularies that are unusual on purpose.

mod wordpiece;
mod bpe;

#[path = "../support/mod.rs"]
mod support;

use offheap_engine::gguf::Gguf;
use offheap_engine::tokenizer::Tokenizer;
use support::Writer;

/// The tokenizer of a model file.
fn tokenizer_of(file: &Writer) -> offheap_engine::Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    Tokenizer::from_gguf(&Gguf::open(&path)?)
}
