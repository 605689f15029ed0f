//! Which targets are probed, when, and what a missing answer means.

use super::*;

/// A peer on the link that answers everything, with one idle connection.
pub(super) fn asked(settings: Settings) -> World {
    let mut world = World::new(settings);
    world.answers = ALL;
    world.route(None);
    world.at(1);
    world.look(2, vec![idle(0, 0)]);
    assert_eq!(world.state().verdict, Verdict::Alive);
    world
}

/// Looks are answered with these flows for as long as this; says when the verdict became
/// Dead.
pub(super) fn dead_at(
    world: &mut World,
    until: u64,
    flows: impl Fn(u64) -> Vec<FlowReading>,
) -> Option<u64> {
    world.look(millis(world.now) + 1, flows(millis(world.now) + 1));
    loop {
        let at = world.next_look();
        if at > until {
            return None;
        }
        world.look(at, flows(at));
        if world.state().verdict == Verdict::Dead {
            return Some(at);
        }
    }
}

/// Such a peer, when it has answered nobody any more and was found Dead; and when that was.
fn died() -> (World, u64) {
    let mut world = asked(Settings::default());
    world.look(1000, vec![idle(0, 0)]);
    world.answers = NONE;
    let dead = dead_at(&mut world, 3000, |_| vec![idle(0, 0)]).expect("it is dead");
    (world, dead)
}

#[test]
fn an_idle_connection_is_asked_about_at_a_low_rate_by_what_disturbs_least() {
    let mut world = asked(Settings::default());
    world.probed.clear();
    while millis(world.now) < 9000 {
        let at = world.next_look().min(9000);
        world.look(at, vec![idle(0, 0)]);
    }
    let neighbour = ProbeTarget::Neighbour {
        addr: endpoint().addr,
        link: 2,
    };
    let (neighbours, others): (Vec<_>, Vec<_>) = world
        .probed
        .iter()
        .partition(|(_, target)| *target == neighbour);
    let count = neighbours.len();
    assert!((23..=29).contains(&count), "{count} in 9 s at 350 ms");
    // Flows cannot be probed on this machine: whether the host is there a SYN tells.
    let are_connects = others.iter().all(|(_, target)| target.is_connect());
    assert!(
        are_connects && (5..=11).contains(&others.len()),
        "{others:?}"
    );
    assert!(world.state().verdict == Verdict::Alive);
}

#[test]
fn without_a_connection_or_with_the_interval_at_zero_there_are_only_surveys() {
    let off = Settings {
        idle_probe_interval: Duration::ZERO,
        ..Settings::default()
    };
    for (settings, flows) in [(Settings::default(), Vec::new()), (off, vec![idle(0, 0)])] {
        let mut world = asked(settings);
        world.look(3, flows.clone());
        world.answers = ALL;
        // A connection may be made again soon after one has ended.
        world.run(12_000, |_| flows.clone());
        world.probed.clear();
        while millis(world.now) < 34_000 {
            let at = world.next_look();
            world.look(at, flows.clone());
        }
        assert_eq!(world.probed, []);
        world.at(55_000);
        assert_eq!(world.probed.len(), 3);
    }
}

#[test]
fn a_peer_whose_packets_flow_is_looked_at_and_not_asked() {
    let mut world = asked(Settings::default());
    world.look(100, vec![idle(0, 100)]);
    world.probed.clear();
    let looks = world.looks_asked;
    while millis(world.now) < 5000 {
        let at = world.next_look();
        world.look(at, vec![idle(0, at)]);
    }
    assert_eq!(world.probed, []);
    let looks = world.looks_asked - looks;
    assert!((10..=18).contains(&looks), "{looks}");
}

#[test]
fn a_silent_idle_peer_is_dead_a_detection_time_after_the_first_missing_answer() {
    let mut world = asked(Settings::default());
    world.look(1000, vec![idle(0, 0)]);
    world.probed.clear();
    world.answers = NONE;
    let dead = dead_at(&mut world, 3000, |_| vec![idle(0, 0)]).expect("it is dead");
    let first = world.probed[0].0;
    assert!(
        (first + 250..=first + 260).contains(&dead),
        "{first} {dead}"
    );
    assert_eq!(world.state().reason, Reason::ProbeUnanswered);
    assert!(dead - 1000 < 700, "{dead}");
}

#[test]
fn one_segment_in_flight_is_dead_a_detection_time_after_it_was_sent_if_probes_say_so() {
    let mut world = asked(Settings {
        idle_probe_interval: Duration::ZERO,
        ..Settings::default()
    });
    world.answers = NONE;
    let lone = |rto_count| FlowReading {
        unacked_segments: 1,
        last_heard: Some(ms(999)),
        ..stalled(0, rto_count)
    };
    world.look(1000, vec![idle(0, 999)]);
    world.event(1210, FlowEventKind::Tlp, lone(0));
    let dead = dead_at(&mut world, 3000, |_| vec![lone(0)]);
    let dead = dead.unwrap_or_else(|| panic!("{:#?}", world.explain()));
    // 0.9 of the detection time after the probe that was the first to ask again.
    assert!((1435..1445).contains(&dead), "{dead}");
}

