//! What a decision says besides its verdict: words, numbers, and when it is judged again.

use super::*;

fn clause(facts: &Facts, name: &str) -> (String, String) {
    let decision = decided(facts);
    let found = decision.clauses.iter().find(|clause| clause.name == name);
    let clause = found.unwrap();
    (clause.measured.to_string(), clause.needed.to_string())
}

#[test]
fn words_say_what_was_measured() {
    let isolation = |change: fn(&mut Facts)| clause(&with(change), "not_isolated").0;
    assert_eq!(isolation(|_| {}), "not isolated");
    let until = isolation(|facts| facts.was_isolated = true);
    assert_eq!(until, "isolated until just now");
    let no_link = isolation(|facts| facts.isolated = Isolated::NoLink);
    assert_eq!(no_link, "this node has no link to it");
    let nobody = isolation(|facts| facts.isolated = Isolated::NobodyHeard);
    assert_eq!(nobody, "others are as silent");
    let probed = |last| clause(&with(|facts| facts.last_probe = last), "asked_just_now").0;
    assert_eq!(probed(LastProbe::Fresh), "just now");
    assert_eq!(probed(LastProbe::Due), "a while ago");
}

#[test]
fn a_machine_that_is_never_on_time_is_told_how_long_it_waits() {
    let starved = with(|facts| {
        let silence = facts.silence.unwrap();
        facts.starved = Some(Starved {
            silence,
            silent: Duration::from_secs(3),
        });
    });
    let (measured, needed) = clause(&starved, "silent_long_enough");
    assert_eq!(measured, "3000 ms");
    assert!(needed.contains("2500 ms"), "{needed}");
}

#[test]
fn only_syns_that_were_sent_make_the_needed_silence_longer() {
    let needed = |connects: u32| {
        let mut facts = with_silence(|silence| {
            (silence.connects, silence.on_flows) = (connects, 0);
        });
        facts.link = Link::Unknown;
        decided(&facts).needed_silence
    };
    assert_eq!(needed(0), Some(Duration::from_millis(250)));
    assert_eq!(needed(1), Some(Duration::from_secs(2)));
}

#[test]
fn calls_that_fail_are_slowness_of_a_peer_that_is_connected_or_was_heard_lately() {
    let verdict = |is_connected: bool, seconds: u64| {
        decided(&with(|facts| {
            facts.silence = None;
            facts.stuck.calls_fail = true;
            facts.life = Life {
                heard_since_doubt: true,
                is_connected,
                heard_ago: Some(Duration::from_secs(seconds)),
            };
        }))
        .reason
    };
    for (is_connected, seconds) in [(true, 100), (false, 1), (true, 1)] {
        let reason = verdict(is_connected, seconds);
        assert_eq!(reason, Reason::SlownessReported, "{is_connected} {seconds}");
    }
    assert_eq!(verdict(false, 100), Reason::NoEvidence);
}

#[test]
fn it_is_judged_again_when_a_clause_may_turn() {
    let again = |now: u64, link: Link, asked_for: u64| {
        let mut facts = with_silence(|silence| {
            silence.asked_for = Duration::from_millis(asked_for);
        });
        (facts.now, facts.link) = (ms(now), link);
        decided(&facts).again_in
    };
    let millis = |millis| Some(Duration::from_millis(millis));
    // The detection time; the needed silence, which is the host's; probes for nine tenths of it.
    assert_eq!(again(1240, Link::Silent, 1000), millis(10));
    assert_eq!(again(1240, Link::Answers, 1000), millis(10));
    assert_eq!(again(1990, Link::Answers, 1000), millis(10));
    assert_eq!(again(1300, Link::Silent, 215), millis(10));
    // Nothing is due: from time to time.
    assert_eq!(again(1100, Link::Silent, 1000), millis(50));
    assert_eq!(again(5000, Link::Silent, 5000), millis(200));
}

#[test]
fn a_probe_is_given_time_to_be_answered() {
    let asks = decided(&with(|facts| facts.last_probe = LastProbe::Due));
    assert!(asks.probes);
    assert_eq!(asks.again_in, Some(ANSWERS_WITHIN));
}
