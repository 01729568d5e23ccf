//! The addon: converts and forwards, decides nothing.
//!
//! It holds one connection per daemon and process. Starting a daemon is `sidecar/start.js`, retrying and aborting
//! `index.js`; what the daemon does is `sidecar/`. Nothing here computes a vector or opens an index.

mod convert;
mod error;
mod locate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use napi::bindgen_prelude::*;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Priority, Progress, Request, Response, TextKind};
use offheap_protocol::{Client, Code, EmbedOptions, Endpoint, Fault};
use tokio::sync::{Notify, watch};

use convert::{EmbedCall, IndexResult, ProgressEvent, SearchOptions, SearchResult, StatusResult, VectorsResult};
use error::js;

/// Who we are in the daemon's status.
const WHO: &str = concat!("offheap-node ", env!("CARGO_PKG_VERSION"));

/// Why nothing can run, where the system refused us a thread. `locate` tells the caller.
static NO_THREAD: OnceLock<String> = OnceLock::new();

/// One worker is plenty for a socket; napi's default would be one per processor.
///
/// This runs while the library is loaded, where a panic would abort Node, and so would the one that napi's own runtime
/// has for this case: without a thread napi is given a runtime that needs none, and that nobody is let near.
#[napi_derive::module_init]
fn init() {
    let threaded = std::panic::catch_unwind(|| {
        // tokio panics where a thread cannot be started, and prints it; this asks first.
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| ())?;
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4) // none is used but by a private daemon's pipes on Windows, which block
            .thread_name("offheap-ipc")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
    });
    let why = match threaded {
        Ok(Ok(runtime)) => return create_custom_tokio_runtime(runtime),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the system gives none".to_owned(),
    };
    let _ = NO_THREAD.set(why);
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
        create_custom_tokio_runtime(runtime);
    }
}

const STACK_BYTES: usize = 256 << 10;

/// Where a project's daemon is, and what to run where there is none.
#[napi(object)]
pub struct Location {
    /// The project's root, links resolved; absent for the project-less daemon.
    pub project: Option<String>,
    /// The directory of sockets and locks.
    pub runtime_dir: String,
    /// The daemon's log.
    pub log: String,
}

/// Finds the endpoint for a directory: the project around it, or the directory itself. Without one, the user's
/// project-less endpoint.
#[napi]
pub fn locate(dir: Option<String>) -> Result<Location> {
    if let Some(why) = NO_THREAD.get() {
        let fault = Fault::new(Code::Io, format!("a thread for the connection cannot be started: {why}"));
        return Err(js(fault.hint("raise the limit of processes and threads, then load offheap again")));
    }
    let endpoint = locate::endpoint(dir).map_err(js)?;
    Ok(Location {
        project: endpoint.project().map(|root| root.to_string_lossy().into_owned()),
        runtime_dir: endpoint.dir().to_string_lossy().into_owned(),
        log: endpoint.log().to_string_lossy().into_owned(),
    })
}

/// Makes the runtime directory of a directory's project, closed to others, or refuses one that is open to them.
#[napi]
pub fn prepare(project: Option<String>) -> Result<()> {
    let endpoint = Endpoint::new(project.map(Into::into)).map_err(js)?;
    endpoint.prepare_dir().map_err(js)
}

/// The sidecar binary beside this addon, or `OFFHEAP_SIDECAR`.
#[napi]
pub fn sidecar_path(env: Env) -> Result<String> {
    let addon = env.get_module_file_name()?;
    locate::sidecar(&addon).map(|path| path.to_string_lossy().into_owned()).map_err(js)
}

/// Every error code with its meaning.
#[napi(object)]
pub struct ErrorCode {
    /// `err.code`.
    pub code: String,
    /// When it is given.
    pub meaning: String,
}

/// The table of error codes.
#[napi]
pub fn error_codes() -> Vec<ErrorCode> {
    let row =
        |(_, code, meaning): &(Code, &str, &str)| ErrorCode { code: (*code).into(), meaning: meaning.trim().into() };
    Code::TABLE.iter().map(row).collect()
}

/// One connection per daemon, shared by every environment (worker threads) of this process.
static OPEN: Mutex<Option<HashMap<Endpoint, Client>>> = Mutex::new(None);

/// A connection to a daemon that runs. Every call takes a number of the caller's choice, for `cancel`.
///
/// Methods are not `async fn`: their futures would borrow this object, which a terminating worker thread frees under
/// them. They own what they use.
#[napi]
pub struct NativeClient {
    session: Session,
}

/// What a call's future owns.
#[derive(Clone)]
struct Session {
    client: Client,
    calls: Arc<Mutex<HashMap<u32, Arc<Notify>>>>,
}

