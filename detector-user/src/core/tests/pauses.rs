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
