//! Scripts that the property search made up, and that once broke a rule.

use super::*;

/// Whose connects are refused is there: a connect that is refused is no sure answer, but the
/// destroy delay counts from it.
#[test]
fn what_is_refused_just_before_a_cut_counts_for_the_destroy_delay() {
    let mut off = script(&[], SECONDS(90));
    off.seed = 12_718_674_601_460_276_069;
    off.gateway = false;
    off.hosts = [
        &[Work::SMALL][..],
        &[Work::WAITING, Work::UPLOAD],
        &[Work::IDLE, Work::BULK],
    ]
    .map(HostSpec::near)
    .to_vec();
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

fn timed(at: Duration, fault: Fault, lasts: Duration) -> Timed {
    Timed { at, fault, lasts }
}
