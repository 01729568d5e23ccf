//! What one connection may use of the daemon, so that none starves the others.
//!
//! A request passes these gates in this order:
//!
//! | Gate | Where | What it protects |
//! |---|---|---|
//! | the greeting within 5 s | `serve::greet`, `Session::next_frame` | descriptors, from peers that connect and say nothing |
//! | a frame within `OFFHEAP_STALL_MS` of its first byte | `FrameReader::stall_after` | buffers, from peers that trickle |
//! | lengths within the protocol's limits | `codec` | memory, from announced lengths |
//! | texts that wait, of all connections | [`Limits::admit`] | memory, from many large batches: `OVERLOADED` |
//! | KiB of requests, of one connection | `Permits::budget` | memory, from one connection: its frames are not read meanwhile |
//! | requests that are worked on, of one connection | `Permits::place` | interactive requests, from bulk work of their own process |
//! | KiB of answers, of one connection | `Permits::room` | memory, from peers that do not read |
//! | threads, of one connection and of all | [`Limits::run`] | other connections, from many searches of one |
//! | turns in the queue | `model::queue` | other connections and bulk work, from many texts of one |
//! | an answer within `OFFHEAP_STALL_MS` | `serve::write` | answers, from peers that do not read |
//!
//! `Hello`, `Ping`, `Status` and `Shutdown` wait for no place and no thread of [`Limits::run`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use offheap_protocol::message::Request;
use offheap_protocol::{Code, Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config, log};

/// Threads that searches and index runs may occupy. The event loop's pool has some more, for [`Limits::look`] and for leaving.
const BLOCKING: usize = 12;
/// Threads of [`BLOCKING`] that one connection may occupy.
const BLOCKING_OF_ONE: usize = 4;
/// Threads that `status` requests may occupy.
const LOOKING: usize = 2;
/// A connection without waiting texts may bring this many bytes, however much waits for others: none is locked out.
const ALWAYS_BYTES: usize = 1 << 20;
/// Most texts of one request: rows for more would not fit a frame.
const MAX_TEXTS: usize = 16 << 10;

/// What a request costs its connection's budget beside its bytes, KiB.
const REQUEST_KIB: usize = 4;
/// What the answer for a text may cost, KiB: a row of 512 dimensions.
const ROW_KIB: usize = 2;
/// What one hit of a search may cost, KiB.
const HIT_KIB: usize = 4;

/// The limits that all connections share.
pub struct Limits {
    /// Threads for blocking work, in the order of asking. A connection's own limit keeps it from filling the queue.
    blocking: Arc<Semaphore>,
    /// Threads for `status`.
    looking: Arc<Semaphore>,
    /// Bytes of texts in requests that are not answered yet.
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    /// Number of the next connection.
    next_id: AtomicU64,
}

/// One connection, as its requests know it.
pub struct Peer {
    /// Number of the connection; 0 is the daemon itself.
    pub id: u64,
    blocking: Arc<Semaphore>,
    /// The connection's part of [`Limits::waiting`].
    waiting: AtomicUsize,
}

