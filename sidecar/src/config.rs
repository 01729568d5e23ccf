//! Every default, file setting and environment variable, in one place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};
use serde::{Deserialize, Serialize};

/// Version of the file's schema.
pub const CONFIG_VERSION: &str = "2.0.0";
/// The model that the package carries.
pub const DEFAULT_MODEL: &str = "all-minilm-l6-v2";

/// `.offheap/config.json`. Unknown keys are refused: a typing error must not become a silent default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Schema version.
    pub version: String,
    /// The bundled model's name, a `.gguf` file inside the project, or `hf:owner/repo/file.gguf[@revision]`.
    pub model: String,
    /// Life of the daemon.
    pub daemon: DaemonConfig,
    /// What is indexed.
    pub index: IndexConfig,
}

/// `daemon` in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// Clients start a daemon where none runs.
    pub enabled: bool,
    /// Idle time after which the model and the index are dropped. Fractions are allowed.
    pub ttl_minutes: f64,
    /// Leave after that time instead of only dropping caches.
    pub auto_shutdown_on_idle: bool,
    /// How often idleness is looked at.
    pub eviction_check_interval_seconds: f64,
    /// How often a client asks again after it lost its daemon.
    pub max_retries: u32,
    /// How long it waits before each time, milliseconds; the last one repeats.
    pub retry_delays_ms: Vec<u32>,
}

/// `index` in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// Larger files are skipped.
    pub max_file_bytes: u64,
    /// Only files that match, in `.gitignore` syntax; empty takes all.
    pub include: Vec<String>,
    /// Files to leave out on top of `.gitignore` and `.offheapignore`.
    pub exclude: Vec<String>,
    /// Embeddings kept for content that is not in the index now, such as another branch's.
    pub spare_embeddings: usize,
    /// Changes are indexed as they happen, once the index is used.
    pub watch: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            version: CONFIG_VERSION.to_owned(),
            model: DEFAULT_MODEL.to_owned(),
            daemon: DaemonConfig::default(),
            index: IndexConfig::default(),
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

impl Default for IndexConfig {
    fn default() -> Self {
        IndexConfig {
            max_file_bytes: 1 << 20,
            include: Vec::new(),
            exclude: Vec::new(),
            spare_embeddings: offheap_engine::store::SPARE_EMBEDDINGS,
            watch: true,
        }
    }
}

impl Config {
    /// A project's file; the defaults where there is none.
    pub fn read(project: &Path) -> Result<Self, Fault> {
        let path = project.join(PROJECT_DIR).join("config.json");
        let invalid = |why: String| {
            Fault::new(Code::ConfigInvalid, format!("`{}`: {why}", path.display()))
                .hint("correct the file, or remove it to use the defaults")
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let config: Config = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        if config.version.split('.').next() != CONFIG_VERSION.split('.').next() {
            return Err(invalid(format!("`version` is {}, this build reads {CONFIG_VERSION}", config.version)));
        }
        for (key, value) in [
            ("ttl_minutes", config.daemon.ttl_minutes),
            ("eviction_check_interval_seconds", config.daemon.eviction_check_interval_seconds),
        ] {
            if !(value > 0.0 && value <= 1e6) {
                return Err(invalid(format!("`daemon.{key}` must be above 0 and at most 1000000")));
            }
        }
        Ok(config)
    }
}

impl DaemonConfig {
    /// Idle time after which caches go. `OFFHEAP_TTL_MS` overrides.
    pub fn ttl(&self) -> Duration {
        match std::env::var("OFFHEAP_TTL_MS").ok().and_then(|ms| ms.parse().ok()) {
            Some(ms) => Duration::from_millis(ms),
            None => Duration::from_secs_f64(self.ttl_minutes * 60.0),
        }
    }

