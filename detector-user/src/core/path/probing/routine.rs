//! Probes while nothing stands unanswered: at a low rate, on the target that disturbs least.

use std::time::Duration;

use super::is_neighbour;
use crate::{
    core::{context::Around, evidence::Layer, path::Path},
    model::{ProbeTarget, Time},
};

/// How long to wait for a snapshot before the path is probed anyway.
const SNAPSHOT_RETURNS: Duration = Duration::from_millis(10);

/// A peer whose last connection was this long ago is no longer probed at the idle rate.
const CONNECTED_LATELY: Duration = Duration::from_secs(10);

/// For this time after its last connection has ended, a peer is probed by SYNs as often as by
/// keepalives: it may be gone itself, as a pod that is killed. A usual limit lets so many SYNs pass.
const JUST_CLOSED: Duration = Duration::from_secs(1);

/// How exactly a snapshot shows when a segment arrived: to a jiffy of the slowest kernel, of 100 Hz.
const READ_EXACTLY_TO: Duration = Duration::from_millis(10);

/// A peer with stuck flows is probed at least this often.
const BESIDE_STUCK: Duration = Duration::from_secs(1);

impl Path {
    pub(super) fn routine_targets(&mut self, now: Time, around: Around<'_>) -> Vec<ProbeTarget> {
        let missing_after = self.answer_is_missing_after(now);
        let rhythm = &mut self.probing.rhythm;
        if rhythm.survey_due <= now {
            rhythm.surveyed(now, around.grid);
            rhythm.due = now + missing_after;
            self.evidence.probes.retry_flows();
            return self.evidence.probes.all();
        }
        let waiting = self.evidence.probes.waiting_since(&self.evidence.heard);
        if let Some(sent) = waiting {
            rhythm.due = sent + missing_after;
            return Vec::new();
        }
        let Some(next) = self.next_idle(now, around) else {
            self.probing.rhythm.due = self.probing.rhythm.survey_due;
            return Vec::new();
        };
        let rhythm = &mut self.probing.rhythm;
        if next > now {
            rhythm.due = next.min(rhythm.survey_due);
            return Vec::new();
        }
        if self.probing.was_busy {
            self.probing.was_busy = false;
            self.snapshots.soon(now);
            rhythm.due = now + SNAPSHOT_RETURNS;
            return self.evidence.probes.untried();
        }
        rhythm.due = now + missing_after;
        let mut targets = self.evidence.probes.gentlest();
        if targets.first().is_some_and(is_neighbour) {
            targets.extend(self.connect_when_due(now));
            return targets;
        }
        let untried = self.evidence.probes.untried().into_iter();
        let more: Vec<_> = untried.filter(|new| !targets.contains(new)).collect();
        targets.extend(more);
        targets
    }

    /// An answer from the card proves only the link. So a host that has connections, none of which
    /// can be probed, is also probed by a SYN from time to time.
    fn connect_when_due(&mut self, now: Time) -> Option<ProbeTarget> {
        let last = self.probing.connect_at;
        let is_due = last.is_none_or(|last| now.since(last) >= self.probing.connect_every);
        if !is_due || !self.evidence.is_connected() {
            return None;
        }
        self.probing.connect_at = Some(now);
        self.evidence.probes.next_connect()
    }

    /// When the next idle probe is due; `None` if there is none to send.
    fn next_idle(&mut self, now: Time, around: Around<'_>) -> Option<Time> {
        let settings = around.settings;
        let interval = match (self.evidence.has_stuck_flow(), settings.idle_probe_interval) {
            (false, interval) => interval,
            // While flows are stuck it must be known all the time whether the host is alive.
            (true, Duration::ZERO) => BESIDE_STUCK,
            (true, interval) => interval.min(BESIDE_STUCK),
        };
        let connected = self.evidence.connected_at.map(|at| now.since(at));
        let lately = connected.is_some_and(|since| since < CONNECTED_LATELY);
        let is_closed = !self.evidence.is_connected();
        let just_closed = connected.is_some_and(|since| since < JUST_CLOSED);
        let target = *self.evidence.probes.gentlest().first()?;
        let is_known = self.evidence.probes.is_known(target);
        if interval.is_zero() || !lately || !is_known {
            return None;
        }
        let least = match target.is_connect() && is_closed && !just_closed {
            true => self.probing.connect_every,
            false => Duration::ZERO,
        };
        // An answer on the link says nothing about the host, but the next neighbour probe can wait.
        let layer = match target {
            ProbeTarget::Neighbour { .. } => Layer::Link,
            _ => Layer::Host,
        };
        let heard = self.evidence.heard.on(layer);
        let last = heard.max(self.probing.rhythm.last_sent());
        let last = last.unwrap_or_default();
        let next = match self.evidence.has_stuck_flow() {
            // No sooner than it has to be: on a stuck flow probes may disturb.
            true => last + interval,
            false => around.grid.before(last + around.grid.longest(), last),
        };
        Some(match least {
            Duration::ZERO => next,
            least => around.grid.from(next.max(last + least)),
        })
    }

    /// Nothing stands unanswered: the next probe waits for a moment that all paths share.
    pub(in crate::core::path) fn rest(&mut self, now: Time, around: Around<'_>) {
        let is_calm = !self.is_dead() && self.doubt.silence.is_none() && !self.probing.in_doubt();
        let heard = &self.evidence.heard;
        if !is_calm || self.discovered || self.evidence.probes.is_waiting(heard) {
            return;
        }
        let next = self.next_idle(now, around);
        let rhythm = &mut self.probing.rhythm;
        rhythm.due = next.map_or(rhythm.survey_due, |next| next.min(rhythm.survey_due));
    }

    /// After a snapshot: notes whether the sockets should be read before the next probe.
    pub(in crate::core::path) fn notice_traffic(
        &mut self,
        at: Time,
        settings: &crate::model::Settings,
    ) {
        let interval = settings.idle_probe_interval;
        // While a flow is stuck, not just any segment counts: the host must have acknowledged
        // something.
        let segment = match self.evidence.has_stuck_flow() {
            true => self.evidence.heard.on(Layer::Host),
            false => self.evidence.heard_on_flows(),
        };
        // An answer to a probe is no traffic; but while a flow is stuck, snapshots show how it goes
        // on.
        let answered = self.probing.answered_at.map(|at| at + READ_EXACTLY_TO);
        let counts = segment > answered || self.evidence.has_stuck_flow();
        self.probing.was_busy = counts && segment.is_some_and(|heard| at.since(heard) < interval);
        if self.evidence.has_stuck_flow() {
            self.probing.rhythm.wake(at + BESIDE_STUCK);
        }
        if self.evidence.is_connected() && !interval.is_zero() {
            self.probing.rhythm.wake(at + interval);
        }
    }
}
