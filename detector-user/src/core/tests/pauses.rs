//! This machine, or the daemon's loop, stands still.

use super::*;

/// The world stands still until then: nothing that was due is done.
fn pause(world: &mut World, until: u64) {
    world.now = ms(until);
}

#[test]
fn what_was_sent_before_a_pause_is_no_evidence_after_it() {
    let mut world = World::alive(3);
    for n in 0..3 {
        world.event(10, FlowEventKind::Tlp, established(n, ms(0)));
        world.event(14, FlowEventKind::Rto { count: 1 }, established(n, ms(0)));
    }
    world.look(20, all_stalled(3, 1));
    pause(&mut world, 1000);
    world.signal(Signal::SocketsRead {
        at: ms(1000),
        source: SourceKind::SockDiag,
        peer: peer(),
        addr: endpoint().addr,
        flows: all_stalled(3, 1),
    });
    assert_ne!(world.state().verdict, Verdict::Dead);
    world.look(1100, all_stalled(3, 1));
    world.look(1260, all_stalled(3, 1));
    assert_ne!(world.state().verdict, Verdict::Dead);
}

#[test]
fn a_death_that_goes_on_after_the_pause_is_found() {
    let mut world = World::alive(3);
    for n in 0..3 {
        world.event(10, FlowEventKind::Tlp, established(n, ms(0)));
    }
    pause(&mut world, 1000);
    world.at(1000);
    for n in 0..3 {
        world.event(1010, FlowEventKind::Rto { count: 1 }, stalled(n, 0));
        world.event(1414, FlowEventKind::Rto { count: 2 }, stalled(n, 1));
    }
    world.look(1420, all_stalled(3, 2));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// A daemon that gets too little time is slow to judge, and still judges.
#[test]
fn a_daemon_that_is_never_on_time_finds_a_death_later() {
    let mut world = World::alive(3);
    let mut dead = None;
    let mut count = 0;
    for turn in 1..200 {
        let at = 10 + turn * 180;
        pause(&mut world, at);
        world.detector.handle_timeout(world.now);
        world.settle();
        let expired = (at / 204 + 1).ilog2();
        if expired > count {
            count = expired;
            for n in 0..3 {
                world.signal(Signal::Flow(FlowEvent {
                    at: ms(at - 1),
                    source: SourceKind::Ebpf,
                    flow: established(n, ms(0)).id,
                    kind: FlowEventKind::Rto { count },
                    reading: Some(stalled(n, count - 1)),
                }));
            }
        }
        world.signal(Signal::SocketsRead {
            at: ms(at),
            source: SourceKind::SockDiag,
            peer: peer(),
            addr: endpoint().addr,
            flows: all_stalled(3, count),
        });
        if world.state().verdict == Verdict::Dead {
            dead = Some(at);
            break;
        }
    }
    let dead = dead.expect("found at last");
    assert!(dead > 1000, "{dead}");
}

/// With a hundred thousand sockets a snapshot takes longer than a pause has to last. What it makes
/// due was not requested before it came back.
#[test]
fn a_snapshot_that_takes_long_is_no_pause() {
    let mut world = World::alive(3);
    for n in 0..3 {
        world.event(10, FlowEventKind::Tlp, established(n, ms(0)));
    }
    world.look_late(160, 20, all_stalled(3, 0));
    for n in 0..3 {
        world.event(214, FlowEventKind::Rto { count: 1 }, stalled(n, 0));
    }
    world.look_late(400, 260, all_stalled(3, 1));
    for n in 0..3 {
        world.event(626, FlowEventKind::Rto { count: 2 }, stalled(n, 1));
    }
    let silence = world.explain().silence.duration;
    assert!(silence >= Duration::from_millis(600), "{silence:?}");
    world.look_late(770, 630, all_stalled(3, 2));
    assert_eq!(world.state().verdict, Verdict::Dead);
}

/// A machine on which each turn of the loop comes late, with a flow that is stuck and one that is
/// not; `count` says how often the first was retransmitted, and `heard` when the other was heard.
fn never_on_time(count: fn(u64) -> u32, heard: fn(u64) -> u64) -> World {
    let mut world = World::alive(2);
    for at in (300..30_000).step_by(300) {
        pause(&mut world, at);
        world.detector.handle_timeout(world.now);
        world.settle();
        world.to_read.clear();
        let stuck = stalled(0, count(at));
        world.read(ms(at), endpoint().addr, vec![stuck, idle(1, heard(at))]);
    }
    world
}

/// The expiries of a flow whose last answer came at 0 ms.
fn expiries(at: u64) -> u32 {
    (at / 204 + 1).ilog2()
}

/// Its next expiry always comes later than the next pause.
#[test]
fn a_daemon_that_is_never_on_time_tells_and_frees_a_stalled_flow() {
    let world = never_on_time(expiries, |at| at - 100);
    let first = |state: &&PeerState| state.reason == Reason::FlowsStalled;
    assert!(world.published.iter().any(|state| first(&state)));
    let [Effect::DestroySockets(teardown)] = &world.destroyed[..] else {
        panic!("{:?}", world.destroyed)
    };
    assert_eq!(teardown.sockets, [(stalled(0, 0).id, stalled(0, 0).cookie)]);
}

/// The host was silent until 3400 ms, and the pauses hid that: each flow is answered after its next
/// expiry.
#[test]
fn a_flow_of_a_host_that_was_silent_during_pauses_is_not_stalled() {
    let until_6528 = |at| if at < 6528 { expiries(at) } else { 0 };
    let world = never_on_time(until_6528, |at| if at < 3400 { 0 } else { at - 100 });
    let stalled = |state: &PeerState| state.stalled_flows > 0;
    assert!(!world.published.iter().any(stalled));
}
