//! `.offheap/config.json`: its keys, their defaults and their limits.

use std::path::Path;
use std::time::Duration;

use offheap_engine::Error;
use offheap_engine::disk::{Tree, is_link};
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};
use serde::{Deserialize, Serialize};

use super::{environment, keys};

/// Version of the file's format.
pub const CONFIG_VERSION: &str = "2.0.0";
/// Name of the model that the package carries.
pub const DEFAULT_MODEL: &str = "all-minilm-l6-v2";

/// Configuration of an offheap project: `.offheap/config.json`. Unknown keys are errors, because a misspelt key would otherwise
/// be a silent default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "offheap project"))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The schema of this file, for editors: `../node_modules/offheap/config.schema.json`. offheap does not read it.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Version of the file's format. A file with another first number is refused.
    pub version: String,
    /// The bundled model's name, a `.gguf` file inside the project, or `hf:owner/repo/file.gguf[@revision]`.
    pub model: String,
    /// Where the index is: `project` is `.offheap/data`, or the user's cache where the project cannot be written; `cache` is always the
    /// user's cache.
    pub data_dir: DataDir,
    /// The life of the daemon.
    pub daemon: DaemonConfig,
    /// What is indexed.
    pub index: IndexConfig,
    /// How searches are made that do not say it themselves.
    pub search: SearchConfig,
}

/// The life of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// Whether clients start a daemon where none runs.
    pub enabled: bool,
    /// Idle minutes after which the daemon ends, or drops the model and the index from memory: see `auto_shutdown_on_idle`.
    /// Fractions are allowed.
    #[cfg_attr(test, schemars(extend("exclusiveMinimum" = 0, "maximum" = MAX_TTL_MINUTES)))]
    pub ttl_minutes: f64,
    /// Whether an idle daemon ends. Otherwise it only drops the model and the index from memory, and ends after 24 idle hours.
    pub auto_shutdown_on_idle: bool,
    /// Seconds between two checks whether the daemon is idle.
    #[cfg_attr(test, schemars(range(min = CHECK_SECONDS.0, max = CHECK_SECONDS.1)))]
    pub eviction_check_interval_seconds: f64,
    /// How many crashes of the daemon a client follows with another start or request. After one more it gives up.
    #[cfg_attr(test, schemars(range(max = MAX_RETRIES)))]
    pub max_retries: u32,
    /// Milliseconds to wait before the start after the first crash, the second, and so on; the last value repeats.
    #[cfg_attr(test, schemars(length(max = MAX_DELAYS), inner(range(max = MAX_DELAY_MS))))]
    pub retry_delays_ms: Vec<u32>,
}

/// What is indexed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// Larger files are not parsed and get no vectors.
    #[cfg_attr(test, schemars(range(max = MAX_FILE_BYTES)))]
    pub max_file_bytes: u64,
    /// Larger files are not indexed. Below it and above `max_file_bytes`, texts are found by their words alone.
    #[cfg_attr(test, schemars(range(max = MAX_TEXT_BYTES)))]
    pub max_text_bytes: u64,
    /// Only files that match are indexed, in `.gitignore` syntax; empty matches all.
    pub include: Vec<String>,
    /// Files that are not indexed, in `.gitignore` syntax, in addition to `.gitignore` and `.offheapignore`.
    pub exclude: Vec<String>,
    /// Embeddings that are kept for content that is not in the index now, such as another branch's.
    #[cfg_attr(test, schemars(range(max = MAX_SPARE_EMBEDDINGS)))]
    pub spare_embeddings: usize,
    /// Whether the daemon indexes changes as they happen, once the index has been used.
    pub watch: bool,
}

/// Where a project's index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DataDir {
    Project,
    Cache,
}

/// How searches are made that do not say it themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SearchConfig {
    /// How hits are found.
    pub mode: ModeConfig,
    /// The greatest number of hits.
    #[cfg_attr(test, schemars(range(min = 1, max = MAX_LIMIT)))]
    pub limit: u32,
    /// Milliseconds to wait until changed files are indexed; 0 does not wait.
    #[cfg_attr(test, schemars(range(max = MAX_WAIT_MS)))]
    pub wait_ms: u32,
    /// With `regex`, lines of context around each match.
    #[cfg_attr(test, schemars(range(max = MAX_CONTEXT_LINES)))]
    pub context: u32,
}

