//! Requests that wait for a thread. There is at most one for each key, so that a slow thread works
//! on what is wanted now, and the queue is bounded.

use std::collections::BTreeMap;

use crate::model::Bounds;

/// The queue of one thread.
#[derive(Debug)]
pub struct Pending<K, T> {
    requests: BTreeMap<K, T>,
    /// The key of the request that [`Pending::take_first`] returned last, until it is cancelled.
    under_way: Option<K>,
    most: usize,
}

impl<K: Ord + Clone, T> Pending<K, T> {
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            requests: BTreeMap::new(),
            under_way: None,
            most: bounds.waiting(),
        }
    }

    /// How many requests can wait.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Adds a request, or calls `merge` to join it with the one that waits for the same key. Never
    /// blocks. Returns the request if there is no room for it.
    pub fn put(&mut self, key: &K, request: T, merge: impl FnOnce(&mut T, T)) -> Option<T> {
        let is_full = self.requests.len() >= self.most;
        match self.requests.get_mut(key) {
            Some(waiting) => merge(waiting, request),
            None if is_full => return Some(request),
            None => drop(self.requests.insert(key.clone(), request)),
        }
        None
    }

    /// Takes all waiting requests; `None` if there are none.
    pub fn take_all(&mut self) -> Option<BTreeMap<K, T>> {
        (!self.requests.is_empty()).then(|| std::mem::take(&mut self.requests))
    }

    /// The waiting requests, in the order in which they are taken.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.requests.values()
    }

    /// Takes the first waiting request.
    pub fn take_first(&mut self) -> Option<T> {
        let (key, request) = self.requests.pop_first()?;
        self.under_way = Some(key);
        Some(request)
    }

    /// Cancels the request for this key. Returns it if it still waits. If it was taken last, it
    /// [counts as cancelled](Self::is_called_off).
    pub fn call_off(&mut self, key: &K) -> Option<T> {
        self.under_way.take_if(|under_way| under_way == key);
        self.requests.remove(key)
    }

    /// Whether the request that was taken last is cancelled.
    pub const fn is_called_off(&self) -> bool {
        self.under_way.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PeerName;

    fn peer(n: usize) -> PeerName {
        PeerName::from_canonical(&n.to_string())
    }

    const REPLACE: fn(&mut u32, u32) = |waiting, request| *waiting = request;

    #[test]
    fn one_request_a_peer_waits() {
        let mut pending = Pending::new(Bounds::new(2));
        for (n, request) in [(1, 10), (2, 20), (1, 11)] {
            assert_eq!(pending.put(&peer(n), request, REPLACE), None);
        }
        let add = |waiting: &mut u32, request| *waiting += request;
        assert_eq!(pending.put(&peer(2), 5, add), None);
        assert_eq!(pending.take_first(), Some(11));
        assert_eq!(pending.take_all(), Some([(peer(2), 25)].into()));
        assert_eq!(pending.take_first(), None);
        assert_eq!(pending.take_all(), None);
    }

    #[test]
    fn what_waits_and_what_is_under_way_can_be_called_off() {
        let mut pending = Pending::new(Bounds::new(2));
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
        let mut pending = Pending::new(Bounds::new(5000));
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
