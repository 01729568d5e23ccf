//! The ready line: what a starting daemon tells whoever started it, once, on its standard output.
//!
//! One line of JSON, so that JavaScript can read it without this crate.

use serde::{Deserialize, Serialize};

/// The line's three shapes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// The socket is bound and answers.
    Ready {
        /// The daemon's process id.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// Another daemon holds the endpoint and answers there.
    AlreadyRunning,
    /// It could not start.
    Error {
        /// A [`crate::Code`] by name.
        code: String,
        /// What happened.
        message: String,
        /// What to do about it; may be empty.
        hint: String,
    },
}
