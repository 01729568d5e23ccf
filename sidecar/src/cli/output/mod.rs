//! What a person or a program sees.

pub mod json;
pub mod progress;
pub mod text;
mod print;

pub use print::{error, note, out, say};
