//! The addon: the JavaScript API of a client. It converts and forwards, and decides nothing.
//!
//! Starting a daemon, retrying and aborting is JavaScript; the work is done by the daemon (`sidecar/`). Nothing here computes
//! a vector or opens an index.

mod call;
mod connections;
mod convert;
mod error;
mod locate;
mod runtime;

use std::time::Instant;

use napi::bindgen_prelude::*;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use offheap_protocol::message::{Priority, Progress, Request, Response, TextKind};
use offheap_protocol::{Client, Code, EmbedOptions, Endpoint, Fault};
use tokio::sync::watch;

use call::{Session, duration};
use convert::{EmbedCall, IndexResult, ProgressEvent, SearchOptions, SearchResult, StatusResult, VectorsResult};
use error::{js, unexpected};

/// Name and version of this library, by which daemons know its connections.
const LIBRARY_NAME: &str = concat!("offheap-node ", env!("CARGO_PKG_VERSION"));

/// The name that a connection has in `status`: what the program calls itself, and this library.
fn client_name(program: Option<String>) -> String {
    program.map_or_else(|| LIBRARY_NAME.to_owned(), |program| format!("{program} ({LIBRARY_NAME})"))
}

/// Where the daemon of a project is.
#[napi(object)]
pub struct Location {
    /// The project's root, an absolute path with links resolved; absent for the daemon without a project.
    pub project: Option<String>,
    /// The directory of sockets, locks and logs.
    pub runtime_dir: String,
    /// Path of the daemon's log.
    pub log: String,
    /// Why the runtime directory is not the one that the environment names.
    pub note: Option<String>,
}

/// Finds the daemon for a directory: that of the project around it, or else of the directory itself. Without a directory, it is
/// the user's daemon without a project.
#[napi]
pub fn locate(dir: Option<String>) -> Result<Location> {
    if let Some(why) = runtime::why_no_thread() {
        let fault = Fault::new(Code::Io, format!("a thread for the connection cannot be started: {why}"));
        return Err(js(fault.hint("raise the limit of processes and threads, then load offheap again")));
    }
    let endpoint = locate::endpoint(dir).map_err(js)?;
    Ok(Location {
        project: endpoint.project().map(|root| root.to_string_lossy().into_owned()),
        runtime_dir: endpoint.dir().to_string_lossy().into_owned(),
        log: endpoint.log().to_string_lossy().into_owned(),
        note: endpoint.note().map(str::to_owned),
    })
}

/// Makes the runtime directory, for the current user alone, and fails where another user can enter it.
#[napi]
pub fn prepare(project: Option<String>) -> Result<()> {
    let endpoint = Endpoint::new(project.map(Into::into)).map_err(js)?;
    endpoint.prepare_dir().map_err(js)
}

/// Path of the sidecar binary: `OFFHEAP_SIDECAR`, or the one beside this addon.
#[napi]
pub fn sidecar_path(env: Env) -> Result<String> {
    let addon = env.get_module_file_name()?;
    locate::sidecar(&addon).map(|path| path.to_string_lossy().into_owned()).map_err(js)
}

/// An error code with its meaning.
#[napi(object)]
pub struct ErrorCode {
    /// The code, as in `err.code`.
    pub code: String,
    /// What has happened, one sentence.
    pub meaning: String,
}

/// All error codes with their meanings, in the order of their numbers.
#[napi]
pub fn error_codes() -> Vec<ErrorCode> {
    let row =
        |(_, code, meaning): &(Code, &str, &str)| ErrorCode { code: (*code).into(), meaning: meaning.trim().into() };
    Code::TABLE.iter().map(row).collect()
}

/// A connection to a daemon. Every call takes a number of the caller's choice, by which `cancel` finds it, and a timeout in
/// milliseconds; absent and 0 are no limit.
///
/// Methods are not `async fn`, because their futures would borrow this object, which a worker thread that terminates frees
/// before it drops them. Each future owns what it uses.
#[napi]
pub struct NativeClient {
    session: Session,
}

/// Connects to the daemon of a project, or fails with DAEMON_NOT_RUNNING where there is none. With `may_start`, the caller
/// starts a daemon then; a daemon of an older version is asked to exit first. `name` is what the program calls itself.
#[napi]
pub async fn connect(project: Option<String>, may_start: bool, name: Option<String>) -> Result<NativeClient> {
    let endpoint = Endpoint::new(project.map(Into::into)).map_err(js)?;
    if let Some(client) = connections::get(&endpoint) {
        return Ok(client.into());
    }
    let client = match may_start {
        true => Client::connect_or_replace(&endpoint, &client_name(name)).await,
        false => Client::connect(&endpoint, &client_name(name)).await,
    };
    Ok(connections::add(endpoint, client.map_err(js)?).into())
}

