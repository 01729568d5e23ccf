//! `offheap doctor`: every condition that this program knows to be trouble, looked for in the order in which a first
//! call would meet it. Makes the runtime directory and the lock file as that call would, leaves nothing else behind, and
//! never starts a daemon. Reads every byte of the index.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offheap_engine::Error;
use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::kernel;
use offheap_engine::store::Store;
use offheap_protocol::connection::{Accept, Transport, is_refusal};
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Endpoint, Fault};

use super::calls::status_of;
use super::connect;
use super::output::json::{Check, CheckState, DoctorReport, path_text};
use super::output::{self, out};
use super::target::endpoint;
use crate::VERSION;
use crate::args::Common;
use crate::config::{self, Config};
use crate::daemon::Runs;
use crate::model::file;
use crate::{fault, log};

/// Below this a disk is called nearly full.
const FEW_BYTES: u64 = 200 << 20;
/// Crashes older than this are history.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Directories of a larger project can be watched with no less.
const FEW_WATCHES: u64 = 8192;

fn good(check: &'static str, detail: impl Into<String>) -> Check {
    Check { check, state: CheckState::Ok, detail: detail.into(), remedy: String::new() }
}

fn doubtful(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { check, state: CheckState::Warning, detail: detail.into(), remedy: remedy.into() }
}

fn bad(check: &'static str, fault: &Fault) -> Check {
    let detail = format!("{} [{}]", fault.message, fault.code);
    Check { check, state: CheckState::Problem, detail, remedy: fault.hint.clone() }
}

/// Runs every check and prints them. Exit code 1 where there is a problem.
pub async fn doctor(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(common)?;
    let mut findings = vec![program()];
    let runtime = runtime_dir(&endpoint);
    let usable = runtime.state != CheckState::Problem;
    findings.push(runtime);
    if usable {
        findings.push(sockets(&endpoint).await);
        findings.extend(daemon(&endpoint).await);
        findings.extend(history(&endpoint));
    }
    let config = endpoint.project().map(Config::read).transpose();
    if let Some(root) = endpoint.project() {
        if let Ok((_, notes)) = Config::read_with_notes(root) {
            let remedy = "what a repository may ask for is limited; correct .offheap/config.json";
            findings.extend(notes.into_iter().map(|note| doubtful("configuration", note, remedy)));
        }
        findings.push(match &config {
            Ok(_) if root.join(PROJECT_DIR).join("config.json").is_file() => {
                good("configuration", format!("{}", root.join(PROJECT_DIR).join("config.json").display()))
            }
            Ok(_) => good("configuration", format!("{} has none: the defaults hold", root.display())),
            Err(fault) => bad("configuration", fault),
        });
        findings.extend(index(root));
        findings.extend(watches());
    }
    let named = config.ok().flatten().unwrap_or_default().model;
    findings.push(model(&named, endpoint.project()));
    findings.push(processor());
    findings.extend(disk("disk of the runtime directory", endpoint.dir()));
    if let Some(root) = endpoint.project() {
        findings.extend(disk("disk of the project", root));
    }
    let problems = findings.iter().filter(|finding| finding.state == CheckState::Problem).count();
    if common.json {
        let project = endpoint.project().map(path_text);
        out(&DoctorReport { problems, project, checks: &findings });
    } else {
        findings.iter().for_each(print);
        output::say(&match problems {
            0 => "No problem found.".to_owned(),
            1 => "1 problem found.".to_owned(),
            n => format!("{n} problems found."),
        });
    }
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(found: &Check) {
    let state = match found.state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Problem => "problem",
    };
    let mut lines = found.detail.lines();
    output::say(&format!("{:>8}  {}: {}", state, found.check, lines.next().unwrap_or_default()));
    lines.for_each(|line| output::say(&format!("          {line}")));
    if !found.remedy.is_empty() {
        output::say(&format!("          -> {}", found.remedy));
    }
}

fn program() -> Check {
    let exe = std::env::current_exe().map_or_else(|error| error.to_string(), |exe| exe.display().to_string());
    good("program", format!("offheap {VERSION}, {exe}"))
}

fn runtime_dir(endpoint: &Endpoint) -> Check {
    const CHECK: &str = "runtime directory";
    let in_the_way = |path: &std::path::PathBuf| std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
    let mut files = vec![endpoint.lock(), endpoint.log(), endpoint.runs(), endpoint.door()];
    if cfg!(unix) {
        files.push(endpoint.socket()); // elsewhere the name of a pipe
    }
    if let Some(path) = files.iter().find(|path| in_the_way(path)) {
        let message = format!("`{}` is a directory; a daemon needs a file there", path.display());
        return bad(CHECK, &Fault::new(Code::DaemonStartFailed, message).hint("remove it"));
    }
    match endpoint.prepare_dir().map(|()| log::open_private(&endpoint.lock())) {
        Ok(Ok(_)) => good(CHECK, endpoint.dir().display().to_string()),
        Ok(Err(error)) => {
            let message = format!("`{}` cannot be written: {error}", endpoint.lock().display());
            bad(
                CHECK,
                &Fault::new(Code::DaemonStartFailed, message)
                    .hint("make the directory writable, or set OFFHEAP_RUNTIME_DIR"),
            )
        }
        Err(fault) => bad(CHECK, &fault),
    }
}

