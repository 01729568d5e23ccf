//! Lines on standard output and standard error, without control characters that a terminal would obey.

use std::io::Write;

use offheap_protocol::Fault;
use offheap_protocol::message::{is_obeyed, printable};
use serde::Serialize;

/// Prints a JSON document as one line on standard output.
pub fn out(document: &impl Serialize) {
    // JSON allows these characters unescaped, but a terminal may obey them.
    let text = serde_json::to_string(document).expect("documents are plain data");
    if !text.contains(is_obeyed) {
        return write(&text);
    }
    let escaped = |c: char| if is_obeyed(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    write(&text.chars().map(escaped).collect::<String>());
}

/// Prints a line on standard output; control characters are replaced.
pub fn say(line: &str) {
    write(&printable(line));
}

/// Prints a line on standard output as it is. Ends the process if the reader has closed the pipe (`| head`).
pub fn write(line: &str) {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            note(&format!("error: cannot write to standard output: {error} [IO]"));
            std::process::exit(1);
        }
    }
}

/// Prints a line on standard error; control characters are replaced.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(line));
}

/// Prints a failure on standard error: what happened and its code, then the hint on a line of its own.
pub fn error(fault: &Fault) {
    note(&format!("error: {} [{}]", fault.message, fault.code));
    if !fault.hint.is_empty() {
        note(&format!("hint: {}", fault.hint));
    }
}

/// Text from a file as one line of at most 160 characters, without control characters.
pub fn clean(line: &str) -> String {
    const WIDTH: usize = 160;
    let start: String = line.chars().take(WIDTH).collect();
    let mut out = printable(&start).replace('\n', "\u{fffd}");
    if line.chars().nth(WIDTH).is_some() {
        out.push('…');
    }
    out
}
