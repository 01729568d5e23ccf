//! Calls on a connection, each with a number by which JavaScript can cancel it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use napi::bindgen_prelude::*;
use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Progress, Request, Response};
use offheap_protocol::{Client, Code, Fault};
use tokio::sync::{Notify, watch};

use crate::error::js;

/// A connection and the calls in progress on it. Cheap to clone; the future of each call has a clone.
#[derive(Clone)]
pub struct Session {
    /// The connection.
    pub client: Client,
    calls: Arc<Mutex<HashMap<u32, Arc<Notify>>>>,
}

impl Session {
    /// A session without calls.
    pub fn new(client: Client) -> Self {
        Session { client, calls: Arc::default() }
    }

    /// Registers a call. Must run on the JavaScript thread, so that a cancel of the same number can only come later.
    pub fn begin(&self, id: u32) -> Call {
        let cancelled = Arc::new(Notify::new());
        self.lock().insert(id, cancelled.clone());
        Call { session: self.clone(), id, cancelled }
    }

    /// Cancels a call; does nothing where it has ended.
    pub fn cancel(&self, id: u32) {
        if let Some(cancelled) = self.lock().get(&id) {
            cancelled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Notify>>> {
        self.calls.lock().expect("no code that panics runs under this lock")
    }
}

/// A call that is registered until it is dropped.
pub struct Call {
    /// The session that the call belongs to.
    pub session: Session,
    id: u32,
    cancelled: Arc<Notify>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.session.lock().remove(&self.id);
    }
}

impl Call {
    /// Sends a request without a body and waits for its response.
    pub async fn ask(
        &self,
        request: Request,
        timeout_ms: Option<u32>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Response> {
        let work = self.session.client.call(request, Payload::None, duration(timeout_ms), progress);
        self.run(work).await.map(|reply| reply.response)
    }

    /// Runs `work` until it is done or the call is cancelled. A cancelled `work` is dropped, which cancels its requests in the
    /// daemon.
    pub async fn run<T>(&self, work: impl Future<Output = std::result::Result<T, Fault>>) -> Result<T> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = self.cancelled.notified() => Err(Fault::new(Code::Cancelled, "the call was cancelled")),
        };
        outcome.map_err(js)
    }
}

/// A timeout in milliseconds as a duration; absent and 0 are no limit.
pub fn duration(timeout_ms: Option<u32>) -> Option<Duration> {
    timeout_ms.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()))
}
