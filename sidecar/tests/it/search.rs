//! Indexing and searching a small project through the command line.

use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Phase, Progress, Request, Response, SearchMode, SearchRequest};
use offheap_protocol::{Client, Code};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::{World, block_on, client, grow, status_of};

/// Writes six files with different subjects.
fn write_small_project(world: &World) {
    world.write("src/auth/password.py", "import hashlib\n\n\ndef verify_password(stored, given):\n    \"\"\"Compare a login attempt with the stored, salted hash.\"\"\"\n    return hashlib.scrypt(given, salt=stored.salt) == stored.digest\n");
    world.write("src/geometry.rs", "/// Area enclosed by a circle.\npub fn circle_area(radius: f64) -> f64 {\n    std::f64::consts::PI * radius * radius\n}\n");
    world.write("web/cart.ts", "export function totalPrice(items: Item[]): number {\n  // sum of all products in the shopping basket, tax included\n  return items.reduce((sum, item) => sum + item.price * 1.2, 0);\n}\n");
    world.write("server/retry.go", "package server\n\n// Backoff waits longer after each failed attempt to reach the network.\nfunc Backoff(attempt int) time.Duration {\n\treturn time.Second << attempt\n}\n");
    world.write(
        "docs/weather.md",
        "# Forecast\n\nTomorrow it will rain in the mountains, with snow above two thousand metres.\n",
    );
    world.write("tests/test_password.py", "from auth import password\n\n\ndef test_verify_password():\n    assert password.verify_password(STORED, b\"secret\")\n");
}

fn paths(found: &Value) -> Vec<&str> {
    found["hits"].as_array().expect("hits").iter().map(|hit| hit["path"].as_str().expect("text")).collect()
}

#[test]
fn each_mode_finds_the_right_file_first() {
    let world = World::new();
    write_small_project(&world);
    let report = world.json(&["index", "--json"]);
    assert_eq!((&report["files"], &report["filesChanged"]), (&6.into(), &6.into()), "{report}");
    assert_eq!(report["vectors"], report["chunks"], "{report}");
    let check = |mode: &str, query: &str, first: &str| {
        let found = world.json(&["search", "--json", "--mode", mode, query]);
        assert_eq!(paths(&found)[0], first, "{mode} {query}: {found}");
        assert_eq!((&found["mode"], &found["degraded"]), (&mode.into(), &Value::Null), "{found}");
        found
    };
    // The query has no word in common with the file.
    check("semantic", "is it going to be wet and cold on the peaks", "docs/weather.md");
    check("hybrid", "total of the prices in a shopping basket", "web/cart.ts");
    check("text", "scrypt salt digest", "src/auth/password.py");
    check("hybrid", "circle_area", "src/geometry.rs");
    check("text", "circle_area", "src/geometry.rs");
    // The definition ranks before the test that calls it.
    let found = check("hybrid", "verify_password", "src/auth/password.py");
    let hit = &found["hits"][0];
    assert!(hit["text"].as_str().expect("text").contains("def verify_password"), "{hit}");
    assert_eq!((&hit["language"], &hit["stale"]), (&"python".into(), &false.into()), "{hit}");
    assert!(hit["symbols"].as_array().expect("names").contains(&"verify_password".into()), "{hit}");
    assert_eq!(found["generation"], report["generation"]);
}

