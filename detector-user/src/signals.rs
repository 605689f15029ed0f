//! The one way in: every signal reaches the driver loop through one bounded channel.
//!
//! When the channel is full, a sender waits for its turn and nothing is lost: threads block, and the
//! ring keeps its records (what finds the ring full is counted by the kernel side and healed from its
//! map). So nothing overtakes what was sent before it. Only an answer that is made on the loop
//! itself cannot wait. [`SignalSender::offer`] drops it then, and counts it.
//!
//! The channel also ends the loop when a thread fails without which the daemon cannot work
//! ([`SignalSender::fail`]).

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::model::Signal;

/// Why the daemon cannot go on.
#[derive(Clone, Debug, Error)]
#[error("the daemon cannot work without its thread {worker:?}, which has failed: {error}")]
pub struct Failure {
    worker: &'static str,
    error: String,
}

/// Sends signals to the loop. Clones send on the same channel.
#[derive(Clone, Debug)]
pub struct SignalSender {
    sender: mpsc::Sender<Signal>,
    dropped: Arc<AtomicU64>,
    failure: watch::Sender<Option<Failure>>,
}

/// A channel in which so many signals can wait for the loop.
pub fn channel(room: usize) -> (SignalSender, mpsc::Receiver<Signal>) {
    let (sender, receiver) = mpsc::channel(room);
    let signals = SignalSender {
        sender,
        dropped: Arc::default(),
        failure: watch::Sender::new(None),
    };
    (signals, receiver)
}

impl SignalSender {
    /// Sends without waiting, for those who run on the loop itself. A signal for which there is no
    /// room is dropped and counted.
    pub fn offer(&self, signal: Signal) {
        if let Err(error) = self.sender.try_send(signal) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            warn!(%error, "an answer to the loop was dropped");
        }
    }

    /// How many signals were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Reports that this worker cannot go on. The first failure counts.
    pub fn fail(&self, worker: &'static str, error: String) {
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(Failure { worker, error });
            is_first
        });
    }

    /// Waits until a worker has failed. Cancel-safe.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.subscribe();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            // It never closes: `self` is one of its senders.
            let _ = failure.changed().await;
        }
    }
}

/// To send and wait.
impl Deref for SignalSender {
    type Target = mpsc::Sender<Signal>;

    fn deref(&self) -> &Self::Target {
        &self.sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PeerName;

    fn signal() -> Signal {
        let peer = PeerName::from_canonical("http://a:9000");
        Signal::PeerRemoved { peer }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (sender, mut signals) = channel(1);
        sender.clone().offer(signal());
        assert_eq!(sender.dropped(), 0);
        sender.clone().offer(signal());
        assert_eq!(sender.dropped(), 1);
        assert_eq!(signals.try_recv(), Ok(signal()));
        assert!(signals.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_first_failure_is_told_however_often_it_is_asked_for() {
        let (sender, _signals) = channel(1);
        sender.fail("first", "no memory".to_owned());
        sender.clone().fail("second", String::new());
        for _ in 0..2 {
            let told = sender.failed().await.to_string();
            assert!(
                told.contains("\"first\"") && told.contains("no memory"),
                "{told}"
            );
        }
    }
}
