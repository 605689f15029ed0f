//! Which flows are probed when, and what missing answers count.

use super::*;
use crate::core::testing::{established, ms};

const REQUIRED: u32 = 3;
const REFERENCE: ProbeId = ProbeId(100);

fn flow(n: u16) -> Wanted {
    let reading = established(n, ms(0));
    Wanted {
        flow: reading.id,
        cookie: reading.cookie,
        is_stuck: false,
    }
}

fn target(n: u16) -> ProbeTarget {
    let Wanted { flow, cookie, .. } = flow(n);
    ProbeTarget::Flow { flow, cookie }
}

/// A round at this time on the first flow, whose probe is sent, with this answer of the
/// reference. Returns how many flows have left a probe unanswered before it.
fn round(waiting: &mut Waiting, at: u64, answer: Option<ProbeAnswer>) -> usize {
    waiting.set(ms(at), [flow(0)].into_iter());
    assert_eq!(waiting.next_round(ms(at), REQUIRED), [flow(0).flow]);
    let missing = waiting.missing(1).count();
    let reference = Reference {
        target: target(1),
        could_answer: true,
    };
    waiting.asked((reference, REFERENCE), &[(target(0), ProbeId(at))]);
    let mut event = |probe, target, outcome| {
        waiting.event(&ProbeEvent {
            at: ms(at + 1),
            probe,
            target,
            outcome,
        });
    };
    event(ProbeId(at), target(0), ProbeOutcome::Sent);
    if let Some(answer) = answer {
        event(REFERENCE, target(1), ProbeOutcome::Answered(answer));
    }
    missing
}

#[test]
fn an_answer_is_missing_only_if_the_host_answered_the_reference() {
    for (answer, missing) in [
        (None, 0),
        (Some(ProbeAnswer::Unreachable), 0),
        (Some(ProbeAnswer::Ack), 1),
        (Some(ProbeAnswer::Reset), 1),
    ] {
        let mut waiting = Waiting::default();
        assert_eq!(round(&mut waiting, 0, answer), 0);
        assert_eq!(round(&mut waiting, 650, None), missing, "{answer:?}");
    }
}

#[test]
fn a_flow_on_which_calls_begin_and_end_is_not_probed_more_often() {
    let mut waiting = Waiting::default();
    round(&mut waiting, 0, Some(ProbeAnswer::Ack));
    let due = waiting.timeout();
    waiting.set(ms(10), std::iter::empty());
    assert_eq!(waiting.timeout(), None);
    waiting.set(ms(20), [flow(0)].into_iter());
    assert_eq!(waiting.timeout(), due);
}

/// A flow whose answers are missing does not keep those waiting that are stuck as well.
#[test]
fn a_stuck_flow_is_probed_beside_one_whose_answers_are_missing() {
    let mut waiting = Waiting::default();
    round(&mut waiting, 0, Some(ProbeAnswer::Ack));
    let stuck = Wanted {
        is_stuck: true,
        ..flow(1)
    };
    waiting.set(ms(100), [flow(0), stuck, flow(2)].into_iter());
    let mut turn = waiting.next_round(ms(100), REQUIRED);
    turn.sort_unstable();
    assert_eq!(turn, [flow(0).flow, stuck.flow]);
}

/// Four of one namespace are followed by one of another.
#[test]
fn the_flows_of_each_namespace_take_their_turn() {
    let elsewhere = |n| {
        let wanted = flow(n);
        Wanted {
            flow: FlowId {
                netns: 7,
                ..wanted.flow
            },
            ..wanted
        }
    };
    let mut waiting = Waiting::default();
    let all = (0..6).map(flow).chain([elsewhere(6)]);
    waiting.set(ms(0), all.clone());
    let mut probed = Vec::new();
    for round in 0..4 {
        let turn = waiting.next_round(ms(round * 650), REQUIRED);
        assert!(turn.windows(2).all(|two| two[0].netns == two[1].netns));
        assert!(turn.len() <= AT_ONCE.0);
        probed.extend(turn);
    }
    for Wanted { flow, .. } in all {
        assert!(probed.contains(&flow), "{flow}");
    }
}

/// Its first probe is looked at soon; if it was answered, other flows wait for their time.
#[test]
fn no_flow_is_probed_again_before_its_time_unless_an_answer_is_missing() {
    for (answer, again) in [(true, 0), (false, 1)] {
        let mut waiting = Waiting::default();
        round(&mut waiting, 0, Some(ProbeAnswer::Ack));
        waiting.wait_for(ms(0), target(1), Duration::ZERO, REQUIRED);
        assert_eq!(waiting.timeout(), Some(ms(50)));
        if answer {
            waiting.event(&ProbeEvent {
                at: ms(2),
                probe: ProbeId(0),
                target: target(0),
                outcome: ProbeOutcome::Answered(ProbeAnswer::Ack),
            });
        }
        assert_eq!(waiting.next_round(ms(50), REQUIRED).len(), again);
        let next = waiting.timeout();
        assert!(next.is_some_and(|next| next >= ms(650)), "{next:?}");
    }
}

/// The host answers keepalives on one flow only once in half a second: if that answer is lost, those
/// that follow are not answered either.
#[test]
fn answers_that_the_host_would_not_send_are_not_missing_one_by_one() {
    let mut waiting = Waiting::default();
    for at in [0].into_iter().chain((650..=1_150).step_by(50)) {
        round(&mut waiting, at, Some(ProbeAnswer::Ack));
    }
    assert_eq!(waiting.missing(11).count(), 1);
    assert_eq!(waiting.unanswered_on(&flow(0).flow), 2);
}
