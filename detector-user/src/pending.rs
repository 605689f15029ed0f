//! Requests that wait for a thread: one a peer at most, so that a slow thread is asked for
//! what is wanted now and the queue is bounded.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::core::{Bounds, PeerName};

/// The queue of one thread.
#[derive(Debug)]
pub struct Pending<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    most: usize,
}

#[derive(Debug)]
struct Queue<T> {
    requests: BTreeMap<PeerName, T>,
    stopped: bool,
}

impl<T> Pending<T> {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            most: bounds.waiting(),
            queue: Mutex::new(Queue {
                requests: BTreeMap::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// How many peers' requests can wait.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Adds a request, in place of one that waits for the same peer unless `keeps` says to keep
    /// that one. Never blocks. Gives the request back when there is no room for it.
    pub fn put(&self, peer: &PeerName, request: T, keeps: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut queue = self.lock();
        let is_full = queue.requests.len() >= self.most;
        match queue.requests.get_mut(peer) {
            Some(waiting) if keeps(waiting) => {}
            Some(waiting) => *waiting = request,
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
        queue.requests.pop_first().map(|(_, request)| request)
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

    const REPLACE: fn(&u32) -> bool = |_| false;

    #[test]
    fn one_request_a_peer_waits() {
        let pending = Pending::new(Bounds::new(2));
        for (n, request) in [(1, 10), (2, 20), (1, 11)] {
            assert_eq!(pending.put(&peer(n), request, REPLACE), None);
        }
        assert_eq!(pending.put(&peer(2), 19, |waiting| *waiting > 19), None);
        assert_eq!(pending.take_first(), Some(11));
        assert_eq!(pending.take_all(), Some([(peer(2), 20)].into()));
        assert!(!pending.is_stopped());
        pending.put(&peer(1), 1, REPLACE);
        pending.stop();
        assert_eq!(pending.take_first(), None);
        assert_eq!(pending.take_all(), None);
        assert!(pending.is_stopped());
    }

    #[test]
    fn it_is_bounded_and_every_peer_fits() {
        let pending = Pending::new(Bounds::new(5000));
        assert!(pending.most() >= 5000);
        for n in 0..pending.most() {
            assert_eq!(pending.put(&peer(n), 1, REPLACE), None);
        }
        let late = peer(pending.most());
        assert_eq!(pending.put(&late, 7, REPLACE), Some(7));
        assert_eq!(pending.put(&peer(0), 2, REPLACE), None, "it has its place");
        assert_eq!(pending.take_all().unwrap().len(), pending.most());
    }
}
