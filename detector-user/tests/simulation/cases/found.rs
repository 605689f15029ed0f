//! Scripts that the property search made up, and that once broke a rule.

use super::*;
use crate::work::{Kind, MSS};

/// Whose connects are refused is there: a connect that is refused is no sure answer, but the
/// destroy delay counts from it.
#[test]
fn what_is_refused_just_before_a_cut_counts_for_the_destroy_delay() {
    let works: [&[Work]; 3] = [
        &[Work::SMALL],
        &[Work::WAITING, Work::UPLOAD],
        &[Work::IDLE, Work::BULK],
    ];
    let mut off = near(works);
    off.seed = 12_718_674_601_460_276_069;
    let power_off = Fault::PowerOff {
        host: 1,
        start: ms(3837),
    };
    let cut = Fault::Cut {
        host: 1,
        ways: Ways::Out,
    };
    off.faults = vec![
        timed(ms(3882), power_off, ms(10_793)),
        timed(ms(17_740), cut, ms(8543)),
    ];
    holds(&off);
}

/// It is back, and refuses a connect, before the daemon's next probe.
#[test]
fn a_dead_host_that_refuses_a_connect_keeps_its_sockets() {
    let dials = [Work::CALLS, Work::DIALS];
    let calls = [Work::PING, Work::CALLS, Work::CALLS];
    let mut off = near([&dials, &[Work::PING], &calls]);
    off.seed = 14_499_648_567_875_429_284;
    let stop = Fault::Stop {
        host: 2,
        prunes: false,
    };
    let jitter = Fault::Jitter {
        host: 0,
        most: ms(28),
    };
    let power_off = Fault::PowerOff {
        host: 0,
        start: ms(38),
    };
    off.faults = vec![
        timed(ms(18_115), stop, ms(409)),
        timed(ms(27_498), jitter, ms(1827)),
        timed(ms(29_385), Fault::OwnLink, ms(7156)),
        timed(ms(41_518), power_off, ms(829)),
    ];
    holds(&off);
}

/// A limit on SYNs lets none of the daemon's own probes through, but one of its program's connects.
#[test]
fn what_is_refused_in_a_silence_counts_for_the_destroy_delay() {
    let mut limited = near([&[Work::CALLS], &[Work::BULK], &[Work::BULK]]);
    limited.seed = 6_016_768_246_079_194_996;
    let reports = Fault::Reports {
        host: 0,
        every: ms(3832),
    };
    let limit = Fault::SynsDropped {
        host: 1,
        limit: true,
    };
    limited.faults = vec![
        timed(ms(11_047), reports, ms(7590)),
        timed(ms(34_402), Fault::Restart { host: 1 }, ms(14_751)),
        timed(ms(38_826), limit, ms(12_842)),
    ];
    holds(&limited);
}

/// A witness whose connection did not answer for a while is asked on it again when it is needed:
/// by connects alone it is heard too seldom to show that this node is not cut off.
#[test]
fn a_witness_is_asked_again_on_a_connection_that_was_stuck() {
    let mut deaf = script(&[], SECONDS(40));
    deaf.seed = 15_183_792_087_480_172_071;
    deaf.hosts = [[Work::DOWNLOAD], [Work::DIALS], [Work::DOWNLOAD]]
        .map(|work| HostSpec::near(&work))
        .to_vec();
    deaf.hosts[2].routed = true;
    let reports = Fault::Reports {
        host: 2,
        every: ms(4403),
    };
    let is_deaf = Fault::Deaf {
        host: 0,
        ways: Ways::Out,
    };
    deaf.faults = vec![
        timed(ms(23_248), reports, ms(6678)),
        timed(ms(34_056), Fault::PathLost { host: 2 }, ms(6862)),
        timed(ms(44_580), is_deaf, ms(2597)),
    ];
    holds(&deaf);
}

/// Its flows have backed off while this node had no link: the fault that comes then touches nothing.
#[test]
fn a_flow_that_has_backed_off_is_not_expected_to_stall() {
    let mut own = near([&[Work::UPLOAD; 2]; 3]);
    own.seed = 13_742_184_962_549_445_299;
    let lost = Fault::LargeLost { host: 0, over: 100 };
    own.faults = vec![
        timed(ms(9134), Fault::OwnLink, ms(13_331)),
        timed(ms(27_466), lost, ms(10)),
    ];
    holds(&own);
}

