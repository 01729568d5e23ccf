//! A model file, mapped: metadata by key, tensors by name, never copied.
//!
//! Our own reader of GGUF versions 2 and 3, little endian. Nothing in the file is trusted: every count, length, offset
//! and string is checked once, by [`Gguf::open`], and a file that breaks a rule is an [`Error::Gguf`] naming the
//! field. What is kept on the heap is an index of ranges into the map, a few bytes for each key and tensor.

mod parse;

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(not(miri))]
use memmap2::Mmap as Map;

use crate::{Error, Result};
use parse::{Kind, TensorEntry, ValueEntry};

/// How the numbers of a tensor are stored. Those of the format that this build can unpack.
#[allow(non_camel_case_types, reason = "the names that the format, its tools and its files use")]
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl DType {
    const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";

    fn from_id(id: u32) -> Option<DType> {
        Some(match id {
            0 => DType::F32,
            1 => DType::F16,
            2 => DType::Q4_0,
            3 => DType::Q4_1,
            6 => DType::Q5_0,
            7 => DType::Q5_1,
            8 => DType::Q8_0,
            12 => DType::Q4_K,
            13 => DType::Q5_K,
            14 => DType::Q6_K,
            30 => DType::BF16,
            _ => return None,
        })
    }

    /// Values in one block; a row is a whole number of blocks.
    pub fn block_len(self) -> usize {
        match self {
            DType::F32 | DType::F16 | DType::BF16 => 1,
            DType::Q8_0 | DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 => 32,
            DType::Q4_K | DType::Q5_K | DType::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::Q8_0 => 34,
            DType::Q4_0 => 18,
            DType::Q4_1 => 20,
            DType::Q5_0 => 22,
            DType::Q5_1 => 24,
            DType::Q4_K => 144,
            DType::Q5_K => 176,
            DType::Q6_K => 210,
        }
    }

    /// The name in the format's own spelling.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::Q8_0 => "Q8_0",
            DType::Q4_0 => "Q4_0",
            DType::Q4_1 => "Q4_1",
            DType::Q5_0 => "Q5_0",
            DType::Q5_1 => "Q5_1",
            DType::Q4_K => "Q4_K",
            DType::Q5_K => "Q5_K",
            DType::Q6_K => "Q6_K",
        }
    }
}

/// An open model file. Cheap to clone: all clones share one map, which lives as long as the last of them.
#[derive(Clone, Debug)]
pub struct Gguf {
    inner: Arc<Inner>,
}

/// Miri, which finds wrong uses of memory, cannot map files.
#[cfg(miri)]
type Map = Vec<u8>;

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    map: Map,
    stamp: Stamp,
    /// When anything about the file was last changed, which no program can set: seconds and nanoseconds since 1970.
    #[cfg(unix)]
    changed: (i64, i64),
    values: Vec<ValueEntry>,   // in the order of their keys
    tensors: Vec<TensorEntry>, // in the order of their names
}

/// A tensor, borrowed from its file.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Name in the file, as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// How `data` is packed.
    pub dtype: DType,
    /// Outermost dimension first, as `[rows, cols]`: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// The packed blocks, row after row; exactly as long as `dtype` and `shape` ask for.
    pub data: &'a [u8],
}

/// A tensor that keeps its file mapped; what the layers of a model hold.
#[derive(Clone)]
pub struct TensorRef {
    file: Gguf,
    range: Range<usize>,
    dtype: DType,
    shape: Vec<usize>,
    name: String,
}

impl TensorRef {
    /// The packed blocks, row after row.
    pub fn data(&self) -> &[u8] {
        &self.file.inner.map[self.range.clone()]
    }

    /// How [`data`](Self::data) is packed.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Some rows of a matrix, as a matrix of its own. Panics where there are not so many.
    pub fn rows(&self, rows: Range<usize>) -> TensorRef {
        let row_bytes = self.range.len() / self.shape[0];
        assert!(rows.start <= rows.end && rows.end <= self.shape[0], "rows of `{}`", self.name);
        let range = self.range.start + rows.start * row_bytes..self.range.start + rows.end * row_bytes;
        let shape = [&[rows.len()], &self.shape[1..]].concat();
        TensorRef { file: self.file.clone(), range, dtype: self.dtype, shape, name: self.name.clone() }
    }
}

impl std::fmt::Debug for TensorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.name, self.shape, self.dtype.name())
    }
}

/// What the tensor table says about one tensor.
#[derive(Clone, Debug)]
pub struct TensorInfo<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// `None` for a quantisation that this build cannot unpack.
    pub dtype: Option<DType>,
    /// The quantisation's number in the file.
    pub type_id: u32,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
}

