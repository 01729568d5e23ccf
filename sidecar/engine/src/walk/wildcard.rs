//! Wildcards as git matches them, in time that no pattern can blow up.
//!
//! A pattern is cut into parts once. Matching keeps two places to go back to: the last `*`, which stays within a folder,
//! and the last `**`. A later `**` makes the earlier places useless, because what it lets pass includes all that they
//! could have let pass. So the work is bounded by the product of the lengths, for each place a `**` can end at.

/// What folding of case and which kind of path a match is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Letters of ASCII are compared without their case, as with `core.ignoreCase`.
    pub fold: bool,
    /// `*`, `?` and classes do not match a `/`, and `**` means folders.
    pub path: bool,
}

/// A pattern in parts; `None` for one that can match nothing, as a class that is not closed.
#[derive(Clone, Debug)]
pub struct Wildcard {
    parts: Option<Box<[Part]>>,
}

#[derive(Clone, Debug)]
enum Part {
    /// This byte.
    Byte(u8),
    /// This byte, which was escaped: git does not fold its case, so that a capital letter matches nothing when it folds.
    Escaped(u8),
    /// `?`
    One,
    Class(Box<Class>),
    /// `*`, or a `**` that does not stand for whole folders.
    Star,
    /// `**/`: nothing, or anything that ends in a `/`.
    Folders,
    /// A `**` for whole folders that is last, or before an escaped `/`.
    Anything,
}

/// `[...]`
#[derive(Clone, Debug)]
struct Class {
    negated: bool,
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
enum Member {
    Byte(u8),
    Range(u8, u8),
    /// `[:upper:]` also matches small letters when case is folded.
    Upper,
    Named(fn(u8) -> bool),
}

/// Most steps of [`matches_path`].
const MAX_STEPS: u32 = 1_000_000;

/// Whether a pattern matches a whole path; what takes too long does not.
pub fn matches_path(pattern: &[u8], path: &[u8], fold: bool) -> bool {
    let mut steps = MAX_STEPS;
    Wildcard::new(pattern, true).matches(path, Mode { fold, path: true }, &mut steps) && steps > 0
}

impl Wildcard {
    /// Cuts a pattern into parts, for paths or for single names.
    pub fn new(pattern: &[u8], path: bool) -> Wildcard {
        Wildcard { parts: parts(pattern, path).map(Vec::into_boxed_slice) }
    }

