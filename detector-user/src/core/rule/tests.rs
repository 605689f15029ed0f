//! One table over the clauses: of facts that make a peer Dead, each is broken by itself.

mod shown;

use std::time::Duration;

use super::*;
use crate::core::testing::ms;

/// A host that is silent in every way: probed on its flows every 10 ms for 300 ms, its link
/// silent too.
fn dead() -> Facts {
    let silence = Silence {
        since: ms(1000),
        asked_for: Duration::from_millis(300),
        connects_for: Duration::ZERO,
        transmissions: 60,
        moments: 30,
        connects: 0,
        on_flows: 30,
        flows: 3,
        reason: Reason::RtoUnanswered,
    };
    Facts {
        now: ms(1300),
        believed: (Verdict::Suspect, Reason::RtoUnanswered),
        silence: Some(silence),
        starved: None,
        needs: Needs {
            detection_time: Duration::from_millis(250),
            transmissions: 20,
            can_ask: true,
        },
        link: Link::Silent,
        is_receiving: false,
        has_flow: true,
        has_connect: true,
        last_probe: LastProbe::Fresh,
        isolated: Isolated::No,
        was_isolated: false,
        stuck: Stuck::default(),
        life: Life::default(),
        was_there: true,
    }
}

fn decided(facts: &Facts) -> Decision {
    decide(facts, &Settings::default())
}

/// The clauses that do not hold.
fn broken(decision: &Decision) -> Vec<&'static str> {
    let broken = decision.clauses.iter().filter(|clause| !clause.holds);
    broken.map(|clause| clause.name).collect()
}

fn with_silence(change: impl FnOnce(&mut Silence)) -> Facts {
    let mut facts = dead();
    if let Some(silence) = &mut facts.silence {
        change(silence);
    }
    facts
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = dead();
    change(&mut facts);
    facts
}

#[test]
fn where_all_clauses_hold_the_peer_is_dead() {
    let decision = decided(&dead());
    assert_eq!(
        (decision.verdict, decision.reason),
        (Verdict::Dead, Reason::RtoUnanswered)
    );
    assert_eq!(broken(&decision), [""; 0]);
}

#[test]
fn where_any_clause_does_not_hold_it_is_suspect_at_most() {
    let table: [(&str, Facts); 11] = [
        ("was_there", with(|facts| facts.was_there = false)),
        (
            "silent_long_enough",
            with_silence(|silence| silence.since = ms(1051)),
        ),
        (
            "asked_throughout",
            with_silence(|silence| silence.asked_for = Duration::from_millis(224)),
        ),
        ("asked_enough", with_silence(|silence| silence.moments = 19)),
        (
            "asked_enough",
            with(|facts| {
                facts.needs.can_ask = false;
                facts.needs.transmissions = 61;
            }),
        ),
        (
            "asked_on_flows",
            with_silence(|silence| silence.on_flows = 2),
        ),
        ("asked_by_connect", with(|facts| facts.link = Link::Unknown)),
        (
            "asked_just_now",
            with(|facts| facts.last_probe = LastProbe::Due),
        ),
        (
            "not_isolated",
            with(|facts| facts.isolated = Isolated::NoLink),
        ),
        (
            "not_isolated",
            with(|facts| facts.isolated = Isolated::NobodyHeard),
        ),
        ("not_isolated", with(|facts| facts.was_isolated = true)),
    ];
    for (clause, facts) in table {
        let decision = decided(&facts);
        assert_eq!(broken(&decision), [clause], "{facts:?}");
        assert_eq!(decision.verdict, Verdict::Suspect, "{clause}");
    }
}

#[test]
fn a_lower_layer_that_answers_makes_the_needed_silence_longer_and_changes_the_reason() {
    let host = Settings::default().host_detection_time;
    for (link, is_receiving, reason) in [
        (Link::Answers, false, Reason::HostUnanswered),
        (Link::Silent, true, Reason::SendsUnanswered),
        (Link::Answers, true, Reason::SendsUnanswered),
    ] {
        let lasting = |lasts: Duration| {
            let mut facts = with_silence(|silence| {
                silence.connects = 3;
                silence.asked_for = lasts;
            });
            (facts.link, facts.is_receiving) = (link, is_receiving);
            facts.now = ms(1000) + lasts;
            decided(&facts)
        };
        let early = lasting(host - Duration::from_millis(1));
        assert_eq!(broken(&early), ["silent_long_enough"]);
        let late = lasting(host);
        assert_eq!((late.verdict, late.reason), (Verdict::Dead, reason));
    }
}

#[test]
fn nothing_but_syns_must_be_silent_for_longer_where_the_link_is_not_silent() {
    let facts = |lasts: u64| {
        let mut facts = with_silence(|silence| {
            (silence.connects, silence.on_flows) = (30, 0);
            silence.asked_for = Duration::from_millis(lasts);
        });
        (facts.has_flow, facts.link) = (false, Link::Unknown);
        facts.now = ms(1000 + lasts);
        facts
    };
    assert_eq!(decided(&facts(1999)).verdict, Verdict::Suspect);
    assert_eq!(decided(&facts(2000)).verdict, Verdict::Dead);
    let mut silent_link = facts(250);
    silent_link.link = Link::Silent;
    assert_eq!(decided(&silent_link).verdict, Verdict::Dead);
}

