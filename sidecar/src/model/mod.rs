//! The model: which file it is, and the thread that computes with it.

mod fair;
pub mod file;
mod job;
mod loaded;
mod queue;
mod thread;

pub use loaded::Loaded;
pub use thread::Batcher;