/// The modes of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ModeConfig {
    Hybrid,
    Semantic,
    Text,
    Regex,
    Symbol,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            schema: None,
            version: CONFIG_VERSION.to_owned(),
            model: DEFAULT_MODEL.to_owned(),
            data_dir: DataDir::Project,
            daemon: DaemonConfig::default(),
            index: IndexConfig::default(),
            search: SearchConfig::default(),
        }
    }
}

impl Default for DaemonConfig {
    fn default() -> Self {
        DaemonConfig {
            enabled: true,
            ttl_minutes: 10.0,
            auto_shutdown_on_idle: true,
            eviction_check_interval_seconds: 60.0,
            max_retries: 4,
            retry_delays_ms: vec![100, 500, 1000, 2000],
        }
    }
}

impl Default for SearchConfig {
    fn default() -> Self {
        SearchConfig { mode: ModeConfig::Hybrid, limit: 10, wait_ms: 0, context: 0 }
    }
}

impl Default for IndexConfig {
    fn default() -> Self {
        IndexConfig {
            max_file_bytes: 1 << 20,
            max_text_bytes: 32 << 20,
            include: Vec::new(),
            exclude: Vec::new(),
            spare_embeddings: offheap_engine::store::SPARE_EMBEDDINGS,
            watch: true,
        }
    }
}

/// Greatest length of a configuration file, bytes. A usual one has a few hundred.
pub const MAX_CONFIG_BYTES: u64 = 256 << 10;
// Upper limits of values: the file belongs to the repository, which the user may not trust.
pub const MAX_FILE_BYTES: u64 = 8 << 20;
pub const MAX_TEXT_BYTES: u64 = offheap_engine::walk::MAX_LONG_BYTES;
pub const MAX_SPARE_EMBEDDINGS: usize = 1_000_000;
const MAX_TTL_MINUTES: f64 = 24.0 * 60.0;
pub const MAX_LIMIT: u32 = 1_000;
/// A repository must not make every search of its user slow.
pub const MAX_WAIT_MS: u32 = 10_000;
pub const MAX_CONTEXT_LINES: u32 = 20;
/// The shortest and the longest interval of idle checks.
const CHECK_SECONDS: (f64, f64) = (1.0, 3600.0);
pub const MAX_RETRIES: u32 = 20;
/// Values of `retry_delays_ms`; later ones are dropped.
pub const MAX_DELAYS: usize = 20;
pub const MAX_DELAY_MS: u32 = 10_000;
/// A daemon leaves after this idle time, even where `auto_shutdown_on_idle` is false.
pub const LONGEST_IDLE: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Reads a project's file; the defaults where there is none. Values beyond the limits are limited: see
    /// [`Config::read_with_notes`].
    pub fn read(project: &Path) -> Result<Self, Fault> {
        Self::read_with_notes(project).map(|(config, _)| config)
    }

    /// Reads a project's file. The texts say which of its values were limited.
    pub fn read_with_notes(project: &Path) -> Result<(Self, Vec<String>), Fault> {
        match Tree::open(project) {
            Ok(tree) => Self::read_in(&tree),
            Err(error) if error.is_absent() => Ok((Config::default(), Vec::new())),
            Err(error) => Err(crate::fault::from_engine(&error)),
        }
    }

    /// As [`Config::read_with_notes`], for a project whose directory is open.
    pub fn read_in(tree: &Tree) -> Result<(Self, Vec<String>), Fault> {
        let path = tree.path().join(PROJECT_DIR).join("config.json");
        let invalid = |why: String| {
            Fault::new(Code::ConfigInvalid, format!("`{}`: {why}", path.display()))
                .hint("correct the file, or remove it to use the defaults")
        };
        let text = match read_config(tree) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok((Config::default(), Vec::new())),
            Err(error @ Error::UnsafePath { .. }) => return Err(crate::fault::from_engine(&error)),
            Err(error) => return Err(invalid(crate::fault::chain(&error))),
        };
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text); // some editors write a byte-order mark
        if let Some(unknown) = keys::unknown(text) {
            return Err(invalid(unknown));
        }
        let mut config: Config = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        if config.version.split('.').next() != CONFIG_VERSION.split('.').next() {
            return Err(invalid(format!("`version` is {}, this build reads {CONFIG_VERSION}", config.version)));
        }
        for (key, value) in [
            ("ttl_minutes", config.daemon.ttl_minutes),
            ("eviction_check_interval_seconds", config.daemon.eviction_check_interval_seconds),
        ] {
            if value.is_nan() || value <= 0.0 {
                return Err(invalid(format!("`daemon.{key}` must be above 0")));
            }
        }
        let notes = config.limit();
        Ok((config, notes))
    }

    /// Limits every value to what a repository may ask for. Returns a text for each value that was changed.
    fn limit(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        let Config { daemon, index, search, .. } = self;
        clamp(&mut notes, "search.limit", &mut search.limit, 1, MAX_LIMIT);
        clamp(&mut notes, "search.wait_ms", &mut search.wait_ms, 0, MAX_WAIT_MS);
        clamp(&mut notes, "search.context", &mut search.context, 0, MAX_CONTEXT_LINES);
        clamp(&mut notes, "index.max_file_bytes", &mut index.max_file_bytes, 0, MAX_FILE_BYTES);
        clamp(&mut notes, "index.max_text_bytes", &mut index.max_text_bytes, 0, MAX_TEXT_BYTES);
        clamp(&mut notes, "index.spare_embeddings", &mut index.spare_embeddings, 0, MAX_SPARE_EMBEDDINGS);
        clamp(&mut notes, "daemon.ttl_minutes", &mut daemon.ttl_minutes, 0.0, MAX_TTL_MINUTES);
        let (shortest, longest) = CHECK_SECONDS;
        let interval = &mut daemon.eviction_check_interval_seconds;
        clamp(&mut notes, "daemon.eviction_check_interval_seconds", interval, shortest, longest);
        clamp(&mut notes, "daemon.max_retries", &mut daemon.max_retries, 0, MAX_RETRIES);
        if daemon.retry_delays_ms.is_empty() {
            notes.push("`daemon.retry_delays_ms` is empty; the defaults are used".to_owned());
            daemon.retry_delays_ms = DaemonConfig::default().retry_delays_ms;
        }
        if daemon.retry_delays_ms.len() > MAX_DELAYS {
            notes.push(format!("`daemon.retry_delays_ms` has more than {MAX_DELAYS} values; the first are used"));
            daemon.retry_delays_ms.truncate(MAX_DELAYS);
        }
        for delay in &mut daemon.retry_delays_ms {
            clamp(&mut notes, "daemon.retry_delays_ms", delay, 0, MAX_DELAY_MS);
        }
        if !daemon.auto_shutdown_on_idle {
            let hours = LONGEST_IDLE.as_secs() / 3600;
            notes.push(format!("`daemon.auto_shutdown_on_idle` is false: the daemon leaves after {hours} idle hours"));
        }
        notes
    }
}

