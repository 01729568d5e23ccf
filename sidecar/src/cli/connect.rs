//! Reaching the daemon: connecting, starting it where none runs, and asking again where it is lost. What follows a failure is
//! decided in `retry.rs`. `index.js` does the same for Node.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use offheap_protocol::connection::Transport;
use offheap_protocol::message::Progress;
use offheap_protocol::{Client, Code, Endpoint, Fault};

use super::launch::{self, StartFailure};
use super::output::note;
use super::retry::{During, Failure, History, PAUSE_SPREAD, Step, has_progressed, next_step};
use crate::config::{Config, DaemonConfig};
use crate::log;

/// This program's name in the daemon's status.
const CLIENT_NAME: &str = concat!("offheap-cli ", env!("CARGO_PKG_VERSION"));
/// How long to wait for the exit of a daemon that was ready and cannot be reached.
const EXIT_WAIT: Duration = Duration::from_millis(50);

/// Connects to the endpoint's daemon if there is one.
pub async fn connect(endpoint: &Endpoint) -> Result<Client, Fault> {
    Client::connect(endpoint, CLIENT_NAME).await
}

/// Connects, starting the daemon first where none runs or an older one left for this version. Returns whether it was
/// started. Where the system allows no sockets, a private daemon serves this command alone.
pub async fn connect_or_start(endpoint: &Endpoint) -> Result<(Client, bool), Fault> {
    Connector::new(endpoint)?.connect().await
}

/// Sends a request with `work`, again on another daemon where one is lost. Every request can be repeated.
pub async fn ask<T>(endpoint: &Endpoint, work: impl AsyncFn(&Client) -> Result<T, Fault>) -> Result<T, Fault> {
    ask_on(endpoint, work, || None).await
}

/// As [`ask`], for an index run, which continues where a lost daemon ended: `reached` is its last progress.
pub async fn ask_on<T>(
    endpoint: &Endpoint,
    work: impl AsyncFn(&Client) -> Result<T, Fault>,
    reached: impl Fn() -> Option<Progress>,
) -> Result<T, Fault> {
    let mut connector = Connector::new(endpoint)?;
    let mut history = connector.new_history();
    let mut reached_before = reached();
    loop {
        let (client, _) = connector.connect().await?;
        let fault = match work(&client).await {
            Ok(done) => return Ok(done),
            Err(fault) => fault,
        };
        let crashed = fault.code == Code::DaemonLost && client.has_crashed();
        if crashed && history.may_start {
            connector.crashes += 1;
            history.call_crashes += 1;
            let reached_now = reached();
            history.progressed = has_progressed(reached_before.as_ref(), reached_now.as_ref());
            reached_before = reached_now;
        }
        history.crashes = connector.crashes;
        let step = next_step(Failure { code: fault.code, during: During::Call, crashed }, history, &connector.config);
        if !crashed || !history.may_start {
            history.races += 1;
        }
        match step {
            Step::Retry | Step::StartPrivate => {}
            Step::Pause(ms) => pause(ms).await,
            Step::GiveUp(Code::Poisoned) => return Err(poisoned(endpoint, history.call_crashes)),
            Step::GiveUp(_) => return Err(fault),
        }
    }
}

/// Fails where `client` has a private daemon: a command that starts a daemon for others has then done nothing.
pub fn must_be_shared(client: &Client) -> Result<(), Fault> {
    if client.transport() != Transport::Pipes {
        return Ok(());
    }
    let fault =
        Fault::new(Code::SocketsRefused, "local sockets and loopback TCP are refused here: no daemon can be shared");
    Err(fault.hint("other commands run a private daemon each"))
}

/// Connects one command to its daemon, as often as it needs to.
struct Connector<'a> {
    endpoint: &'a Endpoint,
    exe: PathBuf,
    config: DaemonConfig,
    /// Why no daemon can be started with the project's configuration, if so. One that runs can still be asked.
    config_fault: Option<Fault>,
    /// Values of the configuration that are limited; printed before the first start.
    config_notes: Vec<String>,
    /// Crashes of daemons that this command saw.
    crashes: u32,
}

impl<'a> Connector<'a> {
    fn new(endpoint: &'a Endpoint) -> Result<Self, Fault> {
        let exe = std::env::current_exe().map_err(|error| {
            Fault::new(Code::DaemonStartFailed, format!("cannot find this program's own file: {error}"))
        })?;
        let (config, config_notes, config_fault) = match endpoint.project().map(Config::read_with_notes).transpose() {
            Ok(read) => {
                let (config, notes) = read.unwrap_or_default();
                (config.daemon, notes, None)
            }
            Err(fault) => (DaemonConfig::default(), Vec::new(), Some(fault)),
        };
        Ok(Connector { endpoint, exe, config, config_fault, config_notes, crashes: 0 })
    }

    fn new_history(&self) -> History {
        History { crashes: self.crashes, call_crashes: 0, progressed: false, races: 0, may_start: self.config.enabled }
    }