#[test]
fn a_stuck_flow_of_a_peer_that_answers_is_not_a_dead_peer() {
    let mut world = asked(Settings::default());
    for (at, count) in [(1000, 1), (1408, 2), (2224, 3), (3856, 4), (7120, 5)] {
        world.event(at, FlowEventKind::Rto { count }, stalled(0, count - 1));
        let dead = dead_at(&mut world, at + 390, |_| vec![stalled(0, count)]);
        assert_eq!(dead, None);
    }
    let state = world.state();
    assert_eq!(
        (state.verdict, state.reason),
        (Verdict::Degraded, Reason::FlowsStalled)
    );
}

#[test]
fn who_never_answered_does_not_count_when_silent() {
    let mut world = World::new(Settings::default());
    world.route(None);
    world.at(1);
    assert_eq!(world.probed.len(), 3);
    world.look(2, vec![idle(0, 0)]);
    world.cut(1);
    let dead = dead_at(&mut world, 2000, |_| all_stalled(1, 1));
    assert_eq!(dead, None);
    let mut lines = world.explain().probes;
    // On a flow in trouble it is TCP that must answer.
    lines.retain(|line| !matches!(line.target, ProbeTarget::Flow { .. }));
    assert!(lines.iter().all(|line| !line.known_to_answer));
    assert!(lines.iter().any(|line| line.sent > 5));
}

#[test]
fn who_stops_answering_while_the_peer_is_heard_does_not_count() {
    let mut world = asked(Settings::default());
    // The process is stopped: its kernel answers, its full queue takes no connects.
    world.answers = |target| match target {
        ProbeTarget::Connect(Endpoint { port: 9000, .. }) => None,
        other => ALL(other),
    };
    for second in 1..1000 {
        world.at(second * 1000);
        world.look(second * 1000, vec![idle(0, 0)]);
        assert_ne!(world.state().verdict, Verdict::Dead);
    }
    let lines = world.explain().probes;
    let is_flow = |line: &&ProbeLine| matches!(line.target, ProbeTarget::Flow { .. });
    for line in lines.iter().filter(|line| !is_flow(line)) {
        let is_open = line.target == ProbeTarget::Connect(endpoint());
        assert_eq!(line.known_to_answer, !is_open, "{line:?}");
    }
}