/// Bytes of a request's texts, counted for as long as this lives.
pub struct Waiting {
    peer: Arc<Peer>,
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.peer.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Limits {
    /// Limits of which nothing is used yet.
    pub fn new() -> Self {
        Limits {
            blocking: Arc::new(Semaphore::new(BLOCKING)),
            looking: Arc::new(Semaphore::new(LOOKING)),
            waiting: Arc::default(),
            max_waiting: config::max_waiting_bytes(),
            next_id: AtomicU64::new(1),
        }
    }

    /// Registers a connection.
    pub fn connection(&self) -> Arc<Peer> {
        Arc::new(Peer {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            blocking: Arc::new(Semaphore::new(BLOCKING_OF_ONE)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Counts a request's texts as waiting. Called by the sockets' one thread only.
    ///
    /// Errors: `OVERLOADED` when too many bytes wait already.
    pub fn admit(&self, peer: &Arc<Peer>, bytes: usize) -> Result<Waiting, Fault> {
        let within = self.waiting_bytes() + bytes <= self.max_waiting;
        let modest = peer.waiting.load(Ordering::Relaxed) == 0 && bytes <= ALWAYS_BYTES.min(self.max_waiting);
        if !within && !modest {
            let mb = self.max_waiting >> 20;
            let fault = Fault::new(Code::Overloaded, format!("texts of {mb} MB are waiting already"));
            return Err(fault.hint("try again later, or send less at once"));
        }
        peer.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        Ok(Waiting { peer: peer.clone(), all: self.waiting.clone(), bytes })
    }

    /// Bytes of texts in requests that are not answered yet.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many threads do blocking work now.
    pub fn working(&self) -> usize {
        BLOCKING - self.blocking.available_permits()
    }

    /// Runs work that blocks on a thread of its own, in the order of asking. Its place is taken until it has ended, also when
    /// its caller has given up. A panic becomes a fault of this caller only.
    pub async fn run<T: Send + 'static>(
        &self,
        peer: &Peer,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let own = acquire(&peer.blocking).await;
        let shared = acquire(&self.blocking).await;
        blocking((own, shared), work).await
    }

    /// Runs a short look at files that does not queue behind work.
    pub async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let place = acquire(&self.looking).await;
        blocking(place, work).await
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect("never closed")
}

async fn blocking<T: Send + 'static>(
    place: impl Send + 'static,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let origin = log::origin();
    let held = move || {
        let _place = place; // held by the work itself, because its caller may give up
        log::within(origin, work)
    };
    tokio::task::spawn_blocking(held).await.unwrap_or_else(|_| Err(panicked()))
}

/// The fault of a request whose work panicked.
pub fn panicked() -> Fault {
    Fault::new(Code::Internal, "a bug in offheap: this request failed, other requests are not affected")
}

/// What a request with a body of so many bytes costs its connection's budget, KiB.
pub fn request_kib(body: usize) -> usize {
    REQUEST_KIB + (body >> 10)
}

/// An upper estimate of the answer's size, KiB.
pub fn answer_kib(request: &Request) -> usize {
    match request {
        Request::Embed { lengths, .. } => lengths.len().min(MAX_TEXTS) * ROW_KIB,
        Request::Search(search) => search.limit.min(1_000) as usize * HIT_KIB,
        _ => 0,
    }
}

/// Refuses more texts than an answer has room for.
///
/// Errors: `TOO_LARGE`.
pub fn check_texts(n: usize) -> Result<(), Fault> {
    if n > MAX_TEXTS {
        let fault = Fault::new(Code::TooLarge, format!("the request has {n} texts, the limit is {MAX_TEXTS}"));
        return Err(fault.hint("split it into several requests"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_texts_are_limited_and_no_connection_is_locked_out() {
        let limits = Limits { max_waiting: 4 << 20, ..Limits::new() };
        let (greedy, modest) = (limits.connection(), limits.connection());
        assert_ne!(greedy.id, modest.id);
        let first = limits.admit(&greedy, 4 << 20).expect("nothing waits");
        assert_eq!(limits.admit(&greedy, 1).err().map(|fault| fault.code), Some(Code::Overloaded));
        let small = limits.admit(&modest, 1 << 10).expect("nothing of it waits");
        assert_eq!(limits.admit(&modest, 1).err().map(|fault| fault.code), Some(Code::Overloaded));
        assert_eq!(limits.waiting_bytes(), (4 << 20) + (1 << 10));
        drop(first);
        assert!(limits.admit(&modest, 1 << 20).is_ok());
        drop(small);
        assert_eq!(limits.waiting_bytes(), 0);
    }

    #[test]
    fn a_place_is_taken_until_the_work_has_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
        runtime.block_on(async {
            let limits = Arc::new(Limits::new());
            let peer = limits.connection();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let (begin, begun) = tokio::sync::oneshot::channel();
            let work = limits.run(&peer, move || {
                let _ = begin.send(());
                let _ = ended.recv();
                Ok(())
            });
            tokio::select! {
                _ = work => unreachable!("the channel is open"),
                _ = begun => {} // its caller gives up here
            }
            assert_eq!(limits.working(), 1);
            end.send(()).expect("the work waits");
            while limits.working() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn one_connection_cannot_take_every_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
        runtime.block_on(async {
            let limits = Arc::new(Limits::new());
            let (greedy, other) = (limits.connection(), limits.connection());
            let gate = Arc::new(std::sync::Barrier::new(BLOCKING_OF_ONE + 1));
            let slow: Vec<_> = (0..3 * BLOCKING_OF_ONE)
                .map(|i| {
                    let (limits, greedy, gate) = (limits.clone(), greedy.clone(), gate.clone());
                    let work = move || {
                        if i < BLOCKING_OF_ONE {
                            gate.wait();
                        }
                        Ok(())
                    };
                    tokio::spawn(async move { limits.run(&greedy, work).await })
                })
                .collect();
            while limits.working() < BLOCKING_OF_ONE {
                tokio::task::yield_now().await;
            }
            // There is a thread for other connections, and one for `status`.
            assert_eq!(limits.run(&other, || Ok(7)).await, Ok(7));
            assert_eq!(limits.look(|| Ok(8)).await, Ok(8));
            assert_eq!(limits.working(), BLOCKING_OF_ONE);
            tokio::task::spawn_blocking(move || gate.wait()).await.expect("the barrier opens");
            for task in slow {
                assert_eq!(task.await.expect("it ran"), Ok(()));
            }
        });
    }
}
