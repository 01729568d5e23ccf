//! Starting a daemon from the command line. `sidecar/start.js` does the same from Node.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cli::note;
use crate::config::Config;
use crate::log;
use offheap_protocol::connection::Transport;
use offheap_protocol::ready::Ready;
use offheap_protocol::{Client, Code, Endpoint, Fault};

/// Who we are in the daemon's status.
const WHO: &str = concat!("offheap-cli ", env!("CARGO_PKG_VERSION"));

/// Variables that the daemon is given. Others stay behind: it outlives the shell that happened to start it.
const PASSED_ON: [&str; 18] = [
    "HOME",
    "USERPROFILE",
    "LOCALAPPDATA",
    "SystemRoot",
    "TEMP",
    "TMP",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "HF_HOME",
    "HF_ENDPOINT",
    "OFFHEAP_RUNTIME_DIR",
    "OFFHEAP_KERNEL",
    "OFFHEAP_MODEL",
    "OFFHEAP_THREADS",
    "OFFHEAP_TTL_MS",
    "OFFHEAP_WATCH",
    "RUST_BACKTRACE",
];

/// Connects to the endpoint's daemon if there is one.
pub async fn connect(endpoint: &Endpoint) -> Result<Client, Fault> {
    Client::connect(endpoint, WHO).await
}

