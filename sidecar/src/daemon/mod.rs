//! Life of the daemon: become the owner, bind, report ready, serve, leave.
//!
//! # The rule of starting
//!
//! Until the ready line is written, the daemon does what its starter waits for and nothing else: parse arguments, read the
//! project's configuration, take the lock, bind the socket, start the threads that wait for work, write the ready line.
//!
//! *Forbidden before the ready line, and in `require('offheap')`*: opening or mapping a model, opening an index, walking a tree,
//! starting compute threads, static initialisers with work in them, network, `fork`.
//!
//! *Why*: every Node program that uses the package pays this time at its start, and every command of the command line pays it
//! when no daemon runs. Starting to the ready line takes about 10 ms, loading the default model about 20 ms more, a 4 GB model
//! seconds, opening a large index tens of milliseconds (`bench/NOTES.md`). A model that is missing or an index that is damaged
//! must fail a request, whose caller can be told what to do, and not the start.
//!
//! *Right*: hand the parts over closed, and open them in the first request that needs them, as [`Batcher::new`] and
//! [`Project::new`](crate::project::Project::new) do. *Wrong*: `Daemon { embedder: Embedder::open(..)?, .. }` in [`start`].
//!
//! *Enforced by* `__test__/start.test.mjs`: the time of `require` and of the way to the ready line, each as a ratio to an empty
//! program; and `__test__/heavy.test.mjs`: what the addon links and how much of it is touched.
//!
//! [`Batcher::new`]: crate::model::Batcher::new

mod answer;
mod clock;
mod clients;
mod idle;
mod limits;
mod metrics;
mod ownership;
mod permits;
mod private;
mod requests;
mod runs;
mod serve;
mod state;
mod sweep;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use offheap_engine::kernel;
use offheap_protocol::connection::{self, Accept, Transport};
use offheap_protocol::endpoint::canonical;
use offheap_protocol::ready::Ready;
use offheap_protocol::{Code, Endpoint, Fault};

use crate::config::{self, Config};
use crate::log::{self, error, info, warn};
use crate::os::signals::{self, Signals};
use crate::{VERSION, args, failpoint, fault, os};
use ownership::Lock;
use serve::serve;
use state::Daemon;

pub use runs::Runs;

/// How often the owner looks whether its lock, socket and project are in place, and whether it has memory to give back.
/// Starters wait longer than this for a lock.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How long requests in flight may take once the daemon leaves.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, mostly for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// Runs the daemon to its end.
pub fn main(options: &args::Daemon) -> ExitCode {
    os::close_inherited();
    // The usual message quotes what was worked on, and standard error is the log.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => error!("panic at {}:{}", at.file(), at.line()),
        None => error!("panic"),
    }));
    if options.stdio {
        return private::main(options);
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
    write_ready(&ready);
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
    lock: Lock,
    daemon: Arc<Daemon>,
    signals: Signals,
}

