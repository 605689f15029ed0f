//! The rule of the verdict: [`decide`], a pure function of the facts and the settings.
//!
//! A path is Dead if every clause holds:
//!
//! | clause | what it asks |
//! |---|---|
//! | `was_there` | something was ever received from the peer: a host that has not booted yet is no dead host |
//! | `silent_long_enough` | the host has acknowledged nothing for the detection time |
//! | `asked_throughout` | and was probed all that time: data that was lost once, and asked about late, does not count as a long silence; by SYNs, where they are needed and a single flow is unanswered |
//! | `asked_enough` | at so many moments that chance does not explain the missing answers |
//! | `asked_on_flows` | on established flows, too, where there are any: a firewall that drops SYNs is no dead host |
//! | `asked_by_connect` | and by a SYN, unless the link is silent too: a middlebox that forgot a flow is no dead host |
//! | `asked_just_now` | the last probe is fresh, and had the time to be answered |
//! | `not_isolated` | this node itself is not cut off |
//!
//! The first six say that enough is unanswered. Then come isolation and the last probe, in this order.
//!
//! ```text
//! facts       what is known at this moment, as plain data
//! basis       the silence that the clauses measure, and how long it must last
//! clause      each clause: what was measured, and what is needed
//! certainty   how sure a death is, which chooses the destroy delay
//! ```
//!
//! Two signs are weaker than an acknowledgement from the host: a card answers ARP for the address,
//! or segments of the peer still arrive although it acknowledges nothing. Neither shows that the
//! host is alive: they change the reason and lengthen the silence that is needed.

mod basis;
mod certainty;
mod clause;
mod facts;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::{basis::asked_for, clause::clauses};
pub(super) use self::{
    basis::{STARVED_FACTOR, needed_silence},
    certainty::Certainty,
    clause::Clause,
    facts::{Facts, LastProbe, Life, Link, Needs, Starved, Stuck},
};
use super::{evidence::Silence, isolation::Isolated};
use crate::model::{Reason, Settings, Verdict};

/// How long a demand must stand before the peer is Suspect: longer than an answer takes on a LAN.
pub(super) const SUSPECT_AFTER: Duration = Duration::from_millis(10);

/// The part of the needed silence during which the peer must have been probed again and again.
const ASKED_FOR: f64 = 0.9;

/// Without a flow, a peer that was last heard this long ago is no longer known to be alive. This is
/// longer than the time between two surveys of all targets.
const ALIVE_WITHOUT_FLOW: Duration = Duration::from_secs(90);

/// How long a peer has to answer the last probe before it is found Dead.
pub(in crate::core) const ANSWERS_WITHIN: Duration = Duration::from_millis(25);

/// The interval between socket snapshots of a Suspect peer, at first and when it has been Suspect
/// for long.
const SUSPECT_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What the rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The path would be Dead if this node itself were not possibly isolated.
    pub is_isolated: bool,
    /// This node is no longer isolated: the silence is measured anew.
    pub starts_over: bool,
    /// A probe must be sent before more can be decided.
    pub probes: bool,
    /// How long the silence must last, where there is one.
    pub needed_silence: Option<Duration>,
    /// When to decide again, where something is unanswered.
    pub again_in: Option<Duration>,
    pub clauses: Vec<Clause>,
}

/// The rule.
pub(super) fn decide(facts: &Facts, settings: &Settings) -> Decision {
    let clauses = clauses(facts, settings);
    let holds = |name| clauses.iter().any(|c: &Clause| c.name == name && c.holds);
    let is_unanswered_enough = [
        "was_there",
        "silent_long_enough",
        "asked_throughout",
        "asked_enough",
        "asked_on_flows",
        "asked_by_connect",
    ]
    .into_iter()
    .all(holds);
    let decided = |(verdict, reason)| Decision {
        verdict,
        reason,
        is_isolated: false,
        starts_over: false,
        probes: false,
        needed_silence: facts
            .silence
            .map(|silence| needed_silence(facts, &silence, settings)),
        again_in: facts
            .silence
            .map(|silence| again_in(facts, &silence, settings)),
        clauses: Vec::new(),
    };
    let decision = match facts.silence {
        Some(_) if is_unanswered_enough && facts.isolated != Isolated::No => Decision {
            is_isolated: true,
            ..decided((Verdict::Suspect, Reason::Isolated))
        },
        Some(silence) if is_unanswered_enough && facts.was_isolated => Decision {
            starts_over: true,
            ..decided((Verdict::Suspect, silence.reason))
        },
        Some(silence) if is_unanswered_enough && !holds("asked_just_now") => Decision {
            probes: true,
            again_in: Some(ANSWERS_WITHIN),
            ..decided((Verdict::Suspect, silence.reason))
        },
        Some(silence) if is_unanswered_enough => {
            decided((Verdict::Dead, why_dead(facts, &silence)))
        }
        Some(silence) if facts.now.since(silence.since) >= SUSPECT_AFTER => {
            decided((Verdict::Suspect, silence.reason))
        }
        // Too early to decide: the verdict stays as it is. `carry_out` (path/judging.rs) tests the
        // same, so that nothing is remembered or published of it.
        Some(_) => decided(facts.believed),
        None => decided(without_demand(facts)),
    };
    Decision {
        clauses,
        ..decision
    }
}

fn why_dead(facts: &Facts, silence: &Silence) -> Reason {
    if facts.is_receiving {
        Reason::SendsUnanswered
    } else if facts.link == Link::Answers {
        Reason::HostUnanswered
    } else {
        silence.reason
    }
}

/// The verdict on a peer when no demand is unanswered. Of several reasons the first branch that
/// applies says which is published.
fn without_demand(facts: &Facts) -> (Verdict, Reason) {
    let (stuck, life) = (&facts.stuck, &facts.life);
    if stuck.zero_window {
        return (Verdict::Degraded, Reason::ZeroWindow);
    }
    if !life.heard_since_doubt {
        // The peer was never heard; or the demand disappeared with its socket, and no answer came.
        return (Verdict::Unknown, Reason::NoEvidence);
    }
    let is_recent = life.heard_ago.is_some_and(|ago| ago < ALIVE_WITHOUT_FLOW);
    if stuck.large_segments_lost {
        (Verdict::Degraded, Reason::LargeSegmentsLost)
    } else if stuck.flows_stalled {
        (Verdict::Degraded, Reason::FlowsStalled)
    } else if stuck.calls_fail && (life.is_connected || is_recent) {
        (Verdict::Degraded, Reason::SlownessReported)
    } else if life.is_connected {
        (Verdict::Alive, Reason::PacketReceived)
    } else if is_recent {
        (Verdict::Alive, Reason::ProbeAnswered)
    } else {
        (Verdict::Unknown, Reason::NoEvidence)
    }
}

/// How long until the rule may decide otherwise.
fn again_in(facts: &Facts, silence: &Silence, settings: &Settings) -> Duration {
    let now = facts.now;
    let needed = needed_silence(facts, silence, settings);
    let lasted = now.since(silence.since);
    let longest = (lasted / 20).clamp(SUSPECT_EVERY.0, SUSPECT_EVERY.1);
    [
        silence.since + SUSPECT_AFTER,
        silence.since + facts.needs.detection_time,
        silence.since + needed,
        now + needed
            .mul_f64(ASKED_FOR)
            .saturating_sub(asked_for(facts, silence)),
    ]
    .into_iter()
    .filter(|&moment| moment > now)
    .map(|moment| moment.since(now))
    .fold(longest, Duration::min)
}
