//! Weights that do not give a finite vector of length 1.

use offheap_engine::Error;

use super::support::tiny::{ModelParts, Tiny};
use super::{TempModel, kernels, open};

/// Embeds two texts with changed weights, and checks that the first is reported as not finite.
fn check_not_finite(what: &str, change: impl FnOnce(&mut ModelParts)) {
    let mut parts = Tiny::SMALL.parts();
    change(&mut parts);
    let file = TempModel::write(&parts);
    for kernel in kernels() {
        let mut embedder = open(&file.path, kernel, 2);
        let mut rows = vec![0.0; 2 * 64];
        match embedder.embed(&[&[2, 3], &[2, 3]], &mut rows) {
            Err(Error::NotFinite { text_idx: 0 }) => {}
            other => panic!("{kernel}: {what}: {other:?}, {:?} ...", &rows[..4]),
        }
    }
}

#[test]
fn weights_that_are_not_finite_never_give_a_vector() {
    // A NaN in the keys was once lost in the softmax, which gave a wrong but plausible vector.
    for name in Tiny::SMALL.parts().tensors.into_iter().map(|tensor| tensor.name) {
        for wrong in [f32::NAN, f32::INFINITY] {
            check_not_finite(&format!("{name} of {wrong}"), |parts| parts.tensor(&name).values.fill(wrong));
        }
    }
}

#[test]
fn a_single_nan_reaches_every_text_that_reads_it() {
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"] {
        check_not_finite(name, |parts| parts.tensor(&format!("blk.1.{name}.weight")).values[70] = f32::NAN);
    }
}

#[test]
fn a_zero_vector_is_an_error() {
    check_not_finite("all zero", |parts| {
        parts.tensor("blk.1.layer_output_norm.weight").values.fill(0.0);
        parts.tensor("blk.1.layer_output_norm.bias").values.fill(0.0);
    });
}
