//! `offheap status`: what the daemon is doing. Never starts one.

use std::process::ExitCode;

use offheap_protocol::Fault;

use super::calls::{means_not_running, status_of};
use super::output::json::{Status, StatusDocument, path_text};
use super::output::{self, out, text};
use super::target::endpoint_or_gone;
use super::{connect, exit};
use crate::args::Common;

pub async fn status(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint_or_gone(common)?;
    let asked = match connect::connect(&endpoint).await {
        Ok(client) => status_of(&client).await,
        Err(fault) => Err(fault),
    };
    let status = match asked {
        Ok(status) => status,
        // Where sockets are refused, each command runs a private daemon: none is shared.
        Err(fault) if means_not_running(&fault) => {
            if common.json {
                out(&StatusDocument::not_running(endpoint.project().map(path_text)));
            } else {
                output::say("No daemon is running here.");
            }
            return Ok(ExitCode::from(exit::NOTHING));
        }
        Err(fault) => return Err(fault),
    };
    if common.json {
        out(&StatusDocument::Running(Box::new(Status::new(&status))));
    } else {
        text::status(&status);
    }
    Ok(ExitCode::SUCCESS)
}
