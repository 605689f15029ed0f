//! An ARP answer may come from another device than the host, and ARP itself may be limited.

use std::net::Ipv4Addr;

use anyhow::ensure;
use detector_tests::{
    ArpCount, Cut, DaemonOptions, Lab, Says, Trio, clock, testbed,
    trio::{PROMPT, idle, report},
};

use crate::{A_WHILE, Cluster, LIMIT, SOON, is_dead};

/// FRR 2129, moby 29024: EVPN, vxlan `proxy` and clouds answer ARP for a dead host, with its own
/// hardware address.
#[tokio::test(flavor = "multi_thread")]
async fn the_fabric_answers_for_a_dead_host() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let peer = trio.lab().host(2);
        let (address, is_at) = (peer.v4(), peer.hardware()?);
        let _fabric = trio.lab().stranger(Says::Answers { address, is_at })?;
        let cut = trio.scene.cut(2, Cut::PortDown)?;
        let dead = trio
            .daemon()
            .await_since(cut.at_ns, &trio.peer(), PROMPT, is_dead)
            .await?;
        report(trio.daemon(), "dead", cut.at_ns, &dead);
        trio.a_call_returns(cut.at_ns).await?;
        let healed = trio.scene.heal(2)?;
        trio.recovers(healed.at_ns).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The card that the peer serves by is dead, its other one answers ARP for it, as Linux does by
/// default (`arp_ignore`): our segments arrive, and the answers go out by the dead card.
#[tokio::test(flavor = "multi_thread")]
async fn the_peers_other_card_answers_for_a_dead_one() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let trio = Trio::new().await?;
        let _card = trio.lab().second_card(2, Ipv4Addr::new(10, 79, 0, 2))?;
        let cut = trio.scene.cut(2, Cut::SilentDrop)?;
        let dead = trio
            .daemon()
            .await_since(cut.at_ns, &trio.peer(), PROMPT, is_dead)
            .await?;
        report(trio.daemon(), "dead", cut.at_ns, &dead);
        trio.a_call_returns(cut.at_ns).await?;
        // Nor does what still arrives there bring it back.
        trio.daemon()
            .stays_open(dead.at_ns, &trio.peer(), A_WHILE / 2)
            .await?;
        trio.daemon().never_dead(&trio.other(), A_WHILE / 4).await?;
        let healed = trio.scene.heal(2)?;
        trio.recovers(healed.at_ns).await?;
        trio.scene.daemon.stop().await
    })
    .await
}

/// The most ARP requests a second on one link, by default.
const BUDGET: usize = 5;

/// A vendor's default: 15 ARP frames a second, then the port is shut. One of nine peers dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_inspects_arp_shuts_no_port() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let cluster = Cluster::new(Lab::new(10)?, 2..=10).await?;
        let mut kept = Vec::new();
        for host in 2..=10 {
            kept.push(idle(&cluster.lab, 1, host, 1).await?);
        }
        cluster.all_alive().await?;
        let count = ArpCount::on(cluster.lab.host(1))?;
        let begun = clock::now_ns();
        let inspection = cluster.lab.arp_inspection(1)?;
        tokio::time::sleep(A_WHILE / 2).await;
        let (all, a_second) = count.since(begun);
        println!("eight idle peers: {all} ARP requests, at most {a_second} a second");
        ensure!(a_second <= BUDGET, "{a_second} in one second, all idle");

        let cut = cluster.lab.cut(&[2], Cut::SilentDrop)?;
        let dead = cluster
            .daemon
            .await_since(cut.at_ns, &cluster.url(2), SOON, is_dead)
            .await?;
        report(&cluster.daemon, "dead", cut.at_ns, &dead);
        let others: Vec<usize> = (3..=10).collect();
        cluster.nobody_dies(&others, A_WHILE).await?;
        let (all, a_second) = count.since(cut.at_ns);
        println!("a death: {all} ARP requests, at most {a_second} a second");
        ensure!(a_second <= BUDGET, "{a_second} in one second, in a death");
        ensure!(!inspection.has_shut()?, "our port is shut");
        cluster.daemon.stop().await
    })
    .await
}

/// If neighbour probes are off, only the kernel sends ARP requests, and a death is still found.
#[tokio::test(flavor = "multi_thread")]
async fn neighbour_probes_can_be_switched_off() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let off = DaemonOptions::default().config("neighbour_probes = \"off\"\n");
        let trio = Trio::with(3, off).await?;
        let count = ArpCount::on(trio.lab().host(1))?;
        let cut = trio.scene.cut(2, Cut::SilentDrop)?;
        let dead = trio
            .daemon()
            .await_since(cut.at_ns, &trio.peer(), PROMPT, is_dead)
            .await?;
        report(trio.daemon(), "dead", cut.at_ns, &dead);
        trio.a_call_returns(cut.at_ns).await?;
        // The kernel itself asks once a second for each of its neighbours.
        let (_, a_second) = count.since(cut.at_ns);
        ensure!(a_second <= 3, "{a_second} ARP requests in one second");
        trio.scene.daemon.stop().await
    })
    .await
}
