//! One binary: the daemon, and the command line that talks to it.

mod args;
mod cli;
mod config;
mod daemon;
mod project;
mod model;
mod secret;
mod fault;
mod failpoint;
mod log;
#[cfg(test)]
mod schema_file;
mod os;

use std::process::ExitCode;

/// Version of the package.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why taking a lock cannot fail, for `expect`.
const UNPOISONED: &str = "no code that panics runs under this lock";

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match args.command {
        args::Command::Daemon(options) => daemon::main(&options),
        command => cli::main(command),
    }
}
