//! Reading and checking the metadata of an architecture.

use super::sizes::Sizes;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::kernel::Heads;

/// Reads the metadata keys of one architecture, all of which begin with its name.
pub(super) struct Keys<'a> {
    pub gguf: &'a Gguf,
    pub architecture: &'static str,
}

impl Keys<'_> {
    /// The full key, with the name of the architecture.
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// An [`Error::Gguf`] about the key `name`.
    pub(super) fn bad(&self, name: &str, problem: String) -> Error {
        self.gguf.damaged(&self.key(name), problem)
    }

    /// A size, checked to be at least 1 and small enough to allocate buffers of it for every thread.
    fn size(&self, name: &str) -> Result<usize> {
        let most = if name == "context_length" { 1 << 20 } else { 1 << 17 };
        let value = self.gguf.require_u32(&self.key(name))? as usize;
        if value == 0 || value > most {
            return Err(self.bad(name, format!("{value} is out of range")));
        }
        Ok(value)
    }

    /// The number of layers.
    pub(super) fn layers(&self) -> Result<usize> {
        let layers = self.size("block_count")?;
        if layers > 512 {
            return Err(self.bad("block_count", format!("{layers} is out of range")));
        }
        Ok(layers)
    }

    /// The epsilon of a norm, which is added under its square root.
    pub(super) fn eps(&self, name: &str) -> Result<f32> {
        let eps = self.gguf.require_f32(&self.key(name))?;
        if !eps.is_finite() || eps < 0.0 {
            return Err(self.bad(name, format!("{eps} is out of range")));
        }
        Ok(eps)
    }

    /// The base of the rotary embedding's angles, `default` if the file has none.
    ///
    /// Errors: [`Error::Unsupported`] if the file asks for scaled angles.
    pub(super) fn rope_base(&self, default: f32) -> Result<f32> {
        const NAME: &str = "rope.freq_base";
        let base = self.gguf.f32(&self.key(NAME))?.unwrap_or(default);
        if !base.is_finite() || base < 1.0 {
            return Err(self.bad(NAME, format!("{base} is out of range")));
        }
        // Without a type, a factor means linear scaling: positions are divided by it.
        let scaling = self.gguf.str(&self.key("rope.scaling.type"))?.unwrap_or("linear");
        let mut scaled = !["none", "linear"].contains(&scaling);
        for name in ["rope.scaling.factor", "rope.scale_linear"] {
            let factor = self.gguf.f32(&self.key(name))?.unwrap_or(1.0);
            scaled |= scaling == "linear" && factor != 0.0 && factor != 1.0;
        }
        if scaled || self.gguf.maybe_tensor("rope_freqs.weight")?.is_some() {
            return Err(self.gguf.unsupported("rope scaling", scaling, "none"));
        }
        Ok(base)
    }

    /// An error unless attention is causal if and only if `expected`; a missing key is as expected.
    pub(super) fn causal(&self, expected: bool) -> Result<()> {
        let causal = self.gguf.bool(&self.key("attention.causal"))?;
        match causal.unwrap_or(expected) == expected {
            true => Ok(()),
            false if expected => Err(self.gguf.unsupported("attention", "bidirectional", "causal")),
            false => Err(self.gguf.unsupported("attention", "causal", "bidirectional")),
        }
    }

    /// The sizes, checked to be what the kernels can compute: all widths are multiples of 32.
    pub(super) fn sizes(&self, causal: bool) -> Result<Sizes> {
        let sizes = |n_kv: usize| -> Result<Sizes> {
            let (hidden, n) = (self.size("embedding_length")?, self.size("attention.head_count")?);
            if !hidden.is_multiple_of(n) {
                return Err(self.bad("attention.head_count", format!("{n} heads cannot share a width of {hidden}")));
            }
            let heads = Heads { n, n_kv: if n_kv == 0 { n } else { n_kv }, dim: hidden / n, causal };
            Ok(Sizes { hidden, heads, ffn: self.size("feed_forward_length")?, context: self.size("context_length")? })
        };
        let kv = "attention.head_count_kv";
        let sizes = sizes(self.gguf.u32(&self.key(kv))?.unwrap_or(0) as usize)?;
        if !sizes.heads.n.is_multiple_of(sizes.heads.n_kv) {
            let problem = format!("{} key heads cannot serve {} query heads", sizes.heads.n_kv, sizes.heads.n);
            return Err(self.bad(kv, problem));
        }
        for (name, width) in [
            ("embedding_length", sizes.hidden),
            ("feed_forward_length", sizes.ffn),
            ("attention.head_count", sizes.heads.dim),
        ] {
            if !width.is_multiple_of(32) {
                return Err(self.bad(name, format!("width {width} is not a multiple of 32")));
            }
        }
        // `rope.dimension_count` is the number of values of a head that are rotated: all of them, here.
        for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            if let Some(found) = self.gguf.u32(&self.key(name))?
                && found as usize != sizes.heads.dim
            {
                return Err(self.bad(name, format!("{found}, not the {} of a head", sizes.heads.dim)));
            }
        }
        if sizes.context < 2 {
            return Err(self.bad("context_length", "no room for the two special tokens".to_owned()));
        }
        Ok(sizes)
    }
}
