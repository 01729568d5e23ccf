//! Text that a terminal shows and does not obey.

/// Whether a terminal may obey a character instead of showing it.
pub fn is_obeyed(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text that a terminal shows and does not obey: control characters, escape sequences with them, and marks that turn
/// the direction of writing become U+FFFD. Tabs and line ends stay.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}
