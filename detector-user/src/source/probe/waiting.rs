//! The probes that wait for an answer, with their deadlines.

use std::collections::{BTreeSet, HashMap};

use crate::model::Time;

/// Entries that wait for an answer until a deadline. The users bound it: they check
/// [`len`](Self::len) first.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    next: u64,
    entries: HashMap<u64, (Time, T)>,
    deadlines: BTreeSet<(Time, u64)>,
}

impl<T> Waiting<T> {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The token that [`insert`](Self::insert) will use next. Tokens rise and are never reused.
    pub(super) fn next_token(&self) -> u64 {
        self.next
    }

    pub(super) fn insert(&mut self, deadline: Time, entry: T) -> u64 {
        let token = self.next;
        self.next += 1;
        self.entries.insert(token, (deadline, entry));
        self.deadlines.insert((deadline, token));
        token
    }

    /// The waiting entry with this token.
    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut T> {
        self.entries.get_mut(&token).map(|(_, entry)| entry)
    }

    /// Ends the wait at `at`; `None` if the token is not known or its deadline has passed.
    pub(super) fn answer(&mut self, token: u64, at: Time) -> Option<T> {
        let (deadline, entry) = self.entries.remove(&token)?;
        self.deadlines.remove(&(deadline, token));
        (at <= deadline).then_some(entry)
    }

    /// One entry whose deadline has passed, until `None`.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<(u64, T)> {
        let &(deadline, token) = self.deadlines.first()?;
        if now <= deadline {
            return None;
        }
        self.deadlines.pop_first();
        let (_, entry) = self.entries.remove(&token)?;
        Some((token, entry))
    }

    /// The first deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn an_answer_ends_the_wait_once() {
        let mut waiting = Waiting::new();
        let token = waiting.insert(at(10), 'a');
        assert_eq!(waiting.answer(token, at(9)), Some('a'));
        assert_eq!(waiting.answer(token, at(9)), None);
        assert_eq!((waiting.len(), waiting.deadline()), (0, None));
    }

    #[test]
    fn an_answer_after_the_deadline_is_dropped() {
        let mut waiting = Waiting::new();
        let in_time = waiting.insert(at(10), 'a');
        let late = waiting.insert(at(10), 'b');
        assert_eq!(waiting.answer(in_time, at(10)), Some('a'));
        assert_eq!(waiting.answer(late, at(11)), None);
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_expired_comes_out_in_order_and_the_rest_stays() {
        let mut waiting = Waiting::new();
        let later = waiting.insert(at(30), 'c');
        waiting.insert(at(20), 'b');
        waiting.insert(at(10), 'a');
        assert_eq!(waiting.deadline(), Some(at(10)));
        assert_eq!(waiting.pop_expired(at(10)), None);
        assert_eq!(waiting.pop_expired(at(21)).map(|(_, e)| e), Some('a'));
        assert_eq!(waiting.pop_expired(at(21)).map(|(_, e)| e), Some('b'));
        assert_eq!(waiting.pop_expired(at(21)), None);
        assert_eq!(waiting.deadline(), Some(at(30)));
        assert_eq!(waiting.answer(later, at(30)), Some('c'));
    }

    #[test]
    fn tokens_do_not_recur() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.next_token(), 0);
        let first = waiting.insert(at(1), ());
        waiting.answer(first, at(1));
        assert_ne!(waiting.insert(at(1), ()), first);
    }
}
