//! Unpacking of every format, bit for bit against the `gguf` package of ggml's authors.
//!
//! Every format is exact in any order of multiplication: a scale has 11 bits, the integers that it is multiplied with have
//! at most 12 bits together, and an `f32` has 24. Only adding a minimum rounds, once. Infinity times zero gives a NaN whose
//! bits depend on the processor, so NaNs are not compared by their bits.

use offheap_engine::gguf::{Gguf, TensorRef};

use super::support::Writer;
use super::support::tiny::{self, Noise, pack};

/// The tensor of `n_values` numbers of a model file that has no other tensor.
fn tensor(type_id: u32, n_values: usize, packed: &[u8]) -> TensorRef {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    std::fs::write(&path, Writer::new().tensor("w", &[n_values as u64], type_id, packed).bytes()).expect("write");
    Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a valid file")
}

/// Takes the next `n` numbers of 32 bits from the fixture.
fn take_u32s(fixture: &mut &[u8], n: usize) -> Vec<u32> {
    let bytes = fixture.split_off(..4 * n).expect("the fixture is whole");
    bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

#[test]
fn every_format_has_the_bits_of_the_reference() {
    let mut fixture = &include_bytes!("../fixtures/quants.bin")[..]; // fixtures/quants.py writes it and describes the layout
    let mut names = Vec::new();
    while !fixture.is_empty() {
        let [type_id, n_bytes] = take_u32s(&mut fixture, 2)[..] else { unreachable!("two numbers") };
        let packed = fixture.split_off(..n_bytes as usize).expect("the fixture is whole");
        let n_values = take_u32s(&mut fixture, 1)[0] as usize;
        let expected = take_u32s(&mut fixture, n_values);
        let tensor = tensor(type_id, n_values, packed);
        let name = tensor.dtype().name();
        for inlined in [false, true] {
            let mut found = vec![f32::NAN; n_values];
            match inlined {
                false => tensor.dtype().unpacker()(tensor.data(), &mut found),
                true => tensor.dtype().unpack(tensor.data(), &mut found),
            }
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let expected = f32::from_bits(*expected);
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{name}: weight {i} is {found:e}, not {expected:e}");
            }
        }
        names.push(name);
    }
    assert_eq!(names, ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]);
}

/// The packing of test models, which other tests rely on, is close to the given numbers.
#[test]
fn what_tests_pack_unpacks_to_nearly_the_same() {
    let mut noise = Noise(5);
    let values: Vec<f32> = (0..4096).map(|_| noise.next()).collect();
    let formats = [
        (tiny::F32, 0.0),
        (tiny::F16, 1.0 / 2048.0),
        (tiny::BF16, 1.0 / 256.0),
        (tiny::Q8_0, 0.5 / 127.0),
        (tiny::Q4_0, 1.0 / 8.0), // the largest magnitude with the sign that has no such quant is off by one step
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
        // A tenth more, because scales are rounded too.
        assert!(error <= 1.1 * most, "{}: off by {error} of 1", tensor.dtype().name());
    }
}
