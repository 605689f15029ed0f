//! A HalfOpen breaker with a fake daemon in this process: how many dials are let through, and which
//! outcomes the daemon receives. Also a daemon that goes away.

use std::{
    convert::Infallible,
    future::{pending, ready},
    io,
    sync::Arc,
    time::Duration,
};

use super::*;
use crate::{
    PeerStates, PeerWatch,
    testing::FakeDaemon,
    v1::{Breaker, FinishTrialRequest, TrialOutcome, Verdict},
};

const PEER: &str = "http://node4:9000";
const LIMIT: Duration = Duration::from_secs(10);

struct World {
    daemon: FakeDaemon,
    _watch: PeerWatch,
    states: PeerStates,
    cache: ConnectionCache<Arc<u32>>,
}

async fn world(breaker: Breaker, trials: usize) -> World {
    let daemon = FakeDaemon::start().await;
    daemon.publish(FakeDaemon::state(PEER, Verdict::Unknown, breaker));
    daemon.allow_trials(trials);
    let watch = daemon.watch();
    assert!(watch.ready(LIMIT).await);
    let states = watch.states();
    World {
        cache: ConnectionCache::new(states.clone()),
        daemon,
        states,
        _watch: watch,
    }
}

/// The outcomes of trials, when there are at least this many.
async fn finished(world: &World, at_least: usize) -> Vec<FinishTrialRequest> {
    let finished = world.daemon.finished_trials(at_least);
    tokio::time::timeout(LIMIT, finished).await.expect("untold")
}

fn makes(made: u32) -> impl FnOnce() -> std::future::Ready<Result<Arc<u32>, Infallible>> + Send {
    move || ready(Ok(Arc::new(made)))
}

/// Making a client contacts no peer, so it shows nothing and needs no trial.
#[tokio::test]
async fn a_client_that_is_made_is_no_trial() {
    let world = world(Breaker::HalfOpen, 1).await;
    let pool = world.cache.get_or_make(PEER, makes(7)).await.unwrap();
    assert_eq!(**pool, 7);
    assert_eq!(world.daemon.trials_asked(), 0);
    let again = world.cache.get_or_make(PEER, makes(8)).await.unwrap();
    assert_eq!(**again, 7);

    let open = FakeDaemon::state(PEER, Verdict::Dead, Breaker::Open);
    world.daemon.publish(open);
    let peer = world.states.peer(PEER);
    tokio::time::timeout(LIMIT, peer.until_down())
        .await
        .expect("told");
    let refused = world.cache.get_or_make(PEER, makes(9)).await.unwrap_err();
    assert!(refused.peer_down().is_some(), "{refused:?}");
}

#[tokio::test]
async fn half_open_dials_as_many_as_there_are_trials() {
    let world = world(Breaker::HalfOpen, 2).await;
    let mut dials = tokio::task::JoinSet::new();
    for key in 0..10 {
        let cache = world.cache.clone();
        dials.spawn(async move {
            let dial = || pending::<Result<Arc<u32>, Infallible>>();
            let key = format!("{PEER}/disk{key}");
            let dial = cache.get_or_connect(&key, dial);
            tokio::time::timeout(LIMIT, dial).await
        });
    }
    // Two dials hang, and the others are refused at once.
    for _ in 0..8 {
        let refused = dials.join_next().await.unwrap().unwrap();
        let error = refused.expect("told at once").unwrap_err();
        assert!(
            matches!(error, ConnectionError::Refused { .. }),
            "{error:?}"
        );
    }
    // The running dials end when the breaker opens again.
    let open = FakeDaemon::state(PEER, Verdict::Dead, Breaker::Open);
    world.daemon.publish(open);
    for _ in 0..2 {
        let ended = dials.join_next().await.unwrap().unwrap();
        let error = ended.expect("ended").unwrap_err();
        assert!(matches!(error, ConnectionError::Down { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_dial_tells_how_its_trial_went() {
    let world = world(Breaker::HalfOpen, 2).await;
    let dial = || ready(Err::<Arc<u32>, _>(io::Error::other("refused")));
    world.cache.get_or_connect(PEER, dial).await.unwrap_err();
    let told = finished(&world, 1).await;
    assert_eq!(told[0].outcome(), TrialOutcome::Failed);
    world.cache.get_or_connect(PEER, makes(1)).await.unwrap();
    let told = finished(&world, 2).await;
    assert_eq!(told[1].outcome(), TrialOutcome::Succeeded);
    // An existing connection needs no trial.
    world.cache.get_or_connect(PEER, makes(2)).await.unwrap();
    assert_eq!(world.daemon.trials_asked(), 2);
}

#[tokio::test]
async fn a_killed_daemon_leaves_a_plain_cache() {
    let world = world(Breaker::Open, 0).await;
    let dialled = world.cache.get_or_connect(PEER, makes(1)).await;
    assert!(dialled.unwrap_err().peer_down().is_some());
    world.daemon.kill().await;
    tokio::time::timeout(LIMIT, world.states.until_stale())
        .await
        .unwrap();
    let connection = world.cache.get_or_connect(PEER, makes(2)).await.unwrap();
    assert_eq!(connection.run(ready(3)).await, Ok(3));
}

#[tokio::test]
async fn a_stopped_daemon_is_believed_no_longer_than_its_word() {
    let world = world(Breaker::Open, 0).await;
    world.daemon.pause();
    tokio::time::timeout(LIMIT, world.states.until_stale())
        .await
        .unwrap();
    world.cache.get_or_connect(PEER, makes(1)).await.unwrap();
}

#[cfg(feature = "channel")]
mod channel {
    use tonic::{Code, transport::Endpoint};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tower::Layer;

    use super::*;
    use crate::{PeerLayer, Refused, guard::testing::silent_server};

    #[tokio::test]
    async fn a_request_is_a_trial_and_one_too_many_is_told_from_a_failure() {
        let world = world(Breaker::HalfOpen, 1).await;
        let (server, mut accepted) = silent_server().await;
        let channel = Endpoint::from_shared(format!("http://{server}")).unwrap();
        let layer = PeerLayer::new(world.states.peer(PEER));
        let client = HealthClient::new(layer.layer(channel.connect_lazy()));
        let trial = tokio::spawn({
            let mut client = client.clone();
            async move { client.check(HealthCheckRequest::default()).await }
        });
        accepted.recv().await.unwrap();
        let mut second = client.clone();
        let second = second.check(HealthCheckRequest::default());
        let second = tokio::time::timeout(LIMIT, second).await;
        let status = second.expect("told at once").unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let cause = Refused::find(&status);
        assert!(
            matches!(cause, Some(Refused::TrialsTaken { .. })),
            "{cause:?}"
        );
        trial.abort();
    }

    #[tokio::test]
    async fn a_request_tells_how_its_trial_went() {
        let world = world(Breaker::HalfOpen, 1).await;
        let nobody = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let layer = PeerLayer::new(world.states.peer(PEER));
        let mut client = HealthClient::new(layer.layer(nobody));
        client
            .check(HealthCheckRequest::default())
            .await
            .unwrap_err();
        let told = finished(&world, 1).await;
        assert_eq!(told[0].outcome(), TrialOutcome::Failed);
    }
}
