//! Code as words: the one tokenizer of both the index and the query.
//!
//! An identifier gives itself, lower-cased and whole, and its parts (camelCase, snake_case, digits), each with a crude
//! stem beside it. Additive, never replacing: `parseHTTPHeaders` is found by itself, by `http` and by `header`.

/// One word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A whole identifier or word, lower-cased.
    Ident(&'a str),
    /// A part of an identifier, or the stem of one, lower-cased. A word without parts is its own part.
    Sub(&'a str),
}

/// Longer "words" are data (base64, minified lines, hashes) and would only fill the dictionary.
const MAX_WORD_BYTES: usize = 64;

/// Shortest word, in bytes, that gets a stem.
const MIN_STEMMED_BYTES: usize = 5;
/// Shortest stem, in bytes.
const MIN_STEM_BYTES: usize = 3;

/// Suffixes in the order tried; the first that fits is cut (`ies` becomes `y`).
const SUFFIXES: [&str; 11] = ["tion", "ity", "ing", "ness", "ment", "ies", "ers", "ed", "er", "es", "s"];

/// Words of a query that say nothing about the code. Code has few of them, so that BM25 would weigh them highly.
const FILLERS: [&str; 56] = [
    "a", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "did", "do", "does", "for", "from", "has",
    "have", "how", "i", "if", "in", "into", "is", "it", "its", "not", "of", "on", "or", "our", "per", "so", "than",
    "that", "the", "then", "there", "this", "to", "use", "used", "via", "was", "we", "were", "what", "when", "where",
    "which", "who", "why", "will", "with", "you", "your",
];

/// Whether a lower-case word says nothing about the code: `how`, `the`.
pub fn is_filler(word: &str) -> bool {
    FILLERS.binary_search(&word).is_ok()
}

/// Hands every token of `text` to `emit`, in order.
pub fn code_tokens(text: &str, mut emit: impl FnMut(Token<'_>)) {
    let mut lower = String::with_capacity(MAX_WORD_BYTES);
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
        if word.is_empty() || word.len() > MAX_WORD_BYTES || word.bytes().all(|b| b == b'_') {
            continue;
        }
        lower_into(word.trim_matches('_'), &mut lower);
        emit(Token::Ident(&lower));
        for part in parts(word) {
            lower_into(part, &mut lower);
            emit(Token::Sub(&lower));
            if let Some(stemmed) = stem(&mut lower) {
                emit(Token::Sub(stemmed));
            }
        }
    }
}

/// The pieces of an identifier: between underscores, at lower-to-upper (`parse|Url`), before the last capital of a run
/// (`HTTP|Server`), and where letters and digits meet (`utf|8`).
fn parts(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('_');
        if rest.is_empty() {
            return None;
        }
        let (part, after) = rest.split_at(part_end(rest));
        rest = after;
        Some(part)
    })
}

fn part_end(word: &str) -> usize {
    let mut chars = word.char_indices().peekable();
    let Some((_, mut before)) = chars.next() else { return 0 };
    while let Some((at, c)) = chars.next() {
        let next_is_lower = chars.peek().is_some_and(|(_, next)| next.is_lowercase());
        let boundary = c == '_'
            || before.is_numeric() != c.is_numeric()
            || (before.is_lowercase() && c.is_uppercase())
            || (before.is_uppercase() && c.is_uppercase() && next_is_lower);
        if boundary {
            return at;
        }
        before = c;
    }
    word.len()
}

fn lower_into(word: &str, out: &mut String) {
    out.clear();
    if word.is_ascii() {
        out.push_str(word);
        out.make_ascii_lowercase();
    } else {
        out.extend(word.chars().flat_map(char::to_lowercase));
    }
}

/// Cuts `word` in place to its stem; `None` when it has none.
fn stem(word: &mut String) -> Option<&str> {
    if word.len() < MIN_STEMMED_BYTES || !word.is_ascii() {
        return None;
    }
    let suffix = SUFFIXES.iter().find(|suffix| word.ends_with(**suffix))?;
    let kept = word.len() - suffix.len();
    if kept < MIN_STEM_BYTES {
        return None;
    }
    word.truncate(kept);
    if *suffix == "ies" {
        word.push('y');
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        let (mut ident, mut sub) = (Vec::new(), Vec::new());
        code_tokens(text, |token| match token {
            Token::Ident(word) => ident.push(word.to_string()),
            Token::Sub(word) => sub.push(word.to_string()),
        });
        format!("{} | {}", ident.join(" "), sub.join(" "))
    }

    #[test]
    fn fillers_are_sorted() {
        assert!(FILLERS.is_sorted() && is_filler("where") && !is_filler("socket"));
    }

    #[test]
    fn words_of_code() {
        for (input, expected) in [
            ("parseConfig(path)", "parseconfig path | parse config path"),
            ("parse_config", "parse_config | parse config"),
            ("HTTPServer2", "httpserver2 | http server serv 2"),
            ("getHTTPResponseCode", "gethttpresponsecode | get http response code"),
            ("utf8ToBase64", "utf8tobase64 | utf 8 to base 64"),
            ("__init__", "init | init"),
            ("_ __ ___", " | "),
            ("MAX_RETRY_COUNT", "max_retry_count | max retry count"),
            ("std::sync::Mutex", "std sync mutex | std sync mutex"),
            ("tokens, queries; parsing", "tokens queries parsing | tokens token queries query parsing pars"),
            ("class", "class | class clas"),
            ("using", "using | using"),
            ("x = a[i]", "x a i | x a i"),
            ("", " | "),
            ("?!.,;(){}", " | "),
            ("Größe_ÄNDERN", "größe_ändern | größe ändern"),
            ("don't", "don t | don t"),
        ] {
            assert_eq!(rendered(input), expected, "{input}");
        }
        assert_eq!(rendered(&"a".repeat(65)), " | ", "data, not a word");
    }
}
