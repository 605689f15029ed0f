//! ICMP refusals: which of them show that a host is alive, and which say nothing about it.

use anyhow::{Context as _, ensure};
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Host, Lab, PEER_PORT, Traffic, clock, dial,
    peer::Dialed,
    testbed,
    trio::{PROMPT, idle, report, request_loops, said, served},
};
use nix::sys::signal::Signal;

use crate::{A_WHILE, LIMIT, SOON, ports, still_there};

/// It refuses every other port by ICMP, which Linux sends once a second; its program is stopped,
/// and its accept queue is full. An idle caller has connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_routed_host_that_rejects_is_alive() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 2)?;
        let (us, peer, other) = (lab.host(1), lab.host(2), lab.host(3));
        let _rejects = peer.other_ports_rejected(PEER_PORT)?;
        peer.short_accept_queue(1)?;
        let server = Traffic::grpc_server(peer).await?;
        let _other = Traffic::grpc_server(other).await?;
        let options = [peer, other].map(|host| host.url());
        let options = options
            .into_iter()
            .fold(DaemonOptions::default(), DaemonOptions::peer);
        let daemon = Daemon::start(us, &options).await?;
        let address = (peer.v4(), PEER_PORT).into();
        let _idle = idle(&lab, 1, 2, 2).await?;
        let ports = ports(&lab, &[2])?;
        server.process.signal(Signal::SIGSTOP)?;
        testbed::until("the queue is full", SOON, async || {
            Ok((dial(us, address, &[])? == Dialed::Hung).then_some(()))
        })
        .await?;

        let begun = clock::now_ns();
        let lives = daemon.never_dead(&peer.url(), A_WHILE * 2).await;
        lives.with_context(|| said(&daemon, &peer.url()))?;
        still_there(&lab, &ports)?;
        let now = daemon.peer(&peer.url()).await?;
        let at_ns = clock::now_ns();
        let now = detector_tests::Observed { at_ns, state: now };
        report(&daemon, "at the end", begun, &now);
        daemon.stop().await
    })
    .await
}

/// If another host refuses a connect in the peer's name, that says nothing about the peer: it is
/// found dead as if nothing had answered, and stays dead.
async fn refused_for(dead: usize, by: impl Fn(&Lab) -> &Host) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(2, 1)?;
        let (_servers, options) = served(&lab, &[2, 3]).await?;
        let daemon = Daemon::start(lab.host(1), &options).await?;
        let _loops = [
            request_loops(&lab, 1, 2, 2, 20_000).await?,
            request_loops(&lab, 1, 3, 2, 20_000).await?,
        ];
        let url = lab.host(dead).url();
        let is = |verdict| move |state: &PeerState| state.verdict() == verdict;
        daemon.await_state(&url, SOON, is(Verdict::Alive)).await?;
        let refuses = by(&lab).refuses_for(lab.host(dead).v4())?;
        let cut = lab.cut(&[dead], Cut::SilentDrop)?;
        let seen = daemon
            .await_since(cut.at_ns, &url, PROMPT, is(Verdict::Dead))
            .await
            .with_context(|| said(&daemon, &url))?;
        report(&daemon, "dead", cut.at_ns, &seen);
        // The loops dial again and again meanwhile.
        let open = daemon.stays_open(seen.at_ns, &url, A_WHILE).await;
        open.with_context(|| said(&daemon, &url))?;
        ensure!(refuses.counted()? > 0, "nobody was refused");
        daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_refuses_for_a_dead_host() -> anyhow::Result<()> {
    refused_for(3, |lab| lab.router().expect("a lab with a router")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_firewall_refuses_for_a_dead_host() -> anyhow::Result<()> {
    refused_for(2, |lab| lab.host(1)).await
}
