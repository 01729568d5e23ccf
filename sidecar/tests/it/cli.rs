//! Commands as a shell sees them: data on standard output, the rest on standard error, exit codes.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Guard, World, finish, grow, is_root, model, signal, until};

/// Inner product of two rows: their cosine, because they are unit vectors.
fn cosine(a: &Value, b: &Value) -> f64 {
    let row = |v: &Value| -> Vec<f64> { v.as_array().expect("a row").iter().filter_map(Value::as_f64).collect() };
    row(a).iter().zip(row(b)).map(|(x, y)| x * y).sum()
}

#[test]
fn a_project_from_nothing_to_answers_in_text() {
    let world = World::new();
    world.write("hello.py", "def greet(name):\n    return f\"hello {name}\"\n");
    let init = world.run(&["init"]);
    assert_eq!((init.code, init.stderr.as_str()), (Some(0), ""));
    assert!(init.stdout.starts_with("Initialised ") && init.stdout.ends_with("Next: offheap index\n"), "{init:?}");
    assert!(world.run(&["init"]).stdout.contains("is a project already"));
    let index = world.run(&["index"]);
    assert_eq!(index.code, Some(0), "{index:?}");
    assert!(index.stdout.starts_with("Indexed ") && index.stdout.contains("1 files, 1 chunks"), "{index:?}");
    assert_eq!(world.run(&["index", "--quiet"]).stderr, "");
    let search = world.run(&["search", "how", "to", "greet"]);
    assert_eq!(search.code, Some(0), "{search:?}");
    assert!(search.stdout.starts_with("hello.py:1-2  "), "{search:?}");
    assert!(search.stdout.contains("     1  def greet(name):\n"), "{search:?}");
    assert!(search.stderr.contains("1 hit, hybrid search over 1 chunk:"), "{search:?}");
    let status = world.run(&["status"]);
    assert!(status.code == Some(0) && status.stdout.contains("1 files, 1 chunks, 1 vectors"), "{status:?}");
    let embed = world.run(&["embed", "one", "two"]);
    let rows: Vec<Value> = embed.stdout.lines().map(|line| serde_json::from_str(line).expect("a row a line")).collect();
    assert_eq!(rows.iter().map(|row| row.as_array().map(Vec::len)).collect::<Vec<_>>(), [Some(384); 2]);
    assert_eq!(world.run(&["start"]).stdout, "Already running.\n");
    assert_eq!(world.run(&["stop"]).stdout, "Stopped.\n");
}

#[test]
fn the_same_in_json() {
    let world = World::new();
    world.write("hello.py", "def greet(name):\n    return f\"hello {name}\"\n");
    let project = world.project().to_str().expect("UTF-8");
    let init = world.json(&["init", "--json"]);
    assert_eq!((&init["project"], &init["created"]), (&project.into(), &true.into()));
    assert_eq!(world.json(&["init", "--json"])["created"], false);
    let gitignore = std::fs::read_to_string(world.project().join(".offheap/.gitignore")).expect("written");
    assert!(gitignore.contains("\n*\n!.gitignore\n!config.json\n"), "{gitignore}");
    let index = world.json(&["index", "--json"]);
    assert_eq!((&index["chunks"], &index["vectors"], &index["skipped"]), (&1.into(), &1.into(), &Value::Array(vec![])));
    let status = world.json(&["status", "--json"]);
    assert_eq!((&status["running"], &status["project"]), (&true.into(), &project.into()));
    assert_eq!((&status["model"]["dim"], &status["index"]["files"]), (&384.into(), &1.into()), "{status}");
    let embed = world.json(&["embed", "--json", "same", "other", "same"]);
    assert_eq!((&embed["dim"], embed["vectors"].as_array().map(Vec::len)), (&384.into(), Some(3)));
    assert_eq!(embed["vectors"][0], embed["vectors"][2]);
    assert!(cosine(&embed["vectors"][0], &embed["vectors"][1]) < 0.99);
    let search = world.json(&["search", "--json", "greet"]);
    assert_eq!(search["space"], embed["space"]);
    assert_eq!((&search["hits"][0]["startLine"], &search["hits"][0]["endLine"]), (&1.into(), &2.into()));
    assert_eq!(world.json(&["stop", "--json"])["stopped"], true);
    let stopped = world.run(&["stop", "--json"]);
    assert_eq!((stopped.code, &stopped.json()["stopped"]), (Some(3), &false.into()));
    let status = world.run(&["status", "--json"]);
    assert_eq!((status.code, &status.json()["running"]), (Some(3), &false.into()));
}

