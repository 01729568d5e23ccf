//! Tests of model files and of the vectors that models compute.

mod parity_set;
mod gguf;
mod quants;
mod network;
mod reference;
mod parity;
mod refused;
mod not_finite;

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::kernel;
use support::tiny::ModelParts;

/// Names of the kernels that this processor can run, fastest first.
fn kernels() -> Vec<&'static str> {
    kernel::usable_names().collect()
}

/// Opens the model at `path` on one kernel.
fn open(path: &Path, kernel: &str, threads: usize) -> Embedder {
    let options = Options { kernel: Some(kernel), threads, ..Options::default() };
    Embedder::open(path, &options).expect("the model opens")
}

/// The vectors of one batch, one after another.
fn embed(embedder: &mut Embedder, batch: &[&[u32]]) -> Vec<f32> {
    let mut rows = vec![0.0; batch.len() * embedder.info().dim];
    embedder.embed(batch, &mut rows).expect("finite");
    rows
}

/// A model file in a temporary directory, which is removed with it.
struct TempModel {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl TempModel {
    fn write(parts: &ModelParts) -> TempModel {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("tiny.gguf");
        std::fs::write(&path, parts.bytes()).expect("write the model");
        TempModel { path, _dir: dir }
    }
}
