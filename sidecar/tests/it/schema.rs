//! Checks what `--json` prints against `docs/schema/cli.schema.json`, and that schema against the types of the Node API.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::support::{World, repository};

fn schema() -> Value {
    let text = std::fs::read_to_string(repository().join("docs/schema/cli.schema.json")).expect("committed");
    serde_json::from_str(&text).expect("JSON")
}

/// Every violation of `rule` by `value`, one line each. A property that the schema does not name is a violation, too.
fn violations(schema: &Value, rule: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in rule.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "description" | "format" => {}
            "$ref" => {
                let path = wanted
                    .as_str()
                    .and_then(|path| path.strip_prefix('#'))
                    .expect("a reference into the same document");
                let target = schema.pointer(path).unwrap_or_else(|| panic!("{path} does not exist"));
                found.extend(violations(schema, target, value, at));
            }
            "anyOf" | "oneOf" => {
                let choices: Vec<_> = list(wanted).iter().map(|choice| violations(schema, choice, value, at)).collect();
                if choices.iter().all(|broken| !broken.is_empty()) {
                    found.push(format!("{at} fits none of {choices:?}"));
                }
            }
            "type" if !has_type(wanted, value) => found.push(format!("{at} is no {wanted}: {value}")),
            "const" if wanted != value => found.push(format!("{at} is not {wanted}: {value}")),
            "enum" if !list(wanted).contains(value) => found.push(format!("{at} is none of {wanted}: {value}")),
            "minimum" if value.as_f64() < wanted.as_f64() => found.push(format!("{at} is below {wanted}: {value}")),
            "required" => {
                let absent = list(wanted).iter().filter(|name| value.get(name.as_str().expect("a name")).is_none());
                found.extend(absent.map(|name| format!("{at} lacks {name}")));
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    match wanted.get(name) {
                        Some(rule) => found.extend(violations(schema, rule, value, &format!("{at}.{name}"))),
                        None => found.push(format!("{at}.{name} is not in the schema")),
                    }
                }
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                found.extend(items.flat_map(|(i, item)| violations(schema, wanted, item, &format!("{at}[{i}]"))));
            }
            "type" | "const" | "enum" | "minimum" => {}
            other => panic!("this check does not know the keyword {other}"),
        }
    }
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str().expect("one type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("this check does not know the type {other}"),
    }
}

#[track_caller]
fn assert_fits(schema: &Value, document: &str, value: &Value) {
    let rule = &schema["properties"][document];
    assert!(rule.is_object(), "{document} is not in the schema");
    let broken = violations(schema, rule, value, document);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_output_of_each_command_fits_the_schema() {
    let schema = schema();
    let world = World::new();
    world.write("hello.py", "def greet(name):\n    return f\"hello {name}\"\n");
    world.write("nul.txt", b"\0\x01\x02\x03 with a text");
    world.write(".gitignore", "*.log\n");
    world.write("a.log", "x");
    let fits = |document: &str, args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        assert_fits(&schema, document, &world.run(&args).json());
    };
    fits("error", &["search", "greet"]);
    fits("status", &["status"]);
    fits("stop", &["stop"]);
    fits("init", &["init"]);
    fits("index", &["index"]);
    fits("search", &["search", "greet"]);
    fits("search", &["search", "greet", "--explain", "--no-text", "--fresh"]);
    fits("search", &["search", "greet", "--mode", "symbol"]);
    fits("search", &["search", "gre+t", "--mode", "regex", "-C", "1"]);
    fits("search", &["search", "nowhere", "--mode", "text"]);
    for path in ["hello.py", "nul.txt", "a.log", ".", "gone", "/elsewhere"] {
        fits("why", &["why", path]);
    }
    fits("embed", &["embed", "one", "two"]);
    fits("start", &["start"]);
    fits("status", &["status"]);
    fits("doctor", &["doctor"]);
    fits("doctor", &["doctor", "--bundle", "bundle.md"]);
    fits("restart", &["restart"]);
    fits("status", &["status"]);
    fits("stop", &["stop"]);
    // `pull` needs a server (`__test__/pull.test.mjs`), so its document is written out here.
    assert_fits(&schema, "pull", &json!({ "model": "hf:a/b/c.gguf", "path": "/somewhere" }));
    // Outside of any project.
    let mut outside = world.command(["doctor", "--json"]);
    outside.current_dir(world.home());
    assert_fits(&schema, "doctor", &crate::support::finish(outside, b"").json());
}

