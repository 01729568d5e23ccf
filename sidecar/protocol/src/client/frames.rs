//! The tasks that send and read the frames of a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::shared::{Outgoing, Reply, Shared};
use crate::codec::{self, Kind};
use crate::connection::{Body, FrameReader, FrameWriter};
use crate::message::{Code, Fault};

pub(super) async fn write(mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { kind, id, control, payload }) = inbox.recv().await {
        if writer.send(kind, id, &control, &payload).await.is_err() {
            // What the daemon sent before it left, a farewell perhaps, is still to be read; the reader meets the end.
            std::future::pending::<()>().await;
        }
    }
}

pub(super) async fn read(mut reader: FrameReader, shared: Arc<Shared>) {
    // A clean end, a broken connection and a malformed frame are the same to those who wait: no answer came.
    while let Ok(Some(frame)) = reader.next(true).await {
        let id = frame.header.id;
        shared.heard.fetch_add(1, Ordering::Relaxed);
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
                // What is in flight will still be answered.
                shared.farewell.store(true, Ordering::Release);
                shared.over.store(true, Ordering::Release);
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
