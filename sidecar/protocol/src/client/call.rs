//! One request and its answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::Client;
use super::shared::{Outgoing, Reply, Waiter, lost, unresponsive};
use crate::codec::{self, Envelope, Kind};
use crate::connection::Payload;
use crate::message::{Code, Fault, Progress, Request};

/// Longer than a deadline by this much is not waited: the daemon should have answered `TIMEOUT` itself.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// Takes its request back when the caller stops waiting.
struct Ticket<'a> {
    client: &'a Client,
    id: u64,
    done: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.done && self.client.shared.lock().remove(&self.id).is_some() {
            let cancel = Outgoing { kind: Kind::Cancel, id: self.id, control: Vec::new(), payload: Payload::None };
            // A full outbox means the daemon does not read; the end of the connection will tell it then.
            let _ = self.client.outbox.try_send(cancel);
        }
    }
}

impl Client {
    /// Asks one thing and waits. Dropping the future cancels the request in the daemon.
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
        let mut ticket = Ticket { client: self, id, done: false };
        // Looked at after the waiter is in: `end` sets `over` first, then fails every waiter it finds.
        if !self.is_usable() {
            return Err(lost());
        }
        self.shared.asked.notify_one();
        let heard = self.shared.heard.load(Ordering::Relaxed);
        let work = async {
            let outgoing = Outgoing { kind: Kind::Request, id, control, payload };
            self.outbox.send(outgoing).await.map_err(|_| lost())?;
            answered.await.unwrap_or_else(|_| Err(lost()))
        };
        let outcome = match deadline {
            None => work.await,
            Some(deadline) => match tokio::time::timeout(deadline + DEADLINE_GRACE, work).await {
                Ok(outcome) => outcome,
                // Not even its own word that the time is over, nor anything else since then.
                Err(_) if self.shared.heard.load(Ordering::Relaxed) == heard => return Err(unresponsive()),
                Err(_) => return Err(Fault::new(Code::Timeout, format!("no answer within {deadline:?}"))),
            },
        };
        ticket.done = true;
        outcome
    }
}
