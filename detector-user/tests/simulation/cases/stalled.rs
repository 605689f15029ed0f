//! Flows that are stalled, and flows that only seem so.

use super::*;

/// Three hosts with this work, the first being the one with the fault, which begins right after the
/// start.
fn fresh(works: [&[Work]; 3], fault: Fault, lasts: Duration) -> Script {
    let mut script = with_work(works[0], &[fault], lasts);
    script.hosts = works.map(HostSpec::near).to_vec();
    script.gateway = false;
    script.faults[0].at = SECONDS(1);
    script
}

#[test]
fn a_flow_that_is_stuck_right_after_the_start_is_told() {
    let hole = Fault::FlowHole {
        host: NEAR,
        nth: 0,
        ways: Ways::Both,
    };
    for seed in 0..=20 {
        let works: [&[Work]; 3] = [&[Work::CALLS], &[Work::UPLOAD], &[Work::UPLOAD]];
        holds(&Script {
            seed,
            ..fresh(works, hole, ms(10))
        });
    }
}

/// One of two connections is forgotten on the way while new ones are dropped; the other answers.
#[test]
fn a_host_is_asked_on_each_of_its_connections() {
    let hole = Fault::FlowHole {
        host: NEAR,
        nth: 0,
        ways: Ways::Both,
    };
    let dropped = Fault::SynsDropped {
        host: NEAR,
        limit: false,
    };
    for after in (0..=10).map(|n| ms(n * 50)) {
        let mut script = with_work(&[Work::UPLOAD, Work::WAITING], &[hole, dropped], SECONDS(5));
        script.faults[1].at += after;
        lives(&script);
    }
}

/// A busy flow is seen for the first time when it is cut off; it was answered until then.
#[test]
fn what_was_heard_on_a_flow_that_is_seen_first_when_cut_counts_for_the_destroy_delay() {
    let works: [&[Work]; 3] = [
        &[Work::UPLOAD; 3],
        &[Work::UPLOAD; 3],
        &[Work::UPLOAD, Work::DIALS, Work::WAITING],
    ];
    let ways = Ways::Both;
    let cut = Fault::Cut { host: 2, ways };
    holds(&Script {
        seed: 14_984_226_236_284_758_342,
        ..fresh(works, cut, ms(633))
    });
}

/// What the host sends by itself says nothing about what is sent to it, however seldom it is
/// probed.
#[test]
fn a_stuck_flow_beside_one_that_only_receives_is_told() {
    for nth in 0..2 {
        for interval in [ms(0), ms(350), SECONDS(5)] {
            let hole = Fault::FlowHole {
                host: NEAR,
                nth,
                ways: Ways::Both,
            };
            let work = [Work::DOWNLOAD, Work::UPLOAD];
            let mut script = with_work(&work, &[hole], SECONDS(10));
            script.settings.idle_probe_interval = interval;
            holds(&script);
        }
    }
}

/// A call waits for its reply on a connection that something on the way forgets: nothing is sent on
/// it. The other connection is busy, or as quiet.
#[test]
fn a_call_that_waits_on_a_forgotten_connection_ends() {
    for other in [Work::UPLOAD, Work::IDLE, Work::WAITING] {
        for ways in [Ways::Both, Ways::Back] {
            let hole = Fault::FlowHole {
                host: NEAR,
                nth: 1,
                ways,
            };
            let script = with_work(&[other, Work::WAITING], &[hole], SECONDS(20));
            let seen = holds(&script);
            assert!(seen.freed_calls > 0, "{other:?} {ways:?}");
        }
    }
}
