//! The daemon's log: lines on standard error, which is redirected to the log file. It never contains a user's text.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use offheap_protocol::message::printable;

/// A log longer than this is renamed to `.log.1`, and a new one begins.
const LOG_BYTES: u64 = 1 << 20;

/// The log file's path and length, once [`begin`] redirected standard error to it.
static FILE: Mutex<Option<(PathBuf, u64)>> = Mutex::new(None);

/// Writes one line with a time stamp.
pub fn line(message: std::fmt::Arguments<'_>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // A path or a configuration value may contain line ends and control characters.
    let message = printable(&message.to_string()).replace('\n', " | ");
    let text = format!("{}.{:03} {message}\n", now.as_secs(), now.subsec_millis());
    let mut file = FILE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A log that cannot be written (full disk) must not take the daemon down, as `eprintln!` would.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    if let Some((path, bytes)) = &mut *file {
        *bytes += text.len() as u64;
        if *bytes > LOG_BYTES {
            // If the rotation fails, this file grows until the next try.
            *bytes = 0;
            let _ = std::fs::rename(&*path, rotated(path))
                .and_then(|()| open_private(path))
                .and_then(|new| replace(&new, 2));
        }
    }
}

/// Redirects standard error to the end of the file at `path`.
pub fn begin(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES) {
        let _ = std::fs::rename(path, rotated(path));
    }
    let log = open_private(path)?;
    let bytes = log.metadata().map_or(0, |meta| meta.len());
    replace(&log, 2)?;
    *FILE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((path.to_path_buf(), bytes));
    Ok(())
}

/// The last lines of a log, for error messages about a daemon that did not start.
pub fn tail(path: &Path) -> String {
    const BYTES: usize = 4 << 10;
    const LINES: usize = 20;
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(BYTES)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// Opens a file for appending and reading, with owner-only permissions if it is created. Children do not inherit it.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a standard descriptor (0, 1 or 2) refer to `file`.
#[cfg(unix)]
pub fn replace(file: &File, descriptor: i32) -> io::Result<()> {
    use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
    let done = match descriptor {
        0 => dup2_stdin(file),
        1 => dup2_stdout(file),
        2 => dup2_stderr(file),
        other => unreachable!("{other} is no standard descriptor"),
    };
    Ok(done?)
}

#[cfg(windows)]
pub use crate::os::windows::replace;

/// `log!("format", ...)`: see [`line()`].
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
pub(crate) use log;
