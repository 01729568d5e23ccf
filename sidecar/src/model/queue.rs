//! The model thread: takes texts from a queue up to a token budget, answers requests when their last text is done.
//!
//! Interactive texts pass bulk texts between two micro-batches, all but a few; within both, connections take turns,
//! text by text. A request whose caller is gone is dropped there too. Identical texts of one request are computed
//! once. The model is loaded by the first request that needs it and dropped when it was idle for long enough; loading
//! it anew costs a checksum over the mapped file.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use offheap_engine::embedder::{Embedder, ModelInfo, Options};
use offheap_engine::kernel::Kernel;
use offheap_engine::tokenizer::{Encoding, Specials};
use offheap_protocol::message::{EmbedTiming, Priority};
use offheap_protocol::{Code, Fault};
use tokio::sync::oneshot;

use crate::config;
use crate::failpoint;
use crate::fault;
use crate::log::log;
use crate::model::fair::FairQueue;
use crate::model::file::ModelFile;

/// Texts that may wait, over all requests; more are refused.
const MAX_QUEUED: usize = 100_000;
/// Of so many texts one is a bulk text, where both kinds wait: a crowd of questions must not stop an index run.
const BULK_SHARE: usize = 32;
/// Who brings the texts of index runs: no connection, the daemon itself.
const INDEX_RUNS: u64 = 0;

/// Finds the model file; called on the model thread when one is needed.
pub type Source = Box<dyn Fn() -> Result<ModelFile, Fault> + Send + Sync>;

/// A loaded model as others may know it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is running.
    pub info: Arc<ModelInfo>,
    /// Where it is mapped from.
    pub path: Arc<PathBuf>,
    /// Its instruction set, for the vector scan.
    pub kernel: KernelRef,
}

/// A kernel that can be debug-printed.
#[derive(Clone, Copy)]
pub struct KernelRef(pub &'static Kernel);

impl std::fmt::Debug for KernelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// Vectors for one request, in its order.
#[derive(Debug)]
pub struct Embedded {
    /// Row after row.
    pub rows: Vec<f32>,
    /// Tokens per text.
    pub tokens: Vec<u32>,
    /// Whether each text was cut.
    pub truncated: Vec<bool>,
    /// What computed them.
    pub model: Loaded,
    /// Where the time went.
    pub timing: EmbedTiming,
}

/// The queue and its thread.
pub struct Batcher {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    source: Source,
    fingerprints: Option<PathBuf>,
    queued: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    interactive: FairQueue<Item>,
    bulk: FairQueue<Item>,
    /// Interactive texts taken since the last bulk text.
    passed: usize,
    loaded: Option<Loaded>,
    /// Asked to load now; answered by the model thread.
    loads: Vec<oneshot::Sender<Result<Loaded, Fault>>>,
    evict: bool,
    quit: bool,
}

impl Queue {
    fn line(&mut self, priority: Priority) -> &mut FairQueue<Item> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Bulk => &mut self.bulk,
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let bulk_first = self.passed + 1 >= BULK_SHARE && !self.bulk.is_empty();
        let interactive = if bulk_first { None } else { self.interactive.pop() };
        self.passed = if interactive.is_some() { self.passed + 1 } else { 0 };
        interactive.or_else(|| self.bulk.pop())
    }
}

/// One distinct text of a request.
struct Item {
    job: Arc<Job>,
    text_idx: usize,
}

struct Job {
    /// The connection.
    owner: u64,
    texts: Vec<String>,
    specials: Specials,
    priority: Priority,
    /// Where in the request each distinct text goes.
    places: Vec<Vec<usize>>,
    n: usize,
    cancelled: Arc<AtomicBool>,
    enqueued: Instant,
    state: Mutex<JobState>,
}

#[derive(Default)]
struct JobState {
    rows: Vec<f32>,
    tokens: Vec<u32>,
    truncated: Vec<bool>,
    left: usize,
    space: String,
    timing: EmbedTiming,
    answer: Option<oneshot::Sender<Result<Embedded, Fault>>>,
}

