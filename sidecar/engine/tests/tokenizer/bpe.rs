//! Byte-level BPE against Hugging Face `tokenizers`, and with damaged vocabularies and giant texts.
//!
//! `fixtures/bpe.json`, written by `fixtures/bpe.py`, has a small vocabulary and the ids that the library gives.

use std::sync::LazyLock;
use std::time::Instant;

use offheap_engine::Error;
use offheap_engine::tokenizer::{Encoding, Specials, Tokenizer};
use serde::Deserialize;

use super::support::{Value, Writer};
use super::tokenizer_of;

/// Names of the splitting rules, as model files have them.
const PRE: [&str; 4] = ["qwen2", "llama-bpe", "gpt-2", "modern-bert"];

#[derive(Deserialize)]
struct Fixture {
    /// Texts of the tokens, separated by spaces.
    tokens: String,
    /// Merges, one on each line.
    merges: String,
    control: Vec<String>,
    user: Vec<String>,
    cases: Vec<ExpectedIds>,
    long: Vec<LongText>,
    /// A text with `{}` in the place of a code point.
    template: String,
    /// Hashes of ids, each of the template with 4,096 consecutive code points.
    blocks: String,
}

#[derive(Deserialize)]
struct ExpectedIds {
    text: String,
    /// Ids with the rules of qwen2, special tokens read as text.
    ids: Vec<u32>,
    /// Ids with the rules of qwen2, special tokens parsed; `None` if equal to `ids`.
    parsed: Option<Vec<u32>>,
    /// For each of the other rules of [`PRE`]: the hash of both lists of ids, concatenated.
    hashes: Vec<String>,
}

#[derive(Deserialize)]
struct LongText {
    repeat: Option<Vec<(String, usize)>>,
    letters: Option<usize>,
    /// For each of [`PRE`]: the number of ids with special tokens parsed, and their hash.
    ids: Vec<(usize, String)>,
}

static FIXTURE: LazyLock<Fixture> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/bpe.json")).expect("the fixture is valid"));

static QWEN2: LazyLock<Tokenizer> = LazyLock::new(|| tokenizer_of(&file("qwen2")).expect("the fixture is valid"));

/// A model file with the fixture's vocabulary, whose texts have no special token at the start or end.
fn file(pre: &'static str) -> Writer {
    let fixture = &*FIXTURE;
    let texts: Vec<String> = fixture.tokens.split(' ').map(String::from).collect();
    let kinds = [vec![1; texts.len()], vec![3; fixture.control.len()], vec![4; fixture.user.len()]].concat();
    let tokens = [texts, fixture.control.clone(), fixture.user.clone()].concat();
    Writer::new()
        .key("tokenizer.ggml.model", Value::Str("gpt2"))
        .key("tokenizer.ggml.pre", Value::Str(pre))
        .key("tokenizer.ggml.tokens", Value::Strings(tokens))
        .key("tokenizer.ggml.token_type", Value::I32s(kinds))
        .key("tokenizer.ggml.merges", Value::Strings(fixture.merges.lines().map(String::from).collect()))
        .key("tokenizer.ggml.add_bos_token", Value::Bool(false))
}

/// `file` with another value under `key`.
fn with(mut file: Writer, key: &str, value: Value) -> Writer {
    file.keys.retain(|(other, _)| other != key.as_bytes());
    file.key(key, value)
}

fn without(mut file: Writer, key: &str) -> Writer {
    file.keys.retain(|(other, _)| other != key.as_bytes());
    file
}

