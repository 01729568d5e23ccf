//! The command line's grammar.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Local embeddings and code search. One daemon per project holds the model and the index; it starts by itself and
/// leaves when idle.
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
    /// Print vectors for texts: arguments, or lines of standard input
    Embed(Embed),
    /// Show what the daemon is doing; never starts one
    Status(Common),
    /// Start the daemon, or say that it runs
    Start(Common),
    /// Ask the daemon to finish and leave; never starts one
    Stop(Common),
    /// Stop the daemon and start it anew
    Restart(Restart),
    /// Look for everything that can be wrong here, and say what to do about it; never starts a daemon
    Doctor(Common),
    /// Fetch a model into the Hugging Face cache
    Pull(Pull),
    /// Run the daemon in the foreground (what `start` runs in the background)
    #[command(hide = true)]
    Daemon(Daemon),
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Common {
    /// Directory to work for; its nearest parent with .offheap/config.json is the project [default: .]
    #[arg(short, long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Init {
    /// Directory to mark [default: .]
    pub dir: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Index {
    /// Forget the stored index first (the embedding cache is kept)
    #[arg(long)]
    pub rebuild: bool,
    /// No progress on standard error
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Search {
    /// A question, a name, a path, an error text
    #[arg(required = true)]
    pub query: Vec<String>,
    /// Hits to print
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Which evidence to use
    #[arg(short, long, value_enum, default_value_t = Mode::Hybrid)]
    pub mode: Mode,
    /// Only paths that match; `!` in front excludes; may be repeated
    #[arg(short, long, value_name = "GLOB")]
    pub glob: Vec<String>,
    /// Only files of this language; may be repeated
    #[arg(short, long, value_name = "NAME")]
    pub language: Vec<String>,
    /// Say what each score is made of
    #[arg(long)]
    pub explain: bool,
    /// Bring changed files into the index first; waits 10 s at most, or what --wait says
    #[arg(long)]
    pub fresh: bool,
    /// The same, for at most this many milliseconds
    #[arg(long, value_name = "MS")]
    pub wait: Option<u32>,
    /// With --mode regex: whether upper and lower case differ [default: smart, only if the pattern has upper case]
    #[arg(long, value_enum)]
    pub case: Option<CaseRule>,
    /// With --mode regex: lines to print around each match [default: 0]
    #[arg(short = 'C', long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=20))]
    pub context: Option<u32>,
    /// Print paths, lines and scores without code
    #[arg(long)]
    pub no_text: bool,
    #[command(flatten)]
    pub common: Common,
}

/// Which evidence a search uses.
#[derive(Clone, Copy, ValueEnum)]
pub enum Mode {
    /// Vectors and full text, fused
    Hybrid,
    /// Vectors only
    Semantic,
    /// Full text only
    Text,
    /// A regular expression over the files as they are now; needs no index
    Regex,
    /// Names of definitions: exact, any case, beginnings, initials, near misses
    Symbol,
}

/// Whether upper and lower case differ in a pattern.
#[derive(Clone, Copy, ValueEnum)]
pub enum CaseRule {
    /// Only if the pattern has an upper-case letter
    Smart,
    /// Always
    Sensitive,
    /// Never
    Insensitive,
}

#[derive(Args)]
pub struct Embed {
    /// Texts; without any, each line of standard input is one
    pub texts: Vec<String>,
    /// The texts are queries, not documents
    #[arg(long)]
    pub query: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Restart {
    /// End a daemon that does not answer, at once; what it had not committed is lost
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Pull {
    /// owner/repo/file.gguf, with @revision if not main
    pub model: String,
    /// Print one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone)]
pub struct Daemon {
    /// Canonical root of the project; without one, the user's project-less daemon
    #[arg(long)]
    pub project: Option<PathBuf>,
    /// Directory of the default model's package
    #[arg(long)]
    pub model_dir: Option<PathBuf>,
    /// Serve one client over standard input and output, and end with it
    #[arg(long)]
    pub stdio: bool,
}

/// Parses, or prints help or the mistake: help to standard output with 0, mistakes to standard error with 2.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}
