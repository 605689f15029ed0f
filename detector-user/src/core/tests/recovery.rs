//! How a death ends, and what is published of it.

use super::*;

#[test]
fn any_packet_closes_an_open_breaker() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().breaker, Breaker::Open);
    world.look(900, vec![idle(7, 890)]);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker),
        (Verdict::Alive, Breaker::Closed)
    );
    assert_eq!(state.reason, Reason::PacketReceived);
}

#[test]
fn a_finished_handshake_closes_an_open_breaker_without_a_look() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    world.event(900, FlowEventKind::Established, idle(7, 900));
    let state = world.state();
    assert_eq!(
        (state.breaker, state.reason),
        (Breaker::Closed, Reason::ConnectSucceeded)
    );
}

#[test]
fn what_was_heard_before_death_does_not_close_the_breaker() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    // The same last ACK, read again with the kernel's coarse clock.
    let flows = (0..3)
        .map(|n| FlowReading {
            last_heard: Some(ms(4)),
            ..stalled(n, 1)
        })
        .collect();
    world.look(400, flows);
    assert_eq!(world.state().breaker, Breaker::Open);
}

#[test]
fn half_open_after_the_recovery_timeout_and_a_trial_decides() {
    for outcome in [TrialOutcome::Succeeded, TrialOutcome::Failed] {
        let mut world = World::alive(3);
        world.cut(3);
        world.look(260, all_stalled(3, 1));
        world.look(1000, Vec::new());
        world.at(30_260);
        assert_eq!(world.state().breaker, Breaker::HalfOpen);
        assert_eq!(world.state().breaker_reason, Reason::RecoveryTimeout);
        let now = world.now;
        let trial = world.detector.acquire_trial(now, &peer()).unwrap();
        world
            .detector
            .finish_trial(now, &peer(), trial.id, outcome)
            .unwrap();
        world.settle();
        let expected = match outcome {
            TrialOutcome::Succeeded => (Breaker::Closed, Reason::TrialSucceeded),
            TrialOutcome::Failed => (Breaker::Open, Reason::TrialFailed),
        };
        let state = world.state();
        assert_eq!((state.breaker, state.breaker_reason), expected);
    }
}

#[test]
fn observe_mode_says_what_it_would_have_done() {
    let mut world = World::new(Settings {
        mode: Mode::Observe,
        ..Settings::default()
    });
    world.look(0, (0..3).map(|n| idle(n, 0)).collect());
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    let state = world.state();
    assert_eq!(state.verdict, Verdict::Dead);
    assert_eq!(state.breaker, Breaker::Closed);
    assert_eq!(state.would_be_breaker, Breaker::Open);
}

#[test]
fn peers_are_bounded_and_removal_is_published() {
    let mut world = World::new(Settings {
        max_peers: 1,
        ..Settings::default()
    });
    world.signal(Signal::PeerConfigured {
        peer: PeerName::from_canonical("http://node5:9000"),
        endpoints: vec![endpoint()],
        discovered: false,
    });
    assert!(world.published.iter().all(|state| state.peer == peer()));
    world
        .detector
        .handle_signal(ms(1), Signal::PeerRemoved { peer: peer() });
    let effects: Vec<_> = std::iter::from_fn(|| world.detector.poll_effect()).collect();
    assert_eq!(
        effects,
        [Effect::Retract {
            peer: peer(),
            revision: 2
        }]
    );
    assert_eq!(world.detector.poll_timeout(), None);
}

/// The kernel's events and its sockets come by different ways.
#[test]
fn an_answer_told_after_the_death_it_contradicts_ends_it() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, (1..3).map(|n| stalled(n, 1)).collect());
    assert_eq!(world.state().breaker, Breaker::Open);
    let established = established(0, ms(0));
    world.told_late(261, 9, FlowEventKind::Recovered, established.clone());
    assert_eq!(world.state().breaker, Breaker::Open);
    // The last ACK, read again with the coarse clock, and an event told again.
    let coarse = (1..3).map(|n| FlowReading {
        last_heard: Some(ms(14)),
        ..stalled(n, 1)
    });
    world.look(300, coarse.collect());
    world.told_late(301, 9, FlowEventKind::Recovered, established.clone());
    assert_eq!(world.state().breaker, Breaker::Open);
    let reset = FlowEventKind::Closed { errno: 104 };
    world.told_late(302, 259, reset, established);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn what_an_event_shows_of_its_socket_ends_a_death() {
    for kind in [FlowEventKind::Tlp, FlowEventKind::Closed { errno: 0 }] {
        let mut world = World::alive(3);
        world.cut(3);
        world.look(260, all_stalled(3, 1));
        world.event(900, kind, established(0, ms(890)));
        assert_eq!(world.state().breaker, Breaker::Closed, "{kind:?}");
    }
}