impl Batcher {
    /// Starts the thread. Nothing is loaded yet. `fingerprints` is a private directory where those of
    /// large files are remembered.
    pub fn new(source: Source, fingerprints: Option<PathBuf>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            source,
            fingerprints,
            queued: AtomicUsize::new(0),
        });
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("offheap-model".into()).spawn(move || worker.run())?;
        Ok(Batcher { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Vectors for the `texts` of a connection. Setting `cancelled` drops what has not begun.
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
        self.shared.push(owner, texts, specials, priority, cancelled, answer)?;
        answered.await.unwrap_or_else(|_| Err(Fault::new(Code::Internal, "the model thread ended")))
    }

    /// The same for an index run, whose thread may block and whose texts are strangers'.
    pub fn embed_blocking(
        &self,
        texts: Vec<String>,
        priority: Priority,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Embedded, Fault> {
        let (answer, answered) = oneshot::channel();
        self.shared.push(INDEX_RUNS, texts, Specials::Text, priority, cancelled, answer)?;
        answered.blocking_recv().unwrap_or_else(|_| Err(Fault::new(Code::Internal, "the model thread ended")))
    }

    /// Loads the model if it is not loaded; for a thread that may block.
    pub fn load_blocking(&self) -> Result<Loaded, Fault> {
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.shared.lock();
            if queue.quit {
                return Err(Fault::new(Code::Leaving, "the daemon is leaving"));
            }
            queue.loads.push(answer);
        }
        self.shared.work.notify_one();
        answered.blocking_recv().unwrap_or_else(|_| Err(Fault::new(Code::Internal, "the model thread ended")))
    }

    /// What is loaded now.
    pub fn loaded(&self) -> Option<Loaded> {
        self.shared.lock().loaded.clone()
    }

    /// Distinct texts that wait.
    pub fn queued(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Drops the model as soon as nothing waits for it.
    pub fn evict(&self) {
        self.shared.lock().evict = true;
        self.shared.work.notify_one();
    }

    /// Ends the thread after its current micro-batch; what waits is failed.
    pub fn shutdown(&self) {
        self.shared.lock().quit = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().expect("only taken here").take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code that panics runs under this lock")
    }

    fn push(
        &self,
        owner: u64,
        texts: Vec<String>,
        specials: Specials,
        priority: Priority,
        cancelled: Arc<AtomicBool>,
        answer: oneshot::Sender<Result<Embedded, Fault>>,
    ) -> Result<(), Fault> {
        let n = texts.len();
        if self.queued.load(Ordering::Relaxed) + n > MAX_QUEUED {
            return Err(Fault::new(Code::Overloaded, format!("{MAX_QUEUED} texts are waiting already"))
                .hint("send less at once"));
        }
        let mut distinct: HashMap<&str, usize> = HashMap::with_capacity(n);
        let mut places: Vec<Vec<usize>> = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let at = *distinct.entry(text).or_insert(places.len());
            if at == places.len() {
                places.push(Vec::new());
            }
            places[at].push(i);
        }
        let mut all: Vec<Option<String>> = texts.into_iter().map(Some).collect();
        let texts: Vec<String> = places.iter().map(|at| all[at[0]].take().expect("each place is first once")).collect();
        let state = JobState {
            tokens: vec![0; n],
            truncated: vec![false; n],
            left: texts.len(),
            answer: Some(answer),
            ..JobState::default()
        };
        let distinct = texts.len();
        let job = Arc::new(Job {
            owner,
            texts,
            specials,
            priority,
            places,
            n,
            cancelled,
            enqueued: Instant::now(),
            state: Mutex::new(state),
        });
        let mut queue = self.lock();
        if queue.quit {
            return Err(Fault::new(Code::Leaving, "the daemon is leaving"));
        }
        self.queued.fetch_add(distinct, Ordering::Relaxed);
        queue.line(priority).extend(owner, (0..distinct).map(|text_idx| Item { job: job.clone(), text_idx }));
        self.work.notify_one();
        Ok(())
    }

    fn run(&self) {
        let mut embedder: Option<(Embedder, Loaded)> = None;
        loop {
            let mut queue = self.lock();
            while queue.interactive.is_empty()
                && queue.bulk.is_empty()
                && queue.loads.is_empty()
                && !queue.quit
                && !queue.evict
            {
                queue = self.work.wait(queue).expect("as in `lock`");
            }
            if queue.quit {
                return self.fail_all(queue, &Fault::new(Code::Leaving, "the daemon is leaving"));
            }
            if std::mem::take(&mut queue.evict) && queue.interactive.is_empty() && queue.bulk.is_empty() {
                queue.loaded = None;
                drop(queue);
                embedder = None;
                continue;
            }
            drop(queue);

            if embedder.as_ref().is_some_and(|(embedder, _)| !embedder.file_unchanged()) {
                log!("the model file changed under the map; opening it anew");
                embedder = None;
            }
            if embedder.is_none() {
                match self.open() {
                    Ok(opened) => {
                        self.lock().loaded = Some(opened.1.clone());
                        embedder = Some(opened);
                    }
                    Err(fault) => {
                        log!("the model cannot be loaded: {} {}", fault.code, fault.message);
                        let mut queue = self.lock();
                        queue.loaded = None;
                        self.fail_all(queue, &fault);
                        continue;
                    }
                }
            }
            let (model, loaded) = embedder.as_mut().expect("opened above");
            for waiting in std::mem::take(&mut self.lock().loads) {
                let _ = waiting.send(Ok(loaded.clone()));
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| self.batch(model, loaded)));
            if outcome.is_err() {
                // The batch's jobs were told when their items were dropped; start clean.
                log!("a micro-batch panicked; the model is dropped");
                self.lock().loaded = None;
                embedder = None;
            }
        }
    }

    fn open(&self) -> Result<(Embedder, Loaded), Fault> {
        let started = Instant::now();
        failpoint::pass("load");
        let file = (self.source)()?;
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
        log!(
            "loaded {} with {} on {} threads in {:?}",
            loaded.info.name,
            loaded.info.kernel,
            loaded.info.threads,
            started.elapsed()
        );
        Ok((embedder, loaded))
    }

    /// One micro-batch: up to the token budget, interactive texts first.
    fn batch(&self, model: &mut Embedder, loaded: &Loaded) {
        let started = Instant::now();
        let budget = model.token_budget();
        let mut taken: Vec<(Item, Encoding)> = Vec::new();
        let mut tokens = 0;
        while let Some(item) = self.next() {
            if item.job.cancelled.load(Ordering::Relaxed) {
                item.job.fail(&Fault::new(Code::Cancelled, "the request was cancelled"));
                continue;
            }
            let encoding = model.encode(&item.job.texts[item.text_idx], item.job.specials);
            if tokens > 0 && tokens + encoding.ids.len() > budget {
                self.put_back(item);
                break;
            }
            tokens += encoding.ids.len();
            taken.push((item, encoding));
        }
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
            // The text at fault is known by its place in this batch; its neighbours are computed alone.
            return self.one_by_one(model, loaded, taken, &error);
        }
        for ((item, encoding), row) in taken.iter().zip(rows.chunks_exact(dim)) {
            let timing = EmbedTiming {
                queue_us: micros(started - item.job.enqueued.min(started)),
                tokenise_us: micros(tokenised - started),
                model_us: micros(done - tokenised),
            };
            item.job.finish(item.text_idx, row, encoding, loaded, timing);
        }
    }

    /// After a batch failed: every text on its own, so that only the one at fault fails.
    fn one_by_one(
        &self,
        model: &mut Embedder,
        loaded: &Loaded,
        taken: Vec<(Item, Encoding)>,
        error: &offheap_engine::Error,
    ) {
        log!("a micro-batch failed: {error}");
        let mut row = vec![0.0; loaded.info.dim];
        for (item, encoding) in taken {
            match model.embed(&[&encoding.ids], &mut row) {
                Ok(()) => item.job.finish(item.text_idx, &row, &encoding, loaded, EmbedTiming::default()),
                Err(error) => item.job.fail(&fault::from_engine(&error)),
            }
        }
    }

    fn next(&self) -> Option<Item> {
        let mut queue = self.lock();
        let item = queue.pop()?;
        self.queued.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }

    fn put_back(&self, item: Item) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let (line, owner) = (item.job.priority, item.job.owner);
        let mut queue = self.lock();
        if line == Priority::Bulk {
            // Its turn had come, and there was only no room behind the questions: it opens the next batch.
            queue.passed = BULK_SHARE;
        }
        queue.line(line).put_back(owner, item);
    }

    fn fail_all(&self, mut queue: MutexGuard<'_, Queue>, fault: &Fault) {
        let loads = std::mem::take(&mut queue.loads);
        let items: Vec<Item> = queue.interactive.take_all().into_iter().chain(queue.bulk.take_all()).collect();
        drop(queue);
        self.queued.fetch_sub(items.len(), Ordering::Relaxed);
        items.iter().for_each(|item| item.job.fail(fault));
        loads.into_iter().for_each(|waiting| drop(waiting.send(Err(fault.clone()))));
    }
}

