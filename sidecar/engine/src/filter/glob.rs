//! What a glob may mean, the most literal meaning first.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick};

/// How names of files are written on a system.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// `\` separates folders, and names no character as it is.
    pub backslash_separates: bool,
    /// Names that differ in case alone are one name.
    pub ignores_case: bool,
}

/// The system that this is built for.
pub const HERE: System =
    System { backslash_separates: cfg!(windows), ignores_case: cfg!(any(windows, target_os = "macos")) };

/// One meaning of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Matches whole paths below the root, in the language of the crate `globset`.
    pub text: String,
    /// Only folders match, and so all that lies below them.
    pub only_folders: bool,
    /// What matches is left out.
    pub excludes: bool,
    /// Upper and lower case are the same.
    pub ignores_case: bool,
}

/// Which characters mean themselves.
#[derive(Clone, Copy)]
enum Literal {
    All,
    Some { brackets: bool, braces: bool },
}

/// From the most literal on. Names with brackets and with braces are what frameworks use for routes.
const LITERAL: [Literal; 5] = [
    Literal::All,
    Literal::Some { brackets: true, braces: true },
    Literal::Some { brackets: true, braces: false },
    Literal::Some { brackets: false, braces: true },
    Literal::Some { brackets: false, braces: false },
];

/// Where a path that was written may begin.
struct Place<'a> {
    /// Folders above it, whose names are what they are.
    base: Vec<&'a str>,
    /// The parts that were written.
    parts: Vec<&'a str>,
    /// It may be at any depth.
    floats: bool,
    only_folders: bool,
}

/// The meanings of a glob, the most literal first; `folder` is the caller's, below the root. None for a path that leads
/// out of the root.
pub fn readings(written: &str, folder: &str, system: System) -> Vec<Reading> {
    let slashed = if system.backslash_separates { written.replace('\\', "/") } else { written.to_owned() };
    let (glob, excludes) = match slashed.strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (slashed.as_str(), false),
    };
    let mut readings = Vec::new();
    if excludes {
        // A file may be called like that.
        places(&slashed, folder).iter().for_each(|place| add(&mut readings, place, Literal::All, false, false));
    }
    let places = places(glob, folder);
    for literal in LITERAL {
        places.iter().for_each(|place| add(&mut readings, place, literal, excludes, false));
    }
    if system.ignores_case {
        for literal in [LITERAL[0], LITERAL[4]] {
            places.iter().for_each(|place| add(&mut readings, place, literal, excludes, true));
        }
    }
    readings
}

/// Whether a glob is to exclude.
pub fn excludes(written: &str) -> bool {
    written.starts_with('!')
}

/// Whether a glob says nothing.
pub fn is_blank(written: &str) -> bool {
    matches!(written, "" | "!")
}

/// Where the path may begin: the root, or the caller's folder.
fn places<'a>(glob: &'a str, folder: &'a str) -> Vec<Place<'a>> {
    let mut places = Vec::new();
    let trimmed = glob.trim_end();
    for text in if trimmed == glob { vec![glob] } else { vec![glob, trimmed] } {
        let is_dotted = matches!(text, "." | "..") || text.starts_with("./") || text.starts_with("../");
        let is_rooted = text.starts_with('/');
        let has_folders = text.trim_end_matches('/').contains('/');
        let from_root = || place("", text, !(is_dotted || is_rooted || has_folders));
        let from_folder = || place(folder, text, false);
        if is_dotted {
            places.extend([from_folder(), from_root()]);
        } else if is_rooted || !has_folders {
            places.push(from_root());
        } else {
            places.extend([from_root(), from_folder()]);
        }
    }
    places.into_iter().flatten().collect()
}

/// `None` for a path that leads out of the root.
fn place<'a>(folder: &'a str, text: &'a str, floats: bool) -> Option<Place<'a>> {
    let (mut base, mut parts) = (split(folder), Vec::new());
    for part in split(text) {
        match part {
            "." => {}
            ".." => _ = parts.pop().or_else(|| base.pop())?,
            part => parts.push(part),
        }
    }
    let floats = floats && !parts.is_empty();
    Some(Place { base, parts, floats, only_folders: text.ends_with('/') })
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// Adds the readings of one glob at one place, unless they are there.
fn add(readings: &mut Vec<Reading>, place: &Place<'_>, literal: Literal, excludes: bool, ignores_case: bool) {
    let base = place.base.iter().map(|part| escaped(part, Literal::All));
    let parts = place.parts.iter().map(|part| escaped(part, literal));
    let path: Vec<String> = base.chain(parts).collect();
    let text = match path.join("/") {
        path if path.is_empty() => "**".to_owned(),
        path if place.floats => format!("**/{path}"),
        path => path,
    };
    for text in forms(text) {
        let only_folders = place.only_folders && text != "**";
        let reading = Reading { text, only_folders, excludes, ignores_case };
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
}

/// The glob as it is, then with its letters and accents composed and decomposed: file systems and keyboards differ.
fn forms(text: String) -> Vec<String> {
    let mut forms = Vec::new();
    if !text.is_ascii() {
        if is_nfc_quick(text.chars()) != IsNormalized::Yes {
            forms.push(text.nfc().collect());
        }
        if is_nfd_quick(text.chars()) != IsNormalized::Yes {
            forms.push(text.nfd().collect());
        }
    }
    forms.insert(0, text);
    forms
}

/// A part of a path in which some characters mean themselves. What a backslash stands before is left as it is, but for
/// [`Literal::All`].
fn escaped(part: &str, literal: Literal) -> String {
    let mut escaped = String::with_capacity(part.len() + 8);
    let mut chars = part.chars();
    while let Some(char) = chars.next() {
        let is_literal = match (literal, char) {
            (Literal::All, _) => matches!(char, '\\' | '*' | '?' | '[' | ']' | '{' | '}'),
            (Literal::Some { .. }, '\\') => {
                escaped.push(char);
                escaped.extend(chars.next());
                continue;
            }
            (Literal::Some { brackets, .. }, '[' | ']') => brackets,
            (Literal::Some { braces, .. }, '{' | '}') => braces,
            _ => false,
        };
        if is_literal {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
