//! A breaker that opened on reports closes again.

use super::*;

#[test]
fn a_packet_closes_it() {
    let mut world = World::unknown();
    world.fail_and_look(2000);
    assert_eq!(world.shown(), OPEN);
    world.event(2500, FlowEventKind::Established, idle(0, 2500));
    assert_eq!(world.state().breaker, Breaker::Closed);
    world.look(2600, vec![idle(0, 2500)]);
    let alive = (Verdict::Alive, Breaker::Closed, Reason::PacketReceived);
    assert_eq!(world.shown(), alive);
    assert!(!world.state().presumed_down);
}

#[test]
fn a_connection_with_a_closed_window_closes_it_too() {
    let mut world = World::unknown();
    world.fail_and_look(2000);
    let blocked = FlowReading {
        send_window_bytes: 0,
        ..established(0, ms(2400))
    };
    world.look(2500, vec![blocked]);
    assert_eq!(world.state().verdict, Verdict::Degraded);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn an_answered_call_closes_it_and_one_that_ended_before_does_not() {
    let mut world = World::unknown();
    world.fail_and_look(2000);
    world.signal(Signal::Reported {
        reports: vec![OperationReport {
            peer: Some(peer()),
            ..report(2100, Operation::Control, Outcome::Succeeded)
        }],
    });
    assert_eq!(world.shown(), OPEN);
    world.report(3000, Outcome::Succeeded);
    let closed = (Verdict::Unknown, Breaker::Closed, Reason::NoEvidence);
    assert_eq!(world.shown(), closed);
}

#[test]
fn it_is_half_open_after_the_recovery_time_out_and_trials_decide() {
    for (outcome, breaker) in [
        (TrialOutcome::Succeeded, Breaker::Closed),
        (TrialOutcome::Failed, Breaker::Open),
    ] {
        let mut world = World::unknown();
        world.fail_and_look(2000);
        world.at(32_259);
        assert_eq!(world.state().breaker, Breaker::Open);
        world.at(32_261);
        let half = (Verdict::Unknown, Breaker::HalfOpen, Reason::RecoveryTimeout);
        assert_eq!(world.shown(), half);
        // A trial's own failure is reported as well: it changes nothing by itself.
        world.fail(32_300);
        world.look(32_600, Vec::new());
        assert_eq!(world.shown(), half);
        let now = world.now;
        let trial = world.detector.acquire_trial(now, &peer()).unwrap();
        let finished = world.detector.finish_trial(now, &peer(), trial.id, outcome);
        assert_eq!(finished, Ok(()));
        world.settle();
        assert_eq!(world.state().breaker, breaker);
        assert_eq!(world.state().presumed_down, breaker == Breaker::Open);
        let reason = match outcome {
            TrialOutcome::Succeeded => Reason::TrialSucceeded,
            TrialOutcome::Failed => Reason::TrialFailed,
        };
        assert_eq!(world.state().breaker_reason, reason);
    }
}

/// The host's card is there, its TCP does not answer.
#[test]
fn what_a_failed_trial_opened_no_neighbour_closes() {
    let mut world = World::unknown();
    world.fail_and_look(2000);
    world.at(32_261);
    let now = world.now;
    let trial = world.detector.acquire_trial(now, &peer()).unwrap();
    let failed = TrialOutcome::Failed;
    let finished = world.detector.finish_trial(now, &peer(), trial.id, failed);
    assert_eq!(finished, Ok(()));
    world.settle();
    world.answers = NEIGHBOUR;
    world.route(None);
    world.run(40_000, |_| Vec::new());
    assert_eq!(world.state().breaker, Breaker::Open);
    world.answers = ALL;
    world.run(90_000, |_| Vec::new());
    assert_eq!(world.state().breaker, Breaker::Closed, "TCP answers");
}
