//! What the index reports is true, also when its files are removed or damaged, when a run is interrupted, and when the project is
//! moved.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use offheap_protocol::Code;
use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Phase, Progress, Request};
use serde_json::Value;

use crate::support::{PATIENCE, World, alive, block_on, client, grow, until};

/// A watched project with an index and a daemon.
fn indexed(files: usize) -> World {
    let mut world = World::new();
    world.set("OFFHEAP_WATCH", "1");
    world.write("first.py", "def first_apple():\n    return 1\n");
    grow(&world, files);
    world.json(&["index", "--json"]);
    until("the index is fresh", || (search(&world, "first_apple")["coverage"]["fresh"] == true).then_some(()));
    world
}

fn search(world: &World, word: &str) -> Value {
    world.run(&["search", "--json", "--mode", "text", word]).json()
}

fn finds(world: &World, word: &str) -> bool {
    search(world, word)["hits"].as_array().is_some_and(|hits| !hits.is_empty())
}

/// Removes a folder like `rm -rf`. Tries again, because a daemon may make files in it at the same time.
fn remove(folder: &Path) {
    until("the folder is removed", || (std::fs::remove_dir_all(folder).is_ok() || !folder.exists()).then_some(()));
}

/// Regression test: after `git clean -fdx` or `rm -rf .offheap/data`, a running daemon reported "0 new or changed" with nothing on
/// disk, and `fresh: true` without finding new files.
#[test]
fn an_index_that_is_removed_is_made_again() {
    let world = indexed(3);
    type Removal = fn(&World);
    let removals: [(&str, Removal); 6] = [
        ("data", |world| remove(&world.data())),
        ("all", |world| remove(&world.project().join(".offheap"))),
        ("text", |world| remove(&world.data().join("text"))),
        ("vectors", |world| remove(&world.data().join("vectors"))),
        ("meta", |world| std::fs::remove_file(world.data().join("text/meta.json")).expect("the file exists")),
        ("moved", |world| {
            std::fs::rename(world.data(), world.project().join(".offheap/old")).expect("the file exists")
        }),
    ];
    for (round, (name, removal)) in removals.into_iter().enumerate() {
        let pid = world.status()["pid"].clone();
        removal(&world);
        let word = format!("pear{round}");
        world.write(&format!("new{round}.py"), format!("def {word}():\n    return 1\n"));
        let found = search(&world, &word);
        assert_ne!(found["coverage"]["fresh"], true, "{name}: {found}");
        let report = world.json(&["index", "--json"]);
        assert!(report["filesChanged"].as_u64() >= Some(round as u64 + 4), "{name}: {report}");
        assert!(finds(&world, &word) && finds(&world, "first_apple"), "{name}");
        assert!(world.data().join("text/meta.json").is_file(), "{name}");
        until("the index is fresh again", || (search(&world, &word)["coverage"]["fresh"] == true).then_some(()));
        world.write(&format!("more{round}.py"), format!("def quince{round}():\n    return 1\n"));
        let found = world.json(&["search", "--json", "--mode", "text", "--wait", "30000", &format!("quince{round}")]);
        assert_eq!(
            found["hits"][0]["path"],
            format!("more{round}.py"),
            "{name}: the watch indexes the new file: {found}"
        );
        assert_eq!(world.status()["pid"], pid, "{name}: the same daemon runs");
    }
}

/// Files of the index are removed during an index run: it succeeds or fails with `IO`, never with `INDEX_DAMAGED`.
#[test]
fn an_index_run_tolerates_the_removal_of_its_files() {
    let world = indexed(40);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                let part = ["text", "vectors", "", "text/meta.json", "cache.redb", "vectors/gen-1.json"][round % 6];
                let path = world.data().join(part);
                let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(30));
            }
        });
        let _stop = StopOnDrop(&stop);
        for round in 0..12 {
            world.write("first.py", format!("def first_apple():\n    return {round}\n"));
            let done = world.run(&["index", "--json"]);
            let code = done.json()["error"]["code"].clone();
            assert!(code == Value::Null || code == "IO", "{done:?}");
        }
    });
    world.json(&["index", "--json"]);
    assert!(finds(&world, "first_apple"));
}

