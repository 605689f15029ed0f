//! States: how they are found, how long they are valid, and what they wake.

mod gray;
mod names;

use std::{pin::pin, task::Context, time::Duration};

use super::*;
use crate::v1::{Breaker, PeerState, Reason, Verdict};

const TTL: Duration = Duration::from_secs(3);
const NODE4: &str = "http://node4:9000";
const NODE5: &str = "http://node5:9000";

fn states() -> PeerStates {
    PeerStates::watched_on(Handle::current(), Duration::ZERO)
}

fn told(peer: &str, breaker: Breaker, addresses: &[&str]) -> PeerState {
    PeerState {
        peer: peer.to_owned(),
        verdict: match breaker {
            Breaker::Open => Verdict::Dead,
            _ => Verdict::Alive,
        }
        .into(),
        breaker: breaker.into(),
        reason: Reason::RtoUnanswered.into(),
        addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
        ..PeerState::default()
    }
}

fn open(peer: &str) -> PeerState {
    told(peer, Breaker::Open, &[])
}

fn closed(peer: &str) -> PeerState {
    told(peer, Breaker::Closed, &[])
}

fn is_open(states: &PeerStates, name: &str) -> bool {
    states.get(name).breaker == Breaker::Open
}

fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// A URL with which RustFS requests a shard.
#[tokio::test]
async fn a_url_with_a_query_leads_to_its_peer_either_way() {
    let url =
        "http://node4:9000/rustfs/rpc/read_file_stream?disk=http://node4:9000/d1&path=a b#{c}";
    let states = states();
    states.replace(&[open(NODE4)], TTL);
    assert!(is_open(&states, url));
    assert!(is_open(&states, "http://NODE4:9000/rustfs?disk=1"));
    assert_eq!(states.peer(url).name(), NODE4);
    assert!(states.peer(url).down().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_word_that_comes_too_late_makes_nothing_true_again() {
    let states = states();
    states.replace(&[open(NODE4)], TTL);
    let peer = states.peer(NODE4);
    tokio::time::advance(TTL).await;
    assert_eq!(states.confirm(TTL), Err(Stale));
    assert_eq!(states.change(&open(NODE5), TTL), Err(Stale));
    assert_eq!(peer.state(), State::default());

    // A call that begins here ends when all states are replaced.
    let guard = crate::Guard::new(&peer);
    states.replace(&[open(NODE4)], TTL);
    assert!(guard.opened().is_some());
}

/// A thread keeps a reference to the table that it used last.
#[tokio::test]
async fn a_look_is_into_the_newest_table_of_its_own_states() {
    let (one, other) = (states(), states());
    one.replace(&[open(NODE4)], TTL);
    other.replace(&[open(NODE5)], TTL);
    for _ in 0..2 {
        assert!(is_open(&one, NODE4) && !is_open(&one, NODE5));
        assert!(is_open(&other, NODE5) && !is_open(&other, NODE4));
    }
    assert!(is_open(&one, NODE4));
    std::thread::scope(|scope| {
        scope.spawn(|| one.replace(&[open(NODE5)], TTL));
    });
    assert!(is_open(&one, NODE5) && !is_open(&one, NODE4));
}

#[tokio::test]
async fn a_peer_is_found_however_it_is_spelled() {
    let states = states();
    states.replace(
        &[
            told(NODE4, Breaker::Open, &["10.0.0.4", "fd00::4"]),
            told("https://node6:443", Breaker::Open, &[]),
            closed(NODE5),
        ],
        TTL,
    );
    for spelling in [
        "http://node4:9000",
        "http://node4:9000/",
        "http://node4:9000/data/rustfs1",
        "http://node4:9000\0bulk\x003",
        "HTTP://NODE4:9000/data",
        "node4:9000",
        " http://node4:9000 ",
        "http://10.0.0.4:9000",
        "http://10.0.0.4:9000/data/rustfs1",
        "10.0.0.4:9000",
        "http://[fd00::4]:9000",
        "http://[FD00:0::4]:9000/x",
        "http://[::ffff:10.0.0.4]:9000",
        "https://node6",
        "https://node6/data",
    ] {
        assert!(is_open(&states, spelling), "{spelling:?}");
        let peer = states.peer(spelling);
        assert!(peer.down().is_some(), "{spelling:?}");
        let watched_as = peer.watched_as().unwrap();
        assert!([NODE4, "https://node6:443"].contains(&&*watched_as));
    }
    for other in [
        NODE5,
        "http://node4:9001",
        "https://node4:9000",
        "http://node4",
        "http://node4:9000@node5:9000",
        "http://10.0.0.4:9001",
        "http://node40:9000",
        "http://",
        "node4",
        "",
        "/",
        "\0",
    ] {
        assert!(!is_open(&states, other), "{other:?}");
        assert_eq!(states.peer(other).down(), None, "{other:?}");
    }
}

#[tokio::test]
async fn a_name_wins_over_anothers_address() {
    let states = states();
    let named = closed("http://10.0.0.4:9000");
    let node4 = told(NODE4, Breaker::Open, &["10.0.0.4"]);
    states.replace(&[named, node4], TTL);
    assert!(is_open(&states, NODE4));
    assert!(!is_open(&states, "http://10.0.0.4:9000"));
    // When no peer has this name any more, the address leads to the peer that has it.
    states.remove("http://10.0.0.4:9000", TTL).unwrap();
    assert!(is_open(&states, "http://10.0.0.4:9000"));
}

#[tokio::test]
async fn a_name_wins_over_an_address_whoever_comes_first() {
    let states = states();
    // This one sorts before the peer whose name is its address.
    let first = told("http://10.0.0.3:9000", Breaker::Open, &["10.0.0.4"]);
    states.replace(&[first, closed("http://10.0.0.4:9000")], TTL);
    assert!(is_open(&states, "http://10.0.0.3:9000"));
    assert!(!is_open(&states, "http://10.0.0.4:9000"));
}

#[tokio::test]
async fn the_addresses_of_one_peer_are_bounded() {
    let states = states();
    let addresses: Vec<_> = (0..=book::MAX_ADDRESSES)
        .map(|n| format!("10.0.0.{n}"))
        .collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    states.replace(&[told(NODE4, Breaker::Open, &addresses)], TTL);
    let found = |address: &&&str| is_open(&states, &format!("http://{address}:9000"));
    assert_eq!(addresses.iter().filter(found).count(), book::MAX_ADDRESSES);
}

#[tokio::test]
async fn a_handle_by_an_address_follows_the_address() {
    let states = states();
    let peer = states.peer("http://10.0.0.4:9000");
    assert_eq!((peer.down(), peer.watched_as()), (None, None));
    states.replace(
        &[told(NODE4, Breaker::Open, &["10.0.0.4"]), closed(NODE5)],
        TTL,
    );
    let down = peer.down().unwrap();
    assert_eq!(down.peer, "http://10.0.0.4:9000");
    assert_eq!(peer.watched_as().as_deref(), Some(NODE4));
    states
        .change(&told(NODE4, Breaker::Open, &["10.0.0.7"]), TTL)
        .unwrap();
    assert_eq!((peer.down(), peer.watched_as()), (None, None));
    assert!(is_open(&states, "http://10.0.0.7:9000"));
    states
        .change(&told(NODE5, Breaker::Closed, &["10.0.0.4"]), TTL)
        .unwrap();
    assert_eq!(peer.state().verdict, Verdict::Alive);
    assert_eq!(peer.watched_as().as_deref(), Some(NODE5));
}

#[tokio::test]
async fn a_handle_from_before_comes_to_be_watched_and_ceases_to_be() {
    let states = states();
    let peer = states.peer("http://Node4:9000/data");
    assert_eq!(peer.name(), NODE4);
    let mut down = pin!(peer.until_down());
    assert!(now_or_never(down.as_mut()).is_none());
    states.replace(&[open(NODE4)], TTL);
    assert_eq!(down.await.reason, Reason::RtoUnanswered);
    states.remove(NODE4, TTL).unwrap();
    assert_eq!(peer.state(), State::default());
    assert!(states.peers().is_empty());
    states.change(&open(NODE4), TTL).unwrap();
    assert!(peer.down().is_some(), "the same handle");
    states.replace(&[], TTL);
    assert_eq!(peer.state(), State::default());
}

#[tokio::test]
async fn the_peers_are_those_that_were_told() {
    let states = states();
    states.peer("http://node9:9000");
    states.replace(
        &[closed(NODE5), told(NODE4, Breaker::Open, &["10.0.0.4"])],
        TTL,
    );
    let names = |states: &PeerStates| -> Vec<_> {
        states
            .peers()
            .iter()
            .map(|peer| peer.name().to_owned())
            .collect()
    };
    assert_eq!(names(&states), [NODE4, NODE5]);
    states.change(&closed("http://node1:9000"), TTL).unwrap();
    assert_eq!(names(&states), ["http://node1:9000", NODE4, NODE5]);
    states.replace(&[closed(NODE5)], TTL);
    assert_eq!(names(&states), [NODE5]);
}

#[tokio::test]
async fn a_name_that_this_crate_cannot_read_is_found_as_it_is() {
    let name = "http://[fe80::1%2]:9000";
    let states = states();
    states.replace(&[open(name)], TTL);
    assert!(is_open(&states, name));
    assert!(states.peer(name).down().is_some());
}

#[tokio::test]
async fn handles_of_strangers_are_bounded() {
    let states = states();
    let name = |n: usize| format!("http://stranger{n}:9000");
    let held: Vec<_> = (0..book::MAX_UNWATCHED)
        .map(|n| states.peer(&name(n)))
        .collect();
    let beyond = states.peer(NODE4);
    states.replace(&[open(NODE4), open(&name(7))], TTL);
    assert!(held[7].down().is_some());
    assert_eq!(beyond.state(), State::default(), "beyond the bound");
    // A watched peer is found however many unwatched handles there are.
    assert!(states.peer(NODE4).down().is_some());
    drop(held);
    // Names without a handle make room for as many others.
    let name = |n: usize| format!("http://newcomer{n}:9000");
    let held: Vec<_> = (1..book::MAX_UNWATCHED)
        .map(|n| states.peer(&name(n)))
        .collect();
    let last = name(book::MAX_UNWATCHED - 1);
    states.change(&open(&last), TTL).unwrap();
    assert!(held.last().unwrap().down().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_told_ends_with_its_time_to_live() {
    let states = states();
    states.replace(&[open(NODE4), closed(NODE5)], TTL);
    let peer = states.peer(NODE4);
    tokio::time::advance(TTL / 2).await;
    assert!(is_open(&states, NODE4) && states.is_fresh());
    states.confirm(TTL).unwrap();
    tokio::time::advance(TTL - Duration::from_millis(1)).await;
    assert!(is_open(&states, NODE4), "renewed");
    assert!(!states.expire(), "too early");
    // No timer has run: the clock alone ends the validity.
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!states.is_fresh());
    assert_eq!(states.get(NODE4), State::default());
    assert_eq!((peer.state(), peer.down()), (State::default(), None));
    assert!(now_or_never(peer.until_down()).is_none());
    assert!(states.expire());
    assert_eq!(states.get(NODE5), State::default());
}

#[tokio::test(start_paused = true)]
async fn whatever_is_not_simply_to_be_called_ends_with_its_time_to_live() {
    let states = states();
    let half_open = told(NODE4, Breaker::HalfOpen, &[]);
    let suspect = PeerState {
        verdict: Verdict::Suspect.into(),
        ..closed(NODE5)
    };
    states.replace(&[half_open, suspect], TTL);
    assert_eq!(states.get(NODE4).breaker, Breaker::HalfOpen);
    assert_eq!(states.get(NODE5).verdict, Verdict::Suspect);
    // No timer runs.
    tokio::time::advance(TTL).await;
    for peer in [NODE4, NODE5] {
        assert_eq!(states.get(peer), State::default());
        assert_eq!(states.peer(peer).state(), State::default());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_wakes_those_who_wait() {
    let states = states();
    states.replace(&[open(NODE4)], TTL);
    let nobody = tonic::transport::Endpoint::from_static("http://nobody").connect_lazy();
    let client = v1::detector_client::DetectorClient::new(nobody);
    states.source().set_client(Some(client));
    let peer = states.peer(NODE4);
    let mut up = pin!(peer.until(|state| state.breaker == Breaker::Closed));
    let mut stale = pin!(states.until_stale());
    assert!(now_or_never(up.as_mut()).is_none());
    assert!(now_or_never(stale.as_mut()).is_none());
    tokio::time::advance(TTL).await;
    assert!(states.expire());
    assert_eq!(up.await, State::default());
    stale.await;
    assert!(
        states.source().client().is_none(),
        "nobody asks it any more"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_comes_back_as_a_whole_only() {
    let states = states();
    assert_eq!(states.confirm(TTL), Err(Stale), "nothing was told yet");
    states.replace(&[open(NODE4)], TTL);
    tokio::time::advance(TTL).await;
    assert!(states.expire());
    assert_eq!(states.confirm(TTL), Err(Stale));
    assert_eq!(states.change(&open(NODE4), TTL), Err(Stale));
    assert_eq!(states.remove(NODE4, TTL), Err(Stale));
    assert!(!is_open(&states, NODE4));
    states.replace(&[open(NODE4)], TTL);
    assert!(is_open(&states, NODE4));
}

#[tokio::test]
async fn a_thread_outside_the_runtime_believes_no_longer() {
    let states = states();
    states.replace(&[open(NODE4)], Duration::from_millis(20));
    // Meanwhile the runtime's only thread is blocked, so its timers cannot run.
    let seen = std::thread::spawn({
        let states = states.clone();
        move || {
            let start = tokio::time::Instant::now();
            while is_open(&states, NODE4) && start.elapsed() < 5 * TTL {
                std::thread::sleep(Duration::from_millis(1));
            }
            states.get(NODE4)
        }
    });
    assert_eq!(seen.join().unwrap(), State::default());
}

#[test]
fn unwatched_states_need_no_runtime() {
    let states = PeerStates::unwatched();
    let peer = states.peer(NODE4);
    assert_eq!((states.get(NODE4), peer.state()), Default::default());
    assert!(now_or_never(states.until_fresh()).is_none());
    assert!(now_or_never(peer.until_down()).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_are_there_when_they_are_announced() {
    for _ in 0..300 {
        let states = states();
        let told = tokio::spawn({
            let states = states.clone();
            async move { states.replace(&[open(NODE4)], TTL) }
        });
        states.until_fresh().await;
        assert!(is_open(&states, NODE4));
        told.await.unwrap();
    }
}
