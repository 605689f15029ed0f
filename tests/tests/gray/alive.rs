//! Faults that look like a gray death but are not: the peer's kernel acknowledges.

use std::time::Duration;

use anyhow::Context as _;
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, Daemon, Lab, Rules, Traffic, Trio, Way, clock, testbed,
    trio::{A_WHILE, SOON, idle, report, request_loops, said, served},
};
use nix::sys::signal::Signal;

use crate::LIMIT;

/// During the fault no host is found dead, and h2's calls continue.
async fn lives(trouble: impl FnOnce(&Lab) -> anyhow::Result<Rules>) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let _trouble = trouble(trio.lab())?;
        never_dead(&trio).await?;
        trio.loops.ok_since(clock::now_ns(), SOON).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

async fn never_dead(trio: &Trio) -> anyhow::Result<()> {
    let (peer, other) = (trio.peer(), trio.other());
    let (peer, other) = tokio::join!(
        trio.daemon().never_dead(&peer, A_WHILE),
        trio.daemon().never_dead(&other, A_WHILE),
    );
    peer?;
    other.context("the other peer")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_closed_port_is_dropped() -> anyhow::Result<()> {
    lives(|lab| lab.host(2).other_ports_dropped(9000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_are_limited() -> anyhow::Result<()> {
    lives(|lab| lab.host(2).resets_limited()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_of_what_we_send_is_lost() -> anyhow::Result<()> {
    lives(|lab| {
        let to = lab.host(2).v4();
        lab.lose(
            1,
            Way::From,
            &format!("ip daddr {to} numgen random mod 100 < 20"),
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_of_what_it_sends_is_lost() -> anyhow::Result<()> {
    lives(|lab| {
        let by = lab.host(2).v4();
        lab.lose(
            1,
            Way::To,
            &format!("ip saddr {by} numgen random mod 100 < 20"),
        )
    })
    .await
}

/// Equal-cost paths, of which one loses everything: the flows on it stall, the peer lives.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_four_paths_loses_everything() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let to = trio.lab().host(2).v4();
        // The path that one of the loops is on.
        let path = trio.a_port()? & 3;
        let begun = clock::now_ns();
        let _fault = trio.lab().lose(
            1,
            Way::From,
            &format!("ip daddr {to} tcp sport & 3 == {path}"),
        )?;
        let degraded = |state: &PeerState| state.verdict() == Verdict::Degraded;
        let peer = trio.peer();
        let (degraded, lives) = tokio::join!(
            trio.daemon().await_since(begun, &peer, SOON, degraded),
            never_dead(&trio),
        );
        lives?;
        let degraded = degraded?;
        println!(
            "{:?} {:?}",
            degraded.state.reason(),
            degraded.state.stalled_flows
        );
        trio.scene.daemon.stop().await
    })
    .await
}

/// Its process is stopped, its queue of connections full: it drops each SYN.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_accept_queue() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let mut trio = Trio::new().await?;
        fill_its_queue(&mut trio).await?;
        never_dead(&trio).await?;
        trio.scene.servers[0].process.signal(Signal::SIGCONT)?;
        trio.loops.ok_since(clock::now_ns(), SOON).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// A server with a queue of two takes the place of h2's, and is stopped with its queue full.
async fn fill_its_queue(trio: &mut Trio) -> anyhow::Result<()> {
    let (us, peer) = (trio.lab().host(1).clone(), trio.lab().host(2).clone());
    peer.short_accept_queue(1)?;
    let killed = clock::now_ns();
    trio.scene.servers[0].process.kill().await?;
    trio.scene.servers[0] = Traffic::grpc_server(&peer).await?;
    trio.loops.ok_since(killed, SOON).await?;
    trio.recovers(killed).await?;
    trio.scene.servers[0].process.signal(Signal::SIGSTOP)?;
    let full = testbed::until("the queue is full", SOON, async || {
        let dialed = detector_tests::dial(&us, (peer.v4(), 9000).into(), &[])?;
        Ok((dialed == detector_tests::peer::Dialed::Hung).then_some(()))
    });
    full.await
}

/// A router with proxy ARP answers for the living peer too, and hands everything on.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_answers_arp_for_it() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(4, Default::default()).await?;
        let _gateway = trio.lab().host(4).answers_for_its_link()?;
        // The kernel asks again, and takes the answer that comes last.
        trio.lab().host(1).exec("ip", &["neigh", "flush", "all"])?;
        never_dead(&trio).await?;
        trio.loops.ok_since(clock::now_ns(), SOON).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// A live migration: Dead is no lie then, but it lasts no longer than the pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_frozen_for_half_a_second() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let frozen = trio.scene.cut(2, Cut::SilentDrop)?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let back = trio.scene.heal(2)?;
        trio.recovers(back.at_ns).await?;
        let ended = trio.loops.error_since(frozen.at_ns, Duration::ZERO).await;
        assert!(ended.is_err(), "destroyed before the delay: {ended:?}");
        trio.scene.daemon.stop().await
    })
    .await
}

/// Something on the way drops segments without data: the daemon's questions on the connections
/// are never answered. That is no death, and hides none.
#[tokio::test(flavor = "multi_thread")]
async fn questions_on_connections_are_dropped() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (_servers, options) = served(&lab, &[2, 3]).await?;
        let _idle = idle(&lab, 1, 2, 2).await?;
        let _other = request_loops(&lab, 1, 3, 2, 100).await?;
        // Up to 20 bytes of IP and 40 of TCP, and nothing behind them.
        let to = lab.host(2).v4();
        let empty = format!("ip daddr {to} ip length <= 60 tcp flags == ack");
        let _lost = lab.lose(1, Way::From, &empty)?;
        let daemon = Daemon::start(lab.host(1), &options).await?;
        let url = lab.host(2).url();
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        daemon.await_state(&url, SOON, alive).await?;
        let lives = daemon.never_dead(&url, A_WHILE).await;
        lives.with_context(|| said(&daemon, &url))?;
        let cut = lab.cut(&[2], Cut::SilentDrop)?;
        let dead = |state: &PeerState| state.verdict() == Verdict::Dead;
        let found = daemon.await_since(cut.at_ns, &url, SOON, dead).await;
        let found = found.with_context(|| said(&daemon, &url))?;
        report(&daemon, "dead", cut.at_ns, &found);
        daemon.stop().await
    })
    .await
}
