//! Life of the daemon: lock, bind, say so, serve, leave.
//!
//! **The rule of starting.** The order below is the design: arguments, lock, bind, ready line, and only then, when
//! a request needs them, the model, the compute threads and the index. Nothing heavy runs in a static initialiser,
//! nothing forks. Everything that could be slow or fail for reasons of the project happens where a client is
//! there to be told. Other files point here instead of repeating this.

pub mod limits;
pub mod metrics;
pub mod requests;
mod runs;
mod serve;
mod sweep;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use offheap_engine::kernel;
use offheap_protocol::connection::{self, Accept, Transport};
use offheap_protocol::ready::Ready;
use offheap_protocol::{Client, Code, Endpoint, Fault};
use tokio::sync::watch;

use crate::args;
use crate::config::{self, Config, DaemonConfig};
use crate::daemon::limits::Limits;
use crate::daemon::metrics::Metrics;
use crate::daemon::requests::Daemon;
use crate::daemon::serve::serve;
use crate::failpoint;
use crate::fault;
use crate::log::{self, log};
use crate::model::file;
use crate::model::queue::Batcher;
use crate::project::Project;

pub use runs::Runs;

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Exit code when the model file was cut or replaced under its map; a client starts the daemon again.
#[cfg(unix)] // Windows does not let a mapped file be cut
pub const EXIT_MAP_LOST: u8 = 75;

/// How long a leaving predecessor is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(15); // longer than `DRAIN` and what follows it
/// How often the owner looks whether its lock, its socket and its project are still there, and gives back memory when it has
/// nothing to do. Starters wait longer than that.
const LOOK_AT_OWN_FILES: Duration = Duration::from_secs(5);
/// How long requests in flight may take once the daemon leaves.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs the daemon to its end.
pub fn main(options: &args::Daemon) -> ExitCode {
    close_inherited();
    // The usual text quotes what was worked on, and standard error is the log.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => log!("panic at {}:{}", at.file(), at.line()),
        None => log!("panic"),
    }));
    if options.stdio {
        return standalone(options);
    }
    let outcome = start(options);
    let ready = match &outcome {
        Ok(Started::Owner(_)) => Ready::Ready { pid: std::process::id(), version: VERSION.to_owned() },
        Ok(Started::AlreadyRunning) => Ready::AlreadyRunning,
        Err(fault) => Ready::Error {
            code: fault.code.as_str().to_owned(),
            message: fault.message.clone(),
            hint: fault.hint.clone(),
        },
    };
    say_ready(&ready);
    failpoint::pass("ready");
    match outcome {
        Ok(Started::Owner(owner)) => run(*owner),
        Ok(Started::AlreadyRunning) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

enum Started {
    Owner(Box<Owner>),
    AlreadyRunning,
}

/// What the owner of an endpoint holds for its whole life.
struct Owner {
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    accept: Accept,
    /// Never unlinked by us: that would let two processes hold "the" lock.
    lock: File,
    daemon: Arc<Daemon>,
    config: DaemonConfig,
    signals: Signals,
}

fn start(options: &args::Daemon) -> Result<Started, Fault> {
    let project = options.project.as_deref().map(offheap_protocol::endpoint::canonical).transpose()?;
    let endpoint = Endpoint::new(project.clone())?;
    endpoint.prepare_dir()?;
    let config = project.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    let runtime = event_loop()?;
    // A kernel that this processor lacks is the error of who asked for it, not of everybody who comes later.
    if let Some(found) = config::kernel()
        && let Err(usable) = kernel::choose(Some(&found))
    {
        return Err(fault::from_engine(&offheap_engine::Error::Kernel { found, usable: usable.join(", ") }));
    }
    let Some(lock) = runtime.block_on(become_owner(&endpoint))? else { return Ok(Started::AlreadyRunning) };
    failpoint::pass("lock");
    log::begin(&endpoint.log()).map_err(|error| failed_at("cannot open the log file", &endpoint.log(), error))?;
    // Before the socket and the ready line: whoever knows of us may end us properly.
    let signals = {
        let _context = runtime.enter();
        Signals::watch().map_err(|error| failed("cannot watch signals", error))?
    };
    // What a predecessor left: only the lock's holder may remove it.
    clear(&endpoint).map_err(|(file, error)| failed_at("cannot remove a stale socket", &file, error))?;
    let accept = runtime.block_on(Accept::bind(&endpoint)).map_err(|error| {
        let refused = connection::is_refusal(&error);
        let fault = failed(&format!("cannot listen at `{}`", endpoint.socket().display()), error);
        if !refused {
            return fault;
        }
        Fault { code: Code::SocketsRefused, ..fault }
            .hint("allow local sockets in that directory, or set OFFHEAP_RUNTIME_DIR to one where they are allowed")
    })?;
    failpoint::pass("bind");
    let fingerprints = endpoint.dir().join("fingerprints");
    let daemon = daemon(options, &config, project, accept.transport(), Some(fingerprints))?;
    let runs = Runs::begin(&endpoint.runs());
    if runs.crashes > 0 {
        log!("{} of {} predecessors ended without a word", runs.crashes, runs.starts - 1);
    }
    let daemon = Arc::new(Daemon { runs, ..daemon });
    Ok(Started::Owner(Box::new(Owner { runtime, endpoint, accept, lock, daemon, config: config.daemon, signals })))
}

fn failed(what: &str, error: std::io::Error) -> Fault {
    Fault::new(Code::DaemonStartFailed, format!("{what}: {error}"))
}

fn failed_at(what: &str, path: &Path, error: std::io::Error) -> Fault {
    failed(&format!("{what} `{}`", path.display()), error).hint("look at what stands there, and remove it")
}

/// One thread for the sockets; blocking work has its own, short-lived ones.
fn event_loop() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(20) // `limits.rs` gives out 14; leaving needs two, pipes on Windows two
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|error| failed("cannot start the event loop", error))
}

