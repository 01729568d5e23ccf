//! One line of a stack trace or of a compiler's output: which file, which line, which function.

/// A place in a file that an error names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The file, with `/` between folders. It may be a path on another machine, or begin anywhere below the project.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The function that was running, without the classes and modules around it.
    pub function: Option<String>,
}

/// A frame and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The frame.
    pub frame: Frame,
    /// Only errors are written in this way; others name files like this too.
    pub is_proof: bool,
    /// The message behind the place, as compilers write it; empty where there is none.
    pub message: String,
}

/// Longest extension of a source file.
const MAX_EXTENSION: usize = 10;
/// Longest path that is looked at; longer ones cannot be a file's.
const MAX_PATH: usize = 1024;

/// The frame of a line, if it has one.
pub fn of_line(line: &str) -> Option<Found> {
    let line = line.trim();
    python(line)
        .or_else(|| php_or_perl(line))
        .or_else(|| call_site(line))
        .or_else(|| numbered(line))
        .or_else(|| in_parentheses(line))
        .or_else(|| with_colons(line))
}

/// `File "a/b.py", line 12, in f`
fn python(line: &str) -> Option<Found> {
    let (path, rest) = line.strip_prefix("File \"")?.split_once("\", line ")?;
    let (number, rest) = digits(rest)?;
    let function = rest.strip_prefix(", in ").and_then(function_name);
    // `<stdin>` and `<frozen importlib._bootstrap>` are no files, and prove an error as well.
    Some(Found { frame: Frame { path: normal(path)?, line: number, function }, is_proof: true, message: String::new() })
}

/// `... in /a/b.php on line 12` and `... at a/b.pl line 12.`
fn php_or_perl(line: &str) -> Option<Found> {
    for (before, between) in [(" in ", " on line "), (" at ", " line ")] {
        let Some((head, rest)) = line.split_once(between) else { continue };
        let (Some((message, path)), Some((number, rest))) = (head.rsplit_once(before), digits(rest)) else { continue };
        if let Some(path) = normal(path).filter(|path| is_file(path)) {
            let frame = Frame { path, line: number, function: None };
            let is_proof = message.contains(": ") || message == "thrown" || rest.starts_with(['.', ',']);
            return Some(Found { frame, is_proof, message: message.to_owned() });
        }
    }
    None
}

/// `at f (a/b.js:1:2)`, `at a/b.js:1:2`, `at a.b.C.f(C.java:12)`, `at N.C.f(Int32 x) in C:\a\b.cs:line 12`
fn call_site(line: &str) -> Option<Found> {
    let call = line.strip_prefix("at ")?;
    let proof = |frame| Some(Found { frame, is_proof: true, message: String::new() });
    if let Some((name, place)) = call.rsplit_once(" in ")
        && let Some((path, number)) = place.rsplit_once(":line ")
    {
        let line = digits(number)?.0;
        return proof(Frame { path: normal(path)?, line, function: function_name(name) });
    }
    let Some((name, at)) = call.strip_suffix(')').and_then(|call| call.split_once('(')) else {
        let (path, line, _) = place(call)?;
        return proof(Frame { path, line, function: None });
    };
    let (path, line, _) = place(place_in_eval(at))?;
    let qualified = name.trim();
    let path = if path.contains('/') || name.ends_with(' ') { path } else { in_package(qualified, &path) };
    proof(Frame { path, line, function: function_name(qualified) })
}

/// Of `eval at f (a.js:1:2), <anonymous>:1:1` the place of the call of `eval`.
fn place_in_eval(place: &str) -> &str {
    match place.strip_prefix("eval at ").and_then(|eval| eval.split_once('(')) {
        Some((_, outer)) => outer.split(')').next().unwrap_or(outer),
        None => place,
    }
}

/// A Java file below the folders of its package: `a/b/C.java` for a call of `a.b.C.f`.
fn in_package(qualified: &str, file: &str) -> String {
    let name = qualified.rsplit('/').next().unwrap_or(qualified); // `java.base/java.util.List.of`
    let mut folders: Vec<&str> = name.split('.').collect();
    folders.truncate(folders.len().saturating_sub(2));
    folders.retain(|folder| !folder.is_empty());
    folders.push(file);
    folders.join("/")
}