fn clamp<T: PartialOrd + Copy + std::fmt::Display>(notes: &mut Vec<String>, key: &str, value: &mut T, min: T, max: T) {
    let limit = if *value > max { max } else { min };
    if *value > max || *value < min {
        notes.push(format!("`{key}` is {value}; {limit} is used"));
        *value = limit;
    }
}

/// The file's bytes; `None` where there is none.
fn read_config(tree: &Tree) -> offheap_engine::Result<Option<Vec<u8>>> {
    let rel = Path::new(PROJECT_DIR).join("config.json");
    let path = tree.path().join(&rel);
    match tree.read(&rel, MAX_CONFIG_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => match error.kind() {
            _ if is_link(&error) => {
                Err(Error::UnsafePath { path, found: "a link, or in a directory that is one".into() })
            }
            std::io::ErrorKind::NotFound => Ok(None),
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::Unsupported => {
                Err(Error::UnsafePath { path, found: "no regular file in a directory".into() })
            }
            std::io::ErrorKind::FileTooLarge => {
                Err(Error::UnsafePath { path, found: format!("longer than {MAX_CONFIG_BYTES} bytes") })
            }
            _ => Err(Error::io("read", &path, error)),
        },
    }
}

impl DaemonConfig {
    /// The idle time after which the daemon leaves.
    pub fn longest_idle(&self) -> Duration {
        if self.auto_shutdown_on_idle { self.ttl() } else { LONGEST_IDLE.max(self.ttl()) }
    }

    /// The idle time after which the model and the index are dropped from memory. `OFFHEAP_TTL_MS` overrides it.
    pub fn ttl(&self) -> Duration {
        environment::ttl().unwrap_or_else(|| Duration::from_secs_f64(self.ttl_minutes * 60.0))
    }

    /// The time between two idle checks: as configured, but at most half of the idle time.
    pub fn check_interval(&self) -> Duration {
        let configured = Duration::from_secs_f64(self.eviction_check_interval_seconds);
        configured.min(self.ttl() / 2).max(Duration::from_millis(5))
    }
}
