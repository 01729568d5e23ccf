//! Requests that more than one command makes, and what their failures mean.

use std::time::{Duration, Instant};

use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Request, Response, StatusReport};
use offheap_protocol::{Client, Code, Fault};

/// The daemon's status.
pub async fn status_of(client: &Client) -> Result<StatusReport, Fault> {
    let deadline = Some(Duration::from_secs(10));
    match client.call(Request::Status, Payload::None, deadline, None).await?.response {
        Response::Status(status) => Ok(*status),
        other => Err(other.unexpected()),
    }
}

/// Asks the daemon to shut down, and waits until it has.
pub async fn ask_to_leave(client: &Client) -> Result<(), Fault> {
    match client.call(Request::Shutdown, Payload::None, Some(Duration::from_secs(10)), None).await {
        // It is shutting down already.
        Err(fault) if matches!(fault.code, Code::DaemonLost | Code::Leaving) => {}
        outcome => drop(outcome?),
    }
    // The daemon keeps the connection until it ends.
    let deadline = Instant::now() + Duration::from_secs(15);
    while !client.is_closed() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if client.is_closed() {
        return Ok(());
    }
    Err(Fault::new(Code::DaemonUnresponsive, "the daemon was asked to shut down and still runs")
        .hint("`offheap restart --force` kills it"))
}

/// Runs `work` until Ctrl-C, which drops the request and thereby cancels it in the daemon.
pub async fn interruptible<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Fault::new(Code::Cancelled, "interrupted")),
    }
}

/// Whether a failed call means that no daemon runs at the endpoint, or that it stopped during the call.
pub fn means_not_running(fault: &Fault) -> bool {
    matches!(fault.code, Code::DaemonNotRunning | Code::DaemonLost | Code::Leaving | Code::SocketsRefused)
}
