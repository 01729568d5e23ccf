//! Texts to unit vectors: tokenise, batch, run the model, normalise.

use std::path::Path;

use crate::disk::Tree;
use crate::error::{Error, Result};
use crate::fingerprint;
use crate::gguf::Gguf;
use crate::kernel::{self, Kernel, Pool};
use crate::model::{self, Batch, Model};
use crate::tokenizer::{Encoding, Specials, Tokenizer};
use crate::vector::normalise;

/// Tokens that are computed together. More would only grow the arena (15 KB a token for MiniLM): a panel of
/// weights is already used 512 times per unpacking.
const TOKEN_BUDGET: usize = 512;

/// A model that a project carries is read through for its fingerprint; a sparse file costs a repository nothing.
const MAX_PROJECT_MODEL_BYTES: u64 = 8 << 30;

/// How to open a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// A kernel by name, or the best.
    pub kernel: Option<&'a str>,
    /// Threads to compute with; 0 is taken as 1.
    pub threads: usize,
    /// The file's recorded SHA-256 in hexadecimal, to be checked before anything else is believed.
    pub sha256: Option<&'a str>,
    /// Where fingerprints of large files without a recorded one are remembered: a directory that only the user can write.
    pub fingerprints: Option<&'a Path>,
    /// The file must lie below this directory, and no link may lead to it.
    pub below: Option<&'a Path>,
}

/// What is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The file's own name for itself, or its file name.
    pub name: String,
    /// "bert" ...
    pub architecture: String,
    /// The format of most weights, e.g. "Q8_0".
    pub quantisation: String,
    /// SHA-256 of the file, hexadecimal: vectors of two fingerprints are never compared.
    pub fingerprint: String,
    /// Length of a vector.
    pub dim: usize,
    /// Longest input in tokens, special tokens included.
    pub context_length: usize,
    /// The kernel in use.
    pub kernel: &'static str,
    /// Threads in use.
    pub threads: usize,
}

/// A model that is ready to embed.
pub struct Embedder {
    gguf: Gguf,
    tokenizer: Tokenizer,
    model: Box<dyn Model>,
    kernel: &'static Kernel,
    pool: Pool,
    info: ModelInfo,
}

impl Embedder {
    /// Maps and checks a model file. The checksum reads the whole file, which also brings it into the page cache; of a
    /// large file without a recorded checksum, only the first time.
    pub fn open(path: &Path, options: &Options<'_>) -> Result<Self> {
        let gguf = match options.below {
            None => Gguf::open(path)?,
            Some(root) => {
                let rel = path.strip_prefix(root).unwrap_or(path);
                let file = Tree::open(root)?.open_file(rel).map_err(|e| Error::io("open", path, e))?;
                let length = file.metadata().map_err(|e| Error::io("stat", path, e))?.len();
                if length > MAX_PROJECT_MODEL_BYTES {
                    let found = format!("longer than {MAX_PROJECT_MODEL_BYTES} bytes");
                    return Err(Error::UnsafePath { path: path.to_path_buf(), found });
                }
                Gguf::map(file, path)?
            }
        };
        // What was recorded is checked against the file itself, every time.
        let fingerprint = fingerprint::of(&gguf, options.fingerprints.filter(|_| options.sha256.is_none()));
        if let Some(expected) = options.sha256
            && !expected.eq_ignore_ascii_case(&fingerprint)
        {
            let path = path.to_path_buf();
            return Err(Error::Checksum { path, expected: expected.to_owned(), found: fingerprint });
        }
        let kernel = kernel::choose(options.kernel).map_err(|usable| Error::Kernel {
            found: options.kernel.unwrap_or_default().to_owned(),
            usable: usable.join(", "),
        })?;
        let threads = options.threads.max(1);
        let pool = Pool::new(threads).map_err(|source| Error::io("start threads for", path, source))?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let model = model::open(&gguf, TOKEN_BUDGET, kernel, threads)?;
        let vocab = gguf.tensor("token_embd.weight")?.shape[0];
        if tokenizer.vocab_len() > vocab {
            return Err(Error::Gguf {
                path: path.to_path_buf(),
                field: "tokenizer.ggml.tokens".to_owned(),
                problem: format!("{} tokens, but only {vocab} rows in `token_embd.weight`", tokenizer.vocab_len()),
            });
        }
        let info = ModelInfo {
            name: match gguf.str("general.name")? {
                Some(name) => name.to_owned(),
                None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            },
            architecture: gguf.require_str("general.architecture")?.to_owned(),
            quantisation: gguf.tensor("blk.0.attn_output.weight")?.dtype.name().to_owned(),
            fingerprint,
            dim: model.dim(),
            context_length: model.context_length(),
            kernel: kernel.name,
            threads: pool.threads(),
        };
        Ok(Embedder { gguf, tokenizer, model, kernel, pool, info })
    }

    /// What is running.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The kernel in use.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// False once the file under the map was replaced or cut: drop the embedder and open the file anew.
    pub fn file_unchanged(&self) -> bool {
        self.gguf.unchanged()
    }

    /// Tokens of a text, cut at the context length.
    pub fn encode(&self, text: &str, specials: Specials) -> Encoding {
        self.tokenizer.encode(text, specials, self.info.context_length)
    }

    /// Tokens that one call of [`Embedder::embed`] takes at most.
    pub fn token_budget(&self) -> usize {
        self.model.max_tokens()
    }

    /// One unit vector per sequence into `out` `(sequences, dim)`.
    ///
    /// A vector's bits depend on its own ids only. Fails where a vector is not finite or has no length.
    pub fn embed(&mut self, sequences: &[&[u32]], out: &mut [f32]) -> Result<()> {
        let (dim, budget) = (self.info.dim, self.model.max_tokens());
        assert!(out.len() == sequences.len() * dim, "one row per sequence");
        let mut first = 0;
        while first < sequences.len() {
            let mut tokens = 0;
            let fits = |s: &&&[u32]| {
                tokens += s.len();
                tokens <= budget
            };
            let n = sequences[first..].iter().take_while(fits).count();
            assert!(n > 0 && sequences[first..first + n].iter().all(|s| !s.is_empty()), "sequences come from `encode`");
            let rows = &mut out[first * dim..(first + n) * dim];
            let ids = sequences[first..first + n].concat();
            let ends: Vec<usize> = sequences[first..first + n]
                .iter()
                .scan(0, |end, s| {
                    *end += s.len();
                    Some(*end)
                })
                .collect();
            self.model.forward(&Batch { ids: &ids, ends: &ends }, &mut self.pool, rows);
            for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
                normalise(row).ok_or(Error::NotFinite { text_idx: first + i })?;
            }
            first += n;
        }
        Ok(())
    }
}
