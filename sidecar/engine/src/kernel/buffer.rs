//! Memory for registers to be loaded from.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Numbers that begin on a cache line, because loads that straddle two take twice as long. A large `Vec` begins 16 bytes
/// behind one, so that every second register would.
pub struct Buffer<T> {
    /// One line more than is needed. Not a type of 64-byte alignment: zeros of such a type are written, where those of
    /// numbers are the system's own, and take no memory before they are used.
    lines: Vec<[u64; 8]>,
    /// Bytes before the first whole line.
    start: usize,
    len: usize,
    numbers: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let lines = vec![[0_u64; 8]; (len * size_of::<T>()).div_ceil(64) + 1];
        let start = lines.as_ptr().cast::<u8>().align_offset(64);
        assert!(start < 64, "a pointer of 8 bytes' alignment is at most 56 bytes from a line");
        Buffer { lines, start, len, numbers: PhantomData }
    }

    /// All of its memory, the rest of the last line included, as other numbers.
    pub(super) fn as_mut<U: Plain>(&mut self) -> &mut [U] {
        let n = (self.lines.len() - 1) * 64 / size_of::<U>();
        // SAFETY: the lines but for the last are within the memory wherever the first begins, aligned for every `Plain`
        // type, of which any bytes are valid.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>().add(self.start).cast(), n) }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: as for `as_mut`, of whose numbers there are at least `len`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>().add(self.start).cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let len = self.len;
        &mut self.as_mut()[..len]
    }
}

/// Numbers for which any bytes are valid.
///
/// # Safety
/// No padding, no invalid bytes, at most 64 bytes of alignment, and zero bytes are a zero.
pub unsafe trait Plain: Copy {}
// SAFETY: plain numbers.
unsafe impl Plain for f32 {}
// SAFETY: plain numbers.
unsafe impl Plain for i16 {}
// SAFETY: plain numbers.
unsafe impl Plain for u16 {}