/// Makes the other thread of a test stop when it is dropped, also by a panic.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Regression test: after an interrupted rebuild, searches found nothing and reported `fresh: true`.
#[test]
fn an_interrupted_rebuild_keeps_the_old_index() {
    for stop_in in [Phase::Scan, Phase::Embed] {
        let world = indexed(150);
        block_on(async {
            let client = client(&world).await;
            let clear = Request::ClearCache { stored: true }; // so that the vectors must be computed
            client.call(clear, Payload::None, Some(PATIENCE), None).await.expect("cleared");
            let (sender, mut progress) = tokio::sync::watch::channel(Progress::default());
            let rebuild =
                client.call(Request::Index { rebuild: true, force: false }, Payload::None, None, Some(sender));
            let mut rebuild = std::pin::pin!(rebuild);
            loop {
                tokio::select! {
                    done = &mut rebuild => {
                        let code = done.as_ref().err().map(|fault| fault.code);
                        assert_eq!(code, Some(Code::Cancelled), "{stop_in:?}: {done:?}");
                        break;
                    }
                    Ok(()) = progress.changed() => {
                        // Progress updates may be skipped: the phase may be over before an update is seen.
                        if progress.borrow_and_update().phase as u64 >= stop_in as u64 {
                            client.cancel_all();
                        }
                    }
                }
            }
        });
        assert!(finds(&world, "first_apple"), "{stop_in:?}");
        world.write("later.py", "def later_plum():\n    return 1\n");
        let found = world.json(&["search", "--json", "--mode", "text", "--wait", "30000", "later_plum"]);
        assert_eq!(found["hits"][0]["path"], "later.py", "{stop_in:?}: {found}");
        assert_eq!(found["coverage"]["fresh"], true, "{stop_in:?}: {found}");
        assert_eq!(found["coverage"]["files"], 152, "{stop_in:?}: {found}");
        let report = world.json(&["index", "--json"]);
        assert_eq!(report["vectors"], report["chunks"], "{stop_in:?}: {report}");
    }
}

/// During a rebuild, searches are answered from the old index, until the new one is complete with its vectors.
#[test]
fn a_rebuild_is_invisible_until_it_is_complete() {
    let world = indexed(60);
    block_on(async {
        let client = client(&world).await;
        let (sender, mut progress) = tokio::sync::watch::channel(Progress::default());
        let rebuild = client.call(Request::Index { rebuild: true, force: false }, Payload::None, None, Some(sender));
        let mut rebuild = std::pin::pin!(rebuild);
        let mut n_searches = 0;
        loop {
            tokio::select! {
                done = &mut rebuild => break drop(done.expect("rebuilt")),
                Ok(()) = progress.changed() => {
                    let found = world.json(&["search", "--json", "--mode", "text", "first_apple"]);
                    let coverage = &found["coverage"];
                    assert_eq!(coverage["vectors"], coverage["chunks"], "{found}");
                    assert_eq!(found["hits"].as_array().expect("hits").len(), 1, "{found}");
                    n_searches += 1;
                }
            }
        }
        assert!(n_searches > 0);
    });
}

/// Regression test: a daemon kept the lock of a project that was moved or deleted for ten minutes, and could not be stopped.
#[test]
fn a_daemon_exits_when_its_project_is_moved() {
    for stop_at_once in [true, false] {
        let world = indexed(1);
        let pid = world.status()["pid"].as_u64().expect("a daemon runs") as u32;
        let old = world.project().to_path_buf();
        let old_path = old.to_str().expect("UTF-8").to_owned();
        std::fs::rename(&old, old.with_file_name("elsewhere")).expect("on the same file system");
        let outside = |args: &[&str]| {
            let mut command = world.command(args);
            command.current_dir(world.home());
            crate::support::finish(command, b"")
        };
        if stop_at_once {
            let status = outside(&["status", "--json", "--project", &old_path]);
            assert_eq!(status.code, Some(0), "{status:?}");
            assert_eq!(status.json()["pid"], pid);
            let stopped = outside(&["stop", "--json", "--project", &old_path]);
            assert_eq!(stopped.code, Some(0), "{stopped:?}");
        }
        until("the daemon has exited", || (!alive(pid)).then_some(()));
        let status = outside(&["status", "--json", "--project", &old_path]);
        assert_eq!(status.code, Some(3), "{status:?}");
        // Another project at the old path gets its own daemon and index; the moved one keeps its index.
        std::fs::create_dir(&old).expect("nothing exists there");
        std::fs::write(old.join("other.py"), "def other_fig():\n    return 1\n").expect("writable");
        world.json(&["index", "--json"]);
        assert!(finds(&world, "other_fig") && !finds(&world, "first_apple"));
        let moved = old.with_file_name("elsewhere");
        let found = outside(&[
            "search",
            "--json",
            "--mode",
            "text",
            "--project",
            moved.to_str().expect("UTF-8"),
            "first_apple",
        ]);
        assert_eq!(found.json()["hits"].as_array().map(Vec::len), Some(1), "{found:?}");
    }
}

