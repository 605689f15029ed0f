//! Scripts made from a seed: each scenario draws from its own kinds of faults.

use std::time::Duration;

use detector_user::core::Settings;

use crate::{
    rng::Rng,
    script::{Fault, HostSpec, Script, Timed, Ways, Work},
    ticks::{ms, us},
};

/// A kind of fault, drawn with what belongs to it: the fault and how long it lasts.
type Draw = fn(&mut Rng, &Settings, usize) -> (Fault, Duration);

/// Every scenario: its name and the faults that it draws from.
pub const SCENARIOS: &[(&str, &[Draw])] = &[
    (
        "mixed",
        &[
            loss, bursts, jitter, reorder, delay, cut, one_way, flaps, power, restart, stop,
            slow_disk, own_link, own_switch, gateway, pause, starve,
        ],
    ),
    ("loss", &[loss, bursts]),
    ("delays", &[jitter, reorder, delay, slow_disk]),
    ("flaps", &[flaps, short_cut]),
    ("cuts", &[cut, power]),
    ("one-way", &[one_way]),
    ("lossy-cuts", &[loss, bursts, cut]),
    ("processes", &[stop, restart, slow_disk]),
    ("rolling", &[power]),
    ("own-network", &[own_link, own_switch, cut]),
    ("own-pauses", &[pause, starve, loss]),
    ("pauses-and-cuts", &[pause, starve, cut, power]),
    (
        "reports",
        &[
            reports, reports, cut, power, stop, restart, loss, own_switch, pause,
        ],
    ),
    ("calm", &[]),
];

/// The scenario of this name as a run of this length.
pub fn script(name: &str, seed: u64, length: Duration) -> Option<Script> {
    let (scenario, draws) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
    let mut rng = Rng::new(seed);
    let settings = settings(&mut rng);
    let count = 2 + rng.below(7) as usize;
    let hosts: Vec<_> = (0..count).map(|_| host(&mut rng)).collect();
    let gateway = hosts.iter().any(|host| host.routed);
    let faults = if *scenario == "rolling" {
        rolling(&mut rng, count, length)
    } else {
        faults(&mut rng, draws, &settings, count, length)
    };
    Some(Script {
        seed,
        scenario,
        length,
        settings,
        hosts,
        gateway,
        faults,
    })
}

/// Half of the time as they come; else within what an operator may set.
fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings::default();
    if rng.chance(0.5) {
        return settings;
    }
    settings.detection_time = rng.pick(&[ms(50), ms(100), ms(500), ms(2000)]);
    settings.destroy_delay = settings.detection_time + rng.pick(&[ms(250), ms(750), ms(3000)]);
    settings.destroy_sockets = rng.chance(0.7);
    settings.idle_probe_interval = rng.pick(&[ms(0), ms(500), ms(1000), ms(2000), ms(5000)]);
    settings
}

fn host(rng: &mut Rng) -> HostSpec {
    let routed = rng.chance(0.2);
    let distance = if routed {
        rng.between(us(150), us(2000))
    } else {
        rng.between(us(25), us(100))
    };
    let flows = 1 + rng.below(5);
    HostSpec {
        distance,
        routed,
        firewalled: rng.chance(0.2),
        backlog: rng.pick(&[1, 8, 128]),
        window: rng.pick(&[16, 64]),
        work: (0..flows).map(|_| rng.pick(&Work::ALL)).collect(),
    }
}

/// One fault after another, half a minute to some minutes apart, now and then two at once.
fn faults(
    rng: &mut Rng,
    draws: &[Draw],
    settings: &Settings,
    hosts: usize,
    length: Duration,
) -> Vec<Timed> {
    let mut faults = Vec::new();
    let mut at = Duration::from_secs(15);
    while at < length && !draws.is_empty() {
        let host = rng.below(hosts as u64) as usize;
        let (fault, lasts) = rng.pick(draws)(rng, settings, host);
        faults.push(Timed { at, fault, lasts });
        at += if rng.chance(0.2) {
            rng.between(ms(0), ms(3000))
        } else {
            lasts + rng.between(Duration::from_secs(90), Duration::from_secs(900))
        };
    }
    faults
}

/// Every host is rebooted in turn.
fn rolling(rng: &mut Rng, hosts: usize, length: Duration) -> Vec<Timed> {
    let mut faults = Vec::new();
    let mut at = Duration::from_secs(20);
    for host in (0..hosts).cycle() {
        if at >= length {
            break;
        }
        let (fault, lasts) = power(rng, &Settings::default(), host);
        faults.push(Timed { at, fault, lasts });
        at += lasts + rng.between(Duration::from_secs(10), Duration::from_secs(120));
    }
    faults
}