/// `#0 /a/b.php(12): C->f()`, `#1 0x55d0 in f /a/b.c:12:3`, `#0      C.f (package:app/b.dart:10:5)`
fn numbered(line: &str) -> Option<Found> {
    let (_, rest) = digits(line.strip_prefix('#')?)?;
    let rest = rest.trim_start();
    let proof = |frame| Some(Found { frame, is_proof: true, message: String::new() });
    if let Some((path, number, rest)) = place_in_parentheses(rest) {
        let function = rest.strip_prefix(": ").and_then(function_name);
        return proof(Frame { path, line: number, function });
    }
    let name = rest.split_once(" in ").map_or(rest, |(_, name)| name);
    let (at, (path, line, _)) = name
        .rmatch_indices(' ')
        .take(8)
        .find_map(|(at, _)| Some((at, place(name[at + 1..].trim_start_matches('(').trim_end_matches(')'))?)))?;
    let name = name[..at].trim_end_matches(" at").trim();
    proof(Frame { path, line, function: function_name(name) })
}

/// `a/b.ts(10,5): error TS2304: message` and `a\b.cs(10): warning ...`
fn in_parentheses(line: &str) -> Option<Found> {
    let (path, number, rest) = place_in_parentheses(line)?;
    let message = rest.strip_prefix(':')?.trim().to_owned();
    let frame = Frame { path, line: number, function: None };
    Some(Found { frame, is_proof: is_severity(&message), message })
}

fn place_in_parentheses(text: &str) -> Option<(String, u32, &str)> {
    // The folder of a route group is in parentheses too: `app/(shop)/page.tsx(10,5)`.
    text.match_indices('(').take(16).find_map(|(at, _)| {
        let (number, rest) = digits(&text[at + 1..])?;
        let rest = rest.strip_prefix(',').and_then(digits).map_or(rest, |(_, rest)| rest);
        let rest = rest.strip_prefix(')')?;
        let path = normal(&text[..at]).filter(|path| is_file(path))?;
        Some((path, number, rest))
    })
}

/// `a/b.c:10:5: error: message`, `--> a/b.rs:10:5`, `a/b.rb:12:in 'f'`, `/a/b.go:12 +0x1d`, `lib/b.ex:12: M.f/1`
fn with_colons(line: &str) -> Option<Found> {
    for (at, _) in line.match_indices(':').take(32) {
        let Some((_, rest)) = digits(&line[at + 1..]) else { continue };
        let head = &line[..at];
        let begin = head.rfind(is_quote).map_or(0, |quote| quote + 1);
        let token = &head[begin..];
        let token = token.rsplit(char::is_whitespace).next().unwrap_or(token).trim_start_matches(['(', '[', '<', '{']);
        // A folder may have a space in its name: such a path is known where a line begins with it.
        let whole = head.trim_start_matches("--> ");
        let is_absolute = whole.starts_with('/') || whole.get(1..3) == Some(":\\");
        let token = if is_absolute && begin == 0 { whole } else { token };
        let Some(path) = normal(token).filter(|path| is_file(path)) else { continue };
        let number = digits(&line[at + 1..])?.0;
        let rest = rest.strip_prefix(':').and_then(digits).map_or(rest, |(_, rest)| rest);
        if rest.starts_with(|c: char| c.is_alphanumeric() || c == '/' || c == '.') {
            continue; // the port of a host, or a time
        }
        let before = head[..head.len() - token.len()].trim();
        return Some(told(path, number, before, rest.trim_start_matches(')')));
    }
    None
}

/// A frame with what is before and behind its place.
fn told(path: String, line: u32, before: &str, rest: &str) -> Found {
    let behind = rest.trim_start_matches(':').trim_start();
    let function = behind.strip_prefix("in function ").or_else(|| behind.strip_prefix("in ")).and_then(function_name);
    let is_elixir = path.ends_with(".ex") || path.ends_with(".exs");
    let function = function.or_else(|| if is_elixir { function_name(behind) } else { None });
    let function = function.or_else(|| before.strip_suffix(", called at").and_then(function_name));
    let is_proof = function.is_some()
        || is_severity(behind)
        || behind.starts_with("+0x")
        || before.ends_with("-->")
        || before.ends_with("panicked at")
        || before.ends_with("called at")
        || (before.is_empty() && path.ends_with(".go") && rest.starts_with(':') && !behind.is_empty());
    let message = if function.is_some() || behind.starts_with("+0x") || before.ends_with("panicked at") {
        String::new()
    } else {
        format!("{before} {behind}")
    };
    Found { frame: Frame { path, line, function }, is_proof, message }
}