/// What requests share. Nothing is loaded or opened yet.
fn daemon(
    options: &args::Daemon,
    config: &Config,
    project: Option<PathBuf>,
    transport: Transport,
    fingerprints: Option<PathBuf>,
) -> Result<Daemon, Fault> {
    let model_dir = options.model_dir.clone();
    let (named, root) = (config.model.clone(), project.clone());
    let source = Box::new(move || file::resolve(&named, root.as_deref(), model_dir.as_deref()));
    let batcher = Batcher::new(source, fingerprints).map_err(|error| failed("cannot start the model thread", error))?;
    Ok(Daemon {
        batcher: Arc::new(batcher),
        project: project.map(|root| Arc::new(Project::new(root))),
        started: Instant::now(),
        transport,
        runs: Runs { starts: 1, ..Runs::default() },
        connections: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        requests: AtomicU64::new(0),
        last_use_ms: AtomicU64::new(0),
        faults: AtomicU64::new(0),
        limits: Limits::new(),
        metrics: Metrics::default(),
        leaving: watch::channel(false).0,
    })
}

/// Serves one client over our own standard streams: no lock, no socket, no ready line. It ends with that client. An
/// index that another process owns is read, not written.
fn standalone(options: &args::Daemon) -> ExitCode {
    let prepare = || -> Result<_, Fault> {
        let project = options.project.as_deref().map(offheap_protocol::endpoint::canonical).transpose()?;
        let config = project.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let runtime = event_loop()?;
        let connection = {
            let _context = runtime.enter();
            connection::standard_streams().map_err(|error| failed("standard input and output must be pipes", error))?
        };
        let daemon = Arc::new(daemon(options, &config, project, Transport::Pipes, None)?);
        Ok((runtime, connection, daemon, config.daemon))
    };
    let (runtime, connection, daemon, config) = match prepare() {
        Ok(prepared) => prepared,
        Err(fault) => {
            log!("{}: {}", fault.code, fault.message);
            return ExitCode::FAILURE;
        }
    };
    leave_on_lost_map();
    // A stray line or read must not meet the frames.
    let _ = null_device().and_then(|null| log::replace(&null, 0).and_then(|()| log::replace(&null, 1)));
    runtime.block_on(async {
        // Nobody else can come, so being idle only empties the caches.
        tokio::spawn(watch_idleness(daemon.clone(), config, false));
        if let Ok(signals) = Signals::watch() {
            tokio::spawn(leave_on(signals, daemon.clone()));
        }
        let mut leaving = daemon.leaving.subscribe();
        let mut serving = tokio::spawn(serve(daemon.clone(), connection));
        tokio::select! {
            _ = &mut serving => {}
            _ = leaving.wait_for(|leaving| *leaving) => {} // it says so, and goes on answering
        }
        drain(&daemon).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ExitCode::SUCCESS
}

/// Whether `file` is what `path` names. Cleaners of temporary directories remove what was not used for long.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let of = |meta: std::io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
        of(file.metadata()).is_some_and(|ours| of(std::fs::symlink_metadata(path)) == Some(ours))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists() // an open file cannot be removed there
    }
}

