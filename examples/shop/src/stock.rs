//! How many of each product are in the warehouse.

use std::collections::HashMap;

/// Products in the warehouse, by identifier.
pub struct Stock {
    counts: HashMap<u64, u32>,
}

impl Stock {
    /// Sets products aside for an order; `None` where there are too few, and then nothing changes.
    pub fn reserve(&mut self, product: u64, quantity: u32) -> Option<u32> {
        let count = self.counts.get_mut(&product)?;
        *count = count.checked_sub(quantity)?;
        Some(*count)
    }

    /// Puts products back that an order no longer needs.
    pub fn release(&mut self, product: u64, quantity: u32) {
        *self.counts.entry(product).or_default() += quantity;
    }
}
