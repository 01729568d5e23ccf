//! Lines on standard output and standard error, with nothing in them that a terminal obeys.

use std::io::Write;

use offheap_protocol::Fault;
use offheap_protocol::message::{is_obeyed, printable};
use serde::Serialize;

/// One JSON document, one line, on standard output.
pub fn out(document: &impl Serialize) {
    // JSON need not escape these, and a terminal may obey them.
    let text = serde_json::to_string(document).expect("documents are plain data");
    if !text.contains(is_obeyed) {
        return write(&text);
    }
    let escaped = |c: char| if is_obeyed(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    write(&text.chars().map(escaped).collect::<String>());
}

/// A line on standard output, with nothing in it that a terminal obeys.
pub fn say(line: &str) {
    write(&printable(line));
}

/// A line of ours on standard output. A reader that left (`| head`) is no error.
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

/// A line on standard error, with nothing in it that a terminal obeys.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(line));
}

/// A failure: what happened with its code, then the remedy on its own line.
pub fn error(fault: &Fault) {
    note(&format!("error: {} [{}]", fault.message, fault.code));
    if !fault.hint.is_empty() {
        note(&format!("hint: {}", fault.hint));
    }
}

/// One line of what files hold, no wider than can be read.
pub fn clean(line: &str) -> String {
    const WIDTH: usize = 160;
    let start: String = line.chars().take(WIDTH).collect();
    let mut out = printable(&start).replace('\n', "\u{fffd}");
    if line.chars().nth(WIDTH).is_some() {
        out.push('…');
    }
    out
}
