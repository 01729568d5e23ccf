//! What one connection may use of the daemon, so that none of them starves the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use offheap_protocol::message::Request;
use offheap_protocol::{Code, Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;

/// Threads that searches, greps and index runs may occupy. The pool (`daemon.rs`) has some more: for [`Limits::look`]
/// and for leaving, which wait for nobody.
const BLOCKING: usize = 12;
/// Of them, for one connection.
const BLOCKING_OF_ONE: usize = 4;
/// Threads for `status`.
const LOOKING: usize = 2;
/// A connection of which nothing waits may bring this much, however much waits for others: nobody is locked out.
const ALWAYS_BYTES: usize = 1 << 20;
/// Texts of one request: rows for more would not fit a frame.
const MAX_TEXTS: usize = 16 << 10;

/// What a request costs its connection beside its bytes, KiB.
const REQUEST_KIB: usize = 4;
/// What the answer for a text may cost, KiB: a row of 512 dimensions.
const ROW_KIB: usize = 2;
/// What one hit of a search may cost, KiB.
const HIT_KIB: usize = 4;

/// What all connections share.
pub struct Limits {
    /// First come, first served; a connection's own limit keeps its queue here short.
    blocking: Arc<Semaphore>,
    looking: Arc<Semaphore>,
    /// Bytes of texts whose requests are not answered.
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    connections: AtomicU64,
}

/// One connection, as its requests know it.
pub struct Peer {
    /// Never 0, which is the daemon itself.
    pub id: u64,
    blocking: Arc<Semaphore>,
    /// Its part of [`Limits::waiting`].
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
    /// Nothing is in use.
    pub fn new() -> Self {
        Limits {
            blocking: Arc::new(Semaphore::new(BLOCKING)),
            looking: Arc::new(Semaphore::new(LOOKING)),
            waiting: Arc::default(),
            max_waiting: config::max_waiting_bytes(),
            connections: AtomicU64::new(1),
        }
    }

    /// A new connection.
    pub fn connection(&self) -> Arc<Peer> {
        Arc::new(Peer {
            id: self.connections.fetch_add(1, Ordering::Relaxed),
            blocking: Arc::new(Semaphore::new(BLOCKING_OF_ONE)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Lets a request's texts in, or says that too much waits already. Called by the sockets' one thread only.
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

    /// Bytes of texts whose requests are not answered.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Blocking work that runs now.
    pub fn working(&self) -> usize {
        BLOCKING - self.blocking.available_permits()
    }

    /// Work that blocks, away from the sockets, in its turn. Its place is taken until it has really ended, whether
    /// somebody still waits for it or not. A panic is this caller's fault only.
    pub async fn run<T: Send + 'static>(
        &self,
        peer: &Peer,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let own = acquire(&peer.blocking).await;
        let shared = acquire(&self.blocking).await;
        blocking((own, shared), work).await
    }

    /// A short look at files that does not queue behind work.
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
    let held = move || {
        let _place = place; // by the work itself: who waits for it may give up
        work()
    };
    tokio::task::spawn_blocking(held)
        .await
        .unwrap_or_else(|_| Err(Fault::new(Code::Internal, "the request failed inside; others are unharmed")))
}

/// What a request holds in memory, KiB.
pub fn request_kib(body: usize) -> usize {
    REQUEST_KIB + (body >> 10)
}

/// An upper guess at what its answer will hold, KiB.
pub fn answer_kib(request: &Request) -> usize {
    match request {
        Request::Embed { lengths, .. } => lengths.len().min(MAX_TEXTS) * ROW_KIB,
        Request::Search(search) => search.limit.min(1_000) as usize * HIT_KIB,
        _ => 0,
    }
}

/// Refuses more texts than an answer has room for.
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
    fn waiting_texts_are_limited_and_nobody_is_locked_out() {
        let limits = Limits { max_waiting: 4 << 20, ..Limits::new() };
        let (greedy, modest) = (limits.connection(), limits.connection());
        assert_ne!(greedy.id, modest.id);
        let first = limits.admit(&greedy, 4 << 20).expect("nothing waits");
        assert_eq!(limits.admit(&greedy, 1).err().map(|fault| fault.code), Some(Code::Overloaded));
        let small = limits.admit(&modest, 1 << 10).expect("it has nothing here");
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
                _ = work => unreachable!("nobody ended it"),
                _ = begun => {} // and from here on nobody waits for it
            }
            assert_eq!(limits.working(), 1);
            end.send(()).expect("it listens");
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
            // Whatever the greedy one has waiting: there is a thread for others, and one for `status`.
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
