//! A test that takes minutes: `cargo test -p offheap --test it -- --ignored soak::`, with a release build in `OFFHEAP_TEST_BIN`.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::support::{Guard, World, signal, until};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Starts 50 processes at once, 100 times: after a clean exit, over a stale socket, and while the daemon is shutting down. Each
/// time one daemon remains, and no process fails.
#[test]
#[ignore = "takes minutes"]
#[expect(clippy::print_stderr, reason = "it prints measurements")]
fn herd() {
    let (rounds, processes) = (number("OFFHEAP_SOAK_ROUNDS", 100), number("OFFHEAP_SOAK_PROCESSES", 50));
    let world = World::new();
    world.run(&["init"]);
    let began = Instant::now();
    let mut slowest = 0;
    for round in 0..rounds {
        let before: BTreeSet<u32> = world.daemons().into_iter().collect();
        match round % 3 {
            // No daemon runs.
            0 => {
                world.run(&["stop"]);
            }
            // The killed daemon leaves a stale socket.
            1 => before.iter().for_each(|pid| signal(*pid, libc::SIGKILL)),
            // The daemon shuts down while the processes start.
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
        // The daemons that lost the race exit; the one that owns the endpoint answers.
        let owners = until("one daemon is left", || {
            let now = world.daemons();
            (now.len() == 1).then_some(now)
        });
        assert_eq!(world.status()["pid"], owners[0], "round {round}");
        assert!(!before.contains(&owners[0]), "round {round}: the old daemon was replaced");
    }
    eprintln!("{rounds} rounds of {processes} processes: {:?}, slowest round {slowest} ms", began.elapsed());
}
