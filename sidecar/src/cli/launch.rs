//! Running the daemon's program: its arguments, its environment, its ready line.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use offheap_protocol::ready::Ready;
use offheap_protocol::{Code, Endpoint, Fault};

use crate::log;

/// The environment variables that a starter hands on to the daemon, as JSON. Node reads the same file.
const ENVIRONMENT: &str = include_str!("../../../lib/environment.json");
/// How long a daemon may take to say that it is ready, or why not. It may wait 15 s for its predecessor.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The longest first line that is read from a daemon.
const MAX_READY_BYTES: u64 = 64 << 10;

/// A daemon for one client, over the pipes of its standard input and output.
pub fn private(exe: &Path, endpoint: &Endpoint) -> Command {
    let mut command = daemon_command(exe, endpoint);
    command.arg("--stdio").stderr(Stdio::null());
    command
}

/// A daemon that is ready.
pub struct Started {
    /// The process that was started. It has ended where another process's daemon runs already.
    pub child: Child,
    /// Whether the daemon that is ready is that process.
    pub is_ours: bool,
}

/// Why no daemon became ready.
pub struct StartFailure {
    pub fault: Fault,
    /// Whether the process ended before it said anything.
    pub crashed: bool,
}

/// Starts a daemon that outlives this process, and waits for its first line.
pub async fn start(exe: &Path, endpoint: &Endpoint) -> Result<Started, StartFailure> {
    let began = SystemTime::now();
    let failed = |why: String| {
        let fault = Fault::new(Code::DaemonStartFailed, why + &new_log_lines(endpoint, began));
        let fault =
            fault.hint(format!("its log is `{}`; `offheap doctor` looks for the cause", endpoint.log().display()));
        StartFailure { fault, crashed: false }
    };
    let mut command = daemon_command(exe, endpoint);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    detach(&mut command);
    let mut child = command.spawn().map_err(|error| failed(format!("cannot run `{}`: {error}", exe.display())))?;
    let line = match tokio::time::timeout(START_LIMIT, first_line(&mut child)).await {
        Ok(line) => line.map_err(|error| failed(format!("cannot read from the daemon: {error}")))?,
        Err(_) => {
            let _ = end(child);
            return Err(failed(format!("`{}` did not say within {START_LIMIT:?} that it is ready", exe.display())));
        }
    };
    match serde_json::from_str(&line) {
        Ok(Ready::Ready { .. }) => Ok(Started { child, is_ours: true }),
        Ok(Ready::AlreadyRunning) => Ok(Started { child, is_ours: false }),
        Ok(Ready::Error { code, message, hint }) => {
            let known = Code::TABLE.iter().find(|(_, name, _)| *name == code);
            let code = known.map_or(Code::DaemonStartFailed, |(code, ..)| *code);
            Err(StartFailure { fault: Fault { code, message, hint }, crashed: false })
        }
        Err(_) if line.ends_with('\n') || line.len() as u64 == MAX_READY_BYTES => {
            let _ = end(child);
            let start: String = line.chars().take(200).collect();
            Err(failed(format!("the daemon said {start:?} instead of being ready")))
        }
        Err(_) => {
            let status = end(child).map_or_else(|error| error.to_string(), |status| status.to_string());
            let failure = failed(format!("the daemon ended before it was ready ({status})"));
            Err(StartFailure { crashed: true, ..failure })
        }
    }
}

/// What a daemon writes to standard output until the end of its first line.
async fn first_line(child: &mut Child) -> io::Result<String> {
    let pipe = child.stdout.take().expect("piped");
    let (sender, line) = tokio::sync::oneshot::channel();
    // Not a task of the runtime: its end would wait for the read, and Ctrl-C must not.
    std::thread::spawn(move || {
        let mut line = String::new();
        let outcome = BufReader::new(pipe.take(MAX_READY_BYTES)).read_line(&mut line);
        let _ = sender.send(outcome.map(|_| line));
    });
    line.await.map_err(io::Error::other)?
}

/// Kills a process, if it still runs, and gives how it ended.
fn end(mut child: Child) -> io::Result<ExitStatus> {
    let _ = child.kill();
    child.wait()
}

/// The program, arguments and environment of an endpoint's daemon.
fn daemon_command(exe: &Path, endpoint: &Endpoint) -> Command {
    let mut command = Command::new(exe);
    command.arg("daemon").env_clear();
    for name in passed_on() {
        if let Some(value) = value_for_daemon(&name) {
            command.env(name, value);
        }
    }
    command.env("OFFHEAP_RUNTIME_DIR", endpoint.dir());
    if let Some(project) = endpoint.project() {
        command.arg("--project").arg(project);
    }
    if let Some(dir) = std::env::var_os("OFFHEAP_MODEL_DIR") {
        command.arg("--model-dir").arg(std::path::absolute(&dir).map_or(dir, PathBuf::into_os_string));
    }
    command
}

/// Names of the environment variables that a daemon is given. Others stay behind: it outlives the shell that started it.
fn passed_on() -> Vec<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Environment {
        passed_on: Vec<String>,
    }
    let environment: Environment = serde_json::from_str(ENVIRONMENT).expect("a committed file, read by a test");
    environment.passed_on
}

/// The end of the log for an error's message; empty where the log was not written since `since`.
fn new_log_lines(endpoint: &Endpoint, since: SystemTime) -> String {
    let path = endpoint.log();
    let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
    match log::tail(&path) {
        tail if !tail.is_empty() && written.is_ok_and(|at| at >= since) => format!("; its log ends with:\n{tail}"),
        _ => String::new(),
    }
}

/// A variable's value for the daemon, which has another working directory: relative paths are made absolute.
fn value_for_daemon(name: &str) -> Option<std::ffi::OsString> {
    let value = std::env::var_os(name)?;
    let is_file = name == "OFFHEAP_MODEL" && Path::new(&value).is_file();
    let is_dir = name == "HF_HOME";
    if is_file || is_dir {
        std::path::absolute(&value).ok().map(PathBuf::into_os_string).or(Some(value))
    } else {
        Some(value)
    }
}

/// Gives the daemon a session of its own, so that it does not get the terminal's Ctrl-C and hang-up.
#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let new_session = || {
        let _ = rustix::process::setsid(); // fails only for the leader of a session, which a new process is not
        Ok(())
    };
    // SAFETY: setsid is async-signal-safe, as code between fork and exec must be.
    unsafe { command.pre_exec(new_session) };
}

/// Gives the daemon no console, and none of this process's handles.
#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    crate::os::windows::keep_standard_handles();
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_of_variables_can_be_read() {
        let names = super::passed_on();
        assert!(names.contains(&"HOME".to_owned()) && names.contains(&"OFFHEAP_RUNTIME_DIR".to_owned()), "{names:?}");
    }
}
