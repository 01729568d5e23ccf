//! Definitions by name: as it is written, in any case, by its beginning, by its humps, or with a typing error.
//!
//! Names are found in the index's dictionary, best fit first; only the names that can be shown are looked up.

use std::collections::{BTreeMap, BTreeSet};

use tantivy::query::FuzzyTermQuery;
use tantivy::{DocAddress, TantivyError, Term};

use super::TextReader;
use super::filter::Filter;
use super::names::{self, Asked};
use super::record::{StoredChunk, StoredSymbol};
use super::tokens::{is_unspaced, is_word_char};
use crate::Result;
use crate::chunk::Language;

/// How a name fits what was asked for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fit {
    /// Letter for letter, apart from marks and quotes: `type` fits `r#type`, `a name` fits `` `a name` ``.
    Exact,
    /// Equal except for upper and lower case, and accents.
    Case,
    /// The name begins with it, in any case.
    Prefix,
    /// The letters begin the name's words, each followed by more of that word or not: `HmB`, `getUN` and `gun` fit
    /// `getUserName` and `HashMapBuilder`.
    Humps,
    /// One or two letters wrong, missing, too many or exchanged.
    Fuzzy,
}

impl Fit {
    /// A stable name for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Fit::Exact => "exact",
            Fit::Case => "case",
            Fit::Prefix => "prefix",
            Fit::Humps => "humps",
            Fit::Fuzzy => "fuzzy",
        }
    }
}

/// A definition whose name fits.
#[derive(Clone, Debug)]
pub struct SymbolHit {
    /// The chunk that defines it.
    pub chunk: StoredChunk,
    /// The definition.
    pub symbol: StoredSymbol,
    /// How its name fits.
    pub fit: Fit,
    /// 1 for the exact name, less for a worse fit. Only the order of scores means something.
    pub score: f32,
}

/// Names of at least this many letters may have one wrong letter; shorter names resemble too many others.
const ONE_ERROR_FROM: usize = 4;
/// Names of at least this many letters may have two wrong letters.
const TWO_ERRORS_FROM: usize = 7;
/// Longer names are only looked up as they are and by their beginning: an automaton for one would cost more than it
/// finds.
const MAX_NEAR_CHARS: usize = 100;
/// Score of a name that is spelled with other marks or quotes than it is asked for.
const OTHER_MARKS: f32 = 0.995;
/// Factor for a definition outside the scope asked for: it costs less than any difference in fit.
const OTHER_SCOPE: f32 = 0.99;
/// Factor for a definition in an example of a document.
const EXAMPLE: f32 = 0.985;

/// Definitions that were found, each place once.
#[derive(Default)]
struct FoundSymbols {
    hits: Vec<SymbolHit>,
    places: BTreeSet<(String, u32)>,
}

