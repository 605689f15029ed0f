//! Scripts that proptest makes up, and makes shorter when one breaks a rule.

use std::time::Duration;

use detector_user::core::Settings;
use proptest::prelude::*;

use crate::{
    report,
    script::{Fault, HostSpec, Script, Timed, Ways, Work},
    ticks::ms,
    world::{Watch, run},
};

const HOSTS: usize = 3;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens to three hosts within a minute and a half.
    #[test]
    fn whatever_happens_the_rules_hold(script in script()) {
        let watch = Watch { replay: true, trace: false };
        if let Err(violation) = run(&script, watch) {
            let failure = report::failure(&script, &violation, report::SHOWN);
            return Err(TestCaseError::fail(failure));
        }
    }
}

fn script() -> impl Strategy<Value = Script> {
    let work = prop::collection::vec(prop::sample::select(&Work::ALL[..]), 1..4);
    let hosts = prop::collection::vec(work, HOSTS);
    let faults = prop::collection::vec(timed(), 0..6);
    (any::<u64>(), hosts, faults).prop_map(|(seed, work, mut faults)| {
        faults.sort_by_key(|timed: &Timed| timed.at);
        Script {
            seed,
            scenario: "made up",
            length: Duration::from_secs(90),
            settings: Settings::default(),
            hosts: work.iter().map(|work| HostSpec::near(work)).collect(),
            gateway: false,
            faults,
        }
    })
}

fn timed() -> impl Strategy<Value = Timed> {
    (1000..60_000u64, fault(), 10..20_000u64).prop_map(|(at, fault, lasts)| Timed {
        at: ms(at),
        fault,
        lasts: ms(lasts),
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let host = 0..HOSTS;
    let ways = prop_oneof![Just(Ways::Both), Just(Ways::Out), Just(Ways::Back)];
    prop_oneof![
        (host.clone(), 1..=30u32).prop_map(|(host, percent)| Fault::Loss { host, percent }),
        (host.clone(), 1..100u64).prop_map(|(host, longest)| Fault::Bursts {
            host,
            longest: ms(longest)
        }),
        (host.clone(), 1..100u64).prop_map(|(host, most)| Fault::Jitter {
            host,
            most: ms(most)
        }),
        (host.clone(), ways).prop_map(|(host, ways)| Fault::Cut { host, ways }),
        (host.clone(), 10..150u64, 200..2000u64).prop_map(|(host, down, up)| Fault::Flaps {
            host,
            down: ms(down),
            up: ms(up)
        }),
        (host.clone(), 0..5000u64).prop_map(|(host, start)| Fault::PowerOff {
            host,
            start: ms(start)
        }),
        host.clone().prop_map(|host| Fault::Restart { host }),
        (host.clone(), 1..5000u64).prop_map(|(host, every)| Fault::Reports {
            host,
            every: ms(every)
        }),
        (host, any::<bool>()).prop_map(|(host, prunes)| Fault::Stop { host, prunes }),
        Just(Fault::OwnLink),
        Just(Fault::OwnSwitch),
        Just(Fault::Pause),
        Just(Fault::Starve),
    ]
}
