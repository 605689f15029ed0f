//! Random scripts from proptest, which shortens a script that breaks a rule.
//!
//! Failures are kept next to these files, in `proptest-regressions`, and tried first. A failure
//! prints its seed, with which the run can be repeated: `cargo xtask simulate --cases`.

use std::{env, sync::OnceLock, time::Duration};

use detector_user::model::Settings;
use proptest::{prelude::*, test_runner::RngSeed};

use crate::{
    report,
    script::{Fault, HostSpec, Script, Timed, Ways, Work},
    ticks::ms,
    world::{Watch, run},
};

const HOSTS: usize = 3;

/// The number of scripts, unless another is requested.
const CASES: u32 = 24;

proptest! {
    #![proptest_config(config())]

    /// Whatever happens to three hosts within a minute and a half.
    #[test]
    fn whatever_happens_the_rules_hold(script in script(fault())) {
        holds(&script)?;
    }

    /// The same where a part of what is broken is whole, one of the hosts behind a gateway or not.
    #[test]
    fn whatever_is_left_whole_the_rules_hold(
        script in script(prop_oneof![2 => fault(), 3 => gray()]),
        routed in any::<bool>(),
    ) {
        let mut script = Script { gateway: routed, ..script };
        script.hosts[HOSTS - 1].routed = routed;
        holds(&script)?;
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: cases(),
        rng_seed: RngSeed::Fixed(seed()),
        ..ProptestConfig::default()
    }
}

fn holds(script: &Script) -> Result<(), TestCaseError> {
    let watch = Watch {
        replay: true,
        trace: false,
    };
    let Err(violation) = run(script, watch) else {
        return Ok(());
    };
    // Proptest itself makes it shorter.
    let trace = Watch {
        trace: true,
        ..watch
    };
    let violation = run(script, trace).err().unwrap_or(violation);
    let failure = report::shown(script, &violation, report::SHOWN);
    let again = format!(
        "See it again: cargo xtask simulate --cases {} --seed {}",
        cases(),
        seed()
    );
    Err(TestCaseError::fail(format!("{failure}\n{again}")))
}

fn cases() -> u32 {
    asked_for("CASES").map_or(CASES, |cases| cases as u32)
}

/// The same each time, so that a change is judged by what it changes; another one for the
/// asking.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| asked_for("SEED").unwrap_or(1))
}

fn asked_for(name: &str) -> Option<u64> {
    let name = format!("DETECTOR_SIMULATE_{name}");
    let value = env::var(&name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn script(fault: impl Strategy<Value = Fault>) -> impl Strategy<Value = Script> {
    let work = prop::collection::vec(prop::sample::select(&Work::ALL[..]), 1..4);
    let hosts = prop::collection::vec(work, HOSTS);
    let faults = prop::collection::vec(timed(fault), 0..6);
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

fn timed(fault: impl Strategy<Value = Fault>) -> impl Strategy<Value = Timed> {
    (1000..60_000u64, fault, 10..20_000u64).prop_map(|(at, fault, lasts)| Timed {
        at: ms(at),
        fault,
        lasts: ms(lasts),
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let host = 0..HOSTS;
    let ways = ways();
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

fn ways() -> impl Strategy<Value = Ways> {
    prop_oneof![Just(Ways::Both), Just(Ways::Out), Just(Ways::Back)]
}

fn gray() -> impl Strategy<Value = Fault> {
    let host = 0..HOSTS;
    prop_oneof![
        (host.clone(), ways()).prop_map(|(host, ways)| Fault::Deaf { host, ways }),
        (host.clone(), 100..1448u32).prop_map(|(host, over)| Fault::LargeLost { host, over }),
        (host.clone(), 0..3usize, ways()).prop_map(|(host, nth, ways)| Fault::FlowHole {
            host,
            nth,
            ways
        }),
        host.clone().prop_map(|host| Fault::PathLost { host }),
        host.clone().prop_map(|host| Fault::Proxied { host }),
        host.clone().prop_map(|host| Fault::Usurped { host }),
        (host.clone(), any::<bool>()).prop_map(|(host, limit)| Fault::SynsDropped { host, limit }),
        (host, any::<bool>()).prop_map(|(host, card)| Fault::Frozen { host, card }),
        Just(Fault::GatewayUsurped),
        Just(Fault::OwnSyns),
        Just(Fault::Daemon),
    ]
}
