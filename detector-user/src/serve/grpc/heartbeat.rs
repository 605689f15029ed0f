//! The heartbeats of all watches, at moments that they share: a thousand quiet clients wake the
//! server's thread no more often than one.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use crate::{alarm::Alarm, clock};

/// The longest time without an event while nothing changes.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(super) struct Heartbeat {
    beats: watch::Sender<()>,
    /// A first watch begins.
    wanted: Arc<Notify>,
}

/// The heartbeats of one watch.
#[derive(Debug)]
pub(super) struct Beats(watch::Receiver<()>);

impl Heartbeat {
    /// The heartbeats from now on.
    pub(super) fn watch(&self) -> Beats {
        let beats = Beats(self.beats.subscribe());
        self.wanted.notify_one();
        beats
    }

    /// Beats while anybody watches.
    pub(super) async fn run(self) -> io::Result<Infallible> {
        let mut alarm = Alarm::new()?;
        loop {
            while self.beats.receiver_count() == 0 {
                self.wanted.notified().await;
            }
            alarm.until(clock::now() + EVERY).await;
            self.beats.send_replace(());
        }
    }
}

impl Beats {
    /// Waits for the next heartbeat. Cancel-safe.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The server ends, and with it all streams.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_watches_get_the_same_beats() {
        let heartbeat = Heartbeat::default();
        let running = tokio::spawn(heartbeat.clone().run());
        let (mut one, mut other) = (heartbeat.watch(), heartbeat.watch());
        for _ in 0..2 {
            one.next().await;
            // It is there already: nothing is waited for.
            assert!(other.0.has_changed().unwrap());
            other.next().await;
        }
        running.abort();
    }
}
