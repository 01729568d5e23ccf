//! Speed of the kernels: multiplications per second for the matrix shapes of our models, compared with the processor's peak.
//!
//! ```text
//! embed products [type,...] [rows x cols,...]      GMAC/s of matrix products, by kernel, shape and tokens
//! embed model <file.gguf> [tokens,...]             milliseconds and sequences per second of whole forward passes
//! ```
//!
//! The peak is measured in the same run: the kernel's own multiply instruction on registers alone, on as many threads.
//! `OFFHEAP_KERNEL` chooses one kernel, `OFFHEAP_THREADS` the number of threads.

#![allow(clippy::print_stdout, missing_docs)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::gguf::{Gguf, TensorRef};
use offheap_engine::kernel::{
    self, Activation, Buffer, Columns, Combine, Input, Kernel, Linear, Pool, rounded_len, scales_len,
};
use support::Writer;
use support::tiny::{Noise, Q8_0, pack};

#[path = "../tests/support/mod.rs"]
mod support;

const TOKENS: [usize; 6] = [1, 15, 32, 64, 256, 1024];
/// Rows and columns of the three matrix shapes of all-MiniLM-L6-v2, then of nomic-embed-text.
const SHAPES: [(usize, usize); 6] = [(384, 384), (1536, 384), (384, 1536), (768, 768), (3072, 768), (768, 3072)];
/// The least time of measuring one figure.
const LONG_ENOUGH: Duration = Duration::from_millis(150);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let forced = std::env::var("OFFHEAP_KERNEL").ok();
    let names: Vec<&str> = match &forced {
        Some(name) => vec![name],
        None => kernel::usable_names().collect(),
    };
    let threads = std::env::var("OFFHEAP_THREADS").ok().map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        |n| n.parse().expect("OFFHEAP_THREADS is a number"),
    );
    match args.as_slice() {
        ["model", path, rest @ ..] => {
            for name in names {
                model(path, name, threads, &numbers(rest.first(), &[15, 218, 512]));
            }
        }
        [] | ["products", ..] => {
            let types = numbers(args.get(1), &[Q8_0 as usize]);
            let shapes: Vec<(usize, usize)> = match args.get(2) {
                Some(list) => list.split(',').map(shape).collect(),
                None => SHAPES.to_vec(),
            };
            for name in names {
                products(kernel::choose(Some(name)).expect("usable"), threads, &types, &shapes);
            }
        }
        _ => panic!("usage: see the head of benches/embed.rs"),
    }
}

fn numbers(list: Option<&&str>, absent: &[usize]) -> Vec<usize> {
    list.map_or_else(|| absent.to_vec(), |list| list.split(',').map(|n| n.parse().expect("a number")).collect())
}

fn shape(text: &str) -> (usize, usize) {
    let (rows, cols) = text.split_once('x').expect("rows x cols");
    (rows.parse().expect("a number"), cols.parse().expect("a number"))
}