/// Binds a socket of another name where the daemon's would be.
async fn sockets(endpoint: &Endpoint) -> Check {
    let probe = format!("/doctor/{}", std::process::id()).into();
    let bound = match Endpoint::under(endpoint.dir().to_path_buf(), Some(probe)) {
        Ok(probe) => Accept::bind(&probe).await.map(|accept| {
            let _ = std::fs::remove_file(probe.socket());
            let _ = std::fs::remove_file(probe.door());
            accept.transport()
        }),
        Err(fault) => return bad("sockets", &fault),
    };
    match bound {
        Ok(Transport::Local) => good("sockets", "local sockets can be made in the runtime directory"),
        Ok(_) => doubtful(
            "sockets",
            "the system refuses local sockets here; daemons use loopback TCP with a secret",
            "allow local sockets in the runtime directory, or set OFFHEAP_RUNTIME_DIR to one where they are allowed",
        ),
        Err(error) if !is_refusal(&error) => {
            let message = format!("no socket can be made in `{}`: {error}", endpoint.dir().display());
            bad(
                "sockets",
                &Fault::new(Code::DaemonStartFailed, message).hint("set OFFHEAP_RUNTIME_DIR to another directory"),
            )
        }
        Err(error) => doubtful(
            "sockets",
            format!("the system refuses local sockets and TCP here ({error}); every process runs a private daemon"),
            "allow local sockets in the runtime directory, or set OFFHEAP_RUNTIME_DIR to one where they are allowed",
        ),
    }
}

async fn daemon(endpoint: &Endpoint) -> Vec<Check> {
    const CHECK: &str = "daemon";
    match connect::connect(endpoint).await {
        Ok(client) => match status_of(&client).await {
            Ok(status) => {
                let memory = status
                    .anon_bytes
                    .map_or(String::new(), |bytes| format!(", {:.0} MB of its own", bytes as f64 / 1e6));
                let up = status.uptime_ms / 1000;
                let (version, pid, requests) = (&status.version, status.pid, status.requests);
                let mut found = vec![good(
                    CHECK,
                    format!("offheap {version} runs as process {pid} for {up} s, {requests} requests{memory}"),
                )];
                if *version != VERSION {
                    found.push(doubtful(
                        "versions",
                        format!("the daemon is offheap {version}, this is {VERSION}"),
                        "harmless; the next call of the newer one replaces the older daemon",
                    ));
                }
                if status.read_only {
                    found.push(doubtful(
                        "ownership",
                        "another process owns the index, or it cannot be written; this daemon reads what was committed",
                        "stop the other daemon or use its OFFHEAP_RUNTIME_DIR; on a read-only disk that is all there is",
                    ));
                }
                found
            }
            Err(fault) => vec![bad(CHECK, &fault)],
        },
        Err(fault) if fault.code == Code::DaemonNotRunning => {
            let held = log::open_private(&endpoint.lock()).is_ok_and(|lock| lock.try_lock().is_err());
            if held {
                let fault = Fault::new(
                    Code::DaemonUnresponsive,
                    format!(
                        "a process holds `{}` and listens nowhere: it is starting, leaving, or stuck",
                        endpoint.lock().display()
                    ),
                )
                .hint(
                    "run this again in a few seconds; if it stays, end the `offheap` process that has this file open",
                );
                return vec![bad(CHECK, &fault)];
            }
            let forbidden =
                endpoint.project().is_some_and(|root| Config::read(root).is_ok_and(|config| !config.daemon.enabled));
            let mut found = vec![match forbidden {
                true => doubtful(
                    CHECK,
                    "none runs, and the configuration forbids starting one",
                    "set daemon.enabled to true in .offheap/config.json, or run `offheap daemon` yourself",
                ),
                false => good(CHECK, "none runs; the first call starts one"),
            }];
            if cfg!(unix) && endpoint.socket().exists() {
                found.push(good("stale socket", "a daemon died and left its socket; the next one replaces it"));
            }
            found
        }
        // Said by the check before.
        Err(fault) if fault.code == Code::SocketsRefused => vec![good(CHECK, "none can be reached from here")],
        Err(fault) => vec![bad(CHECK, &fault)],
    }
}

fn history(endpoint: &Endpoint) -> Option<Check> {
    let runs = Runs::read(&endpoint.runs());
    let recent = runs.last_crash.is_some_and(|at| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_secs(at)) < RECENT
    });
    let text = format!("{} daemons began here, {} of them ended without a word", runs.starts, runs.crashes);
    match runs.starts {
        0 => None,
        _ if !recent => Some(good("history", text)),
        _ => {
            let tail = log::tail(&endpoint.log());
            Some(doubtful(
                "history",
                format!("{text}, the last one within a day\nthe log ends with:\n{tail}"),
                format!(
                    "killed processes and power failures are harmless; else look into `{}`",
                    endpoint.log().display()
                ),
            ))
        }
    }
}

