//! The configuration as its user meets it: what searches take from it, and what it says about a mistake.

use crate::support::World;

fn world(config: &str) -> World {
    let world = World::new();
    for name in ["one", "two", "three"] {
        world.write(&format!("{name}.py"), format!("def alpha_{name}():\n    x = 1\n    return alpha\n"));
    }
    world.write(".offheap/config.json", config);
    world.json(&["index", "--json"]);
    world
}

#[test]
fn a_search_takes_what_it_does_not_say_from_the_configuration() {
    let world = world(r#"{"version":"2.0.0","search":{"mode":"text","limit":2,"wait_ms":5}}"#);
    let found = world.json(&["search", "--json", "alpha"]);
    assert_eq!((&found["mode"], found["hits"].as_array().map(Vec::len)), (&"text".into(), Some(2)), "{found}");
    let found = world.json(&["search", "--json", "alpha", "--limit", "3", "--mode", "symbol"]);
    assert_eq!((&found["mode"], found["hits"].as_array().map(Vec::len)), (&"symbol".into(), Some(3)), "{found}");
    world.write(".offheap/config.json", r#"{"search":{"mode":"regex","context":1}}"#);
    let found = world.json(&["search", "--json", "x = 1"]);
    assert_eq!(found["hits"][0]["text"].as_str().expect("text").lines().count(), 3, "{found}");
}

/// A misspelt key was an error that listed all keys and named none; a byte-order mark was "expected value at line 1".
#[test]
fn a_mistake_in_the_configuration_names_the_key_that_was_meant() {
    let world = world("\u{feff}{}");
    world.write(".offheap/config.json", r#"{"modle":"x","daemon":{"watch":false},"search":{"contextLines":1}}"#);
    let fault = world.fault(&["search", "alpha"], 1, "CONFIG_INVALID");
    let message = fault["message"].as_str().expect("text");
    for part in ["`modle`, did you mean `model`", "`daemon.watch`, did you mean `index.watch`", "`search.contextLines`"]
    {
        assert!(message.contains(part), "{message}");
    }
}
