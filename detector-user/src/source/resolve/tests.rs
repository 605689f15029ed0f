//! Names that move, stop resolving or never answer, on a clock of their own.

use std::{collections::VecDeque, sync::Mutex};

use tokio::{sync::mpsc::Receiver, time::sleep};

use super::{task::canonical, *};
use crate::{
    config::parse_peer_name,
    model::{MAX_ADDRESSES, Signal},
    signals,
};

/// What the name server says.
enum Answer {
    Addresses(&'static [&'static str]),
    Failure,
    /// Never comes.
    Silence,
}
use Answer::{Addresses, Failure, Silence};

/// Gives its answers in turn, and notes the time of each request; then stays silent.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<u64>>>,
    start: tokio::time::Instant,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
            start: tokio::time::Instant::now(),
        }
    }

    fn asked_at_seconds(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

impl Lookup for Script {
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        assert_eq!((host, port), ("node4", 9000));
        let at = self.start.elapsed().as_secs();
        self.asked.lock().unwrap().push(at);
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(Addresses(list)) => Ok(list.iter().map(|a| a.parse().unwrap()).collect()),
            Some(Failure) => Err(io::Error::other("no such name")),
            Some(Silence) | None => std::future::pending().await,
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(30);

fn peer() -> PeerSpec {
    parse_peer_name("http://node4:9000").unwrap()
}

fn start(script: &Script) -> (Resolver, Receiver<Signal>) {
    start_for(peer(), script)
}

fn start_for(peer: PeerSpec, script: &Script) -> (Resolver, Receiver<Signal>) {
    let (sender, signals) = signals::channel(64);
    let resolver = Resolver::start(vec![peer], INTERVAL, script.clone(), &sender);
    (resolver, signals)
}

async fn next_addresses(signals: &mut Receiver<Signal>) -> Vec<String> {
    match signals.recv().await {
        Some(Signal::PeerConfigured {
            peer,
            endpoints,
            discovered: false,
        }) => {
            assert_eq!(peer.as_str(), "http://node4:9000");
            assert!(endpoints.iter().all(|e| e.port == 9000));
            endpoints.iter().map(|e| e.addr.to_string()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_changed_set_is_told_and_it_is_canonical() {
    let script = Script::new([
        Addresses(&[
            "fd00::4",
            "::ffff:10.0.0.4",
            "10.0.0.4",
            "0.0.0.0",
            "224.0.0.1",
        ]),
        Addresses(&["10.0.0.4", "fd00::4"]),
        Addresses(&["10.0.0.5"]),
    ]);
    let (_resolver, mut signals) = start(&script);
    assert!(next_addresses(&mut signals).await.is_empty());
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4", "fd00::4"]);
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.5"]);
    assert_eq!(script.asked_at_seconds(), [0, 30, 60]);
}

#[tokio::test(start_paused = true)]
async fn the_last_addresses_are_kept_when_a_name_stops_resolving() {
    let script = Script::new([
        Addresses(&["10.0.0.4"]),
        Failure,
        Silence,
        Addresses(&[]),
        Addresses(&["10.0.0.4"]),
        Addresses(&["10.0.0.9"]),
    ]);
    let (_resolver, mut signals) = start(&script);
    assert!(next_addresses(&mut signals).await.is_empty());
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4"]);
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.9"]);
    // The silent lookup was given up after 5 s.
    assert_eq!(script.asked_at_seconds(), [0, 30, 60, 95, 125, 155]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_addresses_is_told_once_and_retried_sooner() {
    let failures = std::iter::repeat_with(|| Failure).take(8);
    let script = Script::new(failures.chain([Addresses(&["10.0.0.4"])]));
    let (_resolver, mut signals) = start(&script);
    assert!(next_addresses(&mut signals).await.is_empty());
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4"]);
    assert_eq!(script.asked_at_seconds(), [0, 1, 3, 7, 15, 31, 61, 91, 121]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_asked_for_is_looked_up_at_once_and_again_soon() {
    let same = std::iter::repeat_with(|| Addresses(&["10.0.0.4"])).take(5);
    let script = Script::new(same.chain([Addresses(&["10.0.0.5"])]));
    let (resolver, mut signals) = start(&script);
    assert!(next_addresses(&mut signals).await.is_empty());
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4"]);
    sleep(Duration::from_secs(40)).await;
    let other = parse_peer_name("http://node5:9000").unwrap();
    resolver.names().look_up(&other.name);
    resolver.names().look_up(&peer().name);
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.5"]);
    // It has moved: from now on it is looked up as usual.
    sleep(INTERVAL * 2).await;
    assert_eq!(script.asked_at_seconds(), [0, 30, 40, 41, 43, 47, 77]);
}

#[tokio::test(start_paused = true)]
async fn no_name_is_looked_up_more_than_once_a_second() {
    let same = std::iter::repeat_with(|| Addresses(&["10.0.0.4"])).take(100);
    let script = Script::new(same);
    let (resolver, _signals) = start(&script);
    for _ in 0..50 {
        resolver.names().look_up(&peer().name);
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(script.asked_at_seconds(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn fixed_addresses_are_never_looked_up() {
    let script = Script::new([]);
    let mut peer = parse_peer_name("http://node4:9000").unwrap();
    peer.addresses = vec!["::ffff:10.0.0.4".parse().unwrap()];
    let (_resolver, mut signals) = start_for(peer, &script);
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4"]);
    sleep(INTERVAL).await;
    assert!(signals.try_recv().is_err());
    assert!(script.asked_at_seconds().is_empty());
}

#[test]
fn addresses_are_bounded() {
    let many = (0..=255).map(|i| IpAddr::from([10, 0, 0, i]));
    assert_eq!(canonical(many).len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn the_system_resolver_finds_localhost() {
    let found = SystemLookup.lookup("localhost", 1).await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
}

/// Looks up nothing but the addresses that it has, one of which may be this node's.
struct Fixed(&'static str);

impl Lookup for Fixed {
    async fn lookup(&self, _: &str, _: u16) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.0.parse().unwrap()])
    }

    async fn is_this_node(&self, addresses: &[IpAddr]) -> Option<bool> {
        let address = addresses[0].to_string();
        (!address.starts_with("10.9.")).then(|| address.starts_with("10.1."))
    }
}

fn removed(signal: Option<Signal>) -> bool {
    matches!(signal, Some(Signal::PeerRemoved { peer }) if peer.as_str() == "http://node4:9000")
}

fn none() -> (Resolver, Receiver<Signal>) {
    let (sender, signals) = signals::channel(64);
    (
        Resolver::start(Vec::new(), INTERVAL, SystemLookup, &sender),
        signals,
    )
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_added_follows_its_lookup_and_can_be_removed() {
    let (mut resolver, mut signals) = none();
    let added = resolver.add(peer(), false, Arc::new(Fixed("10.0.0.4")), None);
    assert!(next_addresses(&mut signals).await.is_empty());
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4"]);
    // A restarted process sees it elsewhere: nothing is removed in between.
    added.look_up_by(Arc::new(Fixed("10.0.0.5")));
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.5"]);
    let leaving = resolver.remove(added);
    // It comes back before it has left: in this order all the same.
    let again = resolver.add(peer(), false, Arc::new(Fixed("10.0.0.6")), Some(leaving));
    assert!(removed(signals.recv().await));
    assert!(next_addresses(&mut signals).await.is_empty());
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.6"]);
    let mut leaving = resolver.remove(again);
    assert!(removed(signals.recv().await));
    sleep(Duration::from_secs(1)).await;
    assert!(leaving.has_left());
}

#[tokio::test(start_paused = true)]
async fn this_node_is_no_peer_and_one_that_may_be_is_withheld() {
    let (mut resolver, mut signals) = none();
    let own = resolver.add(peer(), true, Arc::new(Fixed("10.1.0.4")), None);
    let untold = resolver.add(peer(), true, Arc::new(Fixed("10.9.0.4")), None);
    sleep(INTERVAL * 3).await;
    assert!(signals.try_recv().is_err());
    // The address has moved to another host, and back.
    own.look_up_by(Arc::new(Fixed("10.0.0.4")));
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.4"]);
    own.look_up_by(Arc::new(Fixed("10.1.0.4")));
    assert!(removed(signals.recv().await));
    untold.look_up_by(Arc::new(Fixed("10.0.0.7")));
    assert_eq!(next_addresses(&mut signals).await, ["10.0.0.7"]);
}
