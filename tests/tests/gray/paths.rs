//! A peer with two addresses, one of which dies.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use detector_api::v1::{PathState, PeerState, Reason, Verdict};
use detector_tests::{
    Daemon, DaemonOptions, Lab, Names, Traffic, clock, testbed,
    trio::{A_WHILE, PROMPT, SOON, loops_to, report},
};

use crate::LIMIT;

const BOTH: &str = "http://both:9000";

fn path(state: &PeerState, address: IpAddr) -> Option<&PathState> {
    let address = address.to_string();
    state.paths.iter().find(|path| path.address == address)
}

fn is_dead(state: &PeerState, address: IpAddr) -> bool {
    path(state, address).is_some_and(|path| path.verdict() == Verdict::Dead)
}

/// Calls to the dead address fail, calls to the other continue, and the peer is alive.
#[tokio::test(flavor = "multi_thread")]
async fn ipv6_dies_and_ipv4_lives() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (v4, v6) = (lab.host(2).v4(), lab.host(2).v6());
        let names = Names::new("both", &[v4.into(), v6.into()])?;
        let options = DaemonOptions::default().peer(BOTH).hosts(names.file());
        let _server = Traffic::grpc_server(lab.host(2)).await?;
        let daemon = Daemon::start(lab.host(1), &options).await?;
        let by_v4 = loops_to(&lab, 1, SocketAddr::from((v4, 9000)), 2, 20_000).await?;
        let by_v6 = loops_to(&lab, 1, SocketAddr::from((v6, 9000)), 2, 20_000).await?;
        let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
        daemon.await_state(BOTH, SOON, alive).await?;

        let begun = clock::now_ns();
        let fault = lab.lose_ipv6(2)?;
        let dead = |state: &PeerState| is_dead(state, v6.into());
        let (seen, lives) = tokio::join!(
            daemon.await_since(begun, BOTH, PROMPT, dead),
            daemon.never_dead(BOTH, A_WHILE),
        );
        let seen = seen?;
        report(&daemon, "one path dead", begun, &seen);
        lives?;
        let other = path(&seen.state, v4.into()).context("the other path is told")?;
        assert_ne!(other.verdict(), Verdict::Dead, "{other:?}");
        assert_eq!(seen.state.reason(), Reason::PathDead, "{seen:?}");
        by_v6.error_since(begun, SOON).await?;
        by_v4.ok_since(clock::now_ns(), SOON).await?;
        let broken = by_v4.error_since(begun, A_WHILE / 8).await;
        assert!(broken.is_err(), "the living path's call: {broken:?}");

        drop(fault);
        let well = |state: &PeerState| !is_dead(state, v6.into()) && alive(state);
        daemon.await_state(BOTH, SOON, well).await?;
        by_v6.ok_since(clock::now_ns(), SOON).await?;
        daemon.stop().await
    })
    .await
}
