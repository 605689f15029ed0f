//! What follows from published states and reports together.

use super::*;
use crate::{
    core::testing::{ms, report, unknown},
    model::{Operation, Outcome},
};

const PEER: &str = "http://node4:9000";

/// A published state: Dead, and silent since 10 ms.
fn dead() -> PeerState {
    PeerState {
        verdict: Verdict::Dead,
        down_since: Some(ms(10)),
        ..unknown(PEER)
    }
}

/// A published state: the breaker is open because of reports; calls have failed since 10 ms.
fn fenced() -> PeerState {
    PeerState {
        presumed_down: true,
        down_since: Some(ms(10)),
        ..unknown(PEER)
    }
}

fn iam_timeout(millis: u64) -> OperationReport {
    OperationReport {
        lock: Some("iam/users".into()),
        ..report(millis, Operation::IamRead, Outcome::TimedOut)
    }
}

fn unreachable(millis: u64) -> OperationReport {
    OperationReport {
        peer: Some(PeerName::from_canonical(PEER)),
        ..report(millis, Operation::Control, Outcome::Unreachable)
    }
}

/// The correlations after the peer was published with this state and two reads then timed out.
fn followed(state: &PeerState) -> (Correlations, Vec<Cascade>) {
    let mut all = Correlations::default();
    all.published(ms(260), state);
    all.reported(ms(5000), &[iam_timeout(3000), iam_timeout(5000)]);
    let detected = all.take_detected();
    (all, detected)
}

/// The kernel's verdict is the initial failure for what the node reports next.
#[test]
fn a_death_and_what_follows_from_it_is_a_cascade() {
    let (mut all, detected) = followed(&dead());
    assert_eq!(all.cascades(ms(5000)), detected);
    assert_eq!(detected.len(), 1);
    assert_eq!(*detected[0].component, *PEER);
    assert!(detected[0].kernel_verdict);
    assert_eq!(detected[0].began_at, ms(10), "when the silence began");
    assert_eq!(all.take_detected(), [], "each is told once");
}

#[test]
fn a_breaker_that_opens_on_reports_is_an_initial_failure_too() {
    let (_, detected) = followed(&fenced());
    assert_eq!(detected.len(), 1);
    assert!(!detected[0].kernel_verdict);
    assert_eq!(detected[0].began_at, ms(10));
}

#[test]
fn a_peer_that_is_merely_unknown_is_no_failure() {
    let (_, detected) = followed(&unknown(PEER));
    assert_eq!(detected, []);
}

fn failures(all: &Correlations) -> u64 {
    all.failure_totals().map(|total| total.failures).sum()
}

/// A state is published for many reasons, but the death in it counts once.
#[test]
fn a_death_counts_once_until_the_peer_is_back() {
    let mut all = Correlations::default();
    for _ in 0..3 {
        all.published(ms(260), &dead());
    }
    assert_eq!(failures(&all), 1);
    all.published(ms(300), &unknown(PEER));
    all.published(ms(400), &dead());
    assert_eq!(failures(&all), 2);
    all.retracted(&dead().peer);
    all.published(ms(500), &dead());
    assert_eq!(failures(&all), 3);
}

/// Reports come first, then the kernel's evidence: there is one root cause, and it is the kernel's.
#[test]
fn the_kernel_s_verdict_confirms_what_reports_began() {
    let mut all = Correlations::default();
    all.published(ms(260), &fenced());
    all.published(ms(900), &dead());
    all.reported(ms(5000), &[iam_timeout(3000), iam_timeout(5000)]);
    let detected = all.take_detected();
    assert_eq!(detected.len(), 1);
    assert!(detected[0].kernel_verdict);
}

/// Calls to a dead peer that fail long after its death are no news and no new root cause.
#[test]
fn a_dead_peer_s_failing_calls_begin_nothing() {
    let late = 400_000;
    for (state, cascades) in [(dead(), 0), (unknown(PEER), 1)] {
        let mut all = Correlations::default();
        all.published(ms(260), &state);
        let reports = [
            unreachable(late),
            iam_timeout(late + 1),
            iam_timeout(late + 2),
        ];
        all.reported(ms(late + 2), &reports);
        assert_eq!(all.take_detected().len(), cascades, "{state:?}");
    }
}