#[test]
fn a_probe_that_was_not_sent_is_no_evidence() {
    let mut world = asked(Settings::default());
    world.look(1000, vec![idle(0, 0)]);
    world.probes_leave = false;
    let before = world.probed.len();
    let dead = dead_at(&mut world, 60_000, |_| vec![idle(0, 0)]);
    assert!(world.probed.len() > before);
    assert_eq!(dead, None);
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn behind_a_router_the_neighbour_is_not_the_peer() {
    let mut world = World::new(Settings::default());
    world.answers = ALL;
    world.route(Some([10, 0, 0, 1].into()));
    world.at(1);
    let asked_peer = |(_, target): &&(u64, ProbeTarget)| target.addr() == endpoint().addr;
    let is_neighbour = |(_, t): &(u64, ProbeTarget)| matches!(t, ProbeTarget::Neighbour { .. });
    assert!(!world.probed.iter().filter(asked_peer).any(is_neighbour));
    assert!(world.probed.iter().any(is_neighbour), "the router is asked");
}

#[test]
fn a_dead_peer_that_answers_tcp_is_closed_at_once() {
    let (mut world, dead) = died();
    world.answers = ALL;
    world.at(dead + 600);
    let breakers: Vec<_> = world.published.iter().rev().map(|s| s.breaker).collect();
    assert_eq!(breakers[..2], [Breaker::Closed, Breaker::Open]);
    assert!(!breakers.contains(&Breaker::HalfOpen));
    assert_eq!(world.state().verdict, Verdict::Alive);
}

#[test]
fn a_neighbour_s_answer_alone_opens_nothing_and_tcp_s_closes() {
    let (mut world, dead) = died();
    world.answers = NEIGHBOUR;
    world.at(dead + 600);
    let state = world.state();
    assert_eq!(
        (state.verdict, state.breaker),
        (Verdict::Dead, Breaker::Open)
    );
    world.answers = ALL;
    world.at(dead + 1200);
    assert_eq!(world.state().breaker, Breaker::Closed);
}

#[test]
fn a_dead_peer_that_could_answer_stays_open_beyond_the_recovery_timeout() {
    let (mut world, _) = died();
    world.probed.clear();
    world.at(100_000);
    assert_eq!(world.state().breaker, Breaker::Open);
    // Two connects, five times a second, and the neighbour within its budget.
    let connects = world.probed.iter().filter(|(_, t)| t.is_connect()).count();
    assert!((960..=1000).contains(&connects), "{connects}");
    let neighbours = world.probed.len() - connects;
    assert!((340..=500).contains(&neighbours), "{neighbours}");
}

#[test]
fn probes_are_bounded_by_the_ceiling() {
    let mut world = asked(Settings {
        max_probes_per_second: 10,
        ..Settings::default()
    });
    world.look(1000, vec![idle(0, 0)]);
    world.probed.clear();
    world.answers = NONE;
    world.at(11_000);
    assert!(world.probed.len() <= 101, "{}", world.probed.len());
}

#[test]
fn slow_answers_make_for_detection_time() {
    let mut world = asked(Settings::default());
    // An answer that took 300 ms: the next may take twice that.
    let target = ProbeTarget::Connect(endpoint());
    let probe = ProbeId(1_000_000);
    world.at(1000);
    world.detector.handle_signal(
        ms(1000),
        Signal::Probe(ProbeEvent {
            at: ms(1000),
            probe,
            target,
            outcome: ProbeOutcome::Answered(ProbeAnswer::SynAck),
        }),
    );
    let before = world.explain().silence.detection_time;
    assert_eq!(before, Duration::from_millis(250), "it was not ours");
    world.answers = NONE;
    let asked = world.probed.len();
    world.look(1001, vec![idle(0, 0)]);
    while world.probed.len() == asked {
        world.at(millis(world.now) + 1);
    }
    let sent = millis(world.now);
    let last = ProbeId(world.last_probe);
    world.now = ms(sent + 300);
    world.detector.handle_signal(
        world.now,
        Signal::Probe(ProbeEvent {
            at: ms(sent + 300),
            probe: last,
            target: world.probed[asked].1,
            outcome: ProbeOutcome::Answered(ProbeAnswer::Neighbour(CARD)),
        }),
    );
    let detection_time = world.explain().silence.detection_time;
    assert!(
        detection_time >= Duration::from_millis(600),
        "{detection_time:?}"
    );
}

#[test]
fn it_is_told_now_and_then_that_the_peer_was_heard() {
    let mut world = asked(Settings::default());
    world.heard.clear();
    let published = world.published.len();
    for second in 1..=20 {
        world.look(second * 500, vec![idle(0, second * 500)]);
    }
    assert_eq!(world.published.len(), published);
    assert!((9..=11).contains(&world.heard.len()), "{:?}", world.heard);
}

#[test]
fn a_neighbour_that_the_kernel_could_not_find_counts() {
    let mut world = World::alive(1);
    world.route(None);
    world.cut(1);
    let before = world.unanswered();
    world.look(300, all_stalled(1, 1));
    world.signal(Signal::Network {
        at: ms(300),
        event: NetworkEvent::Neighbour {
            addr: endpoint().addr,
            link: 2,
            state: NeighbourState::Failed,
            hardware: None,
        },
    });
    assert_eq!(world.unanswered(), before + 3);
    // Its card's answer ends that, and nothing else.
    world.signal(Signal::Network {
        at: ms(301),
        event: NetworkEvent::Neighbour {
            addr: endpoint().addr,
            link: 2,
            state: NeighbourState::Reachable,
            hardware: None,
        },
    });
    assert_eq!(world.unanswered(), before);
}

/// A connect to a dead peer waits for the neighbour's address, and leaves when it is back.
#[test]
fn how_long_a_dead_peer_took_to_answer_is_not_learnt() {
    let (mut world, dead) = died();
    world.at(dead + 500);
    let (sent, target) = *world.probed.last().expect("it is asked");
    let probe = ProbeId(world.last_probe);
    world.now = ms(sent + 800);
    let event = ProbeEvent {
        at: world.now,
        probe,
        target,
        outcome: ProbeOutcome::Answered(ProbeAnswer::SynAck),
    };
    world.signal(Signal::Probe(event));
    assert_eq!(world.state().verdict, Verdict::Alive);
    let detection_time = world.explain().silence.detection_time;
    assert_eq!(detection_time, Duration::from_millis(250));
}

/// Our own connects end like this where a firewall drops them.
#[test]
fn a_connect_that_was_given_up_is_no_reason_to_ask() {
    let mut world = asked(Settings::default());
    world.look(1000, vec![idle(0, 990)]);
    world.probed.clear();
    let looks = world.looks_asked;
    world.event(
        1010,
        FlowEventKind::ConnectFailed { errno: 0 },
        FlowReading {
            state: TcpState::SynSent,
            last_heard: None,
            ..established(9, ms(0))
        },
    );
    world.at(1050);
    assert_eq!(world.probed, []);
    assert!(world.looks_asked > looks, "it is looked at");
}
