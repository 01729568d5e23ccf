//! Forms of a word: as it is compared, and as somebody without its accents would write it.

use std::borrow::Cow;

use unicode_normalization::char::{decompose_canonical, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::script;

/// Marks that people leave out or cannot type: accents, points of Hebrew, Arabic and Syriac, dots of Indic letters. Other
/// marks are vowels, and what is left without them is another word.
const OPTIONAL_MARKS: [(u32, u32); 27] = [
    (0x300, 0x36f),
    (0x483, 0x487),
    (0x591, 0x5bd),
    (0x5bf, 0x5bf),
    (0x5c1, 0x5c2),
    (0x5c4, 0x5c5),
    (0x5c7, 0x5c7),
    (0x610, 0x61a),
    (0x64b, 0x65f),
    (0x670, 0x670),
    (0x6d6, 0x6dc),
    (0x6df, 0x6e4),
    (0x6e7, 0x6e8),
    (0x6ea, 0x6ed),
    (0x711, 0x711),
    (0x730, 0x74a),
    (0x8d3, 0x8e1),
    (0x8e3, 0x8ff),
    (0x93c, 0x93c),
    (0x9bc, 0x9bc),
    (0xa3c, 0xa3c),
    (0xabc, 0xabc),
    (0xb3c, 0xb3c),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    (0x20d0, 0x20ff),
    (0xfe20, 0xfe2f),
];

/// The word with equivalent and compatible characters as one (Unicode's NFKC: `é` of one or two characters, wide and narrow
/// forms), without what is not seen in it.
pub fn normalised(word: &str) -> Cow<'_, str> {
    let is_plain = word.is_ascii()
        || (is_nfkc_quick(word.chars()) == IsNormalized::Yes
            && !word.chars().any(|c| script::is_invisible(c) || c == '\u{200b}'));
    if is_plain {
        return Cow::Borrowed(word);
    }
    let seen = word.chars().filter(|&c| !script::is_invisible(c) && c != '\u{200b}');
    Cow::Owned(seen.nfkc().collect())
}

/// Appends `word` in lower case. The Greek final sigma is a sigma: which of them a letter is depends on its place.
pub fn push_lower(word: &str, out: &mut String) {
    if word.is_ascii() {
        let start = out.len();
        out.push_str(word);
        out[start..].make_ascii_lowercase();
    } else if word.chars().all(|c| c != 'ς' && c.to_lowercase().next() == Some(c)) {
        out.push_str(word);
    } else {
        // A small letter may form one character with a mark where its capital does not.
        out.extend(word.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).nfc());
    }
}

/// Puts the form without accents of a lower-case word into `out`: `prüft` as `pruft`, `straße` as `strasse`. Says whether
/// that is another word.
pub fn fold(word: &str, out: &mut String) -> bool {
    out.clear();
    if word.is_ascii() {
        return false;
    }
    for c in word.chars() {
        match plain_letters(c) {
            Some(plain) => out.push_str(plain),
            None if c.is_ascii() || script::is_unspaced(c) => out.push(c),
            None => match script::ascii_digit(c) {
                Some(digit) => out.push(digit),
                None => decompose_canonical(c, |part| {
                    if is_optional_mark(part) {
                        return;
                    }
                    match plain_letters(part) {
                        Some(plain) => out.push_str(plain),
                        None => out.push(part),
                    }
                }),
            },
        }
    }
    out.as_str() != word && !out.is_empty()
}

fn is_optional_mark(c: char) -> bool {
    let number = u32::from(c);
    number >= OPTIONAL_MARKS[0].0
        && is_combining_mark(c)
        && OPTIONAL_MARKS.iter().any(|&(first, last)| (first..=last).contains(&number))
}

/// Letters that Unicode does not decompose and that people replace by others.
fn plain_letters(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ħ' => "h",
        'ŧ' => "t",
        'ŋ' => "n",
        'ı' => "i",
        'ĸ' => "k",
        'ƒ' => "f",
        'ɓ' => "b",
        'ɗ' => "d",
        'ƙ' => "k",
        'ƴ' => "y",
        'ə' => "e",
        'ґ' => "г",
        'ـ' => "", // stretches an Arabic word
        'ى' | 'ی' | 'ے' => "ي",
        'ة' | 'ہ' | 'ھ' => "ه",
        'ک' => "ك",
        'ٱ' => "ا",
        _ => return None,
    })
}
