//! Which sockets are destroyed: a dead peer's, at a destroy delay, once for each time it is found
//! Dead; and stalled flows, each on its own, while their peer lives.

use std::{collections::BTreeSet, time::Duration};

use super::Path;
use crate::core::{
    Breaker, Destroyed, Effect, FlowId, HEARD_RESOLUTION, Mode, Reason, Settings, Spare, Teardown,
    Time,
    context::{Around, Context},
    evidence::{Layer, Stalled},
    rule::Certainty,
    session::{Death, State},
};

/// The most sockets of one teardown; programs that have more make new ones.
const SOCKETS_AT_MOST: usize = 65_536;

/// After its start the daemon destroys nothing before some host was heard, and nothing behind a
/// card that answers but through which TCP was not heard yet: another host that took the address
/// before the start would look the same. It waits no longer than this.
const START_SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// A refused connect may come from the host, so the destroy delay begins anew. It may also come from
/// a router again and again: what is refused later than this after the silence began delays
/// nothing.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// Longer than the coarse times of a snapshot differ from the true ones.
const SNAPSHOT_TAKES: Duration = HEARD_RESOLUTION.saturating_mul(4);

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
}

impl Freeing {
    pub(super) fn died(&mut self, death: Option<&Death>) {
        self.pending = death.map(|death| Pending {
            silent_since: death.silent_since,
            unheard_since: death.unheard_since,
            certainty: death.certainty,
            tried: false,
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
    pub(super) fn ended(&mut self, generation: u64, current: u64, result: Destroyed) {
        if generation != current {
            return;
        }
        self.result = Some((generation, result));
        if let Some(pending) = &mut self.pending {
            pending.tried &= result.spared == 0;
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

impl Path {
    /// When sockets should next be destroyed.
    pub(super) fn freeing_due(&self, settings: &Settings) -> Option<Time> {
        let dead = self
            .freeing
            .pending
            .filter(|pending| settings.destroy_sockets && !pending.tried)
            .map(|pending| self.destroy_at(pending, settings).0);
        let after = settings.destroy_stalled_after;
        let stalled = self
            .freeing
            .next_stalled()
            .filter(|_| settings.destroy_sockets && !after.is_zero())
            .map(|since| since + after);
        [dead, stalled].into_iter().flatten().min()
    }

    /// After a snapshot: destroys what is due.
    pub(super) fn free_sockets(&mut self, at: Time, context: &mut Context<'_>) {
        if self.discovered
            || !context.settings.destroy_sockets
            || context.settings.mode == Mode::Observe
            || !self.session.may_destroy()
            || self.doubt.has_no_link
        {
            return;
        }
        match self.session.state() {
            State::Dead => self.free_dead(at, context),
            State::Isolated | State::Suspect | State::Unknown => {}
            State::Alive | State::Degraded => self.free_stalled(at, context),
        }
    }

    /// When a dead peer's sockets are destroyed, and the delay that applies. The fast delay counts from
    /// when something stands unanswered; the other one from when nothing was heard, because a program
    /// that waits for a reply has been stuck since then.
    fn destroy_at(&self, pending: Pending, settings: &Settings) -> (Time, Duration) {
        let refused = self.evidence.refused.unwrap_or_default();
        let after = |since: Time, delay: Duration| {
            let from = since.max(refused.min(since + REFUSED_WITHIN));
            (from + delay, delay)
        };
        let slow = after(pending.unheard_since, settings.destroy_delay);
        match pending.certainty.is_certain() {
            true => slow.min(after(pending.silent_since, settings.fast_destroy_delay)),
            false => slow,
        }
    }

    /// The delay after which the sockets of a dead peer are destroyed, and why it applies; `None`
    /// where they are not destroyed.
    pub(super) fn destroy_plan(&self, settings: &Settings) -> Option<(Duration, Certainty)> {
        let pending = self.freeing.pending.filter(|_| settings.destroy_sockets)?;
        let (_, delay) = self.destroy_at(pending, settings);
        Some((delay, pending.certainty))
    }

    fn free_dead(&mut self, at: Time, context: &mut Context<'_>) {
        let Some(pending) = self.freeing.pending else {
            return;
        };
        let is_due = at >= self.destroy_at(pending, context.settings).0;
        let is_open = self.session.breaker() == Breaker::Open;
        if pending.tried || !is_due || !is_open || !self.may_be_sure(at, context.around()) {
            return;
        }
        let witnesses = &context.isolation.witnesses;
        if witnesses.does_another_not_answer(Some(self.addr), at) {
            // This node may be cut off by now, and the peer alive again.
            return;
        }
        if let Some(pending) = &mut self.freeing.pending {
            pending.tried = true;
        }
        let sockets: Vec<_> = self
            .evidence
            .watched_flows()
            .filter(|flow| flow.reading.cookie != 0)
            .map(|flow| (flow.reading.id, flow.reading.cookie))
            .take(SOCKETS_AT_MOST)
            .collect();
        let spare = match self.session.reason() {
            Reason::SendsUnanswered => Spare::Nothing,
            _ => Spare::HeardSince(self.known_to_be_unheard(pending, at)),
        };
        self.destroy(sockets, spare, context);
    }

    /// The moment up to which the host is known to have acknowledged nothing: this snapshot has shown
    /// that what was received before it acknowledges nothing. What may have come during the snapshot
    /// is left to the next one.
    fn known_to_be_unheard(&self, pending: Pending, at: Time) -> Time {
        let received = self.evidence.heard.on(Layer::Received).unwrap_or_default();
        let settled = received.min(at - SNAPSHOT_TAKES);
        pending.silent_since.max(settled)
    }

    fn free_stalled(&mut self, at: Time, context: &mut Context<'_>) {
        let after = context.settings.destroy_stalled_after;
        if !after.is_zero() && self.may_be_sure(at, context.around()) {
            let due = self.freeing.take_stalled(at, after);
            let Some(since) = due.iter().map(|stalled| stalled.since).min() else {
                return;
            };
            let sockets = due.iter().map(|stalled| (stalled.flow, stalled.cookie));
            self.destroy(sockets.collect(), Spare::ProgressedSince(since), context);
        }
    }

    /// Whether sockets may be destroyed, which cannot be undone: some host was heard since the
    /// daemon started, and the card on the way to the peer is the one through which TCP was heard.
    fn may_be_sure(&self, at: Time, around: Around<'_>) -> bool {
        let isolation = &around.isolation;
        let next_hop = isolation.next_hop(self.addr);
        let is_known = isolation.witnesses.anyone() && !isolation.cards.is_unproven(next_hop);
        let waited = at.since(self.doubt.began()) >= START_SETTLES_WITHIN;
        (is_known || waited) && isolation.cards.changed_for(next_hop, at).is_none()
    }

    fn destroy(&self, sockets: Vec<(FlowId, u64)>, spare: Spare, context: &mut Context<'_>) {
        if sockets.is_empty() {
            return;
        }
        context.effects.push_back(Effect::DestroySockets(Teardown {
            peer: self.peer.clone(),
            addr: self.addr,
            generation: self.session.generation(),
            sockets,
            spare,
        }));
    }
}
