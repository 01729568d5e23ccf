//! Keeps `docs/schema/cli.schema.json` equal to the types of this folder.

use schemars::generate::SchemaSettings;
use serde_json::{Map, json};

use super::*;
use crate::schema_file::assert_committed;

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut documents = Map::new();
    let mut add = |name: &str, schema: schemars::Schema| documents.insert(name.to_owned(), schema.to_value());
    add("init", generator.subschema_for::<InitReport>());
    add("index", generator.subschema_for::<IndexReport>());
    add("search", generator.subschema_for::<SearchResult>());
    add("why", generator.subschema_for::<WhyReport>());
    add("embed", generator.subschema_for::<EmbedReport>());
    add("status", generator.subschema_for::<StatusDocument>());
    add("start", generator.subschema_for::<StartReport>());
    add("stop", generator.subschema_for::<StopReport>());
    add("restart", generator.subschema_for::<RestartReport>());
    add("doctor", generator.subschema_for::<DoctorReport>());
    add("pull", generator.subschema_for::<PullReport>());
    add("error", generator.subschema_for::<ErrorReport>());
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Documents of the offheap command line",
        "description": "Each property describes what `offheap <property> --json` prints; `error` describes what any command prints when it fails.",
        "type": "object",
        "properties": documents,
        "$defs": generator.take_definitions(true),
    });
    assert_committed("docs/schema/cli.schema.json", schema);
}
