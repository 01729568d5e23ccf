//! `offheap index`: brings the project's index up to date.

use std::process::ExitCode;
use std::time::Duration;

use offheap_protocol::connection::Payload;
use offheap_protocol::message::{self, Progress, Request, Response};
use offheap_protocol::{Client, Endpoint, Fault};
use tokio::sync::watch;

use super::calls::status_of;
use super::output::json::IndexReport;
use super::output::progress::Bar;
use super::output::{note, out, text};
use super::target::project;
use super::{connect, exit};
use crate::{args, config};

pub async fn index(args: &args::Index) -> Result<ExitCode, Fault> {
    let root = project(&args.common)?;
    config::init(&root)?;
    let endpoint = Endpoint::new(Some(root.clone()))?;
    // After a crash, the next run continues from the last commit.
    let reached = std::cell::RefCell::new(None);
    let run =
        connect::ask_on(&endpoint, async |client| run_index(args, client, &reached).await, || reached.borrow().clone());
    let Some(report) = run.await? else {
        return Ok(ExitCode::from(exit::INTERRUPTED));
    };
    if args.common.json {
        out(&IndexReport::new(&root, &report));
    } else {
        text::index(&root, &report);
    }
    Ok(ExitCode::SUCCESS)
}

/// One index run; `None` if the user interrupted it. `reached` gets its progress.
async fn run_index(
    args: &args::Index,
    client: &Client,
    reached: &std::cell::RefCell<Option<Progress>>,
) -> Result<Option<message::IndexReport>, Fault> {
    let (sender, mut progress) = watch::channel(Progress::default());
    let bar = (!args.quiet).then(Bar::new);
    let request = client.call(Request::Index { rebuild: args.rebuild }, Payload::None, None, Some(sender));
    let mut request = std::pin::pin!(request);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let reply = loop {
        tokio::select! {
            reply = &mut request => break reply,
            Ok(()) = progress.changed() => {
                let progress = progress.borrow_and_update().clone();
                if let Some(bar) = &bar {
                    bar.show(&progress);
                }
                reached.replace(Some(progress));
            }
            _ = &mut interrupted => {
                drop(bar);
                // A cancelled run commits what it has.
                note("stopping; finished work is kept, and `offheap index` continues it");
                stop_indexing(client).await;
                return Ok(None);
            }
        }
    };
    match reply?.response {
        Response::Indexed(report) => Ok(Some(report)),
        other => Err(other.unexpected()),
    }
}

/// Cancels the requests of this connection, and waits at most 2 s until the run has ended.
async fn stop_indexing(client: &Client) {
    client.cancel_all();
    let ending = async {
        while matches!(status_of(client).await, Ok(status) if status.indexing) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), ending).await;
}
