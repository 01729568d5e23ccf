//! What a run would make of one file as it is now.

use super::Settings;
use super::texts::{long_notebook, rules_of};
use crate::chunk::{self, Language};
use crate::disk::Tree;
use crate::walk::{self, ContentHash, LongSource, NotSource, SkipReason, Source};

/// A file that can be indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The usual name of its encoding.
    pub encoding: &'static str,
    /// The name of its language.
    pub language: &'static str,
    /// Bytes of the file.
    pub bytes: u64,
    /// The identity of its text.
    pub hash: ContentHash,
    /// It is so long that it is found by its words only.
    pub text_only: bool,
    /// Whether there is anything in it to find: not in an empty file, nor in one of data alone.
    pub has_chunks: bool,
}

/// Reads a file that belongs to the project, or says why it is left out.
pub fn look(tree: &Tree, rel: &str, settings: &Settings) -> Result<Look, NotSource> {
    let bytes = tree.open_file(rel.as_ref())?.metadata()?.len();
    if !settings.rules.is_long(bytes) || long_notebook(tree, rel, &settings.rules).is_some() {
        let Source { text, encoding } = walk::source(tree, rel, &rules_of(rel, &settings.rules))?;
        let language = Language::detect(rel, &text);
        let has_chunks = !chunk::chunk(&text, language, &settings.limits).is_empty();
        let hash = walk::content_hash(text.as_bytes());
        return Ok(Look { encoding, language: language.name(), bytes, hash, text_only: false, has_chunks });
    }
    let source = LongSource::open(tree, rel, &settings.rules)?;
    let unreadable = || NotSource { reason: SkipReason::Unreadable, detail: String::new() };
    let hash = source.hash(&|| false)?.ok_or_else(unreadable)?;
    let language = Language::of(rel).name();
    Ok(Look { encoding: source.encoding(), language, bytes, hash, text_only: true, has_chunks: true })
}
