//! The parity set: texts with the token ids and vectors of the original model.

/// One text of the parity set.
#[derive(serde::Deserialize)]
pub struct Item {
    pub text: String,
    pub token_ids: Vec<u32>,
    pub embedding: Vec<f32>,
}

/// Texts with the token ids and vectors that sentence-transformers computes from the original `f32` weights (mean pooling,
/// L2 norm 1, at most 512 tokens). The first texts are difficult on purpose: empty, several scripts, combining marks,
/// full-width characters, spelled special tokens, very long words, truncation.
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

/// Cosine similarity of two vectors.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
