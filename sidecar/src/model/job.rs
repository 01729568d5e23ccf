//! One embed request on the model thread: its distinct texts, and its answer as it fills.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use offheap_engine::tokenizer::{Encoding, Specials};
use offheap_protocol::message::{EmbedTiming, Priority};
use offheap_protocol::{Code, Fault};
use tokio::sync::oneshot;

use super::loaded::{Embedded, Loaded};
use crate::UNPOISONED;

/// One distinct text of a request, as the queue holds it.
pub struct Item {
    /// The request.
    pub job: Arc<Job>,
    /// Index of the text in `job.texts`.
    pub text_idx: usize,
}

/// One embed request.
pub struct Job {
    /// The connection; 0 is the daemon itself.
    pub owner: u64,
    /// Each distinct text once.
    pub texts: Vec<String>,
    /// What special tokens in the texts mean.
    pub specials: Specials,
    /// Which queue its texts wait in.
    pub priority: Priority,
    /// Set when the caller gives up, or by the first fault.
    pub cancelled: Arc<AtomicBool>,
    /// When it was queued.
    pub enqueued: Instant,
    /// For each distinct text the rows of the answer that it fills.
    rows_of: Vec<Vec<usize>>,
    n_rows: usize,
    state: Mutex<JobState>,
}

#[derive(Default)]
struct JobState {
    rows: Vec<f32>,
    tokens: Vec<u32>,
    truncated: Vec<bool>,
    /// Distinct texts that are not computed yet.
    n_left: usize,
    /// Fingerprint of the model that computed the rows so far.
    fingerprint: String,
    timing: EmbedTiming,
    /// Taken when the answer, or a fault, is sent.
    answer: Option<oneshot::Sender<Result<Embedded, Fault>>>,
}

impl Job {
    /// A request for the vectors of `texts`.
    pub fn new(
        owner: u64,
        texts: Vec<String>,
        specials: Specials,
        priority: Priority,
        cancelled: Arc<AtomicBool>,
        answer: oneshot::Sender<Result<Embedded, Fault>>,
    ) -> Self {
        let n_rows = texts.len();
        let (texts, rows_of) = distinct(texts);
        let state = JobState {
            tokens: vec![0; n_rows],
            truncated: vec![false; n_rows],
            n_left: texts.len(),
            answer: Some(answer),
            ..JobState::default()
        };
        let enqueued = Instant::now();
        Job { owner, texts, specials, priority, cancelled, enqueued, rows_of, n_rows, state: Mutex::new(state) }
    }

    /// Writes the vector of one distinct text into the answer, and sends the answer with the last one.
    pub fn finish(&self, text_idx: usize, row: &[f32], encoding: &Encoding, loaded: &Loaded, timing: EmbedTiming) {
        let mut state = self.lock();
        if state.answer.is_none() {
            return; // failed or cancelled meanwhile
        }
        let dim = row.len();
        if state.rows.is_empty() {
            state.rows = vec![0.0; self.n_rows * dim];
            state.fingerprint.clone_from(&loaded.info.fingerprint);
        } else if state.fingerprint != loaded.info.fingerprint {
            drop(state);
            return self.fail(&Fault::new(Code::Leaving, "the model changed within the request"));
        }
        for i in &self.rows_of[text_idx] {
            state.rows[i * dim..][..dim].copy_from_slice(row);
            state.tokens[*i] = encoding.ids.len() as u32;
            state.truncated[*i] = encoding.truncated;
        }
        state.timing.queue_us = state.timing.queue_us.max(timing.queue_us);
        state.timing.tokenise_us = state.timing.tokenise_us.max(timing.tokenise_us);
        state.timing.model_us = state.timing.model_us.max(timing.model_us);
        state.n_left -= 1;
        if state.n_left == 0 {
            let embedded = Embedded {
                rows: std::mem::take(&mut state.rows),
                tokens: std::mem::take(&mut state.tokens),
                truncated: std::mem::take(&mut state.truncated),
                model: loaded.clone(),
                timing: state.timing,
            };
            if let Some(answer) = state.answer.take() {
                let _ = answer.send(Ok(embedded));
            }
        }
    }

    /// Answers the request with a fault; its other texts are dropped when their turn comes.
    pub fn fail(&self, fault: &Fault) {
        self.cancelled.store(true, Ordering::Relaxed);
        if let Some(answer) = self.lock().answer.take() {
            let _ = answer.send(Err(fault.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().expect(UNPOISONED)
    }
}

/// Each distinct text once, and for each the positions at which it was.
fn distinct(texts: Vec<String>) -> (Vec<String>, Vec<Vec<usize>>) {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
    let mut positions: Vec<Vec<usize>> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let at = *seen.entry(text).or_insert(positions.len());
        if at == positions.len() {
            positions.push(Vec::new());
        }
        positions[at].push(i);
    }
    let mut all: Vec<Option<String>> = texts.into_iter().map(Some).collect();
    let distinct = positions.iter().map(|at| all[at[0]].take().expect("each position is in one list")).collect();
    (distinct, positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_computed_once() {
        let texts = ["a", "b", "a", "c", "b", "a"].map(str::to_owned).to_vec();
        let (distinct, positions) = distinct(texts);
        assert_eq!(distinct, ["a", "b", "c"]);
        assert_eq!(positions, [vec![0, 2, 5], vec![1, 4], vec![3]]);
    }
}
