//! The long forms: `cargo test -p offheap --test it -- --ignored soak::`, with `OFFHEAP_TEST_BIN` naming the release build.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::support::{Guard, World, signal, until};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// 50 processes at once, 100 times: after a clean end, over a stale socket, and while the owner is dying. One owner each
/// time, and no process sees an error.
#[test]
#[ignore = "minutes"]
#[expect(clippy::print_stderr, reason = "its figures are what it is run for")]
fn herd() {
    let (rounds, processes) = (number("OFFHEAP_SOAK_ROUNDS", 100), number("OFFHEAP_SOAK_PROCESSES", 50));
    let world = World::new();
    world.run(&["init"]);
    let began = Instant::now();
    let mut slowest = 0;
    for round in 0..rounds {
        let before: BTreeSet<u32> = world.daemons().into_iter().collect();
        match round % 3 {
            // Nobody is there.
            0 => {
                world.run(&["stop"]);
            }
            // A stale socket.
            1 => before.iter().for_each(|pid| signal(*pid, libc::SIGKILL)),
            // The owner leaves while they come.
            _ => before.iter().for_each(|pid| signal(*pid, libc::SIGTERM)),
        }
        let at = Instant::now();
        let starters: Vec<Guard> =
            (0..processes).map(|_| Guard(world.command(["start", "--json"]).spawn().expect("starts"))).collect();
        for mut starter in starters {
            let status = starter.wait();
            if !status.success() {
                let mut text = String::new();
                let _ = std::io::Read::read_to_string(&mut starter.0.stderr.take().expect("piped"), &mut text);
                panic!("round {round}: {status}: {text}");
            }
        }
        slowest = slowest.max(at.elapsed().as_millis());
        // Those that were not needed end by themselves; the one that owns the endpoint answers.
        let owners = until("one daemon is left", || {
            let now = world.daemons();
            (now.len() == 1).then_some(now)
        });
        assert_eq!(world.status()["pid"], owners[0], "round {round}");
        assert!(!before.contains(&owners[0]), "round {round}: a new one");
    }
    eprintln!("{rounds} rounds of {processes} processes: {:?}, slowest round {slowest} ms", began.elapsed());
}
