//! The parser of the header: one pass that checks every rule of the format.
//!
//! Counts and lengths are checked before memory is allocated for them. The result is ranges of bytes, all of them inside
//! the file: the accessors in `metadata.rs` and `tensor.rs` index with them.

use std::ops::Range;
use std::path::Path;

use crate::quant::DType;
use crate::{Error, Result};

/// Longest string that is accepted.
const MAX_STRING_BYTES: u64 = 64 << 20;
/// Longest array that is accepted.
const MAX_ARRAY_ITEMS: u64 = 16 << 20;
/// Most tensors that are accepted.
const MAX_TENSORS: u64 = 64 << 10;
/// Most metadata keys that are accepted.
const MAX_KEYS: u64 = 64 << 10;
/// Largest alignment of tensor data that is accepted.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// Bytes of the shortest metadata entry: length of the key, one letter, type, a value of one byte.
const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
/// Bytes of the shortest tensor entry: length of the name, one letter, rank, one dimension, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// Type number of a 32-bit integer.
pub(super) const I32: u32 = 5;
/// Type number of a 32-bit floating-point number.
pub(super) const F32: u32 = 6;
/// Type number of a string.
pub(super) const STRING: u32 = 8;
/// Type number of an array.
const ARRAY: u32 = 9;

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    /// An array, with the type number of its items.
    Array(u32),
    U64,
    I64,
    F64,
}

impl ValueType {
    /// The type with this number. `None` for an array too, whose type includes that of its items.
    fn from_id(id: u32) -> Option<ValueType> {
        Some(match id {
            0 => ValueType::U8,
            1 => ValueType::I8,
            2 => ValueType::U16,
            3 => ValueType::I16,
            4 => ValueType::U32,
            I32 => ValueType::I32,
            F32 => ValueType::F32,
            7 => ValueType::Bool,
            STRING => ValueType::String,
            10 => ValueType::U64,
            11 => ValueType::I64,
            12 => ValueType::F64,
            _ => return None,
        })
    }

    /// Bytes of one value; `None` for types of variable length.
    fn width(self) -> Option<u64> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::String | ValueType::Array(_) => None,
        }
    }

    /// The type in words, for error messages.
    pub(super) fn name(self) -> String {
        match self {
            ValueType::Bool => "a boolean".into(),
            ValueType::String => "a string".into(),
            ValueType::Array(STRING) => "an array of strings".into(),
            ValueType::Array(id) => match ValueType::from_id(id) {
                Some(item) => format!("an array of {item:?}"),
                None => "an array".into(),
            },
            scalar => format!("a number of type {scalar:?}"),
        }
    }
}

/// A metadata entry: where its key and its value are in the file.
#[derive(Debug)]
pub(super) struct ValueEntry {
    pub(super) key: Range<usize>,
    pub(super) value_type: ValueType,
    /// The bytes of the value, without a string's length or an array's type and count.
    pub(super) data: Range<usize>,
    /// Items of an array; 1 for other types.
    pub(super) n_items: usize,
}

/// A tensor: where its name and its blocks are in the file.
#[derive(Debug)]
pub(super) struct TensorEntry {
    pub(super) name: Range<usize>,
    pub(super) type_id: u32,
    /// The blocks. One byte long if this build does not know the type: its length is unknown then, and its data is
    /// never returned.
    pub(super) data: Range<usize>,
    /// The dimensions in the file's order, innermost first.
    dims: [usize; 4],
    rank: usize,
}

impl TensorEntry {
    /// Dimensions, outermost first.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.dims[..self.rank].iter().rev().copied().collect()
    }
}

/// Parses the header. Returns the metadata sorted by key and the tensors sorted by name.
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
    locate(&cursor, &mut tensors, alignment)?;
    Ok((values, tensors))
}

