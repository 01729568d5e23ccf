//! The model thread: takes texts from the queue up to a token budget, computes them, answers a request with its last text.
//!
//! The model is loaded by the first request that needs it and dropped when it was idle for long enough; loading it again costs
//! a checksum over the mapped file. Texts of a cancelled request are dropped when their turn comes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::tokenizer::{Encoding, Specials};
use offheap_protocol::message::{EmbedTiming, Priority};
use offheap_protocol::{Code, Fault};
use tokio::sync::oneshot;

use super::file::ModelFile;
use super::job::{Item, Job};
use super::loaded::{Embedded, KernelRef, Loaded};
use super::queue::Queue;
use crate::log::{self, error, info, warn};
use crate::{UNPOISONED, config, failpoint, fault};

/// Texts that may wait, over all requests; more are refused.
const MAX_QUEUED: usize = 100_000;
/// Owner of the texts of index runs: the daemon itself, which is no connection.
const INDEX_RUNS: u64 = 0;

/// Finds the model file; called on the model thread when the model is loaded.
pub type FindModel = Box<dyn Fn() -> Result<ModelFile, Fault> + Send + Sync>;

/// The model thread and its queue.
pub struct Batcher {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    work: Condvar,
    find_model: FindModel,
    /// Directory where checksums of large model files are remembered.
    fingerprints: Option<PathBuf>,
    /// Distinct texts that wait.
    n_queued: AtomicUsize,
}

