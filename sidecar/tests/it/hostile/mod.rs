//! Hostile repositories: no command changes, reads or shows a file outside of them, hangs or crashes, and no process needs more
//! than 2 GB of address space.
//!
//! A failure prints its seed. `OFFHEAP_TEST_SEED=<seed> cargo test -p offheap --test it hostile` repeats the one repository.

mod canary;
mod make;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use offheap_protocol::connection::Payload;
use offheap_protocol::message::Request;

use self::canary::{Canaries, SECRET, plant};
use self::make::{Random, make_hostile};
use crate::support::{Done, PATIENCE, World, block_on, finish, signal};

/// The limit of each process's address space, in kilobytes. A daemon that reads files without a limit would need more.
const ADDRESS_SPACE_KB: u64 = 2 << 20;

/// A project that is made hostile, and the directory beside it that attacks aim at.
struct Target {
    world: World,
    outside: PathBuf,
}

impl Target {
    /// An ordinary project, and files outside of it that no command may touch.
    fn new() -> Target {
        let mut world = World::new();
        world.set("OFFHEAP_WATCH", "1");
        let outside = world.project().with_file_name("outside");
        plant(&outside);
        world.write("lib.py", "def apple():\n    return 'banana'\n");
        world.write("src/a.py", "def cherry():\n    return 'apple'\n");
        world.write("src/deep/b.py", "class Pear:\n    pass\n");
        world.write(".git/HEAD", "ref: refs/heads/main\n");
        Target { world, outside }
    }

    /// Runs a command with limited address space; a daemon that it starts inherits the limit.
    fn run(&self, args: &[&str]) -> Done {
        let bin = crate::support::bin();
        let script = format!("ulimit -v {ADDRESS_SPACE_KB}; exec \"$0\" \"$@\"");
        let program = bin.to_str().expect("UTF-8");
        let began = Instant::now();
        let done = finish(self.world.environment("/bin/sh", ["-c", &script, program].iter().chain(args)), b"");
        assert!(began.elapsed() < PATIENCE, "{args:?} took {:?}", began.elapsed());
        assert!(done.code.is_some(), "{args:?} was killed by a signal: {done:?}");
        let printed = [done.stdout.as_str(), done.stderr.as_str()].concat();
        assert!(!printed.contains(SECRET), "{args:?} shows text from outside of the project: {done:?}");
        assert!(!printed.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{args:?} prints control characters: {done:?}");
        assert!(!printed.contains("[INTERNAL]"), "{args:?}: {done:?}");
        done
    }

    /// Runs every command that a user would run in a project.
    fn run_all_commands(&self) {
        let search = |mode: &str| self.run(&["search", "--mode", mode, "apple banana shipped"]);
        search("hybrid"); // before the project has been indexed
        self.run(&["index", "--quiet"]);
        for mode in ["hybrid", "semantic", "text"] {
            search(mode);
        }
        self.run(&["search", "--json", "--mode", "symbol", "apple"]);
        self.run(&["search", "--mode", "regex", "canary|apple"]);
        self.run(&["status"]);
        self.run(&["doctor"]);
        let _ = std::fs::write(self.world.project().join("new.py"), "def quince():\n    return 1\n");
        self.run(&["search", "--wait", "1000", "--mode", "text", "quince"]);
        self.clear_cache();
        self.run(&["index", "--quiet", "--rebuild"]);
        self.world.daemons().into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
        self.run(&["search", "--mode", "text", "apple"]);
        self.run(&["index", "--quiet"]);
        self.run(&["stop"]);
    }

    fn clear_cache(&self) {
        block_on(async {
            let Ok(client) = offheap_protocol::Client::connect(&self.world.endpoint(), "it").await else { return };
            let _ = client.call(Request::ClearCache { stored: true }, Payload::None, Some(PATIENCE), None).await;
        });
    }

    /// The secret with which this user's indexes are sealed; `None` before the first one.
    fn secret(&self) -> Option<[u8; 32]> {
        std::fs::read(self.world.home().join(".local/state/offheap/secret")).ok()?.try_into().ok()
    }

    /// Checks that the daemon's log has no panic, except inside of tantivy and redb, and no text from outside of the project.
    fn check_log(&self) {
        let log = std::fs::read_to_string(self.world.endpoint().log()).unwrap_or_default();
        let bad = |line: &&str| line.contains("panic at") && !line.contains("tantivy") && !line.contains("redb");
        assert_eq!(log.lines().find(bad), None, "the daemon panicked");
        assert!(!log.contains(SECRET), "the log has text from outside of the project");
    }
}

/// Makes a hostile repository from `seed`, runs every command in it and checks that nothing outside of it was touched.
fn attack(seed: u64) -> make::Tricks {
    let target = Target::new();
    let mut random = Random::new(seed);
    // In half of the cases the user has indexed another project before; in one case of four, this project.
    if random.below(2) == 0 {
        let elsewhere = target.outside.with_file_name("mine");
        std::fs::create_dir(&elsewhere).expect("does not exist yet");
        std::fs::write(elsewhere.join("a.py"), "a = 1\n").expect("writable");
        target.run(&["index", "--quiet", "--project", elsewhere.to_str().expect("UTF-8")]);
        target.run(&["stop", "--project", elsewhere.to_str().expect("UTF-8")]);
    }
    if random.below(4) == 0 {
        target.run(&["index", "--quiet"]);
        target.run(&["stop"]);
    }
    let tricks = make_hostile(target.world.project(), &target.outside, target.secret(), &mut random);
    let canaries = Canaries::watch(&[&target.outside]);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        target.run_all_commands();
        target.check_log();
    }));
    let changed = canaries.changed();
    assert!(changed.is_empty(), "seed {seed}, {tricks:?}:\n{}", changed.join("\n"));
    if let Err(panic) = outcome {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("seed {seed}: {tricks:?}\n").as_bytes());
        std::panic::resume_unwind(panic);
    }
    tricks
}

