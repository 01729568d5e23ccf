//! What a client and the tasks of its connection share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot, watch};

use crate::codec::Kind;
use crate::connection::Payload;
use crate::message::{Code, Fault, Progress, Response};

/// The answer to a request, with its body.
#[derive(Debug)]
pub struct Reply {
    /// The message.
    pub response: Response,
    /// For [`Response::Vectors`], the rows of vectors: `texts * dim` values. Empty for every other response.
    pub rows: Vec<f32>,
}

/// A frame to send.
pub(super) struct Outgoing {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) control: Vec<u8>,
    pub(super) payload: Payload,
}

/// The state of one connection.
pub(super) struct Shared {
    waiters: Mutex<HashMap<u64, Waiter>>,
    /// The id of the next request.
    pub(super) next_id: AtomicU64,
    /// No further request can be made: the daemon is leaving, does not respond, or the connection has ended.
    pub(super) closing: AtomicBool,
    /// The daemon sent a GoingAway frame.
    pub(super) going_away: AtomicBool,
    /// The connection has ended.
    pub(super) ended: AtomicBool,
    /// Counts the frames that were received.
    pub(super) received: AtomicU64,
    /// Notified when a request is made.
    pub(super) request_made: Notify,
}

/// A call that waits for its answer.
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Result<Reply, Fault>>,
    pub(super) progress: Option<watch::Sender<Progress>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Shared {
            waiters: Mutex::default(),
            next_id: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            going_away: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            received: AtomicU64::new(0),
            request_made: Notify::new(),
        }
    }

    /// The waiting calls, by request id.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiters.lock().expect("no code that panics runs under this lock")
    }

    /// Marks the connection as ended and fails every call that still waits.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.fail(&lost());
    }

    /// Refuses further requests and fails every call that waits.
    pub(super) fn fail(&self, fault: &Fault) {
        self.closing.store(true, Ordering::Release);
        for (_, waiter) in self.lock().drain() {
            let _ = waiter.answer.send(Err(fault.clone()));
        }
    }
}

/// The fault of calls whose connection ended before the answer.
pub(super) fn lost() -> Fault {
    Fault::new(Code::DaemonLost, "the connection to the daemon broke")
}

/// The fault where a daemon accepts a connection or a request and then sends nothing.
pub(super) fn unresponsive() -> Fault {
    Fault::new(Code::DaemonUnresponsive, "the daemon accepts connections but does not answer")
        .hint("it may be stopped (SIGSTOP, a debugger) or stuck; `offheap restart --force` ends it and starts another")
}
