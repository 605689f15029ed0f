//! Bounded server streams.

use std::pin::Pin;

use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tonic::{Request, Status};

use super::clients::Client;

/// Yields the answers of a stream, until one is an error.
pub(super) trait Answers: Send + 'static {
    type Item: Send;

    fn next(&mut self) -> impl Future<Output = Result<Self::Item, Status>> + Send;
}

/// The answers, each of which is made when its client is ready to read it.
pub(super) type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Opens streams; all end when the daemon stops.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    stopping: watch::Receiver<bool>,
}

impl Streams {
    /// Its streams end when `stopping` becomes true.
    pub(super) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self { stopping }
    }

    /// Opens a stream for whoever sent the request, if its share permits. It ends with its answers,
    /// its client or the daemon.
    pub(super) fn open<R, A: Answers>(
        &self,
        request: &Request<R>,
        answers: A,
    ) -> Result<AnswerStream<A::Item>, Status> {
        let taken = Client::of(request)?.shares.streams.try_take(1);
        let taken = taken.ok_or_else(|| {
            Status::resource_exhausted("too many streams are open; close some of this process")
        })?;
        let open = (answers, self.stopping.clone(), taken);
        Ok(Box::pin(unfold(Some(open), async |open| {
            let (mut answers, mut stopping, taken) = open?;
            let answer = tokio::select! {
                biased;
                () = stop(&mut stopping) => Err(Status::unavailable("the daemon is stopping")),
                answer = answers.next() => answer,
            };
            let rest = answer.is_ok().then_some((answers, stopping, taken));
            Some((answer, rest))
        })))
    }
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which has the same meaning.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
