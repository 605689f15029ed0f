//! Draws one kind of fault at a time, with its parameters.

use std::time::Duration;

use detector_user::model::Settings;

use super::Drawn;
use crate::{
    rng::Rng,
    script::{Fault, Ways},
    ticks::{ms, us},
};

fn seconds(rng: &mut Rng, least: u64, most: u64) -> Duration {
    rng.between(Duration::from_secs(least), Duration::from_secs(most))
}

pub(super) fn loss(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let percent = rng.pick(&[1, 5, 10, 20, 30]);
    (vec![Fault::Loss { host, percent }], seconds(rng, 5, 60))
}

/// Bursts that the detection time is meant to outlast.
pub(super) fn bursts(rng: &mut Rng, settings: &Settings, host: usize) -> Drawn {
    let longest = rng.between(ms(2), settings.detection_time.mul_f64(0.4).min(ms(100)));
    (vec![Fault::Bursts { host, longest }], seconds(rng, 5, 60))
}

pub(super) fn jitter(rng: &mut Rng, settings: &Settings, host: usize) -> Drawn {
    let most = rng.between(us(100), ms(200).min(settings.detection_time.mul_f64(0.4)));
    (vec![Fault::Jitter { host, most }], seconds(rng, 5, 60))
}

pub(super) fn reorder(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let percent = rng.pick(&[1, 10, 50]);
    (vec![Fault::Reorder { host, percent }], seconds(rng, 5, 60))
}

pub(super) fn delay(rng: &mut Rng, settings: &Settings, host: usize) -> Drawn {
    let by = rng.between(us(100), ms(50).min(settings.detection_time.mul_f64(0.2)));
    (vec![Fault::Delay { host, by }], seconds(rng, 5, 60))
}

pub(super) fn cut(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let ways = Ways::Both;
    let lasts = match rng.below(4) {
        0 => rng.between(ms(100), ms(2000)),
        1 | 2 => seconds(rng, 2, 30),
        _ => seconds(rng, 30, 200),
    };
    (vec![Fault::Cut { host, ways }], lasts)
}

pub(super) fn one_way(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let ways = rng.pick(&[Ways::Out, Ways::Back]);
    (vec![Fault::Cut { host, ways }], seconds(rng, 1, 40))
}

/// A cut shorter than the detection time: no host may be found dead because of it.
pub(super) fn short_cut(rng: &mut Rng, settings: &Settings, host: usize) -> Drawn {
    let ways = rng.pick(&[Ways::Both, Ways::Out, Ways::Back]);
    (
        vec![Fault::Cut { host, ways }],
        settings.detection_time.mul_f64(0.6),
    )
}

pub(super) fn flaps(rng: &mut Rng, settings: &Settings, host: usize) -> Drawn {
    let down = settings.detection_time.mul_f64(0.6);
    let up = rng.pick(&[down, down * 4, ms(2000)]);
    (vec![Fault::Flaps { host, down, up }], seconds(rng, 2, 20))
}

pub(super) fn power(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let start = rng.between(ms(0), ms(8000));
    (vec![Fault::PowerOff { host, start }], seconds(rng, 3, 90))
}

pub(super) fn restart(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    (vec![Fault::Restart { host }], rng.between(ms(50), ms(8000)))
}

pub(super) fn stop(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let prunes = rng.chance(0.5);
    (vec![Fault::Stop { host, prunes }], seconds(rng, 1, 60))
}

pub(super) fn slow_disk(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let by = rng.between(ms(100), ms(5000));
    (vec![Fault::SlowDisk { host, by }], seconds(rng, 5, 60))
}

pub(super) fn reports(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let every = rng.pick(&[ms(1), ms(50), ms(1000), ms(10_000)]);
    (vec![Fault::Reports { host, every }], seconds(rng, 5, 90))
}

pub(super) fn own_link(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    (vec![Fault::OwnLink], rng.between(ms(100), ms(30_000)))
}

pub(super) fn own_switch(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    (vec![Fault::OwnSwitch], rng.between(ms(100), ms(30_000)))
}

pub(super) fn gateway(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    (vec![Fault::Gateway], rng.between(ms(100), ms(20_000)))
}

pub(super) fn pause(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    let longest = rng.pick(&[200, 1000, 10_000]);
    (vec![Fault::Pause], rng.between(ms(50), ms(longest)))
}

pub(super) fn starve(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    let longest = rng.pick(&[100, 1000, 5000]);
    (vec![Fault::Starve], rng.between(ms(20), ms(longest)))
}
