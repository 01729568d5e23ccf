//! Commands, their arguments and their `--help` texts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Local embeddings and code search. One daemon per project holds the model and the index; it starts by itself and ends when
/// idle.
#[derive(Parser)]
#[command(name = "offheap", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Mark a directory as a project: writes .offheap/config.json
    Init(Init),
    /// Bring the project's index up to date
    Index(Index),
    /// Search the project's index
    Search(Search),
    /// Tell whether a path is in the index, which rule decides, and what to do; starts no daemon
    Why(Why),
    /// Print vectors for texts: arguments, or lines of standard input
    Embed(Embed),
    /// Show what the daemon is doing; starts none
    Status(Common),
    /// Start the daemon if none runs
    Start(Common),
    /// Stop the daemon after the requests in progress
    Stop(Common),
    /// Stop the daemon and start a new one
    Restart(Restart),
    /// Check for problems and say what to do about them; starts no daemon
    Doctor(Doctor),
    /// Download a model into the Hugging Face cache
    Pull(Pull),
    /// Run the daemon in the foreground; `start` runs this in the background
    #[command(hide = true)]
    Daemon(Daemon),
}

/// Options of every command.
#[derive(Args, Clone)]
pub struct Common {
    /// A directory; the nearest one upwards with .offheap/config.json, within its repository, is the project [default: .]
    #[arg(short, long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Init {
    /// The directory [default: .]
    pub dir: Option<PathBuf>,
    /// Also where the directory is a home directory or a root
    #[arg(long)]
    pub force: bool,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Index {
    /// Build the index again from nothing; the old one answers until the run ends, and stored embeddings are used
    #[arg(long)]
    pub rebuild: bool,
    /// Index a home directory, a root or a very large tree, too
    #[arg(long)]
    pub force: bool,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Search {
    /// A question, a name, a path or an error text; several words are one query
    #[arg(required = true)]
    pub query: Vec<String>,
    /// Greatest number of hits [default: 10, or `search.limit` of the configuration]
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// How to search [default: hybrid, or `search.mode` of the configuration]
    #[arg(short, long, value_enum)]
    pub mode: Option<Mode>,
    /// Only this file or folder, or paths that match in .gitignore syntax; a leading `!` excludes; may be repeated
    #[arg(short, long, value_name = "GLOB", allow_hyphen_values = true)]
    pub glob: Vec<String>,
    /// Only files of this language: a name, an alias or an extension; may be repeated
    #[arg(short, long, value_name = "NAME")]
    pub language: Vec<String>,
    /// Print the parts of each score
    #[arg(long)]
    pub explain: bool,
    /// Wait until changed files are indexed, at most 10 s
    #[arg(long)]
    pub fresh: bool,
    /// Wait until changed files are indexed, at most this many milliseconds
    #[arg(long, value_name = "MS")]
    pub wait: Option<u32>,
    /// With --mode regex: whether case matters [default: smart]
    #[arg(long, value_enum)]
    pub case: Option<CaseRule>,
    /// With --mode regex: lines of context around each match [default: 0]
    #[arg(short = 'C', long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=20))]
    pub context: Option<u32>,
    /// Print no code, only paths, lines and scores
    #[arg(long)]
    pub no_text: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Why {
    /// A file or folder; it need not exist
    pub path: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

/// How a search finds hits.
#[derive(Clone, Copy, ValueEnum)]
pub enum Mode {
    /// Vectors and full text together
    Hybrid,
    /// Vectors only
    Semantic,
    /// Full text only
    Text,
    /// A regular expression over the files on disk; needs no index
    Regex,
    /// Names of definitions, also by prefix, by initials and with typing errors
    Symbol,
}

/// Whether upper and lower case differ in a regular expression.
#[derive(Clone, Copy, ValueEnum)]
pub enum CaseRule {
    /// Case matters if the pattern has an upper-case letter
    Smart,
    /// Case matters
    Sensitive,
    /// Case does not matter
    Insensitive,
}

#[derive(Args)]
pub struct Embed {
    /// Texts; if none are given, each line of standard input is one
    pub texts: Vec<String>,
    /// Embed the texts as queries, not as documents; no supported model tells them apart so far
    #[arg(long)]
    pub query: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Doctor {
    /// Also write a file for a bug report: checks, status, settings and log, without queries, contents and names of your files
    /// [default: offheap-bundle-TIME.md]
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub bundle: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Restart {
    /// Kill a daemon that does not respond; uncommitted work of an index run is lost
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Pull {
    /// owner/repo/file.gguf, or owner/repo/file.gguf@revision
    pub model: String,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone)]
pub struct Daemon {
    /// Canonical root of the project; without it, the user's daemon without a project
    #[arg(long)]
    pub project: Option<PathBuf>,
    /// Directory of the default model's package
    #[arg(long)]
    pub model_dir: Option<PathBuf>,
    /// Serve one client over standard input and output, and end when it disconnects
    #[arg(long)]
    pub stdio: bool,
}

/// Parses the command line. Help is printed to standard output (exit code 0), mistakes to standard error (exit code 2).
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}
