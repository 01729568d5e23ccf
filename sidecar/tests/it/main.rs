//! The binary as its users see it: processes, sockets, commands.
//!
//! Every test has its own runtime directory, home and project, so all of them run side by side. Nothing waits for a
//! fixed time: conditions are polled up to a deadline.

mod support;
mod layering;
mod structure;
#[cfg(unix)]
mod schema;
#[cfg(unix)]
mod lifecycle;
#[cfg(unix)]
mod socket;
#[cfg(target_os = "linux")]
mod load;
#[cfg(unix)]
mod cli;
#[cfg(unix)]
mod search;
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
