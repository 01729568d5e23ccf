//! A queue whose owners take turns, item by item: one owner's thousand items do not hold up another's one.

use std::collections::{HashMap, VecDeque};

/// A queue in which each owner's items keep their order and the owners take turns.
#[derive(Debug)]
pub struct FairQueue<T> {
    /// Owners that have items, each once, in the order of their turns.
    turns: VecDeque<u64>,
    items: HashMap<u64, VecDeque<T>>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue { turns: VecDeque::new(), items: HashMap::new() }
    }
}

impl<T> FairQueue<T> {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds items behind those that the owner has here already.
    pub fn extend(&mut self, owner: u64, items: impl IntoIterator<Item = T>) {
        let own = self.items.entry(owner).or_default();
        let had_none = own.is_empty();
        own.extend(items);
        if own.is_empty() {
            self.items.remove(&owner);
        } else if had_none {
            self.turns.push_back(owner);
        }
    }

    /// Takes the oldest item of the owner whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let own = self.items.get_mut(&owner).expect("an owner with a turn has items");
        let item = own.pop_front();
        if own.is_empty() {
            self.items.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        item
    }

    /// Puts back the item that was popped last; it is the next one again.
    pub fn put_back(&mut self, owner: u64, item: T) {
        self.items.entry(owner).or_default().push_front(item);
        self.turns.retain(|other| *other != owner);
        self.turns.push_front(owner);
    }

    /// Takes every item, in no particular order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.turns.clear();
        self.items.drain().flat_map(|(_, items)| items).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn owners_take_turns_and_keep_their_own_order() {
        let mut queue = FairQueue::default();
        queue.extend(1, ["a1", "a2", "a3", "a4"]);
        queue.extend(2, ["b1"]);
        queue.extend(3, ["c1", "c2"]);
        assert_eq!(queue.pop(), Some("a1"));
        queue.extend(2, ["b2"]);
        assert_eq!(rest(&mut queue), ["b1", "c1", "a2", "b2", "c2", "a3", "a4"]);
        assert!(queue.is_empty());
        queue.extend(9, []);
        assert!(queue.is_empty());
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn what_is_put_back_is_next() {
        let mut queue = FairQueue::default();
        queue.extend(1, ["a1", "a2"]);
        queue.extend(2, ["b1"]);
        let first = queue.pop().expect("three wait");
        queue.put_back(1, first);
        assert_eq!(rest(&mut queue), ["a1", "b1", "a2"]);
        queue.put_back(5, "alone");
        queue.extend(6, ["other"]);
        assert_eq!(rest(&mut queue), ["alone", "other"]);
        queue.extend(1, ["a", "b"]);
        assert_eq!(queue.take_all().len(), 2);
        assert!(queue.is_empty());
    }
}
