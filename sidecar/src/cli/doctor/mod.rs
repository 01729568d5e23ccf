//! `offheap doctor`: checks for known problems, in the order in which a first call would meet them. Creates the runtime directory
//! and the lock file as that call would, and nothing else that stays. Starts no daemon. Reads every byte of the index.

mod check;
mod daemon;
mod machine;
mod project;

use std::process::ExitCode;

use offheap_protocol::{Endpoint, Fault};

use super::output::json::{Check, CheckState, DoctorReport, path_text};
use super::output::{out, text};
use super::target::endpoint;
use crate::args::Common;

/// Runs every check and prints them. The exit code is 1 if there is a problem.
pub async fn doctor(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(common)?;
    let checks = checks(&endpoint).await;
    let problems = checks.iter().filter(|check| check.state == CheckState::Problem).count();
    if common.json {
        let project = endpoint.project().map(path_text);
        out(&DoctorReport { problems, project, checks: &checks });
    } else {
        text::checks(&checks, problems);
    }
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every check, in the order in which a first call would meet the problem.
async fn checks(endpoint: &Endpoint) -> Vec<Check> {
    let runtime = daemon::runtime_dir(endpoint);
    let usable = runtime.state != CheckState::Problem;
    let mut found = vec![machine::program(), runtime];
    if usable {
        found.push(daemon::sockets(endpoint).await);
        found.extend(daemon::daemon(endpoint).await);
        found.extend(daemon::history(endpoint));
    }
    let mut config = None;
    if let Some(root) = endpoint.project() {
        let (checks, read) = project::configuration(root);
        found.extend(checks);
        found.extend(project::index(root));
        found.extend(project::watches());
        config = read;
    }
    found.push(machine::model(&config.unwrap_or_default().model, endpoint.project()));
    found.push(machine::processor());
    found.extend(machine::disk("disk of the runtime directory", endpoint.dir()));
    if let Some(root) = endpoint.project() {
        found.extend(machine::disk("disk of the project", root));
    }
    found
}
