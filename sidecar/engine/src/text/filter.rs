//! Which chunks may answer: path globs and languages, turned into a set of chunk ids before anything is ranked.

use std::sync::Arc;

use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, SegmentReader, TERMINATED, TantivyError, Term};

use super::TextReader;
use crate::Result;
pub use crate::filter::Filter;
use crate::filter::{Cursor, Globs, Visit};
use crate::vector::Bitmap;

impl TextReader {
    /// The filter with its chunks worked out, so that many searches of this snapshot need not do it, and the places of
    /// the globs that no file fits.
    ///
    /// Errors: a glob that is not one.
    pub fn narrow(&self, filter: Filter) -> Result<(Filter, Vec<usize>)> {
        if filter.is_empty() {
            return Ok((filter, Vec::new()));
        }
        let (allowed, unmatched) = self.select(&filter)?;
        Ok((Filter { chosen: Some(Arc::new(allowed)), ..filter }, unmatched))
    }

    /// Ids of the living chunks that pass `filter`; `None` when it filters nothing.
    ///
    /// Errors: a glob that is not one.
    pub fn allowed(&self, filter: &Filter) -> Result<Option<Bitmap>> {
        if filter.is_empty() {
            return Ok(None);
        }
        match &filter.chosen {
            Some(chosen) => Ok(Some((**chosen).clone())),
            None => Ok(Some(self.select(filter)?.0)),
        }
    }

    /// Ids of the living chunks that pass, and the places of the globs that no file fits.
    fn select(&self, filter: &Filter) -> Result<(Bitmap, Vec<usize>)> {
        let (globs, unmatched) = Globs::choose(&filter.globs, &filter.folder, |visit| self.each_path(visit))?;
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
        Ok((allowed, unmatched))
    }

    /// Calls `visit` with the paths of all files, and perhaps of some that are gone.
    fn each_path(&self, visit: &mut Visit<'_>) -> Result<()> {
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.path)?;
            let mut terms = index.terms().stream().map_err(io)?;
            while terms.advance() {
                let Ok(path) = std::str::from_utf8(terms.key()) else { continue };
                let is_there = || {
                    if !segment.has_deletes() {
                        return Ok(true);
                    }
                    let postings = index.read_postings_from_terminfo(terms.value(), IndexRecordOption::Basic);
                    let mut docs = Bitmap::default();
                    insert_all(&mut postings.map_err(io)?, &mut docs);
                    Ok(docs.iter().any(|doc| !segment.is_deleted(doc as u32)))
                };
                visit(path, &mut { is_there })?;
            }
        }
        Ok(())
    }

    fn docs_by_path(&self, segment: &SegmentReader, globs: &Globs, docs: &mut Bitmap) -> Result<()> {
        let index = segment.inverted_index(self.fields.path)?;
        let mut terms = index.terms().stream().map_err(io)?;
        let mut cursor = Cursor::default();
        while terms.advance() {
            if std::str::from_utf8(terms.key()).is_ok_and(|path| globs.allow(&mut cursor, path)) {
                let mut postings =
                    index.read_postings_from_terminfo(terms.value(), IndexRecordOption::Basic).map_err(io)?;
                insert_all(&mut postings, docs);
            }
        }
        Ok(())
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
