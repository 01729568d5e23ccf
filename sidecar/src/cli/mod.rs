//! Commands: thin clients of the daemon. Data on standard output, everything else on standard error.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing there (`status`, `stop` without a daemon; `search` without
//! hits), 130 interrupted.

pub mod connect;
mod doctor;
mod output;
mod restart;

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use offheap_protocol::connection::Payload;
use offheap_protocol::endpoint::{canonical, find_project};
use offheap_protocol::message::{
    Case, Fresh, IndexReport, Priority, Progress, Request, Response, SearchMode, SearchReport, SearchRequest,
    StatusReport, TextKind,
};
use offheap_protocol::{Client, Code, EmbedOptions, Endpoint, Fault};
use serde_json::json;
use tokio::sync::watch;

use crate::args::{self, CaseRule, Command, Common, Mode};
use crate::config;
use crate::config::Config;
use crate::model::file::HubFile;
use crate::project::Project;
use crate::project::search::check_search;
use output::{Bar, out};

pub use output::note;

/// Nothing there.
const NOTHING: u8 = 3;
const INTERRUPTED: u8 = 130;
/// How long `search --fresh` waits.
const FRESH_WAIT_MS: u32 = 10_000;

/// Runs one command to its exit code.
pub fn main(command: Command) -> ExitCode {
    let json = match &command {
        Command::Init(args) => args.json,
        Command::Pull(args) => args.json,
        Command::Index(args::Index { common, .. })
        | Command::Search(args::Search { common, .. })
        | Command::Embed(args::Embed { common, .. })
        | Command::Status(common)
        | Command::Start(common)
        | Command::Stop(common) => common.json,
        Command::Restart(args) => args.common.json,
        Command::Doctor(common) => common.json,
        Command::Daemon(_) => false,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Fault::new(Code::Io, format!("cannot start the event loop: {error}")), json),
    };
    match runtime.block_on(run(command)) {
        Ok(code) => code,
        Err(fault) => fail(&fault, json),
    }
}

fn fail(fault: &Fault, json: bool) -> ExitCode {
    if json {
        out(&json!({ "error": { "code": fault.code.as_str(), "message": fault.message, "hint": fault.hint } }));
    }
    output::error(fault);
    ExitCode::from(match fault.code {
        Code::Cancelled => INTERRUPTED,
        Code::DaemonNotRunning => NOTHING,
        _ => 1,
    })
}

async fn run(command: Command) -> Result<ExitCode, Fault> {
    match command {
        Command::Init(args) => init(&args),
        Command::Index(args) => index(&args).await,
        Command::Search(args) => search(&args).await,
        Command::Embed(args) => embed(args).await,
        Command::Status(common) => status(&common).await,
        Command::Start(common) => start_daemon(&common).await,
        Command::Stop(common) => stop(&common).await,
        Command::Restart(args) => restart::restart(&args).await,
        Command::Doctor(common) => doctor::doctor(&common).await,
        Command::Pull(args) => pull(&args),
        Command::Daemon(_) => unreachable!("main.rs runs the daemon without a client's event loop"),
    }
}

/// The project that `index` works for: the one around the directory, or the directory itself, which becomes one.
fn project(common: &Common) -> Result<PathBuf, Fault> {
    let dir = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    Ok(find_project(&dir)?.unwrap_or(canonical(&dir)?))
}

/// The daemon that every other command talks to: the one of the project around the directory; where there is none, the
/// user's, or with `--project DIR` the one of DIR.
fn endpoint(common: &Common) -> Result<Endpoint, Fault> {
    let dir = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    match (find_project(&dir)?, &common.project) {
        (None, Some(dir)) => Endpoint::new(Some(canonical(dir)?)),
        (found, _) => Endpoint::new(found),
    }
}

