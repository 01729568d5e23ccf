//! Paths as git writes them: bytes, separated by `/`.

use std::path::{Path, PathBuf};

/// The bytes of a path, separated by `/` on every system.
pub fn raw(path: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.iter().map(|part| part.as_encoded_bytes()).collect();
    parts.join(&b'/')
}

/// The bytes of an absolute path, separated by `/`.
pub fn raw_absolute(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().map(|byte| if std::path::is_separator(char::from(*byte)) { b'/' } else { *byte }).collect()
}

/// The path that git wrote as these bytes; `None` where the system has no such paths.
pub fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    #[cfg(unix)]
    let path = Some(std::os::unix::ffi::OsStrExt::from_bytes(bytes)).map(|text: &std::ffi::OsStr| PathBuf::from(text));
    #[cfg(not(unix))]
    let path = std::str::from_utf8(bytes).ok().map(PathBuf::from);
    path.filter(|path| !path.as_os_str().is_empty())
}
