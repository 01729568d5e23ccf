//! Models that cannot be opened, and the errors that say why.

use offheap_engine::Error;
use offheap_engine::embedder::{Embedder, Options};

use super::TempModel;
use super::support::Value;
use super::support::tiny::{ModelParts, Tiny};

/// The error of opening a tiny BERT model with changed parts.
fn refused(change: impl FnOnce(&mut ModelParts)) -> Error {
    refused_as("bert", change)
}

/// The error of opening a tiny model of an architecture with changed parts.
fn refused_as(architecture: &'static str, change: impl FnOnce(&mut ModelParts)) -> Error {
    let mut parts = Tiny { architecture, ..Tiny::SMALL }.parts();
    change(&mut parts);
    let file = TempModel::write(&parts);
    Embedder::open(&file.path, &Options::default()).err().expect("this model cannot be opened")
}

#[test]
fn errors_about_impossible_sizes_name_the_key() {
    let cases: &[(&str, u32)] = &[
        ("bert.attention.head_count", 0),
        ("bert.attention.head_count", 3),
        ("bert.attention.head_count", 4), // heads of 16, but kernels need a multiple of 32
        ("bert.attention.head_count", 128),
        ("bert.attention.head_count", u32::MAX),
        ("bert.embedding_length", 0),
        ("bert.embedding_length", 62),
        ("bert.embedding_length", u32::MAX),
        ("bert.feed_forward_length", 0),
        ("bert.feed_forward_length", 97),
        ("bert.block_count", 0),
        ("bert.block_count", 513),
        ("bert.block_count", u32::MAX),
        ("bert.context_length", 0),
        ("bert.context_length", 1), // a text has at least two special tokens
        ("bert.context_length", u32::MAX),
    ];
    for (key, value) in cases {
        match refused(|parts| parts.set(key, Value::U32(*value))) {
            Error::Gguf { field, .. } => assert_eq!(field, *key, "{key} = {value}"),
            other => panic!("{key} = {value}: {other:?}"),
        }
    }
}

#[test]
fn errors_about_partly_rotated_heads_name_the_key() {
    let error = refused_as("qwen2", |parts| parts.set("qwen2.rope.dimension_count", Value::U32(16)));
    assert!(matches!(&error, Error::Gguf { field, .. } if field == "qwen2.rope.dimension_count"), "{error:?}");
}

#[test]
fn errors_about_an_invalid_epsilon_name_the_key() {
    for eps in [f32::NAN, f32::INFINITY, -1.0] {
        let error = refused(|parts| parts.set("bert.attention.layer_norm_epsilon", Value::F32(eps)));
        assert!(
            matches!(&error, Error::Gguf { field, .. } if field == "bert.attention.layer_norm_epsilon"),
            "{eps}: {error:?}"
        );
    }
}

#[test]
fn errors_about_missing_or_mistyped_metadata_name_the_key() {
    for (key, _) in Tiny::SMALL.parts().keys {
        if key == "general.name" || key == "bert.attention.causal" {
            continue; // these keys have defaults
        }
        let missing = refused(|parts| parts.keys.retain(|(k, _)| k != &key));
        assert!(matches!(&missing, Error::Gguf { field, .. } if *field == key), "without {key}: {missing:?}");
        let other = refused(|parts| parts.set(&key, Value::I32s(vec![1, 2])));
        assert!(matches!(&other, Error::Gguf { field, .. } if *field == key), "a list as {key}: {other:?}");
    }
}

#[test]
fn unsupported_features_are_reported_as_unsupported() {
    let cases: Vec<(&str, Error)> = vec![
        ("architecture", refused(|parts| parts.set("general.architecture", Value::Str("llama")))),
        ("tokenizer", refused(|parts| parts.set("tokenizer.ggml.model", Value::Str("t5")))),
        ("pooling type", refused(|parts| parts.set("bert.pooling_type", Value::U32(4)))),
        ("attention", refused(|parts| parts.set("bert.attention.causal", Value::Bool(true)))),
        ("rope scaling", refused_as("qwen2", |parts| parts.set("qwen2.rope.scaling.type", Value::Str("yarn")))),
        ("rope scaling", refused_as("qwen2", |parts| parts.set("qwen2.rope.scaling.factor", Value::F32(4.0)))),
        ("rope scaling", refused_as("nomic-bert", |parts| parts.set("nomic-bert.rope.scale_linear", Value::F32(2.0)))),
        ("tensor", refused_as("nomic-bert", |parts| parts.vector("blk.1.attn_qkv.bias", 192, 0.0))),
        ("tensor", refused_as("qwen2", |parts| parts.vector("blk.0.attn_output.bias", 64, 0.0))),
        // 19 is IQ1_S, here as the format of matrices and of a bias.
        ("quantisation", refused(|parts| parts.tensor("blk.1.ffn_up.weight").type_id = 19)),
        ("quantisation", refused(|parts| parts.tensor("blk.0.attn_k.bias").type_id = 19)),
        ("quantisation", refused(|parts| parts.tensor("token_embd.weight").type_id = 19)),
    ];
    for (expected, error) in cases {
        assert!(matches!(&error, Error::Unsupported { what, .. } if *what == expected), "{expected}: {error:?}");
    }
}

#[test]
fn errors_about_missing_tensors_name_the_tensor() {
    for name in Tiny::SMALL.parts().tensors.into_iter().map(|tensor| tensor.name) {
        let error = refused(|parts| parts.tensors.retain(|tensor| tensor.name != name));
        assert!(matches!(&error, Error::Gguf { field, .. } if *field == name), "without {name}: {error:?}");
    }
}

#[test]
fn errors_about_shapes_name_the_tensor() {
    for tensor in Tiny::SMALL.parts().tensors {
        let n: usize = tensor.shape.iter().product();
        // As one row; with two more dimensions; with one row more.
        let mut longer = tensor.shape.clone();
        longer[0] += 1;
        for shape in [vec![1, n], [&[1], &tensor.shape[..], &[1]].concat(), longer] {
            if tensor.shape.len() == 2
                && shape.len() == 2
                && ["token_embd.weight", "token_types.weight"].contains(&&*tensor.name)
            {
                continue; // these may have any number of rows
            }
            let error = refused(|parts| {
                let tensor = parts.tensor(&tensor.name);
                tensor.values.resize(shape.iter().product(), 0.0);
                tensor.shape = shape.clone();
            });
            assert!(
                matches!(&error, Error::Shape { name, found, .. } if *name == tensor.name && *found == shape),
                "{} {shape:?}: {error:?}",
                tensor.name
            );
        }
    }
}

#[test]
fn a_vocabulary_longer_than_the_token_table_is_refused() {
    let error = refused(|parts| {
        let tensor = parts.tensor("token_embd.weight");
        tensor.shape[0] -= 1;
        tensor.values.truncate(tensor.shape[0] * tensor.shape[1]);
    });
    assert!(matches!(&error, Error::Gguf { field, .. } if field == "tokenizer.ggml.tokens"), "{error:?}");
}
