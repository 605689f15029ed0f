//! Scripts written by hand: each is one fault that was once judged wrongly.

mod found;
mod own;
mod stalled;

use std::time::Duration;

use detector_user::model::{Breaker, PeerState, Reason, Settings, Verdict};

use crate::{
    checks::Stats,
    report,
    script::{Fault, HostSpec, Script, Timed, Ways, Work},
    ticks::ms,
    world::{Watch, run, states},
};

/// When the fault begins; by then everything is known.
const AT: Duration = Duration::from_secs(20);

const NEAR: usize = 0;

/// Three uploading flows to the first host and calls to two others; the faults last for `lasts`.
fn script(faults: &[Fault], lasts: Duration) -> Script {
    with_work(&[Work::UPLOAD; 3], faults, lasts)
}

fn with_work(work: &[Work], faults: &[Fault], lasts: Duration) -> Script {
    let other = HostSpec::near(&[Work::SMALL, Work::SMALL]);
    Script {
        seed: 1,
        scenario: "by hand",
        length: AT + lasts + Duration::from_secs(15),
        settings: Settings::default(),
        hosts: vec![HostSpec::near(work), other.clone(), other],
        gateway: true,
        faults: faults
            .iter()
            .map(|&fault| Timed {
                at: AT,
                fault,
                lasts,
            })
            .collect(),
    }
}

/// Puts the first host behind the gateway.
fn routed(mut script: Script) -> Script {
    script.hosts[NEAR].routed = true;
    script
}

/// Asserts that all rules hold; returns what was seen.
#[track_caller]
fn holds(script: &Script) -> Stats {
    match run(script, Watch::default()) {
        Ok(outcome) => outcome.stats,
        Err(violation) => panic!("{}", report::failure(script, &violation, report::SHOWN)),
    }
}

/// The published states of the first host, with the time since the fault began.
fn of_first(script: &Script) -> Vec<(Duration, PeerState)> {
    states(script, NEAR)
        .into_iter()
        .filter_map(|(after, state)| Some((after.checked_sub(AT)?, state)))
        .collect()
}

/// Asserts that the first host is found dead within `most`, for this reason, and no other host is.
#[track_caller]
fn dies(script: &Script, reason: Reason, most: Duration) {
    assert_eq!(holds(script).deaths, 1);
    let states = of_first(script);
    let dead = states.iter().find(|(_, s)| s.verdict == Verdict::Dead);
    let (after, state) = dead.unwrap_or_else(|| panic!("never dead: {states:?}"));
    assert_eq!(state.reason, reason, "{state:?}");
    assert!(*after <= most, "after {after:?}");
}

/// Asserts that no host is found dead; returns the states of the first host during the fault.
#[track_caller]
fn lives(script: &Script) -> Vec<(Duration, PeerState)> {
    assert_eq!(holds(script).deaths, 0);
    let lasts = script.faults[0].lasts;
    let states = of_first(script).into_iter();
    states.filter(|(after, _)| *after <= lasts).collect()
}

