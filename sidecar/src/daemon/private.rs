//! A private daemon: serves the one client that started it over standard input and output, where sockets are refused. It has
//! no lock, no socket and no ready line, and ends with its client. An index that another process owns is read, not written.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use offheap_protocol::Fault;
use offheap_protocol::connection::{self, Connection, Transport};
use offheap_protocol::endpoint::canonical;

use super::serve::serve;
use super::state::Daemon;
use super::{drain, event_loop, failed, idle, leave_on};
use crate::config::Config;
use crate::log::{self, error};
use crate::os::signals::{self, Signals};
use crate::{args, os};

struct Private {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
    daemon: Arc<Daemon>,
}

/// Serves the client to its end.
pub fn main(options: &args::Daemon) -> ExitCode {
    let Private { runtime, connection, daemon } = match prepare(options) {
        Ok(private) => private,
        Err(fault) => {
            error!("the private daemon cannot begin: {}", log::Masked(&fault));
            return ExitCode::FAILURE;
        }
    };
    signals::exit_on_lost_map();
    // Frames alone go over the standard streams: a stray print or read must not meet them.
    let _ = os::null_device().and_then(|null| log::replace(&null, 0).and_then(|()| log::replace(&null, 1)));
    runtime.block_on(async {
        tokio::spawn(idle::watch_idleness(daemon.clone(), false));
        if let Ok(signals) = Signals::watch() {
            tokio::spawn(leave_on(signals, daemon.clone()));
        }
        let mut leaving = daemon.leaving.subscribe();
        let mut serving = tokio::spawn(serve(daemon.clone(), connection));
        tokio::select! {
            _ = &mut serving => {}
            _ = leaving.wait_for(|leaving| *leaving) => {} // `serve` tells the client and goes on answering
        }
        drain(&daemon).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ExitCode::SUCCESS
}

fn prepare(options: &args::Daemon) -> Result<Private, Fault> {
    let project = options.project.as_deref().map(canonical).transpose()?;
    let config = project.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    let runtime = event_loop()?;
    let connection = {
        let _context = runtime.enter();
        connection::standard_streams().map_err(|error| failed("standard input and output must be pipes", error))?
    };
    let daemon = Arc::new(Daemon::new(options, &config, project, Transport::Pipes, None)?);
    Ok(Private { runtime, connection, daemon })
}
