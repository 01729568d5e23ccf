//! What commands print, as text and as JSON.

pub mod json;
pub mod progress;
pub mod text;
mod print;

pub use print::{error, note, out, say};
