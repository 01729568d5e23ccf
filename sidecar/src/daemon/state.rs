//! What all requests of a daemon share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use offheap_protocol::connection::Transport;
use offheap_protocol::message::Request;
use offheap_protocol::{Code, Fault};
use tokio::sync::watch;

use super::clients::Clients;
use super::clock::{IdleClock, Use};
use super::limits::Limits;
use super::metrics::Metrics;
use super::runs::Runs;
use crate::args;
use crate::config::Config;
use crate::model::Batcher;
use crate::model::file;
use crate::project::Project;

/// One daemon.
pub struct Daemon {
    /// Computes vectors.
    pub batcher: Arc<Batcher>,
    /// The project; `None` for the user's daemon without a project.
    pub project: Option<Arc<Project>>,
    /// How long it runs, and when it was used.
    pub idle: IdleClock,
    /// How clients reach it.
    pub transport: Transport,
    /// Starts and crashes at this endpoint, this daemon included.
    pub runs: Runs,
    /// Open connections.
    pub connections: AtomicUsize,
    /// Open connections by the name of their client.
    pub clients: Arc<Clients>,
    /// Requests that were read and whose answers are not written yet.
    pub in_flight: AtomicUsize,
    /// Requests answered, faults included.
    pub requests: AtomicU64,
    /// Requests answered with a fault.
    pub faults: AtomicU64,
    /// Limits on what connections may use.
    pub limits: Limits,
    /// Counters and latencies.
    pub metrics: Metrics,
    /// Becomes true once: the daemon finishes its requests and exits.
    pub leaving: watch::Sender<bool>,
}

impl Daemon {
    /// A daemon that has loaded and opened nothing yet.
    ///
    /// Errors: the model thread cannot be started.
    pub fn new(
        options: &args::Daemon,
        config: &Config,
        project: Option<PathBuf>,
        transport: Transport,
        fingerprints: Option<PathBuf>,
    ) -> Result<Self, Fault> {
        let model_dir = options.model_dir.clone();
        let (named, root) = (config.model.clone(), project.clone());
        let find_model = Box::new(move || file::resolve(&named, root.as_deref(), model_dir.as_deref()));
        let batcher = Batcher::new(find_model, fingerprints)
            .map_err(|error| Fault::new(Code::DaemonStartFailed, format!("cannot start the model thread: {error}")))?;
        Ok(Daemon {
            batcher: Arc::new(batcher),
            project: project.map(|root| Arc::new(Project::new(root))),
            idle: IdleClock::new(&config.daemon),
            transport,
            runs: Runs { starts: 1, ..Runs::default() },
            connections: AtomicUsize::new(0),
            clients: Arc::default(),
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            limits: Limits::new(),
            metrics: Metrics::default(),
            leaving: watch::channel(false).0,
        })
    }

    /// Makes the daemon finish its requests and exit.
    pub fn begin_leaving(&self) {
        self.leaving.send_replace(true);
    }
}

/// Counts a request as in flight from when it is read until its answer is written, whatever becomes of it.
pub struct InFlight {
    daemon: Arc<Daemon>,
    /// What it means for the daemon's idleness.
    begun: Use,
}

impl InFlight {
    /// Counts `request`.
    pub fn begin(daemon: &Arc<Daemon>, request: &Request) -> InFlight {
        daemon.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight { daemon: daemon.clone(), begun: daemon.idle.begin(request) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.daemon.idle.end(&self.begun);
        self.daemon.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.daemon.requests.fetch_add(1, Ordering::Relaxed);
    }
}