/// A new clone at the path of an indexed one is indexed and watched as a new project.
#[test]
fn a_new_clone_at_the_same_path_is_another_project() {
    let world = indexed(1);
    for round in 0..3 {
        std::fs::rename(world.project(), world.project().with_file_name(format!("old{round}")))
            .expect("on the same file system");
        std::fs::create_dir(world.project()).expect("nothing exists there");
        world.write("clone.py", format!("def clone_mango{round}():\n    return 1\n"));
        let report = world.json(&["index", "--json"]);
        assert_eq!((&report["files"], &report["filesChanged"]), (&1.into(), &1.into()), "{report}");
        world.write("new.py", format!("def new_melon{round}():\n    return 1\n"));
        let found =
            world.json(&["search", "--json", "--mode", "text", "--wait", "30000", &format!("new_melon{round}")]);
        assert_eq!((&found["hits"][0]["path"], &found["coverage"]["files"]), (&"new.py".into(), &2.into()), "{found}");
    }
}

/// Regression test: `search` and `status` chose different daemons in a folder without configuration.
#[test]
fn all_commands_choose_the_daemon_by_one_rule() {
    let world = World::new();
    world.write("a.py", "def apple():\n    return 1\n");
    let error = world.fault(&["search", "apple"], 1, "NO_INDEX");
    assert!(error["message"].as_str().expect("text").contains("no index"), "{error}");
    let found = world.json(&["search", "--json", "--mode", "regex", "appl."]);
    assert_eq!(found["hits"][0]["path"], "a.py", "regex search needs neither an index nor a daemon: {found}");
    let project = world.project().to_str().expect("UTF-8");
    world.fault(&["search", "apple", "--project", project], 1, "NO_INDEX");
    assert_eq!(world.daemons(), [0; 0], "no daemon was started");
    world.json(&["embed", "--json", "x"]);
    assert_eq!(world.json(&["status", "--json"])["project"], Value::Null);
    world.fault(&["search", "apple"], 1, "NO_INDEX");
    assert_eq!(world.daemons().len(), 1, "only the user's daemon runs");
    world.json(&["stop", "--json"]);
    assert_eq!(world.daemons(), [0; 0]);
}

/// A bit that flips on disk after an orderly shutdown is found by the next index run, which repairs the index without embedding
/// again.
#[test]
fn a_flipped_bit_is_repaired_by_the_next_index_run() {
    let world = World::new();
    grow(&world, 40);
    world.json(&["index", "--json"]);
    world.json(&["stop", "--json"]);
    let mut files: Vec<_> = ["text", "vectors"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(world.data().join(folder)).expect("the file exists").flatten())
        .map(|entry| entry.path())
        .filter(|path| std::fs::metadata(path).is_ok_and(|metadata| metadata.size() > 2_000))
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for file in files.iter().filter(|path| path.to_str().expect("UTF-8").ends_with(".vec")).chain(&files[..2]) {
        if !file.exists() {
            continue; // an earlier repair replaced it
        }
        let mut bytes = std::fs::read(file).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(file, bytes).expect("writable");
        let report = world.json(&["index", "--json"]);
        assert_eq!((&report["files"], &report["embedded"]), (&40.into(), &0.into()), "{}: {report}", file.display());
        assert_eq!(report["vectors"], report["chunks"], "{report}");
        let doctor = world.run(&["doctor", "--json"]).json();
        let index = doctor["checks"].as_array().expect("a list").iter().find(|check| check["check"] == "index");
        assert_eq!(index.expect("doctor checks the index")["state"], "ok", "{}: {doctor}", file.display());
        world.json(&["stop", "--json"]);
    }
}

/// After a power failure, a small file may be empty.
#[test]
fn an_empty_format_file_causes_no_embedding() {
    let world = World::new();
    grow(&world, 10);
    world.json(&["index", "--json"]);
    world.json(&["stop", "--json"]);
    std::fs::write(world.data().join("format"), "").expect("writable");
    let report = world.json(&["index", "--json"]);
    assert_eq!((&report["embedded"], &report["reused"]), (&0.into(), &report["chunks"]), "{report}");
    assert_eq!(report["foreign"], false, "{report}");
}

