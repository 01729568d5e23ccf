//! `offheap start`: starts the daemon, or says that it runs.

use std::process::ExitCode;

use offheap_protocol::Fault;
use serde_json::json;

use super::connect;
use super::output::{self, out};
use super::target::endpoint;
use crate::args::Common;

pub async fn start(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(common)?;
    let (client, started) = connect::connect_or_start(&endpoint).await?;
    connect::must_be_shared(&client)?;
    if common.json {
        out(
            &json!({ "running": true, "started": started, "version": client.version(), "project": endpoint.project() }),
        );
    } else {
        output::say(if started { "Started." } else { "Already running." });
    }
    Ok(ExitCode::SUCCESS)
}
