//! The rules of the verdict, told as what happens to one peer's sockets over time.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    testing::{endpoint, established, ms},
    *,
};

/// A detector that watches one peer, and what it asked for and published.
struct World {
    detector: Detector,
    now: Time,
    published: Vec<PeerState>,
    looks_asked: usize,
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut world = Self {
            detector: Detector::new(settings),
            now: ms(0),
            published: Vec::new(),
            looks_asked: 0,
        };
        world.signal(Signal::PeerConfigured {
            peer: peer(),
            endpoints: vec![endpoint()],
            discovered: false,
        });
        world
    }

    /// A world whose peer is Alive on `flows` flows, heard at 0 ms.
    fn alive(flows: u16) -> Self {
        let mut world = Self::new(Settings::default());
        world.look(0, (0..flows).map(|n| idle(n, 0)).collect());
        assert_eq!(world.state().verdict, Verdict::Alive);
        world
    }

    fn signal(&mut self, signal: Signal) {
        self.detector.handle_signal(self.now, signal);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.detector.poll_effect() {
            match effect {
                Effect::Publish(state) => self.published.push(state),
                Effect::ReadSockets { .. } => self.looks_asked += 1,
                Effect::Retract { .. } | Effect::ReportEstablished { .. } => {}
            }
        }
    }

    fn at(&mut self, millis: u64) {
        self.now = ms(millis);
        self.detector.handle_timeout(self.now);
        self.drain();
    }

    fn event(&mut self, millis: u64, kind: FlowEventKind, reading: FlowReading) {
        self.at(millis);
        self.signal(Signal::Flow(FlowEvent {
            at: self.now,
            source: SourceKind::Ebpf,
            flow: reading.id,
            kind,
            reading: Some(reading),
        }));
    }

    fn look(&mut self, millis: u64, flows: Vec<FlowReading>) {
        self.at(millis);
        self.signal(Signal::SocketsRead {
            at: self.now,
            source: SourceKind::SockDiag,
            peer: peer(),
            flows,
        });
    }

    fn state(&self) -> &PeerState {
        self.published.last().expect("a peer is published at once")
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.published.iter().map(|state| state.verdict).collect()
    }

    /// The peer falls silent at 0 ms with something in flight on each flow: probes at 10 ms,
    /// time-outs at 214 ms.
    fn cut(&mut self, flows: u16) {
        for n in 0..flows {
            self.event(10, FlowEventKind::Tlp, established(n, ms(0)));
        }
        self.look(11, (0..flows).map(|n| established(n, ms(0))).collect());
        for n in 0..flows {
            self.event(214, FlowEventKind::Rto { count: 1 }, established(n, ms(0)));
        }
    }
}

fn peer() -> PeerName {
    PeerName::from_canonical("http://node4:9000")
}

fn idle(n: u16, heard_ms: u64) -> FlowReading {
    FlowReading {
        unacked_bytes: 0,
        unacked_segments: 0,
        ..established(n, ms(heard_ms))
    }
}

fn stalled(n: u16, rto_count: u32) -> FlowReading {
    FlowReading {
        rto_count,
        backoff: rto_count,
        rto: Duration::from_millis(204 << rto_count),
        ..established(n, ms(0))
    }
}

fn all_stalled(flows: u16, rto_count: u32) -> Vec<FlowReading> {
    (0..flows).map(|n| stalled(n, rto_count)).collect()
}

#[test]
fn three_silent_flows_are_dead_at_the_patience_and_not_before() {
    let mut world = World::alive(3);
    world.cut(3);
    // What is known to have been sent first was sent at 10 ms.
    world.look(259, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(260, all_stalled(3, 1));
    let state = world.state();
    assert_eq!(state.verdict, Verdict::Dead);
    assert_eq!(state.breaker, Breaker::Open);
    assert_eq!(state.reason, Reason::RtoUnanswered);
    assert_eq!(state.detection_latency, Some(Duration::from_millis(250)));
}

#[test]
fn a_look_is_asked_for_at_the_moment_of_decision() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(216, all_stalled(3, 1));
    world.look(226, all_stalled(3, 1));
    let before = world.looks_asked;
    world.at(259);
    assert_eq!(world.looks_asked, before);
    assert_eq!(world.detector.poll_timeout(), Some(ms(260)));
    world.at(260);
    assert_eq!(world.looks_asked, before + 1);
}

