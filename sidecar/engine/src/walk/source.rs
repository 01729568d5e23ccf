//! What of a project is source: by its name, and by its content.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{SkipReason, WalkRules};
use crate::disk::{Tree, is_link};

/// SHA-256 of a file's bytes.
pub type ContentHash = [u8; 32];

/// Files that tools write for tools, by whole name.
const GENERATED: &[&str] = &[
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "composer.lock",
    "flake.lock",
    "go.sum",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];

/// Files that tools write for tools, by the end of the lower-cased name.
const GENERATED_ENDS: &[&str] =
    &[".min.js", ".min.mjs", ".min.cjs", ".min.css", ".bundle.js", ".js.map", ".mjs.map", ".cjs.map", ".css.map"];

/// Extensions that are never text: not opened to find out.
#[rustfmt::skip] // a table
pub(super) const BINARY: &[&str] = &[
    "7z", "a", "avi", "avif", "bin", "bmp", "bz2", "class", "dat", "db", "dll", "dmg", "doc", "docx", "dylib", "eot",
    "exe", "flac", "gguf", "gif", "gz", "heic", "icns", "ico", "jar", "jpeg", "jpg", "lib", "lz4", "mkv", "mov",
    "mp3", "mp4", "node", "npy", "npz", "o", "obj", "ogg", "onnx", "otf", "parquet", "pdf", "png", "ppt", "pptx",
    "psd", "pt", "pth", "pyc", "pyd", "pyo", "rar", "rlib", "rmeta", "safetensors", "so", "sqlite", "sqlite3", "tar",
    "tgz", "tif", "tiff", "ttf", "war", "wasm", "wav", "webm", "webp", "woff", "woff2", "xls", "xlsx", "xz", "zip",
    "zst",
];

/// How much of a file is searched for a NUL.
const BINARY_PROBE_BYTES: usize = 8 * 1024;

/// The text of the file `rel` below the root, byte for byte (a byte-order mark stays), or why it is not source.
pub fn read_source(tree: &Tree, rel: &str, rules: &WalkRules) -> Result<String, SkipReason> {
    let failed = |error: io::Error| reason_of(&error);
    let mut file = tree.open_file(Path::new(rel)).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if rules.max_file_bytes < length {
        return Err(SkipReason::TooLarge);
    }
    let mut bytes = Vec::with_capacity((length as usize).min(BINARY_PROBE_BYTES));
    (&mut file).take(BINARY_PROBE_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.contains(&0) {
        return Err(SkipReason::Binary); // a sparse file of the longest length is not read
    }
    bytes.reserve_exact((length as usize + 1).saturating_sub(bytes.len()));
    let rest = (rules.max_file_bytes - bytes.len().min(rules.max_file_bytes as usize) as u64).saturating_add(1);
    file.take(rest).read_to_end(&mut bytes).map_err(failed)?; // one more, to notice a file that grows meanwhile
    if rules.max_file_bytes < bytes.len() as u64 {
        return Err(SkipReason::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| SkipReason::NotUtf8)
}

/// The identity of a file's content.
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    Sha256::digest(bytes).into()
}

/// Why a file is not source, as far as its name says.
pub(super) fn reason_by_name(rel: &str) -> Option<SkipReason> {
    let name = rel.rsplit('/').next().unwrap_or(rel);
    let lower = name.to_ascii_lowercase();
    if GENERATED.contains(&name) || GENERATED_ENDS.iter().any(|end| lower.ends_with(end)) {
        return Some(SkipReason::Generated);
    }
    let (_, extension) = lower.rsplit_once('.')?;
    BINARY.binary_search(&extension).is_ok().then_some(SkipReason::Binary)
}

/// Why a file was left out when the system refused to open or read it.
pub(super) fn reason_of(error: &io::Error) -> SkipReason {
    match error.kind() {
        _ if is_link(error) => SkipReason::Symlink,
        io::ErrorKind::NotFound => SkipReason::Vanished,
        io::ErrorKind::Unsupported | io::ErrorKind::IsADirectory => SkipReason::NotAFile,
        io::ErrorKind::NotADirectory => SkipReason::Symlink, // a folder that was exchanged, or its path goes through a file
        io::ErrorKind::FileTooLarge => SkipReason::TooLarge,
        io::ErrorKind::InvalidFilename => SkipReason::PathTooLong,
        _ => SkipReason::Unreadable,
    }
}