/// Whether a compiler's message begins here: `error: ...`, `error TS2304: ...`, `fatal error: ...`.
fn is_severity(text: &str) -> bool {
    let text = text.trim_start();
    [
        "error",
        "fatal error",
        "fatal",
        "warning",
        "note",
        "panic",
        "syntax error",
        "undefined:",
        "Error",
        "Warning",
        "E:",
    ]
    .iter()
    .any(|word| text.starts_with(word))
}

/// The place `path:line`, `path:line:column` that is all of `text`.
fn place(text: &str) -> Option<(String, u32, &str)> {
    text.match_indices(':').take(16).find_map(|(at, _)| {
        let (number, rest) = digits(&text[at + 1..])?;
        let rest = rest.strip_prefix(':').and_then(digits).map_or(rest, |(_, rest)| rest);
        if !rest.trim_end_matches(')').is_empty() && !rest.starts_with([' ', ',']) {
            return None;
        }
        let path = normal(&text[..at]).filter(|path| is_file(path))?;
        Some((path, number, rest))
    })
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

/// A number at the beginning, and what is behind it.
fn digits(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Whether a path ends like a source file: a name, a dot, and an extension that begins with a letter.
fn is_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    !stem.is_empty()
        && !path.contains(['\n', '"', '<', '>', '|', '*'])
        && (1..=MAX_EXTENSION).contains(&extension.len())
        && extension.starts_with(|c: char| c.is_ascii_alphabetic())
        && extension.chars().all(|c| c.is_ascii_alphanumeric() || c == '+')
        && !extension.chars().any(|c| c.is_ascii_uppercase() && extension.len() > 2)
}

/// A path as other paths are compared with it: `/` between folders, nothing of drives, hosts and bundlers before it.
fn normal(path: &str) -> Option<String> {
    let path = path.trim();
    if path.is_empty() || path.len() > MAX_PATH {
        return None;
    }
    let path = path.replace('\\', "/");
    let path = path.split('?').next().unwrap_or_default(); // `x.ts?t=1700000000`
    let path = match path.split_once("://") {
        // `http://localhost:3000/src/x.ts` has a host before the first folder, `file:///x` and `webpack:///./x` have none.
        Some((scheme, rest)) if scheme.starts_with("http") => rest.split_once('/')?.1,
        Some((_, rest)) => rest,
        None => path,
    };
    let path = match path.strip_prefix("package:") {
        Some(package) => package.split_once('/')?.1, // Dart: the folder `lib` of a package
        None => path,
    };
    let drive = |path: &str| path.len() > 2 && path.as_bytes()[0].is_ascii_alphabetic() && &path[1..3] == ":/";
    let path = path.trim_start_matches('/');
    let path = if path.is_char_boundary(1) && path.is_char_boundary(3.min(path.len())) && drive(path) {
        &path[3..]
    } else {
        path
    };
    let folders: Vec<&str> = path.split('/').filter(|folder| !matches!(*folder, "" | "." | "..")).collect();
    (!folders.is_empty()).then(|| folders.join("/"))
}

/// The name of a function, of all that a trace may write around it; `None` where it has none.
pub fn function_name(text: &str) -> Option<String> {
    let mut text = text.trim().trim_matches(|c: char| is_quote(c));
    for word in ["async ", "new ", "block in ", "rescue in ", "ensure in ", "static ", "void "] {
        text = text.strip_prefix(word).unwrap_or(text);
    }
    let text = text.split(" [as ").next().unwrap_or_default();
    // Arguments and type parameters: `f(int)`, `f<T>`, `(*T).f` keeps its name.
    let text = text.replace("(*", "").replace("{{closure}}", "").replace("::{closure#0}", "");
    let cut = text.find(['(', '<', '{', ' ', ',', '\'']).unwrap_or(text.len());
    let text = text[..cut].trim_end_matches([':', '.', ')']);
    let text = text.rsplit_once('/').map_or(text, |(before, last)| {
        // Elixir's `M.f/1`; of Go's `example.com/app/pkg.F` the last part has the name.
        if last.chars().all(|c| c.is_ascii_digit()) { before } else { last }
    });
    let name = text.rsplit(['.', ':', '#', '>', ')']).next().unwrap_or_default();
    let name = name.split("$").next().unwrap_or_default().trim_end_matches(['!', '?']);
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && !matches!(name, "anonymous" | "eval" | "Object" | "module" | "lambda" | "main" | "top");
    is_name.then(|| name.to_owned())
}
