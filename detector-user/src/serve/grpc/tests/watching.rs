//! Watch streams: snapshots, changes, resumed watches, and streams that are ended.

use detector_api::v1::watch_peers_response::{Event as WatchEvent, Snapshot};

use super::*;

type Watch = Streaming<v1::WatchPeersResponse>;

async fn next(watch: &mut Watch) -> WatchEvent {
    watch.message().await.unwrap().unwrap().event.unwrap()
}

async fn snapshot(watch: &mut Watch) -> Snapshot {
    match next(watch).await {
        WatchEvent::Snapshot(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

async fn changed(watch: &mut Watch) -> v1::PeerState {
    match next(watch).await {
        WatchEvent::Changed(state) => state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_gives_a_snapshot_then_changes_and_resumes() {
    let rig = Rig::start().await;
    rig.board.publish(alive(1));
    let mut watch = rig.watch("", 0).await;
    let first = snapshot(&mut watch).await;
    assert_eq!((first.instance.as_str(), first.revision), ("this-run", 1));
    rig.board.publish(dead(2));
    rig.board.retract(peer(PEER), 3);
    let second = changed(&mut watch).await;
    assert_eq!(second.verdict(), v1::Verdict::Dead);
    let third = next(&mut watch).await;
    let WatchEvent::Removed(removed) = third else {
        panic!("{third:?}")
    };
    assert_eq!((removed.peer.as_str(), removed.revision), (PEER, 3));

    let mut resumed = rig.watch(&first.instance, first.revision).await;
    assert_eq!(next(&mut resumed).await, current(first.revision));
    let missed = changed(&mut resumed).await;
    assert_eq!(timeless(missed), timeless(second));
    let mut other = rig.watch("another-run", 3).await;
    snapshot(&mut other).await;
}

/// The event that nothing has changed since a revision.
fn current(revision: u64) -> WatchEvent {
    WatchEvent::Current(v1::watch_peers_response::Current {
        revision,
        ttl: Some(prost_types::Duration {
            seconds: 3,
            nanos: 0,
        }),
        protocol: detector_api::PROTOCOL,
    })
}

#[tokio::test]
async fn a_watch_is_told_who_speaks_and_for_how_long_it_holds() {
    let rig = Rig::start().await;
    rig.board.publish(alive(1));
    let mut watch = rig.watch("", 0).await;
    let first = snapshot(&mut watch).await;
    assert_eq!(first.protocol, detector_api::PROTOCOL);
    assert_eq!(first.ttl.unwrap().seconds, 3);
    assert_eq!(first.version, env!("CARGO_PKG_VERSION"));
    // Nothing changes, but the stream still sends messages.
    for _ in 0..2 {
        assert_eq!(next(&mut watch).await, current(1));
    }
    rig.board.publish(dead(2));
    changed(&mut watch).await;
    assert_eq!(next(&mut watch).await, current(2));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_ended() {
    const LAST: u64 = 20_000;
    let rig = Rig::start().await;
    let mut watch = rig.watch("this-run", 0).await;
    // These are far more than the log, the channel and the transport's windows hold together. The
    // pauses give the server time to fill them.
    for revision in 1..=LAST {
        rig.board.publish(alive(revision));
        if revision % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let ended = loop {
        match watch.message().await {
            Ok(Some(v1::WatchPeersResponse {
                event: Some(WatchEvent::Changed(changed)),
            })) => assert_ne!(changed.revision, LAST, "it never lagged"),
            Ok(Some(v1::WatchPeersResponse {
                event: Some(WatchEvent::Current(_)),
            })) => {}
            Ok(other) => panic!("{other:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn shutdown_ends_open_streams_and_removes_the_socket() {
    let rig = Rig::start().await;
    let mut watch = rig.watch("this-run", 0).await;
    // This stream is never read.
    let _unread = rig.watch("", 0).await;
    assert_eq!(next(&mut watch).await, current(0));
    assert!(rig.path.exists());
    rig.stop.send(()).unwrap();
    let ended = watch.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(15), rig.server)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    assert!(!rig.path.exists());
}
