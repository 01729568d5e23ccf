//! What both tokenizers use: the token texts in the mapped file, and a hash table that finds their ids.

use crate::Result;
use crate::gguf::{Gguf, Strings};

/// Metadata key of the token texts.
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
/// Most tokens in a vocabulary.
pub(super) const MAX_TOKENS: usize = 1 << 22;

/// Value of `tokenizer.ggml.token_type` for a normal token.
pub(super) const NORMAL: i32 = 1;
/// Value of `tokenizer.ggml.token_type` for a control token.
pub(super) const CONTROL: i32 = 3;
/// Value of `tokenizer.ggml.token_type` for a user-defined token.
pub(super) const USER: i32 = 4;

/// The texts of `tokenizer.ggml.tokens`, by id.
#[derive(Debug)]
pub(super) struct Tokens {
    file: Gguf,
    /// Position of each token's text in the file, relative to `base`.
    offsets: Vec<u32>,
    base: usize,
}

impl Tokens {
    /// Records the position of every token's text.
    pub(super) fn from_gguf(file: &Gguf) -> Result<Tokens> {
        let Some(mut texts) = file.strings(TOKENS)? else { return Err(file.damaged(TOKENS, "missing")) };
        let (n_tokens, base) = (texts.len(), texts.pos());
        if !(1..=MAX_TOKENS).contains(&n_tokens) {
            return Err(file.damaged(TOKENS, format!("{n_tokens} tokens, not 1 to {MAX_TOKENS}")));
        }
        let mut offsets = Vec::with_capacity(n_tokens);
        for _ in 0..n_tokens {
            let offset = u32::try_from(texts.pos() - base)
                .map_err(|_| file.damaged(TOKENS, "the tokens take more than 4 GiB"))?;
            offsets.push(offset);
            texts.next();
        }
        Ok(Tokens { file: file.clone(), offsets, base })
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The text of token `id`, which must be less than [`Tokens::len`].
    pub(super) fn get(&self, id: u32) -> &[u8] {
        Strings::at(&self.file, self.base + self.offsets[id as usize] as usize)
    }

    /// All ids with their kinds. If the file has no kinds, all tokens are normal.
    pub(super) fn kinds(&self) -> Result<impl Iterator<Item = (u32, i32)>> {
        const TYPES: &str = "tokenizer.ggml.token_type";
        let mut kinds = self.file.i32s(TYPES)?;
        if let Some(n_kinds) = kinds.as_ref().map(ExactSizeIterator::len).filter(|&n| n != self.len()) {
            return Err(self.file.damaged(TYPES, format!("{n_kinds} types for {} tokens", self.len())));
        }
        Ok((0..self.len() as u32).map(move |id| (id, kinds.as_mut().and_then(Iterator::next).unwrap_or(NORMAL))))
    }

    /// The id under the first of `keys` that the file has.
    pub(super) fn id_under(&self, keys: &[&str]) -> Result<Option<u32>> {
        for key in keys {
            match self.file.u32(key)? {
                Some(id) if self.len() <= id as usize => {
                    let problem = format!("id {id} is outside the vocabulary of {}", self.len());
                    return Err(self.file.damaged(key, problem));
                }
                Some(id) => return Ok(Some(id)),
                None => {}
            }
        }
        Ok(None)
    }
}

/// A hash table of numbers below [`MAX_TOKENS`]. The keys are not in the table: the caller compares them.
///
/// Open addressing with linear probing, at least half of the slots free. A slot has `n + 1` in its low bits and part of the
/// key's hash in its high bits, so that other keys are seldom compared; 0 is a free slot.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<u32>,
    /// Largest distance of a number from the slot of its hash, which limits every search.
    reach: usize,
}

/// Low bits of a slot, which hold a number plus 1.
const N_BITS: u32 = MAX_TOKENS.ilog2() + 1;
/// Mask of the low bits of a slot.
const N_MASK: u32 = (1 << N_BITS) - 1;

/// The error of inserting a key more than [`Table::MAX_REACH`] slots from the slot of its hash.
///
/// Half of the slots are free, so no real vocabulary comes near that: its keys were chosen to collide.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flooded;

impl Table {
    /// Largest distance of a number from the slot of its hash.
    pub(super) const MAX_REACH: usize = 1 << 10;

    /// A table for up to `n` numbers.
    pub(super) fn with_room_for(n: usize) -> Table {
        Table { slots: vec![0; (2 * n).next_power_of_two()], reach: 0 }
    }

    /// The number inserted with this hash for which `matches` returns true.
    pub(super) fn find(&self, hash: u64, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let (start, tag) = finish(hash);
        for step in 0..=self.reach {
            let slot = self.slots[self.at(start + step)];
            if slot == 0 {
                return None;
            }
            let n = (slot & N_MASK) - 1;
            if slot >> N_BITS == tag && matches(n) {
                return Some(n);
            }
        }
        None
    }

    /// Inserts `n`, unless the table has a number for which `matches` returns true: returns that number.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        n: u32,
        matches: impl FnMut(u32) -> bool,
    ) -> Result<Option<u32>, Flooded> {
        if let Some(other) = self.find(hash, matches) {
            return Ok(Some(other));
        }
        let (start, tag) = finish(hash);
        let step = (0..=Table::MAX_REACH).find(|step| self.slots[self.at(start + step)] == 0).ok_or(Flooded)?;
        let at = self.at(start + step);
        self.slots[at] = tag << N_BITS | (n + 1);
        self.reach = self.reach.max(step);
        Ok(None)
    }

    /// The index of a slot, wrapped around the end of the table.
    fn at(&self, slot: usize) -> usize {
        slot & (self.slots.len() - 1)
    }
}

/// The initial value of an FNV-1a hash of 64 bits, which has the hashes of all prefixes as intermediate results.
pub(super) const HASH_SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The FNV-1a hash extended by one byte.
pub(super) fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The FNV-1a hash of a text.
pub(super) fn hash_text(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(HASH_SEED, hash_step)
}

/// The first slot of a search, and the part of the hash that is stored in the slot. Both are from the high bits, because
/// the low ones are mixed less.
fn finish(hash: u64) -> (usize, u32) {
    let mixed = (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as usize, (mixed >> 32) as u32 >> N_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_chosen_to_collide_are_refused() {
        let mut table = Table::with_room_for(5_000);
        for n in 0..=Table::MAX_REACH as u32 {
            assert_eq!(table.insert(7, n, |other| other == n), Ok(None));
        }
        assert_eq!(table.insert(7, 9, |other| other == 9), Ok(Some(9)));
        assert_eq!(table.insert(7, 4_000, |other| other == 4_000), Err(Flooded));
        assert_eq!(table.find(7, |n| n == 4_000), None);
        assert_eq!(table.find(7, |n| n == 1_000), Some(1_000));
    }

    #[test]
    fn numbers_up_to_the_largest_are_found() {
        let mut table = Table::with_room_for(3);
        for n in [0, 1, MAX_TOKENS as u32 - 1] {
            assert_eq!(table.insert(hash_text(n.to_le_bytes()), n, |_| true), Ok(None));
        }
        for n in [0, 1, MAX_TOKENS as u32 - 1] {
            assert_eq!(table.find(hash_text(n.to_le_bytes()), |_| true), Some(n));
        }
    }
}
