//! What a query asks: its kind, the names in it, the words that carry meaning.

use super::trace::ErrorText;
use crate::text::names::{Asked, marked};
use crate::text::tokens::{fold, is_filler, is_unspaced, is_word_char, normalised};

/// Most names of a query that are looked up; a pasted log has thousands.
const MAX_NAMES: usize = 16;
/// Longest query, in bytes, that is looked up as a name.
const MAX_NAME_BYTES: usize = 400;
/// Most words of a query that are compared with file names; a pasted log has thousands.
const MAX_WORDS: usize = 64;

/// What kind of question a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One name: `HashMap`, `read_line`, `std::fs`.
    Symbol,
    /// A path or file name: `src/main.rs`.
    Path,
    /// An error message or a stack trace.
    Error,
    /// Everything else.
    Prose,
}

/// A query, taken apart.
#[derive(Clone, Debug)]
pub struct Question {
    /// Lower case, trimmed.
    pub(super) text: String,
    /// What kind it is.
    pub class: Class,
    /// Names to look up among the definitions.
    pub names: Vec<String>,
    /// The whole query, where it is no plain word and may be a name all the same: `operator +`, `valid?`.
    pub(super) marked_name: Option<String>,
    /// What an error says, for [`Class::Error`].
    pub error: Option<ErrorText>,
    /// Meaningful words with their weights, lower case.
    pub(super) words: Vec<(String, f32)>,
}

impl Question {
    /// Takes `query` apart. `weight` gives the weight of a word that is found in a path, 0 to 1: near 0 for a word that
    /// half of the paths have.
    pub fn new<E>(query: &str, mut weight: impl FnMut(&str) -> Result<f32, E>) -> Result<Question, E> {
        let error = ErrorText::parse(query);
        let class = if error.is_some() { Class::Error } else { classify(query) };
        let meant = error.as_ref().map_or(query, |error| &error.words);
        let mut words: Vec<String> = split_words(meant);
        words.retain(|word| word.chars().count() > shortest_word(word) && !is_filler(word));
        words.truncate(MAX_WORDS);
        let words = words.into_iter().map(|word| weight(&word).map(|w| (word, w))).collect::<Result<_, E>>()?;
        let whole = Asked::new(query).whole;
        let is_marked = whole.len() <= MAX_NAME_BYTES && whole.contains(|c: char| !c.is_alphanumeric() && c != '_');
        let marked_name = is_marked.then(|| whole.to_owned());
        let names = names(meant, class);
        Ok(Question { text: query.trim().to_lowercase(), class, names, marked_name, error, words })
    }

    /// What full text looks for: the query, or an error's own words where it has some.
    pub fn text_query<'a>(&'a self, query: &'a str) -> &'a str {
        match &self.error {
            Some(error) if !error.words.is_empty() => &error.words,
            _ => query,
        }
    }

    /// Adds names to look up among the definitions, up to the limit.
    pub fn add_names<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if self.names.len() < MAX_NAMES && !self.names.iter().any(|known| known == name) {
                self.names.push(name.to_owned());
            }
        }
    }

    /// Whether the query itself has `word`, in singular or plural: a query for tests must not demote tests.
    pub(super) fn mentions(&self, word: &str) -> bool {
        self.text.contains(word.trim_matches('_').trim_end_matches('s'))
    }
}

/// A word of a path must have more characters to say something. Two of a script without spaces are a word.
fn shortest_word(word: &str) -> usize {
    if word.contains(is_unspaced) { 1 } else { 2 }
}

