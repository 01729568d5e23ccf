//! What a person or a program sees.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offheap_protocol::Fault;
use offheap_protocol::message::{
    Hit, IndexReport, Latency, LoadStatus, Phase, Progress, SearchReport, Span, StatusReport, WatchStatus,
};
use offheap_protocol::message::{is_obeyed, printable};
use serde_json::{Value, json};

/// One JSON document, one line, on standard output.
pub fn out(value: &Value) {
    // JSON need not escape these, and a terminal may obey them.
    let text = value.to_string();
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
fn write(line: &str) {
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

/// Progress of an index run on standard error: a bar on a terminal, a line per phase elsewhere.
pub struct Bar {
    bar: ProgressBar,
    last: std::cell::Cell<Option<Phase>>,
}

impl Bar {
    pub fn new() -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Bar { bar: ProgressBar::with_draw_target(None, target), last: std::cell::Cell::new(None) }
    }

    pub fn show(&self, progress: &Progress) {
        let (what, unit) = match progress.phase {
            Phase::Scan => ("looking for files", ""),
            Phase::Text => ("reading", "files"),
            Phase::Embed => ("embedding", "chunks"),
            Phase::Done => ("done", ""),
        };
        if self.last.replace(Some(progress.phase)) != Some(progress.phase) {
            if self.bar.is_hidden() {
                note(&match progress.total {
                    0 => what.to_owned(),
                    total => format!("{what} {total} {unit}"),
                });
            }
            // The rate and the remaining time of one phase say nothing about the next.
            self.bar.reset();
            self.bar.enable_steady_tick(Duration::from_millis(200));
            let style = if progress.total > 0 {
                format!(
                    "{{prefix:>17}} {{bar:30}} {{pos}}/{{len}} {unit} {{per_sec:.dim}} eta {{eta}} {{wide_msg:.dim}}"
                )
            } else {
                "{prefix:>17} {spinner} {wide_msg:.dim}".to_owned()
            };
            self.bar.set_style(ProgressStyle::with_template(&style).expect("the template is ours"));
            self.bar.set_prefix(what);
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        self.bar.set_message(clean(&progress.path));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

pub fn index_json(root: &Path, report: &IndexReport) -> Value {
    let skipped: Vec<Value> =
        report.skipped.iter().map(|file| json!({ "path": file.path, "reason": file.reason })).collect();
    json!({
        "project": root, "generation": report.generation, "files": report.files, "filesChanged": report.files_changed,
        "filesRemoved": report.files_removed, "skipped": skipped, "skippedTotal": report.skipped_total, "chunks": report.chunks, "vectors": report.vectors,
        "embedded": report.embedded, "reused": report.reused, "tokens": report.tokens, "textMs": report.text_ms,
        "totalMs": report.total_ms, "foreign": report.foreign,
    })
}

pub fn index_report(root: &Path, report: &IndexReport) {
    let seconds = |ms: u64| format!("{:.2} s", ms as f64 / 1e3);
    if report.foreign {
        note("note: the index that was there was not made by you on this machine; it was begun anew");
    }
    say(&format!(
        "Indexed {} in {}: {} files, {} chunks",
        root.display(),
        seconds(report.total_ms),
        report.files,
        report.chunks
    ));
    say(&format!(
        "  {} files new or changed, {} gone, {} skipped; text search after {}",
        report.files_changed,
        report.files_removed,
        report.skipped_total,
        seconds(report.text_ms)
    ));
    let embed_ms = report.total_ms.saturating_sub(report.text_ms).max(1);
    let rate = report.embedded as f64 * 1e3 / embed_ms as f64;
    say(&format!(
        "  {} vectors computed ({} tokens, {rate:.0} chunks/s), {} found in the cache",
        report.embedded, report.tokens, report.reused
    ));
    if report.vectors < report.chunks {
        say(&format!(
            "  {} chunks changed on disk meanwhile: run `offheap index` again",
            report.chunks - report.vectors
        ));
    }
}

pub fn search_json(report: &SearchReport, text: bool) -> Value {
    let hits: Vec<Value> = report
        .hits
        .iter()
        .map(|hit| {
            let mut value = json!({
                "path": hit.path, "startLine": hit.first_line, "endLine": hit.last_line, "score": hit.score,
                "language": hit.language, "scope": hit.scope, "symbols": hit.symbols, "stale": hit.stale,
            });
            if text {
                value["text"] = json!(hit.text);
            }
            if !hit.why.is_empty() {
                value["why"] = hit.why.iter().map(|part| json!({ "name": part.name, "value": part.value })).collect();
            }
            if let Some(found) = &hit.symbol {
                value["symbol"] =
                    json!({ "name": found.name, "kind": found.kind, "line": found.line, "fit": found.fit });
            }
            if !hit.matches.is_empty() {
                let span = |span: &Span| json!({ "line": span.line, "start": span.start, "end": span.end });
                value["matches"] = hit.matches.iter().map(span).collect();
            }
            value
        })
        .collect();
    json!({
        "hits": hits, "mode": report.mode, "degraded": report.degraded, "space": report.space, "generation": report.generation,
        "coverage": {
            "files": report.coverage.files, "chunks": report.coverage.chunks, "vectors": report.coverage.vectors,
            "fresh": report.coverage.fresh, "pendingFiles": report.coverage.pending_files,
        },
        "truncated": report.truncated, "readOnly": report.read_only, "waitUs": report.wait_us, "embedUs": report.embed_us, "searchUs": report.search_us,
    })
}

/// Lines of a chunk that a person is shown.
const SHOWN_LINES: usize = 12;

pub fn hits(report: &SearchReport, text: bool) {
    if let Some(why) = &report.degraded {
        note(&format!("note: {why}"));
    }
    if report.hits.is_empty() {
        note("No hits.");
    }
    let stdout_is_terminal = std::io::stdout().is_terminal();
    let heading = |place: &str, rest: &str| {
        let place = printable(place);
        let place = if stdout_is_terminal { format!("\x1b[1m{place}\x1b[0m") } else { place };
        write(format!("{place}{}", printable(rest)).trim_end());
    };
    for (i, hit) in report.hits.iter().enumerate() {
        if hit.matches.is_empty() {
            heading(&place(hit), &format!("  {}", about(hit)));
        } else if !text || hit.first_line == hit.last_line {
            // As grep prints it.
            let line = if text { clean(&hit.text) } else { String::new() };
            heading(&(place(hit) + ":"), &format!(" {line}"));
            continue;
        } else {
            heading(&place(hit), "");
        }
        if !hit.why.is_empty() {
            let parts: Vec<String> = hit.why.iter().map(|part| format!("{} {:.3}", part.name, part.value)).collect();
            say(&format!("        = {}", clean(&parts.join(", "))));
        }
        if text {
            code(hit);
            if i + 1 < report.hits.len() {
                say("");
            }
        }
    }
    note(&summary(report));
}

/// Where a hit is: the line that matches, the definition, or the whole chunk.
fn place(hit: &Hit) -> String {
    let path = clean(&hit.path);
    match (&hit.symbol, hit.matches.first()) {
        (Some(found), _) => format!("{path}:{}", found.line),
        (None, Some(span)) => format!("{path}:{}:{}", span.line, span.start),
        (None, None) => format!("{path}:{}-{}", hit.first_line, hit.last_line),
    }
}

/// What is said of a hit behind its place.
fn about(hit: &Hit) -> String {
    let what = match &hit.symbol {
        Some(found) if found.fit == "exact" => format!("{} {}", found.kind, clean(&found.name)),
        Some(found) => format!("{} {} ({})", found.kind, clean(&found.name), found.fit),
        None => format!("{:.3}", hit.score),
    };
    let scope = if hit.scope.is_empty() { String::new() } else { format!("  {}", clean(&hit.scope)) };
    let stale = if hit.stale { "  (changed since indexed)" } else { "" };
    format!("{what}{scope}{stale}")
}

/// The lines of a hit; of a definition, from its name on.
fn code(hit: &Hit) {
    let from = hit.symbol.as_ref().map_or(hit.first_line, |found| found.line);
    let lines: Vec<&str> = hit.text.lines().skip(from.saturating_sub(hit.first_line) as usize).collect();
    let matching = |n: u32| hit.matches.first().is_some_and(|span| span.line == n);
    let limit = if hit.matches.is_empty() { SHOWN_LINES } else { lines.len() };
    for (n, line) in (from..).zip(lines.iter().take(limit)) {
        say(&format!("{n:>6}{} {}", if matching(n) { ">" } else { " " }, clean(line)));
    }
    if lines.len() > limit {
        say(&format!("        ... {} more lines", lines.len() - limit));
    }
}

fn summary(report: &SearchReport) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    let more = if report.truncated { ", there are more" } else { "" };
    let (n, mode, coverage) = (report.hits.len(), &report.mode, report.coverage);
    if mode == "regex" {
        let files = coverage.files;
        return format!("{n} lines match in {files} files read{more}: {:.1} ms", ms(report.search_us));
    }
    let pending = match coverage.pending_files {
        Some(n) if n > 0 => format!("; {n} changed files are not in it yet"),
        _ => String::new(),
    };
    format!(
        "{n} hits{more}, {mode} search over {} chunks{pending}: {:.1} ms for the query's vector, {:.1} ms to search",
        coverage.chunks,
        ms(report.embed_us),
        ms(report.search_us)
    )
}

/// One line of what files hold, no wider than can be read.
fn clean(line: &str) -> String {
    const WIDTH: usize = 160;
    let start: String = line.chars().take(WIDTH).collect();
    let mut out = printable(&start).replace('\n', "\u{fffd}");
    if line.chars().nth(WIDTH).is_some() {
        out.push('…');
    }
    out
}

pub fn status_json(status: &StatusReport) -> Value {
    json!({
        "running": true, "version": status.version, "pid": status.pid, "uptimeMs": status.uptime_ms, "project": status.project,
        "model": status.model.as_ref().map(|model| json!({
            "name": model.name, "architecture": model.architecture, "quantisation": model.quantisation, "dim": model.dim,
            "contextLength": model.context_length, "fingerprint": model.fingerprint, "path": model.path,
            "kernel": model.kernel, "threads": model.threads,
        })),
        "index": status.index.as_ref().map(|index| json!({
            "generation": index.generation, "files": index.files, "chunks": index.chunks, "vectors": index.vectors,
            "bytes": index.bytes,
        })),
        "indexing": status.indexing, "connections": status.connections, "requests": status.requests, "faults": status.faults,
        "queued": status.queued, "anonBytes": status.anon_bytes, "fileBytes": status.file_bytes,
        "watch": status.watch.as_ref().map(|watch| json!({
            "state": watch.state, "folders": watch.folders, "pending": watch.pending, "busy": watch.busy,
            "problem": watch.problem,
        })),
        "transport": status.transport, "starts": status.starts, "crashes": status.crashes, "readOnly": status.read_only,
        "load": load_json(&status.load),
    })
}

fn load_json(load: &LoadStatus) -> Value {
    let ms = |us: u64| us as f64 / 1e3;
    let latency = |latency: &Latency| {
        json!({
            "p50Ms": ms(latency.p50_us), "p90Ms": ms(latency.p90_us), "p99Ms": ms(latency.p99_us), "maxMs": ms(latency.max_us),
            "buckets": latency.buckets,
        })
    };
    let (requests, cut_off) = (&load.requests, &load.cut_off);
    json!({
        "waitingBytes": load.waiting_bytes, "working": load.working,
        "requests": {
            "embed": requests.embed, "search": requests.search, "index": requests.index, "other": requests.other,
        },
        "cancelled": load.cancelled, "timedOut": load.timed_out, "overloaded": load.overloaded,
        "embed": latency(&load.embed), "search": latency(&load.search),
        "cutOff": {
            "malformed": cut_off.malformed, "slowReader": cut_off.slow_reader, "slowSender": cut_off.slow_sender,
        },
        "evictions": load.evictions,
    })
}

pub fn status(status: &StatusReport) {
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let model = status.model.as_ref().map(|m| {
        format!(
            "{} ({}, {}, {} dimensions) on {} with {} threads",
            m.name, m.architecture, m.quantisation, m.dim, m.kernel, m.threads
        )
    });
    let index = status.index.as_ref().map(|i| {
        format!(
            "{} files, {} chunks, {} vectors, generation {}, {}",
            i.files,
            i.chunks,
            i.vectors,
            i.generation,
            mb(i.bytes)
        )
    });
    let memory = match (status.anon_bytes, status.file_bytes) {
        (Some(anon), Some(file)) => format!("{} own, {} mapped files", mb(anon), mb(file)),
        _ => "not told by this system".to_owned(),
    };
    let rows = [
        ("offheap", format!("{}, process {}, up {:.0} s", status.version, status.pid, status.uptime_ms as f64 / 1e3)),
        ("project", or_none(status.project.clone())),
        ("model", model.unwrap_or_else(|| "not loaded".to_owned())),
        ("index", or_none(index) + if status.indexing { " (being brought up to date)" } else { "" }),
        (
            "requests",
            format!("{} answered, {} failed, {} texts waiting", status.requests, status.faults, status.queued),
        ),
        ("embeddings", latency(&status.load.embed)),
        ("searches", latency(&status.load.search)),
        ("refused", refused(&status.load)),
        ("changes", or_none(status.watch.as_ref().map(watch))),
        ("connections", status.connections.to_string()),
        ("memory", memory),
    ];
    for (name, value) in rows {
        say(&format!("{name:>12}  {value}"));
    }
}

fn latency(latency: &Latency) -> String {
    let n: u64 = latency.buckets.iter().sum();
    let ms = |us: u64| us as f64 / 1e3;
    match n {
        0 => "none".to_owned(),
        _ => format!(
            "{n}; half within {:.1} ms, 99 % within {:.1} ms, all within {:.1} ms",
            ms(latency.p50_us),
            ms(latency.p99_us),
            ms(latency.max_us)
        ),
    }
}

/// What was not done, and who was shown out.
fn refused(load: &LoadStatus) -> String {
    let cut = &load.cut_off;
    let rows = [
        (load.cancelled, "cancelled"),
        (load.timed_out, "timed out"),
        (load.overloaded, "too much at once"),
        (cut.malformed, "malformed connections"),
        (cut.slow_reader, "connections that did not read"),
        (cut.slow_sender, "connections that stopped half way"),
    ];
    let said: Vec<String> = rows.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if said.is_empty() { "none".to_owned() } else { said.join(", ") }
}

fn watch(watch: &WatchStatus) -> String {
    let state = match watch.state.as_str() {
        "watching" => format!("watched in {} folders", watch.folders),
        "polling" => "looked for now and then".to_owned(),
        _ => "not watched".to_owned(),
    };
    let busy = if watch.busy { ", being indexed" } else { "" };
    let pending = match watch.pending {
        Some(n) if n > 0 => format!(", {n} waiting"),
        _ => String::new(),
    };
    let problem = watch.problem.as_ref().map(|why| format!(" ({})", clean(why))).unwrap_or_default();
    format!("{state}{pending}{busy}{problem}")
}
