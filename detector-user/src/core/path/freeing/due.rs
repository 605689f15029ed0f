//! When sockets are destroyed, and whether they are now.

use std::time::Duration;

use super::Pending;
use crate::{
    core::{
        context::{Around, Context},
        evidence::{Layer, TrackedFlow},
        path::Path,
        rule::Certainty,
        session::State,
    },
    model::{
        Breaker, Effect, FlowId, HEARD_RESOLUTION, Mode, Reason, Settings, Spare, TcpState,
        Teardown, Time,
    },
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

impl Path {
    /// When sockets should next be destroyed.
    pub(in crate::core::path) fn freeing_due(&self, settings: &Settings) -> Option<Time> {
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
    pub(in crate::core::path) fn free_sockets(&mut self, at: Time, context: &mut Context<'_>) {
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
    pub(in crate::core::path) fn destroy_plan(
        &self,
        settings: &Settings,
    ) -> Option<(Duration, Certainty)> {
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
        let is_tried = pending.tried && !self.was_missed(pending, at);
        if is_tried || !is_due || !is_open || !self.may_be_sure(at, context.around()) {
            return;
        }
        let witnesses = &context.isolation.witnesses;
        if witnesses.does_another_not_answer(Some(self.addr), at) {
            // This node may be cut off by now, and the peer alive again.
            return;
        }
        if let Some(pending) = &mut self.freeing.pending {
            pending.tried = true;
            pending.ended = None;
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

    /// Whether this snapshot shows connections that the last teardown has missed.
    fn was_missed(&self, pending: Pending, at: Time) -> bool {
        let is_connected = |flow: &TrackedFlow| flow.reading.state != TcpState::SynSent;
        pending.ended.is_some_and(|ended| ended < at)
            && self.evidence.watched_flows().any(is_connected)
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
