//! The board: snapshots, resumed watches, lagging readers.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    core::testing::unknown,
    model::{Bounds, Reason, Verdict},
};

/// The future's value, if it is ready at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn peer(name: &str) -> PeerName {
    PeerName::from_canonical(name)
}

fn state(name: &str, revision: u64) -> PeerState {
    PeerState {
        verdict: Verdict::Alive,
        reason: Reason::PacketReceived,
        revision,
        ..unknown(name)
    }
}

fn changed(name: &str, revision: u64) -> Change {
    Change::Changed(Arc::new(state(name, revision)))
}

/// The watch's next change; `None` if it would wait.
fn poll(watch: &mut Watch) -> Option<Result<Change, Lagged>> {
    now_or_never(watch.next())
}

/// A watch that begins without a snapshot.
#[track_caller]
fn resumed(board: &Board, last_revision: u64) -> Watch {
    let (snapshot, watch) = board.watch(board.instance(), last_revision);
    assert_eq!(snapshot, None);
    watch
}

#[test]
fn a_new_watch_gets_a_snapshot_and_then_changes() {
    let board = Board::new("one", Bounds::new(4));
    board.publish(state("b", 1));
    board.publish(state("a", 2));
    let (begins_with, mut watch) = board.watch("", 0);
    let snapshot = Snapshot {
        instance: "one".into(),
        revision: 2,
        peers: vec![Arc::new(state("a", 2)), Arc::new(state("b", 1))],
    };
    assert_eq!(begins_with, Some(snapshot));
    assert_eq!(poll(&mut watch), None);
    board.publish(state("a", 3));
    board.retract(peer("b"), 4);
    assert_eq!(poll(&mut watch), Some(Ok(changed("a", 3))));
    let removed = Change::Removed {
        peer: peer("b"),
        revision: 4,
    };
    assert_eq!(poll(&mut watch), Some(Ok(removed)));
    assert_eq!(poll(&mut watch), None);
    assert_eq!(board.get(&peer("b")), None);
    assert_eq!(board.get(&peer("a")).unwrap().revision, 3);
}

#[tokio::test]
async fn a_waiting_watch_is_woken() {
    let board = Board::new("one", Bounds::new(4));
    let mut watch = resumed(&board, 0);
    let publish = async { board.publish(state("a", 1)) };
    let (event, ()) = tokio::join!(watch.next(), publish);
    assert_eq!(event, Ok(changed("a", 1)));
}

#[test]
fn a_watch_resumes_with_what_was_missed() {
    let board = Board::new("one", Bounds::new(4));
    for revision in 1..=5 {
        board.publish(state("a", revision));
    }
    let mut watch = resumed(&board, 3);
    assert_eq!(poll(&mut watch), Some(Ok(changed("a", 4))));
    assert_eq!(poll(&mut watch), Some(Ok(changed("a", 5))));
    assert_eq!(poll(&mut watch), None);
    assert_eq!(poll(&mut resumed(&board, 5)), None, "nothing was missed");
}

#[test]
fn what_cannot_be_resumed_starts_with_a_snapshot() {
    let board = Board::with_log_capacity("two", 2);
    for revision in 1..=5 {
        board.publish(state("a", revision));
    }
    let has_snapshot = |instance, revision| board.watch(instance, revision).0.is_some();
    assert!(has_snapshot("one", 4), "another instance");
    assert!(has_snapshot("two", 2), "no longer kept");
    assert!(has_snapshot("two", 6), "from the future");
    assert!(!has_snapshot("two", 3), "just kept");
}

#[test]
fn a_watch_that_lags_beyond_the_log_is_told() {
    let board = Board::with_log_capacity("one", 2);
    let mut watch = resumed(&board, 0);
    board.publish(state("a", 1));
    board.publish(state("a", 2));
    assert_eq!(poll(&mut watch), Some(Ok(changed("a", 1))));
    board.publish(state("a", 3));
    assert_eq!(poll(&mut watch), Some(Ok(changed("a", 2))), "still kept");
    board.publish(state("a", 4));
    board.publish(state("a", 5));
    assert_eq!(poll(&mut watch), Some(Err(Lagged { capacity: 2 })));
}

#[test]
fn an_older_revision_changes_nothing() {
    let board = Board::new("one", Bounds::new(4));
    board.publish(state("a", 2));
    board.publish(state("a", 2));
    board.publish(state("b", 1));
    board.retract(peer("a"), 2);
    assert_eq!(board.snapshot().revision, 2);
    assert_eq!(board.snapshot().peers, [Arc::new(state("a", 2))]);
    let mut watch = resumed(&board, 0);
    assert_eq!(poll(&mut watch), Some(Ok(changed("a", 2))));
    assert_eq!(poll(&mut watch), None);
}

#[test]
fn a_peer_that_was_only_heard_is_told_to_those_who_ask_and_to_no_watcher() {
    let board = Board::new("one", Bounds::new(4));
    let second = |n: u64| Some(Time::from_nanos(n * 1_000_000_000));
    let heard = |n: u64| board.heard(&peer("a"), second(n).unwrap());
    heard(1);
    assert_eq!(board.get(&peer("a")), None, "it is not watched");
    board.publish(state("a", 1));
    let mut watch = resumed(&board, 1);
    heard(5);
    heard(4);
    let told = board.get(&peer("a")).unwrap();
    assert_eq!((told.last_heard, told.revision), (second(5), 1));
    assert_eq!(board.snapshot().peers[0].last_heard, second(5));
    assert_eq!(poll(&mut watch), None);
    let missed = poll(&mut resumed(&board, 0));
    assert_eq!(missed, Some(Ok(changed("a", 1))), "as it was published");
}
