//! The other end of waiting calls is gone, but its address answers: after a restart that is too
//! quick to notice, or on another host. Nothing is in flight that the kernel would retransmit.

use std::time::Duration;

use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{
    Cut, Scene, SceneOptions, Traffic, Trio, clock,
    peer::Event,
    testbed,
    trio::{SOON, UNTIMED},
};

use crate::LIMIT;

const RESTART: Duration = Duration::from_millis(300);

/// Calls that wait for an answer of h2's, for 10 s each.
async fn waiting(scene: &Scene) -> anyhow::Result<Traffic> {
    let flags = [&["--kind", "wait", "--channels", "2"][..], &UNTIMED].concat();
    Traffic::caller(scene.lab.host(1), &scene.lab.host(2).url(), &flags).await
}

/// Waits until both calls have returned, dialled again and wait for an answer again.
async fn all_return(waiting: &Traffic, since_ns: u64) -> anyhow::Result<()> {
    for wanted in 0..2 {
        let returned = waiting.event(since_ns, SOON, |event| match event {
            Event::Error {
                at_ns,
                channel,
                error,
                ..
            } if *channel == wanted => Some((*at_ns, error.clone())),
            _ => None,
        });
        let (at_ns, error) = returned.await?;
        let after = clock::between(since_ns, at_ns);
        println!("waiting call {wanted} returned {after:?} after the first answer: {error}");
        let again = waiting.event(at_ns, SOON, |event| match event {
            Event::Ok { channel, .. } => (*channel == wanted).then_some(()),
            _ => None,
        });
        again.await?;
    }
    Ok(())
}

/// h2's power fails for 300 ms; says when it is back.
async fn restart(scene: &mut Scene) -> anyhow::Result<u64> {
    let cut = scene.cut(2, Cut::SilentDrop)?;
    scene.servers[0].process.kill().await?;
    scene.lab.host(2).forgets_connections()?;
    scene.servers[0] = Traffic::grpc_server(scene.lab.host(2)).await?;
    let passed = clock::between(cut.at_ns, clock::now_ns());
    tokio::time::sleep(RESTART.saturating_sub(passed)).await;
    let back = scene.heal(2)?;
    println!("back after {:?}", clock::between(cut.at_ns, back.at_ns));
    Ok(back.at_ns)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_restarts_in_300_ms() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut trio = Trio::new().await?;
        let calls = waiting(&trio.scene).await?;
        let back = restart(&mut trio.scene).await?;
        all_return(&calls, back).await?;
        trio.recovers(back).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// Nothing is ever in flight, so that no kernel has a question to ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_restarts_while_all_calls_wait() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut scene = Scene::new(SceneOptions::default()).await?;
        let calls = waiting(&scene).await?;
        scene.alive(2).await?;
        let back = restart(&mut scene).await?;
        all_return(&calls, back).await?;
        let is_well = |state: &PeerState| {
            state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
        };
        let peer = scene.lab.host(2).url();
        scene.daemon.await_state(&peer, SOON, is_well).await?;
        scene.daemon.stop().await
    })
    .await
}

/// A service address that fails over.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_moves_to_another_host() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(4, Default::default()).await?;
        let calls = waiting(&trio.scene).await?;
        let address = trio.lab().host(2).v4();
        trio.lab().host(2).gives_up(address)?;
        trio.lab().host(4).takes_over(address)?;
        let moved = clock::now_ns();
        all_return(&calls, moved).await?;
        trio.recovers(moved).await?;
        trio.scene.daemon.stop().await
    })
    .await
}