    /// How often idleness is looked at: as configured, but at least twice within a short TTL.
    pub fn check_interval(&self) -> Duration {
        let configured = Duration::from_secs_f64(self.eviction_check_interval_seconds);
        configured.min(self.ttl() / 2).max(Duration::from_millis(5))
    }
}

/// Whether the user allows watching: `OFFHEAP_WATCH=0` forbids it, whatever a project says.
pub fn may_watch() -> bool {
    std::env::var("OFFHEAP_WATCH").map_or(true, |value| value != "0")
}

/// A kernel by name: `OFFHEAP_KERNEL`.
pub fn kernel() -> Option<String> {
    std::env::var("OFFHEAP_KERNEL").ok().filter(|name| !name.is_empty())
}

/// A model file that the user, not the repository, chose: `OFFHEAP_MODEL`.
pub fn model_override() -> Option<String> {
    std::env::var("OFFHEAP_MODEL").ok().filter(|model| !model.is_empty())
}

/// Threads to compute with: `OFFHEAP_THREADS`, or what the system lets us use (quota and affinity included).
pub fn threads() -> usize {
    let asked = std::env::var("OFFHEAP_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| (1..=256).contains(n));
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// How long a peer may take for a frame, or not take an answer: `OFFHEAP_STALL_MS`, for tests.
pub fn stall() -> Duration {
    Duration::from_millis(number("OFFHEAP_STALL_MS").unwrap_or(30_000))
}

/// Bytes of texts that may wait, over all connections; more is refused: `OFFHEAP_MAX_WAITING_BYTES`, for tests.
pub fn max_waiting_bytes() -> usize {
    number("OFFHEAP_MAX_WAITING_BYTES").map_or(256 << 20, |bytes| bytes as usize)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok().filter(|n| *n > 0)
}

/// Where a project's index lies.
pub fn data_dir(project: &Path) -> PathBuf {
    project.join(PROJECT_DIR).join("data")
}

/// Makes `.offheap` with its configuration and a `.gitignore` for everything else, leaving what is there.
///
/// Says whether the configuration is new.
pub fn init(project: &Path) -> Result<bool, Fault> {
    let dir = project.join(PROJECT_DIR);
    let failed = |error: std::io::Error| {
        crate::fault::io(&error, format!("cannot write in `{}`: {error}", dir.display()))
            .hint("offheap keeps a project's index in its .offheap directory, which must be writable")
    };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    // Whole or not at all: written beside, made durable, then linked to its name, which fails where one is already.
    let write_new = |name: &str, content: String| -> std::io::Result<bool> {
        use std::io::Write;
        if dir.join(name).exists() {
            return Ok(false);
        }
        let temporary = dir.join(format!("{name}.{}.tmp", std::process::id()));
        let linked = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            // A file system without links has a rename, which could only replace what another process wrote just now.
            match std::fs::hard_link(&temporary, dir.join(name)) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(error),
                Err(_) => std::fs::rename(&temporary, dir.join(name)),
                Ok(()) => Ok(()),
            }
        };
        let outcome = linked();
        let _ = std::fs::remove_file(&temporary);
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    };
    write_new(".gitignore", "# The index is made from the tree; only the configuration is worth committing.\n*\n!.gitignore\n!config.json\n".into())
        .map_err(failed)?;
    let config = serde_json::to_string_pretty(&Config::default()).expect("plain data");
    write_new("config.json", config + "\n").map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_writes_what_read_understands_and_keeps_what_is_there() {
        let temp = tempfile::tempdir().expect("temporary directory");
        assert_eq!(Config::read(temp.path()).expect("defaults"), Config::default());
        assert!(init(temp.path()).expect("writable"));
        assert_eq!(Config::read(temp.path()).expect("written"), Config::default());
        let entries = std::fs::read_dir(temp.path().join(".offheap")).expect("made").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        assert_eq!(names, [".gitignore", "config.json"], "nothing of the writing stays");
        let file = temp.path().join(".offheap/config.json");
        std::fs::write(&file, r#"{"daemon":{"ttl_minutes":0.5}}"#).expect("writable");
        assert!(!init(temp.path()).expect("writable"));
        assert_eq!(Config::read(temp.path()).expect("kept").daemon.ttl(), Duration::from_secs(30));
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        let temp = tempfile::tempdir().expect("temporary directory");
        init(temp.path()).expect("writable");
        for (text, part) in [
            ("{", "EOF"),
            (r#"{"modle":"x"}"#, "modle"),
            (r#"{"version":"9.0.0"}"#, "9.0.0"),
            (r#"{"daemon":{"ttl_minutes":0}}"#, "ttl_minutes"),
            (r#"{"daemon":{"ttl_minutes":"soon"}}"#, "soon"),
        ] {
            std::fs::write(temp.path().join(".offheap/config.json"), text).expect("writable");
            let fault = Config::read(temp.path()).expect_err(text);
            assert_eq!(fault.code, Code::ConfigInvalid);
            assert!(fault.message.contains(part), "{text}: {fault}");
        }
    }
}
