//! The daemon's log: lines on standard error, which is redirected to the log file.
//!
//! A line is `2026-12-01T09:15:02.123Z info [3.17] message`: the time in UTC, the [`Level`], where it belongs to a connection
//! the connection's number and to a request that one's number, and what happened.
//!
//! What a line may contain: numbers, names of requests and error codes, the name of the model, and paths of directories and of
//! files of the index. Never what a user wrote: queries, texts, contents of files, values of the configuration. A fault may
//! quote such things, so it is written through [`Masked`].

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use offheap_protocol::message::printable;
use offheap_protocol::{Code, Fault};

/// `error!("format", ...)`: a line of [`Level::Error`].
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Error, format_args!($($arg)*)) };
}
/// `warn!("format", ...)`: a line of [`Level::Warn`].
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Warn, format_args!($($arg)*)) };
}
/// `info!("format", ...)`: a line of [`Level::Info`].
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Info, format_args!($($arg)*)) };
}
/// `debug!("format", ...)`: a line of [`Level::Debug`].
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Debug, format_args!($($arg)*)) };
}
// `warn` itself is the name of an attribute.
pub(crate) use {debug, error, info, warning as warn};

/// A log longer than this is renamed to `.log.1`, and a new one begins.
const LOG_BYTES: u64 = 1 << 20;
/// Longest message, characters; longer ones are cut.
const MESSAGE_CHARS: usize = 2_000;

/// The log file's path, handle and length, once [`begin`] redirected standard error to it.
static FILE: Mutex<Option<LogFile>> = Mutex::new(None);

struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// How much a line matters. `OFFHEAP_LOG` names the last level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that somebody has to look at.
    Error,
    /// Something went wrong, and the daemon goes on without it.
    Warn,
    /// What a reader needs to follow the daemon's life.
    Info,
    /// Each request: when it began, when and how it ended.
    Debug,
}

impl Level {
    /// All levels with their names.
    pub const ALL: [(Level, &'static str); 4] =
        [(Level::Error, "error"), (Level::Warn, "warn"), (Level::Info, "info"), (Level::Debug, "debug")];

    fn name(self) -> &'static str {
        Level::ALL[self as usize].1
    }

    /// The level of `OFFHEAP_LOG`, [`Level::Info`] where it is not set. The error is a value that is none, cut to what fits
    /// a line.
    fn from_environment() -> Result<Level, String> {
        let value = std::env::var_os("OFFHEAP_LOG").filter(|value| !value.is_empty());
        value.map_or(Ok(Level::Info), |value| Level::parse(&value.to_string_lossy()))
    }

    fn parse(value: &str) -> Result<Level, String> {
        let known = Level::ALL.iter().find(|(_, name)| value.eq_ignore_ascii_case(name));
        known.map(|(level, _)| *level).ok_or_else(|| value.chars().take(20).collect())
    }
}

/// Whether lines of `level` are written.
pub fn is_written(level: Level) -> bool {
    static LAST: OnceLock<Level> = OnceLock::new();
    level <= *LAST.get_or_init(|| Level::from_environment().unwrap_or(Level::Info))
}

/// What a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the connection.
    pub connection: u64,
    /// Number of the request on it, chosen by the client; `None` for what concerns the connection.
    pub request: Option<u64>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.request {
            Some(request) => write!(f, "[{}.{request}] ", self.connection),
            None => write!(f, "[{}] ", self.connection),
        }
    }
}

thread_local! {
    /// What this thread works on now.
    static ORIGIN: Cell<Option<Origin>> = const { Cell::new(None) };
}

/// What this thread works on now, for handing it on to another thread or task.
pub fn origin() -> Option<Origin> {
    ORIGIN.get()
}

/// Runs `work`, whose lines belong to `origin`.
pub fn within<T>(origin: Option<Origin>, work: impl FnOnce() -> T) -> T {
    struct Back(Option<Origin>);
    impl Drop for Back {
        fn drop(&mut self) {
            ORIGIN.set(self.0);
        }
    }
    let _back = Back(ORIGIN.replace(origin));
    work()
}

/// A future whose lines belong to `origin`. Tasks that it spawns are not covered.
pub async fn traced<F: Future>(origin: Origin, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| within(Some(origin), || work.as_mut().poll(context))).await
}

/// A fault without what it may quote of a user's texts, patterns, globs, configuration or model file.
pub struct Masked<'a>(pub &'a Fault);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { code, message, .. } = self.0;
        match code {
            // These tell of files of the index, of the system and of the daemon itself.
            Code::Cancelled
            | Code::Timeout
            | Code::Overloaded
            | Code::Leaving
            | Code::NoProject
            | Code::NoIndex
            | Code::IndexBusy
            | Code::IndexLocked
            | Code::IndexDamaged
            | Code::IndexFormat
            | Code::IndexForeign
            | Code::DiskFull
            | Code::Io
            | Code::UnsafePath => write!(f, "{message} ({code})"),
            _ => write!(f, "{code}; `offheap doctor`, and the client that asked, get the details"),
        }
    }
}

