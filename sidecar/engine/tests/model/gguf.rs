//! The reader of model files, with valid and with damaged files.

use std::fs;
use std::path::Path;

use offheap_engine::Error;
use offheap_engine::gguf::Gguf;
use offheap_engine::quant::DType;

use super::support::{Value, Writer, array, id, model_path};

const F32: u32 = 0;
const Q8_0: u32 = 8;
const IQ4_XS: u32 = 23;

/// A valid file with every kind of value, and tensors of three formats.
fn valid() -> Writer {
    let rows: Vec<u8> = (0..2 * 34).collect();
    Writer::new()
        .key("general.architecture", Value::Str("bert"))
        .key("bert.block_count", Value::U32(6))
        .key("wide", Value::I64(7))
        .key("negative", Value::I64(-7))
        .key("epsilon", Value::F32(0.5))
        .key("causal", Value::Bool(true))
        .key("words", Value::Strings(vec!["a".into(), String::new(), "straße".into()]))
        .key("numbers", Value::I32s(vec![3, -1, i32::MAX]))
        .tensor("norm", &[3], F32, &[0; 12])
        .tensor("odd", &[256], IQ4_XS, &[0; 136])
        .tensor("weight", &[32, 2], Q8_0, &rows)
}

fn open_bytes(bytes: &[u8]) -> offheap_engine::Result<Gguf> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).expect("write the model");
    // On Unix the map stays valid when the file is removed.
    Gguf::open(&path)
}

#[test]
fn reads_metadata() {
    let file = open_bytes(&valid().bytes()).unwrap();
    assert_eq!(file.str("general.architecture").unwrap(), Some("bert"));
    assert_eq!(file.require_str("general.architecture").unwrap(), "bert");
    assert_eq!(file.u32("bert.block_count").unwrap(), Some(6));
    assert_eq!(file.u64("bert.block_count").unwrap(), Some(6));
    assert_eq!(file.u32("wide").unwrap(), Some(7));
    assert_eq!(file.f32("epsilon").unwrap(), Some(0.5));
    assert_eq!(file.bool("causal").unwrap(), Some(true));
    assert_eq!(file.u32("absent").unwrap(), None);
    let words = file.strings("words").unwrap().unwrap();
    assert_eq!(words.len(), 3);
    assert_eq!(words.collect::<Vec<_>>(), ["a", "", "straße"]);
    assert_eq!(file.i32s("numbers").unwrap().unwrap().collect::<Vec<_>>(), [3, -1, i32::MAX]);
}

#[test]
fn wrong_types_and_missing_keys_are_errors_that_name_the_key() {
    let file = open_bytes(&valid().bytes()).unwrap();
    let check = |error: Error, field: &str, problem: &str| assert_damaged(&error, field, problem);
    check(file.str("bert.block_count").unwrap_err(), "bert.block_count", "expected a string, found a number");
    check(file.u32("negative").unwrap_err(), "negative", "expected an integer from 0");
    check(file.u32("epsilon").unwrap_err(), "epsilon", "expected an integer");
    check(file.f32("bert.block_count").unwrap_err(), "bert.block_count", "floating-point");
    check(file.bool("wide").unwrap_err(), "wide", "a boolean");
    check(file.strings("numbers").unwrap_err(), "numbers", "found an array of I32");
    check(file.i32s("words").err().unwrap(), "words", "found an array of strings");
    check(file.require_u32("absent").unwrap_err(), "absent", "missing");
    check(file.require_str("absent").unwrap_err(), "absent", "missing");
    check(file.tensor("absent").unwrap_err(), "absent", "missing");
}

#[test]
fn reads_tensors() {
    let file = open_bytes(&valid().bytes()).unwrap();
    let weight = file.tensor("weight").unwrap();
    assert_eq!((weight.name, weight.dtype, &weight.shape[..]), ("weight", DType::Q8_0, &[2, 32][..]));
    assert_eq!(weight.data, (0..68).collect::<Vec<u8>>());
    assert!(file.maybe_tensor("absent").unwrap().is_none());
    assert_eq!(file.tensors().map(|t| t.name).collect::<Vec<_>>(), ["norm", "odd", "weight"]);

    let kept = file.tensor_ref("weight").unwrap();
    drop(file);
    assert_eq!((kept.name(), kept.dtype(), kept.shape(), kept.data().len()), ("weight", DType::Q8_0, &[2, 32][..], 68));
}

