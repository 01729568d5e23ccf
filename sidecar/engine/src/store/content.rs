//! The number of what is made of a project's files, and how an index of an older one is brought up to date.
//!
//! It is no part of the format's number (`format.rs`), because a change of it needs no other layout. It is in the manifest of each
//! generation, and in each row of the file table:
//!
//! | Content | What is new |
//! |---|---|
//! | 1 | generations without a number |
//! | 2 | words of every script, forms without accents, long names; how names are written; languages inside languages, payloads in no chunk; decoded text |
//!
//! Whoever changes which words a text gives, how files are cut, or how their bytes are decoded raises [`CONTENT`], and
//! that is all: files of another number are read and cut again, once, at the next index run or by the daemon itself. The
//! generation that is there answers meanwhile, and chunks whose text is the same keep their vectors.

/// Version of what is made of the project's files: words, chunks, decoding.
pub const CONTENT: u32 = 2;
