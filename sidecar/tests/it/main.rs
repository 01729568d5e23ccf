//! Tests of the program as a user sees it: processes, sockets, commands.
//!
//! Every test has its own runtime directory, home and project, so that tests can run at the same time. Tests do not sleep for a
//! fixed time: they poll a condition until a deadline.

mod support;
mod source;
mod layering;
mod structure;
#[cfg(unix)]
mod schema;
#[cfg(unix)]
mod settings;
#[cfg(unix)]
mod lifecycle;
#[cfg(unix)]
mod socket;
#[cfg(target_os = "linux")]
mod load;
#[cfg(unix)]
mod border;
#[cfg(unix)]
mod cli;
#[cfg(unix)]
mod search;
#[cfg(unix)]
mod content;
#[cfg(unix)]
mod traces;
#[cfg(unix)]
mod privacy;
#[cfg(unix)]
mod filters;
#[cfg(target_os = "linux")]
mod change;
#[cfg(unix)]
mod upgrade;
#[cfg(unix)]
mod recovery;
#[cfg(target_os = "linux")]
mod retry;
#[cfg(target_os = "linux")]
mod fallback;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod truth;
#[cfg(target_os = "linux")]
mod soak;