#[test]
fn a_tensor_of_an_unknown_quantisation_is_an_error_only_when_asked_for() {
    let file = open_bytes(&valid().bytes()).unwrap();
    assert!(file.tensors().any(|t| t.name == "odd" && t.dtype.is_none() && t.type_id == IQ4_XS));
    match file.tensor("odd").unwrap_err() {
        Error::Unsupported { what: "quantisation", found, .. } => assert_eq!(found, "type 23 of tensor odd"),
        other => panic!("{other}"),
    }
}

#[test]
fn version_2_is_read_and_others_are_not() {
    assert!(open_bytes(&Writer { version: 2, ..valid() }.bytes()).is_ok());
    for (version, text) in [(1, "1"), (4, "4"), (3_u32.swap_bytes(), "3, big endian")] {
        match open_bytes(&Writer { version, ..valid() }.bytes()).unwrap_err() {
            Error::Unsupported { what: "GGUF version", found, .. } => assert_eq!(found, text),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn rejects_damaged_files() {
    let huge = u64::MAX;
    let one_key = |value| Writer::new().key("k", value);
    let raw_key = |type_id, bytes: &[u8]| one_key(Value::Raw(type_id, bytes.to_vec()));
    let tensor = |dims: &[u64], type_id| Writer::new().tensor("t", dims, type_id, &[0; 64]);
    let edit = |change: fn(&mut Writer)| {
        let mut file = valid();
        change(&mut file);
        file.bytes()
    };
    let check = check_rejected;

    check(b"", "magic", "empty");
    check(b"GG", "magic", "pass the file's end");
    check(b"GGML\x03\0\0\0", "magic", "does not begin with GGUF");
    check(&edit(|f| f.n_tensors = Some(u64::MAX)), "tensor count", "more than the 65536");
    check(&edit(|f| f.n_tensors = Some(60_000)), "tensor count", "do not fit");
    check(&edit(|f| f.n_keys = Some(u64::MAX)), "metadata count", "more than the 65536");
    check(&edit(|f| f.n_keys = Some(60_000)), "metadata count", "do not fit");
    // Keys and values.
    check(&edit(|f| f.keys[1].0.clear()), "key 1 of the metadata", "empty");
    check(&edit(|f| f.keys[2].0 = b"\xff\xfe".into()), "key 2 of the metadata", "not UTF-8");
    check(&edit(|f| f.keys[2] = f.keys[1].clone()), "bert.block_count", "twice");
    check(&raw_key(13, &[0; 8]).bytes(), "k", "type 13, which does not exist");
    check(&raw_key(id::BOOL, &[2]).bytes(), "k", "0 or 1");
    check(&raw_key(id::STRING, b"\x02\0\0\0\0\0\0\0\xc3\x28").bytes(), "k", "not UTF-8");
    check(&raw_key(id::STRING, &huge.to_le_bytes()).bytes(), "k", "longer than");
    check(&raw_key(id::STRING, &9_u64.to_le_bytes()).bytes(), "k", "pass the file's end");
    check(&one_key(array(id::ARRAY, 1, &[0; 32])).bytes(), "k", "array of arrays");
    check(&one_key(array(99, 1, &[0; 32])).bytes(), "k", "type 99");
    check(&one_key(array(4, huge, &[])).bytes(), "k", "more than the 16777216");
    check(&one_key(array(4, 1_000, &[0; 64])).bytes(), "k", "do not fit");
    check(&one_key(array(id::STRING, 1_000, &[0; 64])).bytes(), "k", "do not fit");
    check(&one_key(array(id::STRING, 1, &[0xff; 64])).bytes(), "k", "longer than");
    check(&one_key(array(id::STRING, 1, b"\x01\0\0\0\0\0\0\0\xff")).bytes(), "k", "not UTF-8");
    // Alignment.
    for bad in [0, 1, 4, 48, 2 << 20] {
        let file = Writer::new().key("general.alignment", Value::U32(bad));
        check(&file.bytes(), "general.alignment", "not a power of two");
    }
    let file = Writer::new().key("general.alignment", Value::Str("32"));
    check(&file.bytes(), "general.alignment", "found a string");
    // Tensors.
    check(&edit(|f| f.tensors[0].name.clear()), "name of tensor 0", "empty");
    check(&edit(|f| f.tensors[0].name = b"\xff".into()), "name of tensor 0", "not UTF-8");
    check(&edit(|f| f.tensors[0].name = f.tensors[2].name.clone()), "weight", "twice");
    check(&tensor(&[], F32).bytes(), "t", "0 dimensions");
    check(&tensor(&[1; 5], F32).bytes(), "t", "5 dimensions");
    check(&tensor(&[4, 0], F32).bytes(), "t", "a dimension is 0");
    check(&tensor(&[1 << 32, 1 << 32], F32).bytes(), "t", "too large");
    check(&tensor(&[huge, huge, huge, huge], IQ4_XS).bytes(), "t", "too large");
    check(&tensor(&[1 << 62], F32).bytes(), "t", "too large");
    check(&tensor(&[33], Q8_0).bytes(), "t", "no multiple of Q8_0's 32");
    check(&tensor(&[17], F32).bytes(), "t", "outside the file");
    check(&edit(|f| f.tensors[0].offset = 4), "norm", "not aligned to 32");
    check(&edit(|f| f.tensors[0].offset = u64::MAX - 31), "norm", "outside the file");
    check(&edit(|f| f.tensors[0].offset = u64::MAX), "norm", "outside the file");
    check(&edit(|f| f.tensors[1].offset = 1 << 40), "odd", "outside the file");
    check(&edit(|f| f.tensors[2].offset = 0), "weight", "overlaps tensor norm");
    check(&edit(|f| f.data.truncate(f.data.len() - 1)), "weight", "outside the file");
}

#[test]
fn every_prefix_of_a_valid_file_is_rejected() {
    let bytes = valid().bytes();
    assert!(open_bytes(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(open_bytes(&bytes[..len]).is_err(), "the first {len} of {} bytes", bytes.len());
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let valid = valid().bytes();
    let mut random = Random(0x5eed);
    let mut n_opened = 0;
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        let Ok(file) = open_bytes(&bytes) else { continue };
        n_opened += 1;
        for key in ["general.architecture", "bert.block_count", "wide", "epsilon", "causal", "words", "numbers"] {
            let _ = (file.str(key), file.u32(key), file.u64(key), file.f32(key), file.bool(key));
            let _ = (file.strings(key).map(|s| s.map(Iterator::count)), file.f32s(key).map(|s| s.map(Iterator::count)));
            let _ = file.i32s(key).map(|s| s.map(Iterator::count));
        }
        for info in file.tensors() {
            let Ok(tensor) = file.tensor(info.name) else { continue };
            let n_values: usize = tensor.shape.iter().product();
            assert_eq!(tensor.data.len(), n_values / tensor.dtype.block_len() * tensor.dtype.block_bytes());
        }
    }
    assert!(n_opened > 1_000, "only {n_opened} of the files could be opened");
}

#[test]
fn what_is_not_a_file_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("absent")] {
        assert!(matches!(Gguf::open(path), Err(Error::Io { action: "open", .. })));
    }
}

#[cfg(unix)]
#[test]
fn notices_that_the_file_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, next) = (folder.path().join("model.gguf"), folder.path().join("next"));
    fs::write(&path, valid().bytes()).unwrap();
    fs::write(&next, valid().bytes()).unwrap();
    let file = Gguf::open(&path).unwrap();
    assert!(file.unchanged());
    fs::rename(&next, &path).unwrap();
    assert!(!file.unchanged());
    assert_eq!(file.u32("bert.block_count").unwrap(), Some(6)); // from the old file, which is still mapped
    fs::remove_file(&path).unwrap();
    assert!(!file.unchanged());
}