/// Writes one line.
pub fn line(level: Level, message: fmt::Arguments<'_>) {
    if !is_written(level) {
        return;
    }
    let origin = origin().map(|origin| origin.to_string()).unwrap_or_default();
    let text = format!("{} {} {origin}{}\n", now(), level.name(), shortened(&message.to_string()));
    let mut file = FILE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A log that cannot be written (full disk) must not take the daemon down, as `eprintln!` would.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    if let Some(log) = &mut *file {
        log.bytes += text.len() as u64;
        if log.bytes > LOG_BYTES {
            log.rotate();
        }
    }
}

/// A message in one line, without control characters: a path may contain both.
fn shortened(message: &str) -> String {
    let start: String = message.chars().take(MESSAGE_CHARS).collect();
    let cut = if message.chars().nth(MESSAGE_CHARS).is_some() { " ..." } else { "" };
    printable(&start).replace('\n', " | ") + cut
}

/// The time in UTC, for the name of a file: `20261201T091502Z`.
pub fn now_in_name() -> String {
    let now = now();
    let seconds = now.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

/// The time of a line.
pub fn now() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or_default();
    let now = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = now.to_hms();
    let day = format!("{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day());
    format!("{day}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since_1970.subsec_millis())
}

impl LogFile {
    /// Begins a new file; this one stays beside it, in place of the one before. Where the directory does not allow that, the
    /// file is emptied: a log has an end in any case.
    fn rotate(&mut self) {
        self.bytes = 0;
        let begun = std::fs::rename(&self.path, rotated(&self.path))
            .and_then(|()| open_private(&self.path))
            .and_then(|new| replace(&new, 2).map(|()| new));
        match begun {
            Ok(new) => self.file = new,
            Err(_) => drop(self.file.set_len(0)),
        }
    }
}

/// Redirects standard error to the end of the file at `path`.
pub fn begin(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES) {
        let _ = std::fs::rename(path, rotated(path));
    }
    let file = open_private(path)?;
    let bytes = file.metadata().map_or(0, |meta| meta.len());
    replace(&file, 2)?;
    let log = LogFile { path: path.to_path_buf(), file, bytes };
    *FILE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(log);
    if let Err(found) = Level::from_environment() {
        let known = Level::ALL.map(|(_, name)| name).join(", ");
        warning!("OFFHEAP_LOG is `{found}`, which is none of {known}; info is used");
    }
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

/// The file that the log before the present one is in.
pub fn rotated(path: &Path) -> PathBuf {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_origin_whatever_runs_between() {
        let (one, two) = (Origin { connection: 3, request: Some(17) }, Origin { connection: 4, request: None });
        assert_eq!((one.to_string(), two.to_string()), ("[3.17] ".into(), "[4] ".into()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
        let work = |expected: Origin| async move {
            for _ in 0..3 {
                assert_eq!(origin(), Some(expected));
                tokio::task::yield_now().await;
            }
        };
        runtime.block_on(async { tokio::join!(traced(one, work(one)), traced(two, work(two))) });
        assert_eq!(origin(), None);
        let panics = std::panic::catch_unwind(|| within(Some(one), || panic!("within")));
        assert!(panics.is_err() && origin().is_none());
    }

    #[test]
    fn faults_that_quote_are_masked() {
        let quoting = |code| Masked(&Fault::new(code, "about MARKER")).to_string();
        for code in [Code::ConfigInvalid, Code::InvalidArgument, Code::ModelNotFound, Code::Internal, Code::Protocol] {
            let line = quoting(code);
            assert!(!line.contains("MARKER") && line.contains(code.as_str()), "{line}");
        }
        assert_eq!(quoting(Code::DiskFull), "about MARKER (DISK_FULL)");
    }

    #[test]
    fn levels_are_known_by_name() {
        for (level, name) in Level::ALL {
            assert_eq!((Level::parse(name), Level::parse(&name.to_uppercase())), (Ok(level), Ok(level)));
            assert_eq!(level.name(), name);
        }
        assert_eq!(Level::parse(&"trace,".repeat(1 << 20)).expect_err("no level").len(), 20);
    }

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(shortened("a\nb\x1b[2J"), "a | b\u{fffd}[2J");
        assert!(shortened(&"é".repeat(1 << 20)).chars().count() <= MESSAGE_CHARS + 4);
        let now = now();
        assert!(now.len() == 24 && now.starts_with("20") && now.ends_with('Z'), "{now}");
    }
}
