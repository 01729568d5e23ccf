//! Checks of what a daemon needs to run and to be reached, and of the daemon itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offheap_protocol::connection::{Accept, Transport, is_refusal};
use offheap_protocol::message::StatusReport;
use offheap_protocol::{Code, Endpoint, Fault};

use super::check::{ok, problem, warning};
use crate::VERSION;
use crate::cli::calls::status_of;
use crate::cli::connect;
use crate::cli::output::json::Check;
use crate::config::Config;
use crate::daemon::Runs;
use crate::log;

/// Age beyond which a crash causes no warning.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Name of the check of the daemon.
const DAEMON: &str = "daemon";

/// The runtime directory and the files in it.
pub fn runtime_dir(endpoint: &Endpoint) -> Check {
    const CHECK: &str = "runtime directory";
    let in_the_way = |path: &std::path::PathBuf| std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
    let mut files = vec![endpoint.lock(), endpoint.log(), endpoint.runs(), endpoint.tcp_file()];
    if cfg!(unix) {
        files.push(endpoint.socket()); // elsewhere the name of a pipe
    }
    if let Some(path) = files.iter().find(|path| in_the_way(path)) {
        let message = format!("`{}` is a directory; a daemon needs a file there", path.display());
        return problem(CHECK, &Fault::new(Code::DaemonStartFailed, message).hint("remove it"));
    }
    match endpoint.prepare_dir().map(|()| log::open_private(&endpoint.lock())) {
        Ok(Ok(_)) => ok(CHECK, endpoint.dir().display().to_string()),
        Ok(Err(error)) => {
            let message = format!("`{}` cannot be written: {error}", endpoint.lock().display());
            problem(
                CHECK,
                &Fault::new(Code::DaemonStartFailed, message)
                    .hint("make the directory writable, or set OFFHEAP_RUNTIME_DIR"),
            )
        }
        Err(fault) => problem(CHECK, &fault),
    }
}

/// Whether sockets are allowed: listens at a name of its own where the daemon's would be.
pub async fn sockets(endpoint: &Endpoint) -> Check {
    let probe = format!("/doctor/{}", std::process::id()).into();
    let bound = match Endpoint::under(endpoint.dir().to_path_buf(), Some(probe)) {
        Ok(probe) => Accept::bind(&probe).await.map(|accept| {
            let _ = std::fs::remove_file(probe.socket());
            let _ = std::fs::remove_file(probe.tcp_file());
            accept.transport()
        }),
        Err(fault) => return problem("sockets", &fault),
    };
    match bound {
        Ok(Transport::Local) => ok("sockets", "local sockets work in the runtime directory"),
        Ok(_) => warning(
            "sockets",
            "the system refuses local sockets here; daemons use loopback TCP with a secret",
            "allow local sockets in the runtime directory, or set OFFHEAP_RUNTIME_DIR to a directory where they are allowed",
        ),
        Err(error) if !is_refusal(&error) => {
            let message = format!("cannot create a socket in `{}`: {error}", endpoint.dir().display());
            problem(
                "sockets",
                &Fault::new(Code::DaemonStartFailed, message).hint("set OFFHEAP_RUNTIME_DIR to another directory"),
            )
        }
        Err(error) => warning(
            "sockets",
            format!("the system refuses local sockets and TCP here ({error}); every process runs a private daemon"),
            "allow local sockets in the runtime directory, or set OFFHEAP_RUNTIME_DIR to a directory where they are allowed",
        ),
    }
}

/// The daemon that runs, or why none does.
pub async fn daemon(endpoint: &Endpoint) -> Vec<Check> {
    let asked = match connect::connect(endpoint).await {
        Ok(client) => status_of(&client).await.map(Some),
        Err(fault) if fault.code == Code::DaemonNotRunning => Ok(None),
        Err(fault) => Err(fault),
    };
    match asked {
        Ok(Some(status)) => running(&status),
        Ok(None) => not_running(endpoint),
        // The check of sockets reports this.
        Err(fault) if fault.code == Code::SocketsRefused => vec![ok(DAEMON, "none can be reached from here")],
        Err(fault) => vec![problem(DAEMON, &fault)],
    }
}

fn running(status: &StatusReport) -> Vec<Check> {
    let memory = status.anon_bytes.map_or(String::new(), |bytes| format!(", {:.0} MB of memory", bytes as f64 / 1e6));
    let (version, pid, requests) = (&status.version, status.pid, status.requests);
    let up = status.uptime_ms / 1000;
    let text = format!("offheap {version} runs as process {pid} for {up} s\n{requests} requests{memory}");
    let mut found = vec![ok(DAEMON, text)];
    if *version != VERSION {
        found.push(warning(
            "versions",
            format!("the daemon is offheap {version}, this is {VERSION}"),
            "harmless: the next call from the newer version replaces the daemon",
        ));
    }
    if status.read_only {
        found.push(warning(
            "ownership",
            "another process owns the index, or it cannot be written; this daemon only reads what was committed",
            "stop the other daemon, or use its OFFHEAP_RUNTIME_DIR; nothing can be done on a read-only disk",
        ));
    }
    found
}

fn not_running(endpoint: &Endpoint) -> Vec<Check> {
    if log::open_private(&endpoint.lock()).is_ok_and(|lock| lock.try_lock().is_err()) {
        let message = format!(
            "a process holds `{}` but does not listen: it is starting, shutting down or stuck",
            endpoint.lock().display()
        );
        let fault = Fault::new(Code::DaemonUnresponsive, message)
            .hint("run this again in a few seconds; if it stays, kill the `offheap` process that has this file open");
        return vec![problem(DAEMON, &fault)];
    }
    let forbidden =
        endpoint.project().is_some_and(|root| Config::read(root).is_ok_and(|config| !config.daemon.enabled));
    let mut found = vec![match forbidden {
        true => warning(
            DAEMON,
            "none runs, and the configuration forbids starting one",
            "set daemon.enabled to true in .offheap/config.json, or run `offheap daemon` yourself",
        ),
        false => ok(DAEMON, "none runs; the first call starts one"),
    }];
    if cfg!(unix) && endpoint.socket().exists() {
        found.push(ok("stale socket", "a daemon crashed and left its socket; the next daemon replaces it"));
    }
    found
}

/// Starts and crashes of daemons at this endpoint; `None` where there were none.
pub fn history(endpoint: &Endpoint) -> Option<Check> {
    let runs = Runs::read(&endpoint.runs());
    let recent = runs.last_crash.is_some_and(|at| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_secs(at)) < RECENT
    });
    let text = format!("{} daemons were started here, {} of them crashed", runs.starts, runs.crashes);
    match runs.starts {
        0 => None,
        _ if !recent => Some(ok("history", text)),
        _ => {
            let tail = log::tail(&endpoint.log());
            Some(warning(
                "history",
                format!("{text}, the last one within 24 hours\nthe log ends with:\n{tail}"),
                format!("harmless after a kill or a power failure; otherwise read `{}`", endpoint.log().display()),
            ))
        }
    }
}
