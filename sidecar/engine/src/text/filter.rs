//! Which chunks may answer: path globs and languages, turned into a set of chunk ids before anything is ranked.

use std::path::Path;

use ignore::gitignore::Gitignore;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, SegmentReader, TERMINATED, TantivyError, Term};

use super::TextReader;
use crate::Result;
use crate::vector::Bitmap;
use crate::walk::globs;

/// Which chunks a search may return. An empty list allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Path globs in gitignore's language. A later one beats an earlier one, and `!` excludes. With exclusions only,
    /// every other path is allowed.
    pub globs: Vec<String>,
    /// Languages, as they were given to `put_file`.
    pub languages: Vec<String>,
}

impl Filter {
    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty() && self.languages.is_empty()
    }
}

impl TextReader {
    /// Ids of the living chunks that pass `filter`; `None` when it filters nothing.
    ///
    /// Each distinct path is matched once. Errors: a glob that is not one.
    pub fn allowed(&self, filter: &Filter) -> Result<Option<Bitmap>> {
        if filter.is_empty() {
            return Ok(None);
        }
        let globs = Globs::new(&filter.globs)?;
        let mut allowed = Bitmap::default();
        for (i, segment) in self.searcher.segment_readers().iter().enumerate() {
            let mut docs = Bitmap::default();
            if filter.globs.is_empty() {
                (0..segment.max_doc()).for_each(|doc| docs.insert(doc.into()));
            } else {
                self.docs_by_path(segment, &globs, &mut docs)?;
            }
            if !filter.languages.is_empty() {
                let mut of_language = Bitmap::default();
                for language in &filter.languages {
                    let term = Term::from_field_text(self.fields.language, language);
                    let index = segment.inverted_index(self.fields.language)?;
                    if let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic).map_err(io)? {
                        insert_all(&mut postings, &mut of_language);
                    }
                }
                docs.intersect(&of_language);
            }
            for doc in docs.iter().map(|doc| doc as u32).filter(|&doc| !segment.is_deleted(doc)) {
                if let Some(id) = self.ids[i].first(doc) {
                    allowed.insert(id);
                }
            }
        }
        Ok(Some(allowed))
    }

    fn docs_by_path(&self, segment: &SegmentReader, globs: &Globs, docs: &mut Bitmap) -> Result<()> {
        let index = segment.inverted_index(self.fields.path)?;
        let mut terms = index.terms().stream().map_err(io)?;
        while terms.advance() {
            if std::str::from_utf8(terms.key()).is_ok_and(|path| globs.allow(path)) {
                let mut postings =
                    index.read_postings_from_terminfo(terms.value(), IndexRecordOption::Basic).map_err(io)?;
                insert_all(&mut postings, docs);
            }
        }
        Ok(())
    }
}

/// Most globs of one search.
const MAX_GLOBS: usize = 1_000;

/// Path globs, compiled.
pub(crate) struct Globs {
    matcher: Gitignore,
    /// Whether a path is allowed that no glob matches.
    otherwise: bool,
}

impl Globs {
    pub(crate) fn new(globs: &[String]) -> Result<Globs> {
        let matcher = globs::compile(globs, MAX_GLOBS, true)?; // a typing mistake must not match nothing in silence
        let otherwise = matcher.num_ignores() == 0;
        Ok(Globs { matcher, otherwise })
    }

    pub(crate) fn allow(&self, path: &str) -> bool {
        let path = Path::new(path);
        if path.has_root() {
            return false; // the matcher panics outside its root; stored paths are relative
        }
        match self.matcher.matched_path_or_any_parents(path, false) {
            ignore::Match::None => self.otherwise,
            ignore::Match::Ignore(_) => true,
            ignore::Match::Whitelist(_) => false,
        }
    }
}

fn insert_all(postings: &mut impl DocSet, docs: &mut Bitmap) {
    let mut doc = postings.doc();
    while doc != TERMINATED {
        docs.insert(doc.into());
        doc = postings.advance();
    }
}

fn io(e: std::io::Error) -> TantivyError {
    TantivyError::from(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_gitignores() {
        for (globs, path, expected) in [
            (vec!["src/"], "src/a/b.rs", true),
            (vec!["src/"], "lib/src.rs", false),
            (vec!["*.ts"], "a/b/c.ts", true),
            (vec!["*.ts", "!*.test.ts"], "a/c.test.ts", false),
            (vec!["!node_modules"], "src/a.js", true),
            (vec!["!node_modules"], "a/node_modules/x/a.js", false),
            (vec!["src/**", "!src/gen/**", "src/gen/keep.rs"], "src/gen/keep.rs", true),
            (vec!["src/**", "!src/gen/**"], "src/gen/a.rs", false),
            (vec!["/a.rs"], "b/a.rs", false),
        ] {
            let globs: Vec<String> = globs.into_iter().map(String::from).collect();
            assert_eq!(Globs::new(&globs).unwrap().allow(path), expected, "{globs:?} {path}");
        }
        assert!(Globs::new(&["a[".into()]).is_err());
    }
}
