//! The events of a watch stream: the board's changes, and heartbeats in between.

use std::time::Duration;

use detector_api::v1::{self, watch_peers_response::Event};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{convert, stream::Answers};
use crate::serve::board::{Lagged, Watch, WatchEvent};

/// The longest time without an event while nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A watch that sends heartbeats, so that its client can distinguish a quiet cluster from a stopped
/// daemon.
pub(super) struct Watching {
    watch: Watch,
    /// When the next event is due, whether or not something has changed.
    due: Instant,
}

impl Watching {
    /// The first event is due at once. A watch that resumes gets no snapshot, so its client needs
    /// the protocol version and the time to live before any change.
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            watch,
            due: Instant::now(),
        }
    }

    async fn event(&mut self) -> Result<Event, Status> {
        if let Some(seen) = self.watch.seen() {
            let changed = self.change_before(self.due).await;
            return changed.unwrap_or_else(|| Ok(Event::Current(convert::current(seen))));
        }
        to_event(self.watch.next().await)
    }

    /// The next change, if it comes before the next heartbeat is due.
    async fn change_before(&mut self, due: Instant) -> Option<Result<Event, Status>> {
        if due <= Instant::now() {
            return None;
        }
        timeout_at(due, self.watch.next()).await.ok().map(to_event)
    }
}

impl Answers for Watching {
    type Item = v1::WatchPeersResponse;

    async fn next(&mut self) -> Result<v1::WatchPeersResponse, Status> {
        let event = self.event().await?;
        self.due = Instant::now() + HEARTBEAT;
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
