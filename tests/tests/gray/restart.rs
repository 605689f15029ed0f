//! The other end of waiting calls is gone, and its address answers: after a restart too quick to
//! be missed, or on another host. Nothing is in flight that the kernel would send again.

use std::time::Duration;

use detector_tests::{
    Cut, Traffic, Trio, clock, testbed,
    trio::{A_WHILE, SOON, UNTIMED},
};

use crate::LIMIT;

const RESTART: Duration = Duration::from_millis(300);

/// Calls that wait for an answer of h2's, for 10 s each.
async fn waiting(trio: &Trio) -> anyhow::Result<Traffic> {
    let flags = [&["--kind", "wait", "--channels", "2"][..], &UNTIMED].concat();
    Traffic::caller(trio.lab().host(1), &trio.peer(), &flags).await
}

/// Both of them return.
async fn all_return(waiting: &Traffic, since_ns: u64) -> anyhow::Result<()> {
    for channel in 0..2 {
        let returned = waiting.event(since_ns, SOON, |event| match event {
            detector_tests::peer::Event::Error {
                at_ns, channel: c, ..
            } if *c == channel => Some(*at_ns),
            _ => None,
        });
        let after = clock::between(since_ns, returned.await?);
        println!("waiting call {channel} returned {after:?} after the new host's first answer");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_restarts_in_300_ms() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut trio = Trio::new().await?;
        let calls = waiting(&trio).await?;
        let cut = trio.scene.cut(2, Cut::SilentDrop)?;
        trio.scene.servers[0].process.kill().await?;
        trio.lab().host(2).forgets_connections()?;
        trio.scene.servers[0] = Traffic::grpc_server(trio.lab().host(2)).await?;
        let passed = clock::between(cut.at_ns, clock::now_ns());
        tokio::time::sleep(RESTART.saturating_sub(passed)).await;
        let back = trio.scene.heal(2)?;
        println!("back after {:?}", clock::between(cut.at_ns, back.at_ns));
        all_return(&calls, back.at_ns).await?;
        trio.recovers(back.at_ns).await?;
        trio.daemon().never_dead(&trio.other(), A_WHILE / 4).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// A service address that fails over.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_moves_to_another_host() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(4, Default::default()).await?;
        let calls = waiting(&trio).await?;
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
