//! Which witnesses count.

use super::*;
use crate::core::testing::ms;

fn host(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn heard(n: u8, at: u64) -> Witness {
    Witness {
        at: ms(at),
        host: host(n),
        can_ask: true,
        is_rare: false,
    }
}

fn witnesses(all: &[(u8, u64)]) -> Witnesses {
    let mut witnesses = Witnesses::new(Bounds::new(4));
    for &(n, at) in all {
        witnesses.heard(heard(n, at));
    }
    witnesses
}

/// Whether host 1 is silent from `since` to `now` as everyone is.
fn alone(witnesses: &Witnesses, since: u64, now: u64) -> bool {
    witnesses.none_but(Some(host(1)), ms(since), ms(now), Duration::ZERO)
}

#[test]
fn a_lone_peer_has_no_witnesses() {
    assert!(!alone(&witnesses(&[(1, 0), (1, 10)]), 0, 250));
}

#[test]
fn others_that_fell_silent_too_make_it_our_own_fault() {
    for all in [[(1, 5), (2, 8)], [(2, 8), (1, 5)], [(2, 5), (1, 8)]] {
        assert!(alone(&witnesses(&all), 10, 260), "{all:?}");
    }
}

#[test]
fn a_witness_must_be_heard_in_the_second_half() {
    assert!(alone(&witnesses(&[(1, 0), (2, 100)]), 0, 250));
    assert!(!alone(&witnesses(&[(1, 0), (2, 130), (3, 1)]), 0, 250));
}

#[test]
fn who_was_silent_long_before_is_no_witness() {
    assert!(!alone(&witnesses(&[(2, 0), (1, 20_000)]), 20_000, 20_250));
}

#[test]
fn who_cannot_be_asked_is_a_witness_for_a_shorter_time() {
    for (can_ask, expected) in [(true, true), (false, false)] {
        let mut witnesses = Witnesses::new(Bounds::new(4));
        witnesses.heard(Witness {
            can_ask,
            ..heard(2, 0)
        });
        assert_eq!(alone(&witnesses, 3000, 3250), expected);
    }
}

#[test]
fn once_nobody_is_heard_that_goes_for_everyone_until_somebody_is() {
    let mut witnesses = witnesses(&[(2, 0), (3, 0)]);
    assert!(!alone(&witnesses, 15_000, 15_250), "long silent anyway");
    witnesses.lose();
    assert!(alone(&witnesses, 15_000, 15_250));
    witnesses.heard(heard(2, 5));
    assert!(alone(&witnesses, 15_000, 15_250), "the clock is coarse");
    witnesses.heard(heard(3, 15_300));
    assert!(!alone(&witnesses, 15_000, 15_310));
    assert!(!alone(&witnesses, 30_000, 30_250));
}

#[test]
fn the_two_latest_are_kept_in_whatever_order_they_come() {
    let witnesses = witnesses(&[(3, 30), (2, 20), (1, 10), (2, 25), (3, 5)]);
    let other = |n| witnesses.other_than(Some(host(n))).map(|heard| heard.at);
    assert_eq!(other(3), Some(ms(25)));
    assert_eq!(other(9), Some(ms(30)));
}