#[test]
fn the_check_finds_documents_that_do_not_fit() {
    let schema = schema();
    let broken = |document: &str, value: Value| violations(&schema, &schema["properties"][document], &value, "it");
    assert_eq!(broken("stop", json!({ "stopped": true })), [""; 0]);
    assert_eq!(broken("stop", json!({ "stopped": 1 })), ["it.stopped is no \"boolean\": 1"]);
    assert_eq!(broken("stop", json!({})), ["it lacks \"stopped\""]);
    assert_eq!(broken("stop", json!({ "stopped": true, "more": 1 })), ["it.more is not in the schema"]);
    assert_eq!(broken("stop", json!({ "stopped": true, "project": null })), ["it.project is no \"string\": null"]);
    assert_eq!(broken("status", json!({ "running": true })).len(), 1, "it fits neither variant");
    assert_eq!(broken("doctor", json!({ "problems": -1, "checks": [{}] })).len(), 5);
}

/// The members of each interface of `index.d.ts`, and whether each is optional.
fn interfaces() -> BTreeMap<String, BTreeMap<String, bool>> {
    let text = std::fs::read_to_string(repository().join("index.d.ts")).expect("committed");
    let mut found: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("export interface ") {
            current = Some(rest.split([' ', '<']).next().expect("a name").to_owned());
        } else if line == "}" {
            current = None;
        }
        let (Some(interface), Some(member)) = (&current, line.strip_prefix("  ")) else { continue };
        let Some((name, _)) = member.split_once(':') else { continue };
        let name = name.strip_prefix("readonly ").unwrap_or(name);
        let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        if !name.is_empty() && name.chars().all(char::is_alphanumeric) {
            found.entry(interface.clone()).or_default().insert(name.to_owned(), optional);
        }
    }
    found
}

/// The command line and the Node API report under the same names.
#[test]
fn the_schema_and_the_node_types_have_the_same_members() {
    /// Members that only the command line's documents have, or that are optional only there.
    const DIFFERENT: &[(&str, &str)] = &[
        ("IndexReport", "project"), // a Node client belongs to one project
        ("Status", "running"),      // `status()` returns null where no daemon runs
        ("Hit", "text"),            // absent with `--no-text`
    ];
    let differs = |of: &str, name: &str| DIFFERENT.contains(&(of, name));
    let schema = schema();
    let empty = Map::new();
    let types = schema["$defs"].as_object().unwrap_or(&empty);
    let mut compared = BTreeSet::new();
    for (interface, members) in interfaces() {
        let Some(in_schema) = types.get(&interface) else { continue };
        let required = in_schema.get("required").map(list).unwrap_or_default(); // absent where all are optional
        let in_schema: BTreeMap<String, bool> = in_schema["properties"]
            .as_object()
            .expect("members")
            .keys()
            .map(|name| (name.clone(), !required.contains(&json!(name))))
            .collect();
        let common = |members: BTreeMap<String, bool>| -> BTreeMap<String, bool> {
            members.into_iter().filter(|(name, _)| !differs(&interface, name)).collect()
        };
        assert_eq!(common(in_schema), common(members), "{interface}");
        compared.insert(interface);
    }
    let expected = [
        "Contribution",
        "Coverage",
        "EmbedTiming",
        "Hit",
        "IndexReport",
        "Latency",
        "LoadStatus",
        "SearchResult",
        "Span",
        "Status",
        "SymbolMatch",
        "WatchStatus",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|name| !compared.contains(*name)).collect();
    assert!(missing.is_empty(), "absent from the schema or from index.d.ts: {missing:?}");
}
