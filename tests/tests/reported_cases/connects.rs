//! An unanswered SYN does not mean a dead host if established connections answer.

use std::ops::RangeInclusive;

use anyhow::{Context as _, ensure};
use detector_tests::{
    Lab, Traffic, clock,
    peer::{Dialed, Event},
    testbed,
    trio::{UNTIMED, idle, report, request_loops, said},
};

use crate::{A_WHILE, Cluster, LIMIT, SOON};

/// Every connection of before is there still.
fn still_there(cluster: &Cluster, host: usize, before: &[u16]) -> anyhow::Result<()> {
    let now = cluster.ports(host)?;
    let gone: Vec<_> = before.iter().filter(|port| !now.contains(port)).collect();
    ensure!(
        gone.is_empty(),
        "{} of {} connections with h{host} were ended\n{}",
        gone.len(),
        before.len(),
        said(&cluster.daemon, &cluster.url(host))
    );
    Ok(())
}

/// Until the kernel's SYNs are dropped and a connect hangs.
fn connects_hang(cluster: &Cluster, host: usize) -> anyhow::Result<()> {
    let dialed = detector_tests::dial(cluster.lab.host(1), cluster.service(host), &[])?;
    ensure!(
        dialed == Dialed::Hung,
        "the fault does not hold: {dialed:?}"
    );
    Ok(())
}

/// kubernetes 71261, calico/felix 617: old connections work, new ones are dropped.
#[tokio::test(flavor = "multi_thread")]
async fn the_peers_table_of_connections_is_full() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 2)?;
        let _follows = lab.host(2).follows_connections()?;
        let cluster = Cluster::new(lab, [2, 3]).await?;
        let _idle = idle(&cluster.lab, 1, 2, 25).await?;
        // Calls of 10 s, in which nothing is in flight.
        let flags = [&["--kind", "wait"][..], &UNTIMED].concat();
        let calls = Traffic::caller(cluster.lab.host(1), &cluster.url(2), &flags).await?;
        cluster.all_alive().await?;
        let ports = cluster.ports(2)?;
        let begun = clock::now_ns();
        let _full = cluster.lab.host(2).conntrack_full()?;
        connects_hang(&cluster, 2)?;
        // One call a second that dials again, in vain.
        let dials = ["http-client", "--target", &cluster.service(2).to_string()];
        let _dials = Traffic::start(cluster.lab.host(1), &dials)?;
        cluster.nobody_dies(&[2, 3], A_WHILE * 3 / 2).await?;
        still_there(&cluster, 2, &ports)?;
        let ended = calls.event(clock::now_ns(), SOON, |event| match event {
            Event::Ok { .. } => Some(Ok(())),
            Event::Error { error, .. } => Some(Err(error.clone())),
            _ => None,
        });
        let ended = ended.await?;
        ensure!(ended.is_ok(), "a healthy call was ended: {ended:?}");
        let state = cluster.daemon.peer(&cluster.url(2)).await?;
        let at_ns = clock::now_ns();
        let seen = detector_tests::Observed { at_ns, state };
        report(&cluster.daemon, "connects fail", begun, &seen);
        cluster.daemon.stop().await
    })
    .await
}

/// The usual limit without any fault: no peer is found dead because of the daemon's own probes.
async fn limited(with_idle_connections: bool) -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 4)?;
        let limit = |lab: &Lab, hosts: RangeInclusive<usize>| {
            let limits = hosts.map(|host| lab.host(host).syn_limit());
            limits.collect::<Result<Vec<_>, _>>()
        };
        let (mut kept, mut limits) = (Vec::new(), Vec::new());
        if !with_idle_connections {
            limits = limit(&lab, 2..=4)?;
        }
        let cluster = Cluster::new(lab, 2..=5).await?;
        // Under the limit a program connects by chance only, because other SYNs use it up.
        if with_idle_connections {
            for host in 2..=4 {
                kept.push(idle(&cluster.lab, 1, host, 2).await?);
            }
            limits = limit(&cluster.lab, 2..=4)?;
        }
        // A fourth is lossy, and busy: probes are sent to it the more.
        let _busy = request_loops(&cluster.lab, 1, 5, 2, 20_000).await?;
        limits.extend(limit(&cluster.lab, 5..=5)?);
        cluster.all_alive().await?;
        let ports = cluster.ports(2)?;
        cluster.lab.loss(5, 20)?;
        cluster.nobody_dies(&[2, 3, 4], A_WHILE * 2).await?;
        still_there(&cluster, 2, &ports)?;
        drop(limits);
        cluster.daemon.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syn_limit_with_idle_connections() -> anyhow::Result<()> {
    limited(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syn_limit_with_no_connections() -> anyhow::Result<()> {
    limited(false).await
}

/// nixpkgs 12987: our own SYNs are dropped before they leave; what is established works.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_table_of_connections_is_full() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 3)?;
        let _follows = lab.host(1).follows_connections()?;
        let cluster = Cluster::new(lab, 2..=4).await?;
        let mut kept = Vec::new();
        for host in 2..=4 {
            kept.push(idle(&cluster.lab, 1, host, 4).await?);
        }
        cluster.all_alive().await?;
        let ports = (2..=4).map(|host| cluster.ports(host));
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        let _full = cluster.lab.host(1).conntrack_full()?;
        connects_hang(&cluster, 2)?;
        cluster.nobody_dies(&[2, 3, 4], A_WHILE).await?;
        for (host, ports) in (2..=4).zip(&ports) {
            still_there(&cluster, host, ports).context("our own table is full")?;
        }
        cluster.daemon.stop().await
    })
    .await
}
