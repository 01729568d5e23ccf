//! A loaded model, and vectors that it computed.

use std::path::PathBuf;
use std::sync::Arc;

use offheap_engine::embedder::ModelInfo;
use offheap_engine::kernel::Kernel;
use offheap_engine::store::Space;
use offheap_protocol::message::EmbedTiming;

/// What other threads know of the loaded model.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Name, shape, kernel and threads.
    pub info: Arc<ModelInfo>,
    /// The mapped file.
    pub path: Arc<PathBuf>,
    /// The instruction set, which the vector scan uses too.
    pub kernel: KernelRef,
}

impl Loaded {
    /// The vector space of this model: vectors of different spaces cannot be compared.
    pub fn space(&self) -> Space {
        // Sixteen hexadecimal digits of the file's SHA-256 tell any two files apart.
        Space { id: format!("{}:{}", self.info.name, &self.info.fingerprint[..16]), dim: self.info.dim }
    }
}

/// A kernel that can be debug-printed.
#[derive(Clone, Copy)]
pub struct KernelRef(pub &'static Kernel);

impl std::fmt::Debug for KernelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// The vectors of one request, in its order.
#[derive(Debug)]
pub struct Embedded {
    /// Unit vectors, flat: row `i` is `rows[i * dim..][..dim]`.
    pub rows: Vec<f32>,
    /// Tokens of each text.
    pub tokens: Vec<u32>,
    /// Whether each text was cut to the model's context.
    pub truncated: Vec<bool>,
    /// The model that computed them.
    pub model: Loaded,
    /// Where the time went.
    pub timing: EmbedTiming,
}
