//! Tests only: JSON schemas that are made from types and committed as files.

use std::path::Path;

use serde_json::Value;

/// Fails where the file at `path`, relative to the repository, is not `schema`. With `UPDATE_SCHEMAS=1` it is written.
pub fn assert_committed(path: &str, mut schema: Value) {
    forbid_null(&mut schema);
    join_lines(&mut schema);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join(path);
    let text = serde_json::to_string_pretty(&schema).expect("plain data") + "\n";
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::create_dir_all(file.parent().expect("in a folder")).expect("writable");
        std::fs::write(&file, text).expect("writable");
        return;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(
        committed == text,
        "{path} is not what the types say: run this test with UPDATE_SCHEMAS=1 and commit the file"
    );
}

/// Takes `null` from the types of properties that are not required. Serialisation leaves such properties out instead.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let required = fields.get("required").cloned().unwrap_or_default();
            let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|n| n == name));
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                properties
                    .iter_mut()
                    .filter(|(name, _)| !is_required(name))
                    .for_each(|(_, property)| without_null(property));
            }
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

fn without_null(property: &mut Value) {
    let Value::Object(fields) = property else { return };
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|name| name != "null");
        if let [single] = types.as_slice() {
            let single = single.clone();
            fields.insert("type".to_owned(), single);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(single)] = choices.as_slice() {
            let single = single.clone();
            fields.remove("anyOf");
            fields.extend(single);
        }
    }
}

/// Makes one line of each description. Its line ends are those of the source file.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(join_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}
