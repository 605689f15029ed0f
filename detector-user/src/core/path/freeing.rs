//! Which sockets are destroyed. A dead peer's: after the destroy delay, once for each death, and again
//! if some were missed. Stalled flows: each on its own, while the peer lives.
//!
//! ```text
//! due   when, and whether now
//! ```
//!
//! Whether a stalled flow may be destroyed is decided in `evidence/stalled`.

mod due;

use std::{collections::BTreeSet, time::Duration};

use crate::{
    core::{evidence::Stalled, rule::Certainty, session::Death},
    model::{Destroyed, Time},
};

/// A flow that replaces a destroyed one has shown by then whether it is stalled, too.
const SHOWS_AGAIN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Freeing {
    /// The teardown of a dead peer's sockets, from its death to its return.
    pending: Option<Pending>,
    result: Option<(u64, Destroyed)>,
    stalled: Vec<Stalled>,
    /// The cookies of stalled flows that were already destroyed or spared.
    done: BTreeSet<u64>,
    /// When flows were last destroyed as stalled, and whether only their large segments were lost:
    /// flows made in their place take a while to show whether they are stuck, too.
    freed: Option<(Time, bool)>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    silent_since: Time,
    unheard_since: Time,
    certainty: Certainty,
    /// The teardown was requested. It is requested again if a socket was spared.
    tried: bool,
    /// When it ended with no socket that could not be destroyed. A connection that a later snapshot
    /// shows was missed: while sockets come and go, the kernel's dump may leave some out.
    ended: Option<Time>,
}

impl Freeing {
    pub(super) fn died(&mut self, death: Option<&Death>) {
        self.pending = death.map(|death| Pending {
            silent_since: death.silent_since,
            unheard_since: death.unheard_since,
            certainty: death.certainty,
            tried: false,
            ended: None,
        });
        self.result = None;
    }

    /// Whether more evidence could make the teardown come sooner.
    pub(super) fn may_become_certain(&self) -> bool {
        self.pending
            .is_some_and(|pending| !pending.tried && !pending.certainty.is_certain())
    }

    pub(super) fn weigh(&mut self, certainty: Certainty) {
        if let Some(pending) = &mut self.pending {
            pending.certainty = certainty;
        }
    }

    /// Other sockets are spared than were before, so the teardown is requested again.
    pub(super) fn again(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.tried = false;
        }
    }

    pub(super) fn called_off(&mut self) {
        self.pending = None;
    }

    /// The result of a teardown. It may say that sockets were spared because something was heard:
    /// if the next snapshot does not show that, the teardown is requested again.
    pub(super) fn ended(&mut self, at: Time, generation: u64, current: u64, result: Destroyed) {
        if generation != current {
            return;
        }
        self.result = Some((generation, result));
        if let Some(pending) = &mut self.pending {
            pending.tried &= result.spared == 0;
            pending.ended = (result.failed == 0).then_some(at);
        }
    }

    pub(super) fn result(&self) -> Option<Destroyed> {
        self.result.map(|(_, result)| result)
    }

    /// The stalled flows, as a snapshot shows them.
    pub(super) fn set_stalled(&mut self, stalled: Vec<Stalled>) {
        self.done
            .retain(|cookie| stalled.iter().any(|flow| flow.cookie == *cookie));
        self.stalled = stalled;
    }

    pub(super) fn stalled(&self) -> &[Stalled] {
        &self.stalled
    }

    pub(super) fn stalled_flows(&self) -> u32 {
        u32::try_from(self.stalled.len()).unwrap_or(u32::MAX)
    }

    /// Since when the oldest of them has been stalled.
    pub(super) fn oldest_stall(&self) -> Option<Time> {
        self.stalled.iter().map(|stalled| stalled.since).min()
    }

    /// Since when the stalled flow that is next to destroy has been stalled.
    fn next_stalled(&self) -> Option<Time> {
        self.to_free().map(|stalled| stalled.since).min()
    }

    /// The stalled flows that may be destroyed and were not yet.
    fn to_free(&self) -> impl Iterator<Item = &Stalled> {
        self.stalled.iter().filter(|stalled| {
            stalled.is_certain && stalled.cookie != 0 && !self.done.contains(&stalled.cookie)
        })
    }

    /// The bytes of data in segments that are lost while segments without data pass.
    pub(super) fn large_segments(&self) -> Option<u32> {
        self.stalled
            .iter()
            .find_map(|stalled| stalled.large_segments)
    }

    /// Whether flows were destroyed as stalled just now, and whether only their large segments were
    /// lost.
    pub(super) fn freed_lately(&self, at: Time) -> (bool, bool) {
        let lately = self
            .freed
            .filter(|(freed, _)| at.since(*freed) < SHOWS_AGAIN);
        (lately.is_some(), lately.is_some_and(|(_, large)| large))
    }

    /// The flows that have been stalled for long enough to destroy them; each is returned once.
    fn take_stalled(&mut self, at: Time, after: Duration) -> Vec<Stalled> {
        let is_due = |stalled: &&Stalled| at.since(stalled.since) >= after;
        let due: Vec<_> = self.to_free().filter(is_due).copied().collect();
        self.done.extend(due.iter().map(|stalled| stalled.cookie));
        if !due.is_empty() {
            self.freed = Some((at, self.large_segments().is_some()));
        }
        due
    }
}
