//! Many requests in flight on one connection.
//!
//! Each connection has a task that sends frames and one that reads them and hands each to the caller that waits for its
//! id. When the connection ends, every waiting call fails at once. Nothing here starts a daemon; callers do.

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
    /// The version of the daemon's package.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A number that no other connection of this process has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How the daemon is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The process id of the daemon at the other end of this connection; `None` where the system does not tell.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// False once the daemon is leaving or gone: further requests need a new connection.
    pub fn is_usable(&self) -> bool {
        !self.shared.closing.load(Ordering::Acquire)
    }

    /// True once the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// True when the connection ended without a GoingAway frame: the daemon crashed or was killed.
    pub fn has_crashed(&self) -> bool {
        self.is_closed() && !self.shared.going_away.load(Ordering::Acquire)
    }

    /// Asks the daemon to stop working on every request of this connection. Each is still answered, mostly with
    /// [`Code::Cancelled`](crate::Code::Cancelled).
    pub fn cancel_all(&self) {
        let ids: Vec<u64> = self.shared.lock().keys().copied().collect();
        for id in ids {
            self.send_cancel(id);
        }
    }

    /// Sends a Cancel frame if the outbox has room. Without room the daemon does not read, and learns of the cancellation
    /// when the connection ends.
    fn send_cancel(&self, id: u64) {
        let cancel = Outgoing { kind: Kind::Cancel, id, control: Vec::new(), payload: Payload::None };
        let _ = self.outbox.try_send(cancel);
    }
}
