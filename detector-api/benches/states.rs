//! Measures the cost of reading a peer's state, and compares it with code that a program would
//! write without this crate: `cargo bench -p detector-api`.
//!
//! Each case runs in rounds that are far shorter than a scheduler time slice; the result is the
//! median round.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{Arc, RwLock},
    time::Duration,
};

use detector_api::{PeerStates, PeerWatch, State, testing::FakeDaemon};
use tokio::{runtime::Runtime, time::Instant};

/// The number of peers in a large cluster.
const PEERS: usize = 64;
const ROUNDS: usize = 2001;
const GETS: u32 = 1000;
/// The target for one local read.
const TARGET_NS: f64 = 20.0;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let (daemon, watch) = runtime.block_on(watching());
    let states = watch.states();
    let rows = measure(&states);
    println!("{:<44} {:>8}", "one look, of 64 peers", "ns");
    for (name, ns) in &rows {
        println!("{name:<44} {ns:>8.1}");
    }
    drop((watch, daemon, runtime));
    let slow: Vec<_> = rows
        .iter()
        .filter(|(name, ns)| name.starts_with("get, as it is") && *ns > TARGET_NS)
        .collect();
    if !slow.is_empty() {
        println!("beyond the target of {TARGET_NS} ns: {slow:?}");
        std::process::exit(1);
    }
}

fn name(peer: usize) -> String {
    format!("http://node{peer}:9000")
}

/// Watches peers of which node 1 is down and the others are alive.
async fn watching() -> (FakeDaemon, PeerWatch) {
    let daemon = FakeDaemon::start().await;
    daemon.set_ttl(Some(Duration::from_secs(60)));
    daemon.open(&name(1));
    for peer in 2..=PEERS {
        daemon.close(&name(peer));
    }
    let watch = PeerWatch::start(daemon.socket());
    assert!(
        watch.ready(Duration::from_secs(5)).await,
        "{}",
        watch.status()
    );
    (daemon, watch)
}

fn measure(states: &PeerStates) -> Vec<(&'static str, f64)> {
    let peer = states.peer("http://node4:9000");
    let down = states.peer("http://node1:9000");
    let without = PeerStates::unwatched();
    let locked: RwLock<HashMap<String, State>> = RwLock::new(
        (1..=PEERS)
            .map(|peer| (name(peer), states.get(&name(peer))))
            .collect(),
    );
    let unchanged = unchanged(states);
    vec![
        (
            "get, as it is: http://node4:9000",
            of(|| states.get(black_box("http://node4:9000"))),
        ),
        (
            "get, as it is, with a disk's path",
            of(|| states.get(black_box("http://node4:9000/data/rustfs1"))),
        ),
        (
            "get, as it is, with a bulk suffix",
            of(|| states.get(black_box("http://node4:9000\0bulk\x000"))),
        ),
        (
            "get, not watched",
            of(|| states.get(black_box("http://node99:9000"))),
        ),
        (
            "get, of a peer that is down",
            of(|| states.get(black_box("http://node1:9000"))),
        ),
        (
            "get, in upper case",
            of(|| states.get(black_box("HTTP://NODE4:9000"))),
        ),
        (
            "a handle, with a disk's path",
            of(|| states.peer(black_box("http://node4:9000/data/rustfs1"))),
        ),
        (
            "a handle, not watched",
            of(|| states.peer(black_box("http://node99:9000"))),
        ),
        (
            "a handle, of unwatched states",
            of(|| without.peer(black_box("http://node4:9000/data/rustfs1"))),
        ),
        ("handle", of(|| black_box(&peer).state())),
        (
            "handle, of a peer that is down",
            of(|| black_box(&down).state()),
        ),
        (
            "baseline: RwLock<HashMap>",
            of(|| locked.read().expect("no panic")[black_box("http://node4:9000")]),
        ),
        (
            "baseline: the same, one other thread reading",
            contended(&locked),
        ),
        (
            "baseline: Arc<HashMap>, never changed",
            of(|| unchanged[black_box("http://node4:9000")]),
        ),
    ]
}

fn unchanged(states: &PeerStates) -> Arc<HashMap<String, State>> {
    Arc::new(
        (1..=PEERS)
            .map(|peer| (name(peer), states.get(&name(peer))))
            .collect(),
    )
}

/// The time for one call in the median round.
fn of<T>(call: impl Fn() -> T) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..GETS {
                black_box(call());
            }
            start.elapsed().as_nanos() as f64 / f64::from(GETS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn contended(locked: &RwLock<HashMap<String, State>>) -> f64 {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                black_box(locked.read().expect("no panic").get("http://node5:9000"));
            }
        });
        let ns = of(|| locked.read().expect("no panic")[black_box("http://node4:9000")]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ns
    })
}
