//! The vector scan, whose results are exact.

use super::super::scan;
use super::*;

#[test]
fn dot_i8_is_exact_at_every_length_and_extreme() {
    let bytes = |seed: u64, n: usize| -> Vec<i8> { noise(seed, n).into_iter().map(|x| (x * 128.0) as i8).collect() };
    for kernel in kernels() {
        for n in (0..130).chain([384, 768, 1536]) {
            let (a, b) = (bytes(1, n), bytes(2, n));
            let truth: i32 = a.iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            assert_eq!(kernel.dot_i8(&a, &b), truth, "{}: {n}", kernel.name);
            for (a, b) in [(i8::MIN, i8::MIN), (i8::MIN, i8::MAX), (i8::MAX, i8::MAX)] {
                let truth = n as i32 * i32::from(a) * i32::from(b);
                assert_eq!(kernel.dot_i8(&vec![a; n], &vec![b; n]), truth, "{}: {n} of {a} and {b}", kernel.name);
            }
        }
        assert_eq!(kernel.dot_i8(&[1, 2, 3], &[4]), 4, "{}: the rest of the longer row is ignored", kernel.name);
    }
}

/// All kernels against the portable inner product, and against sums of table entries written out.
#[test]
fn scans_are_exact_at_every_shape() {
    let bytes = |seed: u64, n: usize| -> Vec<i8> { noise(seed, n).into_iter().map(|x| (x * 128.0) as i8).collect() };
    for kernel in kernels() {
        for (stride, n_rows) in [(16, 5), (64, 0), (64, 1), (64, 3), (128, 4), (384, 9), (768, 2), (24, 3)] {
            let (query, rows) = (bytes(1, stride), bytes(2, stride * n_rows));
            for query in [query, vec![i8::MIN; stride], vec![i8::MAX; stride]] {
                let truth: Vec<i32> = rows.chunks_exact(stride).map(|row| scan::dot_i8(&query, row)).collect();
                let mut out = vec![-1; n_rows];
                kernel.scan_i8(&query, &rows, &mut out);
                assert_eq!(out, truth, "{}: {n_rows} rows of {stride}", kernel.name);
            }
            let mut out = vec![0; n_rows];
            kernel.scan_i8(&vec![i8::MIN; stride], &vec![i8::MIN; stride * n_rows], &mut out);
            assert!(out.iter().all(|&x| x == stride as i32 * 16384), "{}: {stride}", kernel.name);
        }
        for (n_positions, n_blocks) in [(1, 1), (2, 2), (16, 0), (96, 3), (192, 1), (257, 1)] {
            let bits = |seed: u64, n: usize| -> Vec<u8> { bytes(seed, n).into_iter().map(|x| x as u8).collect() };
            let (table, codes) = (bits(3, n_positions * 16), bits(4, n_positions * 16 * n_blocks));
            for table in [table, vec![255; n_positions * 16]] {
                let sum = |row: usize| {
                    (0..n_positions).fold(0u16, |sum, position| {
                        let byte = codes[(row / 32 * n_positions + position) * 16 + row % 16];
                        let code = if row % 32 < 16 { byte & 15 } else { byte >> 4 };
                        sum.wrapping_add(u16::from(table[position * 16 + usize::from(code)]))
                    })
                };
                let truth: Vec<u16> = (0..n_blocks * 32).map(sum).collect();
                let mut out = vec![7; n_blocks * 32];
                kernel.scan_codes(&table, &codes, &mut out);
                assert_eq!(out, truth, "{}: {n_positions} positions", kernel.name);
            }
        }
    }
}