impl Gguf {
    /// Maps the file and checks all of it but the weights, which are not read.
    ///
    /// Errors: [`Error::Io`] when it cannot be opened; [`Error::Unsupported`] for a version of the format that this
    /// build does not read; [`Error::Gguf`] for everything wrong inside.
    pub fn open(path: &Path) -> Result<Gguf> {
        let metadata = fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if !metadata.is_file() {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::io("open", path, source));
        }
        Self::map(File::open(path).map_err(|e| Error::io("open", path, e))?, path)
    }

    /// Maps a file that was opened at `path`, as [`Gguf::open`] does.
    pub fn map(file: File, path: &Path) -> Result<Gguf> {
        let metadata = file.metadata().map_err(|e| Error::io("open", path, e))?;
        if metadata.len() == 0 {
            // An empty file cannot be mapped.
            return Err(Error::Gguf { path: path.into(), field: "magic".into(), problem: "the file is empty".into() });
        }
        // SAFETY: the map is private and read-only. What no code here can rule out is that somebody changes the file
        // while it is mapped: writing to it changes `&[u8]`s under our feet, cutting it short makes reads end in SIGBUS.
        // So a model file must never be modified in place; replace it by renaming a new one over it (the map then keeps
        // the old file alive). `unchanged` lets the owner notice either between two batches.
        #[cfg(not(miri))]
        let map = unsafe { Map::map(&file) }.map_err(|e| Error::io("map", path, e))?;
        #[cfg(miri)]
        let map = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let (values, tensors) = parse::parse(path, &map)?;
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let inner = Inner {
            path: path.into(),
            map,
            stamp: Stamp::of(&metadata),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            values,
            tensors,
        };
        Ok(Gguf { inner: Arc::new(inner) })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.inner.map
    }

    /// Whether the path still leads to the very file that was mapped, of the same size and time of change.
    ///
    /// One `stat`: cheap enough to ask before each batch.
    pub fn unchanged(&self) -> bool {
        fs::metadata(&self.inner.path).is_ok_and(|now| Stamp::of(&now) == self.inner.stamp)
    }

    /// What tells the file that was opened, but for its name, from others and from its own later states; and when it was
    /// last changed in any way, in seconds since 1970.
    #[cfg(unix)]
    pub(crate) fn identity(&self) -> (String, i64) {
        let inner = &self.inner;
        (format!("{:?} {:?}", inner.stamp, inner.changed), inner.changed.0)
    }

    /// A text of the metadata; `None` if the key is not there, as for all of these.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.value(key, |entry| match entry.kind {
            Kind::String => Ok(text(self.bytes(), entry.data.clone())),
            _ => Err("a string"),
        })
    }

    /// An unsigned number, stored in any width.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.value(key, |entry| {
            self.integer(entry).and_then(|n| u32::try_from(n).ok()).ok_or("an integer from 0 to 2^32 - 1")
        })
    }

    /// An unsigned number, stored in any width.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.value(key, |entry| {
            self.integer(entry).and_then(|n| u64::try_from(n).ok()).ok_or("an integer from 0 to 2^64 - 1")
        })
    }

    /// A number with a fraction, stored in 32 or 64 bits.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.value(key, |entry| match entry.kind {
            Kind::F32 => Ok(f32::from_le_bytes(self.fixed(entry))),
            Kind::F64 => Ok(f64::from_le_bytes(self.fixed(entry)) as f32),
            _ => Err("a floating-point number"),
        })
    }

    /// A switch.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.value(key, |entry| match entry.kind {
            Kind::Bool => Ok(self.bytes()[entry.data.start] != 0),
            _ => Err("a boolean"),
        })
    }

    /// A text that the architecture cannot do without: a missing key is an [`Error::Gguf`], as for all of these.
    pub fn require_str(&self, key: &str) -> Result<&str> {
        self.str(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// An unsigned number that must be there.
    pub fn require_u32(&self, key: &str) -> Result<u32> {
        self.u32(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// An unsigned number that must be there.
    pub fn require_u64(&self, key: &str) -> Result<u64> {
        self.u64(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// A number with a fraction that must be there.
    pub fn require_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// A switch that must be there.
    pub fn require_bool(&self, key: &str) -> Result<bool> {
        self.bool(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// A list of texts, read from the map as it is walked.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>> {
        self.value(key, |entry| match entry.kind {
            Kind::Array(parse::STRING) => {
                Ok(Strings { bytes: self.bytes(), pos: entry.data.start, left: entry.n_items })
            }
            _ => Err("an array of strings"),
        })
    }

    /// A list of signed 32-bit numbers.
    pub fn i32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = i32> + Clone + use<'_>>> {
        let items = self.words(key, parse::I32, "an array of 32-bit integers")?;
        Ok(items.map(|items| items.iter().map(|&word| i32::from_le_bytes(word))))
    }

    /// A list of 32-bit floating-point numbers.
    pub fn f32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = f32> + Clone + use<'_>>> {
        let items = self.words(key, parse::F32, "an array of 32-bit floating-point numbers")?;
        Ok(items.map(|items| items.iter().map(|&word| f32::from_le_bytes(word))))
    }

    /// A tensor that the architecture cannot do without.
    ///
    /// Errors: [`Error::Gguf`] if it is missing, [`Error::Unsupported`] if its quantisation is not one of ours.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        self.maybe_tensor(name)?.ok_or_else(|| self.damaged(name, "the tensor is missing"))
    }

    /// A tensor that some files have, such as a bias.
    pub fn maybe_tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some((entry, dtype)) = self.find(name)? else { return Ok(None) };
        let data = &self.bytes()[entry.data.clone()];
        Ok(Some(Tensor { name: text(self.bytes(), entry.name.clone()), dtype, shape: entry.shape(), data }))
    }

    /// As [`tensor`](Self::tensor), to keep.
    pub fn tensor_ref(&self, name: &str) -> Result<TensorRef> {
        self.maybe_tensor_ref(name)?.ok_or_else(|| self.damaged(name, "the tensor is missing"))
    }

    /// As [`maybe_tensor`](Self::maybe_tensor), to keep.
    pub fn maybe_tensor_ref(&self, name: &str) -> Result<Option<TensorRef>> {
        let Some((entry, dtype)) = self.find(name)? else { return Ok(None) };
        let (range, shape) = (entry.data.clone(), entry.shape());
        Ok(Some(TensorRef { file: self.clone(), range, dtype, shape, name: name.to_owned() }))
    }

    /// What is in the file, in the order of the names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        self.inner.tensors.iter().map(|entry| TensorInfo {
            name: text(self.bytes(), entry.name.clone()),
            dtype: DType::from_id(entry.type_id),
            type_id: entry.type_id,
            shape: entry.shape(),
        })
    }

    /// An [`Error::Gguf`] about a key or tensor of this file, for those who read it.
    pub fn damaged(&self, field: &str, problem: impl Into<String>) -> Error {
        Error::Gguf { path: self.path().into(), field: field.into(), problem: problem.into() }
    }

    fn value<'a, T>(
        &'a self,
        key: &str,
        read: impl FnOnce(&'a ValueEntry) -> Result<T, &'static str>,
    ) -> Result<Option<T>> {
        let values = &self.inner.values;
        let found = values.binary_search_by(|entry| self.bytes()[entry.key.clone()].cmp(key.as_bytes()));
        let Ok(idx) = found else { return Ok(None) };
        let entry = &values[idx];
        let wrong_type = |wanted| self.damaged(key, format!("expected {wanted}, found {}", entry.kind.name()));
        read(entry).map(Some).map_err(wrong_type)
    }

    fn integer(&self, entry: &ValueEntry) -> Option<i128> {
        Some(match entry.kind {
            Kind::U8 => self.bytes()[entry.data.start].into(),
            Kind::I8 => i8::from_le_bytes(self.fixed(entry)).into(),
            Kind::U16 => u16::from_le_bytes(self.fixed(entry)).into(),
            Kind::I16 => i16::from_le_bytes(self.fixed(entry)).into(),
            Kind::U32 => u32::from_le_bytes(self.fixed(entry)).into(),
            Kind::I32 => i32::from_le_bytes(self.fixed(entry)).into(),
            Kind::U64 => u64::from_le_bytes(self.fixed(entry)).into(),
            Kind::I64 => i64::from_le_bytes(self.fixed(entry)).into(),
            _ => return None,
        })
    }

    fn fixed<const N: usize>(&self, entry: &ValueEntry) -> [u8; N] {
        self.bytes()[entry.data.clone()].try_into().expect("the parser recorded the width of the kind")
    }

    fn words(&self, key: &str, item: u32, wanted: &'static str) -> Result<Option<&[[u8; 4]]>> {
        self.value(key, |entry| match entry.kind {
            Kind::Array(found) if found == item => Ok(self.bytes()[entry.data.clone()].as_chunks().0),
            _ => Err(wanted),
        })
    }

    fn find(&self, name: &str) -> Result<Option<(&TensorEntry, DType)>> {
        let tensors = &self.inner.tensors;
        let found = tensors.binary_search_by(|entry| self.bytes()[entry.name.clone()].cmp(name.as_bytes()));
        let Ok(idx) = found else { return Ok(None) };
        let entry = &tensors[idx];
        let dtype = DType::from_id(entry.type_id).ok_or_else(|| Error::Unsupported {
            path: self.path().into(),
            what: "quantisation",
            found: format!("type {} of tensor {name}", entry.type_id),
            supported: DType::SUPPORTED,
        })?;
        Ok(Some((entry, dtype)))
    }
}

/// The texts of an array, straight from the map.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    pos: usize,
    left: usize,
}

impl<'a> Strings<'a> {
    /// Where the next text's length stands in the file: what [`Strings::at`] takes.
    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    /// The text whose length stands at `pos` of `file`; empty if `pos` is none of those that a walk met.
    pub(crate) fn at(file: &'a Gguf, pos: usize) -> &'a [u8] {
        let bytes = file.bytes();
        parse::string_at(bytes, pos).and_then(|range| bytes.get(range)).unwrap_or_default()
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let range = parse::string_at(self.bytes, self.pos)?;
        self.pos = range.end;
        Some(text(self.bytes, range))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// A text that `open` has found valid. Looked at again, because the alternative is `unsafe`; it cannot fail unless
/// somebody writes to the mapped file.
fn text(bytes: &[u8], range: Range<usize>) -> &str {
    bytes.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// What tells one state of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Stamp {
            #[cfg(unix)]
            device_and_inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}