/// The range of the string whose length field is at offset `pos`; `None` if it passes the end of the file.
pub(super) fn string_at(bytes: &[u8], pos: usize) -> Option<Range<usize>> {
    let len = bytes.get(pos..)?.first_chunk().map(|&len| u64::from_le_bytes(len))?;
    let start = pos + 8;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

/// The text of a string that [`parse`] has checked to be UTF-8.
///
/// It is checked again, because the alternative is `unsafe`; it can only fail, and is empty then, if another program
/// writes to the mapped file.
pub(super) fn checked_text(bytes: &[u8], range: Range<usize>) -> &str {
    bytes.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Parses the metadata entry number `idx`.
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
        let Some(item) = ValueType::from_id(item_id) else {
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
        return Ok(ValueEntry {
            key,
            value_type: ValueType::Array(item_id),
            data: start..cursor.pos,
            n_items: n_items as usize,
        });
    }
    let Some(value_type) = ValueType::from_id(type_id) else {
        return Err(cursor.damaged(field, format!("the value has type {type_id}, which does not exist")));
    };
    let data = match value_type.width() {
        Some(width) => cursor.take(width, field)?,
        None => cursor.string(field)?,
    };
    if value_type == ValueType::Bool && cursor.bytes[data.start] > 1 {
        return Err(cursor.damaged(field, "a boolean must be 0 or 1"));
    }
    Ok(ValueEntry { key, value_type, data, n_items: 1 })
}

/// The alignment of tensor data: what the metadata says, or 32.
fn alignment(cursor: &Cursor<'_>, values: &[ValueEntry]) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let Some(entry) = values.iter().find(|entry| &cursor.bytes[entry.key.clone()] == KEY.as_bytes()) else {
        return Ok(32);
    };
    let data = &cursor.bytes[entry.data.clone()];
    let alignment = match (entry.value_type, data.first_chunk(), data.first_chunk()) {
        (ValueType::U32, Some(&bytes), _) => u32::from_le_bytes(bytes).into(),
        (ValueType::U64, _, Some(&bytes)) => u64::from_le_bytes(bytes),
        (other, ..) => return Err(cursor.damaged(KEY, format!("expected a U32, found {}", other.name()))),
    };
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
        return Err(cursor.damaged(KEY, format!("{alignment} is not a power of two from 8 to {MAX_ALIGNMENT}")));
    }
    Ok(alignment)
}

/// Parses the entry number `idx` of the tensor table. Its `data` is relative to the start of the tensor data until
/// [`locate`] converts it.
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

/// Converts the tensors' ranges to offsets in the file, and checks alignment, bounds and overlaps.
fn locate(cursor: &Cursor<'_>, tensors: &mut [TensorEntry], alignment: u64) -> Result<()> {
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

/// Sorts the entries by name; an error with `problem` if two have the same name.
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

/// A reading position in the file. Every read is checked against the end of the file.
struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// An [`Error::Gguf`]. Its texts are cut to 240 bytes, because they may quote a very long string of the file.
    fn damaged(&self, field: &str, problem: impl Into<String>) -> Error {
        let (mut field, mut problem) = (field.to_owned(), problem.into());
        for text in [&mut field, &mut problem] {
            let cut = (0..=text.len().min(240)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.truncate(cut);
        }
        Error::Gguf { path: self.path.into(), field, problem }
    }

    /// Bytes from the position to the end of the file.
    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.pos) as u64
    }

    /// The range of the next `n_bytes` bytes; moves behind them.
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
        Ok(self.bytes[range].try_into().expect("`take` returns a range of N bytes"))
    }

    fn u32(&mut self, field: &str) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &str) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The range of the next string, checked to be UTF-8; moves behind it.
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

    /// The text of a range that [`Cursor::string`] returned.
    fn text(&self, range: Range<usize>) -> &'a str {
        std::str::from_utf8(&self.bytes[range]).expect("checked when it was read")
    }

    /// Checks that a list of `n` entries is allowed and that the rest of the file can hold it.
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
