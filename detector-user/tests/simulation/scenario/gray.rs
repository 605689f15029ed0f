//! Draws gray faults, with their parameters.

use std::time::Duration;

use detector_user::model::Settings;

use super::Drawn;
use crate::{
    rng::Rng,
    script::{Fault, Ways},
    ticks::ms,
};

fn seconds(rng: &mut Rng, least: u64, most: u64) -> Duration {
    rng.between(Duration::from_secs(least), Duration::from_secs(most))
}

/// Both ways as often as one.
fn ways(rng: &mut Rng) -> Ways {
    rng.pick(&[Ways::Both, Ways::Both, Ways::Out, Ways::Back])
}

pub(super) fn deaf(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let ways = ways(rng);
    (vec![Fault::Deaf { host, ways }], seconds(rng, 1, 40))
}

pub(super) fn flow_hole(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let (nth, ways) = (rng.below(5) as usize, ways(rng));
    let hole = Fault::FlowHole { host, nth, ways };
    (vec![hole], seconds(rng, 15, 40))
}

pub(super) fn large_lost(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let over = rng.pick(&[500, 1000, 1400]);
    (vec![Fault::LargeLost { host, over }], seconds(rng, 15, 40))
}

pub(super) fn path_lost(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    (vec![Fault::PathLost { host }], seconds(rng, 5, 40))
}

pub(super) fn limited(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let limit = rng.chance(0.5);
    (
        vec![Fault::SynsDropped { host, limit }],
        seconds(rng, 5, 60),
    )
}

pub(super) fn own_syns(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    (vec![Fault::OwnSyns], seconds(rng, 5, 40))
}

/// It loses its power, and something else answers for it.
pub(super) fn proxied_off(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let start = rng.between(ms(0), ms(3000));
    let faults = vec![Fault::Proxied { host }, Fault::PowerOff { host, start }];
    (faults, seconds(rng, 5, 60))
}

/// This node is cut off together with something that answers for the host.
pub(super) fn proxied_cut_off(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let faults = vec![Fault::Proxied { host }, Fault::OwnSwitch];
    (faults, seconds(rng, 1, 30))
}

pub(super) fn usurped(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    (
        vec![Fault::Usurped { host }],
        rng.between(ms(500), ms(3000)),
    )
}

pub(super) fn gateway_usurped(rng: &mut Rng, _: &Settings, _: usize) -> Drawn {
    (vec![Fault::GatewayUsurped], rng.between(ms(500), ms(3000)))
}

pub(super) fn daemon(_: &mut Rng, _: &Settings, _: usize) -> Drawn {
    (vec![Fault::Daemon], ms(1))
}

/// It starts as this node is cut off, or a peer.
pub(super) fn daemon_in_outage(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let ways = Ways::Both;
    let outage = rng.pick(&[
        Fault::OwnSwitch,
        Fault::OwnLink,
        Fault::Cut { host, ways },
        Fault::Deaf { host, ways },
    ]);
    (vec![outage, Fault::Daemon], seconds(rng, 1, 30))
}

/// So short that nothing of it need be seen but that the calls are not known any more.
pub(super) fn reboot(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let start = rng.between(ms(0), ms(500));
    let lasts = rng.between(ms(50), ms(400));
    (vec![Fault::PowerOff { host, start }], lasts)
}

pub(super) fn frozen(rng: &mut Rng, _: &Settings, host: usize) -> Drawn {
    let card = rng.chance(0.5);
    let lasts = rng.between(ms(200), ms(2000));
    (vec![Fault::Frozen { host, card }], lasts)
}
