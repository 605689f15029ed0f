//! What is learnt of a path, and how long it is remembered.

use super::*;

const DETECTION_TIME: Duration = Duration::from_millis(250);

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn a_clean_path_asks_for_five_transmissions() {
    let mut path = PathHistory::new(at(0));
    path.progress(at(0), 100_000, 0);
    assert_eq!(path.required_transmissions(false), 5);
}

#[test]
fn where_the_peer_can_be_asked_sudden_loss_is_allowed_for() {
    let mut path = PathHistory::new(at(0));
    path.progress(at(0), 100_000, 0);
    assert_eq!(path.required_transmissions(true), 20);
}

#[test]
fn much_that_was_good_does_not_drown_what_turns_bad() {
    let mut path = PathHistory::new(at(0));
    for second in 0..100 {
        path.progress(at(second), 4000, 0);
    }
    for second in 100..110 {
        path.progress(at(second), 40, 12);
    }
    assert!(path.round_trip_loss(false) > 0.3);
}

#[test]
fn a_lossy_path_asks_for_more() {
    let mut path = PathHistory::new(at(0));
    path.progress(at(0), 1000, 300);
    assert_eq!(path.required_transmissions(false), 19);
}

#[test]
fn one_loss_among_few_segments_is_no_bad_path() {
    let mut path = PathHistory::new(at(0));
    path.progress(at(0), 8, 1);
    assert_eq!(path.required_transmissions(false), 6);
}

#[test]
fn loss_fades() {
    let mut path = PathHistory::new(at(0));
    path.progress(at(0), 1000, 300);
    path.progress(at(300), 1000, 0);
    assert_eq!(path.required_transmissions(false), 5);
}

#[test]
fn a_long_life_does_not_drown_what_is_new() {
    let mut path = PathHistory::new(at(0));
    path.first_sight(at(0), 10_000_000, 0);
    path.progress(at(0), 100, 40);
    assert!(
        path.round_trip_loss(false) > 0.2,
        "{}",
        path.round_trip_loss(false)
    );
}

#[test]
fn detection_time_outlasts_recovered_stalls_and_forgets_them() {
    let mut path = PathHistory::new(at(0));
    path.stall_recovered(at(0), Duration::from_millis(600));
    assert_eq!(
        path.detection_time(at(0), DETECTION_TIME),
        Duration::from_millis(900)
    );
    assert_eq!(path.detection_time(at(120), DETECTION_TIME), DETECTION_TIME);
}

#[test]
fn a_new_stall_does_not_refresh_an_old_one() {
    let mut path = PathHistory::new(at(0));
    path.stall_recovered(at(0), Duration::from_millis(600));
    path.stall_recovered(at(120), Duration::from_millis(10));
    assert_eq!(path.detection_time(at(120), DETECTION_TIME), DETECTION_TIME);
}

#[test]
fn everything_asked_for_is_bounded() {
    let mut path = PathHistory::new(at(0));
    path.progress(at(0), 10, 1000);
    path.stall_recovered(at(0), Duration::from_secs(3600));
    assert!(path.required_transmissions(false) <= 62);
    assert_eq!(
        path.detection_time(at(0), DETECTION_TIME),
        Duration::from_secs(6)
    );
}
