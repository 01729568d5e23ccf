//! What the tokenizers have in common: the tokens of the file, left where they stand, and a table that finds ids by hash.

use crate::Result;
use crate::gguf::{Gguf, Strings};

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const MAX_TOKENS: usize = 1 << 22;

// Of `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER: i32 = 4;

/// The texts of `tokenizer.ggml.tokens`, by id.
#[derive(Debug)]
pub(super) struct Tokens {
    file: Gguf,
    /// Where each token stands, counted from `base`.
    offsets: Vec<u32>,
    base: usize,
}

impl Tokens {
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

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn get(&self, id: u32) -> &[u8] {
        Strings::at(&self.file, self.base + self.offsets[id as usize] as usize)
    }

    /// All ids, with the kind of each. Where the file has no kinds, every token is text.
    pub(super) fn kinds(&self) -> Result<impl Iterator<Item = (u32, i32)>> {
        const TYPES: &str = "tokenizer.ggml.token_type";
        let mut kinds = self.file.i32s(TYPES)?;
        if let Some(n_kinds) = kinds.as_ref().map(ExactSizeIterator::len).filter(|&n| n != self.len()) {
            return Err(self.file.damaged(TYPES, format!("{n_kinds} types for {} tokens", self.len())));
        }
        Ok((0..self.len() as u32).map(move |id| (id, kinds.as_mut().and_then(Iterator::next).unwrap_or(NORMAL))))
    }

    /// The id under the first of `keys` that is there.
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

/// A hash table of numbers below [`MAX_TOKENS`], whose keys are wherever the owner says.
///
/// Open addressing, at least half free: at the place that the key's hash says or the next free one after it stands
/// `n + 1` in the low bits and a part of the hash in the high ones, so that other keys are seldom looked at. 0 is free.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<u32>,
    /// How far the farthest number stands from where its hash says, so that no search goes on for longer.
    reach: usize,
}

const N_BITS: u32 = MAX_TOKENS.ilog2() + 1;
const N_MASK: u32 = (1 << N_BITS) - 1;

/// More than [`Table::MAX_REACH`] keys fall on the same place. Half the table is free, so no vocabulary of words comes
/// near that: these were chosen to make us slow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flooded;

impl Table {
    pub(super) const MAX_REACH: usize = 1 << 10;

    /// A table with room for `n` numbers.
    pub(super) fn with_room_for(n: usize) -> Table {
        Table { slots: vec![0; (2 * n).next_power_of_two()], reach: 0 }
    }

    /// The number with this hash that `is_it` says yes to.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (start, tag) = finish(hash);
        for step in 0..=self.reach {
            let slot = self.slots[self.at(start + step)];
            if slot == 0 {
                return None;
            }
            let n = (slot & N_MASK) - 1;
            if slot >> N_BITS == tag && is_it(n) {
                return Some(n);
            }
        }
        None
    }

    /// Puts `n` in the table, unless `is_it` says yes to a number that is there, which is returned.
    pub(super) fn insert(&mut self, hash: u64, n: u32, is_it: impl FnMut(u32) -> bool) -> Result<Option<u32>, Flooded> {
        if let Some(other) = self.find(hash, is_it) {
            return Ok(Some(other));
        }
        let (start, tag) = finish(hash);
        let step = (0..=Table::MAX_REACH).find(|step| self.slots[self.at(start + step)] == 0).ok_or(Flooded)?;
        let at = self.at(start + step);
        self.slots[at] = tag << N_BITS | (n + 1);
        self.reach = self.reach.max(step);
        Ok(None)
    }

    fn at(&self, place: usize) -> usize {
        place & (self.slots.len() - 1)
    }
}

/// FNV-1a, 64 bits: one multiplication a byte, and the hash of each prefix comes for free.
pub(super) const HASH_SEED: u64 = 0xcbf2_9ce4_8422_2325;

pub(super) fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

pub(super) fn hash_text(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(HASH_SEED, hash_step)
}

/// Where a search begins, and the part of the hash that is kept. The high bits hold what the low ones have not mixed.
fn finish(hash: u64) -> (usize, u32) {
    let mixed = (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as usize, (mixed >> 32) as u32 >> N_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_chosen_to_have_one_hash_are_refused_before_they_make_us_slow() {
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
