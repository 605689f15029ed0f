//! Changes the verdict, does what follows from it, and learns from how silences end.

use std::time::Duration;

use crate::{
    core::{
        context::Context,
        evidence::Layer,
        path::Path,
        session::{Death, Event, State, Turn},
    },
    model::{Effect, Reason, Settings, Time},
};

/// A death that ends within this time was a false one: the path gets a longer detection time from
/// then on.
const FALSE_DEATH: Duration = Duration::from_secs(1);

impl Path {
    /// Applies an event to the session, and does what follows from the new state.
    pub(in crate::core::path) fn turn(
        &mut self,
        now: Time,
        event: Event,
        reason: Reason,
        death: Option<Death>,
        context: &mut Context<'_>,
    ) -> Turn {
        let found_at = self
            .session
            .death()
            .map(|death| (death.found_at, death.silent_since));
        let turn = self
            .session
            .apply(now, event, reason, death, context.settings);
        match turn {
            Turn::Died => {
                self.evidence.died();
                self.doubt.received_since = None;
                self.pace.died();
                self.probing.died(now);
                self.failures.clear();
                self.freeing.died(self.session.death());
                context.isolation.witnesses.forget(self.addr);
            }
            Turn::Returned => {
                self.evidence.returned(now);
                self.freeing.called_off();
                context.effects.push_back(Effect::CancelTeardown {
                    peer: self.peer.clone(),
                    addr: self.addr,
                });
                self.learn_from_false_death(now, found_at);
            }
            Turn::None | Turn::Changed => {}
        }
        if turn != Turn::None {
            self.tell_awaiting(context);
        }
        turn
    }

    fn learn_from_false_death(&mut self, now: Time, death: Option<(Time, Time)>) {
        if let Some((found_at, silent_since)) = death
            && now.since(found_at) < FALSE_DEATH
        {
            self.evidence
                .history
                .stall_recovered(now, now.since(silent_since));
        }
    }

    /// Ends a death, or an open breaker that only reports had opened, once the host was heard
    /// since.
    pub(in crate::core::path) fn heard_since_doubt(
        &mut self,
        now: Time,
        reason: Reason,
        context: &mut Context<'_>,
    ) -> Turn {
        let heard = self.evidence.heard.on(Layer::Host);
        let ends = match self.session.state() {
            State::Dead => heard > self.doubt.since,
            _ => self
                .session
                .presumed_down()
                .is_some_and(|opened| self.evidence.heard.surely() > Some(opened)),
        };
        if !ends {
            return Turn::None;
        }
        if !self.is_dead() {
            self.failures.clear();
        }
        self.turn(now, Event::HostHeard, reason, None, context)
    }

    /// Segments of a dead peer may begin to arrive although it still acknowledges nothing: if that
    /// lasts for the host detection time, only what this node sends is lost.
    pub(super) fn notice_received(&mut self, at: Time, settings: &Settings) -> Turn {
        let received = self.evidence.heard.on(Layer::Received);
        let found_at = self.session.death().map(|death| death.found_at);
        if found_at.is_none() || received <= found_at {
            return Turn::None;
        }
        let since = *self.doubt.received_since.get_or_insert(at);
        if at.since(since) < settings.host_detection_time {
            return Turn::None;
        }
        let turn = self.session.set_reason(at, Reason::SendsUnanswered);
        if turn != Turn::None {
            self.freeing.again();
        }
        turn
    }

    /// While this node is isolated, the path's history learns nothing.
    pub(super) fn follow_isolation(&mut self, at: Time, next: State) {
        let was = self.session.state() == State::Isolated;
        if !was && next == State::Isolated {
            self.evidence.died();
        } else if was && next != State::Isolated {
            self.evidence.returned(at);
        }
    }

    /// Learns from a silence that ended while the path was only Suspect: the peer was alive.
    pub(super) fn learn_from_recovery(&mut self, at: Time) {
        let heard = self.evidence.heard.on(Layer::Host);
        let (Some(silence), Some(heard)) = (self.doubt.silence, heard) else {
            return;
        };
        let was_suspect = self.session.state() == State::Suspect && !self.doubt.has_no_link;
        if was_suspect && heard > silence.since {
            // Time that is excused by this host's own faults is no stall of the peer.
            let since = silence.since.max(self.doubt.excused);
            if self.evidence.stall_recovered(at, since, heard) {
                self.vitals.stall_recovered(at, heard.since(since));
            }
        }
    }
}