/// Regression test: an error about a directory in the place of a daemon's file did not name its path, and `doctor` reported no
/// problem.
#[test]
fn a_directory_in_the_place_of_a_daemon_s_file_is_named() {
    for which in ["lock", "log", "sock"] {
        let world = World::new();
        let path = world.endpoint().lock().with_extension(which);
        std::fs::create_dir(&path).expect("does not exist yet");
        let project = world.project().to_str().expect("UTF-8");
        let error = world.fault(&["start", "--project", project], 1, "DAEMON_START_FAILED");
        assert!(error["message"].as_str().expect("text").contains(path.to_str().expect("UTF-8")), "{which}: {error}");
        let doctor = world.run(&["doctor", "--json", "--project", project]);
        assert_eq!(doctor.code, Some(1), "{which}: {doctor:?}");
        assert!(doctor.stdout.contains(path.to_str().expect("UTF-8")), "{which}: {doctor:?}");
    }
}

/// Regression test: one caller's invalid variable made the calls of all later callers fail.
#[test]
fn an_invalid_kernel_is_an_error_for_its_caller_only() {
    let mut world = World::new();
    world.write("a.py", "def apple():\n    return 1\n");
    world.set("OFFHEAP_KERNEL", "xyz");
    let error = world.fault(&["index"], 1, "INVALID_ARGUMENT");
    assert!(error["hint"].as_str().expect("text").contains("OFFHEAP_KERNEL"), "{error}");
    world.unset("OFFHEAP_KERNEL");
    world.json(&["index", "--json"]);
    assert!(finds(&world, "apple"));
}

/// Regression test: one folder whose path is too long made the watch of the whole project fall back to polling.
#[test]
fn a_folder_whose_path_is_too_long_does_not_end_the_watch() {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let world = indexed(1);
    let (flags, name) = (OFlags::RDONLY | OFlags::DIRECTORY, "d".repeat(100));
    let mut folder = open(world.project(), flags, Mode::empty()).expect("the root");
    for _ in 0..50 {
        mkdirat(&folder, name.as_str(), Mode::RWXU).expect("made");
        folder = openat(&folder, name.as_str(), flags, Mode::empty()).expect("it was just made");
    }
    let report = world.json(&["index", "--json"]);
    let skipped = report["skipped"].as_array().expect("a list");
    assert!(skipped.iter().any(|file| file["reason"] == "path_too_long"), "{report}");
    world.write("new.py", "def new_grape():\n    return 1\n");
    let found = world.json(&["search", "--json", "--mode", "text", "--wait", "30000", "new_grape"]);
    assert_eq!(found["hits"][0]["path"], "new.py", "{found}");
    assert_eq!(world.status()["watch"]["state"], "watching", "{}", world.status());
}

/// Regression test: the error about an invalid list of 20,000 globs repeated all of them.
#[test]
fn error_messages_repeat_no_long_input() {
    let world = indexed(1);
    let long = "x".repeat(50_000);
    for args in [
        vec!["search".into(), "--mode".into(), "regex".into(), format!("({long}")],
        vec!["search".into(), "x".into(), "--glob".into(), format!("{long}[")],
        [vec!["search".to_owned(), "x".into()], vec!["--glob=a[".to_owned(); 2_000]].concat(),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = world.run(&args);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.len() < 2_000, "{} bytes: {}", done.stderr.len(), &done.stderr[..500]);
    }
}

/// Regression test: for half a second after an abort, `index()` failed with `INDEX_BUSY`. It waits for the cancelled run instead.
#[test]
fn the_run_after_a_cancelled_one_is_not_refused() {
    let world = indexed(80);
    block_on(async {
        let client = client(&world).await;
        for round in 0..2 {
            let clear = Request::ClearCache { stored: true }; // so that the vectors must be computed
            client.call(clear, Payload::None, Some(PATIENCE), None).await.expect("cleared");
            let (sender, mut progress) = tokio::sync::watch::channel(Progress::default());
            let mut rebuild = Box::pin(client.call(
                Request::Index { rebuild: true, force: false },
                Payload::None,
                None,
                Some(sender),
            ));
            loop {
                tokio::select! {
                    done = &mut rebuild => panic!("round {round} ended before it was cancelled: {done:?}"),
                    Ok(()) = progress.changed() => {
                        if progress.borrow_and_update().phase == Phase::Embed {
                            break;
                        }
                    }
                }
            }
            drop(rebuild);
            let next =
                client.call(Request::Index { rebuild: false, force: false }, Payload::None, Some(PATIENCE), None).await;
            assert!(next.is_ok(), "round {round}: {:?}", next.err());
        }
    });
}

