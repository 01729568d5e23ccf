//! One request and its answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::Client;
use super::shared::{Outgoing, Reply, Waiter, lost, unresponsive};
use crate::codec::{self, Envelope, Kind};
use crate::connection::Payload;
use crate::message::{Code, Fault, Progress, Request};

/// How long after its deadline a call still waits, because the daemon answers `TIMEOUT` itself when the deadline passes.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// Cancels a request in the daemon when its call is dropped before the answer.
struct CancelOnDrop<'a> {
    client: &'a Client,
    id: u64,
    answered: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if !self.answered && self.client.shared.lock().remove(&self.id).is_some() {
            self.client.send_cancel(self.id);
        }
    }
}

impl Client {
    /// Sends one request and waits for its answer. Dropping the future cancels the request in the daemon.
    ///
    /// `payload` is the frame's body, `deadline` the longest wait (rounded down to milliseconds, at least 1; `None` waits
    /// for ever), `progress` receives the newest [`Progress`].
    ///
    /// Errors: what the daemon answers, [`Code::DaemonLost`] where the connection ends first, [`Code::Timeout`],
    /// [`Code::DaemonUnresponsive`], [`Code::TooLarge`] for a request that no frame can hold, and [`Code::Protocol`] for
    /// an answer that does not decode.
    pub async fn call(
        &self,
        request: Request,
        payload: Payload,
        deadline: Option<Duration>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Reply, Fault> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let deadline_ms = deadline.map_or(0, |d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX).max(1));
        let control = codec::encode(&Envelope { deadline_ms, request })
            .map_err(|error| Fault::new(Code::TooLarge, format!("the request is too large: {error}")))?;
        let (answer, answered) = oneshot::channel();
        self.shared.lock().insert(id, Waiter { answer, progress });
        let mut guard = CancelOnDrop { client: self, id, answered: false };
        // Checked after the waiter was inserted: `Shared::fail` sets `closing` first, then fails every waiter it finds.
        if !self.is_usable() {
            return Err(lost());
        }
        self.shared.request_made.notify_one();
        let received = self.shared.received.load(Ordering::Relaxed);
        let work = async {
            let outgoing = Outgoing { kind: Kind::Request, id, control, payload };
            self.outbox.send(outgoing).await.map_err(|_| lost())?;
            answered.await.unwrap_or_else(|_| Err(lost()))
        };
        let outcome = match deadline {
            None => work.await,
            Some(deadline) => match tokio::time::timeout(deadline + DEADLINE_GRACE, work).await {
                Ok(outcome) => outcome,
                // Neither the daemon's own TIMEOUT nor any other frame came.
                Err(_) if self.shared.received.load(Ordering::Relaxed) == received => return Err(unresponsive()),
                Err(_) => {
                    let ms = deadline.as_millis();
                    return Err(Fault::new(Code::Timeout, format!("no answer within {ms} ms")));
                }
            },
        };
        guard.answered = true;
        outcome
    }
}
