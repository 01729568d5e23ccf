//! What of a project is source: by its content, and for files that tools write for tools by their whole name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::content::{self, Encoding, HEAD_BYTES, NotText};
use super::{SkipReason, WalkRules};
use crate::disk::{Tree, is_link};

/// SHA-256 of a file's text.
pub type ContentHash = [u8; 32];

/// Files that tools write for tools, by whole name: their content reads like any other.
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

/// The text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// In UTF-8, without a byte-order mark. Line ends are as in the file; where it has carriage returns alone, they are
    /// line feeds here.
    pub text: String,
    /// The usual name of the file's encoding, such as `UTF-8` or `Shift_JIS`.
    pub encoding: &'static str,
}

/// Why a file is not source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSource {
    /// The reason.
    pub reason: SkipReason,
    /// What was seen, for a person; empty where the reason says all.
    pub detail: String,
}

/// The text of the file `rel` below the root, decoded as in [`Source::text`], or why it is not source.
pub fn read_source(tree: &Tree, rel: &str, rules: &WalkRules) -> Result<String, SkipReason> {
    source(tree, rel, rules).map(|source| source.text).map_err(|not| not.reason)
}

/// As [`read_source`], with the encoding and what was seen.
pub fn source(tree: &Tree, rel: &str, rules: &WalkRules) -> Result<Source, NotSource> {
    let mut file = tree.open_file(Path::new(rel))?;
    let bytes = read_bytes(&mut file, rules.max_file_bytes)?;
    let (encoding, mark) = content::detect(&mut bytes.as_slice())??;
    let text = match String::from_utf8(bytes) {
        Ok(text) if encoding == Encoding::Utf8 => without_mark(text, mark),
        other => {
            let bytes = other.map_or_else(|error| error.into_bytes(), String::into_bytes);
            let mut text = String::with_capacity(bytes.len());
            content::decode(&mut bytes.as_slice(), encoding, mark, &mut |piece| text.push_str(piece))?;
            text
        }
    };
    Ok(Source { text: with_line_feeds(text), encoding: encoding.name() })
}

/// All bytes of a file, unless it is too long or its beginning is not that of a text: a sparse file of the longest
/// length is not read.
fn read_bytes(file: &mut File, limit: u64) -> Result<Vec<u8>, NotSource> {
    let length = file.metadata()?.len();
    let too_large = |length: u64| NotSource {
        reason: SkipReason::TooLarge,
        detail: format!("{length} bytes, the limit is {limit}"),
    };
    if limit < length {
        return Err(too_large(length));
    }
    let mut bytes = Vec::with_capacity((length as usize + 1).min(HEAD_BYTES));
    file.take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    if length as usize > HEAD_BYTES {
        content::detect_head(&bytes)?;
    }
    bytes.reserve_exact((length as usize + 1).saturating_sub(bytes.len()));
    let rest = limit.saturating_sub(bytes.len() as u64).saturating_add(1);
    file.take(rest).read_to_end(&mut bytes)?; // one more, to notice a file that grows meanwhile
    if limit < bytes.len() as u64 {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

fn without_mark(mut text: String, mark: usize) -> String {
    text.drain(..mark);
    text
}

/// The text with line feeds where it has carriage returns and nothing else ends its lines, as old Macintosh files have.
fn with_line_feeds(text: String) -> String {
    if !ends_lines_with_returns(&text) {
        return text;
    }
    text.replace('\r', "\n")
}

pub(super) fn ends_lines_with_returns(text: &str) -> bool {
    text.contains('\r') && !text.contains('\n')
}

/// The identity of a file's content.
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    Sha256::digest(bytes).into()
}

/// Why a file is not source, as far as its name says.
pub(super) fn reason_by_name(rel: &str) -> Option<SkipReason> {
    let name = rel.rsplit('/').next().unwrap_or(rel);
    GENERATED.contains(&name).then_some(SkipReason::Generated)
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

impl From<io::Error> for NotSource {
    fn from(error: io::Error) -> NotSource {
        NotSource { reason: reason_of(&error), detail: error.to_string() }
    }
}

impl From<NotText> for NotSource {
    fn from(why: NotText) -> NotSource {
        match why {
            NotText::Binary(detail) => NotSource { reason: SkipReason::Binary, detail },
            NotText::UnknownEncoding => NotSource { reason: SkipReason::UnknownEncoding, detail: String::new() },
        }
    }
}
