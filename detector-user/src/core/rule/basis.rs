//! The silence that the clauses measure, and how long it must last.

use std::time::Duration;

use super::{Facts, Link, Starved};
use crate::{core::evidence::Silence, model::Settings};

/// A silence that is longer than the detection time by this factor, without the pauses of this
/// machine, counts even if the daemon was never on time.
pub(in crate::core) const STARVED_FACTOR: u32 = 10;

/// A silence that only SYNs show may come from a rate limit on SYNs, usually one per second: it
/// must outlast the host detection time by this factor.
const CONNECTS_ONLY_FACTOR: u32 = 2;

/// The silence as measured, and what is needed of it.
pub(super) struct Basis {
    pub is_silent: bool,
    pub silent: Duration,
    pub needed_silence: Duration,
    pub asked_for: Duration,
    pub unanswered: u32,
    pub on_flows: u32,
    pub connects: u32,
}

impl Basis {
    pub fn of(facts: &Facts, settings: &Settings) -> Self {
        let starved = facts
            .starved
            .filter(|starved| starved.silent >= facts.needs.detection_time * STARVED_FACTOR);
        match (facts.silence, starved) {
            (_, Some(Starved { silence, silent })) => {
                let needed = needed_silence(facts, &silence, settings)
                    .max(facts.needs.detection_time * STARVED_FACTOR);
                Self {
                    // A machine that is never on time cannot probe all the time.
                    asked_for: silent,
                    ..Self::measured(facts, &silence, silent, needed)
                }
            }
            (Some(silence), None) => {
                let silent = facts.now.since(silence.since);
                let needed = needed_silence(facts, &silence, settings);
                Self::measured(facts, &silence, silent, needed)
            }
            (None, None) => Self {
                is_silent: false,
                silent: Duration::ZERO,
                needed_silence: facts.needs.detection_time,
                asked_for: Duration::ZERO,
                unanswered: 0,
                on_flows: 0,
                connects: 0,
            },
        }
    }

    fn measured(facts: &Facts, silence: &Silence, silent: Duration, needed: Duration) -> Self {
        Self {
            is_silent: true,
            silent,
            needed_silence: needed,
            asked_for: asked_for(facts, silence),
            unanswered: match facts.needs.can_ask {
                true => silence.moments,
                false => silence.transmissions,
            },
            on_flows: silence.on_flows,
            connects: silence.connects,
        }
    }
}

/// For how long the host itself was asked. What is sent on a single flow may vanish while the host
/// lives (a firewall forgot the flow), and says nothing about when the host fell silent.
pub(super) fn asked_for(facts: &Facts, silence: &Silence) -> Duration {
    let is_by_connects = silence.flows == 1 && facts.has_connect && facts.link != Link::Silent;
    match is_by_connects {
        true => silence.connects_for,
        false => silence.asked_for,
    }
}

/// How long a silence must last: the path's own detection time; longer where a lower layer still
/// answers, or where only SYNs show the silence.
pub(in crate::core) fn needed_silence(
    facts: &Facts,
    silence: &Silence,
    settings: &Settings,
) -> Duration {
    let own = facts.needs.detection_time;
    let host = settings.host_detection_time;
    let only_connects = silence.on_flows == 0 && silence.connects > 0;
    if facts.link == Link::Answers || facts.is_receiving {
        own.max(host)
    } else if only_connects && facts.link != Link::Silent {
        own.max(host * CONNECTS_ONLY_FACTOR)
    } else {
        own
    }
}