/// Whether the file by which clients find us is gone.
fn is_nowhere(endpoint: &Endpoint, transport: Transport) -> bool {
    match transport {
        Transport::Local => cfg!(unix) && !endpoint.socket().exists(),
        Transport::Tcp => !endpoint.door().exists(),
        Transport::Pipes => false,
    }
}

/// Removes the endpoint's socket and the file that says how to reach it otherwise.
fn clear(endpoint: &Endpoint) -> Result<(), (PathBuf, std::io::Error)> {
    let mut files = vec![endpoint.door()];
    if cfg!(unix) {
        files.push(endpoint.socket());
    }
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err((file, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Waits for the lock. `None`: another daemon holds it and answers.
async fn become_owner(endpoint: &Endpoint) -> Result<Option<File>, Fault> {
    let patience = Instant::now() + LOCK_PATIENCE;
    let open = || {
        let path = endpoint.lock();
        log::open_private(&path).map_err(|error| failed_at("cannot open the lock file", &path, error))
    };
    let mut lock = open()?;
    loop {
        match lock.try_lock() {
            Ok(()) if is_at(&lock, &endpoint.lock()) => return Ok(Some(lock)),
            // Removed between opening and locking, with all that an endpoint left that nobody uses any more.
            Ok(()) => {
                lock = open()?;
                continue;
            }
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(Fault::new(
                    Code::DaemonStartFailed,
                    format!("cannot lock `{}`: {error}", endpoint.lock().display()),
                ));
            }
        }
        // The holder is up, coming up, or leaving; only one that says hello counts, or says that we are outdated.
        match Client::connect(endpoint, "offheap-starting").await {
            Ok(_) => return Ok(None),
            Err(fault) if fault.code == Code::ClientTooOld => return Ok(None),
            // A sandbox, and an owner outside of it: waiting would not open that. One of our kind has no socket; it is coming
            // up or leaving.
            Err(fault) if fault.code == Code::SocketsRefused && endpoint.socket().exists() => return Err(fault),
            Err(_) => {}
        }
        if Instant::now() > patience {
            let lock = endpoint.lock();
            return Err(Fault::new(
                Code::DaemonUnresponsive,
                format!("another process holds `{}` and does not answer", lock.display()),
            )
            .hint("look for a stopped or stuck `offheap` process; `offheap restart --force` ends it if it accepts connections"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn run(owner: Owner) -> ExitCode {
    let Owner { runtime, endpoint, mut accept, lock, daemon, config, signals } = owner;
    leave_on_lost_map();
    let _ = std::env::set_current_dir(endpoint.dir()); // the project's directory must stay removable
    log!(
        "ready: offheap {VERSION}, pid {}, {}",
        std::process::id(),
        endpoint.project().map_or("no project", |_| "project daemon")
    );
    if accept.transport() == Transport::Tcp {
        log!("local sockets are refused here: listening on loopback TCP");
    }
    runtime.block_on(async {
        let mut leaving = daemon.leaving.subscribe();
        let mut failing = false;
        let mut given_back = 0;
        let mut look = tokio::time::interval(LOOK_AT_OWN_FILES);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::spawn(watch_idleness(daemon.clone(), config, true));
        tokio::spawn(leave_on(signals, daemon.clone()));
        let dir = endpoint.dir().to_path_buf();
        tokio::task::spawn_blocking(move || sweep::sweep(&dir));
        loop {
            tokio::select! {
                biased;
                _ = leaving.wait_for(|leaving| *leaving) => break,
                _ = look.tick() => {
                    let requests = daemon.requests.load(Ordering::Relaxed);
                    if daemon.in_flight.load(Ordering::Acquire) == 0 && requests != given_back {
                        given_back = requests;
                        tokio::task::spawn_blocking(crate::os::memory::give_back);
                    }
                    if daemon.project.as_ref().is_some_and(|project| !project.is_in_place()) {
                        log!("the project's directory was moved, deleted or made again");
                        daemon.leaving.send_replace(true);
                    } else if !is_at(&lock, &endpoint.lock()) {
                        log!("the lock file is gone, and with it the way to us");
                        daemon.leaving.send_replace(true);
                    } else if is_nowhere(&endpoint, accept.transport()) {
                        match Accept::bind(&endpoint).await {
                            Ok(again) => accept = again,
                            Err(error) => log!("the socket is gone and cannot be made again: {error}"),
                        }
                    }
                }
                accepted = accept.accept() => match accepted {
                    Ok(connection) => {
                        failing = false;
                        tokio::spawn(serve(daemon.clone(), connection));
                    }
                    Err(error) => {
                        // Out of descriptors, mostly: let some connections end.
                        if !std::mem::replace(&mut failing, true) {
                            log!("cannot accept: {error}");
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
            }
        }
        leave(&daemon, &endpoint, &accept, &lock).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    if is_at(&lock, &endpoint.lock()) {
        Runs::end(&endpoint.runs());
    }
    log!("left");
    ExitCode::SUCCESS
}

/// Drains: nobody new, everybody in flight answered, everything committed.
async fn leave(daemon: &Arc<Daemon>, endpoint: &Endpoint, accept: &Accept, lock: &File) {
    log!("leaving");
    // Under the lock what is there is ours; where another lock is in its place it is a successor's.
    if is_at(lock, &endpoint.lock()) {
        let _ = clear(endpoint);
    }
    failpoint::pass("leave");
    // Who connected before that gets a proper answer.
    let backlog = async {
        while let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_millis(1), accept.accept()).await {
            tokio::spawn(serve(daemon.clone(), connection));
        }
    };
    // Bounded, because a name that outlives its listener lets new ones in all the time.
    let _ = tokio::time::timeout(Duration::from_millis(20), backlog).await;
    // A named pipe keeps its name until its last client leaves, a port its number: who still comes is told to wait for a
    // successor.
    tokio::select! {
        () = drain(daemon) => {}
        () = greet_late(daemon, accept) => {}
    }
    failpoint::pass("drained");
}

/// Everybody in flight is answered, everything is committed, the model thread has ended.
async fn drain(daemon: &Arc<Daemon>) {
    let patience = tokio::time::Instant::now() + DRAIN;
    let project = daemon.project.clone();
    let closing = tokio::task::spawn_blocking(move || project.iter().for_each(|project| project.close()));
    let drained = async {
        let _ = closing.await;
        while daemon.in_flight.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout_at(patience, drained).await.is_err() {
        log!("{} requests did not end in time", daemon.in_flight.load(Ordering::Relaxed));
    }
    let batcher = daemon.batcher.clone();
    let _ = tokio::time::timeout(Duration::from_secs(2), tokio::task::spawn_blocking(move || batcher.shutdown())).await;
    tokio::time::sleep(Duration::from_millis(5)).await; // last answers reach their sockets
}

/// Accepts without end.
async fn greet_late(daemon: &Arc<Daemon>, accept: &Accept) {
    loop {
        match accept.accept().await {
            Ok(connection) => drop(tokio::spawn(serve(daemon.clone(), connection))),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Drops caches when nothing was asked for `ttl`, and leaves, if it may, when nothing was for as long as configured.
async fn watch_idleness(daemon: Arc<Daemon>, config: DaemonConfig, may_leave: bool) {
    let ttl = config.ttl();
    let longest_idle = config.longest_idle();
    let mut evicted = None;
    loop {
        tokio::time::sleep(config.check_interval()).await;
        let last_use = daemon.last_use_ms.load(Ordering::Relaxed);
        if daemon.in_flight.load(Ordering::Acquire) > 0 {
            continue;
        }
        if may_leave && daemon.idle_for() >= longest_idle {
            log!("idle for {longest_idle:?}");
            daemon.leaving.send_replace(true);
            return;
        }
        if daemon.idle_for() >= ttl && evicted != Some(last_use) {
            daemon.batcher.evict();
            daemon.metrics.evicted();
            if let Some(project) = &daemon.project {
                project.evict();
            }
            crate::os::memory::give_back();
            evicted = Some(last_use);
        }
    }
}

/// Requests of the system to end, from when they are watched.
#[cfg(unix)]
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

/// Requests of the system to end, from when they are watched.
#[cfg(windows)]
struct Signals {
    ctrl_c: tokio::signal::windows::CtrlC,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

impl Signals {
    #[cfg(unix)]
    fn watch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    #[cfg(windows)]
    fn watch() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_shutdown};
        Ok(Signals { ctrl_c: ctrl_c()?, shutdown: ctrl_shutdown()? })
    }
}

async fn leave_on(mut signals: Signals, daemon: Arc<Daemon>) {
    #[cfg(unix)]
    tokio::select! {
        _ = signals.term.recv() => log!("SIGTERM"),
        _ = signals.int.recv() => log!("SIGINT"),
    }
    #[cfg(windows)]
    tokio::select! {
        _ = signals.ctrl_c.recv() => log!("Ctrl-C"),
        _ = signals.shutdown.recv() => log!("the system shuts down"),
    }
    daemon.leaving.send_replace(true);
}

/// Lets go of descriptors that the starter left open for its children: a shell that waits for the end of its pipe must
/// not wait for us. Standard input, output and error are the starter's promise to us.
#[cfg(unix)]
fn close_inherited() {
    let list = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(list) else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: nothing of ours is open yet, so whatever is numbered here was inherited; closing a number that is
        // not open (the listing's own) only fails.
        unsafe { libc::close(descriptor) };
    }
}

/// Windows: the starter keeps its handles to itself (`windows.rs`, `keep_standard_handles`; Node does the same).
#[cfg(not(unix))]
fn close_inherited() {}

/// Tells the starter, once, then lets go of its pipe.
fn say_ready(ready: &Ready) {
    let line = serde_json::to_string(ready).expect("plain data");
    let mut stdout = std::io::stdout().lock();
    // A starter that is gone does not need to know.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    drop(stdout);
    let _ = null_device().and_then(|null| log::replace(&null, 1));
}

/// Reads nothing and takes everything.
fn null_device() -> std::io::Result<File> {
    File::options().read(true).write(true).open(if cfg!(windows) { "NUL" } else { "/dev/null" })
}

/// Reading a page of a mapped file that was cut is SIGBUS, from which no thread can recover: say so and leave with
/// a code of its own, so that the next call starts a fresh daemon, which checks the file.
fn leave_on_lost_map() {
    #[cfg(unix)]
    {
        extern "C" fn on_sigbus(_: libc::c_int) {
            let text = b"a mapped file was cut or its disk failed; leaving\n";
            // SAFETY: write and _exit may be called from a signal handler; the buffer is static.
            unsafe {
                libc::write(2, text.as_ptr().cast(), text.len());
                libc::_exit(EXIT_MAP_LOST.into());
            }
        }
        // SAFETY: the handler only calls functions that are safe in one.
        unsafe { libc::signal(libc::SIGBUS, on_sigbus as *const () as libc::sighandler_t) };
    }
}
