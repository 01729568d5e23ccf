//! Text that is safe to show on a terminal.

/// Whether a terminal may act on a character instead of showing it: control characters except tab and line feed, and
/// marks that change the direction of writing.
pub fn is_obeyed(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A copy of `text` in which every character that a terminal may act on ([`is_obeyed`]) is U+FFFD.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}
