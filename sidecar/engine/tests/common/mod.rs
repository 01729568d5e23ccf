//! What several test programs need.

use std::path::PathBuf;

/// The default model: the repository's, or the file that `OFFHEAP_TEST_MODEL` names.
pub fn model_path() -> PathBuf {
    let path = match std::env::var_os("OFFHEAP_TEST_MODEL") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../npm/model-all-minilm-l6-v2/all-minilm-l6-v2.Q8_0.gguf"),
    };
    assert!(
        path.is_file(),
        "the default model `{}` is part of the repository; is the checkout complete?",
        path.display()
    );
    path
}

/// One text of the parity set.
#[derive(serde::Deserialize)]
pub struct Item {
    pub text: String,
    pub token_ids: Vec<u32>,
    pub embedding: Vec<f32>,
}

/// Texts with the token ids and embeddings that the original float32 weights give (sentence-transformers, mean
/// pooling, L2, 512 tokens). The first ones are awkward on purpose: empty, scripts, combining marks, full-width,
/// special-token text, very long words, truncation.
pub fn parity_items() -> Vec<Item> {
    #[derive(serde::Deserialize)]
    struct File {
        items: Vec<Item>,
    }
    let text = include_str!("../fixtures/parity-all-minilm-l6-v2.json");
    let file: File = serde_json::from_str(text).expect("the fixture is valid");
    assert_eq!(file.items.len(), 68);
    file.items
}

/// Cosine of two rows of any length.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
