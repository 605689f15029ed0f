//! This peer as a witness: while another peer is in doubt it shows that this node is not cut off.

use std::{collections::VecDeque, time::Duration};

use crate::{
    core::{
        context::Context, isolation::HEARD_APART, path::Path, rule::SUSPECT_AFTER,
        schedule::Urgency,
    },
    model::{Time, Verdict},
};

/// A witness without a flow is probed by no more than this many SYNs in this time: a usual rate
/// limit lets a burst of three pass.
const SYNS: (usize, Duration) = (3, Duration::from_millis(750));

/// When SYNs were last sent because this peer is a witness, or a reference for flows that wait.
#[derive(Debug, Default)]
pub(super) struct WitnessSyns(VecDeque<Time>);

impl WitnessSyns {
    /// Whether a SYN may be sent now for a peer in doubt whose silence must last for `needed`; if
    /// so, it counts as sent.
    fn take(&mut self, now: Time, needed: Duration) -> bool {
        let (at_most, within) = SYNS;
        while self.0.front().is_some_and(|at| now.since(*at) >= within) {
            self.0.pop_front();
        }
        let apart = needed.mul_f64(HEARD_APART).min(within / 3);
        let is_apart = self.0.back().is_none_or(|at| now.since(*at) >= apart);
        let may = is_apart && self.0.len() < at_most;
        if may {
            self.sent(now);
        }
        may
    }

    /// A SYN was sent that a limit may count with these.
    pub(super) fn sent(&mut self, now: Time) {
        if self.0.len() == SYNS.0 {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }
}

impl Path {
    /// Whether witnesses are needed to show that this node is not cut off. A path in doubt needs them
    /// before a snapshot makes it Suspect: with a hundred thousand sockets a snapshot takes longer
    /// than a witness may be silent.
    pub(in crate::core) fn needs_witnesses(&self, now: Time) -> bool {
        let doubted = self.probing.doubt_since.filter(|_| !self.is_dead());
        let is_doubted = doubted.is_some_and(|since| now.since(since) >= SUSPECT_AFTER);
        self.verdict() == Verdict::Suspect || is_doubted || self.is_failing()
    }

    /// Whether this peer can be a witness: it is believed to be alive, and can be probed.
    pub(in crate::core) fn can_witness(&self) -> bool {
        matches!(self.verdict(), Verdict::Alive | Verdict::Degraded) && self.can_ask()
    }

    /// How long the silence of this peer must last for a death, as last decided.
    pub(in crate::core) fn needed_silence(&self) -> Option<Duration> {
        self.doubt.needed_silence()
    }

    /// Probes this peer as a witness for a peer whose silence must last for `needed`.
    pub(in crate::core) fn call_as_witness(
        &mut self,
        now: Time,
        needed: Duration,
        context: &mut Context<'_>,
    ) {
        let mut targets = self.evidence.probes.witnesses();
        if targets.iter().any(|target| target.is_connect())
            && !self.probing.witness_syns.take(now, needed)
        {
            // A limit on SYNs must not make a living witness silent.
            targets.retain(|target| !target.is_connect());
        }
        self.send(now, targets, Urgency::Witness, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::ms;

    fn sent(needed_ms: u64) -> Vec<u64> {
        let mut syns = WitnessSyns::default();
        let needed = Duration::from_millis(needed_ms);
        (0..1100).filter(|at| syns.take(ms(*at), needed)).collect()
    }

    #[test]
    fn three_syns_fit_into_the_silence_that_is_needed() {
        assert_eq!(sent(250), [0, 88, 176, 750, 838, 926]);
        assert_eq!(sent(500), [0, 175, 350, 750, 925]);
    }

    #[test]
    fn a_long_silence_has_them_evenly_spaced() {
        for needed_ms in [1000, 5000] {
            assert_eq!(sent(needed_ms), [0, 250, 500, 750, 1000]);
        }
    }
}
