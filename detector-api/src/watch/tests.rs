//! The watch with a fake daemon, over a real socket.

use std::path::Path;

use tokio::{io::AsyncReadExt, time::Instant};

use super::*;
use crate::{
    PROTOCOL, State,
    testing::FakeDaemon,
    v1::{Breaker, PeerState, Verdict, WatchPeersRequest},
};

const NODE4: &str = "http://node4:9000";
const NODE5: &str = "http://node5:9000";
/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(20);
const SHORT_TTL: Duration = Duration::from_millis(300);

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("it never happened")
}

async fn watching(socket: &Path) -> PeerWatch {
    let watch = PeerWatch::start(socket);
    assert!(watch.ready(LONG).await, "{}", watch.status());
    watch
}

async fn status(watch: &PeerWatch, is: impl Fn(&WatchStatus) -> bool) -> WatchStatus {
    let mut changes = watch.status_changes();
    within(changes.wait_for(|status| is(status)))
        .await
        .unwrap()
        .clone()
}

fn is_away(status: &WatchStatus) -> bool {
    matches!(status, WatchStatus::Away { .. })
}

fn is_live(status: &WatchStatus) -> bool {
    matches!(status, WatchStatus::Live { .. })
}

/// The watch requests, when there are at least this many.
async fn watches(daemon: &FakeDaemon, count: usize) -> Vec<WatchPeersRequest> {
    let mut watches = daemon.watches();
    within(watches.wait_for(|all| all.len() >= count))
        .await
        .unwrap()
        .clone()
}

async fn until_breaker(watch: &PeerWatch, peer: &str, breaker: Breaker) {
    let peer = watch.states().peer(peer);
    within(peer.until(|state| state.breaker == breaker)).await;
}

#[tokio::test]
async fn it_tells_the_snapshot_and_then_the_changes() {
    let daemon = FakeDaemon::start().await;
    daemon.open(NODE4);
    daemon.close(NODE5);
    let watch = watching(daemon.socket()).await;
    let states = watch.states();
    assert_eq!(states.get(NODE4).breaker, Breaker::Open);
    assert_eq!(states.get(NODE5).verdict, Verdict::Alive);
    let live = WatchStatus::Live {
        instance: daemon.instance().into(),
        version: "0.0.0-fake".into(),
    };
    assert_eq!(status(&watch, is_live).await, live);

    daemon.close(NODE4);
    until_breaker(&watch, NODE4, Breaker::Closed).await;
    daemon.open(NODE5);
    until_breaker(&watch, NODE5, Breaker::Open).await;
    daemon.remove(NODE5);
    until_breaker(&watch, NODE5, Breaker::Closed).await;
    assert_eq!(states.get(NODE5), State::default());
    assert_eq!(watches(&daemon, 1).await, [WatchPeersRequest::default()]);
}

#[tokio::test]
async fn it_waits_for_a_daemon_that_is_not_there_yet() {
    let stopped = FakeDaemon::start().await.kill().await;
    let directory = tempfile::tempdir().unwrap();
    let watch = PeerWatch::start(directory.path().join("detector.sock"));
    let away = status(&watch, is_away).await.to_string();
    assert!(away.contains("no detector daemon answers at"), "{away}");
    assert_eq!(watch.states().get(NODE4), State::default());
    drop(watch);
    // The same socket at a later time.
    let socket = stopped.socket().to_owned();
    let watch = PeerWatch::start(&socket);
    status(&watch, is_away).await;
    let daemon = stopped.restart().await;
    daemon.open(NODE4);
    until_breaker(&watch, NODE4, Breaker::Open).await;
}

#[tokio::test]
async fn states_outlive_a_restart_and_the_new_run_replaces_them() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(LONG));
    daemon.open(NODE4);
    daemon.open(NODE5);
    let watch = watching(daemon.socket()).await;
    let stopped = daemon.stop().await;
    let away = status(&watch, is_away).await.to_string();
    assert!(away.contains("the daemon is stopping"), "{away}");
    assert!(watch.states().is_fresh());
    assert_eq!(
        watch.states().get(NODE4).breaker,
        Breaker::Open,
        "still believed"
    );

    let daemon = stopped.restart().await;
    daemon.open(NODE5);
    until_breaker(&watch, NODE4, Breaker::Closed).await;
    assert_eq!(watch.states().get(NODE4), State::default());
    assert_eq!(watch.states().get(NODE5).breaker, Breaker::Open);
    let live = status(&watch, is_live).await;
    assert!(live.to_string().contains(daemon.instance()), "{live}");
}

