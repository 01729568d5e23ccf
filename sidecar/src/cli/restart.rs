//! `offheap restart`: stops the daemon and starts a new one. With `--force` a daemon that does not respond is killed.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use offheap_protocol::codec::Purpose;
use offheap_protocol::{Client, Code, Endpoint, Fault, connection};

use super::calls::ask_to_leave;
use super::connect;
use super::output::json::{RestartReport, path_text};
use super::output::{self, out};
use super::target::endpoint;
use crate::config::Config;
use crate::{args, log};

/// How long the system may take to free a killed daemon's lock.
const LOCK_RELEASE_LIMIT: Duration = Duration::from_secs(10);

pub async fn restart(args: &args::Restart) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(&args.common)?;
    // Checked first: a daemon that could not be started again is not stopped.
    if let Some(project) = endpoint.project()
        && !Config::read(project)?.daemon.enabled
    {
        return Err(Fault::new(Code::ConfigInvalid, "this project's configuration forbids starting a daemon")
            .hint("set daemon.enabled to true in .offheap/config.json, or use `offheap stop`"));
    }
    let mut killed = None;
    match try_to_stop(&endpoint).await {
        Ok(()) => {}
        Err((fault, _)) if matches!(fault.code, Code::DaemonNotRunning | Code::DaemonLost | Code::SocketsRefused) => {}
        Err((fault, asked)) if args.force && is_stuck(&fault) => killed = kill(&endpoint, asked).await?,
        Err((fault, _)) => return Err(fault),
    }
    let (client, _) = connect::connect_or_start(&endpoint).await?;
    connect::must_be_shared(&client)?;
    if args.common.json {
        let project = endpoint.project().map(path_text);
        out(&RestartReport { restarted: true, killed, version: client.version(), project });
    } else {
        if let Some(pid) = killed {
            output::note(&format!("process {pid} did not respond and was killed"));
        }
        output::say("Restarted.");
    }
    Ok(ExitCode::SUCCESS)
}

fn is_stuck(fault: &Fault) -> bool {
    matches!(fault.code, Code::DaemonUnresponsive | Code::Timeout)
}

/// Asks the daemon to shut down. A failure comes with the daemon's process id, if there was a connection.
async fn try_to_stop(endpoint: &Endpoint) -> Result<(), (Fault, Option<u32>)> {
    let client: Client = connect::connect(endpoint).await.map_err(|fault| (fault, None))?;
    ask_to_leave(&client).await.map_err(|fault| (fault, client.peer_pid()))
}

/// Kills the process at the other end of a connection to the endpoint, and gives its id. The system tells the id; one from a
/// file could be outdated.
///
/// `None` if another daemon has replaced the stuck one meanwhile. `asked` is the process that was asked to shut down.
async fn kill(endpoint: &Endpoint, asked: Option<u32>) -> Result<Option<u32>, Fault> {
    let cannot = |why: &str| {
        Fault::new(Code::DaemonUnresponsive, format!("cannot kill the daemon: {why}"))
            .hint("find the stuck `offheap` process and kill it")
    };
    // While the connection is open, the process id of its peer cannot be reused.
    let mut connection = match connection::connect(endpoint).await {
        Ok(connection) => connection,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(cannot(&error.to_string())),
    };
    let pid = connection.peer_pid().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| cannot("this system does not tell its process id"))?;
    let greeted = tokio::time::timeout(Duration::from_secs(1), connection.greet(Purpose::Talk)).await;
    if matches!(greeted, Ok(Ok(_))) && asked != Some(pid) {
        return Ok(None);
    }
    if !is_offheap(pid) {
        return Err(cannot(&format!("process {pid}, which listens at its endpoint, is not offheap")));
    }
    end(pid).map_err(|error| cannot(&format!("process {pid}: {error}")))?;
    drop(connection);
    let lock = log::open_private(&endpoint.lock()).map_err(|error| cannot(&error.to_string()))?;
    let deadline = Instant::now() + LOCK_RELEASE_LIMIT;
    while lock.try_lock().is_err() {
        if Instant::now() > deadline {
            return Err(cannot(&format!("process {pid} was killed, but its lock is still held")));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Some(pid))
}

/// Whether a process runs a program named `offheap...`. Only Linux tells; elsewhere always true.
fn is_offheap(pid: u32) -> bool {
    if !cfg!(target_os = "linux") {
        return true; // it listens at our endpoint, in a directory that only this user can enter
    }
    let Ok(exe) = std::fs::read_link(format!("/proc/{pid}/exe")) else { return false };
    // An update replaces the file of a running daemon: Linux then appends " (deleted)".
    let name = exe.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.trim_end_matches(" (deleted)").starts_with("offheap")
}

#[cfg(unix)]
fn end(pid: u32) -> std::io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, Signal::KILL)?) // ends a stopped process, too
}

#[cfg(windows)]
fn end(pid: u32) -> std::io::Result<()> {
    use windows_sys::Win32::Foundation::CloseHandle;
    use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_TERMINATE, TerminateProcess};
    // SAFETY: the handle is checked, used and closed here.
    unsafe {
        let process = OpenProcess(PROCESS_TERMINATE, 0, pid);
        if process.is_null() {
            return Err(std::io::Error::last_os_error());
        }
        let ended = TerminateProcess(process, 1);
        let error = std::io::Error::last_os_error();
        CloseHandle(process);
        if ended == 0 { Err(error) } else { Ok(()) }
    }
}