/// A death is no stall of a live peer, however it ends.
#[test]
fn nothing_is_learnt_from_a_death() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    world.look(3000, vec![idle(0, 2990)]);
    assert_eq!(world.state().breaker, Breaker::Closed);
    let detection_time = world.explain().silence.detection_time;
    assert_eq!(detection_time, Settings::default().detection_time);
}

#[test]
fn other_addresses_are_another_path() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(220, all_stalled(3, 1));
    world.look(240, (0..3).map(|n| idle(n, 239)).collect());
    let detection_time = Settings::default().detection_time;
    assert!(world.explain().silence.detection_time > detection_time);
    world.signal(Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![Endpoint {
            addr: [10, 0, 0, 5].into(),
            ..endpoint()
        }],
        discovered: false,
    });
    assert_eq!(world.explain().silence.detection_time, detection_time);
}

#[test]
fn a_trial_that_succeeded_is_a_packet_heard() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    world.at(30_260);
    let now = world.now;
    let trial = world.detector.acquire_trial(now, &peer()).unwrap();
    let succeeded = TrialOutcome::Succeeded;
    let finished = world
        .detector
        .finish_trial(now, &peer(), trial.id, succeeded);
    assert_eq!(finished, Ok(()));
    world.settle();
    assert_eq!(world.state().last_heard, Some(now));
}

#[test]
fn a_trial_ends_once_and_one_that_was_not_given_out_ends_nothing() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    world.at(30_260);
    let now = world.now;
    let trial = world.detector.acquire_trial(now, &peer()).unwrap().id;
    let unknown = trial + 1;
    for (trial, expected) in [
        (unknown, Err(TrialError::UnknownTrial)),
        (trial, Ok(())),
        (trial, Err(TrialError::UnknownTrial)),
    ] {
        let succeeded = TrialOutcome::Succeeded;
        let finished = world.detector.finish_trial(now, &peer(), trial, succeeded);
        assert_eq!(finished, expected, "{trial}");
        world.settle();
    }
}

#[test]
fn a_death_that_ended_leaves_no_latency() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert!(world.state().detection_latency.is_some());
    world.look(900, vec![idle(7, 890)]);
    assert_eq!(world.state().detection_latency, None);
}

#[test]
fn a_discovered_peer_is_only_observed() {
    let mut world = World::alive(3);
    world.signal(Signal::PeerConfigured {
        peer: peer(),
        endpoints: vec![endpoint()],
        discovered: true,
    });
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    let state = world.state();
    assert_eq!(
        (state.mode, state.breaker),
        (Mode::Observe, Breaker::Closed)
    );
    assert_eq!(state.would_be_breaker, Breaker::Open);
}

#[test]
fn handshakes_are_reported_while_a_peer_is_dead_or_has_no_connection() {
    let mut world = World::alive(3);
    assert_eq!(world.established_reported, [true, false]);
    world.established_reported.clear();
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    world.look(900, vec![idle(7, 890)]);
    world.look(2000, vec![idle(7, 1990)]);
    assert_eq!(world.established_reported, [true, false]);
    world.look(3000, Vec::new());
    assert_eq!(world.established_reported, [true, false, true]);
    world.event(3100, FlowEventKind::Established, idle(8, 3100));
    assert_eq!(world.established_reported, [true, false, true, false]);
    assert!(world.next_look() <= 3200, "it is looked at soon");
}

#[test]
fn a_peer_is_published_before_its_name_resolves() {
    let mut world = World::new(Settings::default());
    let other = PeerName::from_canonical("http://node5:9000");
    world.signal(Signal::PeerConfigured {
        peer: other.clone(),
        endpoints: Vec::new(),
        discovered: false,
    });
    let state = world.state();
    assert_eq!((&state.peer, state.verdict), (&other, Verdict::Unknown));
}

#[test]
fn a_stall_just_after_a_return_teaches_no_detection_time_and_a_later_one_does() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    // Not so soon that it was no death.
    world.look(1500, vec![idle(0, 1490)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    let mut stall = |from: u64| {
        world.event(from + 10, FlowEventKind::Tlp, established(0, ms(from)));
        world.look(from + 240, vec![established(0, ms(from))]);
        assert_eq!(world.state().verdict, Verdict::Suspect);
        world.look(from + 600, vec![idle(0, from + 590)]);
        assert_eq!(world.state().verdict, Verdict::Alive);
        world.explain().silence.detection_time
    };
    assert_eq!(stall(1600), Duration::from_millis(250));
    assert!(stall(5000) > Duration::from_millis(800));
}
