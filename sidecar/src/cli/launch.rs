//! Running the daemon's program: its arguments, its environment, its ready line.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use offheap_protocol::ready::Ready;
use offheap_protocol::{Code, Endpoint, Fault};

use crate::log;

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

/// Longer than any daemon takes to say that it is ready, or why not: it may wait for its predecessor.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Longer than any ready line.
const MAX_READY_BYTES: u64 = 64 << 10;

/// A daemon for one client, over the pipes of its standard input and output.
pub fn private(exe: &Path, endpoint: &Endpoint) -> Command {
    let mut command = daemon_command(exe, endpoint);
    command.arg("--stdio").stderr(Stdio::null());
    command
}

pub async fn spawn(exe: &Path, endpoint: &Endpoint) -> Result<Ready, Fault> {
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
