//! The one pass over a file's header that decides whether it can be trusted.
//!
//! Every rule is checked before the memory it could cost is asked for. The result is ranges into the file, all of them
//! inside it: the accessors in `gguf.rs` index with them.

use std::ops::Range;
use std::path::Path;

use super::DType;
use crate::{Error, Result};

const MAX_STRING_BYTES: u64 = 64 << 20;
const MAX_ARRAY_ITEMS: u64 = 16 << 20;
const MAX_TENSORS: u64 = 64 << 10;
const MAX_KEYS: u64 = 64 << 10;
const MAX_ALIGNMENT: u64 = 1 << 20;

const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1; // length, one letter, type, one byte
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8; // length, one letter, rank, one dimension, type, offset

// Numbers of the item types that the accessors ask for.
pub(super) const I32: u32 = 5;
pub(super) const F32: u32 = 6;
pub(super) const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    /// With the number of its items' type.
    Array(u32),
    U64,
    I64,
    F64,
}

impl Kind {
    /// The scalar types and the string; an array needs the type of its items too.
    fn from_id(id: u32) -> Option<Kind> {
        Some(match id {
            0 => Kind::U8,
            1 => Kind::I8,
            2 => Kind::U16,
            3 => Kind::I16,
            4 => Kind::U32,
            I32 => Kind::I32,
            F32 => Kind::F32,
            7 => Kind::Bool,
            STRING => Kind::String,
            10 => Kind::U64,
            11 => Kind::I64,
            12 => Kind::F64,
            _ => return None,
        })
    }

    /// Bytes of one value; `None` for those of varying length.
    fn width(self) -> Option<u64> {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => Some(1),
            Kind::U16 | Kind::I16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::String | Kind::Array(_) => None,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Kind::Bool => "a boolean".into(),
            Kind::String => "a string".into(),
            Kind::Array(STRING) => "an array of strings".into(),
            Kind::Array(id) => match Kind::from_id(id) {
                Some(item) => format!("an array of {item:?}"),
                None => "an array".into(),
            },
            scalar => format!("a number of type {scalar:?}"),
        }
    }
}

/// A metadata value: where its key and its bytes are.
#[derive(Debug)]
pub(super) struct ValueEntry {
    pub(super) key: Range<usize>,
    pub(super) kind: Kind,
    /// Without the length of a string or the head of an array.
    pub(super) data: Range<usize>,
    /// Of an array; 1 otherwise.
    pub(super) n_items: usize,
}

/// A tensor: where its name and its blocks are.
#[derive(Debug)]
pub(super) struct TensorEntry {
    pub(super) name: Range<usize>,
    pub(super) type_id: u32,
    /// One byte long if the type is not ours: its true length is then unknown, and nobody can ask for it.
    pub(super) data: Range<usize>,
    dims: [usize; 4], // the file's order, innermost first
    rank: usize,
}

impl TensorEntry {
    /// Outermost dimension first.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.dims[..self.rank].iter().rev().copied().collect()
    }
}

/// Reads the header. Both lists come back sorted, by key and by name.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<ValueEntry>, Vec<TensorEntry>)> {
    let mut cursor = Cursor { path, bytes, pos: 0 };
    if &cursor.array::<4>("magic")? != b"GGUF" {
        return Err(cursor.damaged("magic", "the file does not begin with GGUF"));
    }
    let version = cursor.u32("version")?;
    if !matches!(version, 2 | 3) {
        let found = match version.swap_bytes() {
            n @ 1..=3 => format!("{n}, big endian"),
            _ => version.to_string(),
        };
        let supported = "2 and 3, little endian";
        return Err(Error::Unsupported { path: path.into(), what: "GGUF version", found, supported });
    }
    let n_tensors = cursor.u64("tensor count")?;
    let n_keys = cursor.u64("metadata count")?;
    cursor.check_count("tensor count", n_tensors, MAX_TENSORS, MIN_TENSOR_BYTES)?;
    cursor.check_count("metadata count", n_keys, MAX_KEYS, MIN_KEY_BYTES)?;

    let values = (0..n_keys).map(|idx| value(&mut cursor, idx)).collect::<Result<Vec<_>>>()?;
    let values = sorted_unique(&cursor, values, |entry| &entry.key, "the key occurs twice")?;
    let alignment = alignment(&cursor, &values)?;

    let tensors = (0..n_tensors).map(|idx| tensor(&mut cursor, idx)).collect::<Result<Vec<_>>>()?;
    let mut tensors = sorted_unique(&cursor, tensors, |entry| &entry.name, "the tensor's name occurs twice")?;
    place(&cursor, &mut tensors, alignment)?;
    Ok((values, tensors))
}

