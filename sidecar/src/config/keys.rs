//! Keys of a configuration that are none: all of them at once, each with the key that was probably meant.

use serde_json::{Map, Value};

use super::Config;

/// How many unknown keys a message names.
const NAMED: usize = 10;
/// Longest key that is compared with the known ones, and shown whole.
const KEY_CHARS: usize = 60;

/// What to say about the unknown keys of a file; `None` where there are none, or where the file is no JSON object.
pub fn unknown(text: &[u8]) -> Option<String> {
    let Ok(Value::Object(file)) = serde_json::from_slice(text) else { return None };
    let Ok(Value::Object(mut known)) = serde_json::to_value(Config::default()) else { unreachable!("plain data") };
    known.insert("$schema".to_owned(), Value::Null);
    let mut found = Vec::new();
    for (key, value) in &file {
        match (known.get(key), value) {
            (None, _) => found.push(about(&known, "", key)),
            (Some(Value::Object(section)), Value::Object(inner)) => {
                found.extend(inner.keys().filter(|inner| !section.contains_key(*inner)).map(|k| about(&known, key, k)));
            }
            _ => {}
        }
    }
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!found.is_empty()).then(|| found.join("; ") + &rest)
}

/// One unknown key of a section (of the file itself: the empty name), and what was probably meant.
fn about(known: &Map<String, Value>, section: &str, key: &str) -> String {
    let shown: String = key.chars().take(KEY_CHARS).collect();
    let shown = join(section, &shown);
    match nearest(known, section, key) {
        Some(meant) if meant == shown => format!("unknown key `{shown}` (a section is an object of its own)"),
        Some(meant) => format!("unknown key `{shown}`, did you mean `{meant}`?"),
        None => {
            let keys = known.get(section).and_then(Value::as_object).unwrap_or(known).keys();
            format!("unknown key `{shown}`; the keys here are {}", keys.cloned().collect::<Vec<_>>().join(", "))
        }
    }
}

/// The full name of the known key that is nearest: of another spelling (`maxFileBytes`), in another section, or with a typing
/// error. The section that the key is in goes first.
fn nearest(known: &Map<String, Value>, section: &str, key: &str) -> Option<String> {
    if key.chars().count() > KEY_CHARS {
        return None;
    }
    let wanted = plain(key);
    let far = |name: &str| strsim::osa_distance(&wanted, &plain(name));
    let allowed = (wanted.len() / 4).clamp(1, 3);
    every(known)
        .filter(|(_, name)| far(name) <= allowed)
        .min_by_key(|(of, name)| (far(name), *of != section))
        .map(|(of, name)| join(of, name))
}

/// Every key, with its section; the sections themselves have the empty one.
fn every(known: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    let inner = known.iter().filter_map(|(section, value)| Some((section, value.as_object()?)));
    let inner = inner.flat_map(|(section, keys)| keys.keys().map(move |key| (section.as_str(), key.as_str())));
    known.keys().map(|key| ("", key.as_str())).chain(inner)
}

/// Lower case without separators, so that `maxFileBytes` and `max-file-bytes` are `max_file_bytes`; and without the sections' names
/// in front, as in `index.watch`.
fn plain(key: &str) -> String {
    let key = key.rsplit_once('.').map_or(key, |(_, key)| key);
    key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::unknown;

    #[test]
    fn unknown_keys_are_named_with_what_was_meant() {
        for (file, expected) in [
            (r#"{"modle":"x"}"#, "unknown key `modle`, did you mean `model`?"),
            (r#"{"ttl_minutes":3}"#, "unknown key `ttl_minutes`, did you mean `daemon.ttl_minutes`?"),
            (r#"{"daemon":{"watch":true}}"#, "unknown key `daemon.watch`, did you mean `index.watch`?"),
            (
                r#"{"index":{"maxFileBytes":1}}"#,
                "unknown key `index.maxFileBytes`, did you mean `index.max_file_bytes`?",
            ),
            (r#"{"index.watch":true}"#, "unknown key `index.watch` (a section"),
            (r#"{"search":{"limits":1}}"#, "unknown key `search.limits`, did you mean `search.limit`?"),
            (r#"{"serach":{}}"#, "unknown key `serach`, did you mean `search`?"),
            (r#"{"search":{"zzz":1}}"#, "unknown key `search.zzz`; the keys here are context, limit, mode, wait_ms"),
        ] {
            let said = unknown(file.as_bytes()).expect(file);
            assert!(said.starts_with(expected), "{file}: {said}");
        }
        let both = unknown(br#"{"modle":"x","daemon":{"enable":true}}"#).expect("two");
        assert!(both.contains("`model`") && both.contains("`daemon.enabled`"), "{both}");
        for fine in ["{}", "[]", "{", r#"{"$schema":"x","version":"2.0.0","daemon":{},"index":{},"search":{}}"#] {
            assert_eq!(unknown(fine.as_bytes()), None, "{fine}");
        }
        let many: String = (0..1000).map(|i| format!(r#""{}{i}":1,"#, "k".repeat(200))).collect();
        let said = unknown(format!("{{{}\"z\":1}}", many).as_bytes()).expect("many");
        assert!(said.ends_with("and 991 more") && said.len() < 5_000, "{}", said.len());
    }
}