/// All ids of a text.
fn all(tokenizer: &Tokenizer, text: &str, specials: Specials) -> Vec<u32> {
    let encoding = tokenizer.encode(text, specials, usize::MAX);
    assert!(!encoding.truncated);
    assert!(encoding.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
    encoding.ids
}

/// FNV-1a hash of the ids, starting from `seed`.
fn hash(ids: &[u32], seed: u64) -> u64 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The upper half of a hash in hexadecimal, as in the fixture.
fn short(hash: u64) -> String {
    format!("{:08x}", hash >> 32)
}

#[test]
fn ids_equal_the_reference() {
    let fixture = &*FIXTURE;
    assert!(fixture.cases.len() > 80);
    for (idx, pre) in PRE.into_iter().enumerate() {
        let tokenizer = tokenizer_of(&file(pre)).unwrap();
        for ExpectedIds { text, ids, parsed, hashes } in &fixture.cases {
            if text.is_empty() {
                continue; // the library returns no id, this crate one: tested below
            }
            let (found, found_parsed) = (all(&tokenizer, text, Specials::Text), all(&tokenizer, text, Specials::Parse));
            match idx.checked_sub(1) {
                None => {
                    assert_eq!(found, *ids, "{text:?}");
                    assert_eq!(found_parsed, *parsed.as_ref().unwrap_or(ids), "{text:?}, parsed");
                }
                Some(idx) => {
                    let found_hash = short(hash(&found_parsed, hash(&found, SEED)));
                    assert_eq!(found_hash, hashes[idx], "{pre}: {text:?}: {found:?} or {found_parsed:?}");
                }
            }
        }
    }
}

#[test]
fn every_code_point_is_read_as_the_reference_reads_it() {
    let fixture = &*FIXTURE;
    for (block, expected) in fixture.blocks.split(' ').enumerate() {
        let points = (0x1000 * block as u32..).take(0x1000).filter_map(char::from_u32);
        let found = points.fold(SEED, |seed, c| {
            let text = fixture.template.replace("{}", c.encode_utf8(&mut [0; 4]));
            hash(&all(&QWEN2, &text, Specials::Text), seed)
        });
        assert_eq!(short(found), expected, "U+{block:X}000 to U+{block:X}FFF");
    }
    assert_eq!(fixture.blocks.split(' ').count(), 0x110);
}

/// Pieces longer than a window, and white space whose split depends on text far after its start.
#[test]
fn long_texts_equal_the_reference() {
    for (idx, pre) in PRE.into_iter().enumerate() {
        let tokenizer = tokenizer_of(&file(pre)).unwrap();
        for LongText { repeat, letters, ids } in &FIXTURE.long {
            let text = match (repeat, letters) {
                (Some(parts), _) => parts.iter().map(|(part, n)| part.repeat(*n)).collect(),
                (_, n) => random_letters(n.unwrap_or_default()),
            };
            let found = all(&tokenizer, &text, Specials::Parse);
            let found = (found.len(), short(hash(&found, SEED)));
            assert_eq!(found, ids[idx], "{pre}: {repeat:?}");
        }
    }
}

/// Pseudo-random letters, the same as those of `fixtures/bpe.py`.
fn random_letters(n: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        char::from(b'a' + ((state >> 16) % 26) as u8)
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn truncation_is_a_prefix_that_says_so() {
    let eos = 2;
    let ended = with(file("qwen2"), "tokenizer.ggml.eos_token_id", Value::U32(eos));
    let ended = tokenizer_of(&ended.key("tokenizer.ggml.add_eos_token", Value::Bool(true))).unwrap();
    for text in FIXTURE.cases.iter().map(|case| &case.text).filter(|text| !text.is_empty()) {
        for specials in [Specials::Text, Specials::Parse] {
            let ids = all(&QWEN2, text, specials);
            for max_tokens in 0..ids.len() + 3 {
                let n_ids = max_tokens.clamp(1, ids.len());
                let expected = Encoding { ids: ids[..n_ids].into(), truncated: n_ids < ids.len() };
                assert_eq!(QWEN2.encode(text, specials, max_tokens), expected, "{text:?} in {max_tokens}");

                let n_ids = max_tokens.saturating_sub(1).min(ids.len());
                let expected = Encoding { ids: [&ids[..n_ids], &[eos]].concat(), truncated: n_ids < ids.len() };
                assert_eq!(ended.encode(text, specials, max_tokens), expected, "{text:?} in {max_tokens}, ended");
            }
        }
    }
}

#[test]
fn the_file_determines_the_tokens_around_a_text() {
    let id = |key: &str, id: u32| (format!("tokenizer.ggml.{key}_token_id"), Value::U32(id));
    let add = |key: &str, on: bool| (format!("tokenizer.ggml.add_{key}_token"), Value::Bool(on));
    let check = |pre, keys: &[(String, Value)], empty: &[u32], one: &[u32]| {
        let file = without(file(pre), "tokenizer.ggml.add_bos_token");
        let file = keys.iter().fold(file, |file, (key, value)| file.key(key, value.clone()));
        let tokenizer = tokenizer_of(&file).unwrap();
        let ids = |text| tokenizer.encode(text, Specials::Text, 9).ids;
        let names: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!((&ids("")[..], &ids("!")[..]), (empty, one), "{pre} with {names:?}");
        // They are kept however few tokens are allowed.
        let cut = tokenizer.encode("!!!!!!!", Specials::Text, 0);
        assert!(cut.truncated && cut.ids.len() == empty.len().max(1), "{pre} with {names:?}: {cut:?}");
    };
    let (exclamation, space) = (0, 220); // their ids in the byte alphabet
    check("qwen2", &[], &[space], &[exclamation]);
    check("qwen2", &[id("bos", 5)], &[5], &[exclamation]);
    check("qwen2", &[id("bos", 5), id("padding", 6)], &[6], &[exclamation]);
    check("qwen2", &[id("bos", 5), id("padding", 6), id("eos", 7)], &[7], &[exclamation]);
    check("qwen2", &[add("eos", true), id("eos", 7), id("bos", 5)], &[7], &[exclamation, 7]);
    check("qwen2", &[add("bos", true), id("eos", 7), id("bos", 5)], &[5], &[5, exclamation]);
    check("qwen2", &[add("bos", true), add("eos", true), id("bos", 5), id("eos", 7)], &[5, 7], &[5, exclamation, 7]);
    // Files of the modern-bert family ask for both an end and a separator; a text gets only one of them.
    let all = [add("bos", true), add("eos", true), add("sep", true)];
    let ids = [id("cls", 3), id("seperator", 4)];
    check("modern-bert", &[all.as_slice(), &ids].concat(), &[3, 4], &[3, exclamation, 4]);
    let ids = [id("cls", 3), id("seperator", 4), id("bos", 5), id("eos", 7)];
    check("modern-bert", &[all.as_slice(), &ids].concat(), &[5, 7], &[5, exclamation, 7]);
    check("gpt-2", &[add("sep", true), id("seperator", 4)], &[4], &[exclamation, 4]);
    check("llama-bpe", &[id("bos", 5)], &[5], &[5, exclamation]); // the default of this family
    check("llama-bpe", &[add("bos", false), id("bos", 5)], &[5], &[exclamation]);
}

#[test]
fn untrusted_text_never_becomes_a_control_token() {
    let n_texts = FIXTURE.tokens.split(' ').count() as u32;
    let control = n_texts..n_texts + FIXTURE.control.len() as u32;
    for ExpectedIds { text, .. } in &FIXTURE.cases {
        assert!(all(&QWEN2, text, Specials::Text).iter().all(|id| !control.contains(id)), "{text:?}");
    }
    assert!(all(&QWEN2, "a<|endoftext|>b", Specials::Parse).contains(&control.start));
    // A merge that would produce one is an error.
    let mut tokens: Vec<String> = FIXTURE.tokens.split(' ').map(String::from).collect();
    tokens.push("!~".into());
    let kinds = [vec![1; tokens.len() - 1], vec![3]].concat();
    let file = with(file("qwen2"), "tokenizer.ggml.tokens", Value::Strings(tokens));
    let file = with(file, "tokenizer.ggml.token_type", Value::I32s(kinds));
    rejects(with(file, "tokenizer.ggml.merges", strings(&["! ~"])), "tokenizer.ggml.merges", "merge 0 names a token");
}

fn strings(items: &[&str]) -> Value {
    Value::Strings(items.iter().map(|&item| item.to_owned()).collect())
}

fn rejects(file: Writer, field: &str, problem: &str) {
    match tokenizer_of(&file) {
        Err(Error::Gguf { field: found, problem: text, .. }) => {
            assert!(found == field && text.contains(problem), "expected {field}: {problem}, found {found}: {text}");
        }
        other => panic!("expected {field}: {problem}, found {other:?}"),
    }
}

#[test]
fn rejects_what_cannot_be_a_vocabulary() {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const TYPES: &str = "tokenizer.ggml.token_type";
    const MERGES: &str = "tokenizer.ggml.merges";
    let file = || file("qwen2");
    rejects(without(file(), "tokenizer.ggml.pre"), "tokenizer.ggml.pre", "missing");
    rejects(without(file(), TOKENS), TOKENS, "missing");
    rejects(without(file(), MERGES), MERGES, "missing");
    rejects(with(file(), TOKENS, strings(&[])), TOKENS, "0 tokens");
    rejects(with(file(), TYPES, Value::I32s(vec![1])), TYPES, "1 types for");
    rejects(with(file(), MERGES, strings(&["q !", "a"])), MERGES, "merge 0 names a token that does not exist");
    for wrong in ["", " ", "a", "a  b", "a b c", "ab ", " ab"] {
        rejects(with(file(), MERGES, strings(&[wrong])), MERGES, "merge 0 is not two tokens");
    }
    rejects(with(file(), MERGES, strings(&["i n", "i n"])), MERGES, "merge 1 is there twice");
    rejects(with(file(), MERGES, Value::I32s(vec![1])), MERGES, "expected an array of strings");

    let tokens = || FIXTURE.tokens.split(' ').map(String::from).collect::<Vec<_>>();
    let bare = |tokens: Vec<String>| with(without(file(), TYPES), TOKENS, Value::Strings(tokens));
    rejects(bare([tokens(), vec!["!".into()]].concat()), TOKENS, "have the same text");
    let no_space = tokens().into_iter().filter(|token| token != "\u{120}").collect();
    rejects(with(bare(no_space), MERGES, strings(&[])), TOKENS, "no token is the byte 0x20");
    assert!(tokenizer_of(&with(bare(tokens()), MERGES, strings(&[]))).is_ok());

    let kinds = [vec![1; tokens().len()], vec![3]].concat();
    let giant = with(bare([tokens(), vec!["<".repeat(257)]].concat()), TYPES, Value::I32s(kinds));
    rejects(giant, TOKENS, "more than 256 bytes");

    for key in ["eos", "bos", "padding"] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        rejects(file().key(&key, Value::U32(u32::MAX)), &key, "outside the vocabulary");
    }
    let eos = "tokenizer.ggml.eos_token_id";
    rejects(file().key("tokenizer.ggml.add_eos_token", Value::Bool(true)), eos, "missing");
    rejects(file().key("tokenizer.ggml.add_eos_token", Value::U32(1)), "tokenizer.ggml.add_eos_token", "a boolean");
}

#[test]
fn unknown_rules_are_refused() {
    let check = |file: Writer, expected: &str, value: &str| match tokenizer_of(&file) {
        Err(Error::Unsupported { what, found, supported, .. }) => {
            assert_eq!((what, found.as_str()), (expected, value));
            assert!(!supported.is_empty());
        }
        other => panic!("{other:?}"),
    };
    for pre in ["default", "Qwen2", "deepseek-llm", ""] {
        check(file(pre), "pre-tokenizer", pre);
    }
    let prefix = "tokenizer.ggml.add_space_prefix";
    check(file("qwen2").key(prefix, Value::Bool(true)), prefix, "true");
    assert!(tokenizer_of(&file("qwen2").key(prefix, Value::Bool(false))).is_ok());
}

#[test]
fn giant_texts() {
    const N: usize = 10 << 20;
    let check = |text: &str, max_tokens, max_ms| {
        let start = Instant::now();
        let found = QWEN2.encode(text, Specials::Parse, max_tokens);
        let elapsed = start.elapsed();
        assert!(found.ids.len() <= max_tokens);
        assert!(elapsed.as_millis() < max_ms, "{elapsed:?} for {:?}...", text.chars().take(20).collect::<String>());
        found
    };
    // Limits that a slow, busy machine keeps, and that an algorithm reading the whole text or all pairs exceeds.
    for unit in ["x", "ab c", "中", "e\u{301}", "\u{301}", "=", "\n", "1"] {
        let text = unit.repeat(N / unit.len());
        assert!(check(&text, 512, 500).truncated, "{unit:?}");
    }
    assert!(check(&" ".repeat(N), 512, 2_000).truncated);
    assert!(!check(&"x".repeat(N), usize::MAX, 30_000).truncated);
    assert!(!check(&"\u{301}".repeat(N / 8), usize::MAX, 30_000).truncated);
}