fn index(root: &Path) -> Vec<Check> {
    let place = config::place(root);
    match config::has_index(&place) {
        Ok(true) => {}
        Ok(false) => return vec![good("index", "none yet: `offheap index` makes it")],
        Err(fault) => return vec![bad("index", &fault)],
    }
    let mut found = Vec::new();
    // Some damage makes the libraries below panic; their words are for developers.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = || match Store::verify_read_only(&place) {
        Err(error @ (Error::IndexDamaged { .. } | Error::IndexFormat { .. })) => Err(error),
        // A disk that cannot be written lets nobody mark what is being read; opening checks what is cheap to check.
        _ => Store::open_read_only(&place),
    };
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    std::panic::set_hook(hook);
    let damaged =
        || Fault::new(Code::IndexDamaged, "reading the index fails inside").hint("run `offheap index --rebuild`");
    let Ok(checked) = checked else { return vec![bad("index", &damaged())] };
    found.push(match checked {
        Ok(snapshot) => {
            let stats = snapshot.stats();
            let text = format!(
                "{} files, {} chunks, {} vectors, generation {}",
                stats.files, stats.chunks, stats.vectors, snapshot.generation
            );
            match stats.vectors < stats.chunks {
                true => doubtful("index", format!("{text}: some chunks lack vectors"), "run `offheap index`"),
                false => good("index", text),
            }
        }
        Err(error) => bad("index", &fault::from_engine(&error)),
    });
    let Ok(Some(folder)) = place.open() else { return found };
    let probe = format!("doctor-{}", std::process::id());
    let written = folder.create_new(&probe).and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
    let _ = folder.remove(&probe);
    if let Err(error) = written {
        found.push(doubtful(
            "index directory",
            format!("`{}` cannot be written: {error}", folder.path().display()),
            "search works, indexing does not; make it writable",
        ));
    }
    found
}

/// How many directories may be watched, where the system has a limit and tells it.
fn watches() -> Option<Check> {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    let limit: u64 = limit.trim().parse().ok()?;
    Some(match limit < FEW_WATCHES {
        true => doubtful(
            "file watching",
            format!(
                "the system lets a user watch {limit} directories; larger projects are looked through now and then instead"
            ),
            "raise fs.inotify.max_user_watches",
        ),
        false => good("file watching", format!("up to {limit} directories")),
    })
}

fn model(named: &str, project: Option<&Path>) -> Check {
    let package = std::env::var_os("OFFHEAP_MODEL_DIR").map(std::path::PathBuf::from);
    let opened = file::resolve(named, project, package.as_deref()).and_then(|file| {
        let options =
            Options { threads: 1, sha256: file.sha256.as_deref(), below: file.below.as_deref(), ..Options::default() };
        let embedder = Embedder::open(&file.path, &options).map_err(|error| fault::from_engine(&error))?;
        let info = embedder.info();
        let (name, quantisation, dim) = (&info.name, &info.quantisation, info.dim);
        Ok(format!("{name}, {quantisation}, {dim} dimensions, {}", file.path.display()))
    });
    match opened {
        Ok(detail) => good("model", detail),
        Err(fault) => bad("model", &fault),
    }
}

/// Which instruction set is chosen, and why not another.
fn processor() -> Check {
    const CHECK: &str = "processor";
    let forced = config::kernel();
    let usable: Vec<&str> = kernel::usable_names().collect();
    let unusable: Vec<&str> = kernel::unusable_names().collect();
    let threads = config::threads();
    match (kernel::choose(forced.as_deref()), &forced) {
        (Ok(chosen), Some(_)) => good(
            CHECK,
            format!(
                "{} on {threads} threads, because OFFHEAP_KERNEL says so; it can run {}",
                chosen.name,
                usable.join(", ")
            ),
        ),
        (Ok(chosen), None) => {
            let lacks = if unusable.is_empty() { String::new() } else { format!("; it lacks {}", unusable.join(", ")) };
            good(CHECK, format!("{} on {threads} threads, the best of {}{lacks}", chosen.name, usable.join(", ")))
        }
        (Err(usable), forced) => {
            let name = forced.as_deref().unwrap_or_default();
            let message = format!("OFFHEAP_KERNEL is `{name}`, this processor runs {}", usable.join(", "));
            bad(CHECK, &Fault::new(Code::InvalidArgument, message).hint("unset OFFHEAP_KERNEL"))
        }
    }
}

fn disk(check: &'static str, dir: &Path) -> Option<Check> {
    let free = free_bytes(dir)?;
    let text = format!("{:.1} GB free", free as f64 / 1e9);
    Some(match free < FEW_BYTES {
        true => doubtful(check, text, "free some space: indexing stops when the disk is full, and goes on later"),
        false => good(check, text),
    })
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    // SAFETY: the path ends with a zero and the structure is ours; it is read only where the call filled it.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)?
    };
    #[allow(clippy::unnecessary_cast)] // the fields have other widths on other systems
    Some(stat.f_bavail as u64 * stat.f_frsize as u64)
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