/// Seconds of the fastest call of `work`, which is repeated for [`LONG_ENOUGH`].
fn seconds(mut work: impl FnMut()) -> f64 {
    work();
    let (mut best, begun) = (f64::INFINITY, Instant::now());
    while begun.elapsed() < LONG_ENOUGH {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn products(kernel: &'static Kernel, threads: usize, types: &[usize], shapes: &[(usize, usize)]) {
    let mut pool = Pool::new(threads).expect("threads");
    let peak = peak::of(kernel.name, threads);
    let peak_text = peak.map_or("not measured".to_owned(), |peak| format!("{peak:.0} GMAC/s"));
    println!("\nkernel {}, {threads} threads, peak on registers: {peak_text}", kernel.name);
    println!("| type | rows x cols | {} |", TOKENS.map(|n| format!("{n} tokens")).join(" | "));
    println!("|---|---|{}", "---|".repeat(TOKENS.len()));
    for type_id in types {
        for (rows, cols) in shapes {
            let weight = weight(*type_id as u32, *rows, *cols);
            let cells = TOKENS.map(|tokens| {
                let rate = product(kernel, &mut pool, &weight, tokens);
                match peak {
                    Some(peak) => format!("{rate:.0} ({:.0} %)", 100.0 * rate / peak),
                    None => format!("{rate:.0}"),
                }
            });
            println!("| {} | {rows} x {cols} | {} |", weight.dtype().name(), cells.join(" | "));
        }
    }
}

fn weight(type_id: u32, rows: usize, cols: usize) -> TensorRef {
    let mut noise = Noise(7);
    let values: Vec<f32> = (0..rows * cols).map(|_| noise.next() / (cols as f32).sqrt()).collect();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    let file = Writer::new().tensor("w", &[cols as u64, rows as u64], type_id, &pack(type_id, &values));
    std::fs::write(&path, file.bytes()).expect("write the file");
    Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a valid file")
}

/// GMAC/s of a product as a model computes it, which includes rounding the input and unpacking the weights.
fn product(kernel: &'static Kernel, pool: &mut Pool, weight: &TensorRef, tokens: usize) -> f64 {
    const BLOCK: usize = 512; // most tokens that a model multiplies at once
    let [rows, cols] = weight.shape()[..] else { unreachable!("a matrix was asked for") };
    let mut noise = Noise(3);
    let x: Vec<f32> = (0..tokens * cols).map(|_| noise.next()).collect();
    let mut out = vec![0.0; tokens * rows];
    let (mut rounded, mut scales) = (Buffer::new(rounded_len(BLOCK, cols)), Buffer::new(scales_len(BLOCK, cols)));
    let workers: Vec<_> = (0..pool.threads()).map(|_| Mutex::new(kernel.panel(cols, BLOCK.min(tokens)))).collect();
    let time = seconds(|| {
        for (x, out) in x.chunks(BLOCK * cols).zip(out.chunks_mut(BLOCK * rows)) {
            let n = scales_len(x.len() / cols, cols);
            kernel.round_input(x, cols, &mut rounded, &mut scales[..n]);
            let input = Input::new(x, cols).with_rounded(&rounded, &scales);
            let out = Columns::of(out, rows);
            let layer = Linear::new(input, weight, None, Activation::None, Combine::Set, out);
            pool.run(layer.panels(kernel.panel_rows), &|worker, panel| {
                let mut scratch = workers[worker].lock().expect("one worker, one scratch");
                // SAFETY: the pool runs each panel once.
                unsafe { kernel.run_panel(&layer, panel, &mut scratch) }
            });
        }
    });
    (tokens * rows * cols) as f64 / time / 1e9
}

fn model(path: &str, kernel: &str, threads: usize, lengths: &[usize]) {
    let opened = Instant::now();
    let options = Options { kernel: Some(kernel), threads, sha256: None, ..Options::default() };
    let mut embedder = Embedder::open(path.as_ref(), &options).expect("the model opens");
    let info = embedder.info().clone();
    println!(
        "\n{} ({}), kernel {}, {threads} threads, opened in {:.0?}",
        info.name,
        info.quantisation,
        info.kernel,
        opened.elapsed()
    );
    println!("| tokens | alone, ms | in full batches, ms each | sequences/s |");
    println!("|---|---|---|---|");
    for tokens in lengths.iter().copied().filter(|n| *n <= info.context_length) {
        let ids: Vec<u32> = (0..tokens).map(|i| (1000 + 7 * i as u32) % 20_000).collect();
        let mut row = vec![0.0; info.dim];
        let alone = seconds(|| embedder.embed(&[&ids], &mut row).expect("finite"));
        if alone > 1.0 {
            println!("| {tokens} | {:.0} | not measured | |", 1e3 * alone);
            continue;
        }
        let n = (embedder.token_budget() / tokens).max(1);
        let mut rows = vec![0.0; n * info.dim];
        let each = seconds(|| embedder.embed(&vec![&ids[..]; n], &mut rows).expect("finite")) / n as f64;
        println!("| {tokens} | {:.2} | {:.2} | {:.1} |", 1e3 * alone, 1e3 * each, 1.0 / each);
    }
}

/// The peak of the multiply instructions, on registers alone.
mod peak {
    /// GMAC/s of the instruction that the kernel multiplies with; `None` for kernels without a loop here.
    pub fn of(kernel: &str, threads: usize) -> Option<f64> {
        #[cfg(target_arch = "x86_64")]
        {
            /// Multiplications in one call of the function.
            type Loop = (unsafe fn(u64), u64);
            const ROUNDS: u64 = 4_000_000;
            let (run, per_round): Loop = match kernel {
                "portable" => (sse, 10 * 4),
                "avx2" => (avx2, 12 * 16),
                "avxvnni" => (avxvnni, 12 * 16),
                "avx512" => (avx512, 24 * 32),
                "avx512vnni" => (avx512vnni, 24 * 32),
                "amx" => (amx, 4 * 16 * 16 * 32),
                _ => return None,
            };
            let mut best = 0.0_f64;
            for _ in 0..3 {
                let start = std::time::Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        // SAFETY: this processor can run the kernel, so it has the instructions.
                        scope.spawn(move || unsafe { run(ROUNDS) });
                    }
                });
                best = best.max((threads as u64 * ROUNDS * per_round) as f64 / start.elapsed().as_secs_f64() / 1e9);
            }
            Some(best)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (kernel, threads);
            None
        }
    }

    /// Defines a function that repeats lines of assembly, which access no memory, `rounds` times.
    #[cfg(target_arch = "x86_64")]
    macro_rules! repeat {
        ($name:ident, $($line:literal),+) => {
            unsafe fn $name(rounds: u64) {
                // SAFETY: the caller's processor has the instructions; they change only the vector registers named below.
                unsafe {
                    std::arch::asm!(
                        "2:", $($line,)+ "dec {n}", "jnz 2b",
                        n = inout(reg) rounds => _,
                        out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                        out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                        out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                        options(nomem, nostack),
                    );
                }
            }
        };
    }

    #[cfg(target_arch = "x86_64")]
    repeat!(
        sse,
        "movaps xmm10, xmm15",
        "mulps xmm10, xmm14",
        "addps xmm0, xmm10",
        "movaps xmm11, xmm15",
        "mulps xmm11, xmm14",
        "addps xmm1, xmm11",
        "movaps xmm12, xmm15",
        "mulps xmm12, xmm14",
        "addps xmm2, xmm12",
        "movaps xmm13, xmm15",
        "mulps xmm13, xmm14",
        "addps xmm3, xmm13",
        "movaps xmm10, xmm15",
        "mulps xmm10, xmm14",
        "addps xmm4, xmm10",
        "movaps xmm11, xmm15",
        "mulps xmm11, xmm14",
        "addps xmm5, xmm11",
        "movaps xmm12, xmm15",
        "mulps xmm12, xmm14",
        "addps xmm6, xmm12",
        "movaps xmm13, xmm15",
        "mulps xmm13, xmm14",
        "addps xmm7, xmm13",
        "movaps xmm10, xmm15",
        "mulps xmm10, xmm14",
        "addps xmm8, xmm10",
        "movaps xmm11, xmm15",
        "mulps xmm11, xmm14",
        "addps xmm9, xmm11"
    );
    #[cfg(target_arch = "x86_64")]
    repeat!(
        avx2,
        "vpmaddwd ymm12, ymm14, ymm15",
        "vpaddd ymm0, ymm0, ymm12",
        "vpmaddwd ymm13, ymm14, ymm15",
        "vpaddd ymm1, ymm1, ymm13",
        "vpmaddwd ymm12, ymm14, ymm15",
        "vpaddd ymm2, ymm2, ymm12",
        "vpmaddwd ymm13, ymm14, ymm15",
        "vpaddd ymm3, ymm3, ymm13",
        "vpmaddwd ymm12, ymm14, ymm15",
        "vpaddd ymm4, ymm4, ymm12",
        "vpmaddwd ymm13, ymm14, ymm15",
        "vpaddd ymm5, ymm5, ymm13",
        "vpmaddwd ymm12, ymm14, ymm15",
        "vpaddd ymm6, ymm6, ymm12",
        "vpmaddwd ymm13, ymm14, ymm15",
        "vpaddd ymm7, ymm7, ymm13",
        "vpmaddwd ymm12, ymm14, ymm15",
        "vpaddd ymm8, ymm8, ymm12",
        "vpmaddwd ymm13, ymm14, ymm15",
        "vpaddd ymm9, ymm9, ymm13",
        "vpmaddwd ymm12, ymm14, ymm15",
        "vpaddd ymm10, ymm10, ymm12",
        "vpmaddwd ymm13, ymm14, ymm15",
        "vpaddd ymm11, ymm11, ymm13"
    );
    #[cfg(target_arch = "x86_64")]
    repeat!(
        avxvnni,
        "{{vex}} vpdpwssd ymm0, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm1, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm2, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm3, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm4, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm5, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm6, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm7, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm8, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm9, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm10, ymm14, ymm15",
        "{{vex}} vpdpwssd ymm11, ymm14, ymm15"
    );
    #[cfg(target_arch = "x86_64")]
    repeat!(
        avx512half,
        "vpmaddwd zmm12, zmm14, zmm15",
        "vpaddd zmm0, zmm0, zmm12",
        "vpmaddwd zmm13, zmm14, zmm15",
        "vpaddd zmm1, zmm1, zmm13",
        "vpmaddwd zmm12, zmm14, zmm15",
        "vpaddd zmm2, zmm2, zmm12",
        "vpmaddwd zmm13, zmm14, zmm15",
        "vpaddd zmm3, zmm3, zmm13",
        "vpmaddwd zmm12, zmm14, zmm15",
        "vpaddd zmm4, zmm4, zmm12",
        "vpmaddwd zmm13, zmm14, zmm15",
        "vpaddd zmm5, zmm5, zmm13",
        "vpmaddwd zmm12, zmm14, zmm15",
        "vpaddd zmm6, zmm6, zmm12",
        "vpmaddwd zmm13, zmm14, zmm15",
        "vpaddd zmm7, zmm7, zmm13",
        "vpmaddwd zmm12, zmm14, zmm15",
        "vpaddd zmm8, zmm8, zmm12",
        "vpmaddwd zmm13, zmm14, zmm15",
        "vpaddd zmm9, zmm9, zmm13",
        "vpmaddwd zmm12, zmm14, zmm15",
        "vpaddd zmm10, zmm10, zmm12",
        "vpmaddwd zmm13, zmm14, zmm15",
        "vpaddd zmm11, zmm11, zmm13"
    );
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx512(rounds: u64) {
        // SAFETY: the caller's processor has the instructions.
        unsafe { avx512half(2 * rounds) }
    }
    #[cfg(target_arch = "x86_64")]
    repeat!(
        avx512vnnihalf,
        "vpdpwssd zmm0, zmm14, zmm15",
        "vpdpwssd zmm1, zmm14, zmm15",
        "vpdpwssd zmm2, zmm14, zmm15",
        "vpdpwssd zmm3, zmm14, zmm15",
        "vpdpwssd zmm4, zmm14, zmm15",
        "vpdpwssd zmm5, zmm14, zmm15",
        "vpdpwssd zmm6, zmm14, zmm15",
        "vpdpwssd zmm7, zmm14, zmm15",
        "vpdpwssd zmm8, zmm14, zmm15",
        "vpdpwssd zmm9, zmm14, zmm15",
        "vpdpwssd zmm10, zmm14, zmm15",
        "vpdpwssd zmm11, zmm14, zmm15"
    );
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx512vnni(rounds: u64) {
        // SAFETY: the caller's processor has the instructions.
        unsafe { avx512vnnihalf(2 * rounds) }
    }
    /// Four tile registers of sums, as in the kernel. `amx::has_amx` has requested the permission to use them.
    #[cfg(target_arch = "x86_64")]
    unsafe fn amx(rounds: u64) {
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = 16;
        }
        // SAFETY: the configuration is valid; only tile registers change, and they are released.
        unsafe {
            std::arch::asm!(
                "ldtilecfg [{c}]", "2:", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7", "dec {n}", "jnz 2b", "tilerelease",
                c = in(reg) &config, n = inout(reg) rounds => _, options(nostack),
            );
        }
    }
}
