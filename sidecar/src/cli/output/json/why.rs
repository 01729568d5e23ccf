//! The document of `offheap why`.

use std::path::Path;

use offheap_engine::walk::RulePlace;
use serde::Serialize;

use super::values::path_text;
use crate::project::why::Why;

/// Whether a path is in the index, what decides, and what to do.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WhyReport<'a> {
    /// Root of the project.
    project: String,
    /// Relative to the project, `/` between parts; of a path outside, the whole path.
    path: &'a str,
    /// `file`, `folder`, `other` or `missing`.
    kind: &'a str,
    /// Whether it is in the index; of a folder, whether any file in it is.
    indexed: bool,
    /// `indexed`, `folder`, `missing`, `outside`, `no_index`, `not_indexed_yet`, `no_text`, `ignored`, `pruned`,
    /// `excluded`, `not_included`, or a reason for which files are skipped.
    reason: &'a str,
    /// The folder above it that is left out with all it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<&'a str>,
    /// The rule that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule<'a>>,
    /// What was seen, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// Name of the language.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    /// Name of the encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a str>,
    /// Bytes of the file now.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Its chunks in the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<u64>,
    /// Those of them that have a vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<u64>,
    /// Whether it is a long text, found by its words alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    text_only: Option<bool>,
    /// Whether it changed since it was indexed.
    stale: bool,
    /// The committed generation that was looked at; 0 where there is none.
    generation: u64,
    /// Of a folder: files in it that belong to the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    /// Of a folder: files in it that are in the index and have chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    files_indexed: Option<u64>,
    /// What to do about it; empty where there is nothing to do.
    remedy: &'a str,
}

/// A rule of an ignore file.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    /// The ignore file: relative to the project, or the whole path of one outside.
    file: &'a str,
    /// Line, from 1.
    line: u32,
    /// The rule as it is written.
    pattern: &'a str,
}

impl<'a> WhyReport<'a> {
    /// The document for what is known about a path of the project at `root`.
    pub fn new(root: &Path, why: &'a Why) -> Self {
        let (text, file) = (why.text.as_ref(), why.file.as_ref());
        let rule = |RulePlace { file, line, pattern }: &'a RulePlace| Rule { file, line: *line, pattern };
        WhyReport {
            project: path_text(root),
            path: &why.path,
            kind: why.kind,
            indexed: why.indexed,
            reason: why.reason,
            decided_at: why.decided_at.as_deref(),
            rule: why.rule.as_ref().map(rule),
            detail: why.detail.as_deref(),
            language: file.map(|file| file.language.as_str()).or(text.map(|text| text.language)),
            encoding: text.map(|text| text.encoding),
            bytes: text.map(|text| text.bytes),
            chunks: file.map(|file| file.chunks),
            vectors: file.map(|file| file.vectors),
            text_only: file.map(|file| file.text_only).or(text.map(|text| text.text_only)),
            stale: why.stale,
            generation: why.generation,
            files: why.files.map(|(files, _)| files),
            files_indexed: why.files.map(|(_, indexed)| indexed),
            remedy: &why.remedy,
        }
    }
}