/// Runs `binary` as a private daemon, connected by pipes, for systems that refuse sockets. `env` is its whole environment as
/// pairs of a name and a value.
#[napi]
pub async fn standalone(
    project: Option<String>,
    binary: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    name: Option<String>,
) -> Result<NativeClient> {
    let endpoint = Endpoint::new(project.map(Into::into)).map_err(js)?;
    if let Some(client) = connections::get(&endpoint) {
        return Ok(client.into());
    }
    let mut command = std::process::Command::new(binary);
    command.args(args).env_clear().envs(env).stderr(std::process::Stdio::null());
    let client = Client::standalone(command, &client_name(name)).await.map_err(js)?;
    Ok(connections::add(endpoint, client).into())
}

impl From<Client> for NativeClient {
    fn from(client: Client) -> Self {
        NativeClient { session: Session::new(client) }
    }
}

#[napi]
impl NativeClient {
    /// False once the daemon is leaving or gone: further calls need a new connection.
    #[napi(getter)]
    pub fn usable(&self) -> bool {
        self.session.client.is_usable()
    }

    /// True when the daemon crashed or was killed.
    #[napi(getter)]
    pub fn crashed(&self) -> bool {
        self.session.client.has_crashed()
    }

    /// The number of the connection. Several of these objects may share one.
    #[napi(getter)]
    pub fn connection(&self) -> f64 {
        self.session.client.number() as f64
    }

    /// How the daemon is reached: "local", "tcp" or "standalone".
    #[napi(getter)]
    pub fn transport(&self) -> String {
        self.session.client.transport().as_str().to_owned()
    }

    /// The version of the daemon's package.
    #[napi(getter)]
    pub fn version(&self) -> String {
        self.session.client.version().to_owned()
    }

    /// Cancels a call: its promise rejects with CANCELLED, and the daemon stops working on it.
    #[napi]
    pub fn cancel(&self, call: u32) {
        self.session.cancel(call);
    }

    /// Asks the daemon for a sign of life; resolves to the milliseconds until its answer.
    #[napi]
    pub fn ping<'env>(&self, env: &'env Env, call: u32, timeout_ms: Option<u32>) -> Result<PromiseRaw<'env, f64>> {
        let call = self.session.begin(call);
        env.spawn_future(async move {
            let started = Instant::now();
            match call.ask(Request::Ping, timeout_ms, None).await? {
                Response::Pong => Ok(started.elapsed().as_secs_f64() * 1e3),
                other => Err(unexpected(&other)),
            }
        })
    }

    /// Computes a vector for each text, in order.
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

    /// Brings the project's index up to date. Progress that comes while `on_progress` has 8
    /// calls queued is dropped.
    #[napi]
    pub fn index<'env>(
        &self,
        env: &'env Env,
        call: u32,
        rebuild: bool,
        force: bool,
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
                        callback.call(progress.into(), ThreadsafeFunctionCallMode::NonBlocking);
                    }
                }
            };
            let work = call.ask(Request::Index { rebuild, force }, timeout_ms, Some(sender));
            let (response, ()) = tokio::join!(work, forward);
            match response? {
                Response::Indexed(report) => Ok(report.into()),
                other => Err(unexpected(&other)),
            }
        })
    }

    /// Searches the project.
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
                other => Err(unexpected(&other)),
            }
        })
    }

    /// Reports the state of the daemon.
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
                other => Err(unexpected(&other)),
            }
        })
    }

    /// Makes the daemon drop the model and the index from memory; with `stored`, also deletes the stored embeddings. Resolves to
    /// the number of embeddings deleted.
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
                other => Err(unexpected(&other)),
            }
        })
    }

    /// Asks the daemon to finish what is in flight and exit.
    #[napi]
    pub fn shutdown<'env>(&self, env: &'env Env, call: u32, timeout_ms: Option<u32>) -> Result<PromiseRaw<'env, ()>> {
        let call = self.session.begin(call);
        env.spawn_future(async move { call.ask(Request::Shutdown, timeout_ms, None).await.map(drop) })
    }
}

/// A progress callback with a queue of 8 calls. It does not keep Node alive.
type OnProgress = ThreadsafeFunction<ProgressEvent, (), ProgressEvent, Status, false, true, 8>;
