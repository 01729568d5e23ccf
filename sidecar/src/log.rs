//! The daemon's log: lines on standard error, which is the log file. Never a user's text.

use std::io::Write;

/// One line with a time stamp.
pub fn line(message: std::fmt::Arguments<'_>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // A log that cannot be written (full disk) must not take the daemon down, as `eprintln!` would.
    let _ = writeln!(std::io::stderr().lock(), "{}.{:03} {message}", now.as_secs(), now.subsec_millis());
}

/// `log!("format", ...)`: see [`line()`].
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
pub(crate) use log;
