//! For the tests: model files made by hand, and where the real one is.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod tiny;

use std::path::{Path, PathBuf};

/// The default model: `OFFHEAP_TEST_MODEL`, else the package in this repository. A test without it fails.
pub fn model_path() -> PathBuf {
    let packaged = "../../npm/model-all-minilm-l6-v2/all-minilm-l6-v2.Q8_0.gguf";
    let path = match std::env::var_os("OFFHEAP_TEST_MODEL") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(packaged),
    };
    assert!(path.is_file(), "the test model is not at {}: set OFFHEAP_TEST_MODEL to it", path.display());
    path
}

/// The numbers of the types, as the format has them.
pub mod id {
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
}

/// A value of the metadata.
#[derive(Clone)]
pub enum Value {
    U32(u32),
    I64(i64),
    F32(f32),
    Bool(bool),
    Str(&'static str),
    Strings(Vec<String>),
    I32s(Vec<i32>),
    /// Any type number with any bytes after it.
    Raw(u32, Vec<u8>),
}

/// Writes a GGUF file, sound or not: it checks nothing.
#[derive(Clone)]
pub struct Writer {
    pub magic: [u8; 4],
    pub version: u32,
    pub n_tensors: Option<u64>,
    pub n_keys: Option<u64>,
    pub keys: Vec<(Vec<u8>, Value)>,
    pub tensors: Vec<TensorRow>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

/// A row of the tensor table.
#[derive(Clone)]
pub struct TensorRow {
    pub name: Vec<u8>,
    /// The file's order, innermost first.
    pub dims: Vec<u64>,
    pub type_id: u32,
    pub offset: u64,
}

impl Writer {
    pub fn new() -> Writer {
        let (magic, keys, tensors) = (*b"GGUF", Vec::new(), Vec::new());
        Writer { magic, version: 3, n_tensors: None, n_keys: None, keys, tensors, alignment: 32, data: Vec::new() }
    }

    pub fn key(mut self, key: &str, value: Value) -> Writer {
        self.keys.push((key.into(), value));
        self
    }

    /// Appends a tensor at the next aligned offset.
    pub fn tensor(mut self, name: &str, dims: &[u64], type_id: u32, data: &[u8]) -> Writer {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.tensors.push(TensorRow { name: name.into(), dims: dims.into(), type_id, offset });
        self.data.extend(data);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            string(&mut out, key);
            let (type_id, bytes) = encode(value);
            out.extend(type_id.to_le_bytes());
            out.extend(bytes);
        }
        for row in &self.tensors {
            string(&mut out, &row.name);
            out.extend((row.dims.len() as u32).to_le_bytes());
            row.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(row.type_id.to_le_bytes());
            out.extend(row.offset.to_le_bytes());
        }
        if !self.tensors.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
        }
        out.extend(&self.data);
        out
    }
}

/// The head of an array and its bytes.
pub fn array(item: u32, n_items: u64, bytes: &[u8]) -> Value {
    let mut out = item.to_le_bytes().to_vec();
    out.extend(n_items.to_le_bytes());
    out.extend(bytes);
    Value::Raw(id::ARRAY, out)
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

fn encode(value: &Value) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    match value {
        Value::U32(n) => (4, n.to_le_bytes().to_vec()),
        Value::I64(n) => (11, n.to_le_bytes().to_vec()),
        Value::F32(n) => (6, n.to_le_bytes().to_vec()),
        Value::Bool(b) => (id::BOOL, vec![u8::from(*b)]),
        Value::Str(text) => {
            string(&mut out, text.as_bytes());
            (id::STRING, out)
        }
        Value::Strings(items) => {
            items.iter().for_each(|item| string(&mut out, item.as_bytes()));
            encode(&array(id::STRING, items.len() as u64, &out))
        }
        Value::I32s(items) => {
            let bytes: Vec<u8> = items.iter().flat_map(|n| n.to_le_bytes()).collect();
            encode(&array(5, items.len() as u64, &bytes))
        }
        Value::Raw(type_id, bytes) => (*type_id, bytes.clone()),
    }
}