    /// Whether the whole of `text` matches. `steps` is lowered by the work done; at 0 the answer is `true`, so that what
    /// takes too long counts as ignored.
    pub fn matches(&self, text: &[u8], mode: Mode, steps: &mut u32) -> bool {
        let Some(parts) = &self.parts else { return false };
        let (mut part, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        let mut folders: Option<(usize, usize)> = None;
        loop {
            if *steps == 0 {
                return true;
            }
            *steps -= 1;
            match parts.get(part) {
                None if at == text.len() => return true,
                Some(Part::Star) => {
                    part += 1;
                    star = Some((part, at));
                    continue;
                }
                Some(Part::Folders | Part::Anything) => {
                    part += 1;
                    (star, folders) = (None, Some((part, at)));
                    continue;
                }
                Some(one) if at < text.len() && one.matches(text[at], mode) => {
                    (part, at) = (part + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            // One more byte for the last star, or else for the last `**`.
            if let Some((after, from)) = star
                && from < text.len()
                && !(mode.path && text[from] == b'/')
            {
                star = Some((after, from + 1));
                (part, at) = (after, from + 1);
                continue;
            }
            let Some((after, from)) = folders else { return false };
            let whole = matches!(parts[after - 1], Part::Folders);
            let next = if whole { text[from..].iter().position(|byte| *byte == b'/') } else { Some(0) };
            let Some(next) = next.map(|skipped| from + skipped + 1).filter(|next| *next <= text.len()) else {
                return false;
            };
            (star, folders) = (None, Some((after, next)));
            (part, at) = (after, next);
        }
    }
}

impl Part {
    /// Whether a part for a single byte matches it.
    fn matches(&self, byte: u8, mode: Mode) -> bool {
        let folded = if mode.fold { byte.to_ascii_lowercase() } else { byte };
        match self {
            Part::Byte(own) => folded == if mode.fold { own.to_ascii_lowercase() } else { *own },
            Part::Escaped(own) => folded == *own,
            Part::One => !(mode.path && byte == b'/'),
            Part::Class(class) => class.matches(folded, mode.fold) && !(mode.path && byte == b'/'),
            Part::Star | Part::Folders | Part::Anything => false,
        }
    }
}

impl Class {
    fn matches(&self, byte: u8, fold: bool) -> bool {
        let is_member = self.members.iter().any(|member| match member {
            Member::Byte(own) => byte == *own,
            Member::Range(first, last) => {
                let within = |byte: u8| (*first..=*last).contains(&byte);
                within(byte) || fold && byte.is_ascii_lowercase() && within(byte.to_ascii_uppercase())
            }
            Member::Upper => byte.is_ascii_uppercase() || fold && byte.is_ascii_lowercase(),
            Member::Named(is_in) => is_in(byte),
        });
        is_member != self.negated
    }
}

fn parts(pattern: &[u8], path: bool) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(pattern.len());
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        at += 1;
        match byte {
            b'\\' => {
                parts.push(Part::Escaped(*pattern.get(at)?));
                at += 1;
            }
            b'?' => parts.push(Part::One),
            b'[' => {
                let (class, end) = class(pattern, at)?;
                parts.push(Part::Class(Box::new(class)));
                at = end;
            }
            b'*' => {
                let begin = at - 1;
                at += pattern[at..].iter().take_while(|byte| **byte == b'*').count();
                let for_folders = path && at - begin > 1 && (begin == 0 || pattern[begin - 1] == b'/');
                match &pattern[at..] {
                    [] if for_folders => parts.push(Part::Anything),
                    [b'\\', b'/', ..] if for_folders => parts.push(Part::Anything),
                    [b'/', ..] if for_folders => {
                        parts.push(Part::Folders);
                        at += 1;
                    }
                    _ => parts.push(Part::Star),
                }
            }
            other => parts.push(Part::Byte(*other)),
        }
    }
    Some(parts)
}

/// The class that begins at `at`, behind its `[`, and where it ends. `None` when it is malformed.
fn class(pattern: &[u8], mut at: usize) -> Option<(Class, usize)> {
    let negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let mut members = Vec::new();
    let mut before = None; // the byte at which a range may begin
    let mut is_first = true;
    loop {
        let byte = *pattern.get(at)?;
        at += 1;
        match byte {
            b']' if !is_first => return Some((Class { negated, members }, at)),
            b'\\' => {
                let escaped = *pattern.get(at)?;
                at += 1;
                members.push(Member::Byte(escaped));
                before = Some(escaped);
            }
            b'-' if before.is_some() && pattern.get(at).is_some_and(|next| *next != b']') => {
                let mut last = pattern[at];
                at += 1;
                if last == b'\\' {
                    last = *pattern.get(at)?;
                    at += 1;
                }
                members.extend(before.take().map(|first| Member::Range(first, last)));
            }
            b'[' if pattern.get(at) == Some(&b':') => {
                let end = at + pattern[at..].iter().position(|byte| *byte == b']')?;
                if end > at + 1 && pattern[end - 1] == b':' {
                    members.push(named(&pattern[at + 1..end - 1])?);
                    before = None;
                    at = end + 1;
                } else {
                    members.push(Member::Byte(b'['));
                    before = Some(b'[');
                }
            }
            other => {
                members.push(Member::Byte(other));
                before = Some(other);
            }
        }
        is_first = false;
    }
}

/// A class of POSIX, by its name.
fn named(name: &[u8]) -> Option<Member> {
    Some(Member::Named(match name {
        b"alnum" => |byte| byte.is_ascii_alphanumeric(),
        b"alpha" => |byte| byte.is_ascii_alphabetic(),
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => |byte| byte.is_ascii_control(),
        b"digit" => |byte| byte.is_ascii_digit(),
        b"graph" => |byte| byte.is_ascii_graphic(),
        b"lower" => |byte| byte.is_ascii_lowercase(),
        b"print" => |byte| matches!(byte, 0x20..=0x7e),
        b"punct" => |byte| byte.is_ascii_punctuation(),
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => return Some(Member::Upper),
        b"xdigit" => |byte| byte.is_ascii_hexdigit(),
        _ => return None,
    }))
}
