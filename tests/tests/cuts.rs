//! After a power cut the breaker opens, and when the peer is back it closes.

use std::time::Duration;

use detector_api::v1::{Breaker, PeerState, Reason, Verdict};
use detector_tests::{
    Cut, DaemonOptions, Scene, SceneOptions, Traffic, clock, peer::Kind, testbed,
};

const LIMIT: Duration = Duration::from_secs(60);
/// The limit for a cut with traffic. The benchmark measures the real times; this limit only
/// distinguishes detection from the time-outs of clients.
const PROMPT: Duration = Duration::from_secs(15);
/// For events that must not occur during this time.
const A_WHILE: Duration = Duration::from_secs(4);
/// Until the next PING of a quiet connection (5 s), and its retransmissions.
const QUIET: Duration = Duration::from_secs(15);

fn assert_silence_killed_it(state: &PeerState) {
    assert_eq!(state.verdict(), Verdict::Dead, "{state:?}");
    let reasons = [
        Reason::TlpUnanswered,
        Reason::RtoUnanswered,
        Reason::ConnectUnanswered,
        Reason::ErrorReported,
        Reason::ProbeUnanswered,
    ];
    assert!(reasons.contains(&state.reason()), "{state:?}");
}

async fn opens_with_calls_in_flight(cut: Cut) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let before = scene.daemon.peer(&scene.lab.host(2).url()).await?;
        let cut = scene.cut(2, cut)?;
        let (open, after) = scene.open_after(cut, 2, PROMPT).await?;
        println!("open after {after:?}: {:?}", open.state.reason());
        assert_silence_killed_it(&open.state);
        assert!(open.state.generation > before.generation);
        assert!(open.state.revision > before.revision);
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_down_with_calls_in_flight() -> anyhow::Result<()> {
    opens_with_calls_in_flight(Cut::PortDown).await
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_drop_with_calls_in_flight() -> anyhow::Result<()> {
    opens_with_calls_in_flight(Cut::SilentDrop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_quiet_grpc_connection() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let url = scene.lab.host(2).url();
        let _quiet = Traffic::quiet_grpc_client(scene.lab.host(1), &url).await?;
        scene.alive(2).await?;
        let cut = scene.cut(2, Cut::PortDown)?;
        let (open, after) = scene.open_after(cut, 2, QUIET).await?;
        println!("open after {after:?}: {:?}", open.state.reason());
        assert_silence_killed_it(&open.state);
        scene.daemon.stop().await
    })
    .await
}

/// The cable was out: the peer's sockets are as they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_cable_is_back_is_closed_again() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let traffic = scene.traffic_to(2).await?;
        for cut in Cut::ALL {
            let cut = scene.cut(2, cut)?;
            scene.open_after(cut, 2, PROMPT).await?;
            let heal = scene.heal(2)?;
            let (closed, after) = scene.closed_after(heal, 2, Duration::from_secs(10)).await?;
            println!("closed after {after:?}: {:?}", closed.state.reason());
            traffic
                .ok_since(heal.at_ns, Duration::from_secs(10))
                .await?;
            scene.alive(2).await?;
        }
        scene.daemon.stop().await
    })
    .await
}

/// The power was out: the peer has lost its state, and resets the earlier connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_power_is_back_is_closed_again() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut scene = Scene::new(SceneOptions::default()).await?;
        let traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::PortDown)?;
        scene.servers[0].process.kill().await?;
        scene.open_after(cut, 2, PROMPT).await?;
        let heal = scene.heal(2)?;
        let _server = Traffic::grpc_server(scene.lab.host(2)).await?;
        let (closed, after) = scene.closed_after(heal, 2, Duration::from_secs(15)).await?;
        println!("closed after {after:?}: {:?}", closed.state.reason());
        traffic
            .ok_since(heal.at_ns, Duration::from_secs(15))
            .await?;
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_peers_only_the_dead_one_opens() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            hosts: 3,
            ..SceneOptions::default()
        })
        .await?;
        let _dying = scene.traffic_to(2).await?;
        let living = scene.traffic_to(3).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        let other = scene.lab.host(3).url();
        let (open, never) = tokio::join!(
            scene.open_after(cut, 2, PROMPT),
            scene.daemon.never_dead(&other, A_WHILE),
        );
        let (open, _) = open?;
        assert_silence_killed_it(&open.state);
        never?;
        // The traffic of the living peer does not bring the dead one back either.
        let dead = scene.lab.host(2).url();
        scene
            .daemon
            .stays_open(open.at_ns, &dead, Duration::ZERO)
            .await?;
        living.ok_since(clock::now_ns(), PROMPT).await?;
        scene.alive(3).await?;
        scene.daemon.stop().await
    })
    .await
}

/// The peer is named by one address of h2, and dialled by one that may be written differently.
async fn opens_when_dialled(peer: &str, target: &str) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            daemon: DaemonOptions::default().peer(peer),
            ..SceneOptions::default()
        })
        .await?;
        let _traffic = Traffic::grpc_client(scene.lab.host(1), target, Kind::Put, 4, 100).await?;
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        scene.daemon.await_state(peer, QUIET, alive).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        let open = |state: &PeerState| state.breaker() == Breaker::Open;
        let open = scene
            .daemon
            .await_since(cut.at_ns, peer, PROMPT, open)
            .await?;
        assert_silence_killed_it(&open.state);
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6() -> anyhow::Result<()> {
    let peer = "http://[fd77::2]:9000";
    opens_when_dialled(peer, peer).await
}

/// The client's socket is AF_INET6, the peer is named by its IPv4 address.
#[tokio::test(flavor = "multi_thread")]
async fn v4_mapped_dialled() -> anyhow::Result<()> {
    opens_when_dialled("http://10.77.0.2:9000", "http://[::ffff:10.77.0.2]:9000").await
}

/// The peer dialled this node, which answers; this node dials no peer.
async fn opens_when_accepted(dual_stack: bool) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
        let _server = if dual_stack {
            Traffic::grpc_server(us).await?
        } else {
            Traffic::grpc_server_v4(us).await?
        };
        let _traffic = Traffic::grpc_client(peer, &us.url(), Kind::Get, 4, 100).await?;
        scene.alive(2).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        let (open, after) = scene.open_after(cut, 2, QUIET).await?;
        println!("open after {after:?}: {:?}", open.state.reason());
        assert_silence_killed_it(&open.state);
        // The regular snapshots would also find it in time.
        let explained = scene.daemon.explain(&peer.url()).await?;
        let seen_by_ebpf = explained.events.iter().any(|e| e.source == "ebpf");
        assert!(seen_by_ebpf, "{explained:#?}");
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_flows_only() -> anyhow::Result<()> {
    opens_when_accepted(false).await
}

/// A server on `[::]` holds IPv4 clients' connections as v4-mapped AF_INET6 sockets.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_v4_mapped_flows_only() -> anyhow::Result<()> {
    opens_when_accepted(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_mode_publishes_what_it_would_have_done() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions {
            daemon: DaemonOptions::default().args(["--mode", "observe"]),
            ..SceneOptions::default()
        })
        .await?;
        let _traffic = scene.traffic_to(2).await?;
        let cut = scene.cut(2, Cut::PortDown)?;
        let url = scene.lab.host(2).url();
        let would_open = |state: &PeerState| state.would_be_breaker() == Breaker::Open;
        let seen = scene
            .daemon
            .await_since(cut.at_ns, &url, PROMPT, would_open)
            .await?;
        assert_eq!(seen.state.breaker(), Breaker::Closed);
        assert_silence_killed_it(&seen.state);
        scene.daemon.stop().await
    })
    .await
}
