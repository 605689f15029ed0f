//! Troubles that must never lead to the verdict Dead: a false verdict is worse than a slow one.

use std::time::Duration;

use detector_api::v1::Verdict;
use detector_tests::{Cut, Scene, SceneOptions, Traffic, clock, peer::Kind, testbed};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(10);
/// The daemon's longest interval between two snapshots of a peer's sockets.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// Its host is alive and answers with resets.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut scene = Scene::new(SceneOptions::default()).await?;
        let traffic = scene.traffic_to(2).await?;
        let killed = clock::now_ns();
        scene.servers[0].process.kill().await?;
        traffic.error_since(killed, SOON).await?;
        let url = scene.lab.host(2).url();
        scene
            .daemon
            .never_dead(&url, Duration::from_secs(8))
            .await?;
        scene.daemon.stop().await
    })
    .await
}

/// There are retransmissions first, then zero-window probes; the kernel answers all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_during_an_upload() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        // The uploads' own server takes the place of the scene's gRPC one.
        let mut scene = Scene::new(SceneOptions::default()).await?;
        scene.servers[0].process.kill().await?;
        let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
        let server = Traffic::http_server(peer).await?;
        let upload = Traffic::http_client(us, peer, 4).await?;
        scene.alive(2).await?;
        server.process.signal(Signal::SIGSTOP)?;
        scene
            .daemon
            .never_dead(&peer.url(), Duration::from_secs(20))
            .await?;
        server.process.signal(Signal::SIGCONT)?;
        upload.ok_since(clock::now_ns(), SOON).await?;
        scene.alive(2).await?;
        scene.daemon.stop().await
    })
    .await
}

/// The same with many small calls that wait for their replies.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_that_owes_replies() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
        let _traffic = Traffic::grpc_client(us, &peer.url(), Kind::Ping, 4, 50).await?;
        scene.alive(2).await?;
        scene.servers[0].process.signal(Signal::SIGSTOP)?;
        // Nothing is retransmitted, so no event triggers a snapshot: the daemon must take one by
        // itself.
        scene
            .daemon
            .never_dead(&peer.url(), LONGEST_LOOK + Duration::from_secs(2))
            .await?;
        scene.servers[0].process.signal(Signal::SIGCONT)?;
        scene.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_percent_loss() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _uploads = scene.traffic_to(2).await?;
        let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
        let _downloads = Traffic::grpc_client(us, &peer.url(), Kind::Get, 4, 20).await?;
        scene.lab.loss(2, 30)?;
        scene
            .daemon
            .never_dead(&peer.url(), Duration::from_secs(20))
            .await?;
        scene.lab.loss(2, 0)?;
        scene.await_verdict(2, Verdict::Alive).await?;
        scene.daemon.stop().await
    })
    .await
}

/// Short of the detection time, 250 ms.
const LONGEST_FLAP: Duration = Duration::from_millis(200);

/// A switch that fails over. (A port that goes down and up again is a longer cut: the kernel
/// takes up to a second to use it again.)
#[tokio::test(flavor = "multi_thread")]
async fn flaps_of_150_ms() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = Scene::new(SceneOptions::default()).await?;
        let _traffic = scene.traffic_to(2).await?;
        let url = scene.lab.host(2).url();
        let mut flaps = 0;
        for _ in 0..10 {
            let begun = clock::now_ns();
            scene.cut(2, Cut::SilentDrop)?;
            let flap = async {
                tokio::time::sleep(Duration::from_millis(150)).await;
                scene.heal(2)?;
                anyhow::Ok(clock::between(begun, clock::now_ns()))
            };
            let (lasted, never) =
                tokio::join!(flap, scene.daemon.never_dead(&url, Duration::from_secs(2)));
            // If the fault lasted too long for lack of CPU, it was a cut.
            if lasted? > LONGEST_FLAP {
                scene.alive(2).await?;
                continue;
            }
            never?;
            flaps += 1;
            if flaps == 3 {
                break;
            }
        }
        assert_eq!(flaps, 3, "too many flaps took longer than {LONGEST_FLAP:?}");
        scene.daemon.stop().await
    })
    .await
}