/// After a search has found damage, the next index run of the same daemon repairs it.
#[test]
fn damage_that_a_search_finds_is_repaired_by_the_next_run() {
    let world = World::new();
    grow(&world, 20);
    world.json(&["index", "--json"]);
    world.json(&["stop", "--json"]);
    for ending in ["term", "idx", "store", "fieldnorm", "fast", "vec"] {
        let folder = world.data().join(if ending == "vec" { "vectors" } else { "text" });
        let files = std::fs::read_dir(folder).expect("the file exists").flatten().map(|entry| entry.path());
        for file in files.filter(|file| file.extension().is_some_and(|found| found == ending)) {
            let mut bytes = std::fs::read(&file).expect("readable");
            let (from, to) = (bytes.len() / 3, bytes.len() / 3 + 8);
            bytes[from..to].fill(0xe4);
            std::fs::write(&file, bytes).expect("writable");
        }
        let _ = world.run(&["search", "--json", "--mode", "text", "function_3 word"]);
        let report = world.json(&["index", "--json"]);
        assert_eq!((&report["files"], &report["embedded"]), (&20.into(), &0.into()), "{ending}: {report}");
        let found = world.json(&["search", "--json", "--mode", "text", "function_3"]);
        assert_eq!(found["hits"][0]["symbols"][0], "function_3", "{ending}: {found}");
        world.json(&["stop", "--json"]);
    }
}

/// Changes to ignore rules above the project's root and in `.git` take effect, although they are outside of the watched tree.
#[test]
fn rules_outside_of_the_root_are_watched() {
    let mut world = World::new();
    world.set("OFFHEAP_WATCH", "1");
    world.write(".git/info/exclude", "");
    world.move_project("top/sub");
    let top = world.project().parent().expect("above").to_path_buf();
    std::fs::rename(world.project().join(".git"), top.join(".git")).expect("on the same file system");
    world.run(&["init"]); // else the repository's top is the project
    world.write("kept.py", "def kept_apple():\n    return 1\n");
    world.write("private.py", "def private_pear():\n    return 1\n");
    world.json(&["index", "--json"]);
    until("the index is fresh", || (search(&world, "kept_apple")["coverage"]["fresh"] == true).then_some(()));
    for rules in [".gitignore", ".git/info/exclude"] {
        for (text, n_files) in [("private.py\n", 1), ("", 2)] {
            std::fs::write(top.join(rules), text).expect("writable");
            let found = world.json(&["search", "--json", "--mode", "text", "--wait", "30000", "kept_apple"]);
            let coverage = &found["coverage"];
            assert_eq!((&coverage["fresh"], &coverage["files"]), (&true.into(), &n_files.into()), "{rules}: {found}");
        }
    }
}

/// The list of skipped files is cut to fit into the answer.
#[test]
fn a_list_of_long_paths_is_cut_to_fit_the_answer() {
    let world = World::new();
    let folder = vec!["x".repeat(250); 12].join("/");
    world.write(&format!("{folder}/a.py"), "a = 1\n");
    for i in 0..4_000 {
        let link = world.project().join(&folder).join(format!("{}{i:04}", "y".repeat(190)));
        std::os::unix::fs::symlink("nowhere", link).expect("a link");
    }
    let report = world.json(&["index", "--json"]);
    assert_eq!(report["skippedTotal"], 4_000);
    let listed = report["skipped"].as_array().expect("a list").len();
    assert!((100..4_000).contains(&listed), "{listed}");
}

/// A checkout in a surrounding repository can replace the project's root by a link: the daemon does not follow it, and exits.
#[test]
fn a_root_that_becomes_a_link_is_not_followed() {
    let world = indexed(1);
    let outside = world.project().with_file_name("outside");
    std::fs::create_dir(&outside).expect("does not exist yet");
    std::fs::write(outside.join("secret.py"), "def outside_secret():\n    return 1\n").expect("writable");
    let pid = world.status()["pid"].as_u64().expect("a daemon runs") as u32;
    let moved = world.project().with_file_name("moved");
    std::fs::rename(world.project(), &moved).expect("on the same file system");
    std::os::unix::fs::symlink(&outside, world.project()).expect("a link");
    for i in 0..20 {
        std::fs::write(moved.join(format!("new{i}.py")), format!("def new_{i}():\n    return 1\n")).expect("writable");
    }
    until("the daemon has exited", || (!alive(pid)).then_some(()));
    let left: Vec<_> =
        std::fs::read_dir(&outside).expect("the file exists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["secret.py"], "nothing was made in the link's target");
}
