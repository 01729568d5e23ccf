//! `offheap doctor --bundle`: one file for a report of a bug, which its sender can read first.
//!
//! It is text, because nobody looks into an archive. What it holds is chosen here piece by piece: numbers, names of ours, and
//! texts of ours without paths ([`Mask`]). Nothing of the project's contents, and no query, is read for it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use offheap_engine::kernel;
use offheap_engine::store::Store;
use offheap_protocol::{Code, Endpoint, Fault};
use serde_json::Value;

use super::mask::Mask;
use crate::cli::calls::status_of;
use crate::cli::connect;
use crate::cli::output::json::{Check, CheckState, Status, path_text};
use crate::config::{self, Config, DEFAULT_MODEL};
use crate::{VERSION, fault, log};

/// How much of the end of a log is copied.
const LOG_BYTES: u64 = 64 << 10;
/// Variables whose values are a choice among ours, or a number.
const PLAIN_VARIABLES: [&str; 6] =
    ["OFFHEAP_KERNEL", "OFFHEAP_LOG", "OFFHEAP_STALL_MS", "OFFHEAP_THREADS", "OFFHEAP_TTL_MS", "OFFHEAP_WATCH"];
/// Beginnings of the names of variables that are told.
const VARIABLES: [&str; 3] = ["OFFHEAP_", "XDG_", "HF_"];
/// Codes whose messages quote what a user wrote.
const QUOTING: [Code; 6] = [
    Code::ConfigInvalid,
    Code::InvalidArgument,
    Code::ModelNotFound,
    Code::ModelDamaged,
    Code::ModelUnsupported,
    Code::ModelFailed,
];