/// Connects, or fails with DAEMON_NOT_RUNNING where nobody answers. `may_start`: the caller starts a daemon then, so an
/// older one is asked to leave.
#[napi]
pub async fn connect(project: Option<String>, may_start: bool) -> Result<NativeClient> {
    let endpoint = Endpoint::new(project.map(Into::into)).map_err(js)?;
    if let Some(client) = shared(&endpoint) {
        return Ok(client.into());
    }
    let client = match may_start {
        true => Client::connect_or_replace(&endpoint, WHO).await,
        false => Client::connect(&endpoint, WHO).await,
    };
    Ok(share(endpoint, client.map_err(js)?).into())
}

/// Runs a private daemon over pipes, for where the system refuses sockets. `env` is its whole environment, pairs of a
/// name and a value.
#[napi]
pub async fn standalone(
    project: Option<String>,
    binary: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
) -> Result<NativeClient> {
    let endpoint = Endpoint::new(project.map(Into::into)).map_err(js)?;
    if let Some(client) = shared(&endpoint) {
        return Ok(client.into());
    }
    let mut command = std::process::Command::new(binary);
    command.args(args).env_clear().envs(env).stderr(std::process::Stdio::null());
    let client = Client::standalone(command, WHO).await.map_err(js)?;
    Ok(share(endpoint, client).into())
}

impl From<Client> for NativeClient {
    fn from(client: Client) -> Self {
        NativeClient { session: Session { client, calls: Arc::default() } }
    }
}

/// Another environment may have been faster; ours then ends with its last request.
fn share(endpoint: Endpoint, client: Client) -> Client {
    let mut open = OPEN.lock().expect(UNPOISONED);
    let open = open.get_or_insert_default();
    open.retain(|_, client| client.is_usable());
    open.entry(endpoint).or_insert(client).clone()
}

const UNPOISONED: &str = "no code that panics runs under this lock";

fn shared(endpoint: &Endpoint) -> Option<Client> {
    let open = OPEN.lock().expect(UNPOISONED);
    open.as_ref()?.get(endpoint).filter(|client| client.is_usable()).cloned()
}

#[napi]
impl NativeClient {
    /// False once the daemon is leaving or gone.
    #[napi(getter)]
    pub fn usable(&self) -> bool {
        self.session.client.is_usable()
    }

    /// True when the daemon's end went without a farewell.
    #[napi(getter)]
    pub fn crashed(&self) -> bool {
        self.session.client.has_crashed()
    }

    /// The number of the connection, which several of these objects share.
    #[napi(getter)]
    pub fn connection(&self) -> f64 {
        self.session.client.number() as f64
    }

    /// "local", "tcp" or "standalone".
    #[napi(getter)]
    pub fn transport(&self) -> String {
        self.session.client.transport().as_str().to_owned()
    }

    /// The daemon's version.
    #[napi(getter)]
    pub fn version(&self) -> String {
        self.session.client.version().to_owned()
    }

    /// Ends a call: its promise rejects with CANCELLED, the daemon stops working on it.
    #[napi]
    pub fn cancel(&self, call: u32) {
        if let Some(notify) = self.session.calls.lock().expect(UNPOISONED).get(&call) {
            notify.notify_one();
        }
    }

