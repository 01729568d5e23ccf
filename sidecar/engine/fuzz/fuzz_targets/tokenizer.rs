//! Any text, with a sound vocabulary of either kind: no panic, ids that exist, no more than asked for, and the first ids of
//! a cut text are those of the whole one.
//!
//! The first byte chooses tokenizer, reading of special tokens and room.
#![no_main]

include!("engine.rs");

use libfuzzer_sys::fuzz_target;
use tokenizer::{Specials, Tokenizer};

/// The vocabularies are files of the corpus' own folder, made by `../../tests`: as a model file has them.
fn open(name: &str) -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vocabularies").join(name);
    let file = gguf::Gguf::open(&path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
    Tokenizer::from_gguf(&file).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

thread_local! {
    static TOKENIZERS: [Tokenizer; 2] = [open("wordpiece.gguf"), open("bpe.gguf")];
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    TOKENIZERS.with(|tokenizers| {
        let tokenizer = &tokenizers[usize::from(choice & 1)];
        let specials = if choice & 2 == 0 { Specials::Text } else { Specials::Parse };
        let room = 2 + usize::from(choice >> 2);
        let whole = tokenizer.encode(&text, specials, usize::MAX);
        let cut = tokenizer.encode(&text, specials, room);
        assert!(!whole.truncated && !whole.ids.is_empty());
        assert!(whole.ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
        assert!(!cut.ids.is_empty() && cut.ids.len() <= room);
        assert_eq!(cut.truncated, whole.ids.len() > room, "{} ids, room for {room}", whole.ids.len());
        // All but a last special token.
        let common = cut.ids.len() - 1;
        assert_eq!(cut.ids[..common], whole.ids[..common]);
    });
});
