//! Inference, index and search: a mapped model turns texts into vectors, and a project's index answers queries.
//!
//! Plain synchronous code. No sockets, no async, no environment, no printing, no wire types:
//! the daemon (`sidecar/src`) converts at its edge.
//!
//! Reading order, bottom up: [`gguf`] maps a model file, [`tokenizer`] makes ids, [`embedder`] makes unit vectors;
//! [`walk`] and [`chunk`] turn a tree into chunks, [`store`] keeps them, [`index`] fills the store, [`search`] answers
//! queries.

pub mod error;
pub mod disk;
pub mod gguf;
mod fingerprint;
pub mod tokenizer;
pub mod quant;
pub mod hashed;
pub mod kernel;
pub mod model;
pub mod embedder;
pub mod walk;
pub mod chunk;
pub mod vector;
mod filter;
pub mod text;
pub mod store;
pub mod index;
pub mod rank;
pub mod search;
pub mod grep;

pub use error::{Error, Result};