/// As [`endpoint`], also for a directory that was moved or deleted while its daemon runs.
fn endpoint_or_gone(common: &Common) -> Result<Endpoint, Fault> {
    endpoint(common).or_else(|fault| {
        let dir = common.project.as_deref().unwrap_or(Path::new("."));
        let endpoint = gone(dir).map(|dir| Endpoint::new(Some(dir))).transpose()?;
        // Where no daemon ever was, the path is a mistake.
        endpoint.filter(|endpoint| endpoint.lock().exists()).ok_or(fault)
    })
}

/// The canonical path that a directory had which is not there any more; `None` when it is there.
fn gone(dir: &Path) -> Option<PathBuf> {
    let shell = || std::env::var_os("PWD").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let path = std::path::absolute(dir).ok().or_else(|| Some(shell()?.join(dir)))?;
    let path: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    let there = path.ancestors().skip(1).find(|path| path.is_dir())?;
    let rest = path.strip_prefix(there).expect("an ancestor of it");
    (std::fs::symlink_metadata(&path).is_err()).then(|| canonical(there).map(|there| there.join(rest)).ok()).flatten()
}

fn init(args: &args::Init) -> Result<ExitCode, Fault> {
    let dir = canonical(args.dir.as_deref().unwrap_or(Path::new(".")))?;
    let created = config::init(&dir)?;
    if args.json {
        out(&json!({ "project": dir, "created": created }));
    } else if created {
        output::say(&format!("Initialised {}. Next: offheap index", dir.display()));
    } else {
        output::say(&format!("{} is a project already", dir.display()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn index(args: &args::Index) -> Result<ExitCode, Fault> {
    let root = project(&args.common)?;
    config::init(&root)?;
    let endpoint = Endpoint::new(Some(root.clone()))?;
    // A run that lost its daemon goes on where it ended: what was committed stays.
    let reached = std::cell::Cell::new(0);
    let run = connect::ask_on(&endpoint, async |client| run_index(args, client, &reached).await, || reached.get());
    let Some(report) = run.await? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if args.common.json {
        out(&output::index_json(&root, &report));
    } else {
        output::index_report(&root, &report);
    }
    Ok(ExitCode::SUCCESS)
}

/// One run to its end; `None` where the user ended it.
async fn run_index(
    args: &args::Index,
    client: &Client,
    reached: &std::cell::Cell<u64>,
) -> Result<Option<IndexReport>, Fault> {
    let (sender, mut progress) = watch::channel(Progress::default());
    let bar = (!args.quiet).then(Bar::new);
    let request = client.call(Request::Index { rebuild: args.rebuild }, Payload::None, None, Some(sender));
    let mut request = std::pin::pin!(request);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let reply = loop {
        tokio::select! {
            reply = &mut request => break reply,
            Ok(()) = progress.changed() => {
                let progress = progress.borrow_and_update();
                reached.set(((progress.phase as u64) << 48) + progress.done);
                if let Some(bar) = &bar {
                    bar.show(&progress);
                }
            }
            _ = &mut interrupted => {
                drop(bar);
                // Ending the connection cancels the run; the daemon commits what it has.
                note("stopping; what is done is kept, `offheap index` continues");
                stop_indexing(client).await;
                return Ok(None);
            }
        }
    };
    match reply?.response {
        Response::Indexed(report) => Ok(Some(report)),
        other => Err(odd(&other)),
    }
}

/// Cancels every request of this connection and waits, briefly, until the run has ended.
async fn stop_indexing(client: &Client) {
    client.cancel_all();
    let ending = async {
        while matches!(status_of(client).await, Ok(status) if status.indexing) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), ending).await;
}

async fn search(args: &args::Search) -> Result<ExitCode, Fault> {
    if !matches!(args.mode, Mode::Regex) && (args.case.is_some() || args.context.is_some()) {
        return Err(Fault::new(Code::InvalidArgument, "--case and --context belong to --mode regex"));
    }
    let search = SearchRequest {
        query: args.query.join(" "),
        mode: match args.mode {
            Mode::Hybrid => SearchMode::Hybrid,
            Mode::Semantic => SearchMode::Semantic,
            Mode::Text => SearchMode::Text,
            Mode::Regex => SearchMode::Regex,
            Mode::Symbol => SearchMode::Symbol,
        },
        limit: args.limit,
        globs: args.glob.clone(),
        languages: args.language.clone(),
        fresh: match (args.wait, args.fresh) {
            (Some(ms), _) => Fresh::Wait { ms },
            (None, true) => Fresh::Wait { ms: FRESH_WAIT_MS },
            (None, false) => Fresh::StaleOk,
        },
        explain: args.explain,
        case: match args.case {
            None | Some(CaseRule::Smart) => Case::Smart,
            Some(CaseRule::Sensitive) => Case::Sensitive,
            Some(CaseRule::Insensitive) => Case::Insensitive,
        },
        context: args.context.unwrap_or(0),
    };
    let endpoint = endpoint(&args.common)?;
    endpoint.project().map(Config::read).transpose()?;
    let report = match endpoint.project() {
        Some(root) if config::has_index(&config::place(root))? => ask_search(&endpoint, search).await?,
        // Without an index there is nothing that a daemon would keep.
        root => {
            let dir = root.map_or_else(|| canonical(Path::new(".")), |root| Ok(root.to_path_buf()))?;
            search_unindexed(dir, search)?
        }
    };
    if args.common.json {
        out(&output::search_json(&report, !args.no_text));
    } else {
        output::hits(&report, !args.no_text);
    }
    Ok(if report.hits.is_empty() { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

async fn ask_search(endpoint: &Endpoint, search: SearchRequest) -> Result<SearchReport, Fault> {
    let request = Request::Search(search);
    let asking = connect::ask(endpoint, async |client| {
        match client.call(request.clone(), Payload::None, None, None).await?.response {
            Response::Found(report) => Ok(report),
            other => Err(odd(&other)),
        }
    });
    interruptible(asking).await
}

/// Regular expressions need no index, and no daemon either.
fn search_unindexed(dir: PathBuf, search: SearchRequest) -> Result<SearchReport, Fault> {
    check_search(&search)?;
    let project = Project::new(dir);
    if search.mode != SearchMode::Regex {
        return Err(project.no_index());
    }
    project.grep(&search, &AtomicBool::new(false))
}

async fn embed(args: args::Embed) -> Result<ExitCode, Fault> {
    let texts = if args.texts.is_empty() { read_lines()? } else { args.texts };
    let kind = if args.query { TextKind::Query } else { TextKind::Document };
    let endpoint = endpoint(&args.common)?;
    let n = texts.len();
    let priority = if n > 16 { Priority::Bulk } else { Priority::Interactive };
    let options = EmbedOptions { kind, priority, parse_specials: true, or_hash: false, deadline: None };
    let asking = connect::ask(&endpoint, async |client| client.embed(texts.clone(), options).await);
    let (vectors, rows) = interruptible(asking).await?;
    let rows: Vec<&[f32]> = rows.chunks_exact(vectors.dim as usize).collect();
    if args.common.json {
        out(&json!({
            "space": vectors.space, "dim": vectors.dim, "tokens": vectors.tokens, "truncated": vectors.truncated, "vectors": rows,
        }));
    } else {
        rows.iter().for_each(|row| out(&json!(row)));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_lines() -> Result<Vec<String>, Fault> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        note("reading texts from the terminal, one a line; Ctrl-D ends");
    }
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| Fault::new(Code::Io, format!("cannot read standard input: {error}"));
    stdin.lock().read_to_end(&mut bytes).map_err(failed)?;
    let lines: Result<Vec<String>, _> = bytes.lines().collect();
    let lines = lines.map_err(|_| Fault::new(Code::InvalidArgument, "standard input is not UTF-8"))?;
    if lines.is_empty() {
        return Err(
            Fault::new(Code::InvalidArgument, "no texts were given").hint("name them, or pipe them in, one a line")
        );
    }
    Ok(lines)
}

async fn status(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint_or_gone(common)?;
    let asked = match connect::connect(&endpoint).await {
        Ok(client) => status_of(&client).await,
        Err(fault) => Err(fault),
    };
    let status = match asked {
        Ok(status) => status,
        // It left just now; or none can be reached from here, and commands have their own.
        Err(fault) if is_nobody(&fault) => {
            if common.json {
                out(&json!({ "running": false, "project": endpoint.project() }));
            } else {
                output::say("No daemon is running here.");
            }
            return Ok(ExitCode::from(NOTHING));
        }
        Err(fault) => return Err(fault),
    };
    if common.json {
        out(&output::status_json(&status));
    } else {
        output::status(&status);
    }
    Ok(ExitCode::SUCCESS)
}

async fn status_of(client: &Client) -> Result<StatusReport, Fault> {
    let deadline = Some(Duration::from_secs(10));
    match client.call(Request::Status, Payload::None, deadline, None).await?.response {
        Response::Status(status) => Ok(*status),
        other => Err(odd(&other)),
    }
}

async fn start_daemon(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(common)?;
    let (client, started) = connect::connect_or_start(&endpoint).await?;
    connect::must_be_shared(&client)?;
    if common.json {
        out(
            &json!({ "running": true, "started": started, "version": client.version(), "project": endpoint.project() }),
        );
    } else {
        output::say(if started { "Started." } else { "Already running." });
    }
    Ok(ExitCode::SUCCESS)
}

async fn stop(common: &Common) -> Result<ExitCode, Fault> {
    let endpoint = endpoint_or_gone(common)?;
    let stopped = match connect::connect(&endpoint).await {
        Ok(client) => {
            leave(&client).await?;
            true
        }
        Err(fault) if is_nobody(&fault) => false,
        Err(fault) => return Err(fault),
    };
    if common.json {
        out(&json!({ "stopped": stopped, "project": endpoint.project() }));
    } else {
        output::say(if stopped { "Stopped." } else { "No daemon is running here." });
    }
    Ok(if stopped { ExitCode::SUCCESS } else { ExitCode::from(NOTHING) })
}

fn is_nobody(fault: &Fault) -> bool {
    matches!(fault.code, Code::DaemonNotRunning | Code::DaemonLost | Code::Leaving | Code::SocketsRefused)
}

/// Asks a daemon to finish and leave, and waits until it has.
async fn leave(client: &Client) -> Result<(), Fault> {
    match client.call(Request::Shutdown, Payload::None, Some(Duration::from_secs(10)), None).await {
        // It is leaving already.
        Err(fault) if matches!(fault.code, Code::DaemonLost | Code::Leaving) => {}
        outcome => drop(outcome?),
    }
    // The end of the connection is the end of the daemon.
    let patience = Instant::now() + Duration::from_secs(15);
    while !client.is_closed() && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if client.is_closed() {
        return Ok(());
    }
    Err(Fault::new(Code::DaemonUnresponsive, "the daemon was asked to leave and is still there")
        .hint("`offheap restart --force` ends it at once"))
}

fn pull(args: &args::Pull) -> Result<ExitCode, Fault> {
    let name = args.model.strip_prefix("hf:").unwrap_or(&args.model);
    let path = HubFile::parse(name)?.pull(!args.json && std::io::stderr().is_terminal())?;
    if args.json {
        out(&json!({ "model": format!("hf:{name}"), "path": path }));
    } else {
        output::say(&format!("{}\nUse it: set \"model\": \"hf:{name}\" in .offheap/config.json", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C drops the request, which cancels it in the daemon.
async fn interruptible<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Fault::new(Code::Cancelled, "interrupted")),
    }
}

fn odd(response: &Response) -> Fault {
    Fault::new(
        Code::Protocol,
        format!("the daemon gave an answer to another question: {:?}", std::mem::discriminant(response)),
    )
}
