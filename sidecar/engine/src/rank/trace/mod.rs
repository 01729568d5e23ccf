//! Error messages and stack traces as queries: which places they name, and which of their words a source may hold.
//!
//! A text is taken for an error only where a line proves it: a frame as interpreters and compilers write it ([`frame`]), or the
//! name of an error, a compiler's word or the level of a log line before the message ([`message`]). A question that only speaks
//! of an error is a question.

mod frame;
mod message;
#[cfg(test)]
mod tests;

pub use frame::Frame;

/// Most lines that are looked at; a pasted log has thousands, and the first error is near its beginning or its end.
const MAX_LINES: usize = 400;
/// Most frames that are kept.
const MAX_FRAMES: usize = 64;
/// Longest line that is looked at, bytes: longer ones are data.
const MAX_LINE_BYTES: usize = 4096;
/// Longest text of words, bytes.
const MAX_WORDS_BYTES: usize = 8192;

/// An error message or stack trace, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorText {
    /// The places that it names; where the error arose comes first.
    pub frames: Vec<Frame>,
    /// Words of the message and of the lines of code that it quotes.
    pub words: String,
}

/// Frames of one error; a trace has several where one error caused another.
#[derive(Default)]
struct Block {
    frames: Vec<Frame>,
    /// The last call comes last, as Python writes it.
    is_last_call_last: bool,
}

impl ErrorText {
    /// Takes a text apart; `None` where nothing proves that it is an error.
    pub fn parse(text: &str) -> Option<ErrorText> {
        let unescaped = (!text.contains('\n') && text.contains("\\n")).then(|| unescape(text));
        let lines: Vec<&str> =
            unescaped.as_deref().unwrap_or(text).lines().filter(|line| line.len() <= MAX_LINE_BYTES).collect();
        let mut is_proven = false;
        let mut words = String::new();
        let mut blocks = vec![Block::default()];
        let mut called: Option<String> = None;
        for line in first_and_last(&lines) {
            if begins_block(line) {
                blocks.push(Block::default());
            }
            let block = blocks.last_mut().expect("never empty");
            block.is_last_call_last |=
                line.contains("(most recent call last)") || line.trim_start().starts_with("File \"");
            is_proven |= message::is_headline(line);
            match frame::of_line(line) {
                Some(mut found) => {
                    is_proven |= found.is_proof;
                    if has_call_before(line) {
                        found.frame.function = found.frame.function.or(called.take());
                    }
                    if !message::is_noise(&found.message) {
                        message::words(&found.message, &mut words);
                    }
                    block.frames.push(found.frame);
                }
                None if message::is_noise(line) || is_call_without_place(line) => {}
                None => message::words(line, &mut words),
            }
            called = call_of_next_line(line);
            if words.len() > MAX_WORDS_BYTES {
                break;
            }
        }
        if !is_proven {
            return None;
        }
        Some(ErrorText { frames: ordered(blocks), words })
    }
}

/// Whether an error begins that caused, or was caused by, the one before it.
fn begins_block(line: &str) -> bool {
    let line = line.trim_start();
    ["Caused by:", "[cause]:", "During handling of the above", "The above exception was the direct", "Suppressed:"]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Whether a frame's function may be on the line before it.
fn has_call_before(line: &str) -> bool {
    line.trim_start().starts_with("at ") || line.contains(" +0x")
}

/// `at async Promise.all (index 0)`, `at process.f (node:internal/x:1:2)`
fn is_call_without_place(line: &str) -> bool {
    line.trim_start().starts_with("at ") && line.trim_end().ends_with(')')
}

/// The function of a frame whose place is on the next line: Go's `main.f(0x1, 0x2)` and Rust's `  3: app::f`.
fn call_of_next_line(line: &str) -> Option<String> {
    let line = line.trim();
    let numbered = line.split_once(": ").filter(|(n, _)| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()));
    let is_go = line.ends_with(')') && line.contains('.') && !line.contains(": ") && !line.starts_with("at ");
    match numbered {
        Some((_, name)) => frame::function_name(name),
        None if is_go => {
            let call = line.rfind('(').map_or(line, |at| &line[..at]);
            frame::function_name(call)
        }
        None => None,
    }
}

/// Frames by how near they are to where the error arose: the last error of a chain first, in each the last call first.
fn ordered(blocks: Vec<Block>) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for Block { frames: mut own, is_last_call_last } in blocks.into_iter().rev() {
        if is_last_call_last {
            own.reverse();
        }
        for frame in own {
            if frames.len() < MAX_FRAMES && !frames.contains(&frame) {
                frames.push(frame);
            }
        }
    }
    frames
}

/// Of a long text the first and the last lines.
fn first_and_last<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    match lines.len() {
        0..=MAX_LINES => lines.to_vec(),
        n => [&lines[..MAX_LINES / 2], &lines[n - MAX_LINES / 2..]].concat(),
    }
}

/// A text as it was before JSON wrote it in one line.
fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"")
}
