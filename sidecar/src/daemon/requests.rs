//! What each request does: one match, one short arm each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offheap_engine::hashed;
use offheap_engine::tokenizer::Specials;
use offheap_protocol::codec::MAX_BODY;
use offheap_protocol::connection::Payload;
use offheap_protocol::message::{
    Fresh, LoadStatus, ModelStatus, Priority, Progress, Request, Response, SearchMode, SearchReport, SearchRequest,
    StatusReport, Vectors,
};
use offheap_protocol::{Code, Fault};
use tokio::sync::{oneshot, watch};

use super::limits::{self, Peer};
use super::state::Daemon;
use crate::VERSION;
use crate::os;
use crate::project::follow;
use crate::project::search::{QueryVector, check_search};
use crate::project::watch::{COOKIE_PATIENCE, Ticket};
use crate::project::{IndexRequest, Project};

/// The longest that a search may wait for changes to be indexed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// One request, as its handler gets it.
pub struct Call {
    /// The connection that asks.
    pub peer: Arc<Peer>,
    /// What is asked.
    pub request: Request,
    /// The request's body.
    pub body: Vec<u8>,
    /// Set when the caller has cancelled the request or is gone.
    pub cancelled: Arc<AtomicBool>,
    /// Gets the progress of an index run.
    pub progress: watch::Sender<Progress>,
}

