//! An answer on the link shows that a card is there, and no more.

use std::time::Duration;

use anyhow::Context as _;
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, Daemon, DaemonOptions, Lab, Says, Traffic, Trio, clock, testbed,
    trio::{PROMPT, idle, report, request_loops, said, served},
};

use crate::{A_WHILE, LIMIT, SOON, ports, still_there};

fn is_dead(state: &PeerState) -> bool {
    state.verdict() == Verdict::Dead
}

/// Another host's answers keep no peer alive: they are published as another host's.
#[tokio::test(flavor = "multi_thread")]
async fn another_host_answers_arp_for_a_dead_one() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::with(4, DaemonOptions::default()).await?;
        let peer = trio.lab().host(2);
        let stands_in = trio.lab().host(4).stands_in_for(peer.v4())?;
        let cut = trio.scene.cut(2, Cut::PortDown)?;
        let dead = trio
            .daemon()
            .await_since(cut.at_ns, &trio.peer(), PROMPT, is_dead)
            .await?;
        report(trio.daemon(), "dead", cut.at_ns, &dead);
        let contested = |state: &PeerState| is_dead(state) && state.contested;
        trio.daemon()
            .await_since(cut.at_ns, &trio.peer(), SOON, contested)
            .await
            .context("contested")?;
        trio.a_call_returns(cut.at_ns).await?;
        trio.daemon().never_dead(&trio.other(), A_WHILE / 4).await?;
        drop(stands_in);
        let healed = trio.scene.heal(2)?;
        trio.recovers(healed.at_ns).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// h1 to h4 are near, h5 is behind the router; h4 is no peer, and stays connected to h1 when the
/// switch is cut. Loops run to h2 and h5; there are idle connections to h3.
struct CutOff {
    _traffic: Vec<Traffic>,
    daemon: Daemon,
    _servers: Vec<Traffic>,
    lab: Lab,
}

impl CutOff {
    const PEERS: [usize; 3] = [2, 3, 5];

    async fn new() -> anyhow::Result<Self> {
        let mut new = Self::idle_afar().await?;
        let loops = request_loops(&new.lab, 1, 5, 2, 20_000).await?;
        new._traffic.push(loops);
        Ok(new)
    }

    /// Nothing is in flight to h5.
    async fn idle_afar() -> anyhow::Result<Self> {
        let lab = Lab::routed(4, 1)?;
        let (servers, options) = served(&lab, &Self::PEERS).await?;
        let daemon = Daemon::start(lab.host(1), &options).await?;
        let traffic = vec![
            request_loops(&lab, 1, 2, 2, 20_000).await?,
            idle(&lab, 1, 3, 4).await?,
            idle(&lab, 1, 5, 24).await?,
        ];
        let new = Self {
            _traffic: traffic,
            daemon,
            _servers: servers,
            lab,
        };
        new.all_alive().await?;
        Ok(new)
    }

    async fn all_alive(&self) -> anyhow::Result<()> {
        for peer in Self::PEERS {
            let alive = |state: &PeerState| state.verdict() == Verdict::Alive;
            let url = self.lab.host(peer).url();
            self.daemon.await_state(&url, SOON, alive).await?;
        }
        Ok(())
    }

    async fn nobody_dies(&self) -> anyhow::Result<()> {
        let [a, b, c] = Self::PEERS.map(|peer| self.lab.host(peer).url());
        let (a, b, c) = tokio::join!(
            self.daemon.never_dead(&a, A_WHILE),
            self.daemon.never_dead(&b, A_WHILE),
            self.daemon.never_dead(&c, A_WHILE),
        );
        a.and(b).and(c)
    }
}

/// One card that answers for a peer is no witness that the network works.
#[tokio::test(flavor = "multi_thread")]
async fn we_are_cut_off_with_a_host_that_answers_arp_for_a_peer() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let scene = CutOff::new().await?;
        let address = scene.lab.host(3).v4();
        let stands_in = scene.lab.host(4).stands_in_for(address)?;
        let begun = clock::now_ns();
        let ports = ports(&scene.lab, &CutOff::PEERS)?;
        scene.lab.cut(&[2, 3], Cut::SilentDrop)?;
        scene.lab.cut_router(Some(Cut::SilentDrop))?;
        scene.nobody_dies().await?;
        still_there(&scene.lab, &ports)?;
        let isolated = |state: &PeerState| state.isolated;
        let h2 = scene.lab.host(2).url();
        scene.daemon.await_since(begun, &h2, SOON, isolated).await?;
        drop(stands_in);
        scene.lab.heal(&[2, 3])?;
        scene.lab.cut_router(None)?;
        // The kernel may have taken the other card for the peer's in the meantime.
        let h1 = scene.lab.host(1);
        h1.exec("ip", &["neigh", "flush", "dev", "eth0"])?;
        scene.all_alive().await?;
        scene.daemon.stop().await
    })
    .await
}

/// A stranger claims the gateway's address for two seconds; the peer behind the gateway is alive.
async fn the_gateways_address_is_claimed(scene: CutOff) -> anyhow::Result<()> {
    let ports = ports(&scene.lab, &CutOff::PEERS)?;
    let address = scene.lab.router().context("a router")?.v4();
    let claims = scene.lab.stranger(Says::Claims { address })?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(claims);
    // What is sent before the kernel resolves its gateway again is lost as well.
    tokio::time::sleep(A_WHILE).await;
    let far = scene.lab.host(5).url();
    let ended = still_there(&scene.lab, &ports);
    ended.with_context(|| said(&scene.daemon, &far))?;
    let explained = scene.daemon.explain(&far).await?;
    assert_eq!(explained.destroyed.map_or(0, |d| d.destroyed), 0);
    scene.all_alive().await?;
    scene.daemon.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_address_is_claimed_for_a_while() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        the_gateways_address_is_claimed(CutOff::new().await?).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_address_is_claimed_while_callers_are_idle() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        the_gateways_address_is_claimed(CutOff::idle_afar().await?).await
    })
    .await
}