#[tokio::test]
async fn it_resumes_by_revision() {
    let daemon = FakeDaemon::start().await;
    daemon.open(NODE4);
    daemon.open(NODE5);
    let watch = watching(daemon.socket()).await;
    daemon.close(NODE4);
    until_breaker(&watch, NODE4, Breaker::Closed).await;
    daemon.end_streams();
    // The watch may or may not see each of these; both final states must be visible.
    daemon.close(NODE5);
    daemon.open(NODE4);
    until_breaker(&watch, NODE5, Breaker::Closed).await;
    until_breaker(&watch, NODE4, Breaker::Open).await;
    let requests = watches(&daemon, 2).await;
    assert_eq!(requests[1].instance, daemon.instance());
    assert!((3..=5).contains(&requests[1].last_revision), "{requests:?}");
    assert!(
        status(&watch, is_live)
            .await
            .to_string()
            .contains("0.0.0-fake")
    );
}

#[tokio::test]
async fn it_waits_longer_after_each_attempt_that_fails() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(None);
    let begun = Instant::now();
    let _watch = PeerWatch::start(daemon.socket());
    watches(&daemon, 5).await;
    // At least half of 100, 200, 400 and 800 ms.
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(750), "{waited:?}");
}

#[tokio::test]
async fn it_comes_back_soon_after_each_session_that_was_live() {
    let daemon = FakeDaemon::start().await;
    let begun = Instant::now();
    let watch = watching(daemon.socket()).await;
    for _ in 0..12 {
        daemon.end_streams();
        status(&watch, is_away).await;
        status(&watch, is_live).await;
    }
    // At most 100 ms each; if the pauses grew, it would be at least 18 s.
    let waited = begun.elapsed();
    assert!(waited < LONG / 2, "{waited:?}");
}

#[tokio::test]
async fn a_daemon_that_is_killed_is_believed_for_its_time_to_live_only() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(SHORT_TTL));
    daemon.set_heartbeat(SHORT_TTL / 10);
    daemon.open(NODE4);
    let watch = watching(daemon.socket()).await;
    let _stopped = daemon.kill().await;
    until_breaker(&watch, NODE4, Breaker::Closed).await;
    within(watch.states().until_stale()).await;
    assert_eq!(watch.states().get(NODE4), State::default());
    status(&watch, is_away).await;
}

#[tokio::test]
async fn a_daemon_that_is_stopped_is_believed_for_its_time_to_live_only() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(SHORT_TTL));
    daemon.set_heartbeat(SHORT_TTL / 10);
    daemon.open(NODE4);
    let watch = watching(daemon.socket()).await;
    daemon.pause();
    until_breaker(&watch, NODE4, Breaker::Closed).await;
    let away = status(&watch, is_away).await.to_string();
    assert!(away.contains("fallen silent"), "{away}");
    // While it is stopped, there are changes that no watcher sees.
    daemon.close(NODE4);
    daemon.open(NODE5);
    daemon.resume();
    until_breaker(&watch, NODE5, Breaker::Open).await;
    assert_eq!(watch.states().get(NODE4).verdict, Verdict::Alive);
    status(&watch, is_live).await;
}

#[tokio::test]
async fn a_silent_peer_is_believed_for_as_long_as_the_daemon_speaks() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(LONG));
    daemon.set_heartbeat(Duration::from_millis(1));
    daemon.open(NODE4);
    let watch = watching(daemon.socket()).await;
    let peer = watch.states().peer(NODE4);
    let mut closed = std::pin::pin!(peer.until(|state| state.breaker != Breaker::Open));
    // The daemon's clock runs, but this side's clock only advances with the test. So even on a busy
    // machine, no message is late.
    tokio::time::pause();
    for _ in 0..8 {
        tokio::time::advance(LONG / 2).await;
        tokio::select! {
            biased;
            state = &mut closed => panic!("no longer believed: {state:?}"),
            () = heard(&watch, LONG) => {}
        }
    }
}

/// Completes when a message of the daemon was received at the current time of the paused clock. The
/// polling keeps that clock from advancing by itself.
async fn heard(watch: &PeerWatch, ttl: Duration) {
    const MS: Duration = Duration::from_millis(1);
    for _ in 0..LONG.as_millis() {
        if watch.states().source().until() == Instant::now() + ttl {
            return;
        }
        std::thread::sleep(MS);
        tokio::task::yield_now().await;
    }
    panic!("the daemon's words are not heard");
}

