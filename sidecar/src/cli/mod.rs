//! Commands: thin clients of the daemon. Data on standard output, everything else on standard error.

mod doctor;
mod embed;
mod index;
mod init;
mod pull;
mod restart;
mod search;
mod start;
mod status;
mod stop;
mod target;
mod why;
mod connect;
mod launch;
mod retry;
mod calls;
mod exit;
mod output;

use std::process::ExitCode;

use offheap_protocol::{Code, Endpoint, Fault};

use crate::args::{self, Command};
use output::json::ErrorReport;
use output::out;

/// Runs one command and gives its exit code.
pub fn main(command: Command) -> ExitCode {
    let json = match &command {
        Command::Init(args) => args.json,
        Command::Pull(args) => args.json,
        Command::Index(args::Index { common, .. })
        | Command::Search(args::Search { common, .. })
        | Command::Embed(args::Embed { common, .. })
        | Command::Why(args::Why { common, .. })
        | Command::Status(common)
        | Command::Start(common)
        | Command::Stop(common) => common.json,
        Command::Restart(args) => args.common.json,
        Command::Doctor(args) => args.common.json,
        Command::Daemon(_) => false,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Fault::new(Code::Io, format!("cannot start the event loop: {error}")), json),
    };
    if let Some(note) = Endpoint::new(None).ok().as_ref().and_then(Endpoint::note) {
        output::note(&format!("note: {note}"));
    }
    match runtime.block_on(run(command)) {
        Ok(code) => code,
        Err(fault) => fail(&fault, json),
    }
}

/// Prints a failure, with `json` also as a document, and gives its exit code.
fn fail(fault: &Fault, json: bool) -> ExitCode {
    if json {
        out(&ErrorReport::new(fault));
    }
    output::error(fault);
    ExitCode::from(match fault.code {
        Code::Cancelled => exit::INTERRUPTED,
        Code::DaemonNotRunning => exit::NOTHING,
        _ => 1,
    })
}

async fn run(command: Command) -> Result<ExitCode, Fault> {
    match command {
        Command::Init(args) => init::init(&args),
        Command::Index(args) => index::index(&args).await,
        Command::Search(args) => search::search(&args).await,
        Command::Why(args) => why::why(&args),
        Command::Embed(args) => embed::embed(args).await,
        Command::Status(common) => status::status(&common).await,
        Command::Start(common) => start::start(&common).await,
        Command::Stop(common) => stop::stop(&common).await,
        Command::Restart(args) => restart::restart(&args).await,
        Command::Doctor(args) => doctor::doctor(&args).await,
        Command::Pull(args) => pull::pull(&args),
        Command::Daemon(_) => unreachable!("main.rs runs the daemon itself, without a client's event loop"),
    }
}
