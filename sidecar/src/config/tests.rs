//! The configuration as a project's file, and what a stranger's file can ask for.

use std::time::Duration;

use offheap_protocol::Code;

use super::file::{
    LONGEST_IDLE, MAX_CONFIG_BYTES, MAX_CONTEXT_LINES, MAX_DELAY_MS, MAX_DELAYS, MAX_FILE_BYTES, MAX_LIMIT,
    MAX_RETRIES, MAX_SPARE_EMBEDDINGS, MAX_WAIT_MS,
};
use super::{Config, DaemonConfig, MAX_TEXT_BYTES, SearchConfig, init};
use crate::schema_file::assert_committed;

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

#[test]
fn a_stranger_cannot_ask_for_everything() {
    let temp = tempfile::tempdir().expect("temporary directory");
    init(temp.path()).expect("writable");
    let wish = r#"{"daemon":{"ttl_minutes":1e6,"auto_shutdown_on_idle":false,"eviction_check_interval_seconds":1e-9,
        "max_retries":4000000000,"retry_delays_ms":[100,4000000000]},
        "index":{"max_file_bytes":18446744073709551615,"max_text_bytes":18446744073709551615,"spare_embeddings":18446744073709551615},
        "search":{"limit":4000000000,"wait_ms":4000000000,"context":4000000000}}"#;
    std::fs::write(temp.path().join(".offheap/config.json"), wish).expect("writable");
    let (config, notes) = Config::read_with_notes(temp.path()).expect("within limits");
    assert_eq!(notes.len(), 11, "{notes:?}");
    assert_eq!(config.index.max_file_bytes, MAX_FILE_BYTES);
    assert_eq!(config.index.max_text_bytes, MAX_TEXT_BYTES);
    let SearchConfig { limit, wait_ms, context, .. } = config.search;
    assert_eq!((limit, wait_ms, context), (MAX_LIMIT, MAX_WAIT_MS, MAX_CONTEXT_LINES));
    assert_eq!(config.index.spare_embeddings, MAX_SPARE_EMBEDDINGS);
    assert_eq!(config.daemon.ttl(), Duration::from_secs(24 * 3600));
    assert_eq!(config.daemon.longest_idle(), LONGEST_IDLE);
    assert_eq!((config.daemon.max_retries, config.daemon.retry_delays_ms), (MAX_RETRIES, vec![100, MAX_DELAY_MS]));
    std::fs::write(temp.path().join(".offheap/config.json"), r#"{"daemon":{"retry_delays_ms":[]}}"#).expect("writable");
    let (config, notes) = Config::read_with_notes(temp.path()).expect("a configuration");
    assert_eq!((config.daemon, notes.len()), (DaemonConfig::default(), 1), "{notes:?}");
    let escape = "{\"\u{1b}[31mred\":1}";
    std::fs::write(temp.path().join(".offheap/config.json"), escape).expect("writable");
    let fault = Config::read(temp.path()).expect_err("unknown key");
    assert!(!fault.message.contains('\u{1b}'), "{fault:?}");
}

/// The Node client reads three of the values by itself.
#[test]
fn limits_are_those_of_the_node_client() {
    let table: serde_json::Value =
        serde_json::from_str(include_str!("../../../__test__/retry-cases.json")).expect("JSON");
    let ours = serde_json::json!({
        "max_retries": MAX_RETRIES, "retry_delays": MAX_DELAYS, "retry_delay_ms": MAX_DELAY_MS,
    });
    assert_eq!(table["limits"], ours);
}

/// `.offheap/config.json -> /dev/zero` was read without end.
#[cfg(unix)]
#[test]
fn a_file_that_is_none_is_refused_by_name() {
    use std::os::unix::fs::symlink;
    let temp = tempfile::tempdir().expect("temporary directory");
    let file = temp.path().join(".offheap/config.json");
    std::fs::create_dir(temp.path().join(".offheap")).expect("directory");
    let refused = || {
        let fault = Config::read(temp.path()).expect_err("refused");
        assert_eq!(fault.code, Code::UnsafePath, "{fault:?}");
        assert!(fault.message.contains("config.json"), "{fault:?}");
    };
    symlink("/dev/zero", &file).expect("link");
    refused();
    std::fs::remove_file(&file).expect("there");
    std::fs::write(&file, vec![b' '; MAX_CONFIG_BYTES as usize + 1]).expect("writable");
    refused();
    std::fs::remove_dir_all(temp.path().join(".offheap")).expect("there");
    std::fs::create_dir(temp.path().join("elsewhere")).expect("directory");
    std::fs::write(temp.path().join("elsewhere/config.json"), "{}").expect("writable");
    symlink("elsewhere", temp.path().join(".offheap")).expect("link");
    refused();
    assert_eq!(init(temp.path()).expect_err("a link").code, Code::UnsafePath);
}

/// Editors find the schema with the package: `config.schema.json`.
#[test]
fn the_committed_schema_is_that_of_the_types() {
    let settings = schemars::generate::SchemaSettings::draft07();
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    assert_committed("config.schema.json", schema.to_value());
}

#[test]
fn a_file_may_name_its_schema() {
    let temp = tempfile::tempdir().expect("temporary directory");
    init(temp.path()).expect("writable");
    let file = temp.path().join(".offheap/config.json");
    let text = r#"{"$schema":"../node_modules/offheap/config.schema.json","index":{"watch":false}}"#;
    std::fs::write(&file, text).expect("writable");
    assert!(!Config::read(temp.path()).expect("a configuration").index.watch);
    std::fs::write(&file, r#"{"schema":"x"}"#).expect("writable");
    assert!(Config::read(temp.path()).expect_err("not a key").message.contains("schema"));
}

/// Notepad and PowerShell write one.
#[test]
fn a_byte_order_mark_is_no_part_of_the_configuration() {
    let temp = tempfile::tempdir().expect("temporary directory");
    init(temp.path()).expect("writable");
    let text = "\u{feff}{\"index\":{\"watch\":false}}";
    std::fs::write(temp.path().join(".offheap/config.json"), text).expect("writable");
    assert!(!Config::read(temp.path()).expect("a configuration").index.watch);
}
