//! A night on call, from the package to its removal: three daemons, one of them in a clean Debian, a
//! real Prometheus and a real Alertmanager with the files of deploy/, and a program that is paged.

mod cluster;
mod documents;
mod eyes;
mod inhibition;
mod monitoring;
mod operated;
mod receiver;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use detector_api::v1::{Operation, Outcome};
use detector_tests::{Cut, Debian, clock, testbed};

use self::{cluster::Cluster, eyes::Eyes, monitoring::Monitoring, receiver::Receiver};

const LIMIT: Duration = Duration::from_secs(300);
/// Two scrapes and two evaluations of the rules, and more on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// The detection, a scrape, an evaluation and the route's wait come to 12.3 s at worst.
const PAGE_WITHIN: Duration = Duration::from_secs(15);
/// The Alertmanager tells of the end after its `group_interval` at most.
const RESOLVED_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_node_is_seen_is_one_page_and_is_none_in_maintenance() -> anyhow::Result<()> {
    if !Debian::has_packages() {
        return Ok(());
    }
    testbed::run(LIMIT, async {
        let cluster = Cluster::start().await?;
        let receiver = Receiver::start(cluster.monitor())?;
        let monitoring = Monitoring::start(cluster.monitor())?;
        monitoring
            .holds(
                "count(detector_peer_verdict{verdict=\"alive\"} == 1) == 6",
                SOON,
            )
            .await?;
        monitoring.holds("count(up == 1) == 3", SOON).await?;
        ensure!(
            monitoring.query("ALERTS")?.is_empty(),
            "an alert before the cut"
        );
        let well = [Operation::DiskState, Operation::IamRead, Operation::Lock];
        cluster.report(&well, Outcome::Succeeded).await?;

        let mut eyes = Eyes::open(&cluster).await?;
        let cut = cluster.lab.cut(&[3], Cut::SilentDrop)?;
        eyes.see("1 dead", "1 of 2 peers is dead.").await?;
        let page = receiver.page("firing", PAGE_WITHIN).await;
        let page = page.with_context(|| monitoring.logs())?;
        println!(
            "paged {:?} after the cut",
            clock::between(cut.at_ns, page.at_ns)
        );
        let dead = cluster.lab.host(3).v4().to_string();
        assert_eq!(page.label("alertname"), "DetectorHostDead");
        assert_eq!(page.label("node"), dead);
        documents::explains(&page.annotation("runbook_url"))?;
        let said = page.annotation("description");
        assert!(said.starts_with("2 of 2 nodes call it dead"), "{said}");

        // One failure alone: more would be a cascade, and a page of its own.
        cluster
            .report(&[Operation::Lock], Outcome::TimedOut)
            .await?;
        cluster.report(&well, Outcome::Succeeded).await?;
        monitoring.dashboard().await?;
        documents::run(&cluster)?;
        eyes.close().await?;

        cluster.lab.heal(&[3])?;
        let end = receiver.page("resolved", RESOLVED_WITHIN).await;
        let end = end.with_context(|| monitoring.logs())?;
        assert_eq!(end.label("alertname"), "DetectorHostDead");
        let woken = receiver.woken();
        assert_eq!(woken.len(), 2, "{woken:#?}");

        maintenance(&cluster, &monitoring).await?;
        assert_eq!(receiver.woken(), woken, "the maintenance is no page");
        cluster.end().await
    })
    .await
}

/// The node is away on purpose, and comes back.
async fn maintenance(cluster: &Cluster, monitoring: &Monitoring) -> anyhow::Result<()> {
    let peer = cluster.lab.host(3).url();
    let words = [
        "maintenance",
        &peer,
        "--for",
        "10m",
        "--reason",
        "kernel update",
    ];
    let said = cluster.operated.detector(&words)?;
    ensure!(said.contains("breaker open"), "{said}");
    let firing = "ALERTS{alertname=\"DetectorMaintenance\", alertstate=\"firing\"}";
    monitoring.holds(firing, SOON).await?;
    cluster.lab.cut(&[3], Cut::PortDown)?;
    monitoring.is_inhibited("DetectorHostDead", SOON).await?;
    cluster.lab.heal(&[3])?;
    testbed::until("the maintenance ends with its return", SOON, async || {
        let peers = cluster.operated.detector(&["peers"])?;
        Ok((!peers.contains("maintenance")).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_silent_where_another_explains_it() -> anyhow::Result<()> {
    testbed::run(LIMIT, inhibition::check()).await
}
