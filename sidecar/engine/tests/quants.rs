//! Unpacking against the `gguf` package of ggml's authors, to the bit.
//!
//! Every format is bit-exact. That takes no care about the order of products: a scale has 11 bits, the integers that it
//! is multiplied with have 12 at most together, and an `f32` has room for 24. Only adding a minimum rounds, once. Which
//! NaN comes out of infinity times zero is the processor's affair and is not compared.

mod support;

use offheap_engine::gguf::{Gguf, TensorRef};
use support::Writer;
use support::tiny::{self, Noise, pack};

/// The tensor of a file that has just one, `n_values` long.
fn tensor(type_id: u32, n_values: usize, packed: &[u8]) -> TensorRef {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    std::fs::write(&path, Writer::new().tensor("w", &[n_values as u64], type_id, packed).bytes()).expect("write");
    Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a sound file")
}

fn words(fixture: &mut &[u8], n: usize) -> Vec<u32> {
    let bytes = fixture.split_off(..4 * n).expect("the fixture is whole");
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

#[test]
fn every_format_has_the_bits_of_the_reference() {
    let mut fixture = &include_bytes!("fixtures/quants.bin")[..]; // its layout: fixtures/quants.py
    let mut names = Vec::new();
    while !fixture.is_empty() {
        let [type_id, n_bytes] = words(&mut fixture, 2)[..] else { unreachable!("two words") };
        let packed = fixture.split_off(..n_bytes as usize).expect("the fixture is whole");
        let n_values = words(&mut fixture, 1)[0] as usize;
        let wanted = words(&mut fixture, n_values);
        let tensor = tensor(type_id, n_values, packed);
        let name = tensor.dtype().name();
        for inlined in [false, true] {
            let mut found = vec![f32::NAN; n_values];
            match inlined {
                false => tensor.dtype().unpacker()(tensor.data(), &mut found),
                true => tensor.dtype().unpack(tensor.data(), &mut found),
            }
            for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let wanted = f32::from_bits(*wanted);
                let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
                assert!(same, "{name}: weight {i} is {found:e}, not {wanted:e}");
            }
        }
        names.push(name);
    }
    assert_eq!(names, ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]);
}

/// Of the models that other tests are made of: what they pack is close to what they were given.
#[test]
fn what_tests_pack_unpacks_to_nearly_the_same() {
    let mut noise = Noise(5);
    let values: Vec<f32> = (0..4096).map(|_| noise.next()).collect();
    let formats = [
        (tiny::F32, 0.0),
        (tiny::F16, 1.0 / 2048.0),
        (tiny::BF16, 1.0 / 256.0),
        (tiny::Q8_0, 0.5 / 127.0),
        (tiny::Q4_0, 1.0 / 8.0), // what is as large as the largest, but has the other sign, is off by a step
        (tiny::Q4_1, 1.0 / 15.0),
        (tiny::Q5_0, 1.0 / 16.0),
        (tiny::Q5_1, 1.0 / 31.0),
        (tiny::Q4_K, 1.0 / 15.0),
        (tiny::Q5_K, 1.0 / 31.0),
        (tiny::Q6_K, 1.0 / 32.0),
    ];
    for (type_id, most) in formats {
        let tensor = tensor(type_id, values.len(), &pack(type_id, &values));
        let mut found = vec![f32::NAN; values.len()];
        tensor.dtype().unpacker()(tensor.data(), &mut found);
        let error = found.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // A tenth more, for scales that are rounded themselves.
        assert!(error <= 1.1 * most, "{}: off by {error} of 1", tensor.dtype().name());
    }
}