/// The daemon started while no connect left this node, so none is known to be answered: they are
/// tried before a host is dead for its only connection.
#[test]
fn a_host_whose_connects_were_never_answered_does_not_die_of_one_stuck_flow() {
    let mut stuck = near([
        &[Work::BULK],
        &[Work::WAITING],
        &[Work::DOWNLOAD, Work::IDLE],
    ]);
    stuck.gateway = true;
    stuck.hosts[2].routed = true;
    stuck.seed = 11_547_904_373_590_757_024;
    let hole = Fault::FlowHole {
        host: 1,
        nth: 0,
        ways: Ways::Both,
    };
    stuck.faults = vec![
        timed(ms(6166), Fault::OwnSyns, ms(882)),
        timed(ms(7047), Fault::Daemon, ms(10)),
        timed(ms(30_371), hole, ms(10)),
    ];
    holds(&stuck);
}

/// The only witness has no connection, and SYNs to it are rare: they come when they show that this
/// node is not cut off.
#[test]
fn a_witness_without_a_connection_is_heard_in_time() {
    let mut alone = script(&[], SECONDS(62));
    alone.seed = 1140;
    alone.gateway = false;
    alone.hosts = vec![HostSpec::near(&[Work::SMALL]), HostSpec::near(&[])];
    alone.faults = vec![timed(SECONDS(15), cut(0), SECONDS(62))];
    assert_eq!(holds(&alone).deaths, 1);
}

/// The only witness is the gateway, for which the link's budget has one probe in 256 ms.
#[test]
fn a_gateway_shows_that_two_cuts_are_two_deaths() {
    for after in [0, 300, 1000, 2436] {
        let mut two = script(&[], SECONDS(60));
        two.hosts = vec![
            HostSpec::near(&[Work::UPLOAD]),
            HostSpec::near(&[Work::WAITING]),
        ];
        two.hosts[1].routed = true;
        two.faults = vec![
            timed(AT, cut(1), SECONDS(60)),
            timed(AT + ms(after), cut(0), SECONDS(60)),
        ];
        assert_eq!(holds(&two).deaths, 2, "{after}");
    }
}

/// The only other host answers nothing but SYNs, and these may not be sent often: it is heard four
/// times a second, which must be enough for a silence that has to last a second.
#[test]
fn a_deaf_host_is_dead_where_the_only_witness_is_asked_by_syns() {
    let waits = Work {
        kind: Kind::Calls {
            segments: 2,
            reply: SECONDS(20),
        },
        every: SECONDS(30),
        size: MSS,
    };
    let mut deaf = script(&[], SECONDS(60));
    deaf.gateway = false;
    deaf.hosts = vec![HostSpec::near(&[]), HostSpec::near(&[waits])];
    deaf.hosts[0].firewalled = true;
    deaf.seed = 4229;
    let ways = Ways::Both;
    let fault = Fault::Deaf { host: 1, ways };
    deaf.faults = vec![timed(SECONDS(15), fault, SECONDS(35))];
    assert_eq!(holds(&deaf).deaths, 1);
}

/// What was lost in a burst just before the cut is part of the silence.
#[test]
fn a_burst_of_loss_before_a_cut_is_silence() {
    let uploads = [Work::UPLOAD];
    let mut lossy = near([&uploads, &uploads, &uploads]);
    lossy.settings.detection_time = ms(2000);
    let bursts = Fault::Bursts {
        host: 1,
        longest: ms(75),
    };
    lossy.faults = vec![
        timed(ms(8000), bursts, ms(10_000)),
        timed(ms(10_345), cut(1), ms(3300)),
    ];
    for seed in 1..=10 {
        lossy.seed = seed;
        holds(&lossy);
    }
}

fn cut(host: usize) -> Fault {
    let ways = Ways::Both;
    Fault::Cut { host, ways }
}

/// Three hosts on the link with this work.
fn near(works: [&[Work]; 3]) -> Script {
    let mut script = script(&[], SECONDS(40));
    script.gateway = false;
    script.hosts = works.map(HostSpec::near).to_vec();
    script
}

fn timed(at: Duration, fault: Fault, lasts: Duration) -> Timed {
    Timed { at, fault, lasts }
}
