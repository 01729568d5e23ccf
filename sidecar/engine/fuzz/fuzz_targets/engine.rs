// The engine's sources that the targets need, and as much of its error as they name. Taken in with `include!`.

#[allow(dead_code, unused_imports)] // the targets use parts of these modules
#[path = "../../src"]
mod engine {
    pub mod gguf;
    pub mod quant;
    pub mod tokenizer;
}
use engine::{gguf, quant, tokenizer};

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
#[allow(dead_code)] // fields are what messages are made of
pub enum Error {
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    Gguf { path: PathBuf, field: String, problem: String },
    Unsupported { path: PathBuf, what: &'static str, found: String, supported: &'static str },
}

impl Error {
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_path_buf(), source }
    }
}

/// Where this process keeps its file, in memory where there is such a place.
fn scratch_file() -> PathBuf {
    let shared = Path::new("/dev/shm");
    let dir = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    dir.join(format!("offheap-fuzz-{}.gguf", std::process::id()))
}
