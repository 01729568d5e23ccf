//! `offheap search`: searches the project's index; without one, a regular expression is matched against the files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use offheap_protocol::border::{Root, root_of};
use offheap_protocol::connection::Payload;
use offheap_protocol::endpoint::canonical;
use offheap_protocol::message::{Case, Fresh, Request, Response, SearchMode, SearchReport, SearchRequest};
use offheap_protocol::{Code, Endpoint, Fault};

use super::calls::interruptible;
use super::output::json::SearchResult;
use super::output::{out, text};
use super::target::endpoint;
use super::{connect, exit};
use crate::args::{self, CaseRule, Mode};
use crate::config::{self, Config, ModeConfig, SearchConfig};
use crate::project::Project;
use crate::project::search::check_search;

/// How long `search --fresh` waits for changes to be indexed.
const FRESH_WAIT_MS: u32 = 10_000;

pub async fn search(args: &args::Search) -> Result<ExitCode, Fault> {
    let endpoint = endpoint(&args.common)?;
    let config = endpoint.project().map(Config::read).transpose()?.unwrap_or_default();
    let search = request(args, &config.search, endpoint.project())?;
    let report = match endpoint.project() {
        Some(root) if config::has_index(&config::place(root))? => ask_search(&endpoint, search).await?,
        // Without an index a daemon would be of no use.
        root => {
            let dir =
                root.map_or_else(|| root_of(Path::new(".")).map(Root::into_path), |root| Ok(root.to_path_buf()))?;
            search_unindexed(dir, search)?
        }
    };
    if args.common.json {
        out(&SearchResult::new(&report, !args.no_text));
    } else {
        text::hits(&report, !args.no_text);
    }
    Ok(if report.hits.is_empty() { ExitCode::from(exit::NOTHING) } else { ExitCode::SUCCESS })
}

/// The request that the arguments make, with the configuration's values where they say nothing.
fn request(args: &args::Search, defaults: &SearchConfig, root: Option<&Path>) -> Result<SearchRequest, Fault> {
    let mode = match (args.mode, defaults.mode) {
        (Some(Mode::Hybrid), _) | (None, ModeConfig::Hybrid) => SearchMode::Hybrid,
        (Some(Mode::Semantic), _) | (None, ModeConfig::Semantic) => SearchMode::Semantic,
        (Some(Mode::Text), _) | (None, ModeConfig::Text) => SearchMode::Text,
        (Some(Mode::Regex), _) | (None, ModeConfig::Regex) => SearchMode::Regex,
        (Some(Mode::Symbol), _) | (None, ModeConfig::Symbol) => SearchMode::Symbol,
    };
    let is_regex = mode == SearchMode::Regex;
    if !is_regex && (args.case.is_some() || args.context.is_some()) {
        return Err(Fault::new(Code::InvalidArgument, "--case and --context belong to --mode regex"));
    }
    Ok(SearchRequest {
        query: args.query.join(" "),
        mode,
        limit: args.limit.unwrap_or(defaults.limit),
        globs: args.glob.clone(),
        languages: args.language.clone(),
        fresh: match (args.wait, args.fresh, defaults.wait_ms) {
            (Some(ms), _, _) => Fresh::Wait { ms },
            (None, true, _) => Fresh::Wait { ms: FRESH_WAIT_MS },
            (None, false, 0) => Fresh::StaleOk,
            (None, false, ms) => Fresh::Wait { ms },
        },
        explain: args.explain,
        case: match args.case {
            None | Some(CaseRule::Smart) => Case::Smart,
            Some(CaseRule::Sensitive) => Case::Sensitive,
            Some(CaseRule::Insensitive) => Case::Insensitive,
        },
        context: if is_regex { args.context.unwrap_or(defaults.context) } else { 0 },
        folder: root.map(folder_below).unwrap_or_default(),
    })
}

/// The working directory below a project, `/` between parts; empty where it is the root, or elsewhere.
fn folder_below(root: &Path) -> String {
    let folder = canonical(Path::new(".")).ok();
    let below = folder.as_deref().and_then(|folder| folder.strip_prefix(root).ok()?.to_str());
    let below = below.unwrap_or_default();
    if cfg!(windows) { below.replace('\\', "/") } else { below.to_owned() }
}

async fn ask_search(endpoint: &Endpoint, search: SearchRequest) -> Result<SearchReport, Fault> {
    let request = Request::Search(search);
    let asking = connect::ask(endpoint, async |client| {
        match client.call(request.clone(), Payload::None, None, None).await?.response {
            Response::Found(report) => Ok(report),
            other => Err(other.unexpected()),
        }
    });
    interruptible(asking).await
}

/// Matches a regular expression against the files, without a daemon. All other modes fail: they need an index.
fn search_unindexed(dir: PathBuf, search: SearchRequest) -> Result<SearchReport, Fault> {
    check_search(&search)?;
    let project = Project::new(dir);
    if search.mode != SearchMode::Regex {
        return Err(project.no_index());
    }
    project.grep(&search, &AtomicBool::new(false))
}
