//! Notices a daemon that has stopped although its connection is open.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::shared::{Outgoing, Shared, unresponsive};
use crate::codec::{self, Envelope, Kind};
use crate::connection::Payload;
use crate::message::Request;

/// A daemon that owes an answer and says nothing for this long is asked whether it is still there,
const ASK_AFTER: Duration = Duration::from_secs(10);
/// and taken to be stopped when it does not answer that for this long. Pings are answered beside all work.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// Returns when a daemon that owes an answer is not there any more although its connection is.
pub(super) async fn watch_over(shared: &Shared, outbox: mpsc::WeakSender<Outgoing>) {
    let heard = || shared.heard.load(Ordering::Relaxed);
    loop {
        shared.asked.notified().await;
        while !shared.lock().is_empty() {
            let before = heard();
            tokio::time::sleep(ASK_AFTER).await;
            if heard() != before || shared.lock().is_empty() {
                continue;
            }
            let ping = Envelope { deadline_ms: 0, request: Request::Ping };
            let control = codec::encode(&ping).expect("a ping is small");
            let Some(sender) = outbox.upgrade() else { return };
            let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
            // A full outbox says the same: nothing is read there.
            let _ = sender.try_send(Outgoing { kind: Kind::Request, id, control, payload: Payload::None });
            drop(sender);
            tokio::time::sleep(GIVE_UP_AFTER).await;
            if heard() == before && !shared.lock().is_empty() {
                shared.fail(&unresponsive());
                return;
            }
        }
    }
}
