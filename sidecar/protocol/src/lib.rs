//! What two processes must agree on: messages, frames, where the socket is, and the client.
//!
//! Reading order: [`message`] has the requests and responses, [`codec`] encodes them, [`endpoint`] says where the socket and
//! its lock are and who may use them, [`border`] which directory is a project, [`connection`] sends and receives whole frames over a socket, [`client`] keeps many
//! requests in flight on one connection. The bytes are documented in `README.md`.

pub mod message;
pub mod codec;
pub mod endpoint;
pub mod border;
pub mod runtime_dir;
pub mod connection;
pub mod client;
pub mod ready;
#[cfg(unix)]
pub mod unix;
#[cfg(windows)]
pub mod windows;

pub use client::{Client, EmbedOptions, Reply};
pub use endpoint::Endpoint;
pub use message::{Code, Fault, Progress, Request, Response};
