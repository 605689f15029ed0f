//! The cache: one dial for all callers, aliases, bounds, and the effects when a breaker opens.

use std::{
    convert::Infallible,
    future::{pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
};

use super::*;
use crate::{
    PeerStates,
    guard::testing::{self, REASON, within},
    v1::Breaker,
};

const KEYS: [&str; 3] = [
    "http://node4:9000",
    "http://node4:9000\0bulk\x001",
    "http://node4:9000/data/rustfs1",
];

type Made = Result<Arc<u32>, Infallible>;

/// Makes a value for the cache whose drop can be observed.
fn makes(made: u32) -> impl FnOnce() -> std::future::Ready<Made> + Send + 'static {
    move || ready(Ok(Arc::new(made)))
}

fn never() -> std::future::Pending<Made> {
    pending()
}

async fn cache_with_all_keys() -> (PeerStates, ConnectionCache<Arc<u32>>) {
    let states = testing::states();
    let cache = ConnectionCache::new(states.clone());
    for key in KEYS {
        cache.get_or_connect(key, makes(1)).await.unwrap();
    }
    (states, cache)
}

/// Runs all tasks that are ready.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hundred_ask_and_one_dials() {
    let cache = ConnectionCache::new(testing::states());
    let (dials, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (cache, dials, go) = (cache.clone(), Arc::clone(&dials), Arc::clone(&go));
        callers.spawn(async move {
            let dial = move || async move {
                dials.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok::<_, Infallible>(Arc::new(7))
            };
            let connection = cache.get_or_connect(KEYS[0], dial).await.unwrap();
            Arc::clone(&connection)
        });
    }
    settle().await;
    go.notify_one();
    let all = within(callers.join_all()).await;
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    assert_eq!(dials.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn one_failure_is_told_to_all_and_not_kept() {
    let cache = ConnectionCache::new(testing::states());
    let dials = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let (cache, dials) = (cache.clone(), Arc::clone(&dials));
        callers.spawn(async move {
            let dial = move || async move {
                dials.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err::<Arc<u32>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
            };
            cache.get_or_connect(KEYS[0], dial).await.unwrap_err()
        });
    }
    for error in within(callers.join_all()).await {
        let cause: &io::Error = error.dial_error().expect("the dial's own error");
        assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(dials.load(Ordering::Relaxed), 1);
    let next = cache.get_or_connect(KEYS[0], makes(2)).await.unwrap();
    assert_eq!(**next, 2);
}

#[tokio::test]
async fn a_leader_who_leaves_strands_nobody() {
    let cache = ConnectionCache::new(testing::states());
    let (made, dialled) = oneshot::channel::<u32>();
    let leader = tokio::spawn({
        let cache = cache.clone();
        let dial = || async { dialled.await.map(Arc::new) };
        async move { cache.get_or_connect(KEYS[0], dial).await }
    });
    settle().await;
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_connect(KEYS[0], never).await }
    });
    settle().await;
    leader.abort();
    settle().await;
    made.send(5).unwrap();
    assert_eq!(**within(waiter).await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn a_dial_that_nobody_waits_for_is_given_up() {
    let cache = ConnectionCache::<Arc<u32>>::new(testing::states());
    let (mut alive, held) = oneshot::channel::<Infallible>();
    let leader = tokio::spawn({
        let cache = cache.clone();
        let dial = || async {
            let _ = held.await;
            Ok::<_, Infallible>(Arc::new(0))
        };
        async move { cache.get_or_connect(KEYS[0], dial).await }
    });
    settle().await;
    leader.abort();
    within(alive.closed()).await;
    let next = cache.get_or_connect(KEYS[0], makes(2)).await.unwrap();
    assert_eq!(**next, 2);
}

#[tokio::test]
async fn a_dial_that_was_evicted_does_not_take_a_newer_ones_place() {
    let cache = ConnectionCache::new(testing::states());
    let ask = |dialled: oneshot::Receiver<u32>| {
        let cache = cache.clone();
        let dial = || async { dialled.await.map(Arc::new) };
        tokio::spawn(async move { cache.get_or_connect(KEYS[0], dial).await })
    };
    let (old, dialled) = oneshot::channel();
    let first = ask(dialled);
    settle().await;
    cache.evict_connection(KEYS[0]);
    let (new, dialled) = oneshot::channel();
    let second = ask(dialled);
    settle().await;
    old.send(1).unwrap();
    assert_eq!(**within(first).await.unwrap().unwrap(), 1);
    assert!(!cache.has_cached_connection(KEYS[0]), "the newer one's");
    new.send(2).unwrap();
    assert_eq!(**within(second).await.unwrap().unwrap(), 2);
    assert!(cache.has_cached_connection(KEYS[0]));
}

#[tokio::test]
async fn an_open_peer_takes_nobodys_place() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let states = testing::states();
    let cache = ConnectionCache::with_limits(states.clone(), limits);
    cache.get_or_connect(KEYS[0], makes(1)).await.unwrap();
    testing::set(&states, "http://node5:9000", Breaker::Open);
    let refused = cache.get_or_connect("http://node5:9000", makes(2)).await;
    assert!(refused.unwrap_err().peer_down().is_some());
    assert!(cache.has_cached_connection(KEYS[0]));
}

