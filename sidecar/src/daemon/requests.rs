//! Request to response: one match, one short arm each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use offheap_engine::hash;
use offheap_engine::tokenizer::Specials;
use offheap_protocol::codec::MAX_BODY;
use offheap_protocol::connection::{Payload, Transport};
use offheap_protocol::message::{
    Fresh, LoadStatus, ModelStatus, Priority, Progress, Request, Response, SearchMode, SearchReport, SearchRequest,
    StatusReport, Vectors,
};
use offheap_protocol::{Code, Fault};
use tokio::sync::watch;

use crate::daemon::limits::{self, Limits, Peer};
use crate::daemon::metrics::Metrics;
use crate::daemon::{Runs, VERSION};
use crate::model::queue::{Batcher, Loaded};
use crate::project::watch::{Ticket, Watch};
use crate::project::{Project, space_id};

/// Longest query: far beyond what a model reads, far below what would hurt.
const MAX_QUERY_BYTES: usize = 64 << 10;

/// Lines around a match: more is reading the file.
const MAX_CONTEXT: u32 = 20;

/// A search waits for changes no longer than this, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What all requests share.
pub struct Daemon {
    /// The model.
    pub batcher: Arc<Batcher>,
    /// The project; none for the per-user daemon.
    pub project: Option<Arc<Project>>,
    /// When it was ready.
    pub started: Instant,
    /// How clients reach it.
    pub transport: Transport,
    /// It and its predecessors.
    pub runs: Runs,
    /// Open connections.
    pub connections: AtomicUsize,
    /// Requests begun and not yet answered.
    pub in_flight: AtomicUsize,
    /// Requests answered.
    pub requests: AtomicU64,
    /// When something was last used, milliseconds after `started`. Looking at the daemon is no use of it.
    pub last_use_ms: AtomicU64,
    /// Of them, with a fault.
    pub faults: AtomicU64,
    /// What a connection may use.
    pub limits: Limits,
    /// What was done.
    pub metrics: Metrics,
    /// Turns true once: finish and leave.
    pub leaving: watch::Sender<bool>,
}

/// One request, on its way.
pub struct Call {
    /// Who asks.
    pub peer: Arc<Peer>,
    /// What is asked.
    pub request: Request,
    /// The request's body.
    pub body: Vec<u8>,
    /// Set when nobody waits any more.
    pub cancelled: Arc<AtomicBool>,
    /// Where progress goes.
    pub progress: watch::Sender<Progress>,
}

