//! The grammars as `build.rs` packed them: code with empty tables, and the compressed content of the tables.

use std::sync::Once;

/// A grammar whose large tables are filled on first use.
pub(super) struct Packed {
    language: unsafe extern "C" fn() -> *const tree_sitter::ffi::TSLanguage,
    table: unsafe extern "C" fn(u32) -> *mut u8,
    /// Bytes of each table.
    lengths: [usize; 3],
    packed: &'static [u8],
    filled: Once,
}

impl Packed {
    /// The grammar, ready to parse. The first call fills its tables, up to 5 MB.
    pub fn language(&self) -> tree_sitter::Language {
        self.filled.call_once(|| {
            let tables = miniz_oxide::inflate::decompress_to_vec(self.packed).expect("the build packed them");
            let mut rest = tables.as_slice();
            for (which, length) in (0..).zip(self.lengths) {
                let (table, after) = rest.split_at(length);
                // SAFETY: the C array has exactly `length` bytes, the build made it from this very table; nothing reads
                // it before this `Once` is done, because only `language` hands the grammar out.
                unsafe { (self.table)(which).copy_from_nonoverlapping(table.as_ptr(), length) };
                rest = after;
            }
        });
        // SAFETY: the function returns its static description of the grammar, whose tables are filled.
        unsafe { tree_sitter::Language::from_raw((self.language)()) }
    }
}

include!(concat!(env!("OUT_DIR"), "/grammars.rs"));
