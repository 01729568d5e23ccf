//! Finds a daemon that has stopped although its connection is still open.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::shared::{Outgoing, Shared, unresponsive};
use crate::codec::{self, Envelope, Kind};
use crate::connection::Payload;
use crate::message::Request;

/// After this long without a frame while a request waits for its answer, a Ping is sent.
const PING_AFTER: Duration = Duration::from_secs(10);

/// After this long without a frame since the Ping, the daemon counts as stopped. A working daemon answers a Ping beside
/// all other work.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// Returns when the daemon sends nothing although requests wait for their answers; these have failed then. Also returns
/// when the last [`Client`](super::Client) was dropped.
pub(super) async fn ping_while_waiting(shared: &Shared, outbox: mpsc::WeakSender<Outgoing>) {
    let received = || shared.received.load(Ordering::Relaxed);
    loop {
        shared.request_made.notified().await;
        while !shared.lock().is_empty() {
            let before = received();
            tokio::time::sleep(PING_AFTER).await;
            if received() != before || shared.lock().is_empty() {
                continue;
            }
            let ping = Envelope { deadline_ms: 0, request: Request::Ping };
            let control = codec::encode(&ping).expect("a ping is small");
            let Some(sender) = outbox.upgrade() else { return };
            let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
            // An outbox without room also means that the daemon reads nothing, so the Ping may be dropped.
            let _ = sender.try_send(Outgoing { kind: Kind::Request, id, control, payload: Payload::None });
            drop(sender);
            tokio::time::sleep(GIVE_UP_AFTER).await;
            if received() == before && !shared.lock().is_empty() {
                shared.fail(&unresponsive());
                return;
            }
        }
    }
}