/// A firewall may have forgotten the flow long before the host falls silent.
#[test]
fn beside_a_single_flow_the_host_is_asked_by_syns_throughout() {
    let facts = |flows: u32, by_connects: u64| {
        let mut facts = with_silence(|silence| {
            (silence.connects, silence.flows) = (3, flows);
            silence.connects_for = Duration::from_millis(by_connects);
        });
        facts.link = Link::Unknown;
        facts
    };
    let early = decided(&facts(1, 224));
    assert_eq!(broken(&early), ["asked_throughout"]);
    assert_eq!(early.again_in, Some(Duration::from_millis(1)));
    assert_eq!(decided(&facts(1, 225)).verdict, Verdict::Dead);
    assert_eq!(decided(&facts(2, 0)).verdict, Verdict::Dead);
    let mut silent_link = facts(1, 0);
    silent_link.link = Link::Silent;
    assert_eq!(decided(&silent_link).verdict, Verdict::Dead);
    let mut no_connect = facts(1, 0);
    no_connect.has_connect = false;
    assert_eq!(decided(&no_connect).verdict, Verdict::Dead);
}

#[test]
fn isolation_holds_the_verdict_and_its_end_starts_the_silence_over() {
    let held = decided(&with(|facts| facts.isolated = Isolated::NobodyHeard));
    assert!(held.is_isolated && !held.starts_over);
    assert_eq!(held.reason, Reason::Isolated);
    let over = decided(&with(|facts| facts.was_isolated = true));
    assert!(over.starts_over && !over.is_isolated);
    assert_eq!(over.reason, Reason::RtoUnanswered);
}

#[test]
fn a_machine_that_is_never_on_time_waits_ten_times_as_long() {
    let starved = |silent: u64| {
        let mut facts = dead();
        let silence = facts.silence.take().unwrap();
        facts.starved = Some(Starved {
            silence,
            silent: Duration::from_millis(silent),
        });
        // What the pauses left of it.
        facts.silence = Some(Silence {
            since: ms(1290),
            asked_for: Duration::ZERO,
            moments: 1,
            ..silence
        });
        decided(&facts)
    };
    assert_eq!(starved(2499).verdict, Verdict::Suspect);
    assert_eq!(starved(2500).verdict, Verdict::Dead);
}

#[test]
fn a_young_silence_leaves_what_was_believed() {
    let facts = with(|facts| {
        facts.believed = (Verdict::Alive, Reason::PacketReceived);
        facts.now = ms(1009);
    });
    let decision = decided(&facts);
    assert_eq!(
        (decision.verdict, decision.reason),
        (Verdict::Alive, Reason::PacketReceived)
    );
    assert_eq!(decision.again_in, Some(Duration::from_millis(1)));
}

#[test]
fn without_a_demand_what_is_stuck_comes_before_signs_of_life() {
    let living = Life {
        heard_since_doubt: true,
        is_connected: true,
        heard_ago: Some(Duration::ZERO),
    };
    let stuck = |change: fn(&mut Stuck)| {
        let mut stuck = Stuck::default();
        change(&mut stuck);
        stuck
    };
    let table = [
        (Stuck::default(), Verdict::Alive, Reason::PacketReceived),
        (
            stuck(|s| s.zero_window = true),
            Verdict::Degraded,
            Reason::ZeroWindow,
        ),
        (
            stuck(|s| s.flows_stalled = true),
            Verdict::Degraded,
            Reason::FlowsStalled,
        ),
        (
            stuck(|s| (s.flows_stalled, s.large_segments_lost) = (true, true)),
            Verdict::Degraded,
            Reason::LargeSegmentsLost,
        ),
        (
            stuck(|s| s.calls_fail = true),
            Verdict::Degraded,
            Reason::SlownessReported,
        ),
    ];
    for (stuck, verdict, reason) in table {
        let facts = with(|facts| {
            facts.silence = None;
            facts.stuck = stuck;
            facts.life = living;
        });
        let decision = decided(&facts);
        assert_eq!((decision.verdict, decision.reason), (verdict, reason));
        assert_eq!(decision.again_in, None);
    }
}

#[test]
fn signs_of_life_fade() {
    let life = |change: fn(&mut Life)| {
        let mut life = Life {
            heard_since_doubt: true,
            is_connected: false,
            heard_ago: Some(Duration::from_secs(89)),
        };
        change(&mut life);
        let facts = with(|facts| {
            facts.silence = None;
            facts.life = life;
        });
        decided(&facts).verdict
    };
    assert_eq!(life(|_| {}), Verdict::Alive);
    assert_eq!(
        life(|life| life.heard_ago = Some(Duration::from_secs(90))),
        Verdict::Unknown
    );
    assert_eq!(
        life(|life| life.heard_since_doubt = false),
        Verdict::Unknown
    );
}

#[test]
fn only_a_death_in_which_every_layer_and_several_flows_agree_is_certain() {
    let table: [(Certainty, Facts); 7] = [
        (Certainty::Certain { flows: 3 }, dead()),
        (
            Certainty::FewFlows { flows: 2 },
            with_silence(|silence| silence.flows = 2),
        ),
        (
            Certainty::LowerLayerAnswers,
            with(|facts| facts.link = Link::Answers),
        ),
        (
            Certainty::LowerLayerAnswers,
            with(|facts| facts.is_receiving = true),
        ),
        (
            Certainty::LowerLayerUnknown,
            with(|facts| facts.link = Link::Unknown),
        ),
        (Certainty::Certain { flows: 3 }, {
            let mut routed = with_silence(|silence| silence.connects = 3);
            routed.link = Link::Unknown;
            routed
        }),
        (
            Certainty::FewFlows { flows: 0 },
            with(|facts| facts.silence = None),
        ),
    ];
    for (wanted, facts) in table {
        assert_eq!(Certainty::of(&facts), wanted, "{facts:#?}");
    }
}
