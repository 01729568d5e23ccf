//! `offheap start`: starts the daemon, or says that it runs.

use std::process::ExitCode;

use offheap_protocol::Fault;

use super::connect;
use super::output::json::{StartReport, path_text};
use super::output::{self, out};
use super::target::endpoint;
use crate::args::Common;

pub async fn start(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(common)?;
    let (client, started) = connect::connect_or_start(&endpoint).await?;
    connect::must_be_shared(&client)?;
    if common.json {
        let project = endpoint.project().map(path_text);
        out(&StartReport { running: true, started, version: client.version(), project });
    } else {
        output::say(if started { "Started." } else { "Already running." });
    }
    Ok(ExitCode::SUCCESS)
}
