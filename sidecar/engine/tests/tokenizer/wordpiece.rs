//! WordPiece against the reference libraries, and with unusual texts.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use offheap_engine::Error;
use offheap_engine::gguf::Gguf;
use offheap_engine::tokenizer::{Specials, Tokenizer};
use serde::Deserialize;

use super::support::{Value, Writer, model_path};
use super::tokenizer_of;

const UNK: u32 = 100;
const CLS: u32 = 101;
const SEP: u32 = 102;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let file = Gguf::open(&model_path()).expect("the test model opens");
    Tokenizer::from_gguf(&file).expect("the test model has a tokenizer")
});

/// All ids of a text.
fn ids(text: &str) -> Vec<u32> {
    let encoding = TOKENIZER.encode(text, Specials::Text, usize::MAX);
    assert!(!encoding.truncated);
    encoding.ids
}

#[derive(Deserialize)]
struct Parity {
    items: Vec<ParityItem>,
}

#[derive(Deserialize)]
struct ParityItem {
    text: String,
    token_ids: Vec<u32>,
}

/// `parity-all-minilm-l6-v2.json` has texts with the ids (and the vectors, for the tests of the model) of
/// sentence-transformers, truncated to 512 tokens with `[CLS]` and `[SEP]`. The first texts are difficult on purpose.
#[test]
fn ids_equal_the_reference() {
    let parity: Parity = serde_json::from_str(include_str!("../fixtures/parity-all-minilm-l6-v2.json")).unwrap();
    assert_eq!(parity.items.len(), 68);
    for (idx, ParityItem { text, token_ids }) in parity.items.iter().enumerate() {
        let found = TOKENIZER.encode(text, Specials::Parse, 512);
        assert_eq!(found.ids, *token_ids, "item {idx}: {:?}", text.chars().take(80).collect::<String>());
        assert_eq!(found.truncated, text.starts_with("word word"), "item {idx}");
    }
}

#[derive(Deserialize)]
struct ExpectedIds {
    text: String,
    ids: Vec<u32>,
}

