//! The two tasks of a connection: one sends frames, one receives them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::shared::{Outgoing, Reply, Shared};
use crate::codec::{self, Kind};
use crate::connection::{Body, FrameReader, FrameWriter};
use crate::message::{Code, Fault};

/// Sends the frames of the inbox. Returns when the last [`Client`](super::Client) was dropped.
pub(super) async fn send(mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { kind, id, control, payload }) = inbox.recv().await {
        if writer.send(kind, id, &control, &payload).await.is_err() {
            // The daemon closed its end, but what it sent before, perhaps a GoingAway, must still be read. `receive`
            // returns when it has reached the end.
            std::future::pending::<()>().await;
        }
    }
}

/// Hands received frames to the calls that wait for them. Returns at the end of the connection, whether clean, broken or
/// by a malformed frame: calls that still wait get no answer in any of these cases.
pub(super) async fn receive(mut reader: FrameReader, shared: Arc<Shared>) {
    while let Ok(Some(frame)) = reader.next(true).await {
        let id = frame.header.id;
        shared.received.fetch_add(1, Ordering::Relaxed);
        let outcome = match frame.header.kind {
            Kind::Progress => {
                if let (Ok(progress), Some(waiter)) = (codec::decode(&frame.control), shared.lock().get(&id))
                    && let Some(sender) = &waiter.progress
                {
                    sender.send_replace(progress);
                }
                continue;
            }
            Kind::GoingAway => {
                // Requests in flight are still answered.
                shared.going_away.store(true, Ordering::Release);
                shared.closing.store(true, Ordering::Release);
                continue;
            }
            Kind::Response => codec::decode(&frame.control).map(|response| {
                let rows = match frame.body {
                    Body::Floats(rows) => rows,
                    _ => Vec::new(),
                };
                Ok(Reply { response, rows })
            }),
            Kind::Fault => codec::decode::<Fault>(&frame.control).map(Err),
            Kind::Request | Kind::Cancel => break,
        };
        let outcome = outcome.unwrap_or_else(|error| Err(Fault::new(Code::Protocol, error.to_string())));
        if let Some(waiter) = shared.lock().remove(&id) {
            let _ = waiter.answer.send(outcome);
        }
    }
}
