//! How values are written in every document.

use std::path::Path;

/// A path as text. Bytes that are no UTF-8 become U+FFFD.
pub fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Milliseconds from microseconds.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
