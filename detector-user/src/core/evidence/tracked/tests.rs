//! The evidence of one flow, from its events and socket snapshots.

use super::*;
use crate::{
    core::testing::{established, ms},
    model::{Reason, TcpState},
};

#[test]
fn nothing_in_flight_is_no_demand() {
    let mut reading = established(1, ms(0));
    reading.unacked_bytes = 0;
    reading.unacked_segments = 0;
    reading.rto_count = 3;
    assert_eq!(first_read(ms(500), reading).demand(), None);
}

#[test]
fn a_zero_window_is_no_demand() {
    let mut reading = established(1, ms(0));
    reading.rto_count = 3;
    reading.send_window_bytes = 0;
    let flow = first_read(ms(500), reading);
    assert_eq!(flow.demand(), None);
    assert!(flow.is_zero_window());
}

#[test]
fn data_in_flight_alone_is_no_demand() {
    assert_eq!(first_read(ms(500), established(1, ms(0))).demand(), None);
}

#[test]
fn a_tlp_stands_until_something_is_heard_after_it() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.tlp(ms(10));
    assert_eq!(flow.demand(), Some(Reason::TlpUnanswered));
    assert_eq!(sent(&flow), [ms(10), ms(10)]);
    flow.read(ms(60), established(1, ms(50)));
    assert_eq!(flow.demand(), None);
    assert_eq!(sent(&flow), []);
}

#[test]
fn each_expiry_is_a_transmission_at_its_time() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.tlp(ms(10));
    flow.rto(ms(214), 1);
    flow.rto(ms(622), 2);
    assert_eq!(flow.demand(), Some(Reason::RtoUnanswered));
    assert_eq!(sent(&flow), [ms(10), ms(10), ms(214), ms(622)]);
}

#[test]
fn the_same_expiry_is_counted_once() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.rto(ms(204), 1);
    flow.read(ms(205), expired(1, 1, 408));
    flow.rto(ms(206), 1);
    assert_eq!(sent(&flow), [ms(0), ms(204)]);
}

#[test]
fn a_second_stall_starts_anew() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.rto(ms(204), 1);
    flow.rto(ms(1204), 1);
    assert_eq!(sent(&flow), [ms(1000), ms(1204)]);
}

/// It was made before the ACK that ended them.
#[test]
fn expiries_in_a_snapshot_that_an_answer_has_overtaken_are_none() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    (1..=6).for_each(|count| flow.rto(ms(200 << count), count));
    flow.recovered(ms(12_801));
    flow.read(ms(12_800), expired(1, 6, 12_800));
    assert_eq!((flow.demand(), sent(&flow)), (None, vec![]));
    flow.read(ms(12_900), expired(1, 1, 408));
    assert_eq!(flow.demand(), Some(Reason::RtoUnanswered));
}

#[test]
fn expiries_between_two_readings_are_dated_between_them() {
    let mut flow = first_read(ms(200), established(1, ms(0)));
    flow.read(ms(300), expired(1, 1, 408));
    assert_eq!(sent(&flow), [ms(96), ms(200)]);
}

#[test]
fn expiries_never_seen_are_dated_too_early_rather_than_too_late() {
    // Timers ran out 204, 408 and 816 ms apart; the next is 1632 ms after the last.
    let flow = first_read(ms(5000), expired(3, 3, 1632));
    assert_eq!(
        sent(&flow)[1..],
        [
            ms(5000 - 1632 - 1632 - 816),
            ms(5000 - 1632 - 1632),
            ms(5000 - 1632)
        ]
    );
}

/// The silence is counted from the latest moment: no demand is older than it surely is.
#[test]
fn expiries_never_seen_have_a_latest_moment_too() {
    let flow = first_read(ms(5000), expired(3, 3, 1632));
    let latest: Vec<_> = flow.transmissions().map(|sent| sent.latest).collect();
    assert_eq!(
        latest,
        [
            ms(5000 - 816),
            ms(5000 - 816 - 408),
            ms(5000 - 816),
            ms(5000)
        ]
    );
}

#[test]
fn bytes_or_segments_in_flight_are_a_demand() {
    let segments = FlowReading {
        unacked_bytes: 0,
        ..expired(1, 1, 408)
    };
    // The kernel has thrown its queue away, as it does before it gives up.
    let bytes = FlowReading {
        unacked_segments: 0,
        ..expired(1, 1, 408)
    };
    for reading in [segments, bytes] {
        let demand = first_read(ms(500), reading).demand();
        assert_eq!(demand, Some(Reason::RtoUnanswered));
    }
}

#[test]
fn a_reading_with_fewer_expiries_shows_an_answer() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.rto(ms(204), 1);
    flow.rto(ms(612), 2);
    flow.read(ms(2000), expired(1, 1, 408));
    assert_eq!(sent(&flow), [ms(1796), ms(1592)]);
}

