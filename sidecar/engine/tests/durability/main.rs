//! What the index promises about kills, damage, full disks, other processes and older builds.
//!
//! The long runs are ignored; each has its command in its comment.

#![allow(clippy::print_stdout)] // seeds and figures of a run

mod content;
mod damage;
#[cfg(unix)]
mod full;
mod kill;
mod old_format;
mod play;
mod readers;
mod steps;
mod upkeep;
