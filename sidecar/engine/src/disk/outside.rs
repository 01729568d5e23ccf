//! Files outside of a project's files, at paths that the user or git names: git's configuration, its index, its lists of
//! rules. Links are followed, as git follows them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The content of a regular file of at most `limit` bytes; `FileTooLarge` for a longer one, `Unsupported` for anything
/// else, which is not opened.
///
/// No more is read than the file says it is long, so the files of `/proc`, which say nothing, are empty.
pub fn read_outside(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Checked before opening: opening some devices has an effect, and a pipe waits.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ErrorKind::Unsupported.into());
    }
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let file: File = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ErrorKind::Unsupported.into());
    }
    if metadata.len() > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(metadata.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}
