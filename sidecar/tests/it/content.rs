//! Every text is found, whatever its encoding, its line ends and its length; what is left out is counted and explained.

use serde_json::Value;

use crate::support::World;

/// Path and line of each hit.
fn places(world: &World, query: &str, mode: &str) -> Vec<(String, u64)> {
    let answer = world.run(&["search", "--json", "--mode", mode, query]).json();
    let hits = answer["hits"].as_array().unwrap_or_else(|| panic!("{mode} {query}: {answer}"));
    let line = |hit: &Value| hit["matches"][0]["line"].as_u64().or(hit["startLine"].as_u64()).expect("a line");
    hits.iter().map(|hit| (hit["path"].as_str().expect("text").to_owned(), line(hit))).collect()
}

/// A text whose last line is far from its first, so that lines that are counted wrongly show.
fn text(word: &str, end: &str) -> String {
    format!("# first{end}{end}# {}{end}{end}{word} = 1{end}", "filler ".repeat(300))
        .replace("filler filler", "filler\u{e9} filler")
}

#[test]
fn texts_of_every_encoding_and_line_end_are_found_at_their_lines() {
    let world = World::new();
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let latin1 = |text: &str| text.chars().map(|char| char as u8).collect::<Vec<u8>>();
    let mut wanted = Vec::new();
    for (n, end) in ["\n", "\r\n", "\r"].into_iter().enumerate() {
        let word = |kind: &str| format!("needle_{kind}_{n}");
        let of = |kind: &str| text(&word(kind), end);
        let files: [(&str, Vec<u8>); 8] = [
            ("utf8", of("utf8").into_bytes()),
            ("mark", [b"\xef\xbb\xbf".to_vec(), of("mark").into_bytes()].concat()),
            ("le", [b"\xff\xfe".to_vec(), utf16(&of("le"), u16::to_le_bytes)].concat()),
            ("be", [b"\xfe\xff".to_vec(), utf16(&of("be"), u16::to_be_bytes)].concat()),
            ("plainle", utf16(&of("plainle"), u16::to_le_bytes)),
            ("plainbe", utf16(&of("plainbe"), u16::to_be_bytes)),
            ("latin", latin1(&of("latin"))),
            ("nul", of("nul").replace("# first", "# fir\0st").into_bytes()),
        ];
        for (kind, bytes) in files {
            let path = format!("{kind}{n}.py");
            world.write(&path, bytes);
            wanted.push((path, word(kind)));
        }
    }
    // Names that say something else than the content.
    for (path, word) in [("page.pt", "zope_page"), ("stations.dat", "stations_dat"), ("menu.bundle.js", "menu_bundle")]
    {
        world.write(path, format!("one\n\n\n\n{word} = 1\n"));
        wanted.push((path.to_owned(), word.to_owned()));
    }
    world.write("picture.py", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    let report = world.json(&["index", "--json"]);
    assert_eq!((&report["files"], &report["skippedTotal"]), (&27.into(), &1.into()), "{report}");
    for (path, word) in &wanted {
        assert_eq!(places(&world, word, "regex"), [(path.clone(), 5)], "{word}");
        let found = places(&world, word, "text");
        assert!(found.first().is_some_and(|(found, _)| found == path), "{word}: {found:?}");
    }
    // No mark in a hit, nor a carriage return instead of a line end.
    for hit in
        world.json(&["search", "--json", "--mode", "text", "first", "-n", "100"])["hits"].as_array().expect("hits")
    {
        let text = hit["text"].as_str().expect("text");
        assert!(text.starts_with("# fir") && hit["stale"] == false, "{hit}");
        assert!(!text.contains('\u{feff}') && !text.replace("\r\n", "").contains('\r'), "{hit}");
    }
}

#[test]
fn a_mark_is_no_part_of_a_heading() {
    let world = World::new();
    world.write("guide.md", "\u{feff}# Guide\n\nBirds of prey.\n");
    world.write(".offheap/config.json", "\u{feff}{\"index\":{\"max_file_bytes\":2000}}");
    world.json(&["index", "--json"]);
    let hit = world.json(&["search", "--json", "--mode", "text", "prey"])["hits"][0].clone();
    assert_eq!((&hit["text"], &hit["path"]), (&"# Guide\n\nBirds of prey.".into(), &"guide.md".into()), "{hit}");
}

/// A log of 3 MB in each of two encodings, with what is looked for at its end.
#[test]
fn long_texts_are_found_by_their_words_and_lines() {
    let world = World::new();
    let lines = |word: &str| {
        format!("{}{word} happened\nafter {word}\n", "an ordinary line of a log, and no more\n".repeat(80_000))
    };
    world.write("service.log", lines("wanderfalke"));
    let utf16: Vec<u8> = lines("turmfalke").encode_utf16().flat_map(u16::to_le_bytes).collect();
    world.write("other.log", [b"\xff\xfe".to_vec(), utf16].concat());
    world.write("one-line.json", format!("{{\"a\": \"{}\", \"habicht\": 1}}", "x, ".repeat(700_000)));
    world.write("video.log", [b"\0\0\0\x18ftypmp42".to_vec(), vec![7; 3 << 20]].concat());
    world.write("small.py", "def small():\n    return 1\n");
    let report = world.json(&["index", "--json"]);
    assert_eq!(
        (&report["files"], &report["vectors"], &report["embedded"]),
        (&4.into(), &1.into(), &1.into()),
        "{report}"
    );
    assert_eq!(report["skippedByReason"], serde_json::json!([{ "reason": "binary", "files": 1 }]), "{report}");
    assert_eq!(report["textOnly"].as_u64().map(|n| n + 1), report["chunks"].as_u64(), "{report}");
    for (path, word) in [("service.log", "wanderfalke"), ("other.log", "turmfalke")] {
        assert_eq!(places(&world, word, "regex"), [(path.to_owned(), 80_001), (path.to_owned(), 80_002)]);
        for mode in ["text", "hybrid"] {
            let answer = world.json(&["search", "--json", "--mode", mode, word]);
            let hit = &answer["hits"][0];
            assert_eq!((&hit["path"], &hit["stale"]), (&path.into(), &false.into()), "{answer}");
            assert!(hit["text"].as_str().expect("text").contains(word), "{hit}");
            assert_eq!(hit["endLine"], 80_002, "{hit}");
            assert_eq!(answer["degraded"], Value::Null, "no vector is missing: {answer}");
        }
    }
    let context = world.json(&["search", "--json", "--mode", "regex", "-C", "1", "wanderfalke happened"]);
    let text = "an ordinary line of a log, and no more\nwanderfalke happened\nafter wanderfalke";
    assert_eq!((&context["hits"][0]["text"], &context["hits"][0]["startLine"]), (&text.into(), &80_000.into()));
    let column = world.json(&["search", "--json", "--mode", "regex", "habicht"]);
    assert_eq!(column["hits"][0]["matches"], serde_json::json!([{ "line": 1, "start": 2_100_012, "end": 2_100_019 }]));
    // Nothing is done again, and nothing waits for a vector.
    let again = world.json(&["index", "--json"]);
    assert_eq!((&again["filesChanged"], &again["embedded"]), (&0.into(), &0.into()), "{again}");
    // It becomes short, then long again.
    world.write("service.log", "wanderfalke = 1\n");
    let short = world.json(&["index", "--json"]);
    assert_eq!((&short["filesChanged"], &short["vectors"]), (&1.into(), &2.into()), "{short}");
    world.write("service.log", lines("wanderfalke"));
    let long = world.json(&["index", "--json"]);
    assert_eq!((&long["filesChanged"], &long["vectors"]), (&1.into(), &1.into()), "{long}");
    // The configuration decides anew, without a change of the file.
    world.write(".offheap/config.json", "{\"index\":{\"max_text_bytes\":0}}");
    let none = world.json(&["index", "--json"]);
    assert_eq!((&none["files"], &none["textOnly"], &none["skippedTotal"]), (&1.into(), &0.into(), &4.into()), "{none}");
}

#[test]
fn what_is_left_out_is_counted_in_every_answer() {
    let world = World::new();
    world.write("good.py", "def good():\n    return 1\n");
    world.write("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    world.write("b.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    world.write("package-lock.json", "{}");
    let counts = serde_json::json!([{ "reason": "binary", "files": 2 }, { "reason": "generated", "files": 1 }]);
    let report = world.json(&["index", "--json"]);
    assert_eq!(report["skippedByReason"], counts, "{report}");
    for mode in ["text", "hybrid", "semantic", "symbol", "regex"] {
        let coverage = world.json(&["search", "--json", "--mode", mode, "good"])["coverage"].clone();
        assert_eq!(
            (&coverage["skippedByReason"], &coverage["skippedTotal"]),
            (&counts, &3.into()),
            "{mode}: {coverage}"
        );
    }
    assert_eq!(world.json(&["status", "--json"])["index"]["skippedByReason"], counts);
    let shown = world.run(&["search", "--mode", "text", "good"]);
    assert!(shown.stderr.contains("; 3 files skipped (2 binary, 1 generated)"), "{shown:?}");
    let listed = world.run(&["index", "--quiet"]);
    assert!(
        listed.stdout.contains("     2 binary: a.png, b.png\n") && listed.stdout.contains("offheap why"),
        "{listed:?}"
    );
    // Remembered: not read again, counted again; a change is seen, and so is one back.
    world.write("a.png", "now it is text\n");
    let report = world.json(&["index", "--json"]);
    assert_eq!((&report["skippedTotal"], &report["filesChanged"]), (&2.into(), &1.into()), "{report}");
    std::fs::remove_file(world.project().join("b.png")).expect("ours");
    let report = world.json(&["index", "--json"]);
    assert_eq!(report["skippedByReason"], serde_json::json!([{ "reason": "generated", "files": 1 }]), "{report}");
    let coverage = world.json(&["search", "--json", "--mode", "text", "good"])["coverage"].clone();
    assert_eq!(coverage["skippedTotal"], 1, "{coverage}");
    world.write("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    let report = world.json(&["index", "--rebuild", "--json"]);
    assert_eq!((&report["skippedTotal"], &report["files"]), (&2.into(), &1.into()), "{report}");
}

/// What `why` says of a path: exit code and document.
fn why(world: &World, path: &str) -> (Option<i32>, Value) {
    let done = world.run(&["why", "--json", path]);
    (done.code, done.json())
}

#[test]
fn one_path_is_explained() {
    let world = World::new();
    world.write("src/good.py", "def good():\n    return 1\n");
    world.write("empty.py", "");
    world.write(".gitignore", "# ours\n*.log\nbuild/\n");
    world.write("a.log", "x");
    world.write("build/deep/out.js", "x");
    world.write("node_modules/m/index.js", "x");
    world.write("picture.py", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    world.write("strange.txt", vec![0xe4; 3_000]);
    world.write("Cargo.lock", "x");
    world.write("long.log2", "a line\n".repeat(200_000));
    world.write("skipped.rs", "fn x() {}\n");
    world.write(".offheap/config.json", "{\"index\":{\"exclude\":[\"skipped.rs\"]}}");
    let file = std::fs::File::create(world.project().join("huge.csv")).expect("ours");
    file.set_len(2 << 30).expect("sparse");
    std::os::unix::fs::symlink("src/good.py", world.project().join("link.py")).expect("ours");
    let before = why(&world, "src/good.py");
    assert_eq!((before.0, &before.1["reason"]), (Some(3), &"no_index".into()), "{before:?}");
    world.json(&["index", "--json"]);
    world.run(&["stop"]);
    let (code, good) = why(&world, "src/good.py");
    assert_eq!(code, Some(0), "{good}");
    let facts = ["indexed", "reason", "kind", "language", "encoding", "chunks", "vectors", "textOnly", "stale"]
        .map(|key| good[key].clone());
    assert_eq!(
        Value::from(facts.to_vec()),
        serde_json::json!([true, "indexed", "file", "python", "UTF-8", 1, 1, false, false])
    );
    assert!(good["generation"].as_u64() > Some(0) && good["remedy"] == "", "{good}");
    let long = why(&world, "long.log2").1;
    assert_eq!(
        (&long["indexed"], &long["textOnly"], &long["vectors"]),
        (&true.into(), &true.into(), &0.into()),
        "{long}"
    );
    let outside = world.home().join("elsewhere.py");
    for (path, kind, reason, says) in [
        ("a.log", "file", "ignored", "line 2 of `.gitignore`"),
        ("build/deep/out.js", "file", "ignored", "line 3 of `.gitignore`"),
        ("node_modules/m/index.js", "file", "pruned", "nothing can be done"),
        ("picture.py", "file", "binary", "not text"),
        ("strange.txt", "file", "unknown_encoding", "UTF-8"),
        ("Cargo.lock", "file", "generated", "lock files"),
        ("huge.csv", "file", "too_large", "index.max_text_bytes"),
        ("skipped.rs", "file", "excluded", "index.exclude"),
        ("link.py", "other", "symlink", "links"),
        ("empty.py", "file", "no_text", ""),
        ("gone/away.py", "missing", "missing", "check the path"),
        ("../elsewhere.py", "missing", "outside", "--project"),
        (outside.to_str().expect("UTF-8"), "missing", "outside", "--project"),
    ] {
        let (code, found) = why(&world, path);
        assert_eq!((code, &found["kind"], &found["reason"]), (Some(3), &kind.into(), &reason.into()), "{found}");
        assert_eq!(found["indexed"], false, "{found}");
        let remedy = found["remedy"].as_str().expect("text");
        assert!(remedy.contains(says) && (remedy.is_empty() == says.is_empty()), "{found}");
    }
    let rule = why(&world, "build/deep/out.js").1;
    assert_eq!(rule["rule"], serde_json::json!({ "file": ".gitignore", "line": 3, "pattern": "build/" }), "{rule}");
    assert_eq!(rule["decidedAt"], "build", "{rule}");
    assert!(why(&world, "picture.py").1["detail"].as_str().expect("text").contains("PNG"));
    let (code, folder) = why(&world, "src");
    assert_eq!((code, &folder["files"], &folder["filesIndexed"]), (Some(0), &1.into(), &1.into()), "{folder}");
    // What changed since is said, too.
    world.write("src/good.py", "def better():\n    return 1\n");
    world.write("new.py", "x = 1\n");
    assert_eq!(why(&world, "src/good.py").1["stale"], true);
    assert_eq!(why(&world, "new.py").1["reason"], "not_indexed_yet");
    std::fs::remove_file(world.project().join("src/good.py")).expect("ours");
    let gone = why(&world, "src/good.py").1;
    assert_eq!(
        (&gone["indexed"], &gone["stale"], &gone["reason"]),
        (&true.into(), &true.into(), &"missing".into()),
        "{gone}"
    );
    let shown = world.run(&["why", "build/deep/out.js"]);
    let expected = "build/deep/out.js: not indexed\n  ignored, decided at `build`: .gitignore:3: build/\n  -> change line 3 of `.gitignore`, or write `!/build/` in .offheapignore\n";
    assert_eq!((shown.code, shown.stdout.as_str(), shown.stderr.as_str()), (Some(3), expected, ""));
    assert_eq!(world.run(&["status"]).code, Some(3), "no daemon was started");
}
