//! Replays of the recorded cut, with the recorded settings and with others.

use super::*;
use crate::model::{Mode, Reason};

fn recorded(settings: &Settings, late: Duration) -> (tempfile::TempDir, Vec<PeerState>) {
    let dir = tempfile::tempdir().unwrap();
    let published = record_a_cut(&dir.path().join("r"), settings, late, false);
    assert_eq!(story(&published), STORY, "{published:#?}");
    (dir, published)
}

fn states(published: &[(Time, PeerState)]) -> Vec<PeerState> {
    published.iter().map(|(_, state)| state.clone()).collect()
}

fn death(published: &[(Time, PeerState)]) -> Option<Time> {
    let dead = published.iter().find(|(_, s)| s.verdict == Verdict::Dead);
    dead.map(|(at, _)| *at)
}

#[test]
fn a_replay_publishes_exactly_what_was_published() {
    for late in [Duration::ZERO, Duration::from_millis(7)] {
        let (dir, before) = recorded(&Settings::default(), late);
        let after = replay(&dir.path().join("r"), Timeouts::Recorded, |_| {});
        assert_eq!(states(&after), before);
        for (at, state) in &after {
            assert_eq!(*at, state.changed_at.max(*at), "not before its change");
        }
    }
}

/// The breaker becomes half open by a time-out, and open again by a client's failed trial.
#[test]
fn time_outs_and_trials_are_replayed_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r");
    let settings = Settings {
        recovery_timeout: Duration::from_millis(900),
        ..Settings::default()
    };
    let before = record_a_cut(&file, &settings, Duration::from_millis(3), true);
    let reasons: Vec<_> = before.iter().map(|state| state.breaker_reason).collect();
    let tried = [Reason::RecoveryTimeout, Reason::TrialFailed];
    assert!(reasons.windows(2).any(|two| two == tried), "{reasons:?}");
    assert_eq!(states(&replay(&file, Timeouts::Recorded, |_| {})), before);
}

/// The replay is late exactly when the recorded loop was late.
#[test]
fn time_outs_of_its_own_come_when_the_recorded_ones_came() {
    for late in [Duration::ZERO, Duration::from_millis(7)] {
        let (dir, before) = recorded(&Settings::default(), late);
        let after = replay(&dir.path().join("r"), Timeouts::Own, |_| {});
        assert_eq!(states(&after), before, "{late:?}");
    }
}

#[test]
fn other_settings_give_other_verdicts() {
    let (dir, _) = recorded(&Settings::default(), Duration::ZERO);
    let file = dir.path().join("r");
    let with = |detection_time_ms| {
        replay(&file, Timeouts::Own, |settings| {
            settings.detection_time = Duration::from_millis(detection_time_ms);
        })
    };
    // A longer detection time would need probes, and none were sent to the dead peer.
    let (soon, usual, late) = (death(&with(50)), death(&with(250)), death(&with(400)));
    assert!(soon.unwrap() < usual.unwrap(), "{soon:?} {usual:?}");
    assert!(late.unwrap() > ms(CUT_MS + 400), "{late:?}");
    assert_eq!(death(&with(5_000)), None);

    let observed = replay(&file, Timeouts::Own, |settings| {
        settings.mode = Mode::Observe
    });
    assert!(death(&observed).is_some());
    assert!(observed.iter().all(|(_, s)| s.mode == Mode::Observe));
}

#[test]
fn a_replay_counts_and_explains_any_moment() {
    let (dir, before) = recorded(&Settings::default(), Duration::ZERO);
    let mut reader = open(&dir.path().join("r"));
    let settings = reader.header().settings.clone();
    let mut replay = Replay::new(reader.header(), settings, Timeouts::Recorded);
    let nobody = &mut |_: Time, _: &PeerState| {};
    let mut explained = None;
    while let Some(entry) = reader.read().unwrap() {
        if entry.now > ms(2_000) && explained.is_none() {
            replay.run_until(ms(2_000), nobody);
            assert_eq!(replay.now(), ms(2_000));
            explained = replay.explain(&peer());
        }
        replay.step(entry, nobody);
    }
    let explained = explained.unwrap();
    let dead = before.iter().find(|state| state.verdict == Verdict::Dead);
    assert_eq!(Some(&explained.state), dead, "it is dead then");
    let silent = explained.silence.duration;
    let cut_for = Duration::from_millis(2_000 - CUT_MS);
    assert!(silent > cut_for * 9 / 10 && silent <= cut_for, "{silent:?}");
    assert_eq!(explained.flows.len(), usize::from(FLOWS));

    assert_eq!(reader.ending(), Some(Ending::Stopped));
    assert_eq!(replay.peers().collect::<Vec<_>>(), [&peer()]);
    let Summary {
        duration,
        signals,
        timeouts,
        trials,
        verdicts,
        ..
    } = *replay.summary();
    assert_eq!(duration, Duration::from_millis(END_MS));
    assert_eq!((trials, verdicts), (0, 4));
    assert!(signals > 20 && timeouts > 5, "{signals} {timeouts}");
}

#[test]
fn recorded_moments_have_wall_clock_times() {
    let header = header(&Settings::default());
    let wall = Timestamp::new(1_700_000_001, 500_000_000).unwrap();
    assert_eq!(header.wall(ms(1_500)), Some(wall));
    assert_eq!(header.moment(wall), ms(1_500));
    let before = header.wall(ms(0) - Duration::from_secs(1)).unwrap();
    assert_eq!(before.as_second(), 1_699_999_999);
    assert_eq!(header.moment(before), ms(0));
}
