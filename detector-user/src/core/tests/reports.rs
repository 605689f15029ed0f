//! What the node's own reports do to a peer: it is probed, becomes Degraded or, if the kernel has no
//! evidence, its breaker opens. It never becomes Dead.

mod closing;

use super::{super::testing::report, *};

const TIMED_OUT: Outcome = Outcome::TimedOut;

impl World {
    /// A peer of which nothing is known: no connection, and nobody answers.
    fn unknown() -> Self {
        let mut world = Self::new(Settings::default());
        world.look(0, Vec::new());
        world.at(1000);
        assert_eq!(world.state().verdict, Verdict::Unknown);
        world
    }

    fn report(&mut self, millis: u64, outcome: Outcome) {
        self.at(millis);
        self.signal(Signal::Reported {
            reports: vec![OperationReport {
                peer: Some(peer()),
                ..report(millis, Operation::Control, outcome)
            }],
        });
    }

    /// Three failures at once.
    fn fail(&mut self, millis: u64) {
        for _ in 0..3 {
            self.report(millis, TIMED_OUT);
        }
    }

    /// A look comes back empty, after the detection time that those who were asked get.
    fn fail_and_look(&mut self, millis: u64) {
        self.fail(millis);
        self.look(millis + 260, Vec::new());
    }

    /// The verdict, the breaker, and the reason of the one that is not as usual.
    fn shown(&self) -> (Verdict, Breaker, Reason) {
        let state = self.state();
        let reason = match state.breaker {
            Breaker::Closed => state.reason,
            Breaker::Open | Breaker::HalfOpen => state.breaker_reason,
        };
        (state.verdict, state.breaker, reason)
    }
}

const OPEN: (Verdict, Breaker, Reason) =
    (Verdict::Unknown, Breaker::Open, Reason::FailuresReported);

#[test]
fn a_failed_call_has_the_peer_looked_at_and_asked_at_once() {
    for outcome in [TIMED_OUT, Outcome::Unreachable] {
        let mut world = World::alive(1);
        world.answers = |_| Some(ProbeAnswer::SynAck);
        world.look(3010, vec![idle(0, 3005)]);
        let (looks, probes) = (world.looks_asked, world.probed.len());
        world.report(3100, outcome);
        world.at(3101);
        assert_eq!(world.looks_asked, looks + 1);
        assert!(world.probed.len() > probes);
    }
}

#[test]
fn a_storm_of_failures_asks_once_a_second() {
    let mut world = World::alive(1);
    world.at(5000);
    let (probes, looks) = (world.probed.len(), world.looks_asked);
    for millis in 5000..8000 {
        let outcome = [TIMED_OUT, TIMED_OUT, Outcome::Succeeded][millis as usize % 3];
        world.report(millis, outcome);
    }
    assert!(
        world.looks_asked - looks <= 5,
        "{}",
        world.looks_asked - looks
    );
    let notes = world.explain().events;
    let notes = notes
        .iter()
        .filter(|event| event.source == SourceKind::Reports);
    assert_eq!(notes.count(), 3);
    let surveys = world.probed[probes..]
        .iter()
        .filter(|(_, target)| *target == ProbeTarget::Connect(endpoint()));
    assert!((3..=12).contains(&surveys.count()));
}

#[test]
fn three_failures_open_the_breaker_of_a_peer_of_which_the_kernel_knows_nothing() {
    let mut world = World::unknown();
    world.report(2000, TIMED_OUT);
    world.report(2500, Outcome::Unreachable);
    world.look(2900, Vec::new());
    assert_eq!(world.state().breaker, Breaker::Closed, "two");
    world.report(3000, TIMED_OUT);
    world.look(3200, Vec::new());
    assert_eq!(
        world.state().breaker,
        Breaker::Closed,
        "it has time to answer"
    );
    world.look(3260, Vec::new());
    assert_eq!(world.shown(), OPEN);
    assert!(world.state().presumed_down);
    assert_eq!(world.state().changed_at, ms(3260));
    world.at(20_000);
    assert_eq!(world.destroyed, [], "nothing is destroyed for it");
}

