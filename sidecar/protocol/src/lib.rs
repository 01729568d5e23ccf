//! What two processes must agree on: messages, frames, where the socket lives, and the client.
//!
//! Reading order: [`message`] says what can be asked and answered, [`codec`] how that becomes bytes,
//! [`endpoint`] where the socket and its lock live and who may use them, [`connection`] turns a socket into whole
//! frames, [`client`] keeps many requests in flight on one of them. The byte tables are in `README.md`.

pub mod message;
pub mod codec;
pub mod endpoint;
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
