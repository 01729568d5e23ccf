//! What a character is to a word: part of it, invisible in it, of a script that puts no spaces between words.

use unicode_normalization::char::is_combining_mark;

/// Letters of scripts that put no space between words, or that glue particles to them as Korean does. The ranges are the
/// blocks whose characters have the line breaking classes ID, CJ, H2, H3, JL, JT, JV and SA in Unicode's UAX #14, with
/// Balinese and Javanese, without their digits.
#[rustfmt::skip]
const UNSPACED: [(u32, u32); 39] = [
    (0xe01, 0xe3a), (0xe40, 0xe4e), (0xe81, 0xece), (0xedc, 0xedf),             // Thai, Lao
    (0x1000, 0x103f), (0x1050, 0x108f), (0x109a, 0x109d),                       // Myanmar
    (0x1100, 0x11ff),                                                           // Hangul, as jamo
    (0x1780, 0x17d3), (0x17d7, 0x17d7), (0x17dc, 0x17dd),                       // Khmer
    (0x1950, 0x1974), (0x1980, 0x19c9), (0x1a20, 0x1a7f),                       // Tai Le, New Tai Lue, Tai Tham
    (0x1b05, 0x1b4c),                                                           // Balinese
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3038, 0x303c),     // 々 and other ideographic marks
    (0x3041, 0x3096), (0x309d, 0x309f), (0x30a1, 0x30fa), (0x30fc, 0x30ff),     // kana
    (0x3105, 0x312f), (0x3131, 0x318e), (0x31a0, 0x31bf), (0x31f0, 0x31ff),     // Bopomofo, Hangul, kana
    (0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xa000, 0xa48c),                       // ideographs, Yi
    (0xa960, 0xa97c), (0xa984, 0xa9b2), (0xa9e0, 0xa9ef), (0xa9fa, 0xa9fe),     // Hangul, Javanese, Myanmar
    (0xaa60, 0xaadf),                                                           // Myanmar, Tai Viet
    (0xac00, 0xd7fb), (0xf900, 0xfaff),                                         // Hangul, ideographs
    (0x16fe0, 0x1b2fb),                                                         // Tangut, Khitan, kana, Nushu
    (0x20000, 0x3fffd),                                                         // ideographs
];

/// The digit 0 of each script; its nine others follow.
#[rustfmt::skip]
const ZEROS: [u32; 46] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x11450, 0x114d0,
    0x11650, 0x116c0, 0x11730,
];

/// Whether a character belongs to a word. Marks do: they are vowels in many scripts, and accents of decomposed letters.
pub fn is_word_char(c: char) -> bool {
    match c {
        '_' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        '\u{ff3f}' | '\u{3200}'..='\u{33ff}' => true, // the wide form of `_`, and words squeezed into one sign: `㎏`, `㌔`
        _ => c.is_alphanumeric() || is_combining_mark(c) || is_invisible(c),
    }
}

/// Whether a character is not seen and says nothing about the word that it is in: soft hyphens, joiners, marks of the
/// writing direction, variation selectors.
pub fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xad | 0x34f | 0x61c | 0x180b..=0x180f | 0x200c..=0x200f | 0x202a..=0x202e | 0x2060..=0x2064 | 0x2066..=0x206f
        | 0xfe00..=0xfe0f | 0xfeff | 0xe0000..=0xe0fff)
}

/// Whether the space of no width, which separates words elsewhere, stands between two letters of an unspaced script: there
/// some writers put it and others do not.
pub fn is_optional_space(c: char, before: Option<char>) -> bool {
    c == '\u{200b}' && before.is_some_and(|before| is_unspaced(before) || is_combining_mark(before))
}

/// Whether a character is a picture, which is a word of its own: emoji, signs such as `✓`.
pub fn is_picture(c: char) -> bool {
    matches!(u32::from(c), 0x2600..=0x27bf | 0x1f1e6..=0x1f1ff | 0x1f300..=0x1f3fa | 0x1f400..=0x1faff)
}

/// Whether a letter belongs to a script that puts no spaces between words.
pub fn is_unspaced(c: char) -> bool {
    let c = u32::from(c);
    if c < UNSPACED[0].0 || matches!(c, 0x4e00..=0x9fff) {
        return c >= 0x4e00; // most of what is asked
    }
    let n_before = UNSPACED.partition_point(|&(first, _)| first <= c);
    n_before > 0 && c <= UNSPACED[n_before - 1].1
}

/// The ASCII digit of the same value as a digit of another script.
pub fn ascii_digit(c: char) -> Option<char> {
    let c = u32::from(c);
    let n_before = ZEROS.partition_point(|&zero| zero <= c);
    let value = c - *ZEROS.get(n_before.checked_sub(1)?)?;
    (value < 10).then(|| char::from(b'0' + value as u8))
}

/// Whether the tables can be searched by halves, for the test.
#[cfg(test)]
pub fn tables_are_sorted() -> bool {
    let ranges_are = UNSPACED.iter().all(|(first, last)| first <= last) && UNSPACED.windows(2).all(|w| w[0].1 < w[1].0);
    ranges_are && ZEROS.is_sorted()
}
