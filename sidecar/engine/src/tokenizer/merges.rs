//! The merges of byte-pair encoding, and how a piece of text is merged.
//!
//! The pair of neighbours with the lowest rank is merged first, and the leftmost of several: the order of Hugging Face's
//! BPE. It is found by comparing all pairs of a short piece, and with a heap for a long one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocab::{Flooded, MAX_TOKENS, Table, Tokens, hash_text};
use crate::Result;
use crate::gguf::Gguf;

/// Metadata key of the merges.
const MERGES: &str = "tokenizer.ggml.merges";
/// Most symbols in a piece for which comparing all pairs is faster than a heap.
const MAX_SHORT: usize = 64;
/// The rank of a pair that cannot be merged.
const NONE: u32 = u32::MAX;

/// The merges of `tokenizer.ggml.merges`, as ids. The rank of a merge is its position in the list.
#[derive(Debug)]
pub(super) struct Merges {
    by_rank: Vec<Merge>,
    /// Ranks by pair.
    table: Table,
}

#[derive(Debug)]
struct Merge {
    left: u32,
    right: u32,
    merged: u32,
}

impl Merges {
    /// Reads the list. `texts` has the ids of the tokens that merges may produce.
    pub(super) fn from_gguf(file: &Gguf, tokens: &Tokens, texts: &Table) -> Result<Merges> {
        let Some(lines) = file.strings(MERGES)? else { return Err(file.damaged(MERGES, "missing")) };
        if MAX_TOKENS < lines.len() {
            return Err(file.damaged(MERGES, format!("{} merges, more than {MAX_TOKENS}", lines.len())));
        }
        let mut merges = Merges { by_rank: Vec::with_capacity(lines.len()), table: Table::with_room_for(lines.len()) };
        for (rank, line) in lines.enumerate() {
            let damaged = |problem: &str| Err(file.damaged(MERGES, format!("merge {rank} {problem}")));
            let is_text = |part: &str| !part.is_empty() && !part.contains(' ');
            let Some((left, right)) = line.split_once(' ').filter(|&(left, right)| is_text(left) && is_text(right))
            else {
                return damaged("is not two tokens with a space between");
            };
            let id = |left: &str, right: &str| {
                let matches = |id| tokens.get(id).strip_prefix(left.as_bytes()) == Some(right.as_bytes());
                texts.find(hash_text(left.bytes().chain(right.bytes())), matches)
            };
            let (Some(left), Some(right), Some(merged)) = (id(left, ""), id("", right), id(left, right)) else {
                return damaged("names a token that does not exist");
            };
            let matches = |rank: u32| merges.by_rank[rank as usize].is(left, right);
            match merges.table.insert(hash_pair(left, right), rank as u32, matches) {
                Ok(None) => merges.by_rank.push(Merge { left, right, merged }),
                Ok(Some(_)) => return damaged("is there twice"),
                Err(Flooded) => return damaged("has the same hash as too many others"),
            }
        }
        Ok(merges)
    }

    /// The rank of a pair; [`NONE`] if it cannot be merged.
    fn rank(&self, left: u32, right: u32) -> u32 {
        let matches = |rank: u32| self.by_rank[rank as usize].is(left, right);
        self.table.find(hash_pair(left, right), matches).unwrap_or(NONE)
    }

    /// Merges the symbols of a piece until no pair can be merged.
    pub(super) fn apply(&self, piece: &mut MergeBuffer) {
        let symbols = &mut piece.list;
        for at in 1..symbols.len() {
            symbols[at - 1].rank = self.rank(symbols[at - 1].id, symbols[at].id);
        }
        if symbols.len() <= MAX_SHORT {
            self.apply_to_short(symbols);
        } else {
            self.apply_to_long(piece);
        }
    }

    fn apply_to_short(&self, symbols: &mut Vec<MergeSymbol>) {
        while let Some((at, &MergeSymbol { rank, .. })) =
            symbols.iter().enumerate().min_by_key(|(_, symbol)| symbol.rank)
            && rank != NONE
        {
            let right = symbols.remove(at + 1);
            symbols[at].len += right.len;
            symbols[at].id = self.by_rank[rank as usize].merged;
            symbols[at].rank = symbols.get(at + 1).map_or(NONE, |next| self.rank(symbols[at].id, next.id));
            if let Some(before) = at.checked_sub(1) {
                symbols[before].rank = self.rank(symbols[before].id, symbols[at].id);
            }
        }
    }

    /// Takes O(n log n): symbols form a linked list, and a symbol that was merged into another one is only marked.
    fn apply_to_long(&self, piece: &mut MergeBuffer) {
        let MergeBuffer { list: symbols, links, queue } = piece;
        let n_symbols = symbols.len() as u32; // at most the bytes of a window
        links.clear();
        links.extend((0..n_symbols).map(|at| Link { prev: at.wrapping_sub(1), next: at + 1 }));
        queue.clear();
        queue.extend((0..n_symbols).map(|at| Reverse((symbols[at as usize].rank, at))));
        while let Some(Reverse((rank, at))) = queue.pop()
            && rank != NONE
        {
            // Skip outdated entries. A rank identifies a pair, and a merged pair never reappears at the same symbol, so this
            // comparison finds all of them.
            if symbols[at as usize].len == 0 || symbols[at as usize].rank != rank {
                continue;
            }
            let right = links[at as usize].next;
            let Link { next, .. } = links[right as usize];
            symbols[at as usize].len += symbols[right as usize].len;
            symbols[right as usize].len = 0;
            symbols[at as usize].id = self.by_rank[rank as usize].merged;
            links[at as usize].next = next;
            let mut push_pair = |left: u32, right: u32| {
                let rank = self.rank(symbols[left as usize].id, symbols[right as usize].id);
                symbols[left as usize].rank = rank;
                if rank != NONE {
                    queue.push(Reverse((rank, left)));
                }
            };
            let Link { prev, .. } = links[at as usize];
            if prev < n_symbols {
                push_pair(prev, at);
            }
            if next < n_symbols {
                push_pair(at, next);
                links[next as usize].prev = at;
            } else {
                symbols[at as usize].rank = NONE;
            }
        }
        symbols.retain(|symbol| symbol.len != 0);
    }
}

impl Merge {
    fn is(&self, left: u32, right: u32) -> bool {
        (self.left, self.right) == (left, right)
    }
}

fn hash_pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// The symbols of a piece, from bytes to tokens, and memory that is reused for the next piece.
#[derive(Default)]
pub(super) struct MergeBuffer {
    list: Vec<MergeSymbol>,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<(u32, u32)>>,
}

struct MergeSymbol {
    id: u32,
    /// Length in bytes; 0 for a symbol that was merged into the one before it.
    len: u32,
    /// Rank of the pair of this symbol and the next.
    rank: u32,
}

/// Indexes of the neighbours. At the ends of the list they are out of range.
struct Link {
    prev: u32,
    next: u32,
}

impl MergeBuffer {
    /// Starts a piece: each byte becomes a symbol.
    pub(super) fn set(&mut self, bytes: &[u8], ids: &[u32; 256]) {
        self.list.clear();
        self.list.extend(bytes.iter().map(|&byte| MergeSymbol { id: ids[usize::from(byte)], len: 1, rank: NONE }));
    }

    /// The ids, each with its length in bytes.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (u32, usize)> {
        self.list.iter().map(|symbol| (symbol.id, symbol.len as usize))
    }
}