#[test]
fn filters_apply_before_ranking() {
    let world = World::new();
    write_small_project(&world);
    world.json(&["index", "--json"]);
    let search = |args: &[&str]| {
        let args: Vec<&str> =
            ["search", "--json", "--no-text", "verify a password"].into_iter().chain(args.iter().copied()).collect();
        let found = world.json(&args);
        assert!(found["hits"][0].get("text").is_none(), "with --no-text there is no text");
        paths(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for mode in ["hybrid", "semantic"] {
        assert_eq!(search(&["--mode", mode, "--glob", "web/**"]), ["web/cart.ts"], "{mode}");
        assert_eq!(search(&["--mode", mode, "--language", "go"]), ["server/retry.go"], "{mode}");
        assert!(!search(&["--mode", mode, "--glob", "!tests/**"]).contains(&"tests/test_password.py".to_owned()));
        assert_eq!(search(&["--mode", mode, "-n", "1", "--language", "rust"]), ["src/geometry.rs"], "{mode}");
        assert_eq!(search(&["--mode", mode, "-n", "2"]).len(), 2);
    }
    let none = world.run(&["search", "--json", "--glob", "nowhere/**", "password"]);
    assert_eq!((none.code, none.json()["hits"].as_array().map(Vec::len)), (Some(3), Some(0)), "{none:?}");
}

#[test]
fn only_changed_chunks_are_embedded_again() {
    let world = World::new();
    write_small_project(&world);
    let first = world.json(&["index", "--json"]);
    assert_eq!(first["embedded"], first["chunks"]);
    let index = |why: &str, changed: u64, removed: u64, embedded: u64, reused: u64| {
        let report = world.json(&["index", "--json"]);
        let found =
            ["filesChanged", "filesRemoved", "embedded", "reused"].map(|key| report[key].as_u64().expect("a number"));
        assert_eq!(found, [changed, removed, embedded, reused], "{why}: {report}");
        assert_eq!(report["vectors"], report["chunks"], "{why}");
        report
    };
    let again = index("nothing changed", 0, 0, 0, 0);
    assert_eq!(again["generation"], first["generation"], "nothing changed, so nothing was committed");
    world.write(
        "src/geometry.rs",
        "/// Area of a square.\npub fn square_area(side: f64) -> f64 {\n    side * side\n}\n",
    );
    let stale = world.json(&["search", "--json", "--mode", "text", "circle_area"]);
    assert_eq!((paths(&stale)[0], &stale["hits"][0]["stale"]), ("src/geometry.rs", &true.into()), "{stale}");
    index("one file edited", 1, 0, 1, 0);
    let fresh = world.json(&["search", "--json", "--mode", "text", "square_area"]);
    assert_eq!((paths(&fresh)[0], &fresh["hits"][0]["stale"]), ("src/geometry.rs", &false.into()), "{fresh}");
    let gone = world.run(&["search", "--json", "--mode", "text", "radius"]);
    assert_eq!((gone.code, paths(&gone.json()).len()), (Some(3), 0), "{gone:?}");

    let (weather, moved) = (world.project().join("docs/weather.md"), world.project().join("docs/climate.md"));
    std::fs::rename(&weather, &moved).expect("owned by this user");
    // The model's input includes the path, so a renamed file is embedded again.
    index("one file renamed", 1, 1, 1, 0);
    let found = world.json(&["search", "--json", "rain and snow"]);
    assert_eq!(paths(&found)[0], "docs/climate.md", "{found}");
    assert!(!paths(&found).contains(&"docs/weather.md"));
    std::fs::rename(&moved, &weather).expect("owned by this user");
    index("renamed back: known", 1, 1, 0, 1);
    std::fs::remove_file(&weather).expect("owned by this user");
    let report = index("one file deleted", 0, 1, 0, 0);
    assert_eq!(report["files"], 5);
    assert!(!paths(&world.json(&["search", "--json", "rain and snow"])).contains(&"docs/weather.md"));
    // A file that is rewritten with the same content has a new modification time only.
    let same = std::fs::read(world.project().join("web/cart.ts")).expect("owned by this user");
    world.write("web/cart.ts", same);
    index("touched", 0, 0, 0, 0);
    // Another daemon does not embed again either.
    world.run(&["stop"]);
    index("another daemon", 0, 0, 0, 0);
}

#[test]
fn the_error_for_a_missing_index_says_how_to_make_one() {
    let world = World::new();
    write_small_project(&world);
    world.run(&["init"]);
    for mode in ["hybrid", "semantic", "text"] {
        let error = world.fault(&["search", "--mode", mode, "x"], 1, "NO_INDEX");
        assert!(error["hint"].as_str().expect("text").contains("offheap index"), "{error}");
    }
    assert!(world.status()["model"].is_null(), "no model was loaded");
}

async fn search(
    client: &Client,
    mode: SearchMode,
    query: &str,
) -> Result<offheap_protocol::message::SearchReport, offheap_protocol::Fault> {
    let request = Request::Search(SearchRequest { query: query.into(), mode, limit: 5, ..SearchRequest::default() });
    match client.call(request, Payload::None, None, None).await?.response {
        Response::Found(report) => Ok(report),
        other => panic!("not a search: {other:?}"),
    }
}

/// While vectors are computed, text search answers, a second run is refused, and a cancelled run keeps its vectors.
#[test]
fn search_answers_while_vectors_are_computed() {
    let world = World::new();
    grow(&world, 160);
    world.start();
    block_on(async {
        let (indexer, searcher) = (client(&world).await, client(&world).await);
        let (sender, mut progress) = watch::channel(Progress::default());
        let run = indexer.call(Request::Index { rebuild: false, force: false }, Payload::None, None, Some(sender));
        let watching = async {
            progress.wait_for(|p| p.phase == Phase::Embed && p.done > 0).await.expect("the run reports");
            let found = search(&searcher, SearchMode::Text, "function_123").await.expect("text search answers");
            assert_eq!(found.hits[0].path, "src/part03/file123.py", "{found:?}");
            assert!(found.coverage.vectors < found.coverage.chunks, "vectors are still being computed");
            let hybrid = search(&searcher, SearchMode::Hybrid, "function_123").await.expect("text search answers");
            assert!(hybrid.degraded.is_some(), "{hybrid:?}");
            assert!(status_of(&searcher).await.indexing);
            let second =
                searcher.call(Request::Index { rebuild: false, force: false }, Payload::None, None, None).await;
            assert_eq!(second.expect_err("a run is in progress").code, Code::IndexBusy);
            progress.wait_for(|p| p.done >= 64).await.expect("the run goes on");
            indexer.cancel_all();
        };
        let (outcome, ()) = tokio::join!(run, watching);
        assert_eq!(outcome.expect_err("cancelled").code, Code::Cancelled);
        let status = status_of(&searcher).await;
        assert!(!status.indexing);
        let kept = status.index.expect("an index").vectors;
        assert!((64..160).contains(&kept), "{kept} vectors were kept");
        let reply = indexer
            .call(Request::Index { rebuild: false, force: false }, Payload::None, None, None)
            .await
            .expect("the second run succeeds");
        let Response::Indexed(report) = reply.response else { panic!("not a report") };
        assert_eq!((report.chunks, report.vectors), (160, 160));
        assert_eq!(report.embedded + report.reused + kept, 160, "{report:?}");
        assert_eq!(report.reused, 0, "stored vectors are not looked up in the cache");
    });
}
