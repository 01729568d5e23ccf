//! `offheap index`: brings the project's index up to date.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use offheap_protocol::connection::Payload;
use offheap_protocol::message::{self, Progress, Request, Response};
use offheap_protocol::{Client, Code, Endpoint, Fault};
use tokio::sync::watch;

use super::calls::status_of;
use super::output::json::IndexReport;
use super::output::progress::Bar;
use super::output::{note, out, text};
use super::target::project;
use super::{connect, exit};
use crate::args;
use crate::project::width::check_width;

pub async fn index(args: &args::Index) -> Result<ExitCode, Fault> {
    let root = project(&args.common)?;
    check_width(&root, args.force)?;
    let endpoint = Endpoint::new(Some(root.clone()))?;
    // After a crash, the next run continues from the last commit.
    let reached = std::cell::RefCell::new(None);
    let run = async |force: bool| {
        let work = async |client: &Client| run_index(args, force, client, &reached).await;
        connect::ask_on(&endpoint, work, || reached.borrow().clone()).await
    };
    let outcome = match run(args.force).await {
        Err(fault) if fault.code == Code::NeedsForce && is_wanted(args, &fault) => run(true).await,
        outcome => outcome,
    };
    let Some(report) = outcome? else {
        return Ok(ExitCode::from(exit::INTERRUPTED));
    };
    if args.common.json {
        out(&IndexReport::new(&root, &report));
    } else {
        text::index(&root, &report);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks on a terminal whether a very large tree is to be indexed.
fn is_wanted(args: &args::Index, fault: &Fault) -> bool {
    if args.common.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    note(&fault.message);
    note("Index all of it? [y/N]");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// One index run; `None` if the user interrupted it. `reached` gets its progress.
async fn run_index(
    args: &args::Index,
    force: bool,
    client: &Client,
    reached: &std::cell::RefCell<Option<Progress>>,
) -> Result<Option<message::IndexReport>, Fault> {
    let (sender, mut progress) = watch::channel(Progress::default());
    let bar = (!args.quiet).then(Bar::new);
    let request = client.call(Request::Index { rebuild: args.rebuild, force }, Payload::None, None, Some(sender));
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
