//! Makes scripts from a seed: each scenario draws from its own kinds of faults.

mod draws;
mod gray;

use std::{ops::RangeInclusive, time::Duration};

use detector_user::model::Settings;

use self::{
    draws::{
        bursts, cut, delay, flaps, gateway, jitter, loss, one_way, own_link, own_switch, pause,
        power, reorder, reports, restart, short_cut, slow_disk, starve, stop,
    },
    gray::{
        daemon, daemon_in_outage, deaf, flow_hole, frozen, gateway_usurped, large_lost, limited,
        own_syns, path_lost, proxied_cut_off, proxied_off, reboot, usurped,
    },
};
use crate::{
    rng::Rng,
    script::{Fault, HostSpec, Script, Timed, Work},
    ticks::{ms, us},
};

/// Faults that come together, and how long they last.
type Drawn = (Vec<Fault>, Duration);

/// A kind of fault, drawn with what belongs to it.
type Draw = fn(&mut Rng, &Settings, usize) -> Drawn;

/// The fewest and the most hosts of a script.
const HOSTS: RangeInclusive<u64> = 2..=8;

/// The most nodes of a script: its hosts, and the one that watches them.
pub const MOST_NODES: u64 = *HOSTS.end() + 1;

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
    ("gray", &[deaf, one_way, cut]),
    ("stalls", &[flow_hole, large_lost, path_lost]),
    ("new-connections", &[limited, own_syns, deaf]),
    (
        "contested",
        &[proxied_off, usurped, gateway_usurped, proxied_cut_off],
    ),
    ("starts", &[daemon, daemon_in_outage]),
    ("reboots", &[reboot, frozen]),
    (
        "gray-mixed",
        &[
            deaf,
            one_way,
            flow_hole,
            large_lost,
            path_lost,
            limited,
            own_syns,
            proxied_off,
            usurped,
            gateway_usurped,
            proxied_cut_off,
            daemon,
            daemon_in_outage,
            reboot,
            frozen,
            loss,
            bursts,
            stop,
            restart,
            cut,
            flaps,
            pause,
            starve,
            own_switch,
            own_link,
            reports,
        ],
    ),
];

/// The scenario of this name as a run of this length.
pub fn script(name: &str, seed: u64, length: Duration) -> Option<Script> {
    let (scenario, draws) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
    let mut rng = Rng::new(seed);
    let settings = settings(&mut rng);
    let count = (HOSTS.start() + rng.below(HOSTS.end() - HOSTS.start() + 1)) as usize;
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
    settings.fast_destroy_delay = match settings.destroy_delay {
        delay if rng.chance(0.3) => delay,
        _ => settings.detection_time.max(ms(100)),
    };
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
        let (together, lasts) = rng.pick(draws)(rng, settings, host);
        faults.extend(together.into_iter().map(|fault| Timed { at, fault, lasts }));
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
        let (together, lasts) = power(rng, &Settings::default(), host);
        faults.extend(together.into_iter().map(|fault| Timed { at, fault, lasts }));
        at += lasts + rng.between(Duration::from_secs(10), Duration::from_secs(120));
    }
    faults
}