#[tokio::test]
async fn a_dial_that_panics_is_an_error() {
    let cache = ConnectionCache::<Arc<u32>>::new(testing::states());
    let dial = || -> std::future::Ready<Made> { panic!("a dial's own fault") };
    let error = cache.get_or_connect(KEYS[0], dial).await.unwrap_err();
    assert!(error.dial_error::<io::Error>().is_some(), "{error:?}");
}

#[tokio::test]
async fn each_key_has_a_connection_and_all_are_evicted_together() {
    let (_states, cache) = cache_with_all_keys().await;
    let other = cache.get_or_connect("http://node3:9000", makes(1)).await;
    let connection = cache.get_or_connect(KEYS[1], makes(2)).await.unwrap();
    assert_eq!(**connection, 1);
    assert_eq!(cache.evict_connection("http://NODE4:9000/"), 3);
    assert!(KEYS.iter().all(|key| !cache.has_cached_connection(key)));
    assert!(cache.has_cached_connection("http://node3:9000"));
    assert!(other.is_ok());
    // A call in flight continues on a connection that was evicted explicitly.
    assert_eq!(connection.run(async { 4 }).await, Ok(4));
    assert_eq!(cache.clear_all_connections(), 1);
}

#[tokio::test]
async fn an_opening_drops_the_peers_connections_without_a_call() {
    let (states, cache) = cache_with_all_keys().await;
    let client = Arc::downgrade(&cache.get_or_connect(KEYS[0], makes(2)).await.unwrap());
    testing::set(&states, KEYS[0], Breaker::Open);
    settle().await;
    assert!(client.upgrade().is_none(), "still held");
    assert!(KEYS.iter().all(|key| !cache.has_cached_connection(key)));
    assert_eq!(cache.clear_all_connections(), 0);
}

#[tokio::test]
async fn an_opening_ends_what_is_run_and_its_connection_for_good() {
    let (states, cache) = cache_with_all_keys().await;
    let connection = cache.get_or_connect(KEYS[2], makes(2)).await.unwrap();
    let call = tokio::spawn({
        let connection = connection.clone();
        async move { connection.run(pending::<()>()).await }
    });
    settle().await;
    testing::set(&states, KEYS[0], Breaker::Open);
    let down = within(call).await.unwrap().unwrap_err();
    assert_eq!((down.peer.as_str(), down.reason), (KEYS[0], REASON));
    testing::set(&states, KEYS[0], Breaker::Closed);
    assert!(connection.run(ready(())).await.is_err());
    let next = cache.get_or_connect(KEYS[2], makes(3)).await.unwrap();
    assert_eq!(**next, 3);
    assert!(next.run(ready(())).await.is_ok());
}

#[tokio::test]
async fn an_open_peer_is_not_dialled_and_the_error_says_why() {
    let states = testing::states();
    let cache = ConnectionCache::<Arc<u32>>::new(states.clone());
    testing::set(&states, KEYS[0], Breaker::Open);
    let dial = || -> std::future::Ready<Made> { unreachable!("dialled") };
    let error = cache.get_or_connect(KEYS[1], dial).await.unwrap_err();
    let down = error.peer_down().expect("it is down");
    assert_eq!((down.peer.as_str(), down.reason), (KEYS[0], REASON));
    assert!(down.since.is_some());
    assert_eq!(PeerDown::find(&error), Some(down));
}

#[tokio::test]
async fn an_opening_ends_the_dial_and_all_who_wait_for_it() {
    let states = testing::states();
    let cache = ConnectionCache::<Arc<u32>>::new(states.clone());
    let mut callers = JoinSet::new();
    for _ in 0..5 {
        let cache = cache.clone();
        callers.spawn(async move { cache.get_or_connect(KEYS[0], never).await.unwrap_err() });
    }
    settle().await;
    testing::set(&states, KEYS[0], Breaker::Open);
    for error in within(callers.join_all()).await {
        assert!(matches!(error, ConnectionError::Down { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_detectors_end_leaves_a_plain_cache() {
    let (states, cache) = cache_with_all_keys().await;
    testing::set(&states, KEYS[0], Breaker::Open);
    testing::forget(&states);
    settle().await;
    let next = cache.get_or_connect(KEYS[0], makes(2)).await.unwrap();
    assert_eq!(next.run(ready(3)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn the_number_and_the_age_of_connections_are_bounded() {
    let limits = Limits {
        connections: 2,
        idle: Duration::from_secs(60),
    };
    let cache = ConnectionCache::with_limits(testing::states(), limits);
    for key in [
        "http://a:9000",
        "http://b:9000",
        "http://a:9000",
        "http://c:9000",
    ] {
        tokio::time::advance(Duration::from_secs(1)).await;
        cache.get_or_connect(key, makes(1)).await.unwrap();
    }
    assert!(cache.has_cached_connection("http://a:9000"));
    assert!(!cache.has_cached_connection("http://b:9000"), "the oldest");
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert_eq!(cache.clear_all_connections(), 0, "unused");
}

#[tokio::test]
async fn when_all_are_dials_one_more_is_refused() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let cache = ConnectionCache::<Arc<u32>>::with_limits(testing::states(), limits);
    let dialling = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_connect(KEYS[0], never).await }
    });
    settle().await;
    let error = cache.get_or_connect(KEYS[1], makes(1)).await.unwrap_err();
    assert!(
        matches!(error, ConnectionError::Full { limit: 1, .. }),
        "{error:?}"
    );
    dialling.abort();
}