/// Classifies a query by its shape.
fn classify(query: &str) -> Class {
    let query = query.trim();
    if query.split_whitespace().nth(1).is_some() || query.is_empty() {
        return Class::Prose;
    }
    let ident = is_word_char;
    let last = query.rsplit(['/', '\\']).next().unwrap_or_default();
    let has_extension = last.rsplit_once('.').is_some_and(|(stem, ext)| {
        !stem.is_empty()
            && (1..=4).contains(&ext.len())
            && ext.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    if query.contains('/') || (has_extension && query.chars().all(|c| ident(c) || "./-".contains(c))) {
        return Class::Path;
    }
    let parts: Vec<&str> = query.split("::").flat_map(|part| part.split(['.', '#'])).collect();
    let qualified = parts.len() > 1;
    let is_name = parts.iter().all(|part| !part.is_empty() && part.chars().all(ident));
    let marked = query.starts_with('_') || query.chars().any(char::is_uppercase) || query.contains('_');
    if is_name && (qualified || marked) { Class::Symbol } else { Class::Prose }
}

/// Names in a query that look like identifiers; for a symbol query, its last part. Where a language has such names, the
/// whole query is one: `valid?`, `returns 404 when missing`.
fn names(query: &str, class: Class) -> Vec<String> {
    let mut names = identifiers(query, class);
    let mut add = |name: &str| {
        if names.len() < MAX_NAMES
            && name.len() <= MAX_NAME_BYTES
            && !name.is_empty()
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    };
    let asked = Asked::new(query);
    if query.len() <= 2 * MAX_NAME_BYTES {
        add(asked.whole);
        if class == Class::Symbol || !query.trim().contains(char::is_whitespace) {
            add(asked.name);
        }
    }
    marked(query).for_each(add);
    names
}

fn identifiers(query: &str, class: Class) -> Vec<String> {
    let last_part = |word: &str| word.rsplit(['.', ':', '#']).next().unwrap_or_default().to_owned();
    match class {
        Class::Path => Vec::new(),
        Class::Symbol => vec![last_part(query.trim())],
        Class::Prose | Class::Error => {
            let trim = |word: &str| word.trim_matches(|c: char| !is_word_char(c)).to_owned();
            let words = query.split_whitespace().map(trim);
            // A lone word may be a name as well as a topic; in a sentence only the spelling tells.
            let lone = query.split_whitespace().nth(1).is_none();
            let mixed = |word: &String| {
                lone && !word.is_empty()
                    || word.contains('_')
                    || word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase)
            };
            let mut names: Vec<String> = Vec::new();
            for name in words.filter(mixed).map(|word| last_part(&word)) {
                if names.len() < MAX_NAMES && !names.contains(&name) {
                    names.push(name);
                }
            }
            names
        }
    }
}

/// Lower-case words without accents, cut at case changes and everything that is no letter or digit.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let text = normalised(text);
    let mut words = vec![String::new()];
    let (mut lower, mut unspaced) = (false, false);
    for c in text.chars() {
        let is_word = c != '_' && is_word_char(c);
        if !is_word || (c.is_uppercase() && lower) || (is_unspaced(c) != unspaced && c.is_alphanumeric()) {
            words.push(String::new());
        }
        if is_word {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        (lower, unspaced) = (c.is_lowercase(), if c.is_alphanumeric() { is_unspaced(c) } else { unspaced });
    }
    words.retain(|word| !word.is_empty());
    let mut folded = String::new();
    for word in &mut words {
        if fold(word, &mut folded) {
            std::mem::swap(word, &mut folded);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_classified_by_shape() {
        for (query, class) in [
            ("HashMap", Class::Symbol),
            ("read_line", Class::Symbol),
            ("std::fs::read", Class::Symbol),
            ("socket.connect", Class::Symbol),
            ("_private", Class::Symbol),
            ("socket", Class::Prose),
            ("where is the socket opened", Class::Prose),
            ("src/main.rs", Class::Path),
            ("main.rs", Class::Path),
            ("", Class::Prose),
            ("  ", Class::Prose),
            ("?!", Class::Prose),
        ] {
            assert_eq!(classify(query), class, "{query:?}");
        }
        assert_eq!(
            identifiers("how does parseFloat round, or read_line()?", Class::Prose),
            ["parseFloat", "read_line"]
        );
        assert_eq!(identifiers("std::fs::read", Class::Symbol), ["read"]);
        assert_eq!(identifiers("namedtuple", Class::Prose), ["namedtuple"]);
        assert_eq!(identifiers("?!", Class::Prose), [""; 0]);
    }

    #[test]
    fn a_query_as_a_whole_may_be_a_name() {
        for (query, expected) in [
            ("valid?", vec!["valid", "valid?"]),
            ("returns 404 when missing", vec!["returns 404 when missing"]),
            ("ns::do_it", vec!["do_it", "ns::do_it"]),
            ("Ptr::operator->", vec!["operator", "Ptr::operator->", "operator->"]),
            ("r#type", vec!["type", "r#type"]),
            ("<$>", vec!["<$>"]),
            ("where is operator-> defined", vec!["where is operator-> defined", "operator->"]),
            ("namedtuple", vec!["namedtuple"]),
            ("", vec![]),
        ] {
            assert_eq!(names(query, classify(query)), expected, "{query}");
        }
    }

    #[test]
    fn words_of_other_scripts() {
        for (text, expected) in [
            ("订单服务", "订单服务"),
            ("user订单Service", "user 订单 service"),
            ("Übergröße", "ubergrosse"),
            ("re\u{301}sume\u{301}", "resume"),
            ("हिन्दी_शब्द", "हिन्दी शब्द"),
            ("httpClient2", "http client2"),
        ] {
            assert_eq!(split_words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn words_are_those_that_mean_something() {
        let question = Question::new("how does the httpClient follow a redirect", |_| Ok::<_, ()>(1.0)).unwrap();
        let words: Vec<&str> = question.words.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, ["http", "client", "follow", "redirect"]);
    }
}
