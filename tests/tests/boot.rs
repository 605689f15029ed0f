//! The whole cluster loses power, and its nodes boot at different times.

use std::time::Duration;

use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{Cut, Daemon, DaemonOptions, Lab, Traffic, clock, testbed};

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(15);
/// Several connects are given up in this time.
const SLOW_BOOT: Duration = Duration::from_secs(12);
/// A peer that boots is Alive within this time, although it may be probed only every few seconds.
const NOTICED: Duration = Duration::from_secs(10);

fn is_alive(state: &PeerState) -> bool {
    state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
}

/// A program that dials the host until it answers, as a storage node does when it boots.
fn dials(lab: &Lab, from: usize, to: usize) -> anyhow::Result<Traffic> {
    let url = lab.host(to).url();
    Traffic::start(lab.host(from), &["grpc-client", "--target", &url])
}

fn watching(lab: &Lab, peers: &[usize]) -> DaemonOptions {
    let options = DaemonOptions::default();
    let watch = |options: DaemonOptions, peer: &usize| options.peer(lab.host(*peer).url());
    peers.iter().fold(options, watch)
}

/// h1 boots first, then the kernel of h2, then its server; h3 boots as a whole; h4 never does.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_boot_at_different_times_are_never_dead_before_they_were_there()
-> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(4)?;
        lab.cut(&[2, 3, 4], Cut::PortDown)?;
        let (h2, h3, h4) = (lab.host(2).url(), lab.host(3).url(), lab.host(4).url());

        // h1's daemon and its program are up before everyone else.
        let first = Daemon::start(lab.host(1), &watching(&lab, &[2, 3, 4])).await?;
        let (to_2, to_3) = (dials(&lab, 1, 2)?, dials(&lab, 1, 3)?);
        let _to_4 = dials(&lab, 1, 4)?;
        let (two, three, four) = tokio::join!(
            first.never_dead(&h2, SLOW_BOOT),
            first.never_dead(&h3, SLOW_BOOT),
            first.never_dead(&h4, SLOW_BOOT),
        );
        two?;
        three?;
        four?;

        // h2's kernel answers before its server does. A slow boot is no death.
        lab.heal(&[2])?;
        first.never_dead(&h2, Duration::from_secs(3)).await?;
        let begun = clock::now_ns();
        let _server_2 = Traffic::grpc_server(lab.host(2)).await?;
        first.await_since(0, &h2, NOTICED, is_alive).await?;
        to_2.ok_since(begun, SOON).await?;

        // h2's daemon starts between the nodes: h3 and h4 were never there for it either.
        let second = Daemon::start(lab.host(2), &watching(&lab, &[1, 3, 4])).await?;
        let _from_2 = dials(&lab, 2, 3)?;
        second.never_dead(&h3, Duration::from_secs(5)).await?;

        // h3 boots as a whole.
        let _server_3 = Traffic::grpc_server(lab.host(3)).await?;
        let booted = lab.heal(&[3])?;
        for daemon in [&first, &second] {
            daemon
                .await_since(booted.at_ns, &h3, NOTICED, is_alive)
                .await?;
        }
        to_3.ok_since(booted.at_ns, SOON).await?;

        // Once it was there, its loss is a death; h4 is still no dead peer.
        let cut = lab.cut(&[3], Cut::PortDown)?;
        for daemon in [&first, &second] {
            let is_dead = |state: &PeerState| state.verdict() == Verdict::Dead;
            daemon.await_since(cut.at_ns, &h3, SOON, is_dead).await?;
            daemon.never_dead(&h4, Duration::from_secs(1)).await?;
        }
        first.stop().await?;
        second.stop().await
    })
    .await
}