impl Daemon {
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
                // A caller that takes hashed vectors needs the texts a second time.
                let kept = or_hash.then(|| body.clone());
                match (self.embed(&peer, &lengths, body, specials, priority, cancelled).await, kept) {
                    (Err(fault), Some(body)) if is_without_model(&fault) => {
                        self.limits.run(&peer, move || hashed(texts(&lengths, &body)?, &fault)).await
                    }
                    (outcome, _) => outcome,
                }
            }
            Request::Index { rebuild, force } => {
                let (daemon, project) = (self.clone(), self.project()?.clone());
                let work = move || {
                    let outcome = project.index(&IndexRequest {
                        rebuild,
                        force,
                        batcher: &daemon.batcher,
                        cancelled: &cancelled,
                        progress: &progress,
                    });
                    if project.snapshot().is_ok() {
                        follow::start(&project, &daemon.batcher);
                        project.watch().recheck();
                    }
                    if outcome.is_ok() {
                        project.start_maintenance();
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
                self.begin_leaving();
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
        self.begin_leaving(); // a successor serves what is at the path now
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
        drop(body); // the texts are in memory once while they wait
        let embedded = self.batcher.embed(peer.id, texts, specials, priority, cancelled).await?;
        let vectors = Vectors {
            dim: embedded.model.info.dim as u32,
            tokens: embedded.tokens,
            truncated: embedded.truncated,
            space: embedded.model.space().id,
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
        let is_current = match wait {
            Some(wait) => self.wait_until_indexed(peer, &project, wait, text_only, &cancelled).await?,
            None => false,
        };
        let wait_us = began.elapsed().as_micros() as u64;
        let search = Arc::new(search);
        // Told when the index is open: a search of a project without one must not load the model.
        let (opened, is_open) = oneshot::channel();
        let (opening, batcher, beginning) = (project.clone(), self.batcher.clone(), search.clone());
        let begin = move || {
            let snapshot = opening.snapshot()?;
            follow::start(&opening, &batcher);
            let _ = opened.send(());
            match beginning.mode {
                SearchMode::Symbol | SearchMode::Regex => Ok(None),
                _ => opening.begin_search(&beginning, snapshot).map(Some),
            }
        };
        // The words are looked up while the model computes the query's vector.
        let begin = self.limits.run(peer, begin);
        let embed = self.embed_query(peer, &search, is_open, cancelled.clone());
        let (begun, (vector, embed_us)) = tokio::try_join!(begin, async { Ok(embed.await) })
            .inspect_err(|_| cancelled.store(true, Ordering::Relaxed))?;
        let work = move || match begun {
            None => project.symbols(&search, is_current),
            Some(begun) => project.search(&search, begun, vector, is_current),
        };
        let mut report = self.limits.run(peer, work).await?;
        report.wait_us = wait_us;
        report.embed_us = embed_us;
        Ok(report)
    }

    /// The query's vector, where the mode of `search` uses one, and the microseconds it took. Begins when the index is open.
    async fn embed_query(
        &self,
        peer: &Peer,
        search: &SearchRequest,
        is_open: oneshot::Receiver<()>,
        cancelled: Arc<AtomicBool>,
    ) -> (QueryVector, u64) {
        let uses_vectors = matches!(search.mode, SearchMode::Hybrid | SearchMode::Semantic);
        if !uses_vectors || is_open.await.is_err() {
            return (QueryVector::NotNeeded, 0);
        }
        let started = Instant::now();
        let text = vec![search.query.clone()];
        let vector = match self.batcher.embed(peer.id, text, Specials::Text, Priority::Interactive, cancelled).await {
            Ok(embedded) => QueryVector::Of(embedded.rows, embedded.model),
            Err(fault) => QueryVector::Unavailable(fault),
        };
        (vector, started.elapsed().as_micros() as u64)
    }

    /// Waits, no longer than `wait`, until every change made before now is indexed. Says whether it is.
    async fn wait_until_indexed(
        &self,
        peer: &Peer,
        project: &Arc<Project>,
        wait: Duration,
        text_only: bool,
        cancelled: &AtomicBool,
    ) -> Result<bool, Fault> {
        let deadline = tokio::time::Instant::now() + wait.min(LONGEST_WAIT);
        let watch = project.watch();
        let mut steps = watch.steps();
        let mut ticket: Option<Ticket> = None;
        let mut patience = deadline;
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Fault::new(Code::Cancelled, "the request was cancelled"));
            }
            steps.borrow_and_update(); // steps from here on end the waiting below
            let opening = project.clone();
            match (ticket, self.limits.run(peer, move || opening.snapshot().map(drop)).await) {
                // The first index run has committed nothing yet.
                (_, Err(fault)) if fault.code == Code::NoIndex && project.is_indexing() => {}
                (_, Err(fault)) => return Err(fault),
                // Another process owns the index: its commits are all that can be seen.
                (None, Ok(())) if project.is_borrowed() => return Ok(false),
                (None, Ok(())) => {
                    follow::start(project, &self.batcher);
                    let asking = project.clone();
                    ticket = Some(self.limits.run(peer, move || Ok(asking.watch().ask())).await?);
                    patience = tokio::time::Instant::now() + COOKIE_PATIENCE;
                }
                (Some(ticket), Ok(())) => {
                    if let Some(is_indexed) = watch.is_indexed(ticket, text_only) {
                        return Ok(is_indexed);
                    }
                    if watch.waits_for_vectors() {
                        project.stop_background_run();
                    }
                }
            }
            let now = tokio::time::Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            if let Some(ticket) = ticket.as_mut().filter(|_| now >= patience) {
                watch.stop_waiting_for_event(ticket);
                patience = deadline;
            }
            // The caller may cancel, which wakes nothing here.
            let until = deadline.min(patience).min(now + Duration::from_millis(100));
            let _ = tokio::time::timeout_at(until, steps.changed()).await;
        }
    }

    async fn clear_cache(&self, peer: &Peer, stored: bool) -> Result<u64, Fault> {
        self.batcher.evict();
        let Some(project) = self.project.clone() else { return Ok(0) };
        self.limits.run(peer, move || project.clear_cache(stored)).await
    }

    async fn status(&self) -> Result<StatusReport, Fault> {
        let (anon_bytes, file_bytes) = os::memory::resident();
        let space = self.batcher.loaded().map(|model| model.space());
        let index = match self.project.clone() {
            Some(project) => self.limits.look(move || Ok(project.status(space.as_ref()))).await?,
            None => None,
        };
        Ok(StatusReport {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            uptime_ms: self.idle.uptime().as_millis() as u64,
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
            queued: self.batcher.n_queued() as u32,
            anon_bytes,
            file_bytes,
            watch: self.project.as_ref().map(|project| project.watch().status()),
            transport: self.transport.as_str().to_owned(),
            starts: self.runs.starts,
            crashes: self.runs.crashes,
            read_only: self.project.as_ref().is_some_and(|project| project.is_borrowed()),
            load: LoadStatus {
                waiting_bytes: self.limits.waiting_bytes() as u64,
                working: self.limits.working() as u32,
                ..self.metrics.report()
            },
            idle: self.idle.report(),
            embedding_cache: self.project.as_ref().map(|project| project.cache_counts()).unwrap_or_default(),
            clients: self.clients.report(),
        })
    }
}

/// Whether the fault says that no model can be loaded, which another try would meet again.
fn is_without_model(fault: &Fault) -> bool {
    matches!(fault.code, Code::ModelNotFound | Code::ModelDamaged | Code::ModelUnsupported)
}

/// Hashed vectors, of a vector space of their own, for callers that have no model.
fn hashed(texts: Vec<String>, why: &Fault) -> Result<(Response, Payload), Fault> {
    let rows: Vec<f32> = texts.iter().flat_map(|text| hashed::embed(text)).collect();
    let vectors = Vectors {
        dim: hashed::DIM as u32,
        tokens: vec![0; texts.len()],
        truncated: vec![false; texts.len()],
        space: hashed::SPACE.to_owned(),
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
