//! Admission of calls, with a fake daemon that leases trials.

use super::*;
use crate::{PeerStates, PeerWatch, testing::FakeDaemon};

const NODE4: &str = "http://node4:9000";
const LONG: Duration = Duration::from_secs(20);

/// A daemon that reports HalfOpen for node4, a watch that has received this, and the peer.
async fn half_open() -> (FakeDaemon, PeerWatch, Peer) {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(LONG));
    daemon.half_open(NODE4);
    let watch = daemon.watch();
    let peer = half_open_of(&watch).await;
    (daemon, watch, peer)
}

async fn half_open_of(watch: &PeerWatch) -> Peer {
    let peer = watch.states().peer(NODE4);
    until(&peer, Breaker::HalfOpen).await;
    peer
}

async fn until(peer: &Peer, breaker: Breaker) {
    let reached = peer.until(|state| state.breaker == breaker);
    timeout(LONG, reached).await.expect("it never came");
}

fn is_taken(result: &Result<Admission, Refused>) -> bool {
    matches!(result, Err(Refused::TrialsTaken { .. }))
}

#[tokio::test]
async fn closed_admits_and_open_refuses_without_asking() {
    let (daemon, _watch, peer) = half_open().await;
    daemon.open(NODE4);
    until(&peer, Breaker::Open).await;
    let refused = peer.admit().await.unwrap_err();
    assert!(
        matches!(&refused, Refused::Down(down) if down.peer == NODE4),
        "{refused:?}"
    );
    daemon.close(NODE4);
    until(&peer, Breaker::Closed).await;
    let admission = peer.admit().await.unwrap();
    assert!(!admission.is_trial());
    admission.failed();
    assert_eq!(daemon.trials_asked(), 0);
    assert_eq!(daemon.finished_trials(0).await, []);
}

#[tokio::test]
async fn half_open_admits_as_many_as_the_daemon_leases() {
    let (daemon, _watch, peer) = half_open().await;
    daemon.allow_trials(2);
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.admit().await })
        })
        .collect();
    let mut admitted = Vec::new();
    for answer in asked {
        match answer.await.unwrap() {
            Ok(admission) => admitted.push(admission),
            Err(refused) => assert_eq!(refused, peer.trials_taken()),
        }
    }
    assert_eq!(admitted.len(), 2);
    assert!(admitted.iter().all(Admission::is_trial));
    assert!(daemon.trials_asked() < 50, "not everyone asks");

    admitted.pop().unwrap().succeeded();
    admitted.pop().unwrap().failed();
    let finished = timeout(LONG, daemon.finished_trials(2)).await.unwrap();
    let mut outcomes: Vec<_> = finished.iter().map(|f| (f.trial, f.outcome())).collect();
    outcomes.sort_by_key(|&(trial, _)| trial);
    let [(1, first), (2, second)] = outcomes[..] else {
        panic!("{finished:?}")
    };
    assert_ne!(first, second);
    assert!(finished.iter().all(|f| f.peer == NODE4));
}

#[tokio::test]
async fn a_trial_by_an_address_names_the_peer_as_the_daemon_does() {
    let (daemon, watch, peer) = half_open().await;
    daemon.allow_trials(1);
    daemon.publish(crate::v1::PeerState {
        addresses: vec!["10.0.0.4".to_owned()],
        ..FakeDaemon::state(NODE4, crate::v1::Verdict::Unknown, Breaker::HalfOpen)
    });
    let by_address = watch.states().peer("http://10.0.0.4:9000");
    until(&by_address, Breaker::HalfOpen).await;
    let trial = by_address.admit().await.unwrap();
    assert!(trial.is_trial());
    assert!(is_taken(&peer.admit().await), "it is the same peer's");
}

#[tokio::test]
async fn an_abandoned_trial_tells_nothing() {
    let (daemon, _watch, peer) = half_open().await;
    daemon.allow_trials(2);
    drop(peer.admit().await.unwrap());
    // This outcome is sent after it, so it arrives last.
    peer.admit().await.unwrap().succeeded();
    let finished = timeout(LONG, daemon.finished_trials(1)).await.unwrap();
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0].trial, 2);
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_given_up_and_admits_everyone() {
    let (daemon, _, _) = half_open().await;
    let watch = PeerWatch::start(daemon.socket());
    let peer = half_open_of(&watch).await;
    daemon.pause();
    // From here on the clock only advances while all tasks wait.
    tokio::time::pause();
    let begun = Instant::now();
    let (first, second) = tokio::join!(peer.admit(), peer.admit());
    let waited = begun.elapsed();
    assert!(!first.unwrap().is_trial());
    assert!(!second.unwrap().is_trial());
    // The timer has a resolution of a millisecond.
    let limit = Duration::from_millis(50)..=Duration::from_millis(51);
    assert!(limit.contains(&waited), "together: {waited:?}");
    assert_eq!(peer.state().breaker, Breaker::HalfOpen, "still believed");
}