impl TextReader {
    /// Definitions whose name fits `name`, best first, then by path and line; each place once. The flag says that there
    /// are more than `limit`.
    ///
    /// Of a qualified name (`Client.connect`, `fs::read`) the last part is the name; definitions inside the part before
    /// it come first among equals. A definition that has the whole as its name is found as well: `ns::do_it`.
    pub fn symbols(&self, name: &str, filter: &Filter, limit: usize) -> Result<(Vec<SymbolHit>, bool)> {
        const WHOLE: [Fit; 2] = [Fit::Case, Fit::Prefix];
        const LAST_PART: [Fit; 4] = [Fit::Case, Fit::Prefix, Fit::Humps, Fit::Fuzzy];
        let asked = Asked::new(name);
        let allowed = self.allowed(filter)?;
        let keep = |id: u64| allowed.as_ref().is_none_or(|allowed| allowed.contains(id));
        let mut found = FoundSymbols::default();
        if asked.whole != asked.name {
            self.add_symbols(asked.whole, None, &WHOLE, &keep, limit, &mut found)?;
        }
        self.add_symbols(asked.name, asked.scope.as_deref(), &LAST_PART, &keep, limit, &mut found)?;
        let mut hits = found.hits;
        let place = |hit: &SymbolHit| (hit.chunk.rel.clone(), hit.symbol.line);
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b))));
        let more = hits.len() > limit;
        hits.truncate(limit);
        Ok((hits, more))
    }

    /// Adds definitions whose name fits in the ways of `tiers`, until there are more than `limit`.
    fn add_symbols(
        &self,
        name: &str,
        scope: Option<&str>,
        tiers: &[Fit],
        keep: &dyn Fn(u64) -> bool,
        limit: usize,
        found: &mut FoundSymbols,
    ) -> Result<()> {
        if name.is_empty() || name.len() > names::MAX_NAME_BYTES {
            return Ok(());
        }
        let is_long = name.chars().count() > MAX_NEAR_CHARS;
        let lower = names::lower(name);
        let mut done: BTreeSet<String> = BTreeSet::new();
        for &tier in tiers.iter().filter(|tier| !is_long || matches!(tier, Fit::Case | Fit::Prefix)) {
            let mut names: Vec<(String, f32)> =
                self.names(tier, name, &lower)?.into_iter().filter(|(name, _)| !done.contains(name)).collect();
            names.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            for (stored, score) in names {
                if found.hits.len() > limit {
                    break;
                }
                for chunk in self.defining(&stored, keep)? {
                    for symbol in chunk.symbols.iter().filter(|symbol| names::keys(&symbol.name).contains(&stored)) {
                        if !found.places.insert((chunk.rel.clone(), symbol.line)) {
                            continue;
                        }
                        let (fit, score) = match () {
                            () if names::written(&symbol.name) == names::written(name) => (Fit::Exact, 1.0),
                            () if names::are_same(&symbol.name, name) => (Fit::Exact, OTHER_MARKS),
                            () => (tier, score),
                        };
                        let inside = scope.is_none_or(|scope| lies_in(&chunk, scope));
                        let score = if inside { score } else { score * OTHER_SCOPE };
                        let score = if is_document(&chunk.rel) { score * EXAMPLE } else { score };
                        found.hits.push(SymbolHit { symbol: symbol.clone(), chunk: chunk.clone(), fit, score });
                    }
                }
                done.insert(stored);
            }
        }
        Ok(())
    }

    /// Lower-case names of the dictionary that fit in the way of `tier`, each with its score.
    fn names(&self, tier: Fit, name: &str, lower: &str) -> Result<BTreeMap<String, f32>> {
        let mut names = BTreeMap::new();
        let share = |found: &str| name.chars().count() as f32 / found.chars().count().max(1) as f32;
        for segment in self.searcher.segment_readers() {
            match tier {
                Fit::Exact | Fit::Case => {
                    names.extend(names::spellings(lower).into_iter().map(|spelling| (spelling, 0.95)));
                }
                Fit::Prefix => {
                    let index = segment.inverted_index(self.fields.def_lower)?;
                    for start in names::beginnings(lower) {
                        let mut terms = index.terms().range().ge(&start).into_stream().map_err(TantivyError::from)?;
                        while terms.advance() && terms.key().starts_with(start.as_bytes()) {
                            let Ok(found) = std::str::from_utf8(terms.key()) else { continue };
                            names.insert(found.to_owned(), 0.5 + 0.4 * share(found));
                        }
                    }
                }
                Fit::Humps => {
                    let letters: Vec<char> = lower.chars().collect();
                    if letters.len() < 2 {
                        continue;
                    }
                    let index = segment.inverted_index(self.fields.def_exact)?;
                    let first: String = letters[0].to_string();
                    for first in BTreeSet::from([first.to_uppercase(), first, "_".to_owned()]) {
                        let mut terms = index.terms().range().ge(&first).into_stream().map_err(TantivyError::from)?;
                        while terms.advance() && terms.key().starts_with(first.as_bytes()) {
                            let Ok(found) = std::str::from_utf8(terms.key()) else { continue };
                            if fits_humps(&letters, found) {
                                names.insert(names::lower(found), 0.3 + 0.15 * share(found));
                            }
                        }
                    }
                    if lower.contains(is_unspaced) {
                        // Words of such scripts begin anywhere in a name.
                        let index = segment.inverted_index(self.fields.def_lower)?;
                        let mut terms = index.terms().stream().map_err(TantivyError::from)?;
                        while terms.advance() {
                            let Ok(found) = std::str::from_utf8(terms.key()) else { continue };
                            if found.contains(lower) {
                                names.insert(found.to_owned(), 0.3 + 0.15 * share(found));
                            }
                        }
                    }
                }
                Fit::Fuzzy => {
                    let errors = match lower.chars().count() {
                        TWO_ERRORS_FROM.. => 2,
                        ONE_ERROR_FROM.. => 1,
                        _ => 0,
                    };
                    let index = segment.inverted_index(self.fields.def_lower)?;
                    for errors in 1..=errors {
                        let term = Term::from_field_text(self.fields.def_lower, lower);
                        let near = FuzzyTermQuery::new(term, errors, true).automaton()?;
                        let mut terms = index.terms().search(near).into_stream().map_err(TantivyError::from)?;
                        while terms.advance() {
                            let Ok(found) = std::str::from_utf8(terms.key()) else { continue };
                            names.entry(found.to_owned()).or_insert(0.3 - 0.1 * f32::from(errors));
                        }
                    }
                }
            }
        }
        Ok(names)
    }

    /// Living chunks that define `lower`, in any case.
    fn defining(&self, lower: &str, keep: impl Fn(u64) -> bool) -> Result<Vec<StoredChunk>> {
        let mut places: Vec<DocAddress> = Vec::new();
        self.each_with(&Term::from_field_text(self.fields.def_lower, lower), |at| places.push(at))?;
        places.retain(|&at| self.id_at(at).is_some_and(&keep));
        places.into_iter().map(|at| self.record_at(at)).collect()
    }
}

