//! What one connection's requests may hold at a time: places for work, room for answers, the budget of its bytes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use offheap_protocol::codec::{self, Kind};
use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Priority, Progress, Request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::limits;
use super::state::InFlight;

/// Requests of one connection that are worked on at the same time; further ones wait.
pub const MAX_IN_FLIGHT: usize = 64;
/// Bulk requests among [`MAX_IN_FLIGHT`]: a process's own interactive requests find a place beside its bulk work.
const MAX_BULK_IN_FLIGHT: usize = MAX_IN_FLIGHT - 16;
/// KiB that a connection's requests may hold until their answers are written. Beyond it no frame of the connection is read, not
/// even a Cancel, and the peer gets an empty Progress every [`KEEP_WAITING_EVERY`].
const BUDGET_KIB: usize = 2 * (codec::MAX_BODY as usize >> 10);
/// KiB that a connection's answers may hold. Work does not begin while answers that the peer has not read leave no room.
const ANSWERS_KIB: usize = 16 << 10;
/// KiB of [`ANSWERS_KIB`] that answers to bulk requests may hold.
const BULK_ANSWERS_KIB: usize = ANSWERS_KIB / 4 * 3;
/// How often a peer whose frames are not read is told that its request still waits.
const KEEP_WAITING_EVERY: Duration = Duration::from_millis(200);

/// A frame for the peer.
pub struct Outgoing {
    /// The frame's kind.
    pub kind: Kind,
    /// The request that it belongs to; 0 for none.
    pub id: u64,
    /// The encoded message.
    pub control: Vec<u8>,
    /// What follows the message.
    pub payload: Payload,
    /// What the request holds until this frame is written; `None` for frames that no request asked for.
    pub held: Option<Arc<Held>>,
}

impl Outgoing {
    /// A frame without a body.
    pub fn plain(kind: Kind, id: u64, control: Vec<u8>) -> Self {
        Outgoing { kind, id, control, payload: Payload::None, held: None }
    }
}

/// What a request holds until its work has ended and its answer is written.
pub struct Held {
    _request: OwnedSemaphorePermit,
    /// Room for the answer, from when the work begins.
    room: OnceLock<Vec<OwnedSemaphorePermit>>,
    _in_flight: InFlight,
}

impl Held {
    /// What a request holds from when it is read.
    pub fn new(request: OwnedSemaphorePermit, in_flight: InFlight) -> Self {
        Held { _request: request, room: OnceLock::new(), _in_flight: in_flight }
    }

    /// Adds the room for its answer.
    pub fn add_room(&self, room: Vec<OwnedSemaphorePermit>) {
        let _ = self.room.set(room);
    }
}

/// The permits of one connection.
pub struct Permits {
    /// Requests that are worked on.
    places: Arc<Semaphore>,
    /// Bulk requests that are worked on.
    bulk_places: Arc<Semaphore>,
    /// KiB of answers.
    room: Arc<Semaphore>,
    /// KiB of answers to bulk requests.
    bulk_room: Arc<Semaphore>,
    /// KiB of requests and what belongs to them.
    budget: Arc<Semaphore>,
}

impl Permits {
    /// The permits of a new connection.
    pub fn new() -> Self {
        let semaphore = |n| Arc::new(Semaphore::new(n));
        Permits {
            places: semaphore(MAX_IN_FLIGHT),
            bulk_places: semaphore(MAX_BULK_IN_FLIGHT),
            room: semaphore(ANSWERS_KIB),
            bulk_room: semaphore(BULK_ANSWERS_KIB),
            budget: semaphore(BUDGET_KIB),
        }
    }

    /// A place for the work of a request, in the order of asking among bulk and among interactive requests.
    pub async fn place(&self, request: &Request) -> Vec<OwnedSemaphorePermit> {
        take(is_bulk(request).then_some((&self.bulk_places, 1)), (&self.places, 1)).await
    }

    /// Room for the answer of a request, in the order of asking among bulk and among interactive requests.
    pub async fn room(&self, request: &Request) -> Vec<OwnedSemaphorePermit> {
        let kib = limits::answer_kib(request);
        let bulk = is_bulk(request).then_some((&self.bulk_room, kib.min(BULK_ANSWERS_KIB)));
        take(bulk, (&self.room, kib.min(ANSWERS_KIB))).await
    }

    /// A request's part of the connection's budget, waited for. The peer, whose frames are not read meanwhile, gets empty
    /// Progress frames. `None` when it takes no answers any more.
    pub async fn budget(&self, kib: u32, id: u64, outbox: &mpsc::Sender<Outgoing>) -> Option<OwnedSemaphorePermit> {
        let mut acquiring = std::pin::pin!(self.budget.clone().acquire_many_owned(kib));
        loop {
            tokio::select! {
                held = &mut acquiring => return held.ok(),
                () = outbox.closed() => return None,
                () = tokio::time::sleep(KEEP_WAITING_EVERY) => {
                    let control = codec::encode(&Progress::default()).expect("small");
                    let _ = outbox.try_send(Outgoing::plain(Kind::Progress, id, control));
                }
            }
        }
    }
}

async fn take(bulk: Option<(&Arc<Semaphore>, usize)>, all: (&Arc<Semaphore>, usize)) -> Vec<OwnedSemaphorePermit> {
    let mut taken = Vec::with_capacity(2);
    for (semaphore, n) in bulk.into_iter().chain([all]) {
        taken.push(semaphore.clone().acquire_many_owned(n as u32).await.expect("never closed"));
    }
    taken
}

fn is_bulk(request: &Request) -> bool {
    matches!(request, Request::Embed { priority: Priority::Bulk, .. })
}