/// Asserts that within `most` the host is degraded for one of these reasons, with a closed breaker.
#[track_caller]
fn is_degraded(states: &[(Duration, PeerState)], reasons: &[Reason], most: Duration) {
    let told = states
        .iter()
        .find(|(_, state)| state.verdict == Verdict::Degraded);
    let (after, state) = told.unwrap_or_else(|| panic!("never told: {states:?}"));
    assert!(reasons.contains(&state.reason), "{state:?}");
    assert_eq!(state.breaker, Breaker::Closed);
    assert!(*after <= most, "after {after:?}");
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

const DEAD_WITHIN: Duration = ms(1300);
const TOLD_WITHIN: Duration = ms(2500);

fn deaf(ways: Ways) -> Fault {
    Fault::Deaf { host: NEAR, ways }
}

#[test]
fn a_deaf_host_is_dead_although_its_card_answers() {
    let script = script(&[deaf(Ways::Both)], SECONDS(10));
    dies(&script, Reason::HostUnanswered, DEAD_WITHIN);
}

#[test]
fn a_deaf_host_that_is_waited_for_is_dead_as_well() {
    let script = with_work(&[Work::WAITING; 2], &[deaf(Ways::Both)], SECONDS(10));
    dies(&script, Reason::HostUnanswered, ms(1900));
}

#[test]
fn a_host_whose_segments_alone_are_lost_is_dead() {
    let script = script(&[deaf(Ways::Back)], SECONDS(10));
    dies(&script, Reason::HostUnanswered, DEAD_WITHIN);
}

#[test]
fn a_host_that_sends_and_receives_nothing_is_dead() {
    let work = [Work::UPLOAD, Work::UPLOAD, Work::DOWNLOAD];
    let script = with_work(&work, &[deaf(Ways::Out)], SECONDS(10));
    dies(&script, Reason::SendsUnanswered, DEAD_WITHIN);
}

#[test]
fn lost_large_segments_are_told_and_their_flows_ended() {
    let work = [Work::UPLOAD, Work::UPLOAD, Work::SMALL];
    let lost = Fault::LargeLost {
        host: NEAR,
        over: 1000,
    };
    let script = with_work(&work, &[lost], SECONDS(20));
    let states = lives(&script);
    let reasons = [Reason::LargeSegmentsLost, Reason::FlowsStalled];
    is_degraded(&states, &reasons, TOLD_WITHIN);
    assert!(
        states
            .iter()
            .any(|(_, s)| s.reason == Reason::LargeSegmentsLost)
    );
    assert!(holds(&script).freed >= 2);
}

#[test]
fn a_flow_that_is_black_holed_is_told_and_ended() {
    for ways in [Ways::Both, Ways::Out, Ways::Back] {
        let hole = Fault::FlowHole {
            host: NEAR,
            nth: 1,
            ways,
        };
        let script = script(&[hole], SECONDS(20));
        let states = lives(&script);
        is_degraded(&states, &[Reason::FlowsStalled], TOLD_WITHIN);
        assert_eq!(states.iter().map(|(_, s)| s.stalled_flows).max(), Some(1));
        assert_eq!(holds(&script).freed, 1, "{ways:?}");
    }
}

#[test]
fn a_host_one_of_whose_paths_is_dead_is_not() {
    for seed in 1..=8 {
        let script = script(&[Fault::PathLost { host: NEAR }], SECONDS(20));
        lives(&Script { seed, ..script });
    }
}

#[test]
fn a_host_that_is_off_is_dead_although_another_card_answers() {
    let off = [
        Fault::Proxied { host: NEAR },
        Fault::PowerOff {
            host: NEAR,
            start: ms(1000),
        },
    ];
    let script = script(&off, SECONDS(20));
    assert_eq!(holds(&script).deaths, 1);
    let states = of_first(&script);
    let dead = states.iter().find(|(_, s)| s.verdict == Verdict::Dead);
    assert!(dead.is_some_and(|(after, s)| *after <= DEAD_WITHIN && s.contested));
}

/// The new kernel does not know the calls, whether or not the host was found dead meanwhile.
#[test]
fn calls_to_a_host_that_restarts_at_once_end() {
    let off = Fault::PowerOff {
        host: NEAR,
        start: ms(100),
    };
    let script = with_work(&[Work::WAITING; 3], &[off], ms(300));
    assert!(holds(&script).restarts > 0);
}

#[test]
fn a_host_whose_address_is_taken_for_a_while_keeps_its_sockets() {
    holds(&script(&[Fault::Usurped { host: NEAR }], SECONDS(2)));
    holds(&routed(script(&[Fault::GatewayUsurped], SECONDS(2))));
}

/// The daemon has just started, and has heard no TCP through the right card.
#[test]
fn a_gateway_whose_address_is_taken_right_after_the_start_costs_no_sockets() {
    let mut script = routed(script(&[Fault::Daemon, Fault::GatewayUsurped], SECONDS(10)));
    script.faults[1].at += ms(700);
    holds(&script);
}

/// The reverse: the card that the daemon finds in use belongs to another host.
#[test]
fn a_daemon_that_starts_while_an_address_is_taken_destroys_nothing() {
    let near = script(&[Fault::Usurped { host: NEAR }, Fault::Daemon], SECONDS(5));
    let far = routed(script(&[Fault::GatewayUsurped, Fault::Daemon], SECONDS(5)));
    for mut script in [near, far] {
        script.faults[1].at += ms(2500);
        holds(&script);
    }
}

/// New connections are dropped, established ones work, and idle ones are only probed.
#[test]
fn a_host_that_takes_no_new_connections_lives() {
    let works = [
        &[Work::UPLOAD; 3][..],
        &[Work::IDLE; 3],
        &[Work::WAITING; 2],
        &[Work::CALLS, Work::IDLE],
    ];
    for work in works {
        for limit in [false, true] {
            let fault = Fault::SynsDropped { host: NEAR, limit };
            lives(&with_work(work, &[fault], SECONDS(20)));
            lives(&routed(with_work(work, &[fault], SECONDS(20))));
        }
    }
}

/// Dead is correct while the host is frozen; but its sockets are not destroyed too early, and it is
/// back at once.
#[test]
fn a_host_that_stands_still_for_a_while_comes_back() {
    for lasts in [ms(200), ms(900), ms(2000)] {
        for card in [true, false] {
            let frozen = Fault::Frozen { host: NEAR, card };
            let script = script(&[frozen], lasts);
            holds(&script);
            let states = of_first(&script);
            let open = |state: &PeerState| state.breaker == Breaker::Open;
            let Some(last) = states.iter().rposition(|(_, state)| open(state)) else {
                continue;
            };
            let back = states.get(last + 1).map(|(after, _)| *after);
            assert!(
                back.is_some_and(|back| back <= lasts + ms(500)),
                "{back:?} after {lasts:?}"
            );
        }
    }
}
