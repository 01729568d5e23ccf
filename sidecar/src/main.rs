//! One binary: the daemon, and the command line that talks to it.

mod args;
mod cli;
mod config;
mod start;
mod daemon;
mod serve;
mod handler;
mod limits;
mod metrics;
mod projects;
mod watch;
mod batcher;
mod fair;
mod models;
mod secret;
mod fault;
mod failpoint;
mod log;
mod memory;
#[cfg(windows)]
mod windows;

use std::process::ExitCode;

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