/// Calls [`attack`] with each seed of a range, on as many threads as there are processors.
#[expect(clippy::print_stdout, reason = "the long test shows its progress")]
fn attack_all(seeds: std::ops::Range<u64>) {
    let next = AtomicUsize::new(0);
    let seeds: Vec<u64> = match std::env::var("OFFHEAP_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => seeds.collect(),
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let tricks = attack(*seed);
                    println!("seed {seed}: {:.1} s, {tricks:?}", began.elapsed().as_secs_f64());
                }
            });
        }
    });
}

#[test]
fn fifty_hostile_repositories_do_no_harm() {
    attack_all(0..50);
}

#[test]
#[ignore = "takes half an hour with a release build in OFFHEAP_TEST_BIN"]
fn two_thousand_hostile_repositories_do_no_harm() {
    attack_all(1_000..3_000);
}

#[test]
fn a_link_instead_of_the_vectors_folder_is_refused_and_named() {
    let target = Target::new();
    std::fs::create_dir_all(target.world.data()).expect("writable");
    std::os::unix::fs::symlink("../../../outside/keys", target.world.data().join("vectors")).expect("a link");
    let canaries = Canaries::watch(&[&target.outside]);
    assert!(
        canaries.access_times_are_recorded() || cfg!(not(target_os = "linux")),
        "the file system does not record access times, so this test cannot see reads"
    );
    for command in [&["index"][..], &["index", "--rebuild"], &["search", "x"]] {
        let error =
            target.world.fault(command, 1, if command[0] == "search" { "INDEX_FOREIGN" } else { "UNSAFE_PATH" });
        let message = error["message"].as_str().expect("text");
        assert!(message.contains(if command[0] == "search" { ".offheap/data" } else { "data/vectors" }), "{error}");
    }
    assert_eq!(canaries.changed(), [""; 0]);
}

/// Replaces folders by links and back in one thread, while commands and the watch run; until `enough` says that there were
/// enough exchanges.
fn swap_while_working(enough: &dyn Fn(usize) -> bool) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let target = Target::new();
    target.run(&["index", "--quiet"]);
    let project = target.world.project();
    let places = [".offheap", ".offheap/data", ".offheap/data/vectors", ".offheap/data/text", "src", "src/deep"];
    for (i, place) in places.iter().enumerate() {
        let link = project.join(format!("link{i}"));
        let to = if place.starts_with("src") { target.outside.clone() } else { target.outside.join(".offheap") };
        std::os::unix::fs::symlink(to, link).expect("a link");
        assert!(project.join(place).is_dir());
    }
    let canaries = Canaries::watch(&[&target.outside]);
    let (stop, n_swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(7);
            while !stop.load(Ordering::Relaxed) {
                let i = random.below(places.len());
                let (place, link) = (project.join(places[i]), project.join(format!("link{i}")));
                for _ in 0..2 {
                    let swapped = renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE);
                    assert!(swapped.is_ok(), "{}: {swapped:?}", place.display());
                    n_swaps.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(random.below(500) as u64));
                }
            }
        });
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0.. {
                let _ = std::fs::write(project.join("lib.py"), format!("def apple{round}():\n    return 'banana'\n"));
                target.run(&["index", "--quiet"]);
                target.run(&["search", "--wait", "200", "--mode", "text", "apple canary7secret"]);
                target.run(&["search", "--mode", "regex", "canary7|apple"]);
                target.run(&["search", "--mode", "symbol", "canary7secret"]);
                if round % 5 == 4 {
                    target.run(&["index", "--quiet", "--rebuild"]);
                }
                if round > 8 && enough(n_swaps.load(Ordering::Relaxed)) {
                    break;
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(canaries.changed(), [""; 0]);
        if let Err(panic) = work {
            std::panic::resume_unwind(panic);
        }
    });
    target.check_log();
}

#[test]
fn folders_that_are_swapped_for_links_are_not_followed() {
    swap_while_working(&|n_swaps| n_swaps > 2_000);
}

#[test]
#[ignore = "takes a minute"]
fn folders_that_are_swapped_for_links_for_a_minute_are_not_followed() {
    let began = Instant::now();
    swap_while_working(&|_| began.elapsed() > Duration::from_secs(60));
}

/// Files of a project that belong to another user are only read; beside another user's `.offheap`, the index is in the cache.
#[test]
fn a_project_of_another_user_is_only_read() {
    let target = Target::new();
    let project = target.world.project().to_path_buf();
    std::os::unix::fs::symlink(&target.outside, project.join("src/outside")).expect("a link");
    let chown = |path: &Path| std::os::unix::fs::lchown(path, Some(12_345), Some(12_345));
    if !crate::support::is_root() {
        return; // only root can give files away
    }
    for path in [project.clone(), project.join("src"), project.join("src/a.py")] {
        chown(&path).expect("root may change the owner");
    }
    let canaries = Canaries::watch(&[&target.outside]);
    target.run_all_commands();
    target.check_log();
    assert_eq!(canaries.changed(), [""; 0]);
    // Nothing is made in an `.offheap` directory that belongs to another user.
    let _ = std::fs::remove_dir_all(project.join(".offheap"));
    std::fs::create_dir(project.join(".offheap")).expect("root may change the owner");
    chown(&project.join(".offheap")).expect("root may change the owner");
    target.world.run(&["index"]);
    assert!(std::fs::read_dir(project.join(".offheap")).expect("readable").next().is_none(), "nothing was made in it");
}