/// A file that was made for a bundle and is not written yet. It is removed again where it is not.
pub struct Target {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Target {
    /// Makes the file, for this user alone. `None` takes a name of its own in the current directory.
    ///
    /// Errors: `INVALID_ARGUMENT` where there is a file already, `IO`.
    pub fn create(named: Option<&Path>) -> Result<Target, Fault> {
        let path =
            named.map_or_else(|| PathBuf::from(format!("offheap-bundle-{}.md", log::now_in_name())), Path::to_path_buf);
        let path = std::path::absolute(&path).unwrap_or(path);
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(file) => Ok(Target { path, file, is_written: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let message = format!("`{}` exists; nothing is overwritten", path.display());
                Err(Fault::new(Code::InvalidArgument, message).hint("remove it, or name another file"))
            }
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    /// Writes the bundle and gives its path.
    pub async fn write(mut self, endpoint: &Endpoint, checks: &[Check]) -> Result<String, Fault> {
        let text = text(endpoint, checks).await;
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|error| unwritable(&self.path, &error))?;
        self.is_written = true;
        Ok(path_text(&self.path))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    fault::io(error, format!("cannot write `{}`: {error}", path.display()))
        .hint("name a file in a directory that you can write to")
}

/// The bundle: Markdown, as it goes into an issue.
async fn text(endpoint: &Endpoint, checks: &[Check]) -> String {
    let mask = Mask::new(endpoint);
    let mut out = format!(
        "# offheap {VERSION}: what `offheap doctor --bundle` found at {}\n\n\
         This file holds: versions, the processor, limits and numbers of the configuration, the checks of `offheap doctor`, \
         `offheap status`, the size of the index, the names of environment variables, and the end of the daemon's log.\n\
         It holds no text, no query, no content and no name of a file of yours; paths are replaced, except for offheap's own \
         files.\nRead it before you send it.\n",
        log::now()
    );
    section(&mut out, "Program", &program());
    section(&mut out, "Environment", &environment(std::env::vars_os()));
    section(&mut out, "Configuration", &configuration(endpoint.project()));
    section(&mut out, "Checks", &mask.text(&checked(checks)));
    section(&mut out, "Status", &status(endpoint, &mask).await);
    section(&mut out, "Index", &index(endpoint.project(), &mask));
    section(&mut out, "Log", &mask.text(&logged(endpoint)));
    out
}

fn section(out: &mut String, title: &str, text: &str) {
    // Back-ticks of a text must not end its block.
    let text = offheap_protocol::message::printable(text).replace("```", "'''");
    let _ = write!(out, "\n## {title}\n\n```text\n{}\n```\n", text.trim_end());
}

fn program() -> String {
    let forced = config::kernel();
    let chosen =
        kernel::choose(forced.as_deref()).map_or("none: OFFHEAP_KERNEL names one that is not usable", |k| k.name);
    let usable: Vec<&str> = kernel::usable_names().collect();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "offheap {VERSION}\nsystem {} on {}\nprocessors {processors}, threads {}\nkernel {chosen}; usable: {}",
        std::env::consts::OS,
        std::env::consts::ARCH,
        config::threads(),
        usable.join(", ")
    )
}

/// Which of our variables are set, with their values where these tell nothing of the user.
fn environment(all: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> String {
    let mut lines: Vec<String> = all
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| VARIABLES.iter().any(|start| name.starts_with(start)))
        .map(|(name, value)| match value.to_str() {
            Some(value) if PLAIN_VARIABLES.contains(&name.as_str()) => {
                format!("{name}={}", value.chars().take(20).collect::<String>())
            }
            _ => format!("{name} is set, {} bytes", value.len()),
        })
        .collect();
    lines.sort();
    if lines.is_empty() { "none of ours is set".to_owned() } else { lines.join("\n") }
}

/// The configuration: numbers and switches as they are, of texts only how many there are.
fn configuration(project: Option<&Path>) -> String {
    let Some(project) = project else { return "no project".to_owned() };
    match Config::read_with_notes(project) {
        Ok((config, _)) => {
            let mut value = serde_json::to_value(&config).unwrap_or_default();
            hide_texts(&mut value);
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
        Err(fault) => format!("cannot be used: {}", fault.code),
    }
}

fn hide_texts(value: &mut Value) {
    match value {
        Value::String(text) if text == DEFAULT_MODEL || is_version(text) => {}
        Value::String(text) => *text = format!("({} characters)", text.chars().count()),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            *value = Value::from(format!("({} texts)", list.len()))
        }
        Value::Array(list) => list.iter_mut().for_each(hide_texts),
        Value::Object(map) => map.values_mut().for_each(hide_texts),
        _ => {}
    }
}

fn is_version(text: &str) -> bool {
    text.len() <= 12 && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn checked(checks: &[Check]) -> String {
    let mut out = String::new();
    for Check { check, state, detail, .. } in checks {
        let state = match state {
            CheckState::Ok => "ok",
            CheckState::Warning => "warning",
            CheckState::Problem => "problem",
        };
        let quoting = QUOTING.iter().find(|code| detail.contains(&format!("[{code}]")));
        let detail = match quoting {
            Some(code) => format!("[{code}]; the message may quote what you wrote, and is left out"),
            None => detail.replace('\n', "\n    "),
        };
        let _ = writeln!(out, "{state:>8}  {check}: {detail}");
    }
    out
}

async fn status(endpoint: &Endpoint, mask: &Mask) -> String {
    let asked = match connect::connect(endpoint).await {
        Ok(client) => status_of(&client).await,
        Err(fault) => Err(fault),
    };
    let status = match asked {
        Ok(status) => status,
        Err(fault) => return format!("no status: {}", fault.code),
    };
    let mut value = serde_json::to_value(Status::new(&status)).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.remove("clients"); // programs choose these names; `connections` has their number
    }
    mask.json(&mut value);
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn index(project: Option<&Path>, mask: &Mask) -> String {
    let Some(project) = project else { return "no project".to_owned() };
    let place = config::place(project);
    match config::has_index(&place) {
        Ok(true) => {}
        Ok(false) => return "none".to_owned(),
        Err(fault) => return format!("cannot be looked at: {}", fault.code),
    }
    // Damage can make the libraries panic; the checks have told of it.
    let read = || Store::open_read_only(&place);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)) {
        Ok(Ok(snapshot)) => {
            let stats = snapshot.stats();
            format!(
                "generation {}\nfiles {}\nchunks {}\nvectors {}\nbytes {}",
                snapshot.generation,
                stats.files,
                stats.chunks,
                stats.vectors,
                snapshot.bytes_on_disk()
            )
        }
        Ok(Err(error)) => mask.text(&fault::chain(&error)),
        Err(_) => "cannot be opened: reading it panics".to_owned(),
    }
}

/// The end of the daemon's log, and of the one before where this one is short.
fn logged(endpoint: &Endpoint) -> String {
    let path = endpoint.log();
    let now = end_of(&path, LOG_BYTES);
    let before = end_of(&log::rotated(&path), LOG_BYTES.saturating_sub(now.len() as u64));
    let text = before + &now;
    if text.is_empty() { "none: no daemon has run here".to_owned() } else { text }
}

/// The last whole lines of a file, at most `bytes` of them.
fn end_of(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(String::new());
        }
        let start = file.metadata()?.len().saturating_sub(bytes);
        file.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let whole = if start > 0 { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        Ok(whole.to_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_configuration_are_counted_and_not_told() {
        let mut value = serde_json::json!({
            "version": "2.0.0", "model": "MARKER.gguf", "index": { "exclude": ["MARKER", "b"], "max_file_bytes": 5 },
            "daemon": { "retry_delays_ms": [1, 2], "enabled": true },
        });
        hide_texts(&mut value);
        assert_eq!(
            value,
            serde_json::json!({
                "version": "2.0.0", "model": "(11 characters)", "index": { "exclude": "(2 texts)", "max_file_bytes": 5 },
                "daemon": { "retry_delays_ms": [1, 2], "enabled": true },
            })
        );
    }

    #[test]
    fn variables_are_named_and_few_are_told() {
        let all = [("OFFHEAP_THREADS", "3"), ("HF_TOKEN", "MARKER"), ("OFFHEAP_MODEL", "/MARKER"), ("PATH", "MARKER")];
        let told = environment(all.into_iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(told, "HF_TOKEN is set, 6 bytes\nOFFHEAP_MODEL is set, 7 bytes\nOFFHEAP_THREADS=3");
    }

    #[test]
    fn messages_that_quote_are_left_out() {
        let check = |detail: &str| Check {
            check: "configuration",
            state: CheckState::Problem,
            detail: detail.to_owned(),
            remedy: String::new(),
        };
        let told = checked(&[check("unknown key `MARKER` [CONFIG_INVALID]"), check("the disk is full [DISK_FULL]")]);
        assert!(
            !told.contains("MARKER") && told.contains("CONFIG_INVALID") && told.contains("the disk is full"),
            "{told}"
        );
    }
}
