//! Repositories that are out to harm: nothing outside of them is changed, read or shown, whatever is asked; no call hangs, no
//! daemon dies, and none takes more than 2 GB of address space.
//!
//! A failure prints its seed: `OFFHEAP_TEST_SEED=<seed> cargo test -p offheap --test it hostile` repeats that one.

mod canary;
mod make;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use offheap_protocol::connection::Payload;
use offheap_protocol::message::Request;

use self::canary::{Canaries, SECRET, plant};
use self::make::{Dice, hostile};
use crate::support::{Done, PATIENCE, World, block_on, finish, signal};

/// Kilobytes of address space for every process: a daemon that reads without limit would need more.
const ADDRESS_SPACE_KB: u64 = 2 << 20;

struct Target {
    world: World,
    outside: PathBuf,
}

impl Target {
    /// A user with keys, another project, and a repository that was cloned beside them.
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

    /// Runs a command with little address space; its daemon has the same limit.
    fn run(&self, args: &[&str]) -> Done {
        let bin = crate::support::bin();
        let script = format!("ulimit -v {ADDRESS_SPACE_KB}; exec \"$0\" \"$@\"");
        let program = bin.to_str().expect("UTF-8");
        let began = Instant::now();
        let done = finish(self.world.environment("/bin/sh", ["-c", &script, program].iter().chain(args)), b"");
        assert!(began.elapsed() < PATIENCE, "{args:?} ended after {:?}", began.elapsed());
        assert!(done.code.is_some(), "{args:?} was ended by a signal: {done:?}");
        let said = [done.stdout.as_str(), done.stderr.as_str()].concat();
        assert!(!said.contains(SECRET), "{args:?} shows what is outside: {done:?}");
        assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{args:?} prints what a terminal obeys: {done:?}");
        assert!(!said.contains("[INTERNAL]"), "{args:?}: {done:?}");
        done
    }

    /// Everything that a user would do in a project.
    fn use_all(&self) {
        let search = |mode: &str| self.run(&["search", "--mode", mode, "apple banana shipped"]);
        search("hybrid"); // before anybody has indexed it
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

    /// The user's secret, once there is one.
    fn secret(&self) -> Option<[u8; 32]> {
        std::fs::read(self.world.home().join(".local/state/offheap/secret")).ok()?.try_into().ok()
    }

    /// What no daemon may have written to its log, whatever it met.
    fn check_log(&self) {
        let log = std::fs::read_to_string(self.world.endpoint().log()).unwrap_or_default();
        let bad = |line: &&str| line.contains("panic at") && !line.contains("tantivy") && !line.contains("redb");
        assert_eq!(log.lines().find(bad), None, "the daemon panicked");
        assert!(!log.contains(SECRET), "the log holds what is outside");
    }
}

fn attack(seed: u64) -> make::Tricks {
    let target = Target::new();
    let mut dice = Dice::new(seed);
    // Half of the repositories are met by a user who has indexed something before, and one in four had an index of this user.
    if dice.below(2) == 0 {
        let elsewhere = target.outside.with_file_name("mine");
        std::fs::create_dir(&elsewhere).expect("fresh");
        std::fs::write(elsewhere.join("a.py"), "a = 1\n").expect("writable");
        target.run(&["index", "--quiet", "--project", elsewhere.to_str().expect("UTF-8")]);
        target.run(&["stop", "--project", elsewhere.to_str().expect("UTF-8")]);
    }
    if dice.below(4) == 0 {
        target.run(&["index", "--quiet"]);
        target.run(&["stop"]);
    }
    let tricks = hostile(target.world.project(), &target.outside, target.secret(), &mut dice);
    let canaries = Canaries::watch(&[&target.outside]);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        target.use_all();
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

/// Attacks with every seed of a range, on as many threads as there are processors.
#[expect(clippy::print_stdout, reason = "the slow form says where it is")]
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
fn fifty_hostile_repositories_harm_nobody() {
    attack_all(0..50);
}

#[test]
#[ignore = "half an hour with a release build: OFFHEAP_TEST_BIN"]
fn two_thousand_hostile_repositories_harm_nobody() {
    attack_all(1_000..3_000);
}

/// The issue's own example.
#[test]
fn a_link_in_the_place_of_the_vectors_is_refused_by_name() {
    let target = Target::new();
    std::fs::create_dir_all(target.world.data()).expect("writable");
    std::os::unix::fs::symlink("../../../outside/keys", target.world.data().join("vectors")).expect("a link");
    let canaries = Canaries::watch(&[&target.outside]);
    assert!(
        canaries.notes_reading() || cfg!(not(target_os = "linux")),
        "mounted without times of reading: half a test"
    );
    for command in [&["index"][..], &["index", "--rebuild"], &["search", "x"]] {
        let error =
            target.world.fault(command, 1, if command[0] == "search" { "INDEX_FOREIGN" } else { "UNSAFE_PATH" });
        let message = error["message"].as_str().expect("text");
        assert!(message.contains(if command[0] == "search" { ".offheap/data" } else { "data/vectors" }), "{error}");
    }
    assert_eq!(canaries.changed(), [""; 0]);
}

/// A thread that exchanges folders for links and back while an index run and the watch work.
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
            let mut dice = Dice::new(7);
            while !stop.load(Ordering::Relaxed) {
                let i = dice.below(places.len());
                let (place, link) = (project.join(places[i]), project.join(format!("link{i}")));
                for _ in 0..2 {
                    let swapped = renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE);
                    assert!(swapped.is_ok(), "{}: {swapped:?}", place.display());
                    n_swaps.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(dice.below(500) as u64));
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
fn folders_that_become_links_meanwhile_lead_nowhere() {
    swap_while_working(&|n_swaps| n_swaps > 2_000);
}

#[test]
#[ignore = "a minute"]
fn folders_that_become_links_for_a_minute_lead_nowhere() {
    let began = Instant::now();
    swap_while_working(&|_| began.elapsed() > Duration::from_secs(60));
}

/// A root that cannot be written, and one that another user owns.
#[test]
fn a_root_that_is_not_ours_is_read_at_most() {
    let target = Target::new();
    let project = target.world.project().to_path_buf();
    std::os::unix::fs::symlink(&target.outside, project.join("src/outside")).expect("a link");
    let chown = |path: &Path| std::os::unix::fs::lchown(path, Some(12_345), Some(12_345));
    if !crate::support::is_root() {
        return; // only root can give files away
    }
    for path in [project.clone(), project.join("src"), project.join("src/a.py")] {
        chown(&path).expect("root can");
    }
    let canaries = Canaries::watch(&[&target.outside]);
    target.use_all();
    target.check_log();
    assert_eq!(canaries.changed(), [""; 0]);
    // An index directory of another user is not used.
    let _ = std::fs::remove_dir_all(project.join(".offheap"));
    std::fs::create_dir(project.join(".offheap")).expect("root can");
    chown(&project.join(".offheap")).expect("root can");
    let error = target.world.fault(&["index"], 1, "UNSAFE_PATH");
    assert!(error["message"].as_str().expect("text").contains("user 12345"), "{error}");
    assert!(std::fs::read_dir(project.join(".offheap")).expect("readable").next().is_none(), "nothing was made there");
}