    /// Milliseconds to the daemon and back.
    #[napi]
    pub fn ping<'env>(&self, env: &'env Env, call: u32, timeout_ms: Option<u32>) -> Result<PromiseRaw<'env, f64>> {
        let call = self.session.begin(call);
        env.spawn_future(async move {
            let started = Instant::now();
            match call.ask(Request::Ping, timeout_ms, None).await? {
                Response::Pong => Ok(started.elapsed().as_secs_f64() * 1e3),
                other => Err(odd(&other)),
            }
        })
    }

    /// Vectors for texts, in order.
    #[napi]
    pub fn embed<'env>(
        &self,
        env: &'env Env,
        call: u32,
        texts: Vec<String>,
        options: EmbedCall,
        timeout_ms: Option<u32>,
    ) -> Result<PromiseRaw<'env, VectorsResult>> {
        let options = EmbedOptions {
            kind: if options.query { TextKind::Query } else { TextKind::Document },
            priority: if options.bulk { Priority::Bulk } else { Priority::Interactive },
            parse_specials: options.parse_specials,
            or_hash: options.or_hash,
            deadline: duration(timeout_ms),
        };
        let call = self.session.begin(call);
        env.spawn_future(async move {
            let client = call.session.client.clone();
            call.run(client.embed(texts, options)).await.map(Into::into)
        })
    }

    /// Brings the project's index up to date.
    #[napi]
    pub fn index<'env>(
        &self,
        env: &'env Env,
        call: u32,
        rebuild: bool,
        timeout_ms: Option<u32>,
        #[napi(ts_arg_type = "(progress: ProgressEvent) => void")] on_progress: Option<OnProgress>,
    ) -> Result<PromiseRaw<'env, IndexResult>> {
        let call = self.session.begin(call);
        env.spawn_future(async move {
            let (sender, mut watching) = watch::channel(Progress::default());
            let forward = async {
                while watching.changed().await.is_ok() {
                    let progress = watching.borrow_and_update().clone();
                    if let Some(callback) = &on_progress {
                        // A full queue is no loss: a newer one follows.
                        callback.call(progress.into(), ThreadsafeFunctionCallMode::NonBlocking);
                    }
                }
            };
            let work = call.ask(Request::Index { rebuild }, timeout_ms, Some(sender));
            let (response, ()) = tokio::join!(work, forward);
            match response? {
                Response::Indexed(report) => Ok(report.into()),
                other => Err(odd(&other)),
            }
        })
    }

    /// Ranked chunks for a query.
    #[napi]
    pub fn search<'env>(
        &self,
        env: &'env Env,
        call: u32,
        query: String,
        options: SearchOptions,
        timeout_ms: Option<u32>,
    ) -> Result<PromiseRaw<'env, SearchResult>> {
        let request = options.request(query).map_err(js)?;
        let call = self.session.begin(call);
        env.spawn_future(async move {
            match call.ask(request, timeout_ms, None).await? {
                Response::Found(report) => Ok(report.into()),
                other => Err(odd(&other)),
            }
        })
    }

    /// What the daemon is doing.
    #[napi]
    pub fn status<'env>(
        &self,
        env: &'env Env,
        call: u32,
        timeout_ms: Option<u32>,
    ) -> Result<PromiseRaw<'env, StatusResult>> {
        let call = self.session.begin(call);
        env.spawn_future(async move {
            match call.ask(Request::Status, timeout_ms, None).await? {
                Response::Status(report) => Ok((*report).into()),
                other => Err(odd(&other)),
            }
        })
    }

    /// Drops what the daemon holds in memory; with `stored`, also the stored embeddings. Gives how many those were.
    #[napi]
    pub fn clear_cache<'env>(
        &self,
        env: &'env Env,
        call: u32,
        stored: bool,
        timeout_ms: Option<u32>,
    ) -> Result<PromiseRaw<'env, f64>> {
        let call = self.session.begin(call);
        env.spawn_future(async move {
            match call.ask(Request::ClearCache { stored }, timeout_ms, None).await? {
                Response::Cleared { embeddings } => Ok(embeddings as f64),
                other => Err(odd(&other)),
            }
        })
    }

    /// Asks the daemon to finish what is in flight and leave.
    #[napi]
    pub fn shutdown<'env>(&self, env: &'env Env, call: u32, timeout_ms: Option<u32>) -> Result<PromiseRaw<'env, ()>> {
        let call = self.session.begin(call);
        env.spawn_future(async move { call.ask(Request::Shutdown, timeout_ms, None).await.map(drop) })
    }
}

/// A progress callback that does not keep Node alive.
type OnProgress = ThreadsafeFunction<ProgressEvent, (), ProgressEvent, Status, false, true, 8>;

impl Session {
    /// Registers a call, on the thread that makes it: a cancel can only come later.
    fn begin(&self, id: u32) -> Call {
        let stop = Arc::new(Notify::new());
        self.calls.lock().expect(UNPOISONED).insert(id, stop.clone());
        Call { session: self.clone(), id, stop }
    }
}

/// One call, from its registration to its end.
struct Call {
    session: Session,
    id: u32,
    stop: Arc<Notify>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.session.calls.lock().expect(UNPOISONED).remove(&self.id);
    }
}

impl Call {
    async fn ask(
        &self,
        request: Request,
        timeout_ms: Option<u32>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Response> {
        let work = self.session.client.call(request, Payload::None, duration(timeout_ms), progress);
        self.run(work).await.map(|reply| reply.response)
    }

    /// Runs `work` until it is done or cancelled; dropping it tells the daemon.
    async fn run<T>(&self, work: impl Future<Output = std::result::Result<T, Fault>>) -> Result<T> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = self.stop.notified() => Err(Fault::new(Code::Cancelled, "the call was cancelled")),
        };
        outcome.map_err(js)
    }
}

fn duration(timeout_ms: Option<u32>) -> Option<Duration> {
    timeout_ms.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()))
}

fn odd(response: &Response) -> Error {
    let which = std::mem::discriminant(response);
    js(Fault::new(Code::Protocol, format!("the daemon gave an answer to another question: {which:?}")))
}
