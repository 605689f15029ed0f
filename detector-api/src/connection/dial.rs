//! One dial for all callers that want the connection.
//!
//! The dial is a task of its own, so that a caller that goes away does not affect the others. When
//! no caller waits any more, the dial is abandoned.

use std::{
    error::Error,
    sync::{Arc, Weak},
};

use tokio::{sync::watch, time::Instant};

use super::{
    Connection, ConnectionError,
    cache::Shared,
    entries::{Entry, Outcome},
};
use crate::{Guard, Refused};

pub(super) type BoxedError = Box<dyn Error + Send + Sync>;

/// What a dial results in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaches {
    /// A connection. While the breaker is HalfOpen, the dial is a trial.
    Peer,
    /// A client that dials later, when it is used.
    Nobody,
}

/// A running dial, and the receiver of its outcome.
pub(super) struct Dial<C> {
    pub(super) shared: Weak<Shared<C>>,
    pub(super) key: String,
    pub(super) number: u64,
    /// Ends the dial when the breaker opens, and later the calls on the connection.
    pub(super) guard: Guard,
    pub(super) reaches: Reaches,
    pub(super) outcome: watch::Sender<Outcome<C>>,
    pub(super) told: bool,
}

impl<C: Clone + Send + Sync + 'static> Dial<C> {
    pub(super) async fn run<F, E>(mut self, dial: impl FnOnce() -> F + Send)
    where
        F: Future<Output = Result<C, E>> + Send,
        E: Into<BoxedError>,
    {
        let guard = self.guard.clone();
        let work = guard.run(admitted(&guard, self.reaches, dial));
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                // A new caller may have come after the last one left.
                () = self.outcome.closed() => if self.give_up() {
                    return;
                },
            }
        };
        let result = match result {
            Ok(Ok(client)) => Ok(Connection::new(client, guard.clone())),
            Ok(Err(failure)) => Err(failure.of(&self.key)),
            Err(down) => Err(Failure::Refused(Refused::Down(down)).of(&self.key)),
        };
        self.tell(result);
    }

    /// Whether no caller waits any more.
    fn give_up(&mut self) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            // Without the cache, no new caller can come.
            self.told = true;
            return true;
        };
        let mut entries = shared.entries();
        // Callers subscribe under the same lock.
        let is_left = self.outcome.receiver_count() == 0;
        if is_left {
            entries.end_dial(self.guard.peer().name(), &self.key, self.number, None);
            self.told = true;
        }
        is_left
    }
}

impl<C> Dial<C> {
    /// Sends the result to all waiting callers, and stores the connection if there is one.
    fn tell(&mut self, result: Result<Connection<C>, ConnectionError>)
    where
        C: Clone,
    {
        self.end(result.as_ref().ok().cloned());
        self.outcome.send_replace(Some(result));
    }

    fn end(&mut self, connection: Option<Connection<C>>) {
        self.told = true;
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut entries = shared.entries();
        // The guard is checked under the lock. The peer's watcher takes the lock after the breaker
        // opened, so one of the two sees the other.
        let ready = connection
            .filter(|connection| connection.guard().opened().is_none())
            .map(|connection| Entry::Ready {
                connection,
                used: Instant::now(),
            });
        entries.end_dial(self.guard.peer().name(), &self.key, self.number, ready);
    }
}

/// If a dial panics, or its runtime stops, its callers get an error.
impl<C> Drop for Dial<C> {
    fn drop(&mut self) {
        if !self.told {
            self.end(None);
            let error = ConnectionError::abandoned(&self.key);
            self.outcome.send_replace(Some(Err(error)));
        }
    }
}

enum Failure {
    Refused(Refused),
    Dial(Arc<dyn Error + Send + Sync>),
}

impl Failure {
    fn of(self, key: &str) -> ConnectionError {
        let key = key.to_owned();
        match self {
            Self::Refused(Refused::Down(down)) => ConnectionError::Down { key, down },
            Self::Refused(refused) => ConnectionError::Refused { key, refused },
            Self::Dial(cause) => ConnectionError::Dial { key, cause },
        }
    }
}

async fn admitted<C, F, E>(
    guard: &Guard,
    reaches: Reaches,
    dial: impl FnOnce() -> F,
) -> Result<C, Failure>
where
    F: Future<Output = Result<C, E>>,
    E: Into<BoxedError>,
{
    if reaches == Reaches::Nobody {
        let made = dial().await;
        return made.map_err(|error| Failure::Dial(Arc::from(error.into())));
    }
    let admission = guard.peer().admit().await.map_err(Failure::Refused)?;
    match dial().await {
        Ok(client) => {
            admission.succeeded();
            Ok(client)
        }
        Err(error) => {
            admission.failed();
            Err(Failure::Dial(Arc::from(error.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectionCache, Peer, connection::entries::Watcher, guard::testing, v1::Breaker};

    const PEER: &str = "http://node4:9000";

    fn dialling(cache: &ConnectionCache<u32>, peer: &Peer) -> Dial<u32> {
        let (outcome, _) = watch::channel(None);
        let watcher = || Watcher(tokio::spawn(async {}));
        let mut entries = cache.shared().entries();
        Dial {
            shared: Arc::downgrade(cache.shared()),
            key: PEER.to_owned(),
            number: entries.begin_dial(PEER, PEER, outcome.clone(), watcher),
            guard: Guard::new(peer),
            reaches: Reaches::Peer,
            outcome,
            told: false,
        }
    }

    /// After the last caller left, and before the dial notices that.
    #[tokio::test]
    async fn a_dial_goes_on_for_one_who_came_after_the_last_had_left() {
        let states = testing::states();
        let cache = ConnectionCache::new(states.clone());
        let mut dial = dialling(&cache, &states.peer(PEER));
        dial.outcome.closed().await;
        let second = dial.outcome.subscribe();
        assert!(!dial.give_up(), "someone waits");
        assert_eq!(cache.shared().entries().len(), 1);
        drop(second);
        assert!(dial.give_up());
        assert_eq!(cache.shared().entries().len(), 0);
    }

    /// The peer's watcher has already searched, and does not search again.
    #[tokio::test]
    async fn what_was_dialled_before_an_opening_is_not_kept() {
        let states = testing::states();
        let cache = ConnectionCache::new(states.clone());
        let mut dial = dialling(&cache, &states.peer(PEER));
        let connection = Connection::new(7, dial.guard.clone());
        testing::set(&states, PEER, Breaker::Open);
        dial.tell(Ok(connection));
        assert_eq!(cache.shared().entries().len(), 0);
    }
}
