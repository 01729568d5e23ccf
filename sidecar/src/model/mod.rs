//! The model: which file it is, and the thread that computes with it.

mod fair;
pub mod file;
pub mod queue;
