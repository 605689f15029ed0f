//! The events of a watch stream: the board's changes, and heartbeats in between.

use detector_api::v1::{self, watch_peers_response::Event};
use tonic::Status;

use super::{convert, heartbeat::Beats, stream::Answers};
use crate::serve::board::{Lagged, Watch, WatchEvent};

/// A watch that sends heartbeats, so that its client can distinguish a quiet cluster from a stopped
/// daemon.
pub(super) struct Watching {
    watch: Watch,
    beats: Beats,
    /// Whether an event is due, whether or not something has changed.
    is_due: bool,
}

impl Watching {
    /// The first event is due at once. A watch that resumes gets no snapshot, so its client needs
    /// the protocol version and the time to live before any change.
    pub(super) fn new(watch: Watch, beats: Beats) -> Self {
        Self {
            watch,
            beats,
            is_due: true,
        }
    }

    async fn event(&mut self) -> Result<Event, Status> {
        let Some(seen) = self.watch.seen() else {
            return to_event(self.watch.next().await);
        };
        let current = || Ok(Event::Current(convert::current(seen)));
        if self.is_due {
            return current();
        }
        tokio::select! {
            biased;
            changed = self.watch.next() => to_event(changed),
            () = self.beats.next() => current(),
        }
    }
}

impl Answers for Watching {
    type Item = v1::WatchPeersResponse;

    async fn next(&mut self) -> Result<v1::WatchPeersResponse, Status> {
        let event = self.event().await?;
        self.is_due = false;
        Ok(v1::WatchPeersResponse { event: Some(event) })
    }
}

fn to_event(event: Result<WatchEvent, Lagged>) -> Result<Event, Status> {
    match event {
        Ok(WatchEvent::Snapshot(snapshot)) => Ok(Event::Snapshot(convert::snapshot(&snapshot))),
        Ok(WatchEvent::Change(change)) => Ok(convert::change(&change)),
        Err(lagged) => Err(Status::resource_exhausted(lagged.to_string())),
    }
}