#[test]
fn a_glimpse_takes_expiries_away_and_adds_none() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    let totals = flow.settled_totals();
    let glimpsed = FlowReading {
        segments_sent: 0,
        segments_retransmitted: 0,
        last_heard: Some(ms(10)),
        ..expired(1, 1, 408)
    };
    flow.glimpse(&glimpsed);
    assert_eq!(flow.demand(), None);
    assert_eq!(flow.settled_totals(), totals);
    flow.rto(ms(204), 1);
    assert_eq!(flow.demand(), Some(Reason::RtoUnanswered));
    flow.glimpse(&established(1, ms(5)));
    assert_eq!(flow.reading.rto_count, 0);
    assert_eq!(flow.reading.last_heard, Some(ms(10)));
    flow.read(ms(300), established(1, ms(6)));
    assert_eq!(flow.reading.last_heard, Some(ms(10)));
}

#[test]
fn what_stands_unanswered_is_not_settled() {
    let reading = FlowReading {
        segments_retransmitted: 5,
        ..expired(2, 2, 816)
    };
    assert_eq!(first_read(ms(5000), reading).settled_totals(), (998, 3));
}

/// Large segments that are lost for their size are sent again by fast retransmission, without an
/// expiry, while small ones behind them arrive.
#[test]
fn what_was_sent_again_settles_once_it_is_acknowledged() {
    let reading = |retransmitted, bytes_acked, unacked_segments| FlowReading {
        mss: 1448,
        bytes_acked,
        unacked_segments,
        segments_retransmitted: retransmitted,
        ..established(1, ms(0))
    };
    let mut flow = first_read(ms(0), reading(2, 5_000, 3));
    assert_eq!(flow.settled_totals(), (998, 0));
    flow.read(ms(100), reading(8, 5_000, 3));
    assert_eq!(flow.settled_totals(), (992, 0));
    flow.read(ms(200), reading(9, 9_000, 3));
    assert_eq!(flow.settled_totals(), (999, 8));
    flow.read(ms(300), reading(9, 12_000, 0));
    assert_eq!(flow.settled_totals(), (1_000, 9));
}

#[test]
fn a_connect_with_a_closed_window_is_not_slow() {
    let mut reading = expired(1, 1, 408);
    reading.send_window_bytes = 0;
    assert!(first_read(ms(500), reading.clone()).is_zero_window());
    reading.state = TcpState::SynSent;
    assert!(!first_read(ms(500), reading).is_zero_window());
}

#[test]
fn a_probe_told_again_is_counted_once() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.tlp(ms(10));
    flow.rto(ms(214), 1);
    flow.tlp(ms(10));
    flow.rto(ms(214), 1);
    assert_eq!(sent(&flow), [ms(10), ms(10), ms(214)]);
}

#[test]
fn a_reading_that_an_event_overtook_takes_nothing_away() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    flow.tlp(ms(10));
    let mut idle = established(1, ms(0));
    idle.unacked_bytes = 0;
    idle.unacked_segments = 0;
    flow.read(ms(9), idle);
    assert_eq!(flow.demand(), Some(Reason::TlpUnanswered));
    flow.rto(ms(214), 1);
    flow.read(ms(213), established(1, ms(0)));
    assert_eq!(sent(&flow), [ms(10), ms(10), ms(214)]);
}

#[test]
fn a_persisting_zero_window_is_slow_between_its_probes() {
    // The data waits unsent and the last probe was answered: only the back-off shows it.
    let mut reading = established(1, ms(490));
    reading.unacked_bytes = 0;
    reading.unacked_segments = 0;
    reading.send_window_bytes = 0;
    assert!(!first_read(ms(500), reading.clone()).is_zero_window());
    reading.backoff = 2;
    assert!(first_read(ms(500), reading).is_zero_window());
}

#[test]
fn a_syn_is_a_demand_once_it_was_sent_again() {
    let mut reading = established(1, ms(0));
    reading.state = TcpState::SynSent;
    reading.last_heard = None;
    reading.send_window_bytes = 0;
    assert_eq!(first_read(ms(500), reading.clone()).demand(), None);
    reading.rto_count = 1;
    let flow = first_read(ms(1100), reading);
    assert_eq!(flow.demand(), Some(Reason::ConnectUnanswered));
}

#[test]
fn the_times_kept_are_bounded() {
    let mut flow = first_read(ms(0), established(1, ms(0)));
    (1..1000).for_each(|n| flow.rto(ms(n), n as u32));
    flow.rto(ms(2000), u32::MAX);
    assert_eq!(sent(&flow).len(), RESENT_KEPT + 1);
}

fn first_read(at: Time, reading: FlowReading) -> TrackedFlow {
    let mut flow = TrackedFlow::unseen(&reading);
    flow.read(at, reading);
    flow
}

fn sent(flow: &TrackedFlow) -> Vec<Time> {
    flow.transmissions().map(|sent| sent.earliest).collect()
}

fn expired(count: u32, backoff: u32, rto_ms: u64) -> FlowReading {
    FlowReading {
        rto_count: count,
        backoff,
        rto: Duration::from_millis(rto_ms),
        ..established(1, ms(0))
    }
}