impl Daemon {
    /// Somebody uses it now.
    pub fn used(&self) {
        self.last_use_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// For how long nobody has.
    pub fn idle_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_use_ms.load(Ordering::Relaxed)))
    }

    /// Answers one request.
    pub async fn handle(self: &Arc<Self>, call: Call) -> Result<(Response, Payload), Fault> {
        let Call { peer, request, body, cancelled, progress } = call;
        let plain = |response| Ok((response, Payload::None));
        match request {
            Request::Hello { .. } => plain(Response::Hello { version: VERSION.to_owned(), max_body: MAX_BODY }),
            Request::Ping => plain(Response::Pong),
            // No architecture so far prefixes its texts, so `kind` changes nothing yet.
            Request::Embed { lengths, kind: _, priority, parse_specials, or_hash } => {
                let specials = if parse_specials { Specials::Parse } else { Specials::Text };
                // Kept only for who may need them a second time.
                let kept = or_hash.then(|| body.clone());
                match (self.embed(&peer, &lengths, body, specials, priority, cancelled).await, kept) {
                    (Err(fault), Some(body)) if is_without_model(&fault) => {
                        self.limits.run(&peer, move || hashed(texts(&lengths, &body)?, &fault)).await
                    }
                    (outcome, _) => outcome,
                }
            }
            Request::Index { rebuild } => {
                let (daemon, project) = (self.clone(), self.project()?.clone());
                let work = move || {
                    let outcome = project.index(rebuild, &daemon.batcher, &cancelled, &progress);
                    if project.snapshot().is_ok() {
                        Watch::start(&project, &daemon.batcher);
                        project.watch().recheck();
                    }
                    if outcome.is_ok() {
                        project.tend();
                    }
                    outcome
                };
                self.limits.run(&peer, work).await.and_then(|report| plain(Response::Indexed(report)))
            }
            Request::Search(search) => plain(Response::Found(self.search(&peer, search, cancelled).await?)),
            Request::Status => plain(Response::Status(Box::new(self.status().await?))),
            Request::ClearCache { stored } => {
                let embeddings = self.clear_cache(&peer, stored).await?;
                plain(Response::Cleared { embeddings })
            }
            Request::Shutdown => {
                self.leaving.send_replace(true);
                plain(Response::Leaving)
            }
        }
    }

    fn project(&self) -> Result<&Arc<Project>, Fault> {
        let project = self.project.as_ref().ok_or_else(|| {
            Fault::new(Code::NoProject, "this connection has no project")
                .hint("connect({ project: dir }), or run inside a project")
        })?;
        if project.is_in_place() {
            return Ok(project);
        }
        self.leaving.send_replace(true); // a successor serves what is at the path now
        let moved = format!("the directory `{}` was moved, deleted or made again", project.root().display());
        Err(Fault::new(Code::Leaving, moved))
    }

    async fn embed(
        &self,
        peer: &Peer,
        lengths: &[u32],
        body: Vec<u8>,
        specials: Specials,
        priority: Priority,
        cancelled: Arc<AtomicBool>,
    ) -> Result<(Response, Payload), Fault> {
        limits::check_texts(lengths.len())?;
        let texts = texts(lengths, &body)?;
        drop(body); // while they wait, texts are there once
        let embedded = self.batcher.embed(peer.id, texts, specials, priority, cancelled).await?;
        let vectors = Vectors {
            dim: embedded.model.info.dim as u32,
            tokens: embedded.tokens,
            truncated: embedded.truncated,
            space: space_id(&embedded.model),
            timing: embedded.timing,
            degraded: None,
        };
        Ok((Response::Vectors(vectors), Payload::Floats(embedded.rows)))
    }

    async fn search(
        &self,
        peer: &Peer,
        search: SearchRequest,
        cancelled: Arc<AtomicBool>,
    ) -> Result<SearchReport, Fault> {
        let project = self.project()?.clone();
        check_search(&search)?;
        if search.mode == SearchMode::Regex {
            return self.limits.run(peer, move || project.grep(&search, &cancelled)).await;
        }
        let began = Instant::now();
        let text_only = matches!(search.mode, SearchMode::Text | SearchMode::Symbol);
        let wait = match search.fresh {
            Fresh::StaleOk => None,
            Fresh::Wait { ms } => Some(Duration::from_millis(ms.into())),
        };
        let brought_in = match wait {
            Some(wait) => self.freshen(peer, &project, wait, text_only, &cancelled).await?,
            None => false,
        };
        let wait_us = began.elapsed().as_micros() as u64;
        // Before the model is loaded for it: an index there must be.
        let (opening, batcher) = (project.clone(), self.batcher.clone());
        self.limits.run(peer, move || opening.snapshot().map(|_| Watch::start(&opening, &batcher))).await?;
        let started = Instant::now();
        let embedded: Option<Result<(Vec<f32>, Loaded), Fault>> = match search.mode {
            SearchMode::Text | SearchMode::Symbol | SearchMode::Regex => None,
            SearchMode::Hybrid | SearchMode::Semantic => {
                let one = self
                    .batcher
                    .embed(peer.id, vec![search.query.clone()], Specials::Text, Priority::Interactive, cancelled)
                    .await;
                Some(one.map(|embedded| (embedded.rows, embedded.model)))
            }
        };
        let embed_us = started.elapsed().as_micros() as u64;
        let work = move || match search.mode {
            SearchMode::Symbol => project.symbols(&search, brought_in),
            _ => project.search(&search, embedded, brought_in),
        };
        let mut report = self.limits.run(peer, work).await?;
        report.wait_us = wait_us;
        report.embed_us = embed_us;
        Ok(report)
    }

    /// Waits, no longer than `wait`, until all that changed before now is in. Says whether it is.
    async fn freshen(
        &self,
        peer: &Peer,
        project: &Arc<Project>,
        wait: Duration,
        text_only: bool,
        cancelled: &AtomicBool,
    ) -> Result<bool, Fault> {
        let deadline = tokio::time::Instant::now() + wait.min(LONGEST_WAIT);
        let watch = project.watch();
        let mut news = watch.news();
        let mut ticket: Option<Ticket> = None;
        let mut patience = deadline;
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Fault::new(Code::Cancelled, "the request was cancelled"));
            }
            news.borrow_and_update(); // what happens from here on wakes
            let opening = project.clone();
            match (ticket, self.limits.run(peer, move || opening.snapshot().map(drop)).await) {
                // The first index run of all has nothing to show yet.
                (_, Err(fault)) if fault.code == Code::NoIndex && project.is_indexing() => {}
                (_, Err(fault)) => return Err(fault),
                // The owner's commits are all that can be seen, and they are.
                (None, Ok(())) if project.is_guest() => return Ok(false),
                (None, Ok(())) => {
                    Watch::start(project, &self.batcher);
                    let asking = project.clone();
                    ticket = Some(self.limits.run(peer, move || Ok(asking.watch().ask())).await?);
                    patience = tokio::time::Instant::now() + watch.patience();
                }
                (Some(ticket), Ok(())) => {
                    if let Some(is_in) = watch.is_in(ticket, text_only) {
                        return Ok(is_in);
                    }
                    if watch.is_held_up() {
                        project.interrupt();
                    }
                }
            }
            let now = tokio::time::Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            if let Some(ticket) = ticket.as_mut().filter(|_| now >= patience) {
                watch.give_up_waiting(ticket);
                patience = deadline;
            }
            // Whoever asked may leave without a word.
            let until = deadline.min(patience).min(now + Duration::from_millis(100));
            let _ = tokio::time::timeout_at(until, news.changed()).await;
        }
    }

    async fn clear_cache(&self, peer: &Peer, stored: bool) -> Result<u64, Fault> {
        self.batcher.evict();
        let Some(project) = self.project.clone() else { return Ok(0) };
        self.limits.run(peer, move || project.clear_cache(stored)).await
    }

    async fn status(&self) -> Result<StatusReport, Fault> {
        let (anon_bytes, file_bytes) = crate::os::memory::resident();
        let index = match self.project.clone() {
            Some(project) => self.limits.look(move || Ok(project.status())).await?,
            None => None,
        };
        Ok(StatusReport {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            project: self.project.as_ref().map(|project| project.root().display().to_string()),
            model: self.batcher.loaded().map(|model| ModelStatus {
                name: model.info.name.clone(),
                architecture: model.info.architecture.clone(),
                quantisation: model.info.quantisation.clone(),
                dim: model.info.dim as u32,
                context_length: model.info.context_length as u32,
                fingerprint: model.info.fingerprint.clone(),
                path: model.path.display().to_string(),
                kernel: model.info.kernel.to_owned(),
                threads: model.info.threads as u32,
            }),
            index,
            indexing: self.project.as_ref().is_some_and(|project| project.is_indexing()),
            connections: self.connections.load(Ordering::Relaxed) as u32,
            requests: self.requests.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            queued: self.batcher.queued() as u32,
            anon_bytes,
            file_bytes,
            watch: self.project.as_ref().map(|project| project.watch().status()),
            transport: self.transport.as_str().to_owned(),
            starts: self.runs.starts,
            crashes: self.runs.crashes,
            read_only: self.project.as_ref().is_some_and(|project| project.is_guest()),
            load: LoadStatus {
                waiting_bytes: self.limits.waiting_bytes() as u64,
                working: self.limits.working() as u32,
                ..self.metrics.report()
            },
        })
    }
}

