//! What the bytes of a file are: text in some encoding, or not text.
//!
//! Nothing here looks at a name. A file is read in blocks, so that what is decided about it needs no more memory for
//! a long file than for a short one; [`Blocks`] gives its bytes as often as they are needed.

mod decode;
mod detect;
mod magic;
mod survey;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Seek};

pub use self::decode::{Decoder, decode};
pub use self::detect::{Encoding, NotText, detect, detect_head};

/// How much of a file is enough to tell most binary formats.
pub const HEAD_BYTES: usize = 8 * 1024;
/// How much of a file is in memory while it is read in blocks.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// The bytes of a file, in order and in pieces, as often as they are asked for.
pub trait Blocks {
    /// Gives every piece to `each`.
    fn each_block(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

impl Blocks for &[u8] {
    fn each_block(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        each(self);
        Ok(())
    }
}

/// The first `length` bytes of an open file.
pub struct FileBlocks<'a> {
    /// The file; its position is changed.
    pub file: &'a File,
    /// What is read of it, even if it grows meanwhile.
    pub length: u64,
}

impl Blocks for FileBlocks<'_> {
    fn each_block(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.file.rewind()?;
        let mut rest = self.file.take(self.length);
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match rest.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(n) => each(&block[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
