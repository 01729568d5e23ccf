//! Any bytes as a model file: no panic, no memory beyond the file's own size, and what is accepted can be read to the end,
//! by its tokenizer too.
#![no_main]

include!("engine.rs");

use libfuzzer_sys::fuzz_target;
use tokenizer::{Specials, Tokenizer};

const KEYS: [&str; 6] = [
    "general.architecture",
    "general.alignment",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
];

fuzz_target!(|bytes: &[u8]| {
    let path = scratch_file();
    std::fs::write(&path, bytes).expect("room for a file");
    let Ok(file) = gguf::Gguf::open(&path) else { return };
    assert_eq!(file.bytes(), bytes);
    for info in file.tensors() {
        match file.tensor(info.name) {
            Ok(tensor) => {
                let values: usize = tensor.shape.iter().product();
                assert_eq!(tensor.data.len(), values / tensor.dtype.block_len() * tensor.dtype.block_bytes());
            }
            Err(_) => assert!(info.dtype.is_none(), "`{}` is listed and cannot be read", info.name),
        }
    }
    for key in KEYS {
        let _ = (file.str(key), file.u64(key), file.f32(key), file.bool(key));
        let _ = file.strings(key).map(|all| all.map(|all| all.map(str::len).sum::<usize>()));
        let _ = file.i32s(key).map(|all| all.map(|all| all.map(i64::from).sum::<i64>()));
    }
    let Ok(tokenizer) = Tokenizer::from_gguf(&file) else { return };
    for text in ["", "a b", "[CLS] <|endoftext|> \u{0}\u{301}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let ids = tokenizer.encode(text, Specials::Parse, 8).ids;
        assert!(!ids.is_empty() && ids.len() <= 8 && ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
    }
});
