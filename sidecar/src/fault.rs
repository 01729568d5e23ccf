//! Engine errors and operating-system errors as faults of the protocol, with codes and hints.

use std::path::Path;

use offheap_engine::Error;
use offheap_protocol::{Code, Fault};

/// The fault for an engine error: its code, the error and its causes as text, and a hint.
pub fn from_engine(error: &Error) -> Fault {
    let message = chain(error);
    if error.is_disk_full() {
        return disk_full(message);
    }
    match error {
        Error::Io { source, .. } => io(source, message),
        Error::Gguf { .. } | Error::Checksum { .. } | Error::Shape { .. } => {
            Fault::new(Code::ModelDamaged, message).hint("install the model again, or choose another one")
        }
        Error::Unsupported { .. } => Fault::new(Code::ModelUnsupported, message).hint("choose another model"),
        Error::Kernel { .. } => Fault::new(Code::InvalidArgument, message).hint("unset OFFHEAP_KERNEL or set it to one of these"),
        Error::NotFinite { .. } => Fault::new(Code::ModelFailed, message).hint("the model file may be damaged; install it again"),
        Error::IndexFormat { .. } => Fault::new(Code::IndexFormat, message).hint("run `offheap index --rebuild`"),
        Error::IndexDamaged { .. } => Fault::new(Code::IndexDamaged, message)
            .hint("run `offheap index`: it builds the index again; stored embeddings are used"),
        Error::IndexForeign { .. } => Fault::new(Code::IndexForeign, message)
            .hint("run `offheap index`: it builds the index again; an index that came with a repository is not used"),
        Error::UnsafePath { .. } => Fault::new(Code::UnsafePath, message)
            .hint("check that path: offheap uses no links, no other user's files and no configuration or ignore files of unusual length"),
        Error::IndexLocked { .. } => Fault::new(Code::IndexLocked, message)
            .hint("another offheap daemon, with another runtime directory, owns this project; stop it or use its OFFHEAP_RUNTIME_DIR"),
        Error::TreeTooLarge { path, files, bytes, busiest } => tree_too_large(path, *files, *bytes, busiest),
        Error::Glob { .. } => Fault::new(Code::InvalidArgument, message).hint("path filters are paths, or globs in the syntax of .gitignore with braces; `\\[` is a bracket"),
        Error::Pattern { .. } => Fault::new(Code::InvalidArgument, message)
            .hint("patterns have the syntax of the regex crate: no look-around, no back-references, within one line"),
        Error::Text(tantivy) => {
            if let Some(source) = io_source(tantivy) {
                return io(source, message);
            }
            Fault::new(Code::IndexDamaged, message).hint("run `offheap index --rebuild`")
        }
        Error::Cache(source) => {
            if let Some(source) = io_source(source.as_ref()) {
                return io(source, message);
            }
            Fault::new(Code::IndexDamaged, message).hint("run `offheap index --rebuild`")
        }
        Error::Cancelled => Fault::new(Code::Cancelled, "the request was cancelled"),
        _ => Fault::new(Code::Internal, message),
    }
}

/// The fault for a tree that is indexed only with `force`: how large it is, how long it would take, and how to go on.
fn tree_too_large(path: &Path, files: u64, bytes: u64, busiest: &str) -> Fault {
    /// Chunks that a processor without special units embeds in a second, of about this many bytes each.
    const CHUNKS_PER_SECOND: u64 = 40;
    const CHUNK_BYTES: u64 = 1_000;
    let most = if busiest.is_empty() { String::new() } else { format!(", most of them in `{busiest}`") };
    let seconds = bytes / CHUNK_BYTES / CHUNKS_PER_SECOND;
    let time = match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    };
    let message = format!(
        "`{}` has {files} files or more{most}, and {} MB of text so far, whose vectors take {time} or more to compute; \
         nothing was indexed",
        path.display(),
        bytes >> 20,
    );
    Fault::new(Code::NeedsForce, message).hint(
        "leave out what need not be found with .offheapignore or `index.exclude`; if you mean all of it, \
         `offheap index --force` or `client.index({ force: true })`",
    )
}

/// The fault for an operating-system error, with `message` as its text.
pub fn io(source: &std::io::Error, message: String) -> Fault {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => disk_full(message),
        _ => Fault::new(Code::Io, message),
    }
}

fn disk_full(message: String) -> Fault {
    Fault::new(Code::DiskFull, message).hint("free some space; the last committed index is intact")
}

/// An error and its causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = cause.source();
    }
    out
}

fn io_source<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        if let Some(shared) = error.downcast_ref::<std::sync::Arc<std::io::Error>>() {
            return Some(shared);
        }
        next = error.source();
    }
    None
}
