//! The message of an error: which lines are one, and which of their words a source may hold.

/// Lines that every error of their language has, by how they begin.
const NOISE: [&str; 22] = [
    "Traceback (most recent call last)",
    "During handling of the above exception",
    "The above exception was the direct cause",
    "stack backtrace:",
    "note: run with `RUST_BACKTRACE",
    "note: Some details are omitted",
    "For more information about this error",
    "error: aborting due to",
    "error: could not compile",
    "Stack trace:",
    "stack traceback:",
    "goroutine ",
    "exit status",
    "created by ",
    "Node.js v",
    "npm ERR! code",
    "npm ERR! errno",
    "Process finished with exit code",
    "Some errors have detailed explanations",
    "Backtrace:",
    "{main}",
    "... ",
];
/// What may stand before the name of an error.
const BEFORE_NAME: [&str; 17] = [
    "Uncaught (in promise) ",
    "Uncaught ",
    "Unhandled exception. ",
    "Unhandled exception: ",
    "Unhandled Exception: ",
    "Unhandled Rejection: ",
    "UnhandledPromiseRejectionWarning: ",
    "Caused by: ",
    "[cause]: ",
    "PHP Fatal error: ",
    "PHP Warning: ",
    "Fatal error: ",
    "npm ERR! ",
    "Exception: ",
    "** (",
    "E   ",
    "panic: ",
];
/// How the names of errors end.
const ERROR_ENDINGS: [&str; 9] =
    ["Error", "Exception", "Warning", "Failure", "Fault", "Panic", "Interrupt", "NotFound", "Invalid"];
/// Levels of log lines that tell of an error.
const LEVELS: [&str; 10] =
    ["ERROR", "WARN", "WARNING", "FATAL", "CRITICAL", "SEVERE", "PANIC", "EMERG", "ALERT", "ERR"];
/// Months, as the system's log begins its lines.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// A longer quoted fragment is a value and no name.
const MAX_QUOTED: usize = 40;

/// Whether a line only says that there is an error.
pub fn is_noise(line: &str) -> bool {
    let line = line.trim();
    NOISE.iter().any(|noise| line.starts_with(noise)) || line.chars().all(|c| !c.is_alphanumeric())
}

/// Whether a line is one that only errors have: the name of an error or a compiler's word before a colon, or a log line of
/// such a level.
pub fn is_headline(line: &str) -> bool {
    let line = line.trim();
    if line.starts_with("Traceback (most recent call last)")
        || line.starts_with("thread '") && line.contains(" panicked at ")
        || line.starts_with("Exception in thread ")
        || line.starts_with("panic: ")
        || line.starts_with("** (")
        || line.starts_with("Segmentation fault")
        || line.starts_with("goroutine ") && line.ends_with("]:")
    {
        return true;
    }
    if is_log(line) {
        return true;
    }
    let mut named = line;
    for before in BEFORE_NAME.iter().chain(&BEFORE_NAME) {
        named = named.strip_prefix(before).map_or(named, str::trim_start);
    }
    let named = match named.split_once(" [") {
        Some((name, rest)) if rest.contains("]: ") && !name.contains(' ') => name, // Node: `TypeError [ERR_X]: ...`
        _ => named.split(": ").next().filter(|name| name.len() + 1 < named.len()).unwrap_or_default(),
    };
    let named = named.trim_end_matches(')');
    is_error_name(named) || is_compiler_word(named)
}

/// `a.b.FooError`, `std::runtime_error`, `Error`.
fn is_error_name(name: &str) -> bool {
    let last = name.rsplit(['.', ':', '\\']).next().unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.:\\$".contains(c));
    // `zipfile.BadZipFile` is called like an error by its place alone: a class below a module.
    let is_class_of_module = name.contains('.')
        && name.starts_with(|c: char| c.is_lowercase())
        && last.starts_with(char::is_uppercase)
        && last.chars().any(char::is_lowercase);
    let is_error =
        ERROR_ENDINGS.iter().any(|end| last.ends_with(end)) || last.ends_with("_error") || last == "KeyboardInterrupt";
    is_name && (is_error || is_class_of_module)
}

