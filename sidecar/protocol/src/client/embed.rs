//! Texts to vectors, in as many requests as it takes.

use std::time::Duration;

use super::Client;
use super::shared::unexpected;
use crate::codec::{self, MAX_TEXTS_BODY};
use crate::connection::Payload;
use crate::message::{Code, EmbedTiming, Fault, Priority, Request, Response, TextKind, Vectors};

/// How to embed.
#[derive(Clone, Copy, Debug)]
pub struct EmbedOptions {
    /// What the texts are to the model.
    pub kind: TextKind,
    /// Who waits for the answer.
    pub priority: Priority,
    /// See [`Request::Embed`].
    pub parse_specials: bool,
    /// See [`Request::Embed`].
    pub or_hash: bool,
    /// For the whole call.
    pub deadline: Option<Duration>,
}

impl Client {
    /// Vectors for texts, in order: large requests travel as several, two of them in flight at a time.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<(Vectors, Vec<f32>), Fault> {
        let EmbedOptions { kind, priority, parse_specials, or_hash, deadline } = options;
        // One deadline for the call, however many requests it becomes.
        let until = deadline.map(|deadline| tokio::time::Instant::now() + deadline);
        let mut parts = split(texts)?.into_iter();
        let mut merged: Option<(Vectors, Vec<f32>)> = None;
        let call = |part: Option<Part>| async {
            let Some((lengths, body)) = part else { return Ok(None) };
            let request = Request::Embed { lengths, kind, priority, parse_specials, or_hash };
            let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
            let reply = self.call(request, Payload::Bytes(body), left, None).await?;
            match reply.response {
                Response::Vectors(vectors) => Ok(Some((vectors, reply.rows))),
                other => Err(unexpected(&other)),
            }
        };
        loop {
            let (first, second) = (parts.next(), parts.next());
            if first.is_none() {
                break;
            }
            let (first, second) = tokio::try_join!(call(first), call(second))?;
            for part in [first, second].into_iter().flatten() {
                match &mut merged {
                    None => merged = Some(part),
                    Some((vectors, rows)) => append(vectors, rows, part)?,
                }
            }
        }
        merged.ok_or_else(|| Fault::new(Code::InvalidArgument, "no texts were given"))
    }
}

/// Texts per request: small enough that a cancel or another caller's request is seen between two of them.
const TEXTS_PER_REQUEST: usize = 256;

/// One request's texts: their lengths, and their bytes end to end.
type Part = (Vec<u32>, Vec<u8>);

/// Lengths and bodies of requests that are small enough to interleave with others.
fn split(texts: Vec<String>) -> Result<Vec<Part>, Fault> {
    let mut parts: Vec<Part> = Vec::new();
    for (i, text) in texts.into_iter().enumerate() {
        if text.len() > codec::MAX_BODY as usize {
            let limit = codec::MAX_BODY;
            return Err(Fault::new(Code::TooLarge, format!("text {i} has {} bytes, the limit is {limit}", text.len())));
        }
        let fits =
            |(lengths, body): &Part| lengths.len() < TEXTS_PER_REQUEST && body.len() + text.len() <= MAX_TEXTS_BODY;
        if !parts.last().is_some_and(fits) {
            parts.push(Default::default());
        }
        let (lengths, body) = parts.last_mut().expect("one was pushed");
        lengths.push(text.len() as u32);
        body.extend_from_slice(text.as_bytes());
    }
    Ok(parts)
}

fn append(vectors: &mut Vectors, rows: &mut Vec<f32>, (more, more_rows): (Vectors, Vec<f32>)) -> Result<(), Fault> {
    if more.space != vectors.space {
        // The model was swapped between two parts: never hand out a mixture.
        return Err(Fault::new(Code::DaemonLost, "the model changed within the request"));
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
