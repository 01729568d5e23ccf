//! Reaching the daemon, started where none runs, and asking again where it is lost. `sidecar/start.js` does the same from Node.

use std::path::Path;
use std::time::Duration;

use offheap_protocol::connection::Transport;
use offheap_protocol::ready::Ready;
use offheap_protocol::{Client, Code, Endpoint, Fault};

use super::launch;
use super::output::note;
use crate::config::Config;
use crate::log;

/// Who we are in the daemon's status.
const WHO: &str = concat!("offheap-cli ", env!("CARGO_PKG_VERSION"));

/// Connects to the endpoint's daemon if there is one.
pub async fn connect(endpoint: &Endpoint) -> Result<Client, Fault> {
    Client::connect(endpoint, WHO).await
}

/// Starts in a row: a third daemon that dies is not chance.
const MAX_STARTS: usize = 3;
/// Daemons in a row that leave just when they are asked.
const MAX_RACES: usize = 20;
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
        match launch::spawn(&exe, endpoint).await {
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
    Client::standalone(launch::private(exe, endpoint), WHO).await.map(|client| (client, true))
}
