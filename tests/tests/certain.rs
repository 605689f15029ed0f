//! No false verdict about a live peer: what the daemon knows about its own host, and what it does
//! about a dead peer's sockets.

use std::time::Duration;

use anyhow::Context as _;

use detector_api::v1::{Breaker, PeerState, Reason, Verdict};
use detector_tests::{
    Cut, DaemonOptions, Scene, SceneOptions, Traffic, clock,
    peer::{Event, Kind},
    testbed,
    trio::UNTIMED,
};

const LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(15);
/// Longer than any detection time, and than the kernel's first time-outs.
const A_WHILE: Duration = Duration::from_secs(5);

/// h1 with two peers: uploads to h2, idle connections to h3.
async fn two_peers() -> anyhow::Result<(Scene, Vec<Traffic>)> {
    let scene = Scene::new(SceneOptions {
        hosts: 3,
        ..SceneOptions::default()
    })
    .await?;
    let busy = scene.traffic_to(2).await?;
    let us = scene.lab.host(1);
    // Nothing is sent after the first call: no PING that a cut could leave unanswered.
    let flags = [&["--quiet"][..], &UNTIMED].concat();
    let quiet = Traffic::caller(us, &scene.lab.host(3).url(), &flags).await?;
    scene.alive(3).await?;
    idle(&scene, 3).await?;
    Ok((scene, vec![busy, quiet]))
}

/// Waits until the host's only connection is probed, which happens once nothing was heard on it for
/// a while: then nothing of the first call is in flight any more.
async fn idle(scene: &Scene, host: usize) -> anyhow::Result<()> {
    let url = scene.lab.host(host).url();
    testbed::until("the idle connection is probed", SOON, async || {
        let explained = scene.daemon.explain(&url).await?;
        let mut probes = explained.probes.iter();
        let answered = probes.any(|probe| probe.kind == "keepalive" && probe.answered >= 2);
        Ok(answered.then_some(()))
    })
    .await
}

/// An unmodified program on h1 waits for h2's answers, on two connections.
async fn blocked_calls(daemon: DaemonOptions) -> anyhow::Result<(Scene, Traffic)> {
    let mut scene = Scene::new(SceneOptions {
        daemon,
        ..SceneOptions::default()
    })
    .await?;
    // A server that accepts connections and never answers replaces the scene's server.
    scene.servers[0].process.kill().await?;
    scene.servers[0] = Traffic::http_server(scene.lab.host(2)).await?;
    let client = Traffic::blocking_client(scene.lab.host(1), scene.lab.host(2), 2).await?;
    scene.alive(2).await?;
    Ok((scene, client))
}

async fn isolated(scene: &Scene, since_ns: u64, host: usize) -> anyhow::Result<()> {
    let url = scene.lab.host(host).url();
    let isolated = |state: &PeerState| state.isolated;
    scene
        .daemon
        .await_since(since_ns, &url, SOON, isolated)
        .await?;
    Ok(())
}

/// Waits until the host is heard after this moment. No new state needs to be published for that.
async fn heard_again(scene: &Scene, since_ns: u64, host: usize) -> anyhow::Result<()> {
    let url = scene.lab.host(host).url();
    testbed::until("it is heard again", SOON, async || {
        let since = clock::between(since_ns, clock::now_ns());
        let state = scene.daemon.peer(&url).await?;
        let heard = state.last_heard_age.map(Duration::try_from).transpose()?;
        let again = heard.is_some_and(|age| age < since) && !state.isolated;
        Ok(again.then_some(()))
    })
    .await
}

async fn nobody_dies_and_all_return(
    scene: &Scene,
    since_ns: u64,
    heal: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for host in [2, 3] {
        isolated(scene, since_ns, host).await?;
    }
    let (h2, h3) = (scene.lab.host(2).url(), scene.lab.host(3).url());
    let (two, three) = tokio::join!(
        scene.daemon.never_dead(&h2, A_WHILE),
        scene.daemon.never_dead(&h3, A_WHILE)
    );
    two?;
    three?;
    let healed = clock::now_ns();
    heal().await?;
    for host in [2, 3] {
        heard_again(scene, healed, host).await?;
        scene.alive(host).await?;
        let state = scene.daemon.peer(&scene.lab.host(host).url()).await?;
        assert_eq!(state.breaker(), Breaker::Closed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_link_down_holds_every_verdict() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (scene, _traffic) = two_peers().await?;
        let down = scene.lab.own_link(1, false)?;
        nobody_dies_and_all_return(&scene, down.at_ns, async || {
            scene.lab.own_link(1, true)?;
            Ok(())
        })
        .await?;
        scene.daemon.stop().await
    })
    .await
}

