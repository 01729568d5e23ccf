//! Reports as text for a person.

use std::io::IsTerminal;
use std::path::Path;

use offheap_engine::walk::RulePlace;
use offheap_protocol::message::{
    CacheStatus, Hit, IdleStatus, IndexReport, Latency, LoadStatus, SearchReport, SkipCount, StatusReport, WatchStatus,
    printable,
};

use super::json::{Check, CheckState};
use super::print::{clean, note, say, write};
use crate::project::why::Why;

/// Prints what an index run did.
pub fn index(root: &Path, report: &IndexReport) {
    let seconds = |ms: u64| format!("{:.2} s", ms as f64 / 1e3);
    if report.foreign {
        note("note: the old index was not made by this user on this machine; it was not used");
    }
    say(&format!(
        "Indexed {} in {}: {} files, {} chunks",
        root.display(),
        seconds(report.total_ms),
        report.files,
        report.chunks
    ));
    say(&format!(
        "  {} files new or changed, {} removed, {} skipped; full text searchable after {}",
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
    let changed = report.chunks.saturating_sub(report.text_only).saturating_sub(report.vectors);
    if changed > 0 {
        say(&format!("  {changed} chunks changed on disk during the run: run `offheap index` again"));
    }
    if report.text_only > 0 {
        say(&format!("  {} chunks are of long texts: found by their words, without vectors", report.text_only));
    }
    skipped(report);
}

/// Greatest number of examples for each reason.
const SHOWN_SKIPS: usize = 3;

/// Prints which files were left out, by reason.
fn skipped(report: &IndexReport) {
    for count in &report.skipped_by_reason {
        let of_reason = report.skipped.iter().filter(|file| file.reason == count.reason);
        let examples: Vec<String> = of_reason.take(SHOWN_SKIPS).map(|file| clean(&file.path)).collect();
        let more = if count.files > examples.len() as u64 { ", ..." } else { "" };
        say(&format!("    {:>6} {}: {}{more}", count.files, count.reason, examples.join(", ")));
    }
    if report.skipped_total > 0 {
        say("  `offheap why PATH` tells why and what to do; `offheap index --json` lists all");
    }
}

/// How many files are left out, in words: `; 3 files skipped (2 binary, 1 hidden)`.
fn left_out(counts: &[SkipCount]) -> String {
    let n: u64 = counts.iter().map(|count| count.files).sum();
    if n == 0 {
        return String::new();
    }
    let reasons: Vec<String> = counts.iter().map(|count| format!("{} {}", count.files, clean(&count.reason))).collect();
    format!("; {} skipped ({})", counted(n, "file"), reasons.join(", "))
}

/// Prints what is known about a path.
pub fn why(why: &Why) {
    let state = match (why.indexed, why.stale) {
        (true, false) => "indexed",
        (true, true) => "indexed, not as it is now",
        (false, _) => "not indexed",
    };
    say(&format!("{}: {state}", clean(&why.path)));
    let mut facts: Vec<String> = Vec::new();
    if let Some(text) = &why.text {
        facts.extend([text.language.to_owned(), text.encoding.to_owned(), counted(text.bytes, "byte")]);
    }
    if let Some(file) = &why.file {
        let vectors = if file.text_only { "found by words alone".to_owned() } else { counted(file.vectors, "vector") };
        facts.extend([counted(file.chunks, "chunk"), vectors]);
    }
    if let Some((files, indexed)) = why.files {
        facts.push(format!("{indexed} of {} in the index", counted(files, "file")));
    }
    if why.generation > 0 && why.indexed {
        facts.push(format!("generation {}", why.generation));
    }
    if !facts.is_empty() {
        say(&format!("  {}", facts.join(", ")));
    }
    let decided_at = why.decided_at.as_ref().map(|at| format!(", decided at `{}`", clean(at))).unwrap_or_default();
    let rule = |rule: &RulePlace| format!("{}:{}: {}", clean(&rule.file), rule.line, clean(&rule.pattern));
    let by_rule = why.rule.iter().map(rule);
    let seen: Vec<String> = by_rule.chain(why.detail.iter().map(|detail| clean(detail))).collect();
    let colon = if seen.is_empty() { "" } else { ": " };
    if !["indexed", "folder"].contains(&why.reason) || !seen.is_empty() {
        say(&format!("  {}{decided_at}{colon}{}", why.reason, seen.join("; ")));
    }
    if !why.remedy.is_empty() {
        say(&format!("  -> {}", clean(&why.remedy)));
    }
}

/// Greatest number of lines of a chunk that are printed.
const SHOWN_LINES: usize = 12;

/// Prints hits and a summary; `text` says whether with their code.
pub fn hits(report: &SearchReport, text: bool) {
    if let Some(why) = &report.degraded {
        note(&format!("note: {why}"));
    }
    for glob in &report.unmatched {
        note(&format!("note: no file matches --glob '{}'", clean(glob)));
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
            // The format of grep: path:line:column: text.
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

/// Path and line of a hit: the matching line, the definition's line, or the lines of the chunk.
fn place(hit: &Hit) -> String {
    let path = clean(&hit.path);
    match (&hit.symbol, hit.matches.first()) {
        (Some(found), _) => format!("{path}:{}", found.line),
        (None, Some(span)) => format!("{path}:{}:{}", span.line, span.start),
        (None, None) => format!("{path}:{}-{}", hit.first_line, hit.last_line),
    }
}

/// The rest of a hit's first line: definition or score, enclosing definitions, whether it is stale.
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

/// Prints the lines of a hit; with a definition, from the line of its name on.
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

/// A number of things, in the singular for one.
fn counted(n: u64, name: &str) -> String {
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}

fn summary(report: &SearchReport) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    let more = if report.truncated { ", there are more" } else { "" };
    let (n, mode, coverage) = (report.hits.len(), &report.mode, &report.coverage);
    let left_out = left_out(&coverage.skipped_by_reason);
    if mode == "regex" {
        let (lines, files) = (if n == 1 { "line matches" } else { "lines match" }, counted(coverage.files, "file"));
        return format!("{n} {lines} in {files} read{more}{left_out}: {:.1} ms", ms(report.search_us));
    }
    let pending = match coverage.pending_files {
        Some(1) => "; 1 changed file is not indexed yet".to_owned(),
        Some(n) if n > 0 => format!("; {n} changed files are not indexed yet"),
        _ => String::new(),
    };
    format!(
        "{}{more}, {mode} search over {}{pending}{left_out}: embedding {:.1} ms, search {:.1} ms",
        counted(n as u64, "hit"),
        counted(coverage.chunks, "chunk"),
        ms(report.embed_us),
        ms(report.search_us)
    )
}

/// Width that the rows of a status keep to: that of a plain terminal.
const COLUMNS: usize = 80;
/// Width of the names in front of these rows.
const NAME_COLUMNS: usize = 12;

/// Prints what the daemon is doing.
pub fn status(status: &StatusReport) {
    for (name, value) in rows(status) {
        let mut name = name;
        for line in wrapped(&value, COLUMNS - NAME_COLUMNS - 2) {
            say(format!("{name:>NAME_COLUMNS$}  {line}").trim_end());
            name = "";
        }
    }
}

/// The rows of a status: what is told, and what there is to tell.
fn rows(status: &StatusReport) -> Vec<(&'static str, String)> {
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let model = status
        .model
        .as_ref()
        .map(|m| format!("{} ({}, {}, {} dimensions)", m.name, m.architecture, m.quantisation, m.dim));
    let kernel = status.model.as_ref().map(|m| format!("{} on {}", m.kernel, counted(m.threads.into(), "thread")));
    let index = status.index.as_ref().map(|i| {
        format!(
            "{} files, {} chunks, {} vectors, generation {}, {}{}",
            i.files,
            i.chunks,
            i.vectors,
            i.generation,
            mb(i.bytes),
            left_out(&i.skipped_by_reason)
        )
    });
    let memory = match (status.anon_bytes, status.file_bytes) {
        (Some(anon), Some(file)) => format!("{} own, {} mapped files", mb(anon), mb(file)),
        _ => "unknown on this system".to_owned(),
    };
    vec![
        ("offheap", format!("{}, process {}, up {:.0} s", status.version, status.pid, status.uptime_ms as f64 / 1e3)),
        ("project", or_none(status.project.clone())),
        ("model", model.unwrap_or_else(|| "not loaded".to_owned())),
        ("processor", kernel.unwrap_or_else(|| "not used yet".to_owned())),
        ("index", or_none(index) + if status.indexing { " (being updated)" } else { "" }),
        ("searchable", searchable(status).to_owned()),
        ("cache", cache(&status.embedding_cache)),
        (
            "requests",
            format!("{} answered, {} failed, {} texts waiting", status.requests, status.faults, status.queued),
        ),
        ("embeddings", latency(&status.load.embed)),
        ("searches", latency(&status.load.search)),
        ("refused", refused(&status.load)),
        ("changes", or_none(status.watch.as_ref().map(watch))),
        ("connections", connections(status)),
        ("last use", last_use(&status.idle)),
        ("memory", memory),
    ]
}

/// A text in lines of at most `width` characters, as far as its words allow.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// What searches can use.
fn searchable(status: &StatusReport) -> &'static str {
    match &status.index {
        Some(index) if index.vector_search => "by text and by vectors",
        Some(index) if index.text_search && index.vectors > 0 => "by text; the vectors are another model's",
        Some(index) if index.text_search => "by text; no vectors yet",
        _ => "only by regular expressions",
    }
}

fn cache(cache: &CacheStatus) -> String {
    match (cache.hits, cache.misses) {
        (0, 0) => "not used yet".to_owned(),
        (hits, misses) => format!("{hits} embeddings found, {misses} not found and computed"),
    }
}

/// How many connections there are, and whose.
fn connections(status: &StatusReport) -> String {
    let names: Vec<String> = status
        .clients
        .iter()
        .map(|client| match client.connections {
            1 => clean(&client.name),
            n => format!("{n} of {}", clean(&client.name)),
        })
        .collect();
    let named: u32 = status.clients.iter().map(|client| client.connections).sum();
    let others = match status.connections.saturating_sub(named) {
        0 => String::new(),
        n => format!(", {n} others"),
    };
    format!("{}: {}{others}", status.connections, names.join(", "))
}

/// When the daemon was used, and what it does next if nobody uses it.
fn last_use(idle: &IdleStatus) -> String {
    let used = idle.last_use_ms.map_or("none yet".to_owned(), |ms| format!("{} ago", rounded(ms)));
    let unload = idle.unload_in_ms.filter(|unload| idle.leave_in_ms.is_none_or(|leave| *unload < leave));
    let next: Vec<String> = [("drops model and index", unload), ("leaves", idle.leave_in_ms)]
        .into_iter()
        .filter_map(|(what, ms)| Some(format!("{what} in {}", rounded(ms?))))
        .collect();
    if next.is_empty() { used } else { format!("{used}; unless it is used, {}", next.join(", ")) }
}

/// A duration in its largest unit, as people say it.
fn rounded(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
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

/// Requests that were not answered, and dropped connections.
fn refused(load: &LoadStatus) -> String {
    let cut = &load.cut_off;
    let rows = [
        (load.cancelled, "cancelled"),
        (load.timed_out, "timed out"),
        (load.overloaded, "refused for overload"),
        (cut.malformed, "malformed connections"),
        (cut.slow_reader, "connections that did not read"),
        (cut.slow_sender, "connections that stopped in mid-message"),
    ];
    let said: Vec<String> = rows.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if said.is_empty() { "none".to_owned() } else { said.join(", ") }
}

fn watch(watch: &WatchStatus) -> String {
    let state = match watch.state.as_str() {
        "watching" => format!("watched in {} folders", watch.folders),
        "polling" => "polled every 30 s".to_owned(),
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

/// Prints what `doctor` found; `problems` is the number of problems.
pub fn checks(checks: &[Check], problems: usize) {
    checks.iter().for_each(check);
    say(&match problems {
        0 => "No problem found.".to_owned(),
        1 => "1 problem found.".to_owned(),
        n => format!("{n} problems found."),
    });
}

fn check(found: &Check) {
    let state = match found.state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Problem => "problem",
    };
    let mut lines = found.detail.lines();
    say(&format!("{:>8}  {}: {}", state, found.check, lines.next().unwrap_or_default()));
    lines.for_each(|line| say(&format!("          {line}")));
    if !found.remedy.is_empty() {
        say(&format!("          -> {}", found.remedy));
    }
}

#[cfg(test)]
mod tests {
    use offheap_protocol::message::{ClientStatus, IndexStatus, ModelStatus};

    use super::*;

    #[test]
    fn a_status_fits_80_columns() {
        let clients = ["my-app (offheap-node 0.1.0)", "indexer (offheap-node 0.1.0)", "offheap-cli 0.1.0"];
        let status = StatusReport {
            model: Some(ModelStatus {
                name: "all-MiniLM-L6-v2".into(),
                architecture: "nomic-bert".into(),
                quantisation: "Q8_0".into(),
                kernel: "avx512vnni".into(),
                ..ModelStatus::default()
            }),
            index: Some(IndexStatus {
                files: 123_456,
                chunks: 1_234_567,
                vectors: 1_234_567,
                ..IndexStatus::default()
            }),
            clients: clients.map(|name| ClientStatus { name: name.into(), connections: 4 }).to_vec(),
            connections: 13,
            idle: IdleStatus { last_use_ms: Some(12_345), unload_in_ms: Some(590_000), leave_in_ms: Some(86_000_000) },
            ..StatusReport::default()
        };
        for (name, value) in rows(&status) {
            for line in wrapped(&value, COLUMNS - NAME_COLUMNS - 2) {
                assert!(line.len() <= 66, "{name}: {line}");
            }
        }
        assert_eq!(
            last_use(&status.idle),
            "13 s ago; unless it is used, drops model and index in 10 min, leaves in 24 h"
        );
        assert!(connections(&status).ends_with("4 of offheap-cli 0.1.0, 1 others"), "{}", connections(&status));
    }

    #[test]
    fn what_comes_next_is_told_once() {
        let idle = IdleStatus { last_use_ms: None, unload_in_ms: Some(600_000), leave_in_ms: Some(600_000) };
        assert_eq!(last_use(&idle), "none yet; unless it is used, leaves in 10 min");
        assert_eq!(last_use(&IdleStatus { last_use_ms: Some(0), ..IdleStatus::default() }), "0 s ago");
        assert_eq!(
            [0, 1, 99_000, 100_000, 5_999_000, 6_000_000].map(rounded),
            ["0 s", "1 s", "99 s", "2 min", "100 min", "2 h"]
        );
    }
}
