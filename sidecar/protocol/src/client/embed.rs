//! Vectors for any number of texts, in as many requests as that needs.

use std::time::Duration;

use super::Client;
use crate::codec::{self, MAX_TEXTS_BODY};
use crate::connection::Payload;
use crate::message::{Code, EmbedTiming, Fault, Priority, Request, Response, TextKind, Vectors};

/// Texts in one request: few enough that cancellations and other callers' requests are read between two of them.
const TEXTS_PER_REQUEST: usize = 256;

/// How to embed.
#[derive(Clone, Copy, Debug)]
pub struct EmbedOptions {
    /// What the texts are to the model.
    pub kind: TextKind,
    /// Whether other work may be done first.
    pub priority: Priority,
    /// `true` reads `[SEP]` and the like in a text as the model's special tokens, `false` as ordinary characters.
    pub parse_specials: bool,
    /// `true` gives hashed vectors where no model can be loaded, instead of failing.
    pub or_hash: bool,
    /// Longest wait for the whole call, however many requests it makes; `None` waits for ever.
    pub deadline: Option<Duration>,
}

/// The texts of one request.
#[derive(Default)]
struct TextBatch {
    /// Bytes of each text.
    lengths: Vec<u32>,
    /// The UTF-8 of all texts, one after another.
    body: Vec<u8>,
}

impl Client {
    /// Computes a vector for each text, in order. The rows are `texts * dim` values, row after row.
    ///
    /// Texts travel in requests of at most 256 texts and 8 MiB, two of which are in flight at a time. In the merged
    /// [`EmbedTiming`], the queue time is the largest of the requests, the other times are sums.
    ///
    /// Errors: those of [`Request::Embed`] and of [`Client::call`]; [`Code::TooLarge`] for a text above 64 MiB;
    /// [`Code::DaemonLost`] where the daemon changes its model between two of the requests.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<(Vectors, Vec<f32>), Fault> {
        let EmbedOptions { kind, priority, parse_specials, or_hash, deadline } = options;
        let until = deadline.map(|deadline| tokio::time::Instant::now() + deadline);
        let mut batches = split(texts)?.into_iter();
        let mut merged: Option<(Vectors, Vec<f32>)> = None;
        let call = |batch: Option<TextBatch>| async {
            let Some(TextBatch { lengths, body }) = batch else { return Ok(None) };
            let request = Request::Embed { lengths, kind, priority, parse_specials, or_hash };
            let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
            let reply = self.call(request, Payload::Bytes(body), left, None).await?;
            match reply.response {
                Response::Vectors(vectors) => Ok(Some((vectors, reply.rows))),
                other => Err(other.unexpected()),
            }
        };
        loop {
            let (first, second) = (batches.next(), batches.next());
            if first.is_none() {
                break;
            }
            let (first, second) = tokio::try_join!(call(first), call(second))?;
            for answer in [first, second].into_iter().flatten() {
                match &mut merged {
                    None => merged = Some(answer),
                    Some((vectors, rows)) => append(vectors, rows, answer)?,
                }
            }
        }
        merged.ok_or_else(|| Fault::new(Code::InvalidArgument, "no texts were given"))
    }
}

/// Divides texts into requests of at most [`TEXTS_PER_REQUEST`] texts and [`MAX_TEXTS_BODY`] bytes. A longer text gets a
/// request of its own.
fn split(texts: Vec<String>) -> Result<Vec<TextBatch>, Fault> {
    let mut batches: Vec<TextBatch> = Vec::new();
    for (i, text) in texts.into_iter().enumerate() {
        if text.len() > codec::MAX_BODY as usize {
            let limit = codec::MAX_BODY;
            return Err(Fault::new(Code::TooLarge, format!("text {i} has {} bytes, the limit is {limit}", text.len())));
        }
        let has_room = |batch: &TextBatch| {
            batch.lengths.len() < TEXTS_PER_REQUEST && batch.body.len() + text.len() <= MAX_TEXTS_BODY
        };
        if !batches.last().is_some_and(has_room) {
            batches.push(TextBatch::default());
        }
        let batch = batches.last_mut().expect("one was pushed");
        batch.lengths.push(text.len() as u32);
        batch.body.extend_from_slice(text.as_bytes());
    }
    Ok(batches)
}

/// Appends the answer of a further request. Vectors of two models are never put together.
fn append(vectors: &mut Vectors, rows: &mut Vec<f32>, (more, more_rows): (Vectors, Vec<f32>)) -> Result<(), Fault> {
    if more.space != vectors.space {
        return Err(Fault::new(Code::DaemonLost, "the daemon changed its model during the call"));
    }
    vectors.tokens.extend(more.tokens);
    vectors.truncated.extend(more.truncated);
    let (a, b) = (vectors.timing, more.timing);
    vectors.timing = EmbedTiming {
        queue_us: a.queue_us.max(b.queue_us),
        tokenise_us: a.tokenise_us + b.tokenise_us,
        model_us: a.model_us + b.model_us,
    };
    rows.extend_from_slice(&more_rows);
    Ok(())
}