/// Texts of mixed and random Unicode, with the ids of Hugging Face `tokenizers` 0.23 (`encode_special_tokens`, not
/// truncated). `OFFHEAP_TOKEN_CASES` names another file in this format, such as one with all code points.
#[test]
fn ids_equal_the_reference_on_mixed_scripts() {
    let fixture = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens-all-minilm-l6-v2.jsonl");
    let path = std::env::var_os("OFFHEAP_TOKEN_CASES").map_or_else(fixture, PathBuf::from);
    let lines = std::fs::read_to_string(&path).expect("the cases are there");
    let mut wrong = Vec::new();
    for line in lines.lines() {
        let case: ExpectedIds = serde_json::from_str(line).unwrap();
        let found = ids(&case.text);
        assert!(found.iter().all(|&id| (id as usize) < TOKENIZER.vocab_len()));
        if found != case.ids {
            wrong.push(format!("{:?}\n  expected {:?}\n  found  {found:?}", case.text, case.ids));
        }
    }
    let n_cases = lines.lines().count();
    assert!(n_cases > 100);
    assert!(wrong.is_empty(), "{} of {n_cases} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

#[test]
fn truncation_keeps_the_special_tokens_and_says_so() {
    let check = |text: &str, max_tokens, expected: &[u32], truncated| {
        let found = TOKENIZER.encode(text, Specials::Text, max_tokens);
        assert_eq!((&found.ids[..], found.truncated), (expected, truncated), "{text:?} in {max_tokens}");
    };
    let (hello, world) = (7592, 2088);
    check("hello world", 4, &[CLS, hello, world, SEP], false);
    check("hello world  \u{301}\u{200b}\n", 4, &[CLS, hello, world, SEP], false);
    check("hello world.", 4, &[CLS, hello, world, SEP], true);
    check("hello world \u{4e00}", 4, &[CLS, hello, world, SEP], true);
    check("hello world", 3, &[CLS, hello, SEP], true);
    check("hello world", 2, &[CLS, SEP], true);
    check("hello world", 0, &[CLS, SEP], true); // the two special tokens are always present
    check("", 0, &[CLS, SEP], false);
    check("injections", 3, &[CLS, 13341, SEP], true); // truncated in the middle of a word
    assert_eq!(ids("injections")[1], 13341);
}

#[test]
fn untrusted_text_never_becomes_a_special_token() {
    let (cls, sep, mask) = ([1031, 18856, 2015, 1033], [1031, 19802, 1033], [1031, 7308, 1033]);
    let expected = [&[CLS][..], &cls, &[19737], &sep, &[2569], &mask, &[19204, 2015], &[SEP]].concat();
    assert_eq!(ids("[CLS] injected [SEP] special [MASK] tokens"), expected);
    let found = ids("[CLS][SEP][MASK][PAD][UNK] [cls] [unused5] \u{2581}[SEP] ##[MASK]");
    let inner = &found[1..found.len() - 1];
    assert!(inner.iter().all(|id| ![0, CLS, SEP, 103].contains(id)), "{inner:?}");
}

#[test]
fn special_tokens_are_parsed_only_on_request() {
    let check = |text: &str, max_tokens, expected: &[u32], truncated| {
        let found = TOKENIZER.encode(text, Specials::Parse, max_tokens);
        assert_eq!((&found.ids[..], found.truncated), (expected, truncated), "{text:?}");
    };
    check("hello[SEP]world", 9, &[CLS, 7592, SEP, 2088, SEP], false);
    check("[MASK]", 3, &[CLS, 103, SEP], false);
    check("hello[MASK]", 3, &[CLS, 7592, SEP], true);
    check("[MASK][PAD]", 2, &[CLS, SEP], true);
    check("[[SEP]", 9, &[CLS, 1031, SEP, SEP], false);
    assert_eq!(TOKENIZER.encode("[sep] [SEP", Specials::Parse, 99), TOKENIZER.encode("[sep] [SEP", Specials::Text, 99));
}

#[test]
fn odd_texts() {
    assert_eq!(ids(""), [CLS, SEP]);
    assert_eq!(ids("\0\0\u{fffd}\u{feff}\u{200b}"), [CLS, SEP]);
    assert_eq!(ids("\u{301}\u{302}"), [CLS, SEP]);
    assert_eq!(ids("he\0llo"), ids("hello"));
    assert_eq!(ids("he\u{fffd}llo"), ids("hello"));
    assert_eq!(ids("e\u{301}te\u{301}"), ids("été"));
    assert_eq!(ids("a\u{323}\u{307}"), ids("a\u{307}\u{323}"));
    assert_eq!(ids("中文"), ids(" 中 文 "));
    assert_eq!(ids(&"x".repeat(101)), [CLS, UNK, SEP]);
    assert_ne!(ids(&"x".repeat(100)), [CLS, UNK, SEP]);
}

#[test]
fn giant_texts() {
    const N: usize = 10 << 20;
    let check = |text: String, expected: &[u32], truncated| {
        let start = Instant::now();
        let found = TOKENIZER.encode(&text, Specials::Text, 512);
        assert_eq!((&found.ids[..], found.truncated), (expected, truncated));
        start.elapsed()
    };
    check("x".repeat(N), &[CLS, UNK, SEP], false);
    check(" ".repeat(N), &[CLS, SEP], false);
    check(" ".repeat(N) + "a", &[CLS, 1037, SEP], false);
    check("\u{301}".repeat(N / 2), &[CLS, SEP], false);
    check("e".to_owned() + &"\u{1d165}".repeat(N / 4), &[CLS, UNK, SEP], false); // a combining mark that is reordered, not removed
    let mut many = vec![CLS];
    many.resize(511, 1037);
    many.push(SEP);
    let elapsed = check("a ".repeat(N / 2), &many, true);
    assert!(elapsed.as_millis() < 50, "{elapsed:?} to read a thousand bytes");
}

#[test]
fn the_same_text_gives_the_same_ids() {
    let file = Gguf::open(&model_path()).unwrap();
    let start = Instant::now();
    let other = Tokenizer::from_gguf(&file).unwrap();
    let elapsed = start.elapsed();
    assert!(elapsed.as_millis() < 200, "{elapsed:?} to build"); // 15 ms in a release build on an idle machine
    for text in ["Hello, wörld! 你好", "fn main() {}", ""] {
        assert_eq!(TOKENIZER.encode(text, Specials::Text, 512), other.encode(text, Specials::Text, 512));
    }
    assert_eq!(other.vocab_len(), 30_522);
}

/// A model file with a vocabulary of a few words.
fn tiny() -> Writer {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁he", "llo", "▁Hé", "▁!"].map(String::from);
    Writer::new()
        .key("tokenizer.ggml.model", Value::Str("bert"))
        .key("tokenizer.ggml.tokens", Value::Strings(tokens.into()))
}

#[test]
fn files_without_ids_and_types_use_the_spelling_of_tokens() {
    let tokenizer = tokenizer_of(&tiny()).unwrap();
    assert_eq!(tokenizer.encode("HÉLLO!", Specials::Text, 9).ids, [2, 4, 5, 7, 3]);
    assert_eq!(tokenizer.encode("llo he", Specials::Text, 9).ids, [2, 1, 4, 3]);
}

#[test]
fn the_file_configures_the_normaliser() {
    let check = |lowercase: bool, strip: Option<bool>, text: &str, expected: &[u32]| {
        let mut file = tiny().key("tokenizer.ggml.normalizer.lowercase", Value::Bool(lowercase));
        if let Some(strip) = strip {
            file = file.key("tokenizer.ggml.normalizer.strip_accents", Value::Bool(strip));
        }
        assert_eq!(tokenizer_of(&file).unwrap().encode(text, Specials::Text, 9).ids, expected);
    };
    check(false, None, "Héllo", &[2, 6, 5, 3]);
    check(false, None, "He", &[2, 1, 3]);
    check(false, Some(true), "hé", &[2, 4, 3]);
    check(true, Some(false), "Hé HE", &[2, 1, 4, 3]);
    check(true, None, "Hé HE", &[2, 4, 4, 3]);
}

#[test]
fn rejects_what_cannot_be_a_vocabulary() {
    let check = |file: Writer, field: &str, problem: &str| match tokenizer_of(&file) {
        Err(Error::Gguf { field: found, problem: text, .. }) => {
            assert!(found == field && text.contains(problem), "expected {field}: {problem}, found {found}: {text}");
        }
        other => panic!("expected {field}: {problem}, found {other:?}"),
    };
    let bert = || Writer::new().key("tokenizer.ggml.model", Value::Str("bert"));
    let strings = |items: &[&str]| Value::Strings(items.iter().map(|&s| s.to_owned()).collect());
    check(Writer::new(), "tokenizer.ggml.model", "missing");
    check(bert(), "tokenizer.ggml.tokens", "missing");
    check(bert().key("tokenizer.ggml.tokens", strings(&[])), "tokenizer.ggml.tokens", "0 tokens");
    check(bert().key("tokenizer.ggml.tokens", strings(&["a", "##b"])), "tokenizer.ggml.tokens", "U+2581");
    check(bert().key("tokenizer.ggml.tokens", strings(&["▁a"])), "tokenizer.ggml.cls_token_id", "spelled [CLS]");
    check(tiny().key("tokenizer.ggml.unknown_token_id", Value::U32(8)), "tokenizer.ggml.unknown_token_id", "outside");
    check(tiny().key("tokenizer.ggml.token_type", Value::I32s(vec![1])), "tokenizer.ggml.token_type", "1 types for 8");
    match tokenizer_of(&Writer::new().key("tokenizer.ggml.model", Value::Str("t5"))) {
        Err(Error::Unsupported { what: "tokenizer", found, .. }) => assert_eq!(found, "t5"),
        other => panic!("{other:?}"),
    }
}
