//! A bounded log of events that one side writes and the other awaits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

/// The most entries kept; older ones are forgotten.
const CAPACITY: usize = 20_000;

/// What one side records and the other awaits. Clones share the entries.
#[derive(Debug)]
pub struct Log<T> {
    entries: Arc<Mutex<Entries<T>>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Entries<T> {
    kept: VecDeque<T>,
    /// The position of the first kept entry, counted from the beginning.
    first: usize,
    closed: bool,
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            changed: self.changed.clone(),
        }
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        let entries = Entries {
            kept: VecDeque::new(),
            first: 0,
            closed: false,
        };
        Self {
            entries: Arc::new(Mutex::new(entries)),
            changed: watch::Sender::new(()),
        }
    }
}

impl<T: Clone> Log<T> {
    pub fn push(&self, entry: T) {
        {
            let mut entries = self.entries();
            if entries.kept.len() == CAPACITY {
                entries.kept.pop_front();
                entries.first += 1;
            }
            entries.kept.push_back(entry);
        }
        self.changed.send_replace(());
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.entries().closed = true;
        self.changed.send_replace(());
    }

    /// Everything that is kept, oldest first.
    pub fn all(&self) -> Vec<T> {
        self.entries().kept.iter().cloned().collect()
    }

    /// How many entries came so far: a position for [`Self::find_from`].
    pub fn position(&self) -> usize {
        let entries = self.entries();
        entries.first + entries.kept.len()
    }

    /// The position of the last entry that is kept and so.
    pub fn last_position(&self, is: impl Fn(&T) -> bool) -> Option<usize> {
        let entries = self.entries();
        let place = entries.kept.iter().rposition(is)?;
        Some(entries.first + place)
    }

    /// The first entry, past or to come, for which `find` gives something. `None` when the
    /// time is over or the log is closed.
    pub async fn find<R>(&self, within: Duration, find: impl FnMut(&T) -> Option<R>) -> Option<R> {
        self.find_from(0, within, find).await
    }

    /// As [`Self::find`], among the entries from `position` on.
    pub async fn find_from<R>(
        &self,
        position: usize,
        within: Duration,
        mut find: impl FnMut(&T) -> Option<R>,
    ) -> Option<R> {
        let mut changed = self.changed.subscribe();
        let mut next = position;
        let found = async {
            loop {
                changed.mark_unchanged();
                {
                    let entries = self.entries();
                    let skip = next.saturating_sub(entries.first);
                    if let Some(found) = entries.kept.iter().skip(skip).find_map(&mut find) {
                        return Some(found);
                    }
                    next = entries.first + entries.kept.len();
                    if entries.closed {
                        return None;
                    }
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(within, found).await.ok().flatten()
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn finds_what_came_and_what_comes() {
        let log = Log::default();
        log.push(1);
        let even = |n: &i32| (n % 2 == 0).then_some(*n);
        let waiting = log.find(LONG, even);
        let writer = async { log.push(4) };
        assert_eq!(tokio::join!(waiting, writer).0, Some(4));
        assert_eq!(log.find_from(log.position() - 1, LONG, even).await, Some(4));
    }

    #[tokio::test]
    async fn a_closed_log_ends_the_wait() {
        let log = Log::<i32>::default();
        let waiting = log.find(LONG, |n| Some(*n));
        let closer = async { log.close() };
        assert_eq!(tokio::join!(waiting, closer).0, None);
    }

    #[test]
    fn old_entries_are_forgotten_and_positions_still_count() {
        let log = Log::default();
        for n in 0..CAPACITY + 5 {
            log.push(n);
        }
        assert_eq!(log.all().len(), CAPACITY);
        assert_eq!(log.all().first(), Some(&5));
        assert_eq!(log.position(), CAPACITY + 5);
    }
}
