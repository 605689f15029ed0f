//! Requests that wait for a thread: one a peer at most, so that a slow thread is asked for
//! what is wanted now and the queue is bounded.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::core::PeerName;

/// The most peers whose request can wait: as many as there can be peers, and some.
pub const MAX_PENDING: usize = 4096;

/// The queue of one thread.
#[derive(Debug)]
pub struct Pending<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    requests: BTreeMap<PeerName, T>,
    /// Whose request was taken last by [`Pending::take_first`], until it is called off.
    under_way: Option<PeerName>,
    stopped: bool,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self {
            queue: Mutex::new(Queue {
                requests: BTreeMap::new(),
                under_way: None,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Pending<T> {
    /// Adds a request, or has `merge` put it into the one that waits for the same peer. Never
    /// blocks. Gives the request back when there is no room for it.
    pub fn put(&self, peer: &PeerName, request: T, merge: impl FnOnce(&mut T, T)) -> Option<T> {
        let mut queue = self.lock();
        let is_full = queue.requests.len() >= MAX_PENDING;
        match queue.requests.get_mut(peer) {
            Some(waiting) => merge(waiting, request),
            None if is_full => return Some(request),
            None => {
                queue.requests.insert(peer.clone(), request);
                drop(queue);
                self.changed.notify_one();
            }
        }
        None
    }

    /// All that waits, as soon as there is any; `None` when it is time to stop.
    pub fn take_all(&self) -> Option<BTreeMap<PeerName, T>> {
        let mut queue = self.wait();
        (!queue.stopped).then(|| std::mem::take(&mut queue.requests))
    }

    /// The first that waits, as soon as there is one; `None` when it is time to stop.
    pub fn take_first(&self) -> Option<T> {
        let mut queue = self.wait();
        if queue.stopped {
            return None;
        }
        let (peer, request) = queue.requests.pop_first()?;
        queue.under_way = Some(peer);
        Some(request)
    }

    /// The peer's request is not wanted any more. Gives back the one that waits; the one that
    /// was taken last is [called off](Self::is_called_off).
    pub fn call_off(&self, peer: &PeerName) -> Option<T> {
        let mut queue = self.lock();
        queue.under_way.take_if(|under_way| under_way == peer);
        queue.requests.remove(peer)
    }

    /// Whether the request that was taken last is not wanted any more.
    pub fn is_called_off(&self) -> bool {
        self.lock().under_way.is_none()
    }

    /// It is time to stop: whoever waits is woken.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Whether it is.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn wait(&self) -> MutexGuard<'_, Queue<T>> {
        let queue = self.lock();
        self.changed
            .wait_while(queue, |queue| queue.requests.is_empty() && !queue.stopped)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // A queue is whole after each statement under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> PeerName {
        PeerName::from_canonical(&n.to_string())
    }

    const REPLACE: fn(&mut u32, u32) = |waiting, request| *waiting = request;

    #[test]
    fn one_request_a_peer_waits() {
        let pending = Pending::default();
        for (n, request) in [(1, 10), (2, 20), (1, 11)] {
            assert_eq!(pending.put(&peer(n), request, REPLACE), None);
        }
        let add = |waiting: &mut u32, request| *waiting += request;
        assert_eq!(pending.put(&peer(2), 5, add), None);
        assert_eq!(pending.take_first(), Some(11));
        assert_eq!(pending.take_all(), Some([(peer(2), 25)].into()));
        assert!(!pending.is_stopped());
        pending.put(&peer(1), 1, REPLACE);
        pending.stop();
        assert_eq!(pending.take_first(), None);
        assert_eq!(pending.take_all(), None);
        assert!(pending.is_stopped());
    }

    #[test]
    fn what_waits_and_what_is_under_way_can_be_called_off() {
        let pending = Pending::default();
        for n in [1, 2] {
            pending.put(&peer(n), n, |_, _| {});
        }
        assert_eq!(pending.take_first(), Some(1));
        assert_eq!(pending.call_off(&peer(2)), Some(2), "it waited");
        assert!(!pending.is_called_off(), "that of another peer");
        pending.put(&peer(1), 10, |_, _| {});
        assert_eq!(pending.call_off(&peer(1)), Some(10));
        assert!(pending.is_called_off());
        pending.put(&peer(1), 11, |_, _| {});
        assert_eq!(pending.take_first(), Some(11));
        assert!(!pending.is_called_off(), "it was asked for later");
    }

    #[test]
    fn it_is_bounded() {
        let pending = Pending::default();
        for n in 0..MAX_PENDING {
            assert_eq!(pending.put(&peer(n), 1, REPLACE), None);
        }
        let late = peer(MAX_PENDING);
        assert_eq!(pending.put(&late, 7, REPLACE), Some(7));
        assert_eq!(pending.put(&peer(0), 2, REPLACE), None, "it has its place");
        assert_eq!(pending.take_all().unwrap().len(), MAX_PENDING);
    }
}
