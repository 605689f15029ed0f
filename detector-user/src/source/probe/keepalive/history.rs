//! How often one flow may be probed.

use std::{collections::HashMap, time::Duration};

use super::segment::Kind;
use crate::model::{FlowId, Time};

/// A keepalive that is sent at least this long after the last one on the flow carries no data. This
/// is longer than Linux's 500 ms by what a network may delay one of the two.
pub const PLAIN_SPACING: Duration = Duration::from_millis(600);

/// A probe sooner than this after the last one on the same flow fails with `EAGAIN`.
pub const LEAST_SPACING: Duration = Duration::from_millis(2);

/// When each flow was last probed.
#[derive(Debug)]
pub(super) struct History {
    most: usize,
    asked: HashMap<FlowId, Time>,
}

impl History {
    /// Remembers at most `most` flows, those that were probed lately.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            asked: HashMap::new(),
        }
    }

    /// The kind of keepalive that may be sent on the flow now; `None` if it is too soon.
    pub(super) fn next(&self, flow: FlowId, now: Time) -> Option<Kind> {
        let Some(&last) = self.asked.get(&flow) else {
            return Some(Kind::Plain);
        };
        match now.since(last) {
            since if since < LEAST_SPACING => None,
            since if since < PLAIN_SPACING => Some(Kind::Octet),
            _ => Some(Kind::Plain),
        }
    }

    pub(super) fn asked(&mut self, flow: FlowId, now: Time) {
        if self.asked.len() >= self.most {
            self.asked
                .retain(|_, &mut last| now.since(last) < PLAIN_SPACING);
        }
        self.asked.insert(flow, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 64;

    fn flow(port: u16) -> FlowId {
        FlowId {
            netns: 0,
            local: ([10, 0, 0, 1], port).into(),
            remote: ([10, 0, 0, 2], 9000).into(),
        }
    }

    #[test]
    fn what_is_asked_again_soon_carries_an_octet() {
        let mut history = History::new(MOST);
        let begun = Time::from_nanos(1);
        assert_eq!(history.next(flow(1), begun), Some(Kind::Plain));
        history.asked(flow(1), begun);
        let after = |wait| history.next(flow(1), begun + wait);
        let short = Duration::from_nanos(1);
        assert_eq!(after(Duration::ZERO), None);
        assert_eq!(after(LEAST_SPACING - short), None);
        assert_eq!(after(LEAST_SPACING), Some(Kind::Octet));
        assert_eq!(after(PLAIN_SPACING - short), Some(Kind::Octet));
        assert_eq!(after(PLAIN_SPACING), Some(Kind::Plain));
        assert_eq!(history.next(flow(2), begun), Some(Kind::Plain), "another");
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut history = History::new(MOST);
        let begun = Time::from_nanos(1);
        for port in 0..MOST as u16 {
            history.asked(flow(port), begun);
        }
        let later = begun + PLAIN_SPACING;
        history.asked(flow(u16::MAX), later);
        assert_eq!(history.asked.len(), 1);
    }
}
