//! `offheap stop`: asks the daemon to finish and leave. Never starts one.

use std::process::ExitCode;

use offheap_protocol::Fault;

use super::calls::{ask_to_leave, means_not_running};
use super::output::json::{StopReport, path_text};
use super::output::{self, out};
use super::target::endpoint_or_gone;
use super::{connect, exit};
use crate::args::Common;

pub async fn stop(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint_or_gone(common)?;
    let stopped = match connect::connect(&endpoint).await {
        Ok(client) => {
            ask_to_leave(&client).await?;
            true
        }
        Err(fault) if means_not_running(&fault) => false,
        Err(fault) => return Err(fault),
    };
    if common.json {
        out(&StopReport { stopped, project: endpoint.project().map(path_text) });
    } else {
        output::say(if stopped { "Stopped." } else { "No daemon is running here." });
    }
    Ok(if stopped { ExitCode::SUCCESS } else { ExitCode::from(exit::NOTHING) })
}
