//! Texts that wait for the model, in the order in which they are computed.
//!
//! Interactive texts pass bulk texts, all but one in [`BULK_SHARE`]. Within both, connections take turns, text by text.

use tokio::sync::oneshot;

use offheap_protocol::Fault;
use offheap_protocol::message::Priority;

use super::fair::FairQueue;
use super::job::Item;
use super::loaded::Loaded;

/// While both kinds wait, at least one text in this many is a bulk text, so that queries cannot starve an index run.
const BULK_SHARE: usize = 32;

/// What the model thread is asked to do.
#[derive(Default)]
pub struct Queue {
    interactive: FairQueue<Item>,
    bulk: FairQueue<Item>,
    /// Interactive texts taken since the last bulk text.
    n_interactive_taken: usize,
    /// The loaded model, for other threads.
    pub loaded: Option<Loaded>,
    /// Callers that wait for the model to be loaded.
    pub loads: Vec<oneshot::Sender<Result<Loaded, Fault>>>,
    /// Drop the model when no text waits.
    pub evict: bool,
    /// End the thread.
    pub quit: bool,
}

impl Queue {
    /// Whether no text waits.
    pub fn is_empty(&self) -> bool {
        self.interactive.is_empty() && self.bulk.is_empty()
    }

    /// Whether the thread has nothing to do.
    pub fn is_at_rest(&self) -> bool {
        self.is_empty() && self.loads.is_empty() && !self.quit && !self.evict
    }

    /// Adds texts of one connection.
    pub fn extend(&mut self, owner: u64, priority: Priority, items: impl Iterator<Item = Item>) {
        self.of(priority).extend(owner, items);
    }

    /// The text that is computed next.
    pub fn pop(&mut self) -> Option<Item> {
        let bulk_first = self.n_interactive_taken + 1 >= BULK_SHARE && !self.bulk.is_empty();
        let interactive = if bulk_first { None } else { self.interactive.pop() };
        self.n_interactive_taken = if interactive.is_some() { self.n_interactive_taken + 1 } else { 0 };
        interactive.or_else(|| self.bulk.pop())
    }

    /// Puts back a text for which the micro-batch had no room.
    pub fn put_back(&mut self, item: Item) {
        let (priority, owner) = (item.job.priority, item.job.owner);
        if priority == Priority::Bulk {
            self.n_interactive_taken = BULK_SHARE; // its turn had come: it opens the next micro-batch
        }
        self.of(priority).put_back(owner, item);
    }

    /// Takes every text.
    pub fn take_all(&mut self) -> Vec<Item> {
        self.interactive.take_all().into_iter().chain(self.bulk.take_all()).collect()
    }

    fn of(&mut self, priority: Priority) -> &mut FairQueue<Item> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Bulk => &mut self.bulk,
        }
    }
}