/// Starts in a row: a third daemon that dies is not chance.
const MAX_STARTS: usize = 3;
/// Daemons in a row that leave just when they are asked.
const MAX_RACES: usize = 20;
/// Longer than any daemon takes to say that it is ready, or why not: it may wait for its predecessor.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Longer than any ready line.
const MAX_READY_BYTES: u64 = 64 << 10;
/// Before the second and the third.
const RESTART_DELAYS: [Duration; MAX_STARTS - 1] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Connects, starting the daemon first where nobody answers or an older one left for this version. Says whether it was
/// started. Where the system allows no sockets, a private daemon serves this command alone.
pub async fn connect_or_start(endpoint: &Endpoint) -> Result<(Client, bool), Fault> {
    // A file with a mistake in it forbids a start, not talking to a daemon that runs.
    let config = endpoint.project().map(Config::read_with_notes).transpose();
    if matches!(&config, Ok(Some((config, _))) if !config.daemon.enabled) {
        return connect(endpoint).await.map(|client| (client, false)).map_err(|fault| match fault.code {
            Code::DaemonNotRunning => Fault::new(
                Code::DaemonNotRunning,
                "no daemon runs, and this project's configuration forbids starting one",
            )
            .hint("set daemon.enabled to true in .offheap/config.json"),
            _ => fault,
        });
    }
    let exe = std::env::current_exe().map_err(|error| {
        Fault::new(Code::DaemonStartFailed, format!("cannot find this program's own file: {error}"))
    })?;
    let mut started = false;
    let (mut starts, mut races) = (0, 0);
    loop {
        let fault = match Client::connect_or_replace(endpoint, WHO).await {
            Ok(client) => return Ok((client, started)),
            Err(fault) => fault,
        };
        match fault.code {
            Code::DaemonNotRunning if starts < MAX_STARTS => {}
            // A daemon can have loopback TCP; where it cannot, it says so.
            Code::SocketsRefused if starts < MAX_STARTS => {}
            Code::SocketsRefused => return standalone(&exe, endpoint).await,
            Code::DaemonNotRunning => {
                let why = format!("the daemon was started {starts} times and was gone each time");
                let tail = log::tail(&endpoint.log());
                return Err(Fault::new(Code::DaemonStartFailed, format!("{why}; its log ends with:\n{tail}"))
                    .hint(format!("its log is `{}`; `offheap doctor` looks for the cause", endpoint.log().display())));
            }
            _ => return Err(fault),
        }
        let limited = config.as_ref().map_err(Clone::clone)?.iter().flat_map(|(_, notes)| notes);
        if starts == 0 {
            limited.for_each(|text| note(&format!("note: .offheap/config.json: {text}")));
        }
        if starts > 0 {
            tokio::time::sleep(RESTART_DELAYS[starts - 1]).await;
        }
        starts += 1;
        match spawn(&exe, endpoint).await {
            Ok(Ready::Ready { .. }) => started = true,
            // Another starter was faster, or the one that was there is about to leave.
            Ok(_) if races < MAX_RACES => (starts, races) = (starts - 1, races + 1),
            Ok(_) => {}
            Err(fault) if fault.code == Code::SocketsRefused => return standalone(&exe, endpoint).await,
            Err(fault) if fault.code == Code::DaemonStartFailed && starts < MAX_STARTS => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// Asks something of the daemon; of another one where it is lost. Every request can be repeated.
pub async fn ask<T>(endpoint: &Endpoint, work: impl AsyncFn(&Client) -> Result<T, Fault>) -> Result<T, Fault> {
    ask_on(endpoint, work, || 0).await
}

/// The same for work that goes on where a lost daemon ended: `reached` says how far it is.
pub async fn ask_on<T>(
    endpoint: &Endpoint,
    work: impl AsyncFn(&Client) -> Result<T, Fault>,
    reached: impl Fn() -> u64,
) -> Result<T, Fault> {
    let (mut crashes, mut races, mut before) = (0, 0, 0);
    loop {
        let (client, _) = connect_or_start(endpoint).await?;
        match work(&client).await {
            Err(fault) if fault.code == Code::DaemonLost && client.has_crashed() => {
                let now = reached();
                if crashes > 0 && now <= before || crashes > RESTART_DELAYS.len() {
                    // Its own doing, then: whoever comes next shall not meet the same.
                    let message = format!("the daemon crashed {} times while it worked on this request", crashes + 1);
                    return Err(
                        Fault::new(Code::Poisoned, message).hint(format!("its log is `{}`", endpoint.log().display()))
                    );
                }
                tokio::time::sleep(RESTART_DELAYS[crashes.min(RESTART_DELAYS.len() - 1)]).await;
                (crashes, before) = (crashes + 1, now);
            }
            // It left in order, which can happen now and then.
            Err(fault) if matches!(fault.code, Code::DaemonLost | Code::Leaving) && races < MAX_RACES => races += 1,
            outcome => return outcome,
        }
    }
}

/// What starts a daemon for others has done nothing where it can only have its own.
pub fn must_be_shared(client: &Client) -> Result<(), Fault> {
    if client.transport() != Transport::Pipes {
        return Ok(());
    }
    let fault =
        Fault::new(Code::SocketsRefused, "local sockets and loopback TCP are refused here: no daemon can be shared");
    Err(fault.hint("other commands run a private daemon each"))
}

/// A daemon of our own, over pipes: nothing is shared and everything is loaded for this command.
async fn standalone(exe: &Path, endpoint: &Endpoint) -> Result<(Client, bool), Fault> {
    note("local sockets and loopback TCP are refused here: running a private daemon for this command");
    let mut command = daemon_command(exe, endpoint);
    command.arg("--stdio").stderr(Stdio::null());
    Client::standalone(command, WHO).await.map(|client| (client, true))
}

/// The daemon, with the environment that is its business.
fn daemon_command(exe: &Path, endpoint: &Endpoint) -> Command {
    let mut command = Command::new(exe);
    command.arg("daemon").env_clear();
    command.envs(PASSED_ON.iter().filter_map(|name| Some((name, passed_on(name)?))));
    command.env("OFFHEAP_RUNTIME_DIR", endpoint.dir());
    if let Some(project) = endpoint.project() {
        command.arg("--project").arg(project);
    }
    if let Some(dir) = std::env::var_os("OFFHEAP_MODEL_DIR") {
        command.arg("--model-dir").arg(std::path::absolute(&dir).map_or(dir, PathBuf::into_os_string));
    }
    command
}

async fn spawn(exe: &Path, endpoint: &Endpoint) -> Result<Ready, Fault> {
    let began = std::time::SystemTime::now();
    let failed = |why: String| {
        let fault = Fault::new(Code::DaemonStartFailed, why + &last_words(endpoint, began));
        fault.hint(format!("its log is `{}`", endpoint.log().display()))
    };
    let mut command = daemon_command(exe, endpoint);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    detach(&mut command);
    let mut child = command.spawn().map_err(|error| failed(format!("cannot run `{}`: {error}", exe.display())))?;
    let pipe = child.stdout.take().expect("piped");
    // A thread of its own: a runtime would wait for it at its end, and Ctrl-C must not.
    let (sender, said) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let outcome = BufReader::new(pipe.take(MAX_READY_BYTES)).read_line(&mut line);
        let _ = sender.send(outcome.map(|_| line));
    });
    let line = match tokio::time::timeout(START_LIMIT, said).await {
        Ok(Ok(line)) => line.map_err(|error| failed(format!("cannot read from the daemon: {error}")))?,
        _ => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("`{}` did not say within {START_LIMIT:?} that it is ready", exe.display())));
        }
    };
    match serde_json::from_str(&line) {
        Ok(Ready::Error { code, message, hint }) => {
            let code = Code::TABLE
                .iter()
                .find(|(_, name, _)| *name == code)
                .map_or(Code::DaemonStartFailed, |(code, ..)| *code);
            Err(Fault { code, message, hint })
        }
        Ok(ready) => Ok(ready),
        Err(_) => {
            let _ = child.kill(); // it may say something else and stay
            let end = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(failed(format!("the daemon ended before it was ready ({end})")))
        }
    }
}

/// The end of the log, if a daemon wrote there since.
fn last_words(endpoint: &Endpoint, since: std::time::SystemTime) -> String {
    let path = endpoint.log();
    let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
    match log::tail(&path) {
        tail if !tail.is_empty() && written.is_ok_and(|at| at >= since) => format!("; it logged:\n{tail}"),
        _ => String::new(),
    }
}

/// A variable as the daemon needs it, which works from another directory.
fn passed_on(name: &str) -> Option<std::ffi::OsString> {
    let value = std::env::var_os(name)?;
    let is_file = name == "OFFHEAP_MODEL" && Path::new(&value).is_file();
    let is_dir = name == "HF_HOME";
    if is_file || is_dir {
        std::path::absolute(&value).ok().map(PathBuf::into_os_string).or(Some(value))
    } else {
        Some(value)
    }
}

/// A session of its own: the terminal's Ctrl-C and hang-up are not the daemon's.
#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: setsid is async-signal-safe, as code between fork and exec must be.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
}

/// No console of its own, and none of our handles.
#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    crate::os::windows::keep_standard_handles();
}
