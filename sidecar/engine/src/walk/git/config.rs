//! What git's configuration says about ignore rules: `core.excludesFile`, `core.ignoreCase`, and what is needed to read the
//! index.
//!
//! The files are written by the user, or by whoever made the repository; they are read within limits, and name at most
//! another file of rules.

use std::path::{Path, PathBuf};

use super::super::paths::raw_absolute;
use super::super::wildcard::matches_path;
use super::GitSettings;
use crate::disk::read_outside;

/// Longest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Most files that a configuration includes, one in another or not.
const MAX_INCLUDES: usize = 32;

/// The settings that count for a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `core.excludesFile`; an empty path turns it off.
    pub excludes: Option<PathBuf>,
    /// `core.ignoreCase`
    pub fold: bool,
    /// `extensions.objectFormat` is `sha256`.
    pub is_sha256: bool,
    has_worktree_config: bool,
}

/// Reads one file after the other into a [`Config`]; later ones win.
struct Reader<'a> {
    config: Config,
    git_dir: &'a Path,
    home: Option<&'a Path>,
    n_includes: usize,
}

impl Config {
    /// The settings of the repository at `git_dir`, whose `config` is in `common`.
    pub fn read(settings: &GitSettings, git_dir: &Path, common: &Path) -> Config {
        let home = settings.home.as_deref();
        let mut reader = Reader { config: Config::default(), git_dir, home, n_includes: 0 };
        settings.config_files.iter().for_each(|file| reader.read(file));
        reader.read(&common.join("config"));
        if reader.config.has_worktree_config {
            reader.read(&git_dir.join("config.worktree"));
        }
        for (key, value) in &settings.config_values {
            reader.set(key, Some(value.clone()), Path::new(""));
        }
        reader.config
    }
}

impl Reader<'_> {
    /// Takes in a file; one that is missing, unreadable, damaged or too long says nothing from there on.
    fn read(&mut self, file: &Path) {
        let Ok(bytes) = read_outside(file, MAX_CONFIG_BYTES) else { return };
        let text = String::from_utf8_lossy(&bytes);
        parse(&text, &mut |key, value| self.set(key, value, file));
    }

    fn set(&mut self, key: &str, value: Option<String>, file: &Path) {
        let is_true = || value.as_deref().is_none_or(is_true);
        match key {
            "core.excludesfile" => self.config.excludes = value.map(|path| self.path(&path, Path::new(""))),
            "core.ignorecase" => self.config.fold = is_true(),
            "extensions.worktreeconfig" => self.config.has_worktree_config = is_true(),
            "extensions.objectformat" => self.config.is_sha256 = value.is_some_and(|name| name == "sha256"),
            "include.path" => self.include(value, file),
            _ => {
                let condition = key.strip_prefix("includeif.").and_then(|rest| rest.strip_suffix(".path"));
                if condition.is_some_and(|condition| self.holds(condition, file)) {
                    self.include(value, file);
                }
            }
        }
    }

    fn include(&mut self, value: Option<String>, file: &Path) {
        self.n_includes += 1;
        if let Some(path) = value.filter(|_| self.n_includes <= MAX_INCLUDES) {
            let path = self.path(&path, file.parent().unwrap_or(Path::new("")));
            self.read(&path);
        }
    }

    /// A path as a configuration writes it: `~/` is the user's home.
    fn path(&self, text: &str, relative_to: &Path) -> PathBuf {
        match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ if text.is_empty() => PathBuf::new(),
            _ => relative_to.join(text),
        }
    }

    /// Whether the condition of an `includeIf` holds; those about branches and remotes are not looked at, and do not.
    fn holds(&self, condition: &str, file: &Path) -> bool {
        let (pattern, fold) = match (condition.strip_prefix("gitdir:"), condition.strip_prefix("gitdir/i:")) {
            (Some(pattern), _) => (pattern, false),
            (_, Some(pattern)) => (pattern, true),
            _ => return false,
        };
        let here = file.parent().unwrap_or(Path::new(""));
        let mut pattern = match (pattern.strip_prefix("~/"), pattern.strip_prefix("./")) {
            (Some(rest), _) => self.home.unwrap_or(Path::new("")).join(rest).to_string_lossy().into_owned(),
            (_, Some(rest)) => here.join(rest).to_string_lossy().into_owned(),
            _ if Path::new(pattern).is_absolute() => pattern.to_owned(),
            _ => format!("**/{pattern}"),
        };
        if pattern.ends_with('/') {
            pattern.push_str("**");
        }
        let real = std::fs::canonicalize(self.git_dir).unwrap_or_else(|_| self.git_dir.to_path_buf());
        [self.git_dir, &real].into_iter().any(|dir| matches_path(pattern.as_bytes(), &raw_absolute(dir), fold))
    }
}