#[test]
fn a_single_flow_needs_more_time_outs() {
    let mut world = World::alive(1);
    world.cut(1);
    world.look(626, all_stalled(1, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.event(627, FlowEventKind::Rto { count: 2 }, stalled(0, 1));
    world.look(1460, all_stalled(1, 2));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.event(1461, FlowEventKind::Rto { count: 3 }, stalled(0, 2));
    world.look(1462, all_stalled(1, 3));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn events_alone_never_make_a_peer_dead() {
    let mut world = World::alive(3);
    world.cut(3);
    for count in 2..10 {
        for n in 0..3 {
            let at = 1000 * u64::from(count);
            world.event(at, FlowEventKind::Rto { count }, stalled(n, count));
        }
    }
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_packet_on_any_flow_ends_the_silence() {
    let mut world = World::alive(4);
    world.cut(3);
    let mut flows = all_stalled(3, 1);
    flows.push(idle(3, 240));
    world.look(260, flows);
    assert_ne!(world.state().verdict, Verdict::Dead);
}

#[test]
fn a_packet_on_an_unwatched_port_counts_as_life() {
    let mut world = World::alive(3);
    world.cut(3);
    let mut flows = all_stalled(3, 1);
    let mut ssh = idle(3, 240);
    ssh.id.remote.set_port(22);
    flows.push(ssh);
    world.look(260, flows);
    assert_ne!(world.state().verdict, Verdict::Dead);
}

#[test]
fn stalls_on_an_unwatched_port_are_no_demand() {
    let mut world = World::alive(1);
    let stalled = (0..9)
        .map(|n| {
            let mut flow = stalled(n, 3);
            flow.id.remote.set_port(22);
            flow
        })
        .collect();
    world.look(5000, stalled);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn a_flow_the_peer_dialled_is_watched_by_our_port() {
    let mut world = World::alive(1);
    let accepted = |n: u16, mut flow: FlowReading| {
        flow.id.local.set_port(9000);
        flow.id.remote.set_port(50_000 + n);
        flow
    };
    for n in 0..3 {
        let flow = accepted(n, established(n, ms(0)));
        world.event(10, FlowEventKind::Tlp, flow);
    }
    world.look(300, (0..3).map(|n| accepted(n, stalled(n, 1))).collect());
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// A path that swallows large segments: one flow is stuck for ever, the others are answered
/// and then have nothing to say.
#[test]
fn one_stuck_flow_beside_answered_ones_is_not_a_dead_peer() {
    let mut world = World::alive(4);
    let mut millis = 214;
    for count in 1..8 {
        world.event(millis, FlowEventKind::Rto { count }, stalled(0, count - 1));
        let heard = millis + 20;
        let mut flows: Vec<_> = (1..4).map(|n| idle(n, heard)).collect();
        flows.push(stalled(0, count));
        for later in [30, 100, 300] {
            world.look(millis + later, flows.clone());
        }
        millis += 204 << count;
    }
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_zero_window_is_slow_and_never_dead() {
    let mut world = World::alive(3);
    world.cut(3);
    for millis in (250..60_000).step_by(500) {
        let flows = (0..3)
            .map(|n| FlowReading {
                send_window_bytes: 0,
                probes_out: 1,
                last_heard: Some(ms(millis - 200)),
                ..stalled(n, 3)
            })
            .collect();
        world.look(millis, flows);
    }
    assert_eq!(world.state().verdict, Verdict::Slow);
    assert!(!world.verdicts().contains(&Verdict::Dead));
}

#[test]
fn a_reset_is_an_answer() {
    for errno in [104, 111, 32] {
        let mut world = World::alive(3);
        world.cut(3);
        world.event(245, FlowEventKind::Closed { errno }, stalled(0, 1));
        world.look(260, (1..3).map(|n| stalled(n, 1)).collect());
        assert_ne!(world.state().verdict, Verdict::Dead, "errno {errno}");
    }
}

#[test]
fn our_own_kill_is_no_answer() {
    let mut world = World::alive(3);
    world.cut(3);
    world.event(245, FlowEventKind::Closed { errno: 103 }, stalled(0, 1));
    world.look(260, (1..3).map(|n| stalled(n, 1)).collect());
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn connects_that_were_given_up_add_up() {
    let mut world = World::new(Settings::default());
    let syn = |n: u16, rto_count: u32| FlowReading {
        state: TcpState::SynSent,
        last_heard: None,
        rto_count,
        rto: Duration::from_secs(1),
        ..established(n, ms(0))
    };
    for n in 0..3 {
        let start = 3000 * u64::from(n);
        for count in 1..3 {
            world.event(
                start + 1000 * u64::from(count),
                FlowEventKind::SynRetransmit { count },
                syn(n, count - 1),
            );
        }
        world.event(
            start + 2900,
            FlowEventKind::ConnectFailed { errno: 0 },
            syn(n, 2),
        );
        world.look(start + 2950, Vec::new());
    }
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason),
        (Verdict::Dead, Reason::ConnectUnanswered)
    );
}

#[test]
fn a_refused_connect_is_an_answer() {
    let mut world = World::alive(3);
    world.cut(3);
    world.event(
        240,
        FlowEventKind::ConnectFailed { errno: 111 },
        stalled(9, 0),
    );
    world.look(260, all_stalled(3, 1));
    assert_ne!(world.state().verdict, Verdict::Dead);
}

/// Without BTF an event does not tell its namespace, and addresses recur in others.
#[test]
fn an_event_of_unknown_namespace_is_evidence_only_on_a_known_flow() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(216, all_stalled(3, 1));
    let mut foreign = stalled(9, 0);
    foreign.id.netns = 0;
    let looks = world.looks_asked;
    world.event(245, FlowEventKind::Established, foreign);
    world.at(255);
    assert!(world.looks_asked > looks);
    world.look(260, all_stalled(3, 1));
    assert_eq!(world.state().verdict, Verdict::Dead);

    let mut own = stalled(0, 0);
    own.id.netns = 0;
    world.event(300, FlowEventKind::Recovered, own);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

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
        assert_eq!(world.state().reason, Reason::RecoveryTimeout);
        let now = world.now;
        let trial = world.detector.acquire_trial(now, &peer()).unwrap();
        world
            .detector
            .finish_trial(now, &peer(), trial.id, outcome)
            .unwrap();
        world.drain();
        let expected = match outcome {
            TrialOutcome::Succeeded => (Breaker::Closed, Reason::TrialSucceeded),
            TrialOutcome::Failed => (Breaker::Open, Reason::TrialFailed),
        };
        assert_eq!((world.state().breaker, world.state().reason), expected);
    }
}

#[test]
fn a_stall_that_recovered_makes_us_more_patient() {
    let mut world = World::alive(3);
    world.cut(3);
    world.look(216, all_stalled(3, 1));
    world.look(240, (0..3).map(|n| idle(n, 230)).collect());
    assert_eq!(world.state().verdict, Verdict::Alive);
    // The next silence begins at 1000 ms; 230 ms were recovered from, so 345 are asked for.
    for n in 0..3 {
        world.event(1010, FlowEventKind::Tlp, established(n, ms(1000)));
        world.event(
            1214,
            FlowEventKind::Rto { count: 1 },
            established(n, ms(1000)),
        );
    }
    let silent = |rto_count| {
        (0..3)
            .map(|n| FlowReading {
                last_heard: Some(ms(1000)),
                ..stalled(n, rto_count)
            })
            .collect::<Vec<_>>()
    };
    world.look(1330, silent(1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(1350, silent(1));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

#[test]
fn a_demand_that_went_away_unanswered_proves_nothing() {
    let mut world = World::alive(1);
    world.cut(1);
    world.look(260, all_stalled(1, 1));
    assert_eq!(world.state().verdict, Verdict::Suspect);
    world.look(60_000, Vec::new());
    assert_eq!(world.state().verdict, Verdict::Unknown);
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

/// One thing that may happen, `after` the one before.
#[derive(Clone, Debug)]
enum Step {
    Event { flow: u16, kind: FlowEventKind },
    Look { flows: Vec<(u16, u32, bool, u64)> },
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let kind = prop_oneof![
        Just(FlowEventKind::Tlp),
        (1..16u32).prop_map(|count| FlowEventKind::Rto { count }),
        (1..6u32).prop_map(|count| FlowEventKind::SynRetransmit { count }),
        Just(FlowEventKind::Recovered),
        Just(FlowEventKind::Established),
        (0..120u32).prop_map(|errno| FlowEventKind::ConnectFailed { errno }),
        (0..120u32).prop_map(|errno| FlowEventKind::Closed { errno }),
        (0..120u32).prop_map(|errno| FlowEventKind::ErrorReport { errno }),
    ];
    let flow = (0..8u16, 0..10u32, any::<bool>(), 0..2000u64);
    let step = prop_oneof![
        (0..8u16, kind).prop_map(|(flow, kind)| Step::Event { flow, kind }),
        prop::collection::vec(flow, 0..8).prop_map(|flows| Step::Look { flows }),
        Just(Step::Wait),
    ];
    prop::collection::vec((0..3000u64, step), 0..60)
}

proptest! {
    /// Whatever happens: a peer heard within the patience is not found Dead, revisions rise,
    /// generations rise with the verdict, and nothing grows.
    #[test]
    fn whatever_happens_the_rules_hold(steps in steps()) {
        let mut world = World::new(Settings { max_flows_per_peer: 4, ..Settings::default() });
        let mut millis = 5000;
        for (after, step) in steps {
            millis += after;
            let before = world.published.len();
            match step {
                Step::Event { flow, kind } => {
                    world.event(millis, kind, established(flow, ms(millis - 1000)));
                    prop_assert!(!newly_dead(&world, before));
                }
                Step::Look { flows } => {
                    let youngest = flows.iter().map(|flow| flow.3).min();
                    let readings = flows.iter().map(|&(n, rto_count, window, age)| FlowReading {
                        last_heard: Some(ms(millis - age)),
                        send_window_bytes: u32::from(window) * 65_535,
                        ..stalled(n, rto_count)
                    }).collect();
                    world.look(millis, readings);
                    if youngest.is_some_and(|age| age < 250) {
                        prop_assert!(!newly_dead(&world, before));
                    }
                }
                Step::Wait => {
                    world.at(millis);
                    prop_assert!(!newly_dead(&world, before));
                }
            }
            for pair in world.published.windows(2) {
                prop_assert!(pair[0].revision < pair[1].revision);
                let changed = pair[0].verdict != pair[1].verdict;
                prop_assert_eq!(pair[1].generation, pair[0].generation + u64::from(changed));
            }
            prop_assert!(world.detector.poll_timeout().is_some());
            let explanation = world.detector.explain(world.now, &peer()).unwrap();
            prop_assert!(explanation.flows.len() <= 4);
            prop_assert!(explanation.events.len() <= 32);
        }
    }
}

fn newly_dead(world: &World, before: usize) -> bool {
    let was_dead = before > 0 && world.published[before - 1].verdict == Verdict::Dead;
    !was_dead
        && world.published[before..]
            .iter()
            .any(|state| state.verdict == Verdict::Dead)
}
