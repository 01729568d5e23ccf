//! Starting a daemon from the command line. `index.js` does the same from Node.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Config;
use offheap_protocol::ready::Ready;
use offheap_protocol::{Client, Code, Endpoint, Fault};

/// Who we are in the daemon's status.
const WHO: &str = concat!("offheap-cli ", env!("CARGO_PKG_VERSION"));

/// Variables that the daemon is given. Others stay behind: it outlives the shell that happened to start it.
const PASSED_ON: [&str; 17] = [
    "HOME",
    "USERPROFILE",
    "LOCALAPPDATA",
    "SystemRoot",
    "TEMP",
    "TMP",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
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
    if endpoint.dir().exists() {
        endpoint.prepare_dir()?; // never talk through a directory that others control
    }
    Client::connect(endpoint, WHO).await
}

/// Connects, starting the daemon first where nobody answers. Says whether it was started.
pub async fn connect_or_start(endpoint: &Endpoint) -> Result<(Client, bool), Fault> {
    match connect(endpoint).await {
        Err(fault) if fault.code == Code::DaemonNotRunning => {}
        other => return other.map(|client| (client, false)),
    }
    if let Some(project) = endpoint.project()
        && !Config::read(project)?.daemon.enabled
    {
        return Err(Fault::new(
            Code::DaemonNotRunning,
            "no daemon runs, and this project's configuration forbids starting one",
        )
        .hint("set daemon.enabled to true in .offheap/config.json"));
    }
    let exe = std::env::current_exe().map_err(|error| {
        Fault::new(Code::DaemonStartFailed, format!("cannot find this program's own file: {error}"))
    })?;
    // A daemon that leaves just then is seen as none: the second start waits it out behind its lock.
    for attempt in 0..3 {
        let ready = spawn(&exe, endpoint)?;
        match connect(endpoint).await {
            Err(fault) if fault.code == Code::DaemonNotRunning && attempt < 2 => {}
            other => return other.map(|client| (client, matches!(ready, Ready::Ready { .. }))),
        }
    }
    unreachable!("the last attempt returns")
}

fn spawn(exe: &Path, endpoint: &Endpoint) -> Result<Ready, Fault> {
    let failed = |why: String| {
        Fault::new(Code::DaemonStartFailed, why).hint(format!("its log is `{}`", endpoint.log().display()))
    };
    let mut command = Command::new(exe);
    command.arg("daemon").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.envs(PASSED_ON.iter().filter_map(|name| Some((name, passed_on(name)?))));
    command.env("OFFHEAP_RUNTIME_DIR", endpoint.dir());
    if let Some(project) = endpoint.project() {
        command.arg("--project").arg(project);
    }
    if let Some(dir) = std::env::var_os("OFFHEAP_MODEL_DIR") {
        command.arg("--model-dir").arg(std::path::absolute(&dir).map_or(dir, PathBuf::into_os_string));
    }
    detach(&mut command);
    let mut child = command.spawn().map_err(|error| failed(format!("cannot run `{}`: {error}", exe.display())))?;
    let mut line = String::new();
    let pipe = child.stdout.take().expect("piped above");
    BufReader::new(pipe)
        .read_line(&mut line)
        .map_err(|error| failed(format!("cannot read from the daemon: {error}")))?;
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
            let end = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(failed(format!("the daemon ended before it was ready ({end})")))
        }
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

/// No console of its own, and none of ours.
#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}