#[test]
fn wrong_usage_is_explained_on_standard_error() {
    let world = World::new();
    for (args, part) in [
        (&["serch", "x"][..], "'search'"),
        (&["index", "--rebuid"], "'--rebuild'"),
        (&["search"], "<QUERY>"),
        (&["search", "-n", "0", "x"], "1..=1000"),
        (&["search", "--mode", "semantc", "x"], "'semantic'"),
        (&["status", "extra"], "extra"),
    ] {
        let done = world.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{args:?}: {done:?}");
        assert!(done.stderr.contains(part), "{args:?}: {done:?}");
    }
    assert_eq!(world.run(&[]).code, Some(2));
    let help = world.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for command in ["init", "index", "search", "embed", "status", "start", "stop", "pull"] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}: {}", help.stdout);
    }
    assert_eq!(world.run(&["--version"]).stdout, "offheap 0.1.0\n");
    assert_eq!(std::fs::read_dir(world.run_dir()).expect("exists").count(), 0, "nothing was started");
}

#[test]
fn a_directory_that_is_not_there() {
    let world = World::new();
    for command in [&["index"][..], &["search", "x"], &["status"], &["start"], &["embed", "x"]] {
        let args: Vec<&str> = command.iter().copied().chain(["--project", "/does/not/exist"]).collect();
        let error = world.fault(&args, 1, "INVALID_ARGUMENT");
        assert!(error["message"].as_str().expect("text").contains("/does/not/exist"), "{error}");
    }
    world.write("file", "");
    world.fault(&["index", "--project", "file"], 1, "INVALID_ARGUMENT");
    assert_eq!(world.fault(&["init", "/does/not/exist"], 1, "INVALID_ARGUMENT")["hint"], "");
}

#[test]
fn a_head_that_leaves_is_no_error() {
    let world = World::new();
    let program = crate::support::bin();
    let shell = "\"$1\" embed a b c | head -n 1 >/dev/null; echo done";
    let done = finish(world.environment("/bin/sh", ["-c", shell, "sh", program.to_str().expect("UTF-8")]), b"");
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("done\n", ""));
}

