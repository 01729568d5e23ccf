//! Names as people ask for them: with or without the marks and quotes that a language puts around them, alone or
//! behind what they belong to.

use std::borrow::Cow;

use super::tokens::{fold, is_word_char, normalised, push_lower};

/// Longest name, in bytes, that is looked up.
pub const MAX_NAME_BYTES: usize = 4_096;

/// A name that is asked for, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// All of it, which is a name in some languages: `ns::do_it`, `returns 404 when missing`.
    pub whole: &'a str,
    /// What the name belongs to, in lower case: `client` of `Client.connect`.
    pub scope: Option<String>,
    /// The name itself: `connect`, `operator->`, `valid?`.
    pub name: &'a str,
}

impl<'a> Asked<'a> {
    /// Takes `asked` apart.
    pub fn new(asked: &'a str) -> Asked<'a> {
        let whole = asked.trim();
        let called = whole.strip_suffix("()").filter(|called| !called.ends_with("operator"));
        let whole = called.filter(|called| !called.is_empty()).unwrap_or(whole);
        let (front, name) = split(whole);
        let scope = parts(front).next().map(|part| part.trim_end_matches('-').to_lowercase());
        Asked { whole, scope, name }
    }
}

/// What a name is without the marks that only let it stand where it stands, and without quotes: `type` of `r#type`,
/// `count` of `#count`, `class` of `@class`, `a name` of `` `a name` ``, `Symbol.iterator` of `[Symbol.iterator]`.
pub fn bare(name: &str) -> &str {
    let is_word = |rest: &&str| rest.starts_with(is_word_char);
    let between =
        |open: &str, close: &str| name.strip_prefix(open)?.strip_suffix(close).filter(|name| !name.is_empty());
    let quoted = || [("`", "`"), ("@\"", "\""), ("\"", "\""), ("'", "'")].iter().find_map(|(a, b)| between(a, b));
    let marked = || ["r#", "#", "@"].iter().find_map(|mark| name.strip_prefix(mark).filter(is_word));
    let computed = || between("[", "]").filter(is_word);
    let operator = || between("(", ")").filter(|name| !name.contains(is_word_char));
    quoted().or_else(marked).or_else(computed).or_else(operator).unwrap_or(name)
}

/// A name as it is written, in the one form that Unicode has for it.
pub fn written(name: &str) -> Cow<'_, str> {
    normalised(name)
}

/// A name in lower case, in the one form that Unicode has for it.
pub fn lower(name: &str) -> String {
    let mut lower = String::with_capacity(name.len());
    push_lower(&normalised(name), &mut lower);
    lower
}

/// By what a name is found in any case: itself, and itself without accents.
pub fn keys(name: &str) -> Vec<String> {
    let lower = lower(name);
    let folded = without_accents(&lower);
    std::iter::once(lower).chain(folded).collect()
}

/// A lower-case name without accents, where that is another one.
fn without_accents(lower: &str) -> Option<String> {
    let mut folded = String::new();
    fold(lower, &mut folded).then_some(folded)
}

/// Whether two spellings are of the same name; upper and lower case differ.
pub fn are_same(a: &str, b: &str) -> bool {
    let plain = |name: &str| written(&squeezed(bare(name))).into_owned();
    a == b || plain(a) == plain(b)
}

/// How a lower-case name may be stored, itself first: with marks and quotes, and an operator with the word and spaces
/// that its language puts before it.
pub fn spellings(lower: &str) -> Vec<String> {
    let name = bare(lower);
    let mut spellings = vec![lower.to_owned()];
    let mut add = |spelling: String| {
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    };
    add(name.to_owned());
    if let Some(of) = name.strip_prefix("operator").filter(|of| !of.is_empty() && !of.starts_with(is_word_char)) {
        let of = of.split_whitespace().collect::<Vec<_>>().join(" ");
        let tight = squeezed(&of).into_owned();
        let spaced = tight.replace(',', ", ");
        for of in [of, spaced, tight] {
            if of.starts_with(|c| !is_word_char(c)) {
                add(format!("operator{of}"));
            }
            add(format!("operator {of}"));
        }
    } else if !name.contains(is_word_char) {
        add(format!("operator{name}"));
        add(format!("operator {name}"));
    }
    add(format!("`{name}`"));
    add(format!("@\"{name}\""));
    if !name.contains(char::is_whitespace) && name.starts_with(is_word_char) {
        for mark in ["#", "r#", "@"] {
            add(format!("{mark}{name}"));
        }
        if name.contains('.') {
            add(format!("[{name}]"));
        }
    }
    if let Some(folded) = without_accents(name) {
        add(folded);
    }
    spellings
}