#[tokio::test]
async fn another_protocol_is_not_believed() {
    for theirs in [0, PROTOCOL + 1] {
        let daemon = FakeDaemon::start().await;
        daemon.set_protocol(theirs);
        daemon.open(NODE4);
        let watch = PeerWatch::start(daemon.socket());
        let wrong = status(&watch, |s| matches!(s, WatchStatus::WrongProtocol { .. })).await;
        assert_eq!(wrong, WatchStatus::WrongProtocol { theirs });
        assert_eq!(watch.states().get(NODE4), State::default());
        assert!(!watch.states().is_fresh());
        // After the right version is installed, its states are used.
        daemon.set_protocol(PROTOCOL);
        until_breaker(&watch, NODE4, Breaker::Open).await;
        status(&watch, is_live).await;
    }
}

#[tokio::test]
async fn a_protocol_that_changes_midway_ends_what_was_believed() {
    let daemon = FakeDaemon::start().await;
    daemon.set_heartbeat(Duration::from_millis(10));
    // The change of protocol ends the validity, not the time to live.
    daemon.set_ttl(Some(3 * LONG));
    daemon.open(NODE4);
    let watch = watching(daemon.socket()).await;
    daemon.set_protocol(PROTOCOL + 1);
    until_breaker(&watch, NODE4, Breaker::Closed).await;
    let wrong = status(&watch, |s| matches!(s, WatchStatus::WrongProtocol { .. })).await;
    assert_eq!(
        wrong,
        WatchStatus::WrongProtocol {
            theirs: PROTOCOL + 1
        }
    );
}

#[tokio::test]
async fn what_has_no_time_to_live_is_not_believed() {
    let daemon = FakeDaemon::start().await;
    daemon.open(NODE4);
    for ttl in [None, Some(Duration::ZERO)] {
        daemon.set_ttl(ttl);
        let watch = PeerWatch::start(daemon.socket());
        let away = status(&watch, is_away).await.to_string();
        assert!(away.contains("no time to live"), "{away}");
        assert!(!watch.states().is_fresh());
    }
}

#[tokio::test]
async fn no_daemon_is_believed_for_longer_than_a_minute() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(Duration::from_secs(3600)));
    let watch = watching(daemon.socket()).await;
    let most = Instant::now() + Duration::from_secs(60);
    assert!(watch.states().source().until() <= most);
}

#[tokio::test]
async fn a_listener_that_never_says_a_word_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("detector.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let watch = PeerWatch::start(&socket);
    let (mut connection, _) = within(listener.accept()).await.unwrap();
    within(connection.read_u8()).await.unwrap();
    // It is connected; all tasks wait now.
    tokio::time::pause();
    let away = status(&watch, is_away).await.to_string();
    assert!(away.contains("does not answer"), "{away}");
}

#[tokio::test]
async fn what_a_newer_daemon_says_counts_as_unknown() {
    let daemon = FakeDaemon::start().await;
    let newer = PeerState {
        verdict: 99,
        breaker: 99,
        reason: 99,
        ..FakeDaemon::state(NODE4, Verdict::Dead, Breaker::Open)
    };
    daemon.publish(newer);
    let watch = watching(daemon.socket()).await;
    assert_eq!(watch.states().get(NODE4), State::default());
}

#[tokio::test]
async fn after_its_end_every_peer_is_unknown() {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(LONG));
    daemon.open(NODE4);
    let watch = watching(daemon.socket()).await;
    let (states, reporter) = (watch.states(), watch.reporter());
    tokio::join!(watch.shutdown(), watch.shutdown());
    assert_eq!(states.get(NODE4), State::default());
    assert!(!states.is_fresh() && !reporter.is_enabled());

    let watch = watching(daemon.socket()).await;
    let peer = watch.states().peer(NODE4);
    assert!(peer.down().is_some());
    drop(watch);
    within(peer.until(|state| state.breaker == Breaker::Closed)).await;
}

#[test]
fn it_ends_with_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (watch, daemon) = runtime.block_on(async {
        let daemon = FakeDaemon::start().await;
        daemon.set_ttl(Some(LONG));
        daemon.open(NODE4);
        (watching(daemon.socket()).await, daemon)
    });
    assert_eq!(watch.states().get(NODE4).breaker, Breaker::Open);
    drop(runtime);
    assert_eq!(watch.states().get(NODE4), State::default());
    drop((watch, daemon));
}
