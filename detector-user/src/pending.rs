//! Requests that wait for a thread. There is at most one for each key, so that a slow thread works
//! on what is wanted now, and the queue is bounded.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::core::Bounds;

/// The queue of one thread.
#[derive(Debug)]
pub struct Pending<K, T> {
    queue: Mutex<Queue<K, T>>,
    changed: Condvar,
    most: usize,
}

#[derive(Debug)]
struct Queue<K, T> {
    requests: BTreeMap<K, T>,
    /// The key of the request that [`Pending::take_first`] returned last, until it is cancelled.
    under_way: Option<K>,
    stopped: bool,
}

impl<K: Ord + Clone, T> Pending<K, T> {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            most: bounds.waiting(),
            queue: Mutex::new(Queue {
                requests: BTreeMap::new(),
                under_way: None,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// How many requests can wait.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Adds a request, or calls `merge` to join it with the one that waits for the same key. Never
    /// blocks. Returns the request if there is no room for it.
    pub fn put(&self, key: &K, request: T, merge: impl FnOnce(&mut T, T)) -> Option<T> {
        let mut queue = self.lock();
        let is_full = queue.requests.len() >= self.most;
        match queue.requests.get_mut(key) {
            Some(waiting) => merge(waiting, request),
            None if is_full => return Some(request),
            None => {
                queue.requests.insert(key.clone(), request);
                drop(queue);
                self.changed.notify_one();
            }
        }
        None
    }

    /// Waits for requests and returns all of them; `None` when it is time to stop.
    pub fn take_all(&self) -> Option<BTreeMap<K, T>> {
        let mut queue = self.wait();
        (!queue.stopped).then(|| std::mem::take(&mut queue.requests))
    }

    /// Waits for a request and returns the first; `None` when it is time to stop.
    pub fn take_first(&self) -> Option<T> {
        let mut queue = self.wait();
        if queue.stopped {
            return None;
        }
        let (key, request) = queue.requests.pop_first()?;
        queue.under_way = Some(key);
        Some(request)
    }

    /// Cancels the request for this key. Returns it if it still waits. If it was taken last, it
    /// [counts as cancelled](Self::is_called_off).
    pub fn call_off(&self, key: &K) -> Option<T> {
        let mut queue = self.lock();
        queue.under_way.take_if(|under_way| under_way == key);
        queue.requests.remove(key)
    }

    /// Whether the request that was taken last is no longer wanted.
    pub fn is_called_off(&self) -> bool {
        self.lock().under_way.is_none()
    }

    /// Tells the waiting thread to stop, and wakes it.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Whether it is time to stop.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn wait(&self) -> MutexGuard<'_, Queue<K, T>> {
        let queue = self.lock();
        self.changed
            .wait_while(queue, |queue| queue.requests.is_empty() && !queue.stopped)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Queue<K, T>> {
        // The queue is consistent after each statement under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::PeerName;

    fn peer(n: usize) -> PeerName {
        PeerName::from_canonical(&n.to_string())
    }

    const REPLACE: fn(&mut u32, u32) = |waiting, request| *waiting = request;

    #[test]
    fn one_request_a_peer_waits() {
        let pending = Pending::new(Bounds::new(2));
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
        let pending = Pending::new(Bounds::new(2));
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
    fn it_is_bounded_and_every_address_of_every_peer_fits() {
        let pending = Pending::new(Bounds::new(5000));
        assert!(pending.most() >= Bounds::new(5000).addresses());
        for n in 0..pending.most() {
            assert_eq!(pending.put(&peer(n), 1, REPLACE), None);
        }
        let late = peer(pending.most());
        assert_eq!(pending.put(&late, 7, REPLACE), Some(7));
        assert_eq!(pending.put(&peer(0), 2, REPLACE), None, "it has its place");
        assert_eq!(pending.take_all().unwrap().len(), pending.most());
    }
}
