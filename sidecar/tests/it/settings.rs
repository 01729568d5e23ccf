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

fn cached(world: &World) -> std::path::PathBuf {
    world.home().join(".cache/offheap/indexes")
}

#[test]
fn an_index_may_be_in_the_cache() {
    let world = world(r#"{"data_dir":"cache"}"#);
    assert!(!world.data().exists() && cached(&world).is_dir());
    assert_eq!(world.json(&["search", "--json", "alpha_two", "--mode", "symbol"])["hits"][0]["path"], "two.py");
    assert_eq!(world.run(&["restart"]).code, Some(0));
    assert_eq!(world.json(&["search", "--json", "alpha_two", "--mode", "symbol"])["hits"][0]["path"], "two.py");
    let checks = world.json(&["doctor", "--json"])["checks"].to_string();
    assert!(checks.contains("indexes"), "{checks}");
    // A repository names no place of its own.
    world.write(".offheap/config.json", r#"{"data_dir":"/elsewhere"}"#);
    world.fault(&["search", "alpha"], 1, "CONFIG_INVALID");
}

/// Root's `.offheap` in a user's project could be neither used nor removed by that user; and a read-only tree had no index at all.
#[test]
fn a_tree_that_cannot_be_written_has_its_index_in_the_cache() {
    use std::os::unix::fs::{PermissionsExt, chown};

    use crate::support::is_root;

    let world = World::new();
    world.write("a.py", "def alpha():\n    return 1\n");
    if is_root() {
        chown(world.project(), Some(12345), None).expect("root may");
    } else {
        std::fs::set_permissions(world.project(), PermissionsExt::from_mode(0o555)).expect("ours");
    }
    let project = world.project().to_str().expect("UTF-8");
    assert_eq!(world.json(&["index", "--json", "--project", project])["files"], 1);
    assert_eq!(
        world.json(&["search", "--json", "alpha", "--mode", "text"])["hits"][0]["path"],
        "a.py",
        "by the working directory"
    );
    let found = world.json(&["search", "--json", "alpha", "--mode", "text", "--project", project]);
    assert_eq!(found["hits"][0]["path"], "a.py", "{found}");
    let names: Vec<_> = std::fs::read_dir(world.project()).expect("listed").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["a.py"], "nothing is made in it");
    assert_eq!(std::fs::read_dir(cached(&world)).expect("listed").count(), 2);
    assert_eq!(world.json(&["index", "--json", "--project", project])["filesChanged"], 0);
    std::fs::set_permissions(world.project(), PermissionsExt::from_mode(0o755)).expect("ours");
}