#[test]
fn odd_texts_have_vectors() {
    let world = World::new();
    let long = "a long story ".repeat(800_000); // 10.4 MB in one line
    let mut command = world.command(["embed", "--json"]);
    command.current_dir(world.home());
    let done = finish(command, format!("\n{long}\nshort\n").as_bytes());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let embed = done.json();
    assert_eq!(embed["truncated"], serde_json::json!([false, true, false]));
    let tokens: Vec<u64> = embed["tokens"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    assert!(tokens[0] == 2 && tokens[1] >= 256 && tokens[2] == 3, "{tokens:?}");
    for row in embed["vectors"].as_array().expect("rows") {
        assert!((cosine(row, row) - 1.0).abs() < 1e-3);
    }
    let empty = world.json(&["embed", "--json", ""]);
    assert_eq!(empty["vectors"][0], embed["vectors"][0], "the same alone and in company");
    let mut command = world.command(["embed", "--json"]);
    command.current_dir(world.home());
    let done = finish(command, b"\xff\xfe\n");
    assert_eq!((done.code, &done.json()["error"]["code"]), (Some(1), &"INVALID_ARGUMENT".into()));
    let none = world.fault(&["embed"], 1, "INVALID_ARGUMENT");
    assert!(!none["hint"].as_str().expect("text").is_empty());
}

#[test]
fn files_that_are_no_text_are_skipped_with_a_reason() {
    let world = World::new();
    world.write("good.py", "def good():\n    return 1\n");
    world.write("picture.py", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    world.write("nul.txt", b"\0\x01\x02\x03 with a text");
    world.write("strange.txt", vec![0xe4; 3_000]);
    world.write("huge.txt", vec![b'x'; (32 << 20) + 1]);
    world.write("package-lock.json", "{}");
    world.write("ignored.log", "x");
    world.write(".gitignore", "*.log\n");
    world.write("empty.py", "");
    std::os::unix::fs::symlink("good.py", world.project().join("link.py")).expect("ours");
    let pipe = std::ffi::CString::new(world.project().join("pipe.py").to_str().expect("UTF-8")).expect("no nul");
    // SAFETY: the path is a valid C string.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    let mut expected = vec![
        ("huge.txt", "too_large"),
        ("link.py", "symlink"),
        ("nul.txt", "binary"),
        ("package-lock.json", "generated"),
        ("picture.py", "binary"),
        ("pipe.py", "not_a_file"),
        ("strange.txt", "unknown_encoding"),
    ];
    if !is_root() {
        use std::os::unix::fs::PermissionsExt;
        world.write("secret.py", "x = 1");
        std::fs::set_permissions(world.project().join("secret.py"), PermissionsExt::from_mode(0o000)).expect("ours");
        expected.push(("secret.py", "unreadable"));
        expected.sort();
    }
    let report = world.json(&["index", "--json"]);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let skipped = report["skipped"].as_array().expect("a list");
    let mut skipped: Vec<(String, String)> = skipped.iter().map(|s| (text(&s["path"]), text(&s["reason"]))).collect();
    skipped.sort();
    let expected: Vec<(String, String)> = expected.into_iter().map(|(path, why)| (path.into(), why.into())).collect();
    assert_eq!(skipped, expected);
    assert_eq!((&report["files"], &report["chunks"]), (&3.into(), &2.into()), "{report}"); // with .gitignore
    // A project may raise the limit: the file that was too large is indexed now.
    world.write(".offheap/config.json", "{\"index\":{\"max_text_bytes\":40000000,\"exclude\":[\"*.py\"]}}");
    let report = world.json(&["index", "--json"]);
    assert_eq!((&report["files"], &report["filesRemoved"]), (&2.into(), &2.into()), "{report}");
}

#[test]
fn a_missing_model_leaves_text_search() {
    let mut world = World::new();
    world.write("hello.py", "def greet(name):\n    return f\"hello {name}\"\n");
    let gone = world.home().join("gone.gguf");
    world.unset("OFFHEAP_MODEL_DIR");
    world.set("OFFHEAP_MODEL", &gone);
    let error = world.fault(&["index"], 1, "MODEL_NOT_FOUND");
    assert!(error["message"].as_str().expect("text").contains("gone.gguf"), "{error}");
    assert!(!error["hint"].as_str().expect("text").is_empty(), "{error}");
    world.fault(&["embed", "x"], 1, "MODEL_NOT_FOUND");
    let text = world.json(&["search", "--json", "--mode", "text", "greet"]);
    assert_eq!((&text["hits"][0]["path"], &text["degraded"]), (&"hello.py".into(), &Value::Null), "{text}");
    let hybrid = world.json(&["search", "--json", "greet"]);
    assert_eq!((&hybrid["hits"][0]["path"], &hybrid["mode"]), (&"hello.py".into(), &"text".into()), "{hybrid}");
    assert!(hybrid["degraded"].as_str().expect("it says why").contains("MODEL_NOT_FOUND"), "{hybrid}");
    world.fault(&["search", "--mode", "semantic", "greet"], 1, "MODEL_NOT_FOUND");
    // Once the model file exists, the same daemon uses it.
    let pid = world.start();
    std::os::unix::fs::symlink(model(), &gone).expect("ours");
    let report = world.json(&["index", "--json"]);
    assert_eq!((&report["vectors"], &report["filesChanged"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(world.start(), pid);
}

#[test]
fn a_damaged_model_is_named() {
    let mut world = World::new();
    world.run(&["init"]);
    let whole = std::fs::read(model()).expect("the model");
    let path = world.home().join("cut.gguf");
    world.unset("OFFHEAP_MODEL_DIR");
    world.set("OFFHEAP_MODEL", &path);
    let mut pid = None;
    for (len, field) in [
        (0, "magic"),
        (3, "magic"),
        (20, ""),
        (whole.len() / 2, "lie outside the file"),
        (whole.len() - 1, "lie outside the file"),
    ] {
        std::fs::write(&path, &whole[..len]).expect("ours");
        let error = world.fault(&["embed", "x"], 1, "MODEL_DAMAGED");
        let message = error["message"].as_str().expect("text");
        assert!(message.contains("cut.gguf` is damaged: ") && message.contains(field), "{len} bytes: {error}");
        assert_eq!(*pid.get_or_insert_with(|| world.start()), world.start(), "the daemon lives");
    }
    std::fs::write(&path, &whole).expect("ours");
    assert_eq!(world.json(&["embed", "--json", "x"])["dim"], 384);
    assert_eq!(pid, Some(world.start()));
}

#[test]
fn a_model_package_is_checked_against_its_manifest() {
    let mut world = World::new();
    world.run(&["init"]);
    let package = world.home().join("package");
    std::fs::create_dir(&package).expect("ours");
    std::os::unix::fs::symlink(model(), package.join("model.gguf")).expect("ours");
    world.unset("OFFHEAP_MODEL");
    world.set("OFFHEAP_MODEL_DIR", &package);
    let manifest = |sha256: &str| {
        let text = format!("{{\"file\": \"model.gguf\", \"sha256\": \"{sha256}\", \"more\": 1}}");
        std::fs::write(package.join("model.json"), text).expect("ours");
    };
    manifest(&"0".repeat(64));
    let error = world.fault(&["embed", "x"], 1, "MODEL_DAMAGED");
    let message = error["message"].as_str().expect("text").to_owned();
    assert!(message.contains("SHA-256") && message.contains(&"0".repeat(64)), "{error}");
    let found = message.split("SHA-256 is ").nth(1).and_then(|rest| rest.get(..64)).expect("it tells what it found");
    manifest(found);
    assert_eq!(world.json(&["embed", "--json", "x"])["dim"], 384, "the recorded sum");
    std::fs::write(package.join("model.json"), "{").expect("ours");
    world.run(&["stop"]);
    assert!(world.fault(&["embed", "x"], 1, "MODEL_DAMAGED")["message"].as_str().expect("text").contains("model.json"));
}

#[test]
fn a_long_path_with_spaces() {
    let mut world = World::new();
    let deep = ["with some spaces and ünïcode"; 6].join("/");
    world.move_project(&format!("{deep}/it's \"the\" project"));
    assert!(world.project().as_os_str().len() > 200, "{}", world.project().display());
    world.write("a file.py", "def spaced_out():\n    return 1\n");
    assert_eq!(world.json(&["index", "--json"])["vectors"], 1);
    assert_eq!(world.json(&["search", "--json", "spaced_out"])["hits"][0]["path"], "a file.py");
    // `--project` from another directory reaches the same daemon.
    let mut named =
        world.command(["search", "--json", "spaced_out", "--project", world.project().to_str().expect("UTF-8")]);
    named.current_dir(world.home());
    assert_eq!(finish(named, b"").json()["hits"][0]["path"], "a file.py");
    // A link to the project is the same project.
    let link = world.home().join("链接");
    std::os::unix::fs::symlink(world.project(), &link).expect("a link");
    let mut linked = world.command(["search", "--json", "spaced_out"]);
    linked.current_dir(&link);
    assert_eq!(finish(linked, b"").json()["hits"][0]["path"], "a file.py");
    #[cfg(target_os = "linux")]
    assert_eq!(world.daemons().len(), 1);
}

#[test]
fn a_read_only_project_is_an_error_with_a_hint() {
    use std::os::unix::fs::PermissionsExt;
    if is_root() {
        return; // root may write anywhere
    }
    let world = World::new();
    world.write("a.py", "x = 1\n");
    std::fs::set_permissions(world.project(), PermissionsExt::from_mode(0o500)).expect("ours");
    let error = world.fault(&["index"], 1, "IO");
    std::fs::set_permissions(world.project(), PermissionsExt::from_mode(0o700)).expect("ours");
    assert!(error["hint"].as_str().expect("text").contains("writable"), "{error}");
}

#[test]
fn a_file_in_the_place_of_the_index_is_an_error() {
    // Root is refused here too: a file is no directory.
    let world = World::new();
    world.write(".offheap", "a file");
    let error = world.fault(&["index"], 1, "UNSAFE_PATH");
    assert!(error["message"].as_str().expect("text").contains(".offheap"), "{error}");
}

#[test]
fn a_damaged_index_is_found_and_rebuilt() {
    let world = World::new();
    grow(&world, 40);
    let first = world.json(&["index", "--json"]);
    assert_eq!(first["embedded"], 40);
    let segment = || {
        let list = std::fs::read_dir(world.data().join("vectors")).expect("an index").flatten();
        list.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "vec")).expect("a segment")
    };
    type Damage<'a> = (&'a str, &'a dyn Fn());
    let damages: [Damage; 2] = [
        ("a cut segment", &|| {
            let bytes = std::fs::read(segment()).expect("ours");
            std::fs::write(segment(), &bytes[..bytes.len() / 2]).expect("ours");
        }),
        ("an unreadable text index", &|| {
            std::fs::write(world.data().join("text/meta.json"), "{ nonsense").expect("ours")
        }),
    ];
    for (what, damage) in damages {
        assert_eq!(world.run(&["stop"]).code, Some(0), "{what}");
        damage();
        for command in [&["search", "x"][..], &["search", "--mode", "text", "x"]] {
            let error = world.fault(command, 1, "INDEX_DAMAGED");
            assert!(error["hint"].as_str().expect("text").contains("offheap index"), "{what}: {error}");
        }
        let rebuilt = world.json(&["index", "--json"]);
        assert_eq!((&rebuilt["chunks"], &rebuilt["vectors"]), (&40.into(), &40.into()), "{what}: {rebuilt}");
        // The embeddings are kept.
        assert_eq!((&rebuilt["reused"], &rebuilt["embedded"]), (&40.into(), &0.into()), "{what}: {rebuilt}");
        assert_eq!(world.json(&["search", "--json", "function_7"])["hits"][0]["path"], "src/part07/file007.py");
    }
    // An index in a newer format is refused, and rebuilt only on request.
    assert_eq!(world.run(&["stop"]).code, Some(0));
    std::fs::write(world.data().join("format"), "99\n").expect("ours");
    let error = world.fault(&["index"], 1, "INDEX_FORMAT");
    assert!(error["message"].as_str().expect("text").contains("99"), "{error}");
    assert_eq!(world.json(&["index", "--rebuild", "--json"])["vectors"], 40);
}

/// Some damage makes the index libraries panic: a search that meets it fails with INDEX_DAMAGED, and the next run repairs the index.
#[test]
fn damage_that_only_a_search_meets_is_found_and_mended() {
    let world = World::new();
    for i in 0..20 {
        world.write(&format!("f{i}.py"), format!("def alpha{i}():\n    return 'beta{i} gamma{i}'\n"));
    }
    world.json(&["index", "--json"]);
    assert_eq!(world.run(&["stop"]).code, Some(0));
    let mut files = std::fs::read_dir(world.data().join("text")).expect("exists").flatten().map(|entry| entry.path());
    let term = files.find(|path| path.extension().is_some_and(|extension| extension == "term")).expect("a dictionary");
    let mut bytes = std::fs::read(&term).expect("readable");
    let at = bytes.len() / 3;
    bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&term, bytes).expect("writable");
    let doctor = world.run(&["doctor", "--json"]);
    assert!(doctor.code == Some(1) && doctor.stderr.is_empty(), "{doctor:?}");
    let index =
        doctor.json()["checks"].as_array().expect("a list").iter().find(|check| check["check"] == "index").cloned();
    assert!(index.expect("a check")["detail"].as_str().expect("text").contains("INDEX_DAMAGED"));
    // Whether a search meets the damage depends on what it reads; no search fails with INTERNAL.
    for i in 0..20 {
        let done = world.run(&["search", "--json", "--mode", "text", &format!("alpha{i}")]);
        let error = &done.json()["error"]["code"];
        assert!(error.is_null() || error == "INDEX_DAMAGED", "{done:?}");
    }
    let any = world.run(&["search", "--json", "--mode", "text", "alpha3"]);
    if any.json()["error"]["code"] == "INDEX_DAMAGED" {
        assert_eq!(world.json(&["index", "--json"])["files"], 20);
    } else {
        world.json(&["index", "--rebuild", "--json"]);
    }
    assert_eq!(world.json(&["search", "--json", "--mode", "text", "alpha3"])["hits"][0]["path"], "f3.py");
    assert_eq!(world.run(&["doctor"]).code, Some(0));
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let world = World::new();
    for (text, part) in [
        ("{", "EOF"),
        ("{\"modle\": \"x\"}", "modle"),
        ("{\"daemon\": {\"ttl_minutes\": -1}}", "ttl_minutes"),
        ("{\"version\": \"9.0.0\"}", "9.0.0"),
    ] {
        world.write(".offheap/config.json", text);
        for command in [&["start"][..], &["index"], &["search", "x"]] {
            let error = world.fault(command, 1, "CONFIG_INVALID");
            assert!(error["message"].as_str().expect("text").contains(part), "{text}: {error}");
            assert!(!error["hint"].as_str().expect("text").is_empty(), "{text}: {error}");
        }
    }
    world.write(".offheap/config.json", "{\"daemon\": {\"enabled\": false}}");
    let error = world.fault(&["start"], 3, "DAEMON_NOT_RUNNING");
    assert!(error["hint"].as_str().expect("text").contains("daemon.enabled"), "{error}");
    // A mistake made while the daemon runs is found by the next index run.
    world.write(".offheap/config.json", "{}");
    let pid = world.start();
    world.write(".offheap/config.json", "{\"index\": 7}");
    world.fault(&["index"], 1, "CONFIG_INVALID");
    assert_eq!(world.start(), pid);
    world.write(".offheap/config.json", "{\"model\": \"../outside.gguf\"}");
    world.run(&["stop"]);
    if std::env::var_os("OFFHEAP_TEST_MODEL").is_none() {
        world.write("a.py", "x = 1\n");
        let error = world.fault(&["index"], 1, "MODEL_NOT_FOUND");
        assert!(error["message"].as_str().expect("text").contains("outside.gguf"), "{error}");
    }
}

#[test]
fn ctrl_c_stops_an_index_run_and_keeps_what_is_done() {
    let world = World::new();
    grow(&world, 160);
    let mut command = Guard(world.command(["index", "--json"]).spawn().expect("starts"));
    let mut stderr = BufReader::new(command.0.stderr.take().expect("piped"));
    let mut notes = String::new();
    while !notes.contains("embedding 160 chunks") {
        assert!(stderr.read_line(&mut notes).expect("UTF-8") > 0, "it ended early: {notes}");
    }
    let pid = world.status()["pid"].as_u64();
    let pressed = Instant::now();
    signal(command.0.id(), libc::SIGINT);
    let status = command.wait();
    let took = pressed.elapsed();
    stderr.read_to_string(&mut notes).expect("UTF-8");
    let mut stdout = String::new();
    command.0.stdout.take().expect("piped").read_to_string(&mut stdout).expect("UTF-8");
    assert_eq!((status.code(), stdout.as_str()), (Some(130), ""), "{notes}");
    assert!(notes.contains("`offheap index` continues"), "{notes}");
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    let after = until("the run has ended", || Some(world.status()).filter(|status| status["indexing"] == false));
    assert_eq!(after["pid"].as_u64(), pid, "the daemon goes on");
    let kept = after["index"]["vectors"].as_u64().expect("text was committed");
    assert!(kept < 160, "nothing was interrupted");
    let report = world.json(&["index", "--json"]);
    let number = |key: &str| report[key].as_u64().expect("a number");
    assert_eq!((number("chunks"), number("vectors"), number("filesChanged")), (160, 160, 0), "{report}");
    assert_eq!(number("embedded") + number("reused") + kept, 160, "{report}");
}
