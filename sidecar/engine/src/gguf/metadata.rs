//! The metadata: values by key, in the types that the callers ask for.

use super::file::Gguf;
use super::parse::{self, ValueEntry, ValueType};
use crate::Result;

impl Gguf {
    /// The string under `key`; `None` if the file has no such key.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.value(key, |entry| match entry.value_type {
            ValueType::String => Ok(parse::checked_text(self.bytes(), entry.data.clone())),
            _ => Err("a string"),
        })
    }

    /// The integer under `key`, stored in any width; `None` if the file has no such key.
    ///
    /// Errors: [`Error::Gguf`](crate::Error::Gguf) if it is not an integer or does not fit.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.value(key, |entry| {
            self.integer(entry).and_then(|n| u32::try_from(n).ok()).ok_or("an integer from 0 to 2^32 - 1")
        })
    }

    /// The integer under `key`, stored in any width; `None` if the file has no such key.
    ///
    /// Errors: [`Error::Gguf`](crate::Error::Gguf) if it is not an integer or does not fit.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.value(key, |entry| {
            self.integer(entry).and_then(|n| u64::try_from(n).ok()).ok_or("an integer from 0 to 2^64 - 1")
        })
    }

    /// The floating-point number under `key`, stored in 32 or 64 bits; `None` if the file has no such key.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.value(key, |entry| match entry.value_type {
            ValueType::F32 => Ok(f32::from_le_bytes(self.fixed(entry))),
            ValueType::F64 => Ok(f64::from_le_bytes(self.fixed(entry)) as f32),
            _ => Err("a floating-point number"),
        })
    }

    /// The boolean under `key`; `None` if the file has no such key.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.value(key, |entry| match entry.value_type {
            ValueType::Bool => Ok(self.bytes()[entry.data.start] != 0),
            _ => Err("a boolean"),
        })
    }

    /// The string under `key`; a missing key is an [`Error::Gguf`](crate::Error::Gguf).
    pub fn require_str(&self, key: &str) -> Result<&str> {
        self.str(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// The integer under `key`; a missing key is an [`Error::Gguf`](crate::Error::Gguf).
    pub fn require_u32(&self, key: &str) -> Result<u32> {
        self.u32(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// The integer under `key`; a missing key is an [`Error::Gguf`](crate::Error::Gguf).
    pub fn require_u64(&self, key: &str) -> Result<u64> {
        self.u64(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// The floating-point number under `key`; a missing key is an [`Error::Gguf`](crate::Error::Gguf).
    pub fn require_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// The boolean under `key`; a missing key is an [`Error::Gguf`](crate::Error::Gguf).
    pub fn require_bool(&self, key: &str) -> Result<bool> {
        self.bool(key)?.ok_or_else(|| self.damaged(key, "missing"))
    }

    /// The array of strings under `key`, each read from the map when the iterator reaches it; `None` if the file has no
    /// such key.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>> {
        self.value(key, |entry| match entry.value_type {
            ValueType::Array(parse::STRING) => {
                Ok(Strings { bytes: self.bytes(), pos: entry.data.start, left: entry.n_items })
            }
            _ => Err("an array of strings"),
        })
    }

    /// The array of 32-bit integers under `key`; `None` if the file has no such key.
    pub fn i32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = i32> + Clone + use<'_>>> {
        let items = self.four_byte_items(key, parse::I32, "an array of 32-bit integers")?;
        Ok(items.map(|items| items.iter().map(|&item| i32::from_le_bytes(item))))
    }

    /// The array of 32-bit floating-point numbers under `key`; `None` if the file has no such key.
    pub fn f32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = f32> + Clone + use<'_>>> {
        let items = self.four_byte_items(key, parse::F32, "an array of 32-bit floating-point numbers")?;
        Ok(items.map(|items| items.iter().map(|&item| f32::from_le_bytes(item))))
    }

    /// Finds `key` and reads its value. The error of `read` is the expected type, in words.
    fn value<'a, T>(
        &'a self,
        key: &str,
        read: impl FnOnce(&'a ValueEntry) -> Result<T, &'static str>,
    ) -> Result<Option<T>> {
        let values = &self.inner.values;
        let found = values.binary_search_by(|entry| self.bytes()[entry.key.clone()].cmp(key.as_bytes()));
        let Ok(idx) = found else { return Ok(None) };
        let entry = &values[idx];
        let wrong_type =
            |expected| self.damaged(key, format!("expected {expected}, found {}", entry.value_type.name()));
        read(entry).map(Some).map_err(wrong_type)
    }

    /// The value as an integer; `None` if it has another type.
    fn integer(&self, entry: &ValueEntry) -> Option<i128> {
        Some(match entry.value_type {
            ValueType::U8 => self.bytes()[entry.data.start].into(),
            ValueType::I8 => i8::from_le_bytes(self.fixed(entry)).into(),
            ValueType::U16 => u16::from_le_bytes(self.fixed(entry)).into(),
            ValueType::I16 => i16::from_le_bytes(self.fixed(entry)).into(),
            ValueType::U32 => u32::from_le_bytes(self.fixed(entry)).into(),
            ValueType::I32 => i32::from_le_bytes(self.fixed(entry)).into(),
            ValueType::U64 => u64::from_le_bytes(self.fixed(entry)).into(),
            ValueType::I64 => i64::from_le_bytes(self.fixed(entry)).into(),
            _ => return None,
        })
    }

    /// The bytes of a value of fixed width.
    fn fixed<const N: usize>(&self, entry: &ValueEntry) -> [u8; N] {
        self.bytes()[entry.data.clone()].try_into().expect("the parser checked the width of the type")
    }

    /// The items of an array whose items have 4 bytes and the type `item`.
    fn four_byte_items(&self, key: &str, item: u32, expected: &'static str) -> Result<Option<&[[u8; 4]]>> {
        self.value(key, |entry| match entry.value_type {
            ValueType::Array(found) if found == item => Ok(self.bytes()[entry.data.clone()].as_chunks().0),
            _ => Err(expected),
        })
    }
}

/// The strings of an array, borrowed from the map.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    pos: usize,
    left: usize,
}

impl<'a> Strings<'a> {
    /// Offset in the file of the next string's length field; [`Strings::at`] takes it.
    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    /// The string whose length field is at offset `pos` of `file`; empty if `pos` was not returned by [`Strings::pos`].
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
        Some(parse::checked_text(self.bytes, range))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
