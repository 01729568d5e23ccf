//! What a client and the tasks of its connection share.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, oneshot, watch};

use crate::codec::Kind;
use crate::connection::Payload;
use crate::message::{Code, Fault, Progress, Response};

/// A final answer.
#[derive(Debug)]
pub struct Reply {
    /// The message.
    pub response: Response,
    /// Rows of vectors, for [`Response::Vectors`].
    pub rows: Vec<f32>,
}

pub(super) struct Outgoing {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) control: Vec<u8>,
    pub(super) payload: Payload,
}

pub(super) struct Shared {
    pub(super) waiting: Mutex<HashMap<u64, Waiter>>,
    pub(super) next_id: AtomicU64,
    /// No new requests: the daemon is leaving or gone.
    pub(super) over: AtomicBool,
    /// The daemon said that it is leaving.
    pub(super) farewell: AtomicBool,
    /// Frames that came.
    pub(super) heard: AtomicU64,
    /// A request was put in.
    pub(super) asked: Notify,
    /// The connection has ended.
    pub(super) gone: AtomicBool,
}

pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Result<Reply, Fault>>,
    pub(super) progress: Option<watch::Sender<Progress>>,
}

impl Shared {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiting.lock().expect("no code that panics runs under this lock")
    }

    /// Fails everybody that still waits.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::Release);
        self.fail(&lost());
    }

    pub(super) fn fail(&self, fault: &Fault) {
        self.over.store(true, Ordering::Release);
        for (_, waiter) in self.lock().drain() {
            let _ = waiter.answer.send(Err(fault.clone()));
        }
    }
}

pub(super) fn lost() -> Fault {
    Fault::new(Code::DaemonLost, "the connection to the daemon broke")
}

pub(super) fn unresponsive() -> Fault {
    Fault::new(Code::DaemonUnresponsive, "the daemon accepts connections and does not answer")
        .hint("it may be stopped (SIGSTOP, a debugger) or stuck; `offheap restart --force` ends it and starts another")
}

pub(super) fn unexpected(response: &Response) -> Fault {
    let name = format!("{response:?}");
    let name = name.split([' ', '(']).next().unwrap_or_default();
    Fault::new(Code::Protocol, format!("the daemon answered with `{name}`, which is not an answer to this request"))
}
