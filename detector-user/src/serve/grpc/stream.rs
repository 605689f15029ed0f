//! Bounded server streams.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The most streams of all clients that are open at once.
const MAX_STREAMS: usize = 1024;

/// How many answers are buffered for a client that does not read.
const READY: usize = 16;

/// Yields the answers of a stream, until one is an error.
pub(super) trait Answers: Send + 'static {
    type Item: Send;

    fn next(&mut self) -> impl Future<Output = Result<Self::Item, Status>> + Send;
}

/// The open streams: their number is bounded, and all end when the daemon stops.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    stopping: watch::Receiver<bool>,
    permits: Arc<Semaphore>,
}

impl Streams {
    /// Creates it; its streams end when `stopping` becomes true.
    pub(super) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self {
            stopping,
            permits: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Opens a stream. It ends with its answers, its client or the daemon.
    pub(super) fn open<A: Answers>(
        &self,
        mut answers: A,
    ) -> Result<ReceiverStream<Result<A::Item, Status>>, Status> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{MAX_STREAMS} streams are open; close some"))
        })?;
        let mut stopping = self.stopping.clone();
        let (sender, receiver) = mpsc::channel(READY);
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = stop(&mut stopping) => {
                    // The channel may be full if the client does not read; that client sees the
                    // connection close.
                    let _ = sender.try_send(Err(Status::unavailable("the daemon is stopping")));
                }
                () = sender.closed() => {}
                () = pass_on(&mut answers, &sender) => {}
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which has the same meaning.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn pass_on<A: Answers>(answers: &mut A, sender: &mpsc::Sender<Result<A::Item, Status>>) {
    loop {
        let answer = answers.next().await;
        let last = answer.is_err();
        if sender.send(answer).await.is_err() || last {
            return;
        }
    }
}