#[tokio::test]
async fn who_has_waited_for_anothers_answer_looks_again() {
    let (daemon, _, _) = half_open().await;
    let watch = PeerWatch::start(daemon.socket());
    let peer = half_open_of(&watch).await;
    daemon.pause();
    tokio::time::pause();
    let after = |ms| tokio::time::sleep(Duration::from_millis(ms));
    let second = async {
        after(10).await;
        peer.admit().await
    };
    let news = async {
        after(20).await;
        let open = FakeDaemon::state(NODE4, crate::v1::Verdict::Dead, Breaker::Open);
        watch.states().change(&open, LONG).unwrap();
    };
    let (first, second, ()) = tokio::join!(peer.admit(), second, news);
    assert!(first.is_ok(), "it asked when nothing was known");
    assert!(matches!(second, Err(Refused::Down(_))), "{second:?}");
}

#[tokio::test]
async fn one_who_asks_and_is_not_polled_any_more_holds_up_nobody() {
    let (daemon, _, _) = half_open().await;
    let watch = PeerWatch::start(daemon.socket());
    let peer = half_open_of(&watch).await;
    daemon.pause();
    tokio::time::pause();
    let mut asks = std::pin::pin!(peer.admit());
    tokio::select! {
        biased;
        answer = &mut asks => panic!("{answer:?}"),
        () = std::future::ready(()) => {}
    }
    assert!(!peer.admit().await.unwrap().is_trial());
}

#[tokio::test]
async fn a_refusal_is_held_against_others_for_a_moment_only() {
    let (daemon, _watch, peer) = half_open().await;
    assert!(is_taken(&peer.admit().await));
    daemon.allow_trials(1);
    tokio::time::pause();
    assert!(is_taken(&peer.admit().await), "nobody asks again so soon");
    tokio::time::advance(TAKEN_FOR).await;
    tokio::time::resume();
    assert!(peer.admit().await.unwrap().is_trial());
    assert_eq!(daemon.trials_asked(), 2);
}

#[tokio::test]
async fn a_daemon_that_has_gone_admits_everyone() {
    let (daemon, watch, peer) = half_open().await;
    let _stopped = daemon.kill().await;
    let mut status = watch.status_changes();
    let gone = status.wait_for(|s| matches!(s, crate::WatchStatus::Away { .. }));
    timeout(LONG, gone).await.unwrap().unwrap();
    assert_eq!(peer.state().breaker, Breaker::HalfOpen, "still believed");
    assert!(!peer.admit().await.unwrap().is_trial());
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_admits() {
    let (daemon, _watch, peer) = half_open().await;
    for code in [Code::NotFound, Code::Unimplemented, Code::Internal] {
        daemon.answer_trials_with(Some(code));
        assert!(!peer.admit().await.unwrap().is_trial(), "{code:?}");
    }
}

#[tokio::test]
async fn news_that_overtake_the_question_count() {
    for (breaker, admitted) in [(Breaker::Open, false), (Breaker::Closed, true)] {
        let (daemon, _watch, peer) = half_open().await;
        daemon.answer_trials_with(Some(Code::FailedPrecondition));
        // The daemon's state has changed before the request, or during it.
        daemon.publish(FakeDaemon::state(
            NODE4,
            crate::v1::Verdict::Unknown,
            breaker,
        ));
        assert_eq!(peer.admit().await.is_ok(), admitted, "{breaker:?}");
    }
}

#[tokio::test]
async fn an_unwatched_peer_is_admitted() {
    let peer = PeerStates::unwatched().peer(NODE4);
    let admission = peer.admit().await.unwrap();
    assert!(!admission.is_trial());
    admission.succeeded();
}

#[tokio::test]
async fn an_outcome_may_be_told_outside_the_runtime() {
    let (daemon, _watch, peer) = half_open().await;
    daemon.allow_trials(1);
    let trial = peer.admit().await.unwrap();
    std::thread::spawn(move || trial.succeeded())
        .join()
        .unwrap();
    let finished = timeout(LONG, daemon.finished_trials(1)).await.unwrap();
    assert_eq!(finished[0].outcome(), TrialOutcome::Succeeded);
}
