//! Handles each message of the daemon. No I/O.

use std::{sync::Arc, time::Duration};

use super::WatchStatus;
use crate::{
    PROTOCOL, PeerStates,
    v1::{
        WatchPeersRequest, WatchPeersResponse,
        watch_peers_response::{Event, Snapshot},
    },
};

/// The longest time to live that is accepted.
const LONGEST_TTL: Duration = Duration::from_secs(60);

/// Why a stream cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FeedError {
    #[error("it speaks protocol {theirs}, not {PROTOCOL}")]
    WrongProtocol { theirs: u32 },
    #[error("it sends no time to live of its states")]
    NoTtl,
    #[error("it continued from a state that was never received; asking for a full snapshot")]
    Gap,
}

/// The position in the daemon's messages.
#[derive(Debug)]
struct Place {
    instance: Arc<str>,
    version: Arc<str>,
    revision: u64,
}

#[derive(Debug)]
pub(super) struct Feed<'a> {
    states: &'a PeerStates,
    place: Option<Place>,
    /// The time to live from the stream's last greeting; `None` before the first.
    ttl: Option<Duration>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(states: &'a PeerStates) -> Self {
        Self {
            states,
            place: None,
            ttl: None,
        }
    }

    /// The request that begins a new stream. It asks for the missed changes if the states have not
    /// been reset, and otherwise for everything.
    pub(super) fn begin(&mut self) -> WatchPeersRequest {
        self.ttl = None;
        if !self.states.source().is_told() {
            self.place = None;
        }
        self.place
            .as_ref()
            .map(|place| WatchPeersRequest {
                instance: place.instance.to_string(),
                last_revision: place.revision,
            })
            .unwrap_or_default()
    }

    /// Handles one message. After an error the next stream starts with a full snapshot.
    pub(super) fn take(&mut self, message: WatchPeersResponse) -> Result<(), FeedError> {
        let taken = self.event(message.event);
        if let Err(error) = taken {
            self.place = None;
            if matches!(error, FeedError::WrongProtocol { .. }) {
                self.states.end();
            }
        }
        taken
    }

    /// Which daemon is connected.
    pub(super) fn status(&self) -> WatchStatus {
        match &self.place {
            Some(place) => WatchStatus::Live {
                instance: Arc::clone(&place.instance),
                version: Arc::clone(&place.version),
            },
            None => WatchStatus::Connecting,
        }
    }

    fn event(&mut self, event: Option<Event>) -> Result<(), FeedError> {
        match event {
            Some(Event::Snapshot(snapshot)) => self.snapshot(snapshot),
            Some(Event::Current(current)) => {
                let ttl = self.greeted(current.protocol, current.ttl)?;
                let place = self.place.as_ref().ok_or(FeedError::Gap)?;
                if place.revision != current.revision {
                    return Err(FeedError::Gap);
                }
                self.states.confirm(ttl).map_err(|_| FeedError::Gap)
            }
            Some(Event::Changed(state)) => {
                let ttl = self.advance(state.revision)?;
                self.states.change(&state, ttl).map_err(|_| FeedError::Gap)
            }
            Some(Event::Removed(removed)) => {
                let ttl = self.advance(removed.revision)?;
                let done = self.states.remove(&removed.peer, ttl);
                done.map_err(|_| FeedError::Gap)
            }
            // An event that only a newer daemon knows is still a sign of life.
            None => {
                let ttl = self.ttl.ok_or(FeedError::WrongProtocol { theirs: 0 })?;
                self.states.confirm(ttl).map_err(|_| FeedError::Gap)
            }
        }
    }

    fn snapshot(&mut self, snapshot: Snapshot) -> Result<(), FeedError> {
        let ttl = self.greeted(snapshot.protocol, snapshot.ttl)?;
        self.place = Some(Place {
            instance: snapshot.instance.into(),
            version: snapshot.version.into(),
            revision: snapshot.revision,
        });
        self.states.replace(&snapshot.peers, ttl);
        Ok(())
    }

    /// Records the daemon's identity and the time to live of its states.
    fn greeted(
        &mut self,
        theirs: u32,
        ttl: Option<prost_types::Duration>,
    ) -> Result<Duration, FeedError> {
        if theirs != PROTOCOL {
            return Err(FeedError::WrongProtocol { theirs });
        }
        let ttl = ttl
            .and_then(|ttl| Duration::try_from(ttl).ok())
            .filter(|ttl| !ttl.is_zero())
            .ok_or(FeedError::NoTtl)?
            .min(LONGEST_TTL);
        self.ttl = Some(ttl);
        Ok(ttl)
    }

    /// Handles a change. It does not name the protocol, but the greeting before it did.
    fn advance(&mut self, revision: u64) -> Result<Duration, FeedError> {
        let ttl = self.ttl.ok_or(FeedError::WrongProtocol { theirs: 0 })?;
        let place = self.place.as_mut().ok_or(FeedError::Gap)?;
        if revision <= place.revision {
            return Err(FeedError::Gap);
        }
        place.revision = revision;
        Ok(ttl)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::Handle, time::Instant};

    use super::*;
    use crate::v1::{
        Breaker, PeerState,
        watch_peers_response::{Current, Removed},
    };

    const NODE4: &str = "http://node4:9000";
    const TTL: Duration = Duration::from_secs(3);

    fn states() -> PeerStates {
        PeerStates::watched_on(Handle::current(), Duration::ZERO)
    }

    fn message(event: Option<Event>) -> WatchPeersResponse {
        WatchPeersResponse { event }
    }

    fn snapshot(revision: u64) -> WatchPeersResponse {
        message(Some(Event::Snapshot(Snapshot {
            instance: "one".to_owned(),
            revision,
            ttl: TTL.try_into().ok(),
            protocol: PROTOCOL,
            ..Snapshot::default()
        })))
    }

    fn current(revision: u64) -> WatchPeersResponse {
        message(Some(Event::Current(Current {
            revision,
            ttl: TTL.try_into().ok(),
            protocol: PROTOCOL,
        })))
    }

    fn changed(revision: u64) -> WatchPeersResponse {
        message(Some(Event::Changed(PeerState {
            peer: NODE4.to_owned(),
            breaker: Breaker::Open.into(),
            revision,
            ..PeerState::default()
        })))
    }

    fn removed(revision: u64) -> WatchPeersResponse {
        let peer = NODE4.to_owned();
        message(Some(Event::Removed(Removed { peer, revision })))
    }

    #[tokio::test]
    async fn what_does_not_follow_is_a_gap_and_all_is_asked_for() {
        for next in [changed(7), changed(6), removed(7), current(6), current(8)] {
            let states = states();
            let mut feed = Feed::new(&states);
            feed.take(snapshot(7)).unwrap();
            assert_eq!(feed.take(next.clone()), Err(FeedError::Gap), "{next:?}");
            assert!(states.get(NODE4).breaker != Breaker::Open);
            assert_eq!(feed.begin(), WatchPeersRequest::default());
        }
    }

    #[tokio::test]
    async fn a_stream_begins_with_a_greeting_or_is_not_believed() {
        for first in [changed(8), removed(8), message(None)] {
            let states = states();
            let mut feed = Feed::new(&states);
            feed.take(snapshot(7)).unwrap();
            assert_eq!(feed.begin().last_revision, 7);
            let none = FeedError::WrongProtocol { theirs: 0 };
            assert_eq!(feed.take(first), Err(none));
            assert!(!states.is_fresh());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_word_is_believed_for_as_long_as_the_greeting_says() {
        let states = states();
        let mut feed = Feed::new(&states);
        let words = [
            snapshot(7),
            changed(8),
            removed(10),
            current(10),
            message(None),
        ];
        for word in words {
            tokio::time::advance(TTL / 2).await;
            feed.take(word.clone()).unwrap();
            let until = states.source().until();
            assert_eq!(until, Instant::now() + TTL, "{word:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_all_is_forgotten_all_is_asked_for() {
        let states = states();
        let mut feed = Feed::new(&states);
        feed.take(snapshot(7)).unwrap();
        tokio::time::advance(TTL).await;
        assert_eq!(feed.begin().last_revision, 7, "it still stands");
        assert!(states.expire());
        assert_eq!(feed.begin(), WatchPeersRequest::default());
    }
}