/// How a stored name may begin that begins with a lower-case name, itself first.
pub fn beginnings(lower: &str) -> impl Iterator<Item = String> {
    ["", "`", "#", "r#", "@", "@\""].into_iter().map(move |mark| format!("{mark}{}", bare(lower)))
}

/// Names that a sentence shows to be names: what is between back-ticks, `operator->`, `r#type`, `valid?` before more.
pub fn marked(sentence: &str) -> impl Iterator<Item = &str> {
    let quoted = sentence.split('`').skip(1).step_by(2).filter(|name| !name.trim().is_empty());
    let is_marked = |word: &&str| {
        let of = word.strip_prefix("operator").filter(|of| of.starts_with(|c: char| c.is_ascii_punctuation()));
        of.is_some_and(|of| !of.starts_with(['.', ',', ';', ':', '?', '_'])) || word.starts_with("r#")
    };
    quoted.chain(sentence.split_whitespace().filter(is_marked))
}

/// The text before a name, and the name.
fn split(asked: &str) -> (&str, &str) {
    if let Some(at) = operator(asked).or_else(|| quoted(asked)) {
        return asked.split_at(at);
    }
    let head = asked.trim_end_matches(|c| !is_word_char(c));
    let tail = &asked[head.len()..];
    if head.is_empty() {
        return ("", asked);
    }
    for separator in ["::", "#", "."] {
        if let Some(name) = tail.strip_prefix(separator).filter(|name| !name.is_empty()) {
            return (head, name); // `Enumerable#<=>`
        }
    }
    if tail.ends_with(['>', ']'])
        && let Some(open) = asked.find(if tail.ends_with('>') { '<' } else { '[' }).filter(|&open| open < head.len())
        && asked[..open].ends_with(is_word_char)
    {
        return split(&asked[..open]); // `hash<Key>`, `Alias[T]`
    }
    let is_mark = |c: char| "?!='".contains(c);
    let named = if tail.chars().all(is_mark) { asked } else { head };
    let name = parts(named).next().unwrap_or_default();
    (&named[..named.len() - name.len()], name)
}

/// Where the name of an operator begins: `Type::operator->`, `operator bool`.
fn operator(asked: &str) -> Option<usize> {
    let at = asked.rfind("operator")?;
    let (front, of) = (&asked[..at], &asked[at + "operator".len()..]);
    let alone = front.is_empty() || front.ends_with(['.', ':', '#']);
    let is_name = if of.starts_with(char::is_whitespace) { alone } else { !front.ends_with(is_word_char) };
    (is_name && !of.is_empty() && !of.starts_with(is_word_char) && !of.starts_with("::") && of != ".").then_some(at)
}

/// Where a quoted name at the end begins, with the mark before the quote.
fn quoted(asked: &str) -> Option<usize> {
    let quote = asked.chars().next_back().filter(|c| "`\"'".contains(*c))?;
    let open = asked[..asked.len() - 1].rfind(quote)?;
    let at = if asked[..open].ends_with('@') { open - 1 } else { open };
    (open + 1 < asked.len() - 1 && !asked[..at].ends_with(is_word_char)).then_some(at)
}

/// The parts of a qualified name, the last first.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.rsplit(|c: char| ":.#/\\>".contains(c) || c.is_whitespace()).filter(|part| !part.is_empty())
}