/// `error`, `error[E0308]`, `fatal error`, `error TS2304`.
fn is_compiler_word(word: &str) -> bool {
    let word = word.strip_prefix("fatal ").unwrap_or(word);
    let Some(code) = word.strip_prefix("error").or_else(|| word.strip_prefix("ERROR")) else { return false };
    code.is_empty()
        || code.starts_with('[') && code.ends_with(']')
        || code
            .strip_prefix(' ')
            .is_some_and(|code| !code.contains(' ') && code.ends_with(|c: char| c.is_ascii_digit()))
}

/// A log line of an error: its level in capitals behind a time or at the beginning, or as `level=error`, `"level":"error"`.
fn is_log(line: &str) -> bool {
    let lower = line.get(..line.len().min(400)).unwrap_or_default().to_ascii_lowercase();
    if ["level=error", "level=warn", "level=fatal", "\"level\":\"error\"", "\"level\":\"fatal\"", "\"level\":\"warn"]
        .iter()
        .any(|level| lower.contains(level))
    {
        return true;
    }
    let rest = without_time(line);
    let has_time = rest.len() < line.len();
    let words = rest.split(|c: char| c.is_whitespace() || "[]<>():|".contains(c)).filter(|word| !word.is_empty());
    let is_level = |word: &str| LEVELS.contains(&word);
    if has_time {
        return words.take(4).any(is_level);
    }
    let first = rest.split([' ', ':']).next().unwrap_or_default();
    let bare = first.trim_matches(['[', ']', '<', '>']);
    is_level(bare) && (bare.len() < first.len() || rest[first.len()..].starts_with(':')) && rest.len() > first.len() + 2
}

/// A line without the date and time before it: `2026-12-01 10:00:00,123`, `[10:00:00]`, `Dec  1 10:00:00 host`.
fn without_time(line: &str) -> &str {
    let mut rest = line.trim_start();
    let mut after_month = false;
    for _ in 0..4 {
        let word = rest.split(char::is_whitespace).next().unwrap_or_default();
        let bare = word.trim_matches(|c: char| "[](),".contains(c));
        let n_digits = bare.chars().filter(char::is_ascii_digit).count();
        let is_time = n_digits >= 4
            && bare.contains([':', '-', '/'])
            && bare.chars().all(|c| c.is_ascii_digit() || "-:/.,TZ+".contains(c));
        let is_epoch = n_digits >= 10 && bare.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_day = after_month && n_digits > 0 && n_digits == bare.len();
        after_month = MONTHS.contains(&bare);
        if !is_time && !is_epoch && !is_day && !after_month {
            break;
        }
        rest = rest[word.len()..].trim_start();
    }
    rest
}

/// The words of a message that a source may hold: no numbers, addresses, times, paths and quoted values.
pub fn words(line: &str, out: &mut String) {
    let line = without_time(line);
    let line = without_quoted_values(line);
    for word in line.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
        if bare.is_empty() || is_value(bare) || is_path(word) || LEVELS.contains(&bare) {
            continue;
        }
        out.push_str(word);
        out.push(' ');
    }
}

/// A line in which quoted fragments that are values are replaced by a space.
fn without_quoted_values(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let quote = rest[at..].chars().next().expect("found");
        let is_apostrophe = quote == '\'' && rest[..at].ends_with(char::is_alphanumeric);
        let inner = &rest[at + 1..];
        let end = inner.find(quote).filter(|_| !is_apostrophe);
        out.push_str(&rest[..at]);
        out.push(' ');
        let Some(end) = end else {
            rest = inner;
            continue;
        };
        let quoted = &inner[..end];
        let is_dropped = quoted.len() > MAX_QUOTED || quoted.contains(['/', '\\', '@', '%']) || is_value(quoted);
        if !is_dropped {
            out.push_str(quoted);
            out.push(' ');
        }
        rest = &inner[end + 1..];
    }
    out + rest
}

/// A number, an address, a hash, an identifier of a thing: never in a source.
fn is_value(word: &str) -> bool {
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let n_digits = word.chars().filter(char::is_ascii_digit).count();
    word.starts_with("0x")
        || (n_digits > 0 && word.chars().all(|c| !c.is_alphabetic()))
        || (word.len() >= 8 && n_digits > 0 && is_hex(word))
}

/// A path or an address of the network, which the frames tell of where it is a source.
fn is_path(word: &str) -> bool {
    let slashes = word.chars().filter(|c| matches!(c, '/' | '\\')).count();
    slashes >= 2 || word.contains(":\\") || word.contains("://")
}
