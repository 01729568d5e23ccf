//! The ready line: what a daemon that starts tells the process that started it, once, on its standard output.
//!
//! It is one line of JSON, so that JavaScript can read it without this crate.

use serde::{Deserialize, Serialize};

/// The content of the ready line: `{"ready":{...}}`, `"already_running"` or `{"error":{...}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// The daemon listens at its endpoint.
    Ready {
        /// The daemon's process id.
        pid: u32,
        /// Version of the daemon's package.
        version: String,
    },
    /// Another daemon owns the endpoint and answers there; the one that was started has exited.
    AlreadyRunning,
    /// The daemon could not start.
    Error {
        /// Name of a [`crate::Code`].
        code: String,
        /// What happened.
        message: String,
        /// What to do about it; may be empty.
        hint: String,
    },
}
