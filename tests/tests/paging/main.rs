//! From a cut to a page: three daemons, a real Prometheus and a real Alertmanager with the files of
//! deploy/, and a program that is paged.

mod cluster;
mod documents;
mod inhibition;
mod monitoring;
mod receiver;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use detector_api::v1::{Operation, Outcome};
use detector_tests::{Cut, clock, testbed};

use self::{cluster::Cluster, monitoring::Monitoring, receiver::Receiver};

const LIMIT: Duration = Duration::from_secs(180);
/// Two scrapes and two evaluations of the rules, and more on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// The detection, a scrape, an evaluation and the route's wait come to 12.3 s at worst.
const PAGE_WITHIN: Duration = Duration::from_secs(15);
/// The Alertmanager tells of the end after its `group_interval` at most.
const RESOLVED_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_node_is_one_page_with_its_name_and_its_end() -> anyhow::Result<()> {
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

        let cut = cluster.lab.cut(&[3], Cut::SilentDrop)?;
        let page = receiver.page("firing", PAGE_WITHIN).await;
        let page = page.with_context(|| monitoring.logs())?;
        println!(
            "paged {:?} after the cut",
            clock::between(cut.at_ns, page.at_ns)
        );
        let dead = cluster.lab.host(3).v4().to_string();
        assert_eq!(page.label("alertname"), "DetectorHostDead");
        assert_eq!(page.label("node"), dead);
        let said = page.annotation("description");
        assert!(said.starts_with("2 of 2 nodes call it dead"), "{said}");

        // One failure alone: more would be a cascade, and a page of its own.
        cluster
            .report(&[Operation::Lock], Outcome::TimedOut)
            .await?;
        cluster.report(&well, Outcome::Succeeded).await?;
        monitoring.dashboard().await?;
        documents::run(&cluster)?;

        cluster.lab.heal(&[3])?;
        let end = receiver.page("resolved", RESOLVED_WITHIN).await;
        let end = end.with_context(|| monitoring.logs())?;
        assert_eq!(end.label("alertname"), "DetectorHostDead");
        let told: Vec<_> = receiver.all().iter().map(receiver::Page::line).collect();
        let once = ["critical", "critical"].map(str::to_owned);
        let to: Vec<_> = told
            .iter()
            .map(|line| line.split(' ').next().unwrap_or(""))
            .collect();
        assert_eq!(to, once, "{told:#?}");
        cluster.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_silent_where_another_explains_it() -> anyhow::Result<()> {
    testbed::run(LIMIT, inhibition::check()).await
}
