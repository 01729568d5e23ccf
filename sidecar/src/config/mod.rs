//! Configuration: a project's `.offheap/config.json`, the user's environment variables, and the `.offheap` directory.

mod cache;
mod directory;
mod environment;
mod file;
mod keys;
#[cfg(test)]
mod tests;

pub use cache::sweep;
pub use directory::{has_index, init, init_in, place, place_in, place_to_write, project_folder};
pub use environment::{kernel, max_waiting_bytes, may_watch, model_override, stall, threads};
pub use file::{Config, DEFAULT_MODEL, DaemonConfig, IndexConfig, MAX_TEXT_BYTES, ModeConfig, SearchConfig};