/// Tells a batch's callers when the model panics under it.
struct FailOnPanic<'a>(&'a [(Item, Encoding)]);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        for (item, _) in self.0 {
            item.job.fail(&Fault::new(Code::Internal, "the model failed inside; others are unharmed"));
        }
    }
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().expect("no code that panics runs under this lock")
    }

    fn finish(&self, text_idx: usize, row: &[f32], encoding: &Encoding, loaded: &Loaded, timing: EmbedTiming) {
        let mut state = self.lock();
        if state.answer.is_none() {
            return; // failed or cancelled meanwhile
        }
        let dim = row.len();
        if state.rows.is_empty() {
            state.rows = vec![0.0; self.n * dim];
            state.space.clone_from(&loaded.info.fingerprint);
        } else if state.space != loaded.info.fingerprint {
            drop(state);
            return self.fail(&Fault::new(Code::Leaving, "the model changed within the request"));
        }
        for place in &self.places[text_idx] {
            state.rows[place * dim..][..dim].copy_from_slice(row);
            state.tokens[*place] = encoding.ids.len() as u32;
            state.truncated[*place] = encoding.truncated;
        }
        state.timing.queue_us = state.timing.queue_us.max(timing.queue_us);
        state.timing.tokenise_us = state.timing.tokenise_us.max(timing.tokenise_us);
        state.timing.model_us = state.timing.model_us.max(timing.model_us);
        state.left -= 1;
        if state.left == 0 {
            let embedded = Embedded {
                rows: std::mem::take(&mut state.rows),
                tokens: std::mem::take(&mut state.tokens),
                truncated: std::mem::take(&mut state.truncated),
                model: loaded.clone(),
                timing: state.timing,
            };
            if let Some(answer) = state.answer.take() {
                let _ = answer.send(Ok(embedded));
            }
        }
    }

    fn fail(&self, fault: &Fault) {
        self.cancelled.store(true, Ordering::Relaxed); // its other texts are not worth computing
        if let Some(answer) = self.lock().answer.take() {
            let _ = answer.send(Err(fault.clone()));
        }
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
