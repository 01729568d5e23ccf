//! The hashed vector space: vectors made without a model, from hashed words and trigrams. Equal texts have equal
//! vectors, and texts that share words have near ones. For callers who prefer such vectors to an error when there is no
//! model.

/// The space of these vectors: never compared with a model's.
pub const SPACE: &str = "hash-v1";

/// Length of a vector.
pub const DIM: usize = 384;

/// A unit vector for `text`, the same on every machine.
///
/// Each lower-case word and each of its trigrams (a space before and after it) adds ±1 or ±0.5 to one place that its
/// FNV-1a hash names; the sum is normalised. Source: feature hashing, arXiv 0902.2206.
pub fn embed(text: &str) -> [f32; DIM] {
    let mut row = [0.0f32; DIM];
    let mut add = |bytes: &[u8], weight: f32| {
        let hash = fnv1a(bytes);
        let sign = if hash >> 63 == 0 { weight } else { -weight };
        row[(hash % DIM as u64) as usize] += sign;
    };
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        add(word.as_bytes(), 1.0);
        let padded: Vec<char> = std::iter::once(' ').chain(word.chars()).chain([' ']).collect();
        for trigram in padded.windows(3) {
            add(trigram.iter().collect::<String>().as_bytes(), 0.5);
        }
    }
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x /= norm);
    } else {
        row[0] = 1.0; // no word, or words that cancel out: still a direction
    }
    row
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unit_vectors_that_know_shared_words() {
        let dot = |a: &str, b: &str| embed(a).iter().zip(embed(b)).map(|(a, b)| a * b).sum::<f32>();
        for text in ["", "...", "parse the header", "漢字", "x"] {
            assert!((dot(text, text) - 1.0).abs() < 1e-5, "{text:?}");
        }
        assert!(dot("parse the header", "The header: parse!") > 0.99, "order, case and punctuation do not count");
        assert!(dot("parse the header", "parse a header") > dot("parse the header", "close every socket"));
    }

    /// Stored by callers, so part of what must not change.
    #[test]
    fn the_space_is_frozen() {
        let row = embed("open file");
        let places: Vec<usize> = (0..DIM).filter(|i| row[*i] != 0.0).collect();
        assert_eq!(places, [29, 35, 39, 52, 64, 150, 190, 254, 304, 361]);
    }
}