/// Without the white space that separates no two words: `operator==` of `operator ==`.
fn squeezed(name: &str) -> Cow<'_, str> {
    if !name.contains(char::is_whitespace) {
        return name.into();
    }
    let mut squeezed = String::with_capacity(name.len());
    for word in name.split_whitespace() {
        if squeezed.ends_with(is_word_char) && word.starts_with(is_word_char) {
            squeezed.push(' ');
        }
        squeezed.push_str(word);
    }
    squeezed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_of_what_is_asked() {
        for (asked, scope, name) in [
            ("read", None, "read"),
            ("fs::read", Some("fs"), "read"),
            ("std::fs::read()", Some("fs"), "read"),
            ("Client.connect", Some("client"), "connect"),
            ("p->next", Some("p"), "next"),
            ("class Foo", Some("class"), "Foo"),
            ("::", None, "::"),
            ("", None, ""),
            ("()", None, "()"),
            ("operator->", None, "operator->"),
            ("operator->*", None, "operator->*"),
            ("operator()", None, "operator()"),
            ("operator()()", None, "operator()"),
            ("Ptr::operator->", Some("ptr"), "operator->"),
            ("Ptr::operator bool", Some("ptr"), "operator bool"),
            ("operator std::string const&", None, "operator std::string const&"),
            ("operator\"\"_km", None, "operator\"\"_km"),
            ("operator_name", None, "operator_name"),
            ("operator", None, "operator"),
            ("bitwise operator precedence", Some("operator"), "precedence"),
            ("Ptr::~Ptr", Some("ptr"), "~Ptr"),
            ("name=", None, "name="),
            ("User#name=", Some("user"), "name="),
            ("User#valid?", Some("user"), "valid?"),
            ("User.create!", Some("user"), "create!"),
            ("Enumerable#<=>", Some("enumerable"), "<=>"),
            ("Hash#[]", Some("hash"), "[]"),
            ("<$>", None, "<$>"),
            ("(>>=)", None, "(>>=)"),
            ("foldl'", None, "foldl'"),
            ("Data.List.foldl'", Some("list"), "foldl'"),
            ("unary_!", None, "unary_!"),
            ("hash<Key>", None, "hash"),
            ("std::hash<Key>", Some("std"), "hash"),
            ("Alias[T]", None, "Alias"),
            ("A.#count", Some("a"), "count"),
            ("Api.`returns 404`", Some("api"), "`returns 404`"),
            ("@\"quoted name\"", None, "@\"quoted name\""),
            ("'content-type'", None, "'content-type'"),
            ("don't", None, "don't"),
        ] {
            let found = Asked::new(asked);
            assert_eq!((found.scope.as_deref(), found.name), (scope, name), "{asked}");
        }
        assert_eq!(Asked::new(" ns::do_it() ").whole, "ns::do_it");
    }

    #[test]
    fn marks_and_quotes_do_not_make_another_name() {
        for (a, b) in [
            ("r#type", "type"),
            ("#count", "count"),
            ("@class", "class"),
            ("`a name`", "a name"),
            ("@\"a name\"", "a name"),
            ("'content-type'", "content-type"),
            ("[Symbol.iterator]", "Symbol.iterator"),
            ("(<$>)", "<$>"),
            ("operator ==", "operator=="),
            ("operator new [ ]", "operator new[]"),
            ("operator std::map<int,long>", "operator std::map<int, long>"),
        ] {
            assert!(are_same(a, b) && are_same(b, a), "{a} {b}");
            assert!(spellings(b).contains(&a.to_owned()) || squeezed(a) != a || a.starts_with(['(', '\'']), "{a} {b}");
        }
        for (a, b) in
            [("name=", "name"), ("foldl'", "foldl"), ("~Ptr", "Ptr"), ("[]", "[]="), ("operator bool", "operatorbool")]
        {
            assert!(!are_same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn sentences_mark_names() {
        let found: Vec<&str> =
            marked("why does `a name` call operator-> and r#type, not operator. or operators").collect();
        assert_eq!(found, ["a name", "operator->", "r#type,"]);
    }

    /// What is asked comes from anywhere: no input makes a cut inside a character.
    #[test]
    fn any_text_can_be_asked_for() {
        for asked in
            ["ä", "«ä»", "`", "``", "'", "@\"", "ä'", "operatorä", "operator ", "ä>", "<>", "ä[ä]", "::ä::", "\u{301}'"]
        {
            let found = Asked::new(asked);
            let _ = (bare(found.name), spellings(found.whole), marked(asked).count());
        }
    }
}
