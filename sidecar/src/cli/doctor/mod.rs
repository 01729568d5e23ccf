//! `offheap doctor`: checks for known problems, in the order in which a first call would meet them. Creates the runtime directory
//! and the lock file as that call would, and nothing else that stays. Starts no daemon. Reads every byte of the index.

mod bundle;
mod check;
mod daemon;
mod machine;
mod mask;
mod project;

use std::process::ExitCode;

use offheap_protocol::{Endpoint, Fault};

use super::output::json::{Check, CheckState, DoctorReport, path_text};
use super::output::{out, say, text};
use super::target::endpoint;
use crate::args;

/// Runs every check and prints them, and writes the bundle if one is asked for. The exit code is 1 if there is a problem.
pub async fn doctor(args: &args::Doctor) -> Result<ExitCode, Fault> {
    let common = &args.common;
    let endpoint = endpoint(common)?;
    // First, because the checks take a while and a file that cannot be written needs none.
    let target = args.bundle.as_ref().map(|named| bundle::Target::create(named.as_deref())).transpose()?;
    let checks = checks(&endpoint).await;
    let bundle = match target {
        Some(target) => Some(target.write(&endpoint, &checks).await?),
        None => None,
    };
    let problems = checks.iter().filter(|check| check.state == CheckState::Problem).count();
    if common.json {
        let project = endpoint.project().map(path_text);
        out(&DoctorReport { problems, project, checks: &checks, bundle });
    } else {
        text::checks(&checks, problems);
        if let Some(path) = bundle {
            say(&format!("Wrote {path}"));
            say("It holds these checks, the status, the numbers of the configuration and the end of the log:");
            say("no queries, no contents, no names of your files. Read it before you send it.");
        }
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
