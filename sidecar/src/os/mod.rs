//! What differs between systems, behind functions that are named the same on each.

pub mod memory;
#[cfg(windows)]
pub mod windows;