/// Where the text is whose length stands at `pos`.
pub(super) fn string_at(bytes: &[u8], pos: usize) -> Option<Range<usize>> {
    let len = bytes.get(pos..)?.first_chunk().map(|&len| u64::from_le_bytes(len))?;
    let start = pos + 8;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

fn value(cursor: &mut Cursor<'_>, idx: u64) -> Result<ValueEntry> {
    let key = cursor.string(&format!("key {idx} of the metadata"))?;
    if key.is_empty() {
        return Err(cursor.damaged(&format!("key {idx} of the metadata"), "the key is empty"));
    }
    let field = cursor.text(key.clone());
    let type_id = cursor.u32(field)?;
    if type_id == ARRAY {
        let item_id = cursor.u32(field)?;
        let n_items = cursor.u64(field)?;
        let Some(item) = Kind::from_id(item_id) else {
            let problem = match item_id {
                ARRAY => "an array of arrays is not supported".to_owned(),
                _ => format!("the array's items have type {item_id}, which does not exist"),
            };
            return Err(cursor.damaged(field, problem));
        };
        cursor.check_count(field, n_items, MAX_ARRAY_ITEMS, item.width().unwrap_or(8))?;
        let start = cursor.pos;
        match item.width() {
            Some(width) => _ = cursor.take(n_items * width, field)?, // 2^24 items of at most 8 bytes
            None => (0..n_items).try_for_each(|_| cursor.string(field).map(|_| ()))?,
        }
        return Ok(ValueEntry { key, kind: Kind::Array(item_id), data: start..cursor.pos, n_items: n_items as usize });
    }
    let Some(kind) = Kind::from_id(type_id) else {
        return Err(cursor.damaged(field, format!("the value has type {type_id}, which does not exist")));
    };
    let data = match kind.width() {
        Some(width) => cursor.take(width, field)?,
        None => cursor.string(field)?,
    };
    if kind == Kind::Bool && cursor.bytes[data.start] > 1 {
        return Err(cursor.damaged(field, "a boolean must be 0 or 1"));
    }
    Ok(ValueEntry { key, kind, data, n_items: 1 })
}

fn alignment(cursor: &Cursor<'_>, values: &[ValueEntry]) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let Some(entry) = values.iter().find(|entry| &cursor.bytes[entry.key.clone()] == KEY.as_bytes()) else {
        return Ok(32);
    };
    let data = &cursor.bytes[entry.data.clone()];
    let alignment = match (entry.kind, data.first_chunk(), data.first_chunk()) {
        (Kind::U32, Some(&word), _) => u32::from_le_bytes(word).into(),
        (Kind::U64, _, Some(&word)) => u64::from_le_bytes(word),
        (kind, ..) => return Err(cursor.damaged(KEY, format!("expected a U32, found {}", kind.name()))),
    };
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
        return Err(cursor.damaged(KEY, format!("{alignment} is not a power of two from 8 to {MAX_ALIGNMENT}")));
    }
    Ok(alignment)
}

/// One row of the tensor table; `data` is relative to the tensor data until `place` has seen it.
fn tensor(cursor: &mut Cursor<'_>, idx: u64) -> Result<TensorEntry> {
    let name = cursor.string(&format!("name of tensor {idx}"))?;
    if name.is_empty() {
        return Err(cursor.damaged(&format!("name of tensor {idx}"), "the name is empty"));
    }
    let field = cursor.text(name.clone());
    let rank = cursor.u32(field)? as usize;
    if !(1..=4).contains(&rank) {
        return Err(cursor.damaged(field, format!("the tensor has {rank} dimensions, not 1 to 4")));
    }
    let mut dims = [1; 4];
    for dim in &mut dims[..rank] {
        let n = cursor.u64(field)?;
        *dim = usize::try_from(n).map_err(|_| cursor.damaged(field, format!("a dimension of {n} is too large")))?;
        if n == 0 {
            return Err(cursor.damaged(field, "a dimension is 0"));
        }
    }
    let type_id = cursor.u32(field)?;
    let offset = cursor.u64(field)?;

    let too_large = || cursor.damaged(field, "the product of the dimensions is too large");
    let n_values = dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim)).ok_or_else(too_large)?;
    let n_bytes = match DType::from_id(type_id) {
        None => 1,
        Some(dtype) if dims[0] % dtype.block_len() != 0 => {
            let (row, block, name) = (dims[0], dtype.block_len(), dtype.name());
            return Err(cursor.damaged(field, format!("a row of {row} values is no multiple of {name}'s {block}")));
        }
        Some(dtype) => (n_values / dtype.block_len()).checked_mul(dtype.block_bytes()).ok_or_else(too_large)?,
    };
    let outside = || cursor.damaged(field, format!("offset {offset} lies outside the file"));
    let start = usize::try_from(offset).map_err(|_| outside())?;
    let end = start.checked_add(n_bytes).ok_or_else(outside)?;
    Ok(TensorEntry { name, type_id, data: start..end, dims, rank })
}