/// What is wrong with a search before anything is asked.
pub fn check_search(search: &SearchRequest) -> Result<(), Fault> {
    if search.query.len() > MAX_QUERY_BYTES {
        let length = search.query.len();
        return Err(Fault::new(
            Code::TooLarge,
            format!("the query has {length} bytes, the limit is {MAX_QUERY_BYTES}"),
        ));
    }
    if search.limit == 0 || search.limit > 1_000 {
        return Err(Fault::new(Code::InvalidArgument, "limit must be 1 to 1000"));
    }
    if search.context > MAX_CONTEXT {
        return Err(Fault::new(Code::InvalidArgument, format!("context must be 0 to {MAX_CONTEXT}")));
    }
    Ok(())
}

/// Faults that another try with this model will meet again.
fn is_without_model(fault: &Fault) -> bool {
    matches!(fault.code, Code::ModelNotFound | Code::ModelDamaged | Code::ModelUnsupported)
}

/// Vectors without a model, of a space that nothing else is in.
fn hashed(texts: Vec<String>, why: &Fault) -> Result<(Response, Payload), Fault> {
    let rows: Vec<f32> = texts.iter().flat_map(|text| hash::embed(text)).collect();
    let vectors = Vectors {
        dim: hash::DIM as u32,
        tokens: vec![0; texts.len()],
        truncated: vec![false; texts.len()],
        space: hash::SPACE.to_owned(),
        degraded: Some(format!("hashed, not embedded: {} ({})", why.message, why.code)),
        ..Vectors::default()
    };
    Ok((Response::Vectors(vectors), Payload::Floats(rows)))
}

/// Cuts a body into its texts.
fn texts(lengths: &[u32], body: &[u8]) -> Result<Vec<String>, Fault> {
    let malformed = |why: &str| Fault::new(Code::Protocol, format!("the embed request is malformed: {why}"));
    let total: u64 = lengths.iter().map(|n| u64::from(*n)).sum();
    if total != body.len() as u64 {
        return Err(malformed("the lengths do not add up to the body"));
    }
    let mut rest = body;
    lengths
        .iter()
        .map(|n| {
            let (text, others) = rest.split_at(*n as usize);
            rest = others;
            String::from_utf8(text.to_vec()).map_err(|_| malformed("a text is not UTF-8"))
        })
        .collect()
}
