//! Memory aligned to cache lines.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A slice of numbers that starts at the beginning of a cache line, because loads across two lines take twice as long.
///
/// A large `Vec` starts 16 bytes after one, so every second load of a register would cross a line.
pub struct Buffer<T> {
    /// The memory, one line longer than needed. The element type does not have an alignment of 64 bytes, because `vec!`
    /// would then write the zeros; for arrays of integers it takes zeroed pages, which use no memory until written.
    lines: Vec<[u64; 8]>,
    /// Bytes before the first cache line boundary.
    start: usize,
    len: usize,
    numbers: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// A buffer of `len` zeros.
    pub fn new(len: usize) -> Self {
        let lines = vec![[0_u64; 8]; (len * size_of::<T>()).div_ceil(64) + 1];
        let start = lines.as_ptr().cast::<u8>().align_offset(64);
        assert!(start < 64, "a pointer of 8 bytes' alignment is at most 56 bytes from a line");
        Buffer { lines, start, len, numbers: PhantomData }
    }

    /// The whole memory up to the end of the last line, as numbers of type `U`.
    pub(super) fn as_mut<U: Plain>(&mut self) -> &mut [U] {
        let n = (self.lines.len() - 1) * 64 / size_of::<U>();
        // SAFETY: all lines except the additional one lie within the memory and are aligned for every `Plain` type, for which
        // any bytes are valid.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>().add(self.start).cast(), n) }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: as in `as_mut`; the memory has at least `len` numbers.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>().add(self.start).cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let len = self.len;
        &mut self.as_mut()[..len]
    }
}

/// A number type for which any bytes are valid.
///
/// # Safety
/// The type has no padding, no invalid values, an alignment of at most 64 bytes, and its zero consists of zero bytes.
pub unsafe trait Plain: Copy {}
// SAFETY: plain numbers.
unsafe impl Plain for f32 {}
// SAFETY: plain numbers.
unsafe impl Plain for i16 {}
// SAFETY: plain numbers.
unsafe impl Plain for u16 {}
