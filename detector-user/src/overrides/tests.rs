//! Overrides that outlast the daemon, and files that do not hold any.

use std::{fs, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use super::*;

const CALLER: Caller = Caller {
    uid: 1000,
    gid: 100,
    pid: Some(77),
};

fn peer(name: &str) -> PeerName {
    PeerName::from_canonical(name)
}

fn closed_for(seconds: u64) -> Override {
    Override {
        kind: OverrideKind::Closed,
        until: clock::now() + Duration::from_secs(seconds),
        reason: "false alarm".into(),
        uid: CALLER.uid,
    }
}

/// Waits for the reply to what `act` does.
fn replied(act: impl FnOnce(Reply)) -> Result<Written, OverrideError> {
    let (reply, answer) = oneshot::channel();
    act(reply);
    answer.blocking_recv().unwrap()
}

fn audited(directory: &TempDir) -> Vec<Value> {
    let text = fs::read_to_string(directory.path().join("audit.log")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_override_outlasts_a_restart_until_it_ends() {
    let directory = TempDir::new().unwrap();
    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    let node4 = peer("http://node4:9000");
    let set = replied(|reply| overrides.set(&node4, closed_for(3600), CALLER, reply));
    assert_eq!(set, Ok(Ok(())));
    drop(overrides);

    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    let held = overrides.of(&node4).unwrap();
    assert_eq!((held.kind, held.uid), (OverrideKind::Closed, 1000));
    assert_eq!(&*held.reason, "false alarm");
    let left = held.until.since(clock::now());
    assert!(left <= Duration::from_secs(3600), "{left:?}");
    assert!(left > Duration::from_secs(3500), "{left:?}");
    let ended = replied(|reply| overrides.end(&node4, CALLER, reply));
    assert_eq!(ended, Ok(Ok(())));
    drop(overrides);

    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    assert_eq!(overrides.of(&node4), None);
    let ended = replied(|reply| overrides.end(&node4, CALLER, reply));
    assert_eq!(ended, Err(OverrideError::NoOverride));
}

/// The moment so many seconds after the start of this boot, with the wall clock at `wall`.
fn moment(boot: &str, seconds: u64, wall: i64) -> Moment {
    Moment {
        now: Time::from_nanos(seconds * 1_000_000_000),
        present: jiff::Timestamp::from_second(wall).unwrap(),
        boot: boot.to_owned(),
    }
}

#[test]
fn a_wall_clock_that_is_set_moves_no_end() {
    let begun = moment("this", 100, 10_000);
    let held = Override {
        until: begun.now + Duration::from_secs(600),
        ..closed_for(0)
    };
    let left = |stored: &Stored, at: Moment| {
        let (_, held) = stored.clone().here(&at);
        held.until.since(at.now).as_secs()
    };
    let stored = Stored::new(&peer("http://node4:9000"), &held, &begun);
    for wall in [10_200, 10_200 + 3600, 10_200 - 3600] {
        assert_eq!(left(&stored, moment("this", 300, wall)), 400, "{wall}");
    }
    // After another boot the wall clock is all that there is, and so in a file of an older daemon.
    assert_eq!(left(&stored, moment("next", 5, 10_200)), 400);
    let older = Stored {
        in_boot: None,
        ..stored
    };
    assert_eq!(left(&older, moment("this", 300, 10_200)), 400);
    assert_eq!(left(&older, moment("this", 300, 20_000)), 0);
}

#[test]
fn what_is_over_while_the_daemon_is_away_does_not_hold_again() {
    let directory = TempDir::new().unwrap();
    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    for name in ["http://node4:9000", "http://node5:9000"] {
        let seconds = if name.contains('4') { 0 } else { 3600 };
        let set = |reply| overrides.set(&peer(name), closed_for(seconds), CALLER, reply);
        replied(set).unwrap().unwrap();
    }
    drop(overrides);
    let overrides = Overrides::start(directory.path(), 8).unwrap();
    assert_eq!(overrides.of(&peer("http://node4:9000")), None);
    assert!(overrides.of(&peer("http://node5:9000")).is_some());
}

#[test]
fn the_audit_log_says_who_when_and_why() {
    let directory = TempDir::new().unwrap();
    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    let node4 = peer("http://node4:9000");
    replied(|reply| overrides.set(&node4, closed_for(60), CALLER, reply))
        .unwrap()
        .unwrap();
    replied(|reply| overrides.end(&node4, CALLER, reply))
        .unwrap()
        .unwrap();
    replied(|reply| overrides.set(&node4, closed_for(60), CALLER, reply))
        .unwrap()
        .unwrap();
    overrides.ended(&node4, OverrideEnd::PeerReturned);
    drop(overrides);

    let lines = audited(&directory);
    let of = |key: &str| {
        lines
            .iter()
            .map(|line| line[key].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("action"), ["set", "ended", "set", "ended"]);
    assert_eq!(
        of("why"),
        [
            Value::Null,
            "administrator".into(),
            Value::Null,
            "peer_returned".into()
        ]
    );
    let uid = Value::from(1000);
    assert_eq!(of("uid"), [uid.clone(), uid.clone(), uid, Value::Null]);
    assert!(lines[0]["until"].as_str() > lines[0]["at"].as_str());
    assert!(lines.iter().all(|line| line["reason"] == "false alarm"));
}

#[test]
fn a_full_audit_log_is_moved_away_once() {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("audit.log");
    fs::write(&log, vec![b'\n'; 1 << 20]).unwrap();
    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    let node4 = peer("http://node4:9000");
    replied(|reply| overrides.set(&node4, closed_for(60), CALLER, reply))
        .unwrap()
        .unwrap();
    assert_eq!(audited(&directory).len(), 1);
    let old = fs::metadata(directory.path().join("audit.log.1")).unwrap();
    assert_eq!(old.len(), 1 << 20);
}

#[test]
fn a_disk_that_fails_is_reported_and_the_override_holds() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("no-directory");
    fs::write(&file, "").unwrap();
    let mut overrides = Overrides::start(&file, 8).unwrap();
    let node4 = peer("http://node4:9000");
    let set = replied(|reply| overrides.set(&node4, closed_for(60), CALLER, reply));
    let warning = set.unwrap().unwrap_err();
    assert!(warning.contains("state_directory"), "{warning}");
    assert!(overrides.of(&node4).is_some());
}

#[test]
fn a_broken_file_holds_nothing_and_is_replaced() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("overrides.json");
    fs::write(&file, r#"[{"peer": "http://node4:9000"}]"#).unwrap();
    let mut overrides = Overrides::start(directory.path(), 8).unwrap();
    let node4 = peer("http://node4:9000");
    assert_eq!(overrides.of(&node4), None);
    replied(|reply| overrides.set(&node4, closed_for(60), CALLER, reply))
        .unwrap()
        .unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("false alarm"));
}

#[test]
fn their_number_is_bounded() {
    let directory = TempDir::new().unwrap();
    let mut overrides = Overrides::start(directory.path(), 1).unwrap();
    let (node4, node5) = (peer("http://node4:9000"), peer("http://node5:9000"));
    assert_eq!(overrides.admits(&node4), Ok(()));
    replied(|reply| overrides.set(&node4, closed_for(60), CALLER, reply))
        .unwrap()
        .unwrap();
    assert_eq!(overrides.admits(&node4), Ok(()), "it replaces its own");
    assert_eq!(overrides.admits(&node5), Err(OverrideError::TooMany(1)));
    overrides.drop_expired(clock::now() + Duration::from_secs(61));
    assert_eq!(overrides.admits(&node5), Ok(()));
}

#[test]
fn administrators_are_root_and_those_that_are_named() {
    let named = |users: &[&str], groups: &[&str]| {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        Administrators::look_up(&owned(users), &owned(groups))
    };
    let nobody = Caller {
        uid: 65_534,
        gid: 65_534,
        pid: None,
    };
    let root = Caller {
        uid: 0,
        gid: 0,
        pid: None,
    };
    let default = named(&[], &[]).unwrap();
    assert!(default.include(root));
    assert!(!default.include(nobody));
    assert!(named(&["65534"], &[]).unwrap().include(nobody));
    assert!(named(&["nobody"], &[]).unwrap().include(nobody));
    assert!(named(&[], &["65534"]).unwrap().include(nobody));
    for (users, groups, word) in [
        (&["no-such-user"][..], &[][..], "admin_users"),
        (&[], &["no-such-group"], "admin_groups"),
    ] {
        let error = named(users, groups).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