/// Whether what a file defines are examples.
pub(crate) fn is_document(rel: &str) -> bool {
    Language::of(rel).name() == super::DOCUMENT
}

/// Whether a chunk belongs to a scope: it lies in it, it is its definition, or it is the file of that name.
fn lies_in(chunk: &StoredChunk, scope: &str) -> bool {
    let stem = chunk.rel.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
    chunk.scope.to_lowercase().contains(scope)
        || chunk.symbols.iter().any(|symbol| symbol.name.to_lowercase() == scope)
        || stem.to_lowercase() == scope
}

/// Whether the lower-case `letters` are beginnings of the name's words, in order. The first word must be among them;
/// later words may be skipped.
fn fits_humps(letters: &[char], name: &str) -> bool {
    let name: Vec<char> = name.trim_start_matches('_').chars().collect();
    let starts = |i: usize| {
        let (before, c) = (name[i - 1], name[i]);
        let next_is_lower = name.get(i + 1).is_some_and(|next| next.is_lowercase());
        !is_word_char(c)
            || c == '_'
            || !is_word_char(before)
            || before == '_'
            || is_unspaced(c) != is_unspaced(before)
            || (c.is_uppercase() && (before.is_lowercase() || before.is_numeric() || next_is_lower))
            || (c.is_numeric() && !before.is_numeric())
    };
    // reached[i]: the letters so far end on the name's letter i.
    let mut reached = vec![false; name.len()];
    for (n, letter) in letters.iter().enumerate() {
        let same = |i: usize| name[i].to_lowercase().eq(std::iter::once(*letter));
        let mut now = vec![false; name.len()];
        let mut any_before = false;
        for i in 0..name.len() {
            let continues = i > 0 && reached[i - 1];
            let possible = if n == 0 { i == 0 } else { continues || (any_before && i > 0 && starts(i)) };
            now[i] = possible && same(i);
            any_before |= reached[i];
        }
        reached = now;
    }
    reached.contains(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn humps_begin_words() {
        for (letters, name, expected) in [
            ("hmb", "HashMapBuilder", true),
            ("hmb", "hash_map_builder", true),
            ("hb", "HashMapBuilder", true),
            ("hashb", "HashMapBuilder", true),
            ("hamab", "HashMapBuilder", true),
            ("mb", "HashMapBuilder", false),
            ("hsb", "HashMapBuilder", false),
            ("gun", "getUserName", true),
            ("hs", "HTTPServer", true),
            ("pb2", "parse_base_2", true),
            ("pi", "_private_item", true),
            ("hmbx", "HashMapBuilder", false),
            ("aa", "a", false),
        ] {
            assert_eq!(fits_humps(&letters.chars().collect::<Vec<_>>(), name), expected, "{letters} {name}");
        }
    }
}
