//! Assigns recorded answers to the replay's probes. The core chooses its probe ids itself. With
//! other settings it probes at other moments, so the probe of a recorded answer has another id in
//! the replay.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Bounds, ProbeEvent, ProbeId, ProbeOutcome, ProbeTarget, Time};

/// An id that no detector ever reaches. The core knows no such probe, but an answer to it still
/// shows that the host is alive.
const NOBODY_S: ProbeId = ProbeId(u64::MAX);

/// Which of the core's own probes each recorded probe stands for.
#[derive(Debug)]
pub(super) struct Questions {
    /// The most probes of each kind that are remembered; the oldest are dropped first.
    kept: usize,
    /// Probes of the core that do not stand for a recorded one yet; oldest first.
    asked: VecDeque<(Time, ProbeId, ProbeTarget)>,
    /// The core's own ids, by the recorded ids.
    own: BTreeMap<ProbeId, ProbeId>,
}

impl Questions {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            kept: bounds.replayed_probes(),
            asked: VecDeque::new(),
            own: BTreeMap::new(),
        }
    }

    pub(super) fn asked(&mut self, now: Time, probe: ProbeId, target: ProbeTarget) {
        if self.asked.len() == self.kept {
            self.asked.pop_front();
        }
        self.asked.push_back((now, probe, target));
    }

    /// The event with the id of the core's own probe that it stands for: the last one before it to
    /// the same target.
    pub(super) fn own(&mut self, event: ProbeEvent) -> ProbeEvent {
        let known = self.own.get(&event.probe).copied();
        let probe = known.unwrap_or_else(|| self.take(&event));
        match event.outcome {
            ProbeOutcome::Sent => {
                if self.own.len() == self.kept {
                    self.own.pop_first();
                }
                self.own.insert(event.probe, probe);
            }
            ProbeOutcome::Answered(_) | ProbeOutcome::Failed { .. } => {
                self.own.remove(&event.probe);
            }
        }
        ProbeEvent { probe, ..event }
    }

    fn take(&mut self, event: &ProbeEvent) -> ProbeId {
        let same = |asked: &(Time, ProbeId, ProbeTarget)| asked.2 == event.target;
        match self.asked.iter().rposition(same) {
            Some(place) => {
                let taken = self.asked.remove(place);
                taken.map_or(NOBODY_S, |(_, probe, _)| probe)
            }
            None => NOBODY_S,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, ProbeAnswer};

    fn target(last: u8) -> ProbeTarget {
        ProbeTarget::Connect(Endpoint {
            addr: [10, 0, 0, last].into(),
            port: 9000,
        })
    }

    fn event(probe: u64, last: u8, outcome: ProbeOutcome) -> ProbeEvent {
        ProbeEvent {
            at: Time::default(),
            probe: ProbeId(probe),
            target: target(last),
            outcome,
        }
    }

    #[test]
    fn a_recorded_question_stands_for_the_last_own_one_to_the_same_target() {
        let mut questions = Questions::new(Bounds::new(4));
        for (probe, last) in [(1, 4), (2, 4), (3, 5)] {
            questions.asked(Time::default(), ProbeId(probe), target(last));
        }
        let answered = ProbeOutcome::Answered(ProbeAnswer::SynAck);
        let sent = |probe, last| event(probe, last, ProbeOutcome::Sent);
        assert_eq!(questions.own(sent(70, 4)).probe, ProbeId(2));
        assert_eq!(questions.own(sent(71, 5)).probe, ProbeId(3));
        assert_eq!(questions.own(sent(72, 6)).probe, NOBODY_S, "never asked");
        assert_eq!(questions.own(event(70, 4, answered)).probe, ProbeId(2));
        assert_eq!(questions.own(event(72, 6, answered)).probe, NOBODY_S);
        let failed = ProbeOutcome::Failed { errno: 1 };
        assert_eq!(questions.own(event(73, 4, failed)).probe, ProbeId(1));
        assert_eq!(questions.own(sent(73, 4)).probe, NOBODY_S, "all are taken");
        assert!(questions.asked.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut questions = Questions::new(Bounds::new(4));
        let kept = questions.kept;
        for n in 0..2 * kept as u64 {
            questions.asked(Time::default(), ProbeId(n), target(4));
            questions.own(event(n, 5, ProbeOutcome::Sent));
        }
        assert_eq!((questions.asked.len(), questions.own.len()), (kept, kept));
    }
}
