//! What went wrong, as fields: lower case, no full stop, names the thing.

use std::path::{Path, PathBuf};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything the engine can refuse or fail at. The daemon gives each variant its wire code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: "open", "read", "map" ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A file or directory that is not what this program makes: a link, another user's, too long.
    #[error("`{}` is {found}", path.display())]
    UnsafePath {
        /// The file or directory.
        path: PathBuf,
        /// What it is: "a link", "owned by user 7, not by you (0)" ...
        found: String,
    },
    /// A model file that breaks the format's own rules.
    #[error("model `{}` is damaged: {field}: {problem}", path.display())]
    Gguf {
        /// The model file.
        path: PathBuf,
        /// The header field, metadata key or tensor at fault.
        field: String,
        /// What is wrong with it, in words.
        problem: String,
    },
    /// A valid model file that this build cannot run.
    #[error("model `{}`: {what} `{found}` is not supported (supported: {supported})", path.display())]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// "architecture", "tokenizer", "quantisation" ...
        what: &'static str,
        /// What the file asks for.
        found: String,
        /// What this build offers.
        supported: &'static str,
    },
    /// A tensor whose shape does not fit the architecture.
    #[error("tensor `{name}`: expected {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Dimensions the architecture asks for, outermost first.
        expected: Vec<usize>,
        /// Dimensions in the file, outermost first.
        found: Vec<usize>,
    },
    /// The file's SHA-256 is not the recorded one.
    #[error("model `{}`: SHA-256 is {found}, the recorded one is {expected}", path.display())]
    Checksum {
        /// The model file.
        path: PathBuf,
        /// Recorded, hexadecimal.
        expected: String,
        /// Computed, hexadecimal.
        found: String,
    },
    /// A kernel was asked for by name that this processor or build does not have.
    #[error("no kernel `{found}` here (usable: {usable})")]
    Kernel {
        /// The name asked for.
        found: String,
        /// Names that work, best first.
        usable: String,
    },
    /// Weights or input gave NaN, infinity or a zero vector.
    #[error("text {text_idx}: the model gave a vector that is not finite or has no length")]
    NotFinite {
        /// Index of the text in its request.
        text_idx: usize,
    },
    /// An index that this user did not make on this machine, and that is not trusted.
    #[error("index `{}` was not made by you on this machine", path.display())]
    IndexForeign {
        /// The data directory.
        path: PathBuf,
    },
    /// An index written in another format.
    #[error("index `{}` has format {found}, this build reads {expected}", path.display())]
    IndexFormat {
        /// The data directory.
        path: PathBuf,
        /// Format version on disk.
        found: u32,
        /// Format version of this build.
        expected: u32,
    },
    /// An index file that fails its checks.
    #[error("index file `{}` is damaged: {problem}", path.display())]
    IndexDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process owns the index for writing.
    #[error("index `{}` is being written by another process", path.display())]
    IndexLocked {
        /// The data directory.
        path: PathBuf,
    },
    /// A tree beyond [`TreeLimit`](crate::walk::TreeLimit). Nothing of it was indexed.
    #[error("`{}` has {files} files or more, and {bytes} bytes of text so far", path.display())]
    TreeTooLarge {
        /// The root.
        path: PathBuf,
        /// Files counted until the walk was ended.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// The folder of the root with most of them; empty for the root itself.
        busiest: String,
    },
    /// A path filter that cannot be understood.
    #[error("path filter `{glob}`: {problem}")]
    Glob {
        /// The filter, as it was given.
        glob: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A regular expression that cannot be understood, or is too large once compiled.
    #[error("pattern `{pattern}`: {problem}")]
    Pattern {
        /// The pattern, as it was given.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The full-text library failed.
    #[error("full-text index")]
    Text(#[from] tantivy::TantivyError),
    /// The key-value store failed.
    #[error("embedding cache")]
    Cache(#[source] Box<redb::Error>),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// A text as a message can show it, its beginning and its end: a caller's megabyte is not repeated whole.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let end = text.char_indices().nth(SHOWN_CHARS).map(|(at, _)| at);
    let start = text.char_indices().rev().nth(SHOWN_CHARS).map(|(at, _)| at);
    match (end, start) {
        (Some(end), Some(start)) if end < start => format!("{} … {}", &text[..end], &text[start..]),
        _ => text.to_owned(),
    }
}

impl Error {
    /// An `io::Error` with what was tried and on what.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_path_buf(), source }
    }

    /// Whether there is nothing of that name.
    pub fn is_absent(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Whether the disk, or the user's share of it, takes no more. The last committed generation is intact.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let source = match self {
            Error::Io { source, .. } => source,
            Error::Cache(error) => match &**error {
                redb::Error::Io(source) => source, // which redb does not name as its source
                _ => return false,
            },
            _ => return false,
        };
        matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}