#[test]
fn looks_come_until_it_is_decided() {
    let mut world = World::unknown();
    world.look(2000, Vec::new());
    world.fail(2000);
    world.look(2001, Vec::new());
    while world.state().breaker == Breaker::Closed {
        let millis = world.next_look();
        assert!(millis <= 2260, "{millis}");
        world.look(millis, Vec::new());
    }
    assert_eq!(world.now, ms(2250));
}

#[test]
fn an_answered_call_between_them_keeps_it_closed() {
    for answered in [Outcome::Succeeded, Outcome::Refused] {
        let mut world = World::unknown();
        for (n, outcome) in [TIMED_OUT, TIMED_OUT, answered, TIMED_OUT, TIMED_OUT]
            .into_iter()
            .enumerate()
        {
            world.report(2000 + n as u64, outcome);
        }
        world.look(3000, Vec::new());
        assert_eq!(world.state().breaker, Breaker::Closed, "{answered}");
    }
}

#[test]
fn a_lost_quorum_says_nothing_of_the_peer() {
    let mut world = World::unknown();
    for _ in 0..5 {
        world.report(2000, Outcome::QuorumLost);
    }
    world.look(3000, Vec::new());
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn the_kernel_heard_it_since_so_it_is_slow_and_never_open() {
    let mut world = World::alive(1);
    world.report(1000, TIMED_OUT);
    world.look(1500, vec![idle(0, 1400)]);
    assert_eq!(world.state().verdict, Verdict::Alive, "one");
    world.report(2000, TIMED_OUT);
    world.report(3000, TIMED_OUT);
    let slow = (Verdict::Degraded, Breaker::Closed, Reason::SlownessReported);
    assert_eq!(world.shown(), slow);
    for n in 4..60 {
        world.report(n * 1000, TIMED_OUT);
        world.look(n * 1000 + 400, vec![idle(0, n * 1000 + 300)]);
        assert_eq!(world.shown(), slow);
    }
    world.report(60_000, Outcome::Refused);
    let alive = (Verdict::Alive, Breaker::Closed, Reason::PacketReceived);
    assert_eq!(world.shown(), alive);
    assert!(
        world
            .published
            .iter()
            .all(|state| state.breaker == Breaker::Closed)
    );
}

#[test]
fn it_is_no_longer_slow_when_no_call_fails_for_the_window() {
    let mut world = World::alive(1);
    world.fail(1000);
    world.look(1500, vec![idle(0, 1400)]);
    assert_eq!(world.state().verdict, Verdict::Degraded);
    world.look(60_900, vec![idle(0, 60_800)]);
    assert_eq!(world.state().verdict, Verdict::Degraded);
    world.look(61_100, vec![idle(0, 61_050)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn an_idle_connection_that_was_not_heard_since_is_neither_slow_nor_open() {
    let mut world = World::alive(1);
    world.fail(2000);
    for millis in [2300, 4000, 30_000] {
        world.look(millis, vec![idle(0, 0)]);
        assert_eq!(world.state().verdict, Verdict::Alive);
        assert_eq!(world.state().breaker, Breaker::Closed);
    }
}

#[test]
fn who_is_known_to_answer_is_left_to_the_kernel() {
    let mut world = World::new(Settings::default());
    world.answers = |_| Some(ProbeAnswer::SynAck);
    world.at(50);
    world.look(60, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Alive);
    world.answers = |_| None;
    world.fail(2000);
    for _ in 0..200 {
        let millis = world.next_look();
        world.look(millis, Vec::new());
        if world.state().verdict == Verdict::Dead {
            break;
        }
        assert_eq!(world.state().breaker, Breaker::Closed);
    }
    // Our own probes told, not the reports.
    let found = (Verdict::Dead, Breaker::Open, Reason::ProbeUnanswered);
    assert_eq!(world.shown(), found);
    assert!(!world.state().presumed_down);
}

/// It answered long ago, and our own questions do not leave at the moment.
#[test]
fn who_answered_once_is_left_to_the_kernel_however_long_ago() {
    let mut world = World::new(Settings::default());
    world.answers = |_| Some(ProbeAnswer::SynAck);
    world.at(50);
    world.look(60, Vec::new());
    world.probes_leave = false;
    world.look(100_000, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Unknown);
    world.fail_and_look(101_000);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn what_was_heard_just_before_the_first_failure_may_have_been_heard_after_it() {
    let mut world = World::unknown();
    world.event(
        1990,
        FlowEventKind::ErrorReport { errno: 104 },
        idle(0, 1995),
    );
    world.fail(2000);
    world.look(2260, Vec::new());
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn nothing_opens_while_this_node_may_be_cut_off() {
    let mut world = World::unknown();
    let network = |event| Signal::Network {
        at: ms(1000),
        event,
    };
    let route = Some(Route {
        link: 2,
        gateway: None,
    });
    let addr = endpoint().addr;
    world.signal(network(NetworkEvent::Route { addr, route }));
    let link = |up| NetworkEvent::Link {
        link: 2,
        name: "eth0".to_owned(),
        up,
    };
    world.signal(network(link(true)));
    world.signal(network(link(false)));
    world.fail_and_look(2000);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn calls_that_began_while_this_machine_stood_still_are_no_failures() {
    let mut world = World::unknown();
    world.now = ms(60_000);
    world.detector.handle_timeout(world.now);
    world.settle();
    world.fail_and_look(60_050);
    assert_eq!(world.state().breaker, Breaker::Closed);
    world.fail_and_look(61_000);
    assert_eq!(world.shown(), OPEN);
}

#[test]
fn a_threshold_of_zero_switches_it_off() {
    let mut world = World::new(Settings {
        failure_threshold: 0,
        ..Settings::default()
    });
    world.look(0, Vec::new());
    world.fail_and_look(2000);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn observe_mode_only_says_what_it_would_have_done() {
    let mut world = World::new(Settings {
        mode: Mode::Observe,
        ..Settings::default()
    });
    world.look(0, Vec::new());
    world.fail_and_look(2000);
    let state = world.state();
    assert_eq!(
        (state.breaker, state.would_be_breaker),
        (Breaker::Closed, Breaker::Open)
    );
}

/// A slow peer that dies is found dead as any other.
#[test]
fn a_slow_peer_dies_by_the_kernel_s_evidence() {
    let mut world = World::alive(3);
    world.fail(100);
    world.look(400, (0..3).map(|n| idle(n, 300)).collect());
    assert_eq!(world.state().verdict, Verdict::Degraded);
    for n in 0..3 {
        world.event(510, FlowEventKind::Tlp, established(n, ms(500)));
    }
    world.look(511, (0..3).map(|n| established(n, ms(500))).collect());
    for n in 0..3 {
        world.event(
            714,
            FlowEventKind::Rto { count: 1 },
            established(n, ms(500)),
        );
    }
    let stalled = (0..3).map(|n| FlowReading {
        last_heard: Some(ms(500)),
        ..stalled(n, 1)
    });
    world.look(765, stalled.collect());
    assert_eq!(world.state().verdict, Verdict::Dead);
    assert!(!world.state().presumed_down);
}

#[test]
fn a_dead_peer_is_down_since_its_silence_began() {
    let mut world = World::alive(3);
    assert_eq!(world.state().down_since, None);
    world.cut(3);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);
    assert_eq!(world.state().down_since, Some(ms(10)));
}

#[test]
fn a_peer_whose_breaker_opens_on_reports_is_down_since_the_first_failure() {
    let mut world = World::unknown();
    world.fail_and_look(2000);
    assert!(world.state().presumed_down);
    assert_eq!(world.state().down_since, Some(ms(2000)));
    world.report(2500, Outcome::Succeeded);
    assert!(!world.state().presumed_down);
    assert_eq!(world.state().down_since, None);
}