/// Becomes the owner of the endpoint and listens. The rule of starting (above) is about this function.
fn start(options: &args::Daemon) -> Result<Started, Fault> {
    let project = options.project.as_deref().map(canonical).transpose()?;
    let endpoint = Endpoint::new(project.clone())?;
    endpoint.prepare_dir()?;
    let config = project.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    let runtime = event_loop()?;
    // Refuse a kernel that this processor lacks now: its starter chose it, and later clients cannot mend that.
    if let Some(found) = config::kernel()
        && let Err(usable) = kernel::choose(Some(&found))
    {
        return Err(fault::from_engine(&offheap_engine::Error::Kernel { found, usable: usable.join(", ") }));
    }
    let Some(lock) = runtime.block_on(ownership::become_owner(&endpoint))? else {
        return Ok(Started::AlreadyRunning);
    };
    failpoint::pass("lock");
    log::begin(&endpoint.log()).map_err(|error| failed_at("cannot open the log file", &endpoint.log(), error))?;
    // Before the ready line: from then on the daemon can be asked to end in order.
    let signals = {
        let _context = runtime.enter();
        Signals::watch().map_err(|error| failed("cannot watch signals", error))?
    };
    ownership::remove_socket(&endpoint)
        .map_err(|(file, error)| failed_at("cannot remove a stale socket", &file, error))?;
    let accept = runtime.block_on(Accept::bind(&endpoint)).map_err(|error| bind_fault(&endpoint, error))?;
    failpoint::pass("bind");
    let fingerprints = endpoint.dir().join("fingerprints");
    let mut daemon = Daemon::new(options, &config, project, accept.transport(), Some(fingerprints))?;
    daemon.runs = Runs::begin(&endpoint.runs());
    if daemon.runs.crashes > 0 {
        warn!("{} of {} earlier daemons crashed", daemon.runs.crashes, daemon.runs.starts - 1);
    }
    let daemon = Arc::new(daemon);
    Ok(Started::Owner(Box::new(Owner { runtime, endpoint, accept, lock, daemon, signals })))
}

fn bind_fault(endpoint: &Endpoint, error: std::io::Error) -> Fault {
    let refused = connection::is_refusal(&error);
    let fault = failed(&format!("cannot listen at `{}`", endpoint.socket().display()), error);
    if !refused {
        return fault;
    }
    Fault { code: Code::SocketsRefused, ..fault }
        .hint("allow local sockets in that directory, or set OFFHEAP_RUNTIME_DIR to one where they are allowed")
}

fn failed(what: &str, error: std::io::Error) -> Fault {
    Fault::new(Code::DaemonStartFailed, format!("{what}: {error}"))
}

fn failed_at(what: &str, path: &Path, error: std::io::Error) -> Fault {
    failed(&format!("{what} `{}`", path.display()), error).hint("look at what is there, and remove it")
}

/// One thread for the sockets. Blocking work has short-lived threads of its own, of which `limits` gives out 14; leaving needs
/// two more, pipes on Windows two.
fn event_loop() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(20)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|error| failed("cannot start the event loop", error))
}

/// Tells the starter, once, then closes the pipe to it.
fn write_ready(ready: &Ready) {
    let line = serde_json::to_string(ready).expect("plain data");
    let mut stdout = std::io::stdout().lock();
    // A starter that is gone does not need to know.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    drop(stdout);
    let _ = os::null_device().and_then(|null| log::replace(&null, 1));
}