/// Moves the tensors' ranges to where they are in the file, and checks that they fit there.
fn place(cursor: &Cursor<'_>, tensors: &mut [TensorEntry], alignment: u64) -> Result<()> {
    let alignment = alignment as usize; // at most 1 MiB
    let data_start = cursor.pos.next_multiple_of(alignment); // `pos` is within an object in memory
    for entry in &mut *tensors {
        let damaged = |problem| Err(cursor.damaged(cursor.text(entry.name.clone()), problem));
        let Range { start, end } = entry.data.clone();
        if start % alignment != 0 {
            return damaged(format!("offset {start} is not aligned to {alignment}"));
        }
        match (data_start.checked_add(start), data_start.checked_add(end)) {
            (Some(start), Some(end)) if end <= cursor.bytes.len() => entry.data = start..end,
            _ => {
                let (n_bytes, len) = (end - start, cursor.bytes.len());
                return damaged(format!(
                    "{n_bytes} bytes at offset {start} of the data at {data_start} lie outside the file of {len} bytes"
                ));
            }
        }
    }
    let mut by_start: Vec<&TensorEntry> = tensors.iter().collect();
    by_start.sort_unstable_by_key(|entry| entry.data.start);
    for pair in by_start.windows(2) {
        if pair[1].data.start < pair[0].data.end {
            let (first, second) = (cursor.text(pair[0].name.clone()), cursor.text(pair[1].name.clone()));
            return Err(cursor.damaged(second, format!("the tensor overlaps tensor {first}")));
        }
    }
    Ok(())
}

fn sorted_unique<T>(
    cursor: &Cursor<'_>,
    mut entries: Vec<T>,
    name: impl Fn(&T) -> &Range<usize>,
    problem: &str,
) -> Result<Vec<T>> {
    let bytes = |entry: &T| &cursor.bytes[name(entry).clone()];
    entries.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
    match entries.windows(2).find(|pair| bytes(&pair[0]) == bytes(&pair[1])) {
        Some(pair) => Err(cursor.damaged(cursor.text(name(&pair[0]).clone()), problem)),
        None => Ok(entries),
    }
}

/// A position in the file that only moves over bytes that are there.
struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// The error. A field or problem that quotes a giant string of the file is cut.
    fn damaged(&self, field: &str, problem: impl Into<String>) -> Error {
        let (mut field, mut problem) = (field.to_owned(), problem.into());
        for text in [&mut field, &mut problem] {
            let cut = (0..=text.len().min(240)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.truncate(cut);
        }
        Error::Gguf { path: self.path.into(), field, problem }
    }

    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.pos) as u64
    }

    fn take(&mut self, n_bytes: u64, field: &str) -> Result<Range<usize>> {
        if self.remaining() < n_bytes {
            let (pos, len) = (self.pos, self.bytes.len());
            return Err(self.damaged(field, format!("{n_bytes} bytes at {pos} pass the file's end at {len}")));
        }
        let start = self.pos;
        self.pos += n_bytes as usize; // not more than the length of a slice
        Ok(start..self.pos)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N]> {
        let range = self.take(N as u64, field)?;
        Ok(self.bytes[range].try_into().expect("`take` gives what was asked for"))
    }

    fn u32(&mut self, field: &str) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &str) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    fn string(&mut self, field: &str) -> Result<Range<usize>> {
        let len = self.u64(field)?;
        if MAX_STRING_BYTES < len {
            return Err(self.damaged(field, format!("a string of {len} bytes is longer than {MAX_STRING_BYTES}")));
        }
        let range = self.take(len, field)?;
        match std::str::from_utf8(&self.bytes[range.clone()]) {
            Ok(_) => Ok(range),
            Err(_) => Err(self.damaged(field, format!("the string at {} is not UTF-8", range.start))),
        }
    }

    /// A string that `string` has returned.
    fn text(&self, range: Range<usize>) -> &'a str {
        std::str::from_utf8(&self.bytes[range]).expect("checked when it was read")
    }

    fn check_count(&self, field: &str, n: u64, max: u64, min_bytes: u64) -> Result<()> {
        if max < n {
            return Err(self.damaged(field, format!("{n} entries are more than the {max} allowed")));
        }
        if self.remaining() < n * min_bytes {
            return Err(self.damaged(field, format!("{n} entries do not fit in the {} bytes left", self.remaining())));
        }
        Ok(())
    }
}
