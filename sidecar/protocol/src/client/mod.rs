//! Many requests in flight on one connection.
//!
//! A reader task hands frames to the callers that wait for their ids; a writer task sends. When the connection
//! ends, every waiter fails at once. Nothing here starts a daemon: that is the edge's business
//! (`sidecar/start.js` for Node, `sidecar/src/start.rs` for the command line).

mod shared;
mod frames;
mod keepalive;
mod call;
mod embed;
mod connect;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::codec::Kind;
use crate::connection::{Payload, Transport};
use shared::{Outgoing, Shared};

pub use embed::EmbedOptions;
pub use shared::Reply;

/// A connection that is ready for requests. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Outgoing>,
    number: u64,
    version: String,
    transport: Transport,
    peer_pid: Option<u32>,
}

impl Client {
    /// The daemon's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Tells this connection from every other of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How the daemon is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The daemon's process, where the system tells. Of this very connection: what a file says could be outdated.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// False once the daemon is leaving or gone: connect anew for further requests.
    pub fn is_usable(&self) -> bool {
        !self.shared.over.load(Ordering::Acquire)
    }

    /// True once the daemon's end of the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.gone.load(Ordering::Acquire)
    }

    /// True when the daemon's end went without a farewell: it crashed or was killed.
    pub fn has_crashed(&self) -> bool {
        self.is_closed() && !self.shared.farewell.load(Ordering::Acquire)
    }

    /// Asks the daemon to stop working on everything that was asked on this connection. The answers still come:
    /// mostly [`Code::Cancelled`].
    pub fn cancel_all(&self) {
        let ids: Vec<u64> = self.shared.lock().keys().copied().collect();
        for id in ids {
            let cancel = Outgoing { kind: Kind::Cancel, id, control: Vec::new(), payload: Payload::None };
            let _ = self.outbox.try_send(cancel);
        }
    }
}