#[test]
fn opens_the_real_model() {
    let file = Gguf::open(&model_path()).unwrap();
    assert_eq!(file.require_str("general.architecture").unwrap(), "bert");
    assert_eq!(file.require_u32("bert.embedding_length").unwrap(), 384);
    assert_eq!(file.strings("tokenizer.ggml.tokens").unwrap().unwrap().len(), 30_522);
    assert_eq!(file.tensor("token_embd.weight").unwrap().shape, [30_522, 384]);
    assert_eq!(file.tensors().len(), 101);
    assert!(file.unchanged());
}

#[test]
fn is_shared_between_threads() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Gguf>();
    check::<offheap_engine::gguf::TensorRef>();
}

fn check_rejected(bytes: &[u8], field: &str, problem: &str) {
    match open_bytes(bytes) {
        Err(error) => assert_damaged(&error, field, problem),
        Ok(_) => panic!("opened a file with a bad {field} ({problem})"),
    }
}

fn assert_damaged(error: &Error, field: &str, problem: &str) {
    match error {
        Error::Gguf { field: found, problem: text, path } => {
            assert_ne!(path, Path::new(""));
            assert!(found == field && text.contains(problem), "expected {field}: ..{problem}.., found {found}: {text}");
        }
        other => panic!("expected {field}: {problem}, found {other}"),
    }
}

/// Pseudo-random numbers (xorshift64) with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}
