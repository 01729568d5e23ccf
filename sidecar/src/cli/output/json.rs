//! Reports as JSON documents.

use std::path::Path;

use offheap_protocol::message::{IndexReport, Latency, LoadStatus, SearchReport, Span, StatusReport};
use serde_json::{Value, json};

pub fn index(root: &Path, report: &IndexReport) -> Value {
    let skipped: Vec<Value> =
        report.skipped.iter().map(|file| json!({ "path": file.path, "reason": file.reason })).collect();
    json!({
        "project": root, "generation": report.generation, "files": report.files, "filesChanged": report.files_changed,
        "filesRemoved": report.files_removed, "skipped": skipped, "skippedTotal": report.skipped_total, "chunks": report.chunks, "vectors": report.vectors,
        "embedded": report.embedded, "reused": report.reused, "tokens": report.tokens, "textMs": report.text_ms,
        "totalMs": report.total_ms, "foreign": report.foreign,
    })
}

pub fn search(report: &SearchReport, text: bool) -> Value {
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

pub fn status(status: &StatusReport) -> Value {
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
        "load": load(&status.load),
    })
}

fn load(load: &LoadStatus) -> Value {
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