/// What git takes for yes.
fn is_true(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_str(), "true" | "yes" | "on") || value.parse::<i64>().is_ok_and(|number| number != 0)
}

/// Calls `found` with each key, `section.subsection.name` with section and name in small letters, and its value; `None`
/// for a key without `=`. Ends at the first line that is not of the format.
fn parse(text: &str, found: &mut dyn FnMut(&str, Option<String>)) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text.chars().peekable();
    let mut section = String::new();
    while let Some(first) = rest.peek().copied() {
        match first {
            '#' | ';' => while rest.next_if(|next| *next != '\n').is_some() {},
            '[' => {
                rest.next();
                match header(&mut rest) {
                    Some(name) => section = name,
                    None => return,
                }
            }
            _ if first.is_ascii_whitespace() => drop(rest.next()),
            _ if first.is_ascii_alphabetic() => {
                let mut name = String::new();
                while let Some(next) = rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '-') {
                    name.push(next.to_ascii_lowercase());
                }
                while rest.next_if(|next| matches!(next, ' ' | '\t' | '\r')).is_some() {}
                let value = match rest.peek() {
                    Some('=') => {
                        rest.next();
                        match value(&mut rest) {
                            Some(value) => Some(value),
                            None => return,
                        }
                    }
                    None | Some('\n' | '#' | ';') => None,
                    Some(_) => return,
                };
                found(&format!("{section}.{name}"), value);
            }
            _ => return,
        }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The name of a section behind its `[`.
fn header(rest: &mut Chars) -> Option<String> {
    let mut name = String::new();
    loop {
        match rest.next()? {
            ']' => return Some(name),
            ' ' | '\t' => break,
            next if next.is_ascii_alphanumeric() || matches!(next, '-' | '.') => name.push(next.to_ascii_lowercase()),
            _ => return None,
        }
    }
    while rest.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
    if rest.next()? != '"' {
        return None;
    }
    name.push('.');
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => name.push(rest.next()?),
            '\n' => return None,
            next => name.push(next),
        }
    }
    (rest.next()? == ']').then_some(name)
}

/// A value behind its `=`, up to the end of the line.
fn value(rest: &mut Chars) -> Option<String> {
    let mut value = String::new();
    let mut kept = 0; // spaces behind this length are dropped, unless more follows
    let mut is_quoted = false;
    loop {
        match rest.next() {
            None | Some('\n') if is_quoted => return None,
            None | Some('\n') => break,
            Some('#' | ';') if !is_quoted => while rest.next_if(|next| *next != '\n').is_some() {},
            Some('"') => {
                is_quoted = !is_quoted;
                kept = value.len();
            }
            Some('\\') => {
                match rest.next()? {
                    '\n' => {}
                    '\r' => drop(rest.next_if_eq(&'\n')),
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'b' => value.push('\u{8}'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    _ => return None,
                }
                kept = value.len();
            }
            Some(next) if next.is_ascii_whitespace() && !is_quoted => {
                if !value.is_empty() {
                    value.push(next);
                }
            }
            Some(next) => {
                value.push(next);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_that_git_reads() {
        let text = "\u{feff}; c\n[core]\n\tExcludesFile = ~/a b  # c\n ignorecase\r\n[core \"Sub\"] x = \"a;\\\"b\" c\\\n  d \n\
            [include]path=\"x\\ty\"\n[a.B]\nc=1\n";
        let mut found = Vec::new();
        parse(text, &mut |key, value| found.push((key.to_owned(), value)));
        let expected = [
            ("core.excludesfile", Some("~/a b")),
            ("core.ignorecase", None),
            ("core.Sub.x", Some("a;\"b c  d")),
            ("include.path", Some("x\ty")),
            ("a.b.c", Some("1")),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(found, expected);
        found.clear();
        parse("[core\nx=1", &mut |key, value| found.push((key.to_owned(), value)));
        parse("[core]\n= 1\nx=1", &mut |key, value| found.push((key.to_owned(), value)));
        assert!(found.is_empty());
    }
}