fn seconds(rng: &mut Rng, least: u64, most: u64) -> Duration {
    rng.between(Duration::from_secs(least), Duration::from_secs(most))
}

fn loss(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let percent = rng.pick(&[1, 5, 10, 20, 30]);
    (Fault::Loss { host, percent }, seconds(rng, 5, 60))
}

/// Bursts that the detection time is meant to outlast.
fn bursts(rng: &mut Rng, settings: &Settings, host: usize) -> (Fault, Duration) {
    let longest = rng.between(ms(2), settings.detection_time.mul_f64(0.4).min(ms(100)));
    (Fault::Bursts { host, longest }, seconds(rng, 5, 60))
}

fn jitter(rng: &mut Rng, settings: &Settings, host: usize) -> (Fault, Duration) {
    let most = rng.between(us(100), ms(200).min(settings.detection_time.mul_f64(0.4)));
    (Fault::Jitter { host, most }, seconds(rng, 5, 60))
}

fn reorder(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let percent = rng.pick(&[1, 10, 50]);
    (Fault::Reorder { host, percent }, seconds(rng, 5, 60))
}

fn delay(rng: &mut Rng, settings: &Settings, host: usize) -> (Fault, Duration) {
    let by = rng.between(us(100), ms(50).min(settings.detection_time.mul_f64(0.2)));
    (Fault::Delay { host, by }, seconds(rng, 5, 60))
}

fn cut(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let ways = Ways::Both;
    let lasts = match rng.below(4) {
        0 => rng.between(ms(100), ms(2000)),
        1 | 2 => seconds(rng, 2, 30),
        _ => seconds(rng, 30, 200),
    };
    (Fault::Cut { host, ways }, lasts)
}

fn one_way(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let ways = rng.pick(&[Ways::Out, Ways::Back]);
    (Fault::Cut { host, ways }, seconds(rng, 1, 40))
}

/// Shorter than the detection time: nobody may die of it.
fn short_cut(rng: &mut Rng, settings: &Settings, host: usize) -> (Fault, Duration) {
    let ways = rng.pick(&[Ways::Both, Ways::Out, Ways::Back]);
    (
        Fault::Cut { host, ways },
        settings.detection_time.mul_f64(0.6),
    )
}

fn flaps(rng: &mut Rng, settings: &Settings, host: usize) -> (Fault, Duration) {
    let down = settings.detection_time.mul_f64(0.6);
    let up = rng.pick(&[down, down * 4, ms(2000)]);
    (Fault::Flaps { host, down, up }, seconds(rng, 2, 20))
}

fn power(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let start = rng.between(ms(0), ms(8000));
    (Fault::PowerOff { host, start }, seconds(rng, 3, 90))
}

fn restart(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    (Fault::Restart { host }, rng.between(ms(50), ms(8000)))
}

fn stop(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let prunes = rng.chance(0.5);
    (Fault::Stop { host, prunes }, seconds(rng, 1, 60))
}

fn slow_disk(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let by = rng.between(ms(100), ms(5000));
    (Fault::SlowDisk { host, by }, seconds(rng, 5, 60))
}

fn reports(rng: &mut Rng, _: &Settings, host: usize) -> (Fault, Duration) {
    let every = rng.pick(&[ms(1), ms(50), ms(1000), ms(10_000)]);
    (Fault::Reports { host, every }, seconds(rng, 5, 90))
}

fn own_link(rng: &mut Rng, _: &Settings, _: usize) -> (Fault, Duration) {
    (Fault::OwnLink, rng.between(ms(100), ms(30_000)))
}

fn own_switch(rng: &mut Rng, _: &Settings, _: usize) -> (Fault, Duration) {
    (Fault::OwnSwitch, rng.between(ms(100), ms(30_000)))
}

fn gateway(rng: &mut Rng, _: &Settings, _: usize) -> (Fault, Duration) {
    (Fault::Gateway, rng.between(ms(100), ms(20_000)))
}

fn pause(rng: &mut Rng, _: &Settings, _: usize) -> (Fault, Duration) {
    let longest = rng.pick(&[200, 1000, 10_000]);
    (Fault::Pause, rng.between(ms(50), ms(longest)))
}

fn starve(rng: &mut Rng, _: &Settings, _: usize) -> (Fault, Duration) {
    let longest = rng.pick(&[100, 1000, 5000]);
    (Fault::Starve, rng.between(ms(20), ms(longest)))
}