/// The carrier stays, so only the missing answers distinguish it from two deaths.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_switch_dead_holds_every_verdict() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (scene, _traffic) = two_peers().await?;
        let cut = scene.lab.cut_switch(Cut::SilentDrop)?;
        nobody_dies_and_all_return(&scene, cut.at_ns, async || {
            scene.lab.heal_switch()?;
            Ok(())
        })
        .await?;
        scene.daemon.stop().await
    })
    .await
}

/// Peers that are only idle must not be found dead as well.
#[tokio::test(flavor = "multi_thread")]
async fn one_peer_dies_while_the_other_is_idle() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (scene, _traffic) = two_peers().await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        let (open, _) = scene.open_after(cut, 2, SOON).await?;
        assert_eq!(open.state.verdict(), Verdict::Dead);
        let idle = scene.lab.host(3).url();
        scene.daemon.never_dead(&idle, A_WHILE).await?;
        scene.daemon.stop().await
    })
    .await
}

/// The blind spot: nothing is in flight, so the kernel never reports anything.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_peer_that_dies_is_found_by_probes() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        for cut in Cut::ALL {
            let (scene, _traffic) = two_peers().await?;
            let cut = scene.cut(3, cut)?;
            let (open, _) = scene.open_after(cut, 3, SOON).await?;
            assert_eq!(open.state.reason(), Reason::ProbeUnanswered);
            let explained = scene.daemon.explain(&scene.lab.host(3).url()).await?;
            assert!(
                explained
                    .probes
                    .iter()
                    .any(|p| p.known_to_answer && p.unanswered > 0)
            );
            scene.daemon.stop().await?;
        }
        Ok(())
    })
    .await
}

/// Its kernel answers, even though its full queue drops new connects.
#[tokio::test(flavor = "multi_thread")]
async fn one_stuck_flow_of_a_peer_that_answers_is_no_death() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
        let _one = Traffic::grpc_client(us, &peer.url(), Kind::Put, 1, 20).await?;
        scene.alive(2).await?;
        // What is sent on its one connection is lost, everything else arrives.
        let lose = "add table inet lost { chain lost { type filter hook input priority 0; \
                    tcp dport 9000 drop; }; }";
        peer.exec("nft", &[lose])?;
        scene
            .daemon
            .never_dead(&peer.url(), Duration::from_secs(8))
            .await?;
        // The flow was published as stalled and destroyed; the peer was not found dead because of
        // it.
        let state = scene.daemon.explain(&peer.url()).await?.peer;
        let verdict = state.context("the peer is explained")?.verdict();
        assert_ne!(verdict, Verdict::Dead);
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_block_on_a_dead_peer_return_at_destroy_delay() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (scene, client) = blocked_calls(DaemonOptions::default()).await?;
        let peer = scene.lab.host(2);
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        for connection in 0..2 {
            let error = client
                .event(cut.at_ns, SOON, |event| match event {
                    Event::Error { channel, error, .. } if *channel == connection => {
                        error.starts_with("read").then(|| error.clone())
                    }
                    _ => None,
                })
                .await?;
            assert!(error.contains("103") || error.contains("abort"), "{error}");
        }
        let destroyed = testbed::until("it says what it did", SOON, async || {
            Ok(scene.daemon.explain(&peer.url()).await?.destroyed)
        })
        .await?;
        assert!(destroyed.destroyed >= 2, "{destroyed:?}");
        scene.daemon.stop().await
    })
    .await
}

/// A death takes 250 ms of silence, and sockets are destroyed after 300 ms of it at the earliest.
#[tokio::test(flavor = "multi_thread")]
async fn a_flap_of_250_ms_destroys_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let traffic = scene.traffic_to(2).await?;
        let mut flaps = 0;
        for _ in 0..20 {
            let begun = clock::now_ns();
            scene.cut(2, Cut::SilentDrop)?;
            tokio::time::sleep(Duration::from_millis(245)).await;
            scene.heal(2)?;
            let lasted = clock::between(begun, clock::now_ns());
            let error = traffic.error_since(begun, Duration::from_secs(2)).await;
            // If the fault lasted too long for lack of CPU, it was a cut.
            if lasted <= Duration::from_millis(260) {
                assert!(error.is_err(), "after {lasted:?}: {error:?}");
                flaps += 1;
            }
            scene.alive(2).await?;
            if flaps == 3 {
                break;
            }
        }
        assert_eq!(flaps, 3, "too many flaps took too long");
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_destroyed_when_it_is_switched_off() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let off = DaemonOptions::default().args(["--destroy-sockets", "off"]);
        let (scene, client) = blocked_calls(off).await?;
        let cut = scene.cut(2, Cut::SilentDrop)?;
        scene.open_after(cut, 2, SOON).await?;
        let error = client.error_since(cut.at_ns, Duration::from_secs(3)).await;
        assert!(error.is_err(), "{error:?}");
        scene.daemon.stop().await
    })
    .await
}
