//! Stalled flows of a live peer: those that make progress are spared.

use super::*;

/// The peer is alive: keepalives on this very socket, and other sockets, are answered.
#[test]
fn a_stalled_flow_is_destroyed_though_its_peer_is_heard() {
    let heard = |n| FlowReading {
        last_heard: Some(after(3000)),
        ..flow(n)
    };
    let table = FakeTable::of(vec![heard(1), heard(2), heard(3)]);
    let (told, table) = carry_out(table, &of_stalled(&flows([1, 3])));
    assert_eq!(told, result(2, 0, 0, 0));
    assert_eq!(table.sockets, [heard(2)]);
    assert_eq!(table.looks, 1);
}

#[test]
fn a_flow_that_goes_on_is_spared_and_the_stalled_ones_beside_it_are_not() {
    let quiet = |n, heard_ms| FlowReading {
        unacked_segments: 0,
        unacked_bytes: 0,
        last_heard: Some(after(heard_ms)),
        ..flow(n)
    };
    let going_on = FlowReading {
        rto_count: 0,
        ..flow(2)
    };
    let shut = FlowReading {
        send_window_bytes: 0,
        ..flow(3)
    };
    // A call waits on the fifth, on which nothing was heard since.
    let sockets = vec![quiet(1, 3000), going_on, shut, flow(4), quiet(5, 0)];
    let table = FakeTable::of(sockets);
    let (told, table) = carry_out(table, &of_stalled(&flows(1..=5)));
    assert_eq!(told, result(2, 3, 0, 0));
    let destroyed = [flow(5), flow(4)].map(|flow| SocketKey::of_flow(&flow));
    assert_eq!(table.destroyed, destroyed);
}

/// Segments without bytes (a FIN) and bytes that are not yet segments: both wait for the peer.
#[test]
fn what_is_in_flight_makes_no_progress_until_it_is_acknowledged() {
    for (segments, bytes) in [(1, 0), (0, 1)] {
        let flow = |rto_count| FlowReading {
            unacked_segments: segments,
            unacked_bytes: bytes,
            rto_count,
            // The peer answers keepalives.
            last_heard: Some(after(3000)),
            ..flow(1)
        };
        let resolution = Duration::from_millis(9);
        assert!(!flow(1).is_progressing(SILENT_SINCE, resolution));
        assert!(flow(0).is_progressing(SILENT_SINCE, resolution));
    }
}

#[test]
fn where_nothing_is_in_flight_what_was_heard_later_is_progress() {
    let heard = |at| {
        let flow = FlowReading {
            unacked_segments: 0,
            unacked_bytes: 0,
            last_heard: Some(at),
            ..flow(1)
        };
        move |resolution| flow.is_progressing(SILENT_SINCE, resolution)
    };
    let moment = Duration::from_nanos(1);
    let (coarse, fine) = (Duration::from_millis(21), Duration::from_millis(9));
    // The core's own times are no finer than ten milliseconds.
    for (resolution, edge) in [(fine, after(10)), (coarse, after(21))] {
        assert!(!heard(edge)(resolution));
        assert!(heard(edge + moment)(resolution));
    }
}