impl Batcher {
    /// Starts the thread. The model is loaded by the first request (the rule of starting, `daemon/mod.rs`).
    /// `fingerprints` is a private directory where checksums of large files are remembered.
    pub fn new(find_model: FindModel, fingerprints: Option<PathBuf>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            find_model,
            fingerprints,
            n_queued: AtomicUsize::new(0),
        });
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("offheap-model".into()).spawn(move || worker.run())?;
        Ok(Batcher { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Computes vectors for the `texts` of a connection. Setting `cancelled` drops what has not begun.
    ///
    /// Errors: `INVALID_ARGUMENT` without texts, `OVERLOADED`, `CANCELLED`, `LEAVING`, and why the model cannot be loaded.
    pub async fn embed(
        &self,
        owner: u64,
        texts: Vec<String>,
        specials: Specials,
        priority: Priority,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Embedded, Fault> {
        if texts.is_empty() {
            return Err(Fault::new(Code::InvalidArgument, "no texts were given"));
        }
        let (answer, answered) = oneshot::channel();
        self.shared.push(Job::new(owner, texts, specials, priority, cancelled, answer))?;
        answered.await.unwrap_or_else(|_| Err(thread_ended()))
    }

    /// Computes vectors for an index run, whose thread may block. Special tokens in its texts are plain text, because strangers
    /// wrote them. Errors as [`Batcher::embed`].
    pub fn embed_blocking(
        &self,
        texts: Vec<String>,
        priority: Priority,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Embedded, Fault> {
        let (answer, answered) = oneshot::channel();
        self.shared.push(Job::new(INDEX_RUNS, texts, Specials::Text, priority, cancelled, answer))?;
        answered.blocking_recv().unwrap_or_else(|_| Err(thread_ended()))
    }

    /// Loads the model if it is not loaded; blocks.
    pub fn load_blocking(&self) -> Result<Loaded, Fault> {
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.shared.lock();
            if queue.quit {
                return Err(leaving());
            }
            queue.loads.push(answer);
        }
        self.shared.work.notify_one();
        answered.blocking_recv().unwrap_or_else(|_| Err(thread_ended()))
    }

    /// The loaded model, if there is one.
    pub fn loaded(&self) -> Option<Loaded> {
        self.shared.lock().loaded.clone()
    }

    /// Distinct texts that wait.
    pub fn n_queued(&self) -> usize {
        self.shared.n_queued.load(Ordering::Relaxed)
    }

    /// Drops the model as soon as no text waits for it.
    pub fn evict(&self) {
        self.shared.lock().evict = true;
        self.shared.work.notify_one();
    }

    /// Ends the thread after its current micro-batch; texts that wait fail with `LEAVING`.
    pub fn shutdown(&self) {
        self.shared.lock().quit = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().expect(UNPOISONED).take() {
            let _ = thread.join();
        }
    }
}

fn leaving() -> Fault {
    Fault::new(Code::Leaving, "the daemon is leaving")
}

fn thread_ended() -> Fault {
    Fault::new(Code::Internal, "the model thread ended")
}

/// What the model thread does next.
enum Task {
    /// Compute texts, or load the model for callers that wait for it.
    Work,
    DropModel,
    Quit,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect(UNPOISONED)
    }

    fn push(&self, job: Job) -> Result<(), Fault> {
        let job = Arc::new(job);
        let n_texts = job.texts.len();
        if self.n_queued.load(Ordering::Relaxed) + n_texts > MAX_QUEUED {
            return Err(Fault::new(Code::Overloaded, format!("{MAX_QUEUED} texts are waiting already"))
                .hint("send less at once"));
        }
        let mut queue = self.lock();
        if queue.quit {
            return Err(leaving());
        }
        self.n_queued.fetch_add(n_texts, Ordering::Relaxed);
        let items = (0..n_texts).map(|text_idx| Item { job: job.clone(), text_idx });
        queue.extend(job.owner, job.priority, items);
        self.work.notify_one();
        Ok(())
    }

    fn run(&self) {
        let mut model: Option<(Embedder, Loaded)> = None;
        loop {
            match self.next_task() {
                Task::Work => {}
                Task::DropModel => {
                    model = None;
                    continue;
                }
                Task::Quit => return self.fail_all(&leaving()),
            }
            if model.as_ref().is_some_and(|(embedder, _)| !embedder.file_unchanged()) {
                warn!("the model file changed while it was mapped; opening it again");
                model = None;
            }
            if model.is_none() {
                match self.open() {
                    Ok(opened) => {
                        self.lock().loaded = Some(opened.1.clone());
                        model = Some(opened);
                    }
                    Err(fault) => {
                        warn!("the model cannot be loaded: {}", log::Masked(&fault));
                        self.lock().loaded = None;
                        self.fail_all(&fault);
                        continue;
                    }
                }
            }
            let (embedder, loaded) = model.as_mut().expect("opened above");
            for caller in std::mem::take(&mut self.lock().loads) {
                let _ = caller.send(Ok(loaded.clone()));
            }
            if catch_unwind(AssertUnwindSafe(|| self.micro_batch(embedder, loaded))).is_err() {
                // `FailOnPanic` has told the callers.
                error!("a micro-batch panicked; the model is dropped");
                self.lock().loaded = None;
                model = None;
            }
        }
    }

    /// Waits for something to do.
    fn next_task(&self) -> Task {
        let mut queue = self.lock();
        while queue.is_at_rest() {
            queue = self.work.wait(queue).expect(UNPOISONED);
        }
        if queue.quit {
            return Task::Quit;
        }
        if std::mem::take(&mut queue.evict) && queue.is_empty() {
            queue.loaded = None;
            return Task::DropModel;
        }
        Task::Work
    }

    fn open(&self) -> Result<(Embedder, Loaded), Fault> {
        let started = Instant::now();
        failpoint::pass("load");
        let file = (self.find_model)()?;
        let kernel = config::kernel();
        let options = Options {
            kernel: kernel.as_deref(),
            threads: config::threads(),
            sha256: file.sha256.as_deref(),
            fingerprints: self.fingerprints.as_deref(),
            below: file.below.as_deref(),
        };
        let embedder = catch_unwind(|| Embedder::open(&file.path, &options))
            .map_err(|_| Fault::new(Code::ModelDamaged, "the model file could not be read (internal error)"))?
            .map_err(|error| fault::from_engine(&error))?;
        let loaded = Loaded {
            info: Arc::new(embedder.info().clone()),
            path: Arc::new(file.path),
            kernel: KernelRef(embedder.kernel()),
        };
        failpoint::pass("loaded");
        let info = &loaded.info;
        info!("loaded {} with {} on {} threads in {:?}", info.name, info.kernel, info.threads, started.elapsed());
        Ok((embedder, loaded))
    }

    /// Computes one micro-batch: texts up to the model's token budget.
    fn micro_batch(&self, model: &mut Embedder, loaded: &Loaded) {
        let started = Instant::now();
        let taken = self.take(model);
        if taken.is_empty() {
            return;
        }
        let tokenised = Instant::now();
        failpoint::pass("batch");
        let guard = FailOnPanic(&taken);
        let dim = loaded.info.dim;
        let mut rows = vec![0.0; taken.len() * dim];
        let ids: Vec<&[u32]> = taken.iter().map(|(_, encoding)| &encoding.ids[..]).collect();
        let outcome = model.embed(&ids, &mut rows);
        std::mem::forget(guard);
        failpoint::pass("batched");
        let done = Instant::now();
        if let Err(error) = outcome {
            warn!("a micro-batch failed, and is computed text by text: {error}");
            return one_by_one(model, loaded, taken);
        }
        for ((item, encoding), row) in taken.iter().zip(rows.chunks_exact(dim)) {
            let timing = EmbedTiming {
                queue_us: (started - item.job.enqueued.min(started)).as_micros() as u64,
                tokenise_us: (tokenised - started).as_micros() as u64,
                model_us: (done - tokenised).as_micros() as u64,
            };
            item.job.finish(item.text_idx, row, encoding, loaded, timing);
        }
    }

    /// Takes and tokenises texts until the token budget is used up.
    fn take(&self, model: &mut Embedder) -> Vec<(Item, Encoding)> {
        let budget = model.token_budget();
        let mut taken: Vec<(Item, Encoding)> = Vec::new();
        let mut n_tokens = 0;
        while let Some(item) = self.pop() {
            if item.job.cancelled.load(Ordering::Relaxed) {
                item.job.fail(&Fault::new(Code::Cancelled, "the request was cancelled"));
                continue;
            }
            let encoding = model.encode(&item.job.texts[item.text_idx], item.job.specials);
            if n_tokens > 0 && n_tokens + encoding.ids.len() > budget {
                self.n_queued.fetch_add(1, Ordering::Relaxed);
                self.lock().put_back(item);
                break;
            }
            n_tokens += encoding.ids.len();
            taken.push((item, encoding));
        }
        taken
    }

    fn pop(&self) -> Option<Item> {
        let item = self.lock().pop()?;
        self.n_queued.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }

    fn fail_all(&self, fault: &Fault) {
        let (loads, items) = {
            let mut queue = self.lock();
            (std::mem::take(&mut queue.loads), queue.take_all())
        };
        self.n_queued.fetch_sub(items.len(), Ordering::Relaxed);
        items.iter().for_each(|item| item.job.fail(fault));
        loads.into_iter().for_each(|caller| drop(caller.send(Err(fault.clone()))));
    }
}

/// Computes each text alone after their micro-batch failed, so that only the one at fault fails.
fn one_by_one(model: &mut Embedder, loaded: &Loaded, taken: Vec<(Item, Encoding)>) {
    let mut row = vec![0.0; loaded.info.dim];
    for (item, encoding) in taken {
        match model.embed(&[&encoding.ids], &mut row) {
            Ok(()) => item.job.finish(item.text_idx, &row, &encoding, loaded, EmbedTiming::default()),
            Err(error) => item.job.fail(&fault::from_engine(&error)),
        }
    }
}

/// Tells a micro-batch's callers when the model panics.
struct FailOnPanic<'a>(&'a [(Item, Encoding)]);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        for (item, _) in self.0 {
            item.job.fail(&Fault::new(
                Code::Internal,
                "a bug in offheap: the model failed on this request, other requests are not affected",
            ));
        }
    }
}
