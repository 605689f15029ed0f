//! The events of a watch stream: a snapshot, the board's changes, and heartbeats in between.

use detector_api::v1::{WatchPeersResponse, watch_peers_response::Event};
use tonic::Status;

use super::{convert, heartbeat::Beats, stream::Answers};
use crate::serve::board::{Snapshot, Watch};

/// The event with which a watch begins. A watch that resumes gets no snapshot, so its client needs
/// the protocol version and the time to live before any change.
pub(super) fn first(snapshot: Option<&Snapshot>, seen: u64) -> WatchPeersResponse {
    response(match snapshot {
        Some(snapshot) => Event::Snapshot(convert::snapshot(snapshot)),
        None => current(seen),
    })
}

/// A watch that sends heartbeats, so that its client can distinguish a quiet cluster from a stopped
/// daemon.
pub(super) struct Watching {
    pub(super) watch: Watch,
    pub(super) beats: Beats,
}

impl Answers for Watching {
    type Item = WatchPeersResponse;

    async fn next(&mut self) -> Result<WatchPeersResponse, Status> {
        let event = tokio::select! {
            biased;
            changed = self.watch.next() => match changed {
                Ok(change) => convert::change(&change),
                Err(lagged) => return Err(Status::resource_exhausted(lagged.to_string())),
            },
            () = self.beats.next() => current(self.watch.seen()),
        };
        Ok(response(event))
    }
}

fn current(seen: u64) -> Event {
    Event::Current(convert::current(seen))
}

fn response(event: Event) -> WatchPeersResponse {
    WatchPeersResponse { event: Some(event) }
}