/// Serves until the daemon leaves.
fn run(owner: Owner) -> ExitCode {
    let Owner { runtime, endpoint, mut accept, lock, daemon, signals } = owner;
    signals::exit_on_lost_map();
    let _ = std::env::set_current_dir(endpoint.dir()); // the project's directory must stay removable
    let kind = endpoint.project().map_or("no project", |_| "project daemon");
    info!("ready: offheap {VERSION}, pid {}, {kind}", std::process::id());
    if accept.transport() == Transport::Tcp {
        warn!("local sockets are refused here: listening on loopback TCP");
    }
    runtime.block_on(async {
        tokio::spawn(idle::watch_idleness(daemon.clone(), true));
        tokio::spawn(leave_on(signals, daemon.clone()));
        let dir = endpoint.dir().to_path_buf();
        tokio::task::spawn_blocking(move || {
            sweep::sweep(&dir);
            config::sweep();
        });
        accept_until_leaving(&daemon, &endpoint, &mut accept, &lock).await;
        leave(&daemon, &endpoint, &accept, &lock).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    if lock.is_in_place() {
        Runs::end(&endpoint.runs());
    }
    info!("left");
    ExitCode::SUCCESS
}

async fn accept_until_leaving(daemon: &Arc<Daemon>, endpoint: &Endpoint, accept: &mut Accept, lock: &Lock) {
    let mut leaving = daemon.leaving.subscribe();
    let mut is_failing = false;
    let mut requests_at_rest = 0;
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = leaving.wait_for(|leaving| *leaving) => return,
            _ = upkeep.tick() => {
                give_back_memory_at_rest(daemon, &mut requests_at_rest);
                look_after_files(daemon, endpoint, accept, lock).await;
            }
            accepted = accept.accept() => match accepted {
                Ok(connection) => {
                    is_failing = false;
                    tokio::spawn(serve(daemon.clone(), connection));
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        error!("cannot accept: {error}");
                    }
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

/// Gives memory back to the system when requests were answered since the last time and none is in flight.
fn give_back_memory_at_rest(daemon: &Daemon, requests_at_rest: &mut u64) {
    let requests = daemon.requests.load(Ordering::Relaxed);
    if daemon.in_flight.load(Ordering::Acquire) == 0 && requests != *requests_at_rest {
        *requests_at_rest = requests;
        tokio::task::spawn_blocking(os::memory::give_back);
    }
}

/// Leaves when the project's directory or the lock file is no longer the daemon's; makes a removed socket again.
async fn look_after_files(daemon: &Daemon, endpoint: &Endpoint, accept: &mut Accept, lock: &Lock) {
    if daemon.project.as_ref().is_some_and(|project| !project.is_in_place()) {
        warn!("the project's directory was moved, deleted or made again; leaving");
        daemon.begin_leaving();
    } else if !lock.is_in_place() {
        warn!("the lock file was removed; leaving");
        daemon.begin_leaving();
    } else if ownership::socket_is_gone(endpoint, accept.transport()) {
        match Accept::bind(endpoint).await {
            Ok(again) => *accept = again,
            Err(error) => error!("the socket was removed and cannot be made again: {error}"),
        }
    }
}

/// Accepts no more clients, answers every request in flight, commits.
async fn leave(daemon: &Arc<Daemon>, endpoint: &Endpoint, accept: &Accept, lock: &Lock) {
    info!("leaving");
    // If another lock file is in place, the socket is a successor's.
    if lock.is_in_place() {
        let _ = ownership::remove_socket(endpoint);
    }
    failpoint::pass("leave");
    // Clients that connected before that get a proper answer. Bounded, because a name that outlives its listener lets new ones
    // in all the time.
    let backlog = async {
        while let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_millis(1), accept.accept()).await {
            tokio::spawn(serve(daemon.clone(), connection));
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(20), backlog).await;
    // A named pipe keeps its name until its last client leaves, a port its number: clients that still come are told to wait for
    // a successor.
    tokio::select! {
        () = drain(daemon) => {}
        () = accept_forever(daemon, accept) => {}
    }
    failpoint::pass("drained");
}

/// Waits until every request in flight is answered, everything is committed and the model thread has ended.
async fn drain(daemon: &Arc<Daemon>) {
    let deadline = tokio::time::Instant::now() + DRAIN;
    let project = daemon.project.clone();
    let closing = tokio::task::spawn_blocking(move || project.iter().for_each(|project| project.close()));
    let drained = async {
        let _ = closing.await;
        while daemon.in_flight.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout_at(deadline, drained).await.is_err() {
        warn!("{} requests did not end in time", daemon.in_flight.load(Ordering::Relaxed));
    }
    let batcher = daemon.batcher.clone();
    let _ = tokio::time::timeout(Duration::from_secs(2), tokio::task::spawn_blocking(move || batcher.shutdown())).await;
    tokio::time::sleep(Duration::from_millis(5)).await; // the last answers reach their sockets
}

async fn accept_forever(daemon: &Arc<Daemon>, accept: &Accept) {
    loop {
        match accept.accept().await {
            Ok(connection) => drop(tokio::spawn(serve(daemon.clone(), connection))),
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn leave_on(mut signals: Signals, daemon: Arc<Daemon>) {
    info!("{}", signals.next().await);
    daemon.begin_leaving();
}
