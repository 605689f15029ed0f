//! Administrators' commands.

use super::*;
use crate::{
    model::{Override, OverrideKind},
    overrides::{Command, OverrideError, Written},
};

fn wanted(kind: v1::OverrideKind, seconds: i64, reason: &str) -> v1::SetOverrideRequest {
    v1::SetOverrideRequest {
        peer: "NODE4:9000".into(),
        kind: kind.into(),
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        reason: reason.into(),
    }
}

/// A rig whose driver answers each command so, and the commands that it gets.
async fn rig(
    answer: Result<Written, OverrideError>,
    administrators: Administrators,
) -> (Rig, mpsc::UnboundedReceiver<Command>) {
    let (requests, mut driver) = mpsc::channel(4);
    let (told, commands) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(request) = driver.recv().await {
            let Request::Override {
                peer,
                command,
                reply,
                caller,
            } = request
            else {
                panic!("{request:?}");
            };
            assert_eq!(peer.as_str(), PEER);
            assert_eq!(caller.pid, Some(std::process::id() as i32));
            told.send(command).unwrap();
            reply.send(answer.clone()).unwrap();
        }
    });
    let rig = Rig::start_for(requests, administrators).await;
    rig.board.publish(PeerState {
        overridden: Some(Override {
            kind: OverrideKind::Maintenance,
            until: clock::now() + 600_000 * MS,
            reason: "new disk".into(),
            uid: 7,
        }),
        ..alive(1)
    });
    (rig, commands)
}

fn everybody_here() -> Administrators {
    Administrators::look_up(&[], &[]).unwrap()
}

#[tokio::test]
async fn a_command_reaches_the_driver_and_the_state_comes_back() {
    let (rig, mut commands) = rig(Ok(Err("no room".into())), everybody_here()).await;
    let request = wanted(v1::OverrideKind::Maintenance, 600, " new disk ");
    let answer = rig.client().set_override(request).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.warning, "no room");
    let shown = answer.peer.unwrap().r#override.unwrap();
    assert_eq!(shown.kind(), v1::OverrideKind::Maintenance);
    assert_eq!((&*shown.reason, shown.uid), ("new disk", 7));
    let left = shown.until.unwrap().seconds - clock::present().as_second();
    assert!((590..=600).contains(&left), "{left}");
    let end = v1::EndOverrideRequest { peer: PEER.into() };
    rig.client().end_override(end).await.unwrap();
    let set = Command::Set {
        kind: OverrideKind::Maintenance,
        lasts: 600_000 * MS,
        reason: "new disk".into(),
    };
    assert_eq!(commands.recv().await, Some(set));
    assert_eq!(commands.recv().await, Some(Command::End));
}

#[tokio::test]
async fn only_administrators_may_override() {
    let (rig, mut commands) = rig(Ok(Ok(())), Administrators::default()).await;
    let request = wanted(v1::OverrideKind::Open, 600, "x");
    let refused = rig.client().set_override(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("admin_users"), "{refused}");
    let end = v1::EndOverrideRequest { peer: PEER.into() };
    assert_eq!(
        code(rig.client().end_override(end).await),
        Code::PermissionDenied
    );
    assert!(commands.try_recv().is_err(), "nothing reaches the driver");
}

#[tokio::test]
async fn a_bad_command_is_refused_with_its_field() {
    use v1::OverrideKind::{Closed, Maintenance, Open, Unspecified};
    let (rig, mut commands) = rig(Ok(Ok(())), everybody_here()).await;
    let week = 7 * 24 * 3600;
    for (request, field) in [
        (wanted(Unspecified, 600, "x"), "kind"),
        (wanted(Open, 0, "x"), "duration"),
        (wanted(Open, -5, "x"), "duration"),
        (wanted(Maintenance, week + 1, "x"), "duration"),
        (wanted(Closed, 600, ""), "reason"),
        (wanted(Open, 600, "  "), "reason"),
        (wanted(Open, 600, "a\nb"), "reason"),
        (wanted(Open, 600, "\u{1b}[2J"), "reason"),
        (wanted(Maintenance, 600, &"x".repeat(257)), "reason"),
    ] {
        let refused = rig
            .client()
            .set_override(request.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
        assert!(refused.message().starts_with(field), "{refused}");
    }
    assert!(commands.try_recv().is_err(), "nothing reaches the driver");
    let without_words = wanted(Maintenance, week, "");
    rig.client().set_override(without_words).await.unwrap();
}

#[tokio::test]
async fn what_the_driver_refuses_has_its_code() {
    for (error, expected) in [
        (OverrideError::UnknownPeer, Code::NotFound),
        (OverrideError::NoOverride, Code::FailedPrecondition),
        (OverrideError::TooMany(4), Code::ResourceExhausted),
    ] {
        let (rig, _commands) = rig(Err(error), everybody_here()).await;
        let end = v1::EndOverrideRequest { peer: PEER.into() };
        assert_eq!(code(rig.client().end_override(end).await), expected);
    }
}