    /// Connects; starts daemons while none runs and `retry.rs` says so. Returns whether one was started.
    async fn connect(&mut self) -> Result<(Client, bool), Fault> {
        let mut history = self.new_history();
        let mut started = false;
        let mut child = None;
        loop {
            let fault = match self.connect_once().await {
                Ok(client) => return Ok((client, started)),
                Err(fault) => fault,
            };
            if let Some(child) = child.take() {
                match has_crashed(child).await {
                    true => self.count_crash(&mut history),
                    false => history.races += 1,
                }
            }
            let failure = Failure { code: fault.code, during: During::Connect, crashed: false };
            match next_step(failure, history, &self.config) {
                Step::Retry => {}
                Step::Pause(ms) => pause(ms).await,
                Step::StartPrivate => return self.start_private().await,
                Step::GiveUp(code) => return Err(self.cannot_connect(fault, code)),
            }
            if fault.code == Code::Leaving {
                history.races += 1;
                continue;
            }
            let failure = match self.start().await? {
                Ok(daemon) => {
                    started |= daemon.is_ours;
                    child = Some(daemon.child);
                    continue;
                }
                Err(failure) => failure,
            };
            if failure.crashed {
                self.count_crash(&mut history);
            }
            let StartFailure { fault, crashed } = failure;
            match next_step(Failure { code: fault.code, during: During::Start, crashed }, history, &self.config) {
                Step::Retry => {}
                Step::Pause(ms) => pause(ms).await,
                Step::StartPrivate => return self.start_private().await,
                Step::GiveUp(_) => return Err(self.cannot_start(fault, crashed)),
            }
        }
    }

    /// Connects to a daemon that runs. An older one is asked to leave first, where another may be started.
    async fn connect_once(&self) -> Result<Client, Fault> {
        match self.config.enabled {
            true => Client::connect_or_replace(self.endpoint, CLIENT_NAME).await,
            false => connect(self.endpoint).await,
        }
    }

    fn count_crash(&mut self, history: &mut History) {
        self.crashes += 1;
        history.crashes = self.crashes;
        history.call_crashes += 1;
    }

    /// Starts a daemon, unless the configuration has a mistake.
    async fn start(&mut self) -> Result<Result<launch::Started, StartFailure>, Fault> {
        if let Some(fault) = &self.config_fault {
            return Err(fault.clone());
        }
        for text in self.config_notes.drain(..) {
            note(&format!("note: .offheap/config.json: {text}"));
        }
        Ok(launch::start(&self.exe, self.endpoint).await)
    }

    /// Runs a daemon over pipes. No other process can use it, and it ends with this command.
    async fn start_private(&self) -> Result<(Client, bool), Fault> {
        note("local sockets and loopback TCP are refused here: running a private daemon for this command");
        Client::standalone(launch::private(&self.exe, self.endpoint), CLIENT_NAME).await.map(|client| (client, true))
    }

    /// The error of a connection that could not be opened, given up with `code`.
    fn cannot_connect(&self, fault: Fault, code: Code) -> Fault {
        if code != fault.code {
            let message = format!("the daemon crashed {}, and is not started again", times(self.crashes));
            return with_log(self.endpoint, Fault::new(code, message + &log_tail(self.endpoint)));
        }
        if code != Code::DaemonNotRunning || self.config.enabled {
            return fault;
        }
        Fault::new(code, "no daemon runs, and this project's configuration forbids starting one")
            .hint("set daemon.enabled to true in .offheap/config.json")
    }

    /// The error of the last start.
    fn cannot_start(&self, fault: Fault, crashed: bool) -> Fault {
        if !crashed || self.crashes < 2 {
            return fault;
        }
        let message = format!("the daemon crashed {}; the last time: {}", times(self.crashes), fault.message);
        Fault { message, ..fault }
    }
}

/// Whether a daemon that was ready and cannot be reached has crashed: it ended with an error or by a signal.
async fn has_crashed(mut child: Child) -> bool {
    let exited = async {
        loop {
            match child.try_wait() {
                Ok(None) => tokio::time::sleep(Duration::from_millis(5)).await,
                outcome => return outcome.is_ok_and(|status| status.is_some_and(|status| !status.success())),
            }
        }
    };
    tokio::time::timeout(EXIT_WAIT, exited).await.unwrap_or(false)
}

/// Waits about `ms` milliseconds: see [`PAUSE_SPREAD`].
async fn pause(ms: u32) {
    let mut random = [0; 4];
    // Without randomness the pause is merely the same for everybody.
    let share =
        getrandom::fill(&mut random).map_or(0.5, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX));
    let spread = 1.0 + PAUSE_SPREAD * (2.0 * share - 1.0);
    tokio::time::sleep(Duration::from_secs_f64(f64::from(ms) / 1e3 * spread)).await;
}

fn poisoned(endpoint: &Endpoint, crashes: u32) -> Fault {
    let message = format!("the daemon crashed {} while it worked on this request", times(crashes));
    with_log(endpoint, Fault::new(Code::Poisoned, message))
}

fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

fn with_log(endpoint: &Endpoint, fault: Fault) -> Fault {
    fault.hint(format!("its log is `{}`; `offheap doctor` looks for the cause", endpoint.log().display()))
}

fn log_tail(endpoint: &Endpoint) -> String {
    match log::tail(&endpoint.log()) {
        tail if tail.is_empty() => String::new(),
        tail => format!("; its log ends with:\n{tail}"),
    }
}
