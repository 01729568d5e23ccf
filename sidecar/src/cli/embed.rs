//! `offheap embed`: vectors for texts.

use std::io::{BufRead, IsTerminal, Read};
use std::process::ExitCode;

use offheap_protocol::message::{Priority, TextKind};
use offheap_protocol::{Code, EmbedOptions, Fault};

use super::calls::interruptible;
use super::connect;
use super::output::json::EmbedReport;
use super::output::{note, out};
use super::target::endpoint;
use crate::args;

/// A call with more texts than this is bulk work, as in the Node client; interactive calls overtake it.
const BULK_TEXTS: usize = 16;

pub async fn embed(args: args::Embed) -> Result<ExitCode, Fault> {
    let texts = if args.texts.is_empty() { read_lines()? } else { args.texts };
    let kind = if args.query { TextKind::Query } else { TextKind::Document };
    let endpoint = endpoint(&args.common)?;
    let n = texts.len();
    let priority = if n > BULK_TEXTS { Priority::Bulk } else { Priority::Interactive };
    let options = EmbedOptions { kind, priority, parse_specials: true, or_hash: false, deadline: None };
    let asking = connect::ask(&endpoint, async |client| client.embed(texts.clone(), options).await);
    let (vectors, rows) = interruptible(asking).await?;
    let rows: Vec<&[f32]> = rows.chunks_exact(vectors.dim as usize).collect();
    if args.common.json {
        out(&EmbedReport::new(&vectors, &rows));
    } else {
        rows.iter().for_each(out);
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of standard input.
fn read_lines() -> Result<Vec<String>, Fault> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        note("reading texts from the terminal, one per line; end with Ctrl-D");
    }
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| Fault::new(Code::Io, format!("cannot read standard input: {error}"));
    stdin.lock().read_to_end(&mut bytes).map_err(failed)?;
    let lines: Result<Vec<String>, _> = bytes.lines().collect();
    let lines = lines.map_err(|_| Fault::new(Code::InvalidArgument, "standard input is not UTF-8"))?;
    if lines.is_empty() {
        return Err(Fault::new(Code::InvalidArgument, "no texts were given")
            .hint("give them as arguments, or one per line on standard input"));
    }
    Ok(lines)
}
