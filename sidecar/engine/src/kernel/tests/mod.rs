//! Tests of every kernel that this processor can run, against plain implementations in `f64`.

use super::*;
use support::tiny::Noise;

mod linear;
mod attention;
mod norms;
mod scan;

#[path = "../../../tests/support/mod.rs"]
mod support;

/// The kernels that this processor can run, fastest first.
fn kernels() -> Vec<&'static Kernel> {
    usable_names().map(|name| choose(Some(name)).expect("listed as usable")).collect()
}

/// `n` pseudo-random numbers from -1 to 1.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut noise = Noise(seed);
    (0..n).map(|_| noise.next()).collect()
}

#[test]
fn an_unknown_name_lists_what_runs_here() {
    let usable = choose(Some("abacus")).err().expect("no such kernel");
    assert_eq!(usable.last(), Some(&"portable"));
    for name in usable {
        assert_eq!(choose(Some(name)).expect("listed as usable").name, name);
    }
}
